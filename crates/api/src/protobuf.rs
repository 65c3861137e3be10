//! Writes objects in Kubernetes' protobuf form, with the tags of the facts. Reading is in [`crate::decode`].
//!
//! One encoder for all types. Fields that are zero in Go are left out where absent means the same to every reader.
//! Fields without a known tag (types that never had a protobuf form, custom resources) cannot be written.

mod envelope;
mod writer;

use serde_json::{Map, Value};

pub use self::envelope::{body, list, watch_frame};
use self::writer::Writer;
use crate::schema::{Field, Part, Scalar, Schema, Struct, StructId, Type};
use crate::{GroupVersionKind, canonical, decode, meta, schema};

/// The message of an object, which a [`body`], a [`list`] or a [`watch_frame`] wraps. `None` if the type has no protobuf
/// form. Fields come by their tags, so that the metadata of a kind is what it begins with.
pub fn message(schema: &Schema, ty: &Type, object: &Value) -> Option<Vec<u8>> {
    let Type::Struct { id } = ty else { return None };
    let mut out = Writer::default();
    Encoder { schema }.structure(&mut out, *id, object.as_object()?);
    Some(out.finish())
}

/// The message of the `PartialObjectMetadata` of an object, which may be of any kind.
pub fn metadata(object: &Value) -> Vec<u8> {
    let mut out = Writer::default();
    let schema = schema::builtin();
    if let (Some(metadata), Some(id)) = (object.get("metadata").and_then(Value::as_object), object_meta(schema)) {
        out.message(1, |out| Encoder { schema }.structure(out, id, metadata));
    }
    out.finish()
}

/// How much of an object's message is its metadata: with the field around it, the message of a
/// `PartialObjectMetadata`. `None` if the message does not begin with metadata.
pub fn metadata_length(message: &[u8]) -> Option<usize> {
    decode::leading_field(message, 1)
}

/// The body of an object that says itself what it is: a review, a `Status`, a document of discovery. `None` if its kind
/// has no protobuf form.
pub fn document(object: &Value) -> Option<Vec<u8>> {
    let (api_version, kind) = (meta::str_at(object, &["apiVersion"]), meta::str_at(object, &["kind"]));
    let message = message(schema::builtin(), &type_named(api_version, kind)?, object)?;
    Some(body(api_version, kind, &message))
}

/// The message of a `Status`.
pub fn status(status: &Value) -> Vec<u8> {
    let ty = type_named("v1", "Status");
    ty.and_then(|ty| message(schema::builtin(), &ty, status)).expect("Status is among the facts")
}

/// Kinds that are in every group come in no version, or in that of the core group.
fn type_named(api_version: &str, kind: &str) -> Option<Type> {
    let schema = schema::builtin();
    let everywhere = matches!(api_version, "" | "v1").then(|| schema.find(&format!("meta.v1.{kind}"))).flatten();
    match everywhere.filter(|id| schema.get(*id).gvk.is_some()) {
        Some(id) => Some(Type::Struct { id }),
        None => schema::type_of(&GroupVersionKind::from_api_version(api_version, kind)?),
    }
}

fn object_meta(schema: &Schema) -> Option<StructId> {
    schema.find("meta.v1.ObjectMeta")
}

struct Encoder<'s> {
    schema: &'s Schema,
}

