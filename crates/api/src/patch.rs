//! The patch types besides server-side apply: JSON patch, merge patch, strategic merge patch.

use serde_json::Value;

use crate::Status;
use crate::schema::{Schema, Type};

/// RFC 6902, with Kubernetes' answers to what cannot be applied.
pub fn json_patch(object: &Value, patch: &[u8]) -> Result<Value, Status> {
    let _ = (object, patch);
    todo!("patch")
}

/// RFC 7396.
pub fn merge_patch(object: &Value, patch: &[u8]) -> Result<Value, Status> {
    let _ = (object, patch);
    todo!("patch")
}

/// Strategic merge patch with all its directives.
pub fn strategic_merge(schema: &Schema, ty: &Type, object: &Value, patch: &Value) -> Result<Value, Status> {
    let _ = (schema, ty, object, patch);
    todo!("patch")
}
