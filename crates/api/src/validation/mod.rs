//! Which objects are legal, and the words in which Kubernetes says why one is not.

pub mod field;
pub mod meta;
pub mod names;

use serde_json::Value;

use field::{Causes, Path, invalid as invalid_field};

use crate::resources::Resource;
use crate::status::{Cause, Details, Reason, Status};
use crate::strategy;

/// Everything wrong with a new object, in the order Kubernetes lists it. Empty: legal.
pub fn create(resource: &Resource, object: &Value) -> Vec<Cause> {
    let causes = kind_create(resource, object);
    if !causes.is_empty() {
        return causes;
    }
    meta::accessor(object, resource.namespaced, names::path_segment, &Path::new("metadata"))
}

/// Everything wrong with an update (`subresource`: none for the main resource).
pub fn update(resource: &Resource, subresource: Option<&str>, object: &Value, old: &Value) -> Vec<Cause> {
    let metadata = Path::new("metadata");
    if crate::meta::resource_version(object).is_empty() && !strategy::allows_unconditional_update(resource) {
        return vec![invalid_field(&metadata.child("resourceVersion"), 0, "must be specified for an update")];
    }
    let mut causes = meta::accessor(object, resource.namespaced, names::path_segment, &metadata);
    causes.extend(meta::update(object, old));
    causes.extend(kind_update(resource, subresource, object, old));
    causes
}

/// `Warning` headers that go with an accepted object, such as those for deprecated fields.
pub fn warnings(resource: &Resource, object: &Value, old: Option<&Value>) -> Vec<String> {
    let _ = (resource, object, old);
    Vec::new()
}

/// The 422 answer that lists the causes: `DaemonSet.apps "x" is invalid: ...`.
pub fn invalid(resource: &Resource, name: &str, causes: Vec<Cause>) -> Status {
    invalid_kind(&resource.group, &resource.kind, name, causes)
}

/// [`invalid`] for what has no resource; group, kind and name may be empty, as they are for patches.
///
/// The message says everything once, the causes as often as it was found.
pub fn invalid_kind(group: &str, kind: &str, name: &str, causes: Vec<Cause>) -> Status {
    let mut said: Vec<String> = Vec::new();
    for cause in &causes {
        let text = format!("{}: {}", cause.field, cause.message);
        if !said.contains(&text) {
            said.push(text);
        }
    }
    let what = format!("{} {} is invalid", crate::status::qualified(kind, group), field::quote(name));
    let message = match said.as_slice() {
        [] => what,
        [one] => format!("{what}: {one}"),
        several => format!("{what}: [{}]", several.join(", ")),
    };
    let details = Details { name: name.into(), group: group.into(), kind: kind.into(), causes, ..Details::default() };
    Status::new(Reason::Invalid, message).details(details)
}

/// The rules of a kind for new objects.
fn kind_create(resource: &Resource, object: &Value) -> Causes {
    meta::object_meta(object, resource.namespaced, name_rule(resource), &Path::new("metadata"))
}

/// The rules of a kind for updates, after the general ones.
fn kind_update(resource: &Resource, subresource: Option<&str>, object: &Value, old: &Value) -> Causes {
    let _ = (resource, subresource);
    meta::update(object, old)
}

/// What the name of an object of this kind must look like.
fn name_rule(resource: &Resource) -> meta::NameRule {
    match (resource.group.as_str(), resource.kind.as_str()) {
        ("", "Namespace") => names::dns_label,
        ("", "Service") => names::dns_1035_label,
        ("rbac.authorization.k8s.io", _) => names::path_segment,
        _ => names::dns_subdomain,
    }
}
