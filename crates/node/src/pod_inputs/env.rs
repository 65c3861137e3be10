//! A container's environment, and `$(VAR)` in it and in the command.

use backstay_api::meta;
use serde_json::Value;

use super::fields::{self, NodeFacts};
use super::objects::{self, Objects, Reference};
use super::resources;

/// The environment of a container, in the order in which it is defined; a later definition replaces an earlier one.
///
/// # Errors
/// In a kubelet's words, for a `CreateContainerConfigError`.
pub fn resolve(
    pod: &Value,
    container: &Value,
    node: &NodeFacts,
    objects: &Objects,
) -> Result<Vec<(String, String)>, String> {
    let mut env = Vec::new();
    for source in meta::list_at(container, &["envFrom"]) {
        import(source, objects, &mut env)?;
    }
    for variable in meta::list_at(container, &["env"]) {
        let name = meta::str_at(variable, &["name"]);
        let value = match meta::value_at(variable, &["valueFrom"]) {
            Some(source) => match from_source(pod, container, node, objects, source)? {
                Some(value) => value,
                None => continue,
            },
            None => expand(meta::str_at(variable, &["value"]), &env),
        };
        set(&mut env, name, value);
    }
    Ok(env)
}

/// Replaces `$(NAME)` where the name is defined; `$$` stands for a dollar sign; all else stays.
pub fn expand(text: &str, env: &[(String, String)]) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
            match env.iter().find(|(defined, _)| defined == name) {
                Some((_, value)) => out.push_str(value),
                None => out.push_str(&format!("$({name})")),
            }
            rest = after;
        } else {
            out.push('$');
        }
    }
    out + rest
}

/// Defines a variable, in the place of an earlier definition if there is one.
pub fn set(env: &mut Vec<(String, String)>, name: &str, value: String) {
    match env.iter_mut().find(|(defined, _)| defined == name) {
        Some((_, old)) => *old = value,
        None => env.push((name.to_string(), value)),
    }
}

fn import(source: &Value, objects: &Objects, env: &mut Vec<(String, String)>) -> Result<(), String> {
    let prefix = meta::str_at(source, &["prefix"]);
    for (field, make) in [
        ("configMapRef", Reference::ConfigMap as fn(String) -> Reference),
        ("secretRef", Reference::Secret as fn(String) -> Reference),
    ] {
        let Some(reference) = meta::value_at(source, &[field]) else { continue };
        let object = match objects.get(&make(meta::str_at(reference, &["name"]).to_string())) {
            Ok(object) => object,
            Err(_) if is_optional(reference) => continue,
            Err(missing) => return Err(missing),
        };
        for (key, value) in objects::entries(object) {
            set(env, &format!("{prefix}{key}"), String::from_utf8_lossy(&value).into_owned());
        }
    }
    Ok(())
}

/// `None`: optional and not there, so the variable stays undefined.
fn from_source(
    pod: &Value,
    container: &Value,
    node: &NodeFacts,
    objects: &Objects,
    source: &Value,
) -> Result<Option<String>, String> {
    if let Some(reference) = meta::value_at(source, &["fieldRef"]) {
        return fields::field(pod, node, meta::str_at(reference, &["fieldPath"])).map(Some);
    }
    if let Some(reference) = meta::value_at(source, &["resourceFieldRef"]) {
        return resources::field(container, node, reference).map(Some);
    }
    if let Some(reference) = meta::value_at(source, &["configMapKeyRef"]) {
        return from_key(pod, objects, reference, Reference::ConfigMap, "ConfigMap");
    }
    if let Some(reference) = meta::value_at(source, &["secretKeyRef"]) {
        return from_key(pod, objects, reference, Reference::Secret, "Secret");
    }
    Err("a variable has a source that this node does not know".to_string())
}

fn from_key(
    pod: &Value,
    objects: &Objects,
    reference: &Value,
    make: impl Fn(String) -> Reference,
    kind: &str,
) -> Result<Option<String>, String> {
    let (name, key) = (meta::str_at(reference, &["name"]), meta::str_at(reference, &["key"]));
    let found = objects.get(&make(name.to_string())).and_then(|object| {
        let namespace = meta::namespace(pod).unwrap_or("default");
        objects::value(object, key).ok_or_else(|| format!("couldn't find key {key} in {kind} {namespace}/{name}"))
    });
    match found {
        Ok(value) => Ok(Some(String::from_utf8_lossy(&value).into_owned())),
        Err(_) if is_optional(reference) => Ok(None),
        Err(missing) => Err(missing),
    }
}

