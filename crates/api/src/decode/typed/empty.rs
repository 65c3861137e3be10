//! Empty values: which Go leaves out, and what it writes where nothing was set.

use serde_json::{Map, Value};

use crate::decode::scalar;
use crate::schema::{Field, Schema, Struct, Type};

/// Leaves out what Go leaves out, and puts in what Go always writes.
pub fn finish(schema: &Schema, structure: &Struct, fields: &mut Map<String, Value>) {
    for (name, field) in &structure.fields {
        match fields.get(name) {
            None if field.written => {
                fields.insert(name.clone(), zero_field(schema, field));
            }
            // Kubernetes keeps most objects as protobuf, which does not tell an empty list from none.
            Some(value) if field.written && !field.pointer && is_empty_collection(value, &field.ty) => {
                fields.insert(name.clone(), Value::Null);
            }
            Some(value) if !field.written && !field.pointer && is_empty(value, &field.ty) => {
                fields.remove(name);
            }
            _ => {}
        }
    }
}

/// A struct of which nothing was said.
fn zero_struct(schema: &Schema, structure: &Struct) -> Map<String, Value> {
    let mut fields = Map::new();
    finish(schema, structure, &mut fields);
    fields
}

pub fn zero(schema: &Schema, ty: &Type) -> Value {
    match ty {
        Type::Scalar(scalar) => scalar::zero(*scalar),
        Type::Struct { id } => Value::Object(zero_struct(schema, schema.get(*id))),
        Type::List { .. } | Type::Map { .. } | Type::Any => Value::Null,
    }
}

fn zero_field(schema: &Schema, field: &Field) -> Value {
    if field.pointer { Value::Null } else { zero(schema, &field.ty) }
}

fn is_empty(value: &Value, ty: &Type) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(_) | Value::Object(_) => is_empty_collection(value, ty),
    }
}

fn is_empty_collection(value: &Value, ty: &Type) -> bool {
    match (value, ty) {
        (Value::Array(items), Type::List { .. }) => items.is_empty(),
        (Value::Object(fields), Type::Map { .. }) => fields.is_empty(),
        _ => false,
    }
}

/// How Go names a type.
pub fn go_name(schema: &Schema, ty: &Type) -> String {
    match ty {
        Type::Scalar(scalar) => scalar::go_name(*scalar).to_string(),
        Type::Struct { id } => {
            let name = &schema.get(*id).name;
            name.split_once('.').map_or(name.as_str(), |(_, rest)| rest).to_string()
        }
        Type::List { element, .. } => format!("[]{}", go_name(schema, element)),
        Type::Map { value, .. } => format!("map[string]{}", go_name(schema, value)),
        Type::Any => "runtime.RawExtension".to_string(),
    }
}
