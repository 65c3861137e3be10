//! Writes objects in Kubernetes' protobuf form, with the tags of the facts. Reading is in [`crate::decode`].
//!
//! One encoder for all types. Fields that are zero in Go are left out where absent means the same to every reader.
//! Fields without a known tag (types that never had a protobuf form, custom resources) cannot be written.

mod writer;

use serde_json::{Map, Value};

use self::writer::Writer;
use crate::decode;
use crate::meta;
use crate::schema::{Scalar, Schema, Struct, StructId, Type};

/// Begins every body.
const MAGIC: &[u8] = b"k8s\0";

/// An object as a body: `k8s\0` and a `runtime.Unknown` around it. `None` if the type has no protobuf form.
pub fn object(schema: &Schema, ty: &Type, object: &Value) -> Option<Vec<u8>> {
    let raw = message(schema, ty, object)?;
    Some(body(meta::str_at(object, &["apiVersion"]), meta::str_at(object, &["kind"]), &raw))
}

/// A list as a body, from its `metadata` and its items, all of one type. `kind` is that of the list: `DaemonSetList`.
pub fn list<'a>(
    schema: &Schema,
    ty: &Type,
    api_version: &str,
    kind: &str,
    metadata: &Value,
    items: impl IntoIterator<Item = &'a Value>,
) -> Option<Vec<u8>> {
    let list_meta = Type::Struct { id: schema.find("meta.v1.ListMeta")? };
    let mut raw = Writer::default();
    raw.bytes(1, &message(schema, &list_meta, metadata)?);
    for item in items {
        raw.bytes(2, &message(schema, ty, item)?);
    }
    Some(body(api_version, kind, &raw.0))
}

/// One event of a watch, with the length before it that frames a stream of them. `object` is a whole body.
pub fn watch_frame(event: &str, object: &[u8]) -> Vec<u8> {
    let mut extension = Writer::default();
    extension.bytes(1, object);
    let mut watch_event = Writer::default();
    watch_event.bytes(1, event.as_bytes());
    watch_event.bytes(2, &extension.0);
    let wrapped = body("v1", "WatchEvent", &watch_event.0);
    let length = u32::try_from(wrapped.len()).expect("an object is smaller than 4 GiB");
    [length.to_be_bytes().as_slice(), &wrapped].concat()
}

fn body(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let mut type_meta = Writer::default();
    type_meta.bytes(1, api_version.as_bytes());
    type_meta.bytes(2, kind.as_bytes());
    let mut unknown = Writer(MAGIC.to_vec());
    unknown.bytes(1, &type_meta.0);
    unknown.bytes(2, raw);
    // contentEncoding and contentType, which Go writes though they are empty.
    unknown.bytes(3, b"");
    unknown.bytes(4, b"");
    unknown.0
}

fn message(schema: &Schema, ty: &Type, value: &Value) -> Option<Vec<u8>> {
    let Type::Struct { id } = ty else { return None };
    let mut writer = Writer::default();
    Encoder { schema }.structure(&mut writer, *id, value.as_object()?);
    Some(writer.0)
}

struct Encoder<'s> {
    schema: &'s Schema,
}

impl Encoder<'_> {
    fn structure(&self, out: &mut Writer, id: StructId, fields: &Map<String, Value>) {
        let structure = self.schema.get(id);
        for (tag, inner) in &structure.inlined {
            if self.names_any(self.schema.get(*inner), fields) {
                let mut message = Writer::default();
                self.structure(&mut message, *inner, fields);
                out.bytes(*tag, &message.0);
            }
        }
        for (name, field) in structure.fields.iter().filter(|(_, field)| field.tag != 0) {
            if let Some(value) = fields.get(name).filter(|value| !value.is_null()) {
                self.field(out, field.tag, &field.ty, field.go_type, value);
            }
        }
    }

    /// Whether an inlined message would hold anything.
    fn names_any(&self, structure: &Struct, fields: &Map<String, Value>) -> bool {
        structure.fields.keys().any(|name| fields.contains_key(name))
    }

    fn field(&self, out: &mut Writer, tag: u32, ty: &Type, go_type: Option<&str>, value: &Value) {
        match (ty, value) {
            (Type::List { element, .. }, Value::Array(items)) => {
                let element_type = go_type.and_then(|name| name.strip_prefix("[]"));
                items.iter().for_each(|item| self.value(out, tag, element, element_type, item));
            }
            (Type::Map { value: ty, .. }, Value::Object(entries)) => {
                for (key, value) in entries {
                    let mut entry = Writer::default();
                    entry.bytes(1, key.as_bytes());
                    self.value(&mut entry, 2, ty, None, value);
                    out.bytes(tag, &entry.0);
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
            Type::Any => out.bytes(tag, &self.any(go_type, value)),
            Type::Struct { id } => {
                let mut message = Writer::default();
                self.structure(&mut message, *id, value.as_object().unwrap_or(&Map::new()));
                out.bytes(tag, &message.0);
            }
            // A list or map inside a list or map is a message that holds it in field 1.
            Type::List { .. } | Type::Map { .. } => {
                let mut message = Writer::default();
                self.field(&mut message, 1, ty, go_type, value);
                out.bytes(tag, &message.0);
            }
        }
    }

    /// Raw JSON in field 1, or one of the unions of the schema of custom resources.
    fn any(&self, go_type: Option<&str>, value: &Value) -> Vec<u8> {
        let mut out = Writer::default();
        let schema = self.schema.find("apiextensions.v1.JSONSchemaProps").map(|id| Type::Struct { id });
        let props = |out: &mut Writer, tag: u32, value: &Value| {
            if let Some(ty) = &schema {
                self.value(out, tag, ty, None, value);
            }
        };
        match (go_type, value) {
            (Some("v1.JSONSchemaPropsOrBool"), Value::Bool(allows)) => out.number(1, i64::from(*allows)),
            (Some("v1.JSONSchemaPropsOrBool"), value) => {
                out.number(1, 1);
                props(&mut out, 2, value);
            }
            (Some("v1.JSONSchemaPropsOrArray"), Value::Array(list)) => {
                list.iter().for_each(|value| props(&mut out, 2, value));
            }
            (Some("v1.JSONSchemaPropsOrArray"), value) => props(&mut out, 1, value),
            (_, value) => out.bytes(1, value.to_string().as_bytes()),
        }
        out.0
    }
}

fn scalar_value(out: &mut Writer, tag: u32, scalar: Scalar, value: &Value) {
    match (scalar, value) {
        (Scalar::Time | Scalar::MicroTime, value) => {
            let time = value.as_str().and_then(decode::unix_time);
            let mut message = Writer::default();
            if let Some((seconds, nanos)) = time {
                message.number(1, seconds);
                message.number(2, i64::from(nanos));
            }
            out.bytes(tag, &message.0);
        }
        (Scalar::Quantity, Value::String(text)) => {
            let mut message = Writer::default();
            message.bytes(1, text.as_bytes());
            out.bytes(tag, &message.0);
        }
        (Scalar::IntOrString, value) => {
            let mut message = Writer::default();
            message.number(1, i64::from(value.is_string()));
            message.number(2, value.as_i64().unwrap_or(0));
            message.bytes(3, value.as_str().unwrap_or("").as_bytes());
            out.bytes(tag, &message.0);
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