pub(super) fn is_optional(reference: &Value) -> bool {
    meta::value_at(reference, &["optional"]) == Some(&Value::Bool(true))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(container: Value, expected: &str) {
        let pod = json!({
            "metadata": { "name": "p", "namespace": "ns", "uid": "u", "labels": { "app": "web" } },
            "spec": { "serviceAccountName": "sa" },
        });
        let node = NodeFacts {
            name: "n1".into(),
            ips: vec!["10.0.0.1".into()],
            cpu_millis: 4000,
            memory_bytes: 1 << 30,
            disk_bytes: 1000,
        };
        let config = json!({ "kind": "ConfigMap", "data": { "a": "1", "b": "2" } });
        let secret = json!({ "kind": "Secret", "data": { "password": "aHVzaA==" } });
        let objects = Objects(
            [(Reference::ConfigMap("c".into()), Some(config)), (Reference::Secret("s".into()), Some(secret))].into(),
        );
        let shown = match resolve(&pod, &container, &node, &objects) {
            Ok(env) => env.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" "),
            Err(error) => format!("error: {error}"),
        };
        assert_eq!(shown, expected, "{container}");
    }

    fn from(source: Value) -> Value {
        json!({ "env": [{ "name": "X", "valueFrom": source }],
            "resources": { "limits": { "memory": "64Mi" }, "requests": { "cpu": "250m" } } })
    }

    #[test]
    fn variables_come_from_everywhere() {
        check(
            json!({ "env": [{ "name": "A", "value": "1" }, { "name": "B", "value": "$(A)$(C)$$(A)" }] }),
            "A=1 B=1$(C)$(A)",
        );
        check(json!({ "env": [{ "name": "A", "value": "1" }, { "name": "A", "value": "2" }] }), "A=2");
        check(json!({ "envFrom": [{ "prefix": "C_", "configMapRef": { "name": "c" } }] }), "C_a=1 C_b=2");
        check(json!({ "envFrom": [{ "configMapRef": { "name": "no" } }] }), "error: configmap \"no\" not found");
        check(json!({ "envFrom": [{ "secretRef": { "name": "no", "optional": true } }] }), "");
        check(from(json!({ "secretKeyRef": { "name": "s", "key": "password" } })), "X=hush");
        check(from(json!({ "secretKeyRef": { "name": "no", "key": "k" } })), "error: secret \"no\" not found");
        check(
            from(json!({ "configMapKeyRef": { "name": "c", "key": "z" } })),
            "error: couldn't find key z in ConfigMap ns/c",
        );
        check(from(json!({ "configMapKeyRef": { "name": "c", "key": "z", "optional": true } })), "");
        check(from(json!({ "fieldRef": { "fieldPath": "spec.nodeName" } })), "X=n1");
        check(from(json!({ "fieldRef": { "fieldPath": "metadata.labels['app']" } })), "X=web");
        check(from(json!({ "fieldRef": { "fieldPath": "spec.what" } })), "error: unsupported fieldPath: spec.what");
        check(from(json!({ "resourceFieldRef": { "resource": "limits.memory", "divisor": "1Mi" } })), "X=64");
        check(from(json!({ "resourceFieldRef": { "resource": "limits.memory" } })), "X=67108864");
        check(from(json!({ "resourceFieldRef": { "resource": "requests.cpu", "divisor": "0" } })), "X=1");
        check(from(json!({ "resourceFieldRef": { "resource": "requests.cpu", "divisor": "1m" } })), "X=250");
        check(from(json!({ "resourceFieldRef": { "resource": "limits.cpu" } })), "X=4");
        check(from(json!({ "resourceFieldRef": { "resource": "limits.ephemeral-storage" } })), "X=900");
        check(from(json!({ "resourceFieldRef": { "resource": "requests.ephemeral-storage" } })), "X=0");
        check(from(json!({ "resourceFieldRef": { "resource": "limits.hugepages-2Mi" } })), "X=0");
    }

    #[test]
    fn expansion_leaves_alone_what_it_does_not_know() {
        let env = [("A".to_string(), "x".to_string())];
        for (text, expected) in [("$(A)", "x"), ("$A ${A}", "$A ${A}"), ("$$(A)", "$(A)"), ("$(", "$("), ("a$", "a$")] {
            assert_eq!(expand(text, &env), expected);
        }
    }
}
