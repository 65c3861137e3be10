//! `Priority`: a pod's priority comes from its class, and there is one default class at most.

use std::sync::Arc;

use backstay_api::{Status, meta};
use backstay_store::{Entry, Key, Range};
use serde_json::{Value, json};

use super::{Admission, Event, forbidden};
use crate::encode;

/// Where priority classes are kept.
const CLASSES: &str = "scheduling.k8s.io/priorityclasses";

/// What a class gives to its pods.
#[derive(Debug, PartialEq)]
struct Given {
    class: String,
    priority: i64,
    preemption: String,
}

pub fn admit(admission: &mut Admission<'_>) -> Result<(), Status> {
    if admission.is("scheduling.k8s.io", "priorityclasses") {
        return admit_class(admission);
    }
    if !admission.creates("", "pods") {
        return Ok(());
    }
    let given = match meta::str_at(admission.object, &["spec", "priorityClassName"]) {
        "" => default_class(admission).map_or_else(Given::none, |class| Given::of(&class)),
        name => {
            let class = find(admission, name)
                .ok_or_else(|| forbidden(admission.object, &format!("no PriorityClass with name {name} was found")))?;
            Given::of(&class)
        }
    };
    give(admission.object, given)
}

/// Only one class may be the default one.
fn admit_class(admission: &mut Admission<'_>) -> Result<(), Status> {
    if matches!(admission.event, Event::Delete { .. }) || !is_default(admission.object) {
        return Ok(());
    }
    let name = meta::name(admission.object);
    match default_class(admission).filter(|class| meta::name(class) != name) {
        None => Ok(()),
        Some(other) => {
            let why = format!(
                "PriorityClass {} is already marked as default. Only one default can exist",
                meta::name(&other)
            );
            Err(Status::forbidden("scheduling.k8s.io", "priorityclasses", name, &why))
        }
    }
}

impl Given {
    fn none() -> Self {
        Self { class: String::new(), priority: 0, preemption: "PreemptLowerPriority".into() }
    }

    fn of(class: &Value) -> Self {
        let preemption = match meta::str_at(class, &["preemptionPolicy"]) {
            "" => "PreemptLowerPriority",
            policy => policy,
        };
        let priority = meta::int_at(class, &["value"]).unwrap_or(0);
        Self { class: meta::name(class).into(), priority, preemption: preemption.into() }
    }
}

fn give(pod: &mut Value, given: Given) -> Result<(), Status> {
    let Given { class, priority, preemption } = given;
    if let Some(wanted) = meta::int_at(pod, &["spec", "priority"]).filter(|wanted| *wanted != priority) {
        return Err(forbidden(
            pod,
            &format!(
                "the integer value of priority ({wanted}) must not be provided in pod spec; priority admission controller \
             computed {priority} from the given PriorityClass name"
            ),
        ));
    }
    let wanted = meta::str_at(pod, &["spec", "preemptionPolicy"]);
    if !wanted.is_empty() && wanted != preemption {
        return Err(forbidden(
            pod,
            &format!(
                "the string value of PreemptionPolicy ({wanted}) must not be provided in pod spec; priority admission \
             controller computed {preemption} from the given PriorityClass name"
            ),
        ));
    }
    let spec = meta::map_mut(pod, &["spec"]);
    if !class.is_empty() {
        spec.insert("priorityClassName".into(), json!(class));
    }
    spec.insert("priority".into(), json!(priority));
    spec.insert("preemptionPolicy".into(), json!(preemption));
    Ok(())
}

fn find(admission: &Admission<'_>, name: &str) -> Option<Value> {
    let entry = admission.call.core.store.snapshot().get(&Key::new(CLASSES, "", name))?;
    Some(encode::parse(&entry))
}

/// The default class; the one with the lowest value if there should be several.
fn default_class(admission: &Admission<'_>) -> Option<Value> {
    let classes: Vec<Arc<Entry>> = admission.call.core.store.snapshot().list(&Range::all(CLASSES), None, 0);
    let defaults = classes.iter().map(|entry| encode::parse(entry)).filter(is_default);
    defaults.min_by_key(|class| meta::int_at(class, &["value"]))
}

fn is_default(class: &Value) -> bool {
    meta::value_at(class, &["globalDefault"]) == Some(&Value::Bool(true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_cannot_claim_another_priority() {
        let high = || Given { class: "high".into(), priority: 5, preemption: "Never".into() };
        let mut pod = json!({"metadata": {"name": "p"}, "spec": {"priorityClassName": "high"}});
        give(&mut pod, high()).unwrap();
        let spec = json!({"priorityClassName": "high", "priority": 5, "preemptionPolicy": "Never"});
        assert_eq!(pod["spec"], spec);
        pod["spec"]["priority"] = json!(6);
        let refused = give(&mut pod, high()).unwrap_err();
        assert!(refused.message().starts_with("pods \"p\" is forbidden: the integer value of priority (6) must not"));
    }
}
