//! Patches that take an object from what it is to what it should be.
//!
//! Three states decide: what was wanted last time, what is wanted now, and what is there. What was wanted once and is
//! no longer goes; what others have added stays.

mod lists;

use backstay_api::schema::{self, PatchStrategy, Schema, Type};
use backstay_api::{GroupVersionKind, meta};
use serde_json::{Map, Value};

use crate::server::{MERGE, STRATEGIC};

/// A patch and the kind of patch it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Patch {
    pub kind: &'static str,
    pub body: Value,
}

impl Patch {
    pub fn is_empty(&self) -> bool {
        self.body.as_object().is_none_or(Map::is_empty)
    }
}

/// The patch for an object of this kind: strategic where the kind is built in, a merge patch otherwise.
///
/// # Errors
/// If an element of a keyed list lacks its key.
pub fn three_way(gvk: &GroupVersionKind, original: &Value, modified: &Value, current: &Value) -> Result<Patch, String> {
    let ty = schema::type_of(gvk);
    let kind = if ty.is_some() { STRATEGIC } else { MERGE };
    let differ = Differ { schema: ty.is_some().then(schema::builtin) };
    let body = differ.maps(ty.as_ref(), object(original), object(modified), object(current))?;
    Ok(Patch { kind, body: Value::Object(body) })
}

/// The patch that makes `modified` out of `current`.
pub fn two_way(gvk: &GroupVersionKind, current: &Value, modified: &Value) -> Result<Patch, String> {
    three_way(gvk, current, modified, current)
}

/// The kind of an object, for [`three_way`].
pub fn kind_of(object: &Value) -> GroupVersionKind {
    meta::gvk(object).unwrap_or_else(|| GroupVersionKind::new("", "", ""))
}

fn object(value: &Value) -> &Map<String, Value> {
    static EMPTY: std::sync::LazyLock<Map<String, Value>> = std::sync::LazyLock::new(Map::new);
    value.as_object().unwrap_or(&EMPTY)
}

struct Differ {
    schema: Option<&'static Schema>,
}

/// One field or element in its three states.
struct States<'a> {
    original: Option<&'a Value>,
    modified: &'a Value,
    current: &'a Value,
}

impl Differ {
    fn maps(
        &self,
        ty: Option<&Type>,
        original: &Map<String, Value>,
        modified: &Map<String, Value>,
        current: &Map<String, Value>,
    ) -> Result<Map<String, Value>, String> {
        let mut patch = Map::new();
        for name in original.keys().filter(|name| !modified.contains_key(*name) && current.contains_key(*name)) {
            patch.insert(name.clone(), Value::Null);
        }
        for (name, modified) in modified {
            let Some(current) = current.get(name) else {
                // A null asks for absence, which is given.
                if !modified.is_null() {
                    patch.insert(name.clone(), modified.clone());
                }
                continue;
            };
            let states = States { original: original.get(name), modified, current };
            let (ty, strategy) = self.field(ty, name);
            self.field_patch(name, ty, &strategy, &states, &mut patch)?;
        }
        Ok(patch)
    }

    fn field(&self, ty: Option<&Type>, name: &str) -> (Option<&Type>, PatchStrategy) {
        match (self.schema, ty) {
            (Some(schema), Some(ty @ Type::Struct { .. })) => match schema.field(ty, name) {
                Some(field) => (Some(&field.ty), field.patch.clone()),
                None => (None, PatchStrategy::default()),
            },
            _ => (None, PatchStrategy::default()),
        }
    }

