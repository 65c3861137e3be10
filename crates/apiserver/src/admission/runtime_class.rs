//! `RuntimeClass`: a pod's class must exist, and says where its pods run and what they cost besides their containers.

use backstay_api::{Status, meta};
use backstay_store::Key;
use serde_json::{Map, Value};

use super::{Admission, forbidden};
use crate::encode;

/// Where runtime classes are kept.
const CLASSES: &str = "node.k8s.io/runtimeclasses";

pub fn admit(admission: &mut Admission<'_>) -> Result<(), Status> {
    if !admission.creates("", "pods") {
        return Ok(());
    }
    let class = match meta::str_at(admission.object, &["spec", "runtimeClassName"]) {
        "" => None,
        name => {
            let entry = admission.call.core.store.snapshot().get(&Key::new(CLASSES, "", name));
            let entry = entry.ok_or_else(|| rejected(admission.object, &format!("RuntimeClass {name:?} not found")))?;
            Some(encode::parse(&entry))
        }
    };
    give(admission.object, class.as_ref()).map_err(|why| rejected(admission.object, &why))
}

fn give(pod: &mut Value, class: Option<&Value>) -> Result<(), String> {
    let fixed = class.and_then(|class| meta::value_at(class, &["overhead", "podFixed"]));
    let own = meta::value_at(pod, &["spec", "overhead"]).filter(|own| own.as_object().is_some_and(|it| !it.is_empty()));
    match (fixed, own) {
        (None, Some(_)) => return Err("Pod Overhead set without corresponding RuntimeClass defined Overhead".into()),
        (Some(fixed), Some(own)) if fixed != own => {
            return Err("Pod's Overhead doesn't match RuntimeClass's defined Overhead".into());
        }
        (Some(fixed), None) => drop(meta::map_mut(pod, &["spec"]).insert("overhead".into(), fixed.clone())),
        _ => {}
    }
    let Some(scheduling) = class.and_then(|class| meta::value_at(class, &["scheduling"])) else { return Ok(()) };
    if let Some(wanted) = meta::value_at(scheduling, &["nodeSelector"]).and_then(Value::as_object) {
        select(meta::map_mut(pod, &["spec", "nodeSelector"]), wanted)?;
    }
    let more: Vec<&Value> = meta::list_at(scheduling, &["tolerations"]).iter().collect();
    if !more.is_empty() {
        let held = meta::map_mut(pod, &["spec"]).entry("tolerations").or_insert_with(|| Value::Array(Vec::new()));
        if let Some(held) = held.as_array_mut() {
            for toleration in more {
                if !held.contains(toleration) {
                    held.push(toleration.clone());
                }
            }
        }
    }
    Ok(())
}

fn select(own: &mut Map<String, Value>, wanted: &Map<String, Value>) -> Result<(), String> {
    for (key, value) in wanted {
        match own.get(key) {
            Some(held) if held != value => {
                let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
                let (theirs, ours) = (text(value), text(held));
                return Err(format!(
                    "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {theirs}; pod.spec.nodeSelector[{key}] = {ours}"
                ));
            }
            _ => drop(own.insert(key.clone(), value.clone())),
        }
    }
    Ok(())
}

fn rejected(pod: &Value, why: &str) -> Status {
    forbidden(pod, &format!("pod rejected: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(spec: Value, class: Option<Value>, expected: Result<Value, &str>) {
        let mut pod = json!({ "spec": spec });
        let given = give(&mut pod, class.as_ref());
        match expected {
            Ok(spec) => assert_eq!((given, &pod["spec"]), (Ok(()), &spec)),
            Err(text) => assert!(given.as_ref().is_err_and(|why| why.contains(text)), "{given:?}"),
        }
    }

    #[test]
    fn a_class_gives_overhead_and_places() {
        let cost = json!({ "cpu": "100m" });
        check(json!({}), None, Ok(json!({})));
        check(json!({ "overhead": cost }), None, Err("without corresponding RuntimeClass"));
        let costly = || Some(json!({ "overhead": { "podFixed": { "cpu": "100m" } } }));
        check(json!({}), costly(), Ok(json!({ "overhead": cost })));
        check(json!({ "overhead": cost }), costly(), Ok(json!({ "overhead": cost })));
        check(json!({ "overhead": { "cpu": "1" } }), costly(), Err("doesn't match"));
        let toleration = json!({ "key": "gvisor", "operator": "Exists" });
        let placed = || Some(json!({ "scheduling": { "nodeSelector": { "a": "1" }, "tolerations": [toleration] } }));
        let expected = json!({ "nodeSelector": { "a": "1", "b": "2" }, "tolerations": [toleration] });
        check(json!({ "nodeSelector": { "b": "2" } }), placed(), Ok(expected.clone()));
        check(json!({ "nodeSelector": { "a": "1", "b": "2" }, "tolerations": [toleration] }), placed(), Ok(expected));
        check(
            json!({ "nodeSelector": { "a": "2" } }),
            placed(),
            Err("nodeSelector[a] = 1; pod.spec.nodeSelector[a] = 2"),
        );
    }
}
