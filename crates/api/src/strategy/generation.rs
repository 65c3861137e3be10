//! `metadata.generation`, and the template generation of DaemonSets beside it.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{TEMPLATE_GENERATION, is, is_custom};
use crate::meta;
use crate::quantity::Quantity;
use crate::resources::Resource;

/// Starts counting, for kinds that count.
pub(super) fn start(resource: &Resource, object: &mut Value) {
    if counts(resource) {
        meta::set_meta(object, "generation", 1);
    }
    if is(resource, "apps", "DaemonSet") {
        let wished = meta::annotation(object, TEMPLATE_GENERATION).and_then(|text| text.parse().ok()).unwrap_or(1);
        set_template_generation(object, wished.max(1));
    }
}

/// Keeps the old generation whatever the client sent, and counts it up if the desired state changed.
pub(super) fn count(resource: &Resource, subresource: Option<&str>, object: &mut Value, old: &Value) {
    match meta::generation(old) {
        0 => drop(meta::remove_meta(object, "generation")),
        generation => meta::set_meta(object, "generation", generation),
    }
    // A binding is the scheduler's doing, not a change of what is wanted.
    let writes_spec = subresource.is_none_or(|name| name != "status" && name != "binding");
    if writes_spec && counts(resource) && desired_state_changed(resource, object, old) {
        meta::set_meta(object, "generation", meta::generation(old) + 1);
    }
    if is(resource, "apps", "DaemonSet") {
        let template = ["spec", "template"];
        let changed = !semantically_equal(meta::value_at(object, &template), meta::value_at(old, &template));
        let before = meta::annotation(old, TEMPLATE_GENERATION).and_then(|text| text.parse().ok()).unwrap_or(1);
        set_template_generation(object, if changed { before + 1 } else { before });
    }
}

fn set_template_generation(object: &mut Value, generation: i64) {
    let annotations = meta::map_mut(object, &["metadata", "annotations"]);
    annotations.insert(TEMPLATE_GENERATION.into(), generation.to_string().into());
}

fn counts(resource: &Resource) -> bool {
    is_custom(resource)
        || matches!(
            (resource.group.as_str(), resource.kind.as_str()),
            ("", "Pod" | "PodTemplate" | "ReplicationController")
                | ("apps", "DaemonSet" | "Deployment" | "ReplicaSet" | "StatefulSet")
                | ("batch" | "policy" | "autoscaling" | "flowcontrol.apiserver.k8s.io", _)
                | ("networking.k8s.io", "Ingress" | "IngressClass" | "NetworkPolicy")
                | ("discovery.k8s.io" | "apiextensions.k8s.io" | "admissionregistration.k8s.io", _)
                | ("scheduling.k8s.io", "PriorityClass")
                | ("resource.k8s.io", "ResourceSlice")
        ) && resource.kind != "HorizontalPodAutoscaler"
}

/// Everything but metadata and, where it is written separately, status.
fn desired_state_changed<'a>(resource: &Resource, object: &'a Value, old: &'a Value) -> bool {
    let fields = |object: &'a Value| object.as_object().into_iter().flat_map(|fields| fields.keys());
    let names: BTreeSet<&String> = fields(object).chain(fields(old)).collect();
    let status_apart = !is_custom(resource) || resource.subresource("status").is_some();
    let changed = names.into_iter().any(|name| match name.as_str() {
        "apiVersion" | "kind" | "metadata" => false,
        "status" if status_apart => false,
        name => !semantically_equal(object.get(name), old.get(name)),
    });
    // Controllers read some settings of Deployments from annotations.
    let annotations = ["metadata", "annotations"];
    let annotated = is(resource, "apps", "Deployment")
        && !semantically_equal(meta::value_at(object, &annotations), meta::value_at(old, &annotations));
    changed || annotated
}

/// Whether two values mean the same: an absent list is an empty one, amounts of resources count by value.
pub fn semantically_equal(left: Option<&Value>, right: Option<&Value>) -> bool {
    same(left, right, false)
}

fn same(left: Option<&Value>, right: Option<&Value>, amounts: bool) -> bool {
    let is_nothing = |value: Option<&Value>| match value {
        None | Some(Value::Null) => true,
        Some(Value::Array(elements)) => elements.is_empty(),
        _ => false,
    };
    match (left, right) {
        (left, right) if is_nothing(left) || is_nothing(right) => is_nothing(left) && is_nothing(right),
        (Some(Value::Object(left)), Some(Value::Object(right))) => {
            let names: BTreeSet<&String> = left.keys().chain(right.keys()).collect();
            names.into_iter().all(|name| {
                let amounts = matches!(name.as_str(), "limits" | "requests" | "overhead" | "capacity" | "hard")
                    || (amounts && left.get(name).is_some_and(Value::is_string));
                same(left.get(name), right.get(name), amounts)
            })
        }
        (Some(Value::Array(left)), Some(Value::Array(right))) => {
            left.len() == right.len()
                && left.iter().zip(right).all(|(left, right)| same(Some(left), Some(right), false))
        }
        (Some(Value::String(left)), Some(Value::String(right))) if amounts && left != right => {
            matches!((Quantity::parse(left), Quantity::parse(right)), (Ok(left), Ok(right)) if left == right)
        }
        (left, right) => left == right,
    }
}
