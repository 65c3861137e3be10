//! `managedFields`: who owns which field, and server-side apply over it.

use jiff::Timestamp;
use serde_json::Value;

use crate::Status;
use crate::resources::Resource;
use crate::schema::{Schema, Type};

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

/// Writes `metadata.managedFields` of `after`, which a create, update or patch made out of `before` (none: create).
///
/// `after` is decoded and defaulted, but not yet prepared by [`crate::strategy`]; its own `managedFields` are what the
/// client sent (an empty list, which decoding must keep, or `[{}]` gives up all tracking).
pub fn track_update(schema: &Schema, ty: &Type, before: Option<&Value>, after: &mut Value, manager: &Manager<'_>) {
    let _ = (schema, ty, before, after, manager);
    todo!("managed")
}

/// Server-side apply: merges `applied` into `live` (none: the object is about to be created) and writes the
/// `managedFields` of the result, which is still to be decoded ([`crate::decode::value`]), defaulted and prepared.
///
/// `applied` is the body as parsed, with nulls and unknown fields still in it: they have a meaning here.
///
/// # Errors
/// `Conflict` with one cause per field when another manager owns a field with another value and `force` is not set;
/// `BadRequest` for a body of another type or with `managedFields`; code 500 without a reason, as Kubernetes has it,
/// for a body that does not fit the schema or repeats a list key.
pub fn apply(
    schema: &Schema,
    ty: &Type,
    live: Option<&Value>,
    applied: &Value,
    manager: &Manager<'_>,
    force: bool,
) -> Result<Value, Status> {
    let _ = (schema, ty, live, applied, manager, force);
    todo!("managed")
}

/// Takes back new times in `managedFields` where nothing else changed, so that a write without effect stays one.
/// For every update, patch and apply, as the last step before the object is compared with `before`.
pub fn keep_times(before: &Value, after: &mut Value) {
    let _ = (before, after);
    todo!("managed")
}