impl Encoder<'_> {
    fn structure(&self, out: &mut Writer, id: StructId, fields: &Map<String, Value>) {
        let structure = self.schema.get(id);
        // The writer goes from the end to the beginning.
        for (tag, part) in structure.parts.iter().rev() {
            match part {
                Part::Field(name) => {
                    let value = fields.get(name).filter(|value| !value.is_null());
                    if let (Some(value), Some(field)) = (value, structure.fields.get(name)) {
                        self.field(out, *tag, field, value);
                    }
                }
                Part::Message(inner) if names_any(self.schema.get(*inner), fields) => {
                    out.message(*tag, |out| self.structure(out, *inner, fields));
                }
                Part::Message(_) => {}
            }
        }
    }

    fn field(&self, out: &mut Writer, tag: u32, field: &Field, value: &Value) {
        match is_wrapped_list(field) {
            true => out.message(tag, |out| self.items(out, 1, &field.ty, field.go_type, value)),
            false => self.items(out, tag, &field.ty, field.go_type, value),
        }
    }

    /// The elements of a list or map, each in a field of its own; or the one value.
    fn items(&self, out: &mut Writer, tag: u32, ty: &Type, go_type: Option<&str>, value: &Value) {
        match (ty, value) {
            (Type::List { element, .. }, Value::Array(items)) => {
                let element_type = go_type.and_then(|name| name.strip_prefix("[]"));
                items.iter().rev().for_each(|item| self.value(out, tag, element, element_type, item));
            }
            (Type::Map { value: ty, .. }, Value::Object(entries)) => {
                let value_type = go_type.and_then(map_value);
                for (key, value) in entries.iter().rev() {
                    out.message(tag, |out| {
                        self.value(out, 2, ty, value_type, value);
                        out.bytes(1, key.as_bytes());
                    });
                }
            }
            // Null in the place of a list or map.
            (Type::List { .. } | Type::Map { .. }, _) => {}
            _ => self.value(out, tag, ty, go_type, value),
        }
    }

    fn value(&self, out: &mut Writer, tag: u32, ty: &Type, go_type: Option<&str>, value: &Value) {
        match ty {
            Type::Scalar(scalar) => scalar_value(out, tag, *scalar, value),
            Type::Any => out.message(tag, |out| self.any(out, go_type, value)),
            Type::Struct { id } => out.message(tag, |out| {
                if let Some(fields) = value.as_object() {
                    self.structure(out, *id, fields);
                }
            }),
            // A list or map inside a list or map is a message that holds it in field 1.
            Type::List { .. } | Type::Map { .. } => out.message(tag, |out| self.items(out, 1, ty, go_type, value)),
        }
    }

    /// Raw JSON in field 1, or one of the unions of the schema of custom resources.
    fn any(&self, out: &mut Writer, go_type: Option<&str>, value: &Value) {
        let schema = self.schema.find("apiextensions.v1.JSONSchemaProps").map(|id| Type::Struct { id });
        let props = |out: &mut Writer, tag: u32, value: &Value| {
            if let Some(ty) = &schema {
                self.value(out, tag, ty, None, value);
            }
        };
        match (go_type, value) {
            (Some("v1.JSONSchemaPropsOrBool"), Value::Bool(allows)) => out.number(1, i64::from(*allows)),
            (Some("v1.JSONSchemaPropsOrBool"), value) => {
                props(out, 2, value);
                out.number(1, 1);
            }
            (Some("v1.JSONSchemaPropsOrArray"), Value::Array(list)) => {
                list.iter().rev().for_each(|value| props(out, 2, value));
            }
            (Some("v1.JSONSchemaPropsOrStringArray"), Value::Array(list)) => {
                list.iter().rev().for_each(|value| scalar_value(out, 2, Scalar::String, value));
            }
            (Some("v1.JSONSchemaPropsOrArray" | "v1.JSONSchemaPropsOrStringArray"), Value::Null) => {}
            (Some("v1.JSONSchemaPropsOrArray" | "v1.JSONSchemaPropsOrStringArray"), value) => props(out, 1, value),
            // To the byte as Go writes it: a revision is recognised by the bytes of its data.
            (_, value) => out.bytes(1, &canonical::json(value)),
        }
    }
}

/// Whether an inlined message would hold anything.
fn names_any(structure: &Struct, fields: &Map<String, Value>) -> bool {
    structure.fields.keys().any(|name| fields.contains_key(name))
}

/// Lists that are a type of their own in Go, and a message of their own on the wire.
pub(crate) fn is_wrapped_list(field: &Field) -> bool {
    matches!(field.go_type, Some("v1.Verbs"))
}

/// Go's name of the values of a map, where it matters.
pub(crate) fn map_value(go_type: &str) -> Option<&'static str> {
    (go_type == "v1.JSONSchemaDependencies").then_some("v1.JSONSchemaPropsOrStringArray")
}

fn scalar_value(out: &mut Writer, tag: u32, scalar: Scalar, value: &Value) {
    match (scalar, value) {
        (Scalar::Time | Scalar::MicroTime, value) => {
            out.message(tag, |out| {
                if let Some((seconds, nanos)) = value.as_str().and_then(decode::unix_time) {
                    out.number(2, i64::from(nanos));
                    out.number(1, seconds);
                }
            });
        }
        (Scalar::Quantity, Value::String(text)) => {
            out.message(tag, |out| out.bytes(1, text.as_bytes()));
        }
        (Scalar::IntOrString, value) => {
            out.message(tag, |out| {
                out.bytes(3, value.as_str().unwrap_or("").as_bytes());
                out.number(2, value.as_i64().unwrap_or(0));
                out.number(1, i64::from(value.is_string()));
            });
        }
        (Scalar::Bytes, Value::String(text)) => out.bytes(tag, &decode::base64_bytes(text).unwrap_or_default()),
        (Scalar::Double, value) => out.fixed64(tag, value.as_f64().unwrap_or(0.0).to_bits()),
        (_, Value::String(text)) => out.bytes(tag, text.as_bytes()),
        (_, Value::Bool(value)) => out.number(tag, i64::from(*value)),
        (_, Value::Number(number)) => out.number(tag, number.as_i64().unwrap_or(0)),
        // Null and values of another type hold nothing that the form could say.
        _ => {}
    }
}

#[cfg(test)]
mod tests;
