//! Which objects are legal, and the words in which Kubernetes says why one is not.

pub mod names;

use serde_json::Value;

use crate::resources::Resource;
use crate::status::{Cause, Status};

/// Everything wrong with a new object, in the order Kubernetes lists it. Empty: legal.
pub fn create(resource: &Resource, object: &Value) -> Vec<Cause> {
    let _ = (resource, object);
    todo!("validation")
}

/// Everything wrong with an update (`subresource`: none for the main resource).
pub fn update(resource: &Resource, subresource: Option<&str>, object: &Value, old: &Value) -> Vec<Cause> {
    let _ = (resource, subresource, object, old);
    todo!("validation")
}

/// `Warning` headers that go with an accepted object, such as those for deprecated fields.
pub fn warnings(resource: &Resource, object: &Value, old: Option<&Value>) -> Vec<String> {
    let _ = (resource, object, old);
    todo!("validation")
}

/// The 422 answer that lists the causes: `DaemonSet.apps "x" is invalid: ...`.
pub fn invalid(resource: &Resource, name: &str, causes: Vec<Cause>) -> Status {
    let _ = (resource, name, causes);
    todo!("validation")
}
