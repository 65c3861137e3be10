//! What the server does with an object of each kind before it is kept: fields that clients may not set,
//! generation counting, what a status write may touch, and which writes are legal at all.

use serde_json::Value;

use crate::resources::Resource;

/// Prepares a new object: clears status, sets `generation` where the kind counts it, and the like.
/// Name, uid, namespace and creationTimestamp are the registry's business.
pub fn prepare_for_create(resource: &Resource, object: &mut Value) {
    let _ = (resource, object);
    todo!("strategy")
}

/// Prepares an update of the main resource (`subresource` is none) or of a subresource such as `status`: takes back
/// what this write may not change from `old`, and counts `generation` up where the spec changed semantically.
pub fn prepare_for_update(resource: &Resource, subresource: Option<&str>, object: &mut Value, old: &Value) {
    let _ = (resource, subresource, object, old);
    todo!("strategy")
}

/// A PUT to a name that does not exist creates the object (leases, for example).
pub fn allows_create_on_update(resource: &Resource) -> bool {
    let _ = resource;
    todo!("strategy")
}

/// A PUT without `resourceVersion` is allowed.
pub fn allows_unconditional_update(resource: &Resource) -> bool {
    let _ = resource;
    todo!("strategy")
}

/// Values of the field selectors of this kind besides `metadata.name` and `metadata.namespace`, in a fixed order; a
/// field that is not set is the empty string.
pub fn selectable_fields(resource: &Resource, object: &Value) -> Vec<(String, String)> {
    let _ = (resource, object);
    todo!("strategy")
}

/// The labels of the field selectors this kind knows, `metadata.name` and `metadata.namespace` included.
pub fn known_field_labels(resource: &Resource) -> Vec<&'static str> {
    let _ = resource;
    todo!("strategy")
}
