//! What may change in a pod once it exists: next to nothing.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{pod_metadata_and_spec, scheduling};
use crate::meta;
use crate::pod::Restarts;
use crate::strategy::semantically_equal;
use crate::validation::field::{self, Causes, Path, forbidden, invalid, invalids, quote, required};
use crate::validation::{Policy, ip, meta as metadata, names};

const UPDATABLE: &str = "pod updates may not change fields other than `spec.containers[*].image`,\
    `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,\
    `spec.tolerations` (only additions to existing tolerations),\
    `spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// An update of the pod itself.
pub(in crate::validation) fn pod_update(pod: &Value, old: &Value, policy: Policy) -> Causes {
    let path = Path::new("spec");
    let mut causes = metadata::update(pod, old);
    causes.extend(pod_metadata_and_spec(pod, policy));
    for list in ["containers", "initContainers"] {
        let (found, stop) = images(pod, old, list, &path.child(list));
        causes.extend(found);
        if stop {
            return causes;
        }
    }
    let (found, stop) = deadline(pod, old, &path.child("activeDeadlineSeconds"));
    causes.extend(found);
    if stop {
        return causes;
    }
    causes.extend(added_tolerations(pod, old, &path.child("tolerations")));
    causes.extend(removed_gates(pod, old, &path.child("schedulingGates")));
    if !semantically_equal(Some(&without_updatable(pod, old)), old.get("spec")) {
        causes.push(forbidden(&path, &format!("{UPDATABLE}\n")));
    }
    causes
}

/// The spec with everything put back that may change.
fn without_updatable(pod: &Value, old: &Value) -> Value {
    let mut spec = pod.get("spec").cloned().unwrap_or_default();
    for list in ["containers", "initContainers"] {
        let before = meta::list_at(old, &["spec", list]);
        let containers = spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten();
        for (container, before) in containers.zip(before) {
            container["image"] = before["image"].clone();
        }
    }
    let fields = meta::map_mut(&mut spec, &[]);
    for field in ["activeDeadlineSeconds", "tolerations", "schedulingGates"] {
        match meta::value_at(old, &["spec", field]) {
            Some(value) => drop(fields.insert(field.into(), value.clone())),
            None => drop(fields.remove(field)),
        }
    }
    let grace = meta::int_at(old, &["spec", "terminationGracePeriodSeconds"]);
    if grace.is_some_and(|grace| grace < 0) && fields.get("terminationGracePeriodSeconds") == Some(&json!(1)) {
        fields.insert("terminationGracePeriodSeconds".into(), grace.into());
    }
    if !meta::list_at(old, &["spec", "schedulingGates"]).is_empty() {
        keep_placement(fields, old);
    }
    spec
}

/// While a pod is held back, its placement may be narrowed; how far is not checked.
fn keep_placement(spec: &mut serde_json::Map<String, Value>, old: &Value) {
    for field in ["nodeSelector", "affinity"] {
        match meta::value_at(old, &["spec", field]) {
            Some(value) => drop(spec.insert(field.into(), value.clone())),
            None => drop(spec.remove(field)),
        }
    }
}

fn images(pod: &Value, old: &Value, list: &str, path: &Path) -> (Causes, bool) {
    let containers = meta::list_at(pod, &["spec", list]);
    if containers.len() != meta::list_at(old, &["spec", list]).len() {
        return (vec![forbidden(path, "pod updates may not add or remove containers")], true);
    }
    let mut causes = Causes::new();
    for (position, container) in containers.iter().enumerate() {
        let path = path.index(position).child("image");
        let image = meta::str_at(container, &["image"]);
        if image.is_empty() {
            causes.push(required(&path, ""));
        }
        if image.trim() != image {
            causes.push(invalid(&path, image, "must not have leading or trailing whitespace"));
        }
    }
    (causes, false)
}

/// The deadline may be set, and shortened.
fn deadline(pod: &Value, old: &Value, path: &Path) -> (Causes, bool) {
    let seconds = |pod| meta::int_at(pod, &["spec", "activeDeadlineSeconds"]);
    match (seconds(pod), seconds(old)) {
        (Some(new), before) => {
            let problems = names::in_range(new, 0, i32::MAX.into());
            if let Some(problem) = problems.first() {
                return (vec![invalid(path, new, problem)], true);
            }
            if before.is_some_and(|before| before < new) {
                return (vec![invalid(path, new, "must be less than or equal to previous value")], true);
            }
            (Causes::new(), false)
        }
        (None, Some(_)) => {
            (vec![invalid(path, Value::Null, "must not update from a positive integer to nil value")], false)
        }
        (None, None) => (Causes::new(), false),
    }
}

fn added_tolerations(pod: &Value, old: &Value, path: &Path) -> Causes {
    let without_seconds = |toleration: &Value| {
        let mut toleration = toleration.clone();
        meta::map_mut(&mut toleration, &[]).remove("tolerationSeconds");
        toleration
    };
    let now: Vec<Value> = meta::list_at(pod, &["spec", "tolerations"]).iter().map(without_seconds).collect();
    let kept = |old: &Value| now.contains(&without_seconds(old));
    if !meta::list_at(old, &["spec", "tolerations"]).iter().all(kept) {
        return vec![forbidden(path, "existing toleration can not be modified except its tolerationSeconds")];
    }
    scheduling::tolerations(pod.get("spec").unwrap_or(&Value::Null), path)
}

