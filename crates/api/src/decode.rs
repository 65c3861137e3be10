//! Turns request bodies into objects: JSON, YAML and protobuf, checked against the type's schema.

use serde_json::Value;

use crate::Status;
use crate::schema::{Schema, Type};

/// What to do about unknown and duplicate fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldValidation {
    Strict,
    Warn,
    Ignore,
}

/// An object in the form Go would write it back: unknown fields dropped, nulls and empty optional values dropped.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    pub object: Value,
    /// Unknown and duplicate fields in Go's words: `unknown field "spec.foo"`, in the order Kubernetes lists them.
    pub problems: Vec<String>,
}

/// Reads a JSON body as the type.
///
/// # Errors
/// `BadRequest` in Go's words for broken JSON and for values of the wrong type.
pub fn json(schema: &Schema, ty: &Type, body: &[u8]) -> Result<Decoded, Status> {
    let _ = (schema, ty, body);
    todo!("decode")
}

/// Reads a YAML body as the type.
pub fn yaml(schema: &Schema, ty: &Type, body: &[u8]) -> Result<Decoded, Status> {
    let _ = (schema, ty, body);
    todo!("decode")
}

/// Reads a protobuf body (`k8s\0` and a `runtime.Unknown`) as the type.
pub fn protobuf(schema: &Schema, ty: &Type, body: &[u8]) -> Result<Decoded, Status> {
    let _ = (schema, ty, body);
    todo!("decode")
}

/// Brings an object that is already parsed (the result of a patch) into the same form, with the same checks.
pub fn value(schema: &Schema, ty: &Type, object: Value) -> Result<Decoded, Status> {
    let _ = (schema, ty, object);
    todo!("decode")
}
