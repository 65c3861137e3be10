//! What the server does with an object of each kind before it is kept: fields that clients may not set,
//! generation counting, what a status write may touch, and which writes are legal at all.
//!
//! Source: the `strategy.go` of each kind below `pkg/registry` of Kubernetes 1.36.

mod fields;
mod generation;
mod prepare;
mod qos;

use serde_json::Value;

pub use fields::{known_field_labels, selectable_fields, unknown_field};
pub use generation::semantically_equal;
pub use qos::qos_class;

use crate::meta;
use crate::resources::{self, Resource};

/// The annotation that shows a DaemonSet's template generation. Clients may send what they like: the count is ours.
pub const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

/// Prepares a new object: clears status, sets `generation` where the kind counts it, and the like.
/// Name, uid, namespace and creationTimestamp are the registry's business, and set before.
pub fn prepare_for_create(resource: &Resource, object: &mut Value) {
    prepare::create(resource, object);
    generation::start(resource, object);
}

/// Prepares an update of the main resource (`subresource` is none) or of a subresource such as `status`: takes back
/// what this write may not change from `old`, and counts `generation` up where the spec changed semantically.
pub fn prepare_for_update(resource: &Resource, subresource: Option<&str>, object: &mut Value, old: &Value) {
    match subresource {
        None => prepare::update(resource, object, old),
        Some("status") => prepare::update_status(resource, object, old),
        Some("approval") => prepare::update_approval(object, old),
        Some("finalize") => prepare::update_finalizers(object, old),
        Some("ephemeralcontainers") => prepare::update_ephemeral_containers(object, old),
        Some(_) => {}
    }
    prepare::keep_system_fields(object, old);
    generation::count(resource, subresource, object, old);
}

/// What makes an object unreadable before any rule is asked: Kubernetes finds it when it converts between versions.
/// The text follows the object in the message of the answer, 400 for whole objects.
pub fn conversion_error(resource: &Resource, object: &Value) -> Option<String> {
    if !is(resource, "apps", "DaemonSet") {
        return None;
    }
    let text = meta::annotation(object, TEMPLATE_GENERATION)?;
    let what = match text.parse::<i64>() {
        Ok(_) => return None,
        Err(error) => match error.kind() {
            std::num::IntErrorKind::PosOverflow | std::num::IntErrorKind::NegOverflow => "value out of range",
            _ => "invalid syntax",
        },
    };
    Some(format!("strconv.ParseInt: parsing {text:?}: {what}"))
}

/// A PUT to a name that does not exist creates the object (leases, for example).
pub fn allows_create_on_update(resource: &Resource) -> bool {
    matches!(
        (resource.group.as_str(), resource.kind.as_str()),
        ("" | "events.k8s.io", "Event")
            | ("", "Endpoints" | "LimitRange" | "Service")
            | ("coordination.k8s.io", "Lease" | "LeaseCandidate")
            | ("rbac.authorization.k8s.io", _)
    )
}

/// A PUT without `resourceVersion` is allowed.
pub fn allows_unconditional_update(resource: &Resource) -> bool {
    let forbidden = matches!(
        (resource.group.as_str(), resource.kind.as_str()),
        ("", "ServiceAccount")
            | ("coordination.k8s.io" | "apiextensions.k8s.io" | "apiregistration.k8s.io", _)
            | ("admissionregistration.k8s.io" | "discovery.k8s.io" | "node.k8s.io", _)
            | ("policy", "PodDisruptionBudget")
            | ("storage.k8s.io", "CSIDriver" | "CSINode" | "CSIStorageCapacity" | "VolumeAttachment")
    );
    !forbidden && !is_custom(resource)
}

fn is(resource: &Resource, group: &str, kind: &str) -> bool {
    resource.group == group && resource.kind == kind
}

/// Whether the kind comes from a CustomResourceDefinition.
pub fn is_custom(resource: &Resource) -> bool {
    !resources::builtin().iter().any(|builtin| builtin.group == resource.group && builtin.kind == resource.kind)
}

#[cfg(test)]
mod tests;