    fn field_patch(
        &self,
        name: &str,
        ty: Option<&Type>,
        strategy: &PatchStrategy,
        states: &States<'_>,
        patch: &mut Map<String, Value>,
    ) -> Result<(), String> {
        match (states.modified, states.current) {
            (Value::Object(modified), Value::Object(current)) => {
                let original = states.original.map_or_else(|| object(&Value::Null), object);
                let mut inner = self.maps(ty, original, modified, current)?;
                if strategy.retain_keys && !inner.is_empty() {
                    inner.insert("$retainKeys".into(), modified.keys().cloned().collect());
                }
                if !inner.is_empty() {
                    patch.insert(name.to_string(), Value::Object(inner));
                }
            }
            (Value::Array(_), Value::Array(_)) if strategy.merge => self.list(name, ty, strategy, states, patch)?,
            (modified, current) if modified != current => {
                patch.insert(name.to_string(), modified.clone());
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn daemonset(spec: Value) -> Value {
        json!({"spec": {"template": {"spec": spec}}})
    }

    /// The patch for a pod spec in its three states; and, applied to what is there, the patch gives `result`.
    #[track_caller]
    fn check(original: Value, modified: Value, current: Value, patch: Value, result: Value) {
        let gvk = GroupVersionKind::new("apps", "v1", "DaemonSet");
        let (original, modified, current) = (daemonset(original), daemonset(modified), daemonset(current));
        let got = three_way(&gvk, &original, &modified, &current).unwrap();
        assert_eq!(got.kind, STRATEGIC);
        let inner = got.body.pointer("/spec/template/spec").cloned().unwrap_or_else(|| json!({}));
        assert_eq!(inner, patch);
        let ty = schema::type_of(&gvk).unwrap();
        let applied = backstay_api::patch::strategic_merge(schema::builtin(), &ty, &current, &got.body).unwrap();
        assert_eq!(applied, daemonset(result));
    }

    #[test]
    fn what_others_added_stays_and_what_is_no_longer_wanted_goes() {
        check(
            json!({"hostPID": true, "hostIPC": true}),
            json!({"hostPID": true, "nodeName": "n"}),
            json!({"hostPID": true, "hostIPC": true, "dnsPolicy": "Default"}),
            json!({"hostIPC": null, "nodeName": "n"}),
            json!({"hostPID": true, "dnsPolicy": "Default", "nodeName": "n"}),
        );
    }

    #[test]
    fn keyed_lists_merge_by_their_key() {
        check(
            json!({"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "1"}]}),
            json!({"containers": [{"name": "c", "image": "1"}, {"name": "a", "image": "2"}]}),
            json!({"containers": [
                {"name": "a", "image": "1", "imagePullPolicy": "Always"}, {"name": "b", "image": "1"},
                {"name": "other", "image": "1"},
            ]}),
            json!({
                "$setElementOrder/containers": [{"name": "c"}, {"name": "a"}],
                "containers": [{"name": "c", "image": "1"}, {"name": "a", "image": "2"}, {"$patch": "delete", "name": "b"}],
            }),
            json!({"containers": [
                {"name": "c", "image": "1"}, {"name": "a", "image": "2", "imagePullPolicy": "Always"},
                {"name": "other", "image": "1"},
            ]}),
        );
    }

    #[test]
    fn nothing_to_do_is_an_empty_patch() {
        let modified = json!({"containers": [{"name": "a", "args": ["x"]}], "tolerations": [{"operator": "Exists"}]});
        let current = json!({
            "containers": [{"name": "a", "args": ["x"], "resources": {}}], "tolerations": [{"operator": "Exists"}],
            "restartPolicy": "Always",
        });
        check(modified.clone(), modified, current.clone(), json!({}), current);
    }

    #[test]
    fn volumes_change_their_source() {
        check(
            json!({"volumes": [{"name": "v", "emptyDir": {}}]}),
            json!({"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}),
            json!({"volumes": [{"name": "v", "emptyDir": {}}]}),
            json!({
                "$setElementOrder/volumes": [{"name": "v"}],
                "volumes": [{"$retainKeys": ["hostPath", "name"], "emptyDir": null, "hostPath": {"path": "/"}, "name": "v"}],
            }),
            json!({"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}),
        );
    }

    #[test]
    fn atomic_lists_are_replaced() {
        check(
            json!({}),
            json!({"tolerations": [{"key": "a"}]}),
            json!({"tolerations": [{"key": "b"}]}),
            json!({"tolerations": [{"key": "a"}]}),
            json!({"tolerations": [{"key": "a"}]}),
        );
    }

    #[test]
    fn one_port_for_two_protocols_is_replaced_as_a_whole() {
        let ports = |extra: bool| {
            let mut udp = json!({"containerPort": 53, "protocol": "UDP"});
            if extra {
                udp["name"] = "dns".into();
            }
            json!([{"containerPort": 53, "protocol": "TCP"}, udp])
        };
        let spec = |ports: Value| json!({"containers": [{"name": "a", "ports": ports}]});
        check(spec(ports(false)), spec(ports(false)), spec(ports(true)), json!({}), spec(ports(true)));
        let mut replaced = ports(true).as_array().unwrap().clone();
        replaced.push(json!({"$patch": "replace"}));
        check(
            spec(ports(false)),
            spec(ports(true)),
            spec(ports(false)),
            json!({
                "$setElementOrder/containers": [{"name": "a"}],
                "containers": [{"name": "a", "ports": replaced}],
            }),
            spec(ports(true)),
        );
    }

    #[test]
    fn sets_of_texts_merge() {
        let gvk = GroupVersionKind::new("", "v1", "ConfigMap");
        let object = |finalizers: Value| json!({"metadata": {"finalizers": finalizers}});
        let (original, modified, current) =
            (object(json!(["a", "b"])), object(json!(["b", "c"])), object(json!(["a", "b", "x"])));
        let patch = three_way(&gvk, &original, &modified, &current).unwrap();
        let ty = schema::type_of(&gvk).unwrap();
        let applied = backstay_api::patch::strategic_merge(schema::builtin(), &ty, &current, &patch.body).unwrap();
        let mut finalizers: Vec<&str> = meta::finalizers(&applied).collect();
        finalizers.sort_unstable();
        assert_eq!(finalizers, ["b", "c", "x"]);
    }

    #[test]
    fn unknown_kinds_get_a_merge_patch() {
        let gvk = GroupVersionKind::new("e.io", "v1", "Foo");
        let patch = three_way(&gvk, &json!({"a": 1}), &json!({"l": [{"name": "x"}]}), &json!({"a": 1, "l": []}));
        assert_eq!(patch.unwrap(), Patch { kind: MERGE, body: json!({"a": null, "l": [{"name": "x"}]}) });
    }
}