fn removed_gates(pod: &Value, old: &Value, path: &Path) -> Causes {
    let names = |pod| meta::list_at(pod, &["spec", "schedulingGates"]).iter().map(|gate| meta::str_at(gate, &["name"]));
    let before: Vec<&str> = names(old).collect();
    let added = names(pod).enumerate().filter(|(_, name)| !before.contains(name));
    let added = added.map(|(position, name)| {
        let what = format!("only deletion is allowed, but found new scheduling gate '{name}'");
        forbidden(&path.index(position).child("name"), &what)
    });
    added.collect()
}

/// `pods/status`.
pub(in crate::validation) fn status_update(pod: &Value, old: &Value) -> Causes {
    let mut causes = metadata::update(pod, old);
    for (position, condition) in meta::list_at(pod, &["status", "conditions"]).iter().enumerate() {
        let kind = meta::str_at(condition, &["type"]);
        if !matches!(kind, "PodScheduled" | "Ready" | "Initialized") {
            // Kubernetes has the path wrong.
            let path = Path::new("metadata").child("conditions").index(position).child("Type");
            causes.extend(invalids(&path, kind, names::label_key(kind)));
        }
    }
    let path = Path::new("status");
    let nominated = meta::str_at(pod, &["status", "nominatedNodeName"]);
    if !nominated.is_empty() && nominated != meta::str_at(old, &["status", "nominatedNodeName"]) {
        causes.extend(invalids(&path.child("nominatedNodeName"), nominated, names::dns_subdomain(nominated)));
    }
    let qos = meta::str_at(pod, &["status", "qosClass"]);
    if qos != meta::str_at(old, &["status", "qosClass"]) {
        causes.push(invalid(&path.child("qosClass"), qos, field::IMMUTABLE));
    }
    causes.extend(ended_containers(pod, old, &path));
    for (position, address) in meta::list_at(pod, &["status", "podIPs"]).iter().enumerate() {
        causes.extend(ip::address(meta::str_at(address, &["ip"]), &path.child("podIPs").index(position)));
    }
    for (position, address) in meta::list_at(pod, &["status", "hostIPs"]).iter().enumerate() {
        causes.extend(ip::address(meta::str_at(address, &["ip"]), &path.child("hostIPs").index(position)));
    }
    causes
}

/// A container that has ended and may not be restarted stays ended.
fn ended_containers(pod: &Value, old: &Value, path: &Path) -> Causes {
    let policy = meta::str_at(old, &["spec", "restartPolicy"]);
    let mut causes = Causes::new();
    for (list, policy) in
        [("containerStatuses", policy), ("initContainerStatuses", policy), ("ephemeralContainerStatuses", "Never")]
    {
        let statuses = meta::list_at(pod, &["status", list]).iter().rev();
        let statuses: BTreeMap<&str, &Value> =
            statuses.map(|status| (meta::str_at(status, &["name"]), status)).collect();
        for (position, before) in meta::list_at(old, &["status", list]).iter().enumerate() {
            let Some(ended) = meta::value_at(before, &["state", "terminated"]) else { continue };
            let name = meta::str_at(before, &["name"]);
            let container = container_of(old, list, name);
            if Restarts::of(container, policy).after(meta::int_at(ended, &["exitCode"]).unwrap_or(0)) {
                continue;
            }
            let now = statuses.get(name);
            if now.is_some_and(|now| meta::value_at(now, &["state", "terminated"]).is_none()) {
                let path = path.child(list).index(position).child("state");
                causes.push(forbidden(&path, "may not be transitioned to non-terminated state"));
            }
        }
    }
    causes
}

fn container_of<'a>(pod: &'a Value, statuses: &str, name: &str) -> &'a Value {
    let list = match statuses {
        "containerStatuses" => "containers",
        "initContainerStatuses" => "initContainers",
        _ => "ephemeralContainers",
    };
    let mut containers = meta::list_at(pod, &["spec", list]).iter();
    containers.find(|container| meta::str_at(container, &["name"]) == name).unwrap_or(&Value::Null)
}

/// `pods/ephemeralcontainers`: they may only be added.
pub(in crate::validation) fn ephemeral_containers_update(pod: &Value, old: &Value, policy: Policy) -> Causes {
    let mut causes = metadata::update(pod, old);
    causes.extend(pod_metadata_and_spec(pod, policy));
    let path = Path::new("spec").child("ephemeralContainers");
    let containers = meta::list_at(pod, &["spec", "ephemeralContainers"]);
    for before in meta::list_at(old, &["spec", "ephemeralContainers"]) {
        let name = meta::str_at(before, &["name"]);
        match containers.iter().find(|container| meta::str_at(container, &["name"]) == name) {
            None => {
                let what = format!("existing ephemeral containers {} may not be removed\n", quote(name));
                causes.push(forbidden(&path, &what));
            }
            Some(now) if !semantically_equal(Some(now), Some(before)) => {
                let what = format!("existing ephemeral containers {} may not be changed\n", quote(name));
                causes.push(forbidden(&path, &what));
            }
            Some(_) => {}
        }
    }
    causes
}
