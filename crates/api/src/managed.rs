//! `managedFields`: who owns which field, and server-side apply over it.

use jiff::Timestamp;
use serde_json::Value;

use crate::Status;
use crate::schema::{Schema, Type};

/// Who writes, and how.
#[derive(Clone, Debug)]
pub struct Manager<'a> {
    /// The `fieldManager` parameter, or what the User-Agent says before the first slash.
    pub name: &'a str,
    /// The version of the object the request spoke, such as `apps/v1`.
    pub api_version: &'a str,
    /// `""` for the main resource, `status`...
    pub subresource: &'a str,
    pub now: Timestamp,
}

/// Writes `metadata.managedFields` of `after`, which a create, update or patch made out of `before` (none: create).
pub fn track_update(schema: &Schema, ty: &Type, before: Option<&Value>, after: &mut Value, manager: &Manager<'_>) {
    let _ = (schema, ty, before, after, manager);
    todo!("managed")
}

/// Server-side apply: merges `applied` (decoded, not defaulted) into `live`.
///
/// # Errors
/// `Conflict` with one cause per field when another manager owns a field with another value and `force` is not set.
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
