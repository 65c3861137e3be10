//! `managedFields`: who owns which field, and server-side apply over it.
//!
//! Ownership is a set of paths per manager. A plain write takes what it changes ([`track_update`]); an apply owns what
//! it names, conflicts where it would change what others own, and takes out what it no longer names ([`apply`]).
//! Source: `sigs.k8s.io/structured-merge-diff` and `k8s.io/apimachinery` `managedfields`.

mod apply;
mod check;
mod compare;
mod conflicts;
mod entries;
mod extract;
mod fields_v1;
mod last_applied;
mod merge;
mod path;
mod remove;
mod set;
mod shape;
mod track;

use std::sync::LazyLock;

use jiff::Timestamp;
use serde_json::Value;

pub use self::apply::apply;
pub use self::track::{track_create, track_update};

use self::entries::{Identity, Operation};
use self::set::FieldSet;
use self::track::Write;
use crate::resources::Resource;

/// Who writes, and through which door.
#[derive(Clone, Debug)]
pub struct Manager<'a> {
    /// The `fieldManager` parameter, or what the User-Agent says before the first slash. Empty: `unknown`.
    pub name: &'a str,
    /// The resource the request spoke of, in the version it spoke.
    pub resource: &'a Resource,
    /// `""` for the main resource, `status`...
    pub subresource: &'a str,
    pub now: Timestamp,
}

/// From which write of an object on its managers are told apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TrackedFrom {
    /// As Kubernetes has it.
    #[default]
    Create,
    /// An object that nobody applies has no `managedFields`; at the first apply, everything that it has belongs to
    /// `before-first-apply`. Source: Kubernetes up to 1.17 (`DefaultTrackOnCreateProbability` of 0).
    FirstApply,
}

impl Manager<'_> {
    fn write(&self, operation: Operation) -> Write {
        let name = if self.name.is_empty() { "unknown" } else { self.name };
        let api_version = self.resource.api_version();
        Write {
            identity: Identity::new(name, operation, &api_version, self.subresource),
            api_version,
            reset: reset_fields(self.resource, self.subresource),
            now: self.now,
        }
    }
}

/// Takes back new times in `managedFields` where nothing else changed, so that a write without effect stays one.
/// For every update, patch and apply, as the last step before the object is compared with `before`.
pub fn keep_times(before: &Value, after: &mut Value) {
    let old = crate::meta::list_at(before, &["metadata", "managedFields"]);
    let new = crate::meta::list_at(after, &["metadata", "managedFields"]);
    let same = old.len() == new.len() && old.iter().zip(new).all(|(old, new)| same_but_for_time(old, new));
    if same && old != new && same_but_for_managed_fields(before, after) {
        crate::meta::set_meta(after, "managedFields", old.to_vec());
    }
}

fn same_but_for_time(left: &Value, right: &Value) -> bool {
    same_fields_but(left, right, "time", |_, _| true)
}

fn same_but_for_managed_fields(left: &Value, right: &Value) -> bool {
    let same_metadata = |left: &Value, right: &Value| same_fields_but(left, right, "managedFields", |_, _| true);
    same_fields_but(left, right, "metadata", same_metadata)
}

/// All fields are equal, and the one called `name` as far as `same` says.
fn same_fields_but(left: &Value, right: &Value, name: &str, same: impl Fn(&Value, &Value) -> bool) -> bool {
    let (Some(left), Some(right)) = (left.as_object(), right.as_object()) else { return left == right };
    let others = |fields: &'_ serde_json::Map<String, Value>| fields.keys().filter(|key| *key != name).count();
    others(left) == others(right)
        && left.iter().all(|(key, value)| match right.get(key) {
            Some(theirs) if key == name => same(value, theirs),
            theirs => key == name || theirs == Some(value),
        })
}

/// The fields that a write through this door cannot change: it neither owns them nor conflicts over them.
fn reset_fields(resource: &Resource, subresource: &str) -> FieldSet {
    match (subresource, resource.group.as_str(), resource.plural.as_str()) {
        ("" | "finalize", ..) if resource.subresource("status").is_some() => FieldSet::of_fields(&[&["status"]]),
        ("status", "", "pods") => {
            FieldSet::of_fields(&[&["spec"], &["metadata", "deletionTimestamp"], &["metadata", "ownerReferences"]])
        }
        ("status", "apiextensions.k8s.io", _) => FieldSet::of_fields(&[&["metadata"], &["spec"]]),
        ("status", ..) => FieldSet::of_fields(&[&["spec"]]),
        _ => FieldSet::default(),
    }
}

/// What the server decides, or what says which object it is: nobody owns it.
fn unowned() -> &'static FieldSet {
    static UNOWNED: LazyLock<FieldSet> = LazyLock::new(|| {
        let metadata = [
            "name",
            "namespace",
            "creationTimestamp",
            "selfLink",
            "uid",
            "clusterName",
            "generation",
            "managedFields",
            "resourceVersion",
        ];
        let top = FieldSet::of_fields(&[&["apiVersion"], &["kind"], &["metadata"]]);
        metadata.iter().fold(top, |set, name| set.union(&FieldSet::of_fields(&[&["metadata", name]])))
    });
    &UNOWNED
}

#[cfg(test)]
mod tests;
