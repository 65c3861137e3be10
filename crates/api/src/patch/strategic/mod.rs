//! Strategic merge patch: a merge patch that knows which lists merge by key, with Kubernetes' directives.
//!
//! Directives: `$patch` (`replace`, `delete`) in maps and in elements of merged lists, `$retainKeys`,
//! `$setElementOrder/LIST`, `$deleteFromPrimitiveList/LIST`. A null deletes.
//! Source: `k8s.io/apimachinery` `strategicpatch`, whose messages are part of the API.

mod error;
mod lists;
mod order;

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use self::error::{BAD_PRIMITIVE_LIST, BAD_RETAIN_KEYS, Error};
use super::words::go_value;
use crate::Status;
use crate::schema::{PatchStrategy, Schema, Type};

const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM_LIST: &str = "$deleteFromPrimitiveList";
const SET_ORDER: &str = "$setElementOrder";

/// Merges `patch` into `object`, which has the type `ty`.
///
/// # Errors
/// `BadRequest` for directives of the wrong form; code 500 without a reason, as in Kubernetes, for unknown
/// directives, list elements without their merge key, and lists whose elements differ in kind.
pub fn strategic_merge(schema: &Schema, ty: &Type, object: &Value, patch: &Value) -> Result<Value, Status> {
    let (Some(original), Some(patch)) = (object.as_object(), patch.as_object()) else {
        return Err(Error::BadRequest("invalid JSON document").into());
    };
    let merged = merge_map(Known { schema, ty: Some(ty) }, original.clone(), patch.clone())?;
    Ok(Value::Object(merged))
}

/// What is known of the type of a value: nothing inside unstructured parts.
#[derive(Clone, Copy)]
struct Known<'a> {
    schema: &'a Schema,
    ty: Option<&'a Type>,
}

impl<'a> Known<'a> {
    /// The type of a field, and how it merges.
    fn field(self, name: &str) -> (Known<'a>, PatchStrategy) {
        let (ty, strategy) = match self.ty {
            Some(Type::Struct { .. }) => {
                let field = self.ty.and_then(|ty| self.schema.field(ty, name));
                (field.map(|field| &field.ty), field.map(|field| field.patch.clone()))
            }
            Some(Type::Map { value, .. }) => (Some(&**value), None),
            _ => (None, None),
        };
        (Known { ty, ..self }, strategy.unwrap_or_default())
    }

    fn element(self) -> Known<'a> {
        let ty = match self.ty {
            Some(Type::List { element, .. }) => Some(&**element),
            _ => None,
        };
        Known { ty, ..self }
    }
}

fn merge_map(
    known: Known<'_>,
    mut original: Map<String, Value>,
    mut patch: Map<String, Value>,
) -> Result<Map<String, Value>, Error> {
    if let Some(directive) = patch.get(DIRECTIVE) {
        return replace_or_delete(&directive.clone(), patch);
    }
    retain_keys(&mut original, &mut patch)?;
    order::set_orders(known, &mut original, &mut patch)?;
    for (key, value) in patch {
        merge_field(known, &mut original, key, value)?;
    }
    Ok(original)
}

/// `$patch` beside the fields of a map: `replace` takes the patch as it stands, `delete` leaves an empty map.
fn replace_or_delete(directive: &Value, mut patch: Map<String, Value>) -> Result<Map<String, Value>, Error> {
    match directive.as_str() {
        Some("replace") => {
            patch.remove(DIRECTIVE);
            Ok(patch)
        }
        Some("delete") => Ok(Map::new()),
        _ => Err(error::unknown_directive(directive, &patch)),
    }
}

/// `$retainKeys`: drops every field of the original that is not listed; the patch may not set any other.
fn retain_keys(original: &mut Map<String, Value>, patch: &mut Map<String, Value>) -> Result<(), Error> {
    let Some(listed) = patch.remove(RETAIN_KEYS) else { return Ok(()) };
    let listed = listed.as_array().ok_or(Error::BadRequest(BAD_RETAIN_KEYS))?;
    let listed: BTreeSet<&str> = listed.iter().filter_map(Value::as_str).collect();
    let retained = |key: &str| listed.contains(key);
    let is_directive = |key: &str| key.starts_with(DELETE_FROM_LIST) || key.starts_with(SET_ORDER);
    if patch.iter().any(|(key, value)| !value.is_null() && !is_directive(key) && !retained(key)) {
        return Err(Error::BadRequest(BAD_RETAIN_KEYS));
    }
    original.retain(|key, _| retained(key));
    Ok(())
}

fn merge_field(known: Known<'_>, original: &mut Map<String, Value>, key: String, patch: Value) -> Result<(), Error> {
    let (key, deletes) = match key.strip_prefix(DELETE_FROM_LIST) {
        None => (key, false),
        Some(rest) => (rest.strip_prefix('/').ok_or(Error::BadRequest(BAD_PRIMITIVE_LIST))?.to_string(), true),
    };
    if patch.is_null() {
        original.remove(&key);
        return Ok(());
    }
    let merged = match (original.remove(&key), patch) {
        (Some(Value::Object(old)), Value::Object(new)) => {
            let (known, strategy) = known.field(&key);
            Some(Value::Object(if strategy.replace { new } else { merge_map(known, old, new)? }))
        }
        (Some(Value::Array(old)), Value::Array(new)) => {
            let (known, strategy) = known.field(&key);
            Some(Value::Array(lists::merge(known.element(), &strategy, old, new, deletes)?))
        }
        (old, _) if deletes => old,
        (_, new) => taken_as_is(new),
    };
    if let Some(merged) = merged {
        original.insert(key, merged);
    }
    Ok(())
}

/// A value for which the original has nothing to merge with: without nulls in maps, and without everything that is a
/// directive. `None` if it is one itself.
fn taken_as_is(value: Value) -> Option<Value> {
    match value {
        Value::Object(fields) if fields.contains_key(DIRECTIVE) => None,
        Value::Object(fields) => {
            let fields = fields.into_iter().filter(|(_, value)| !value.is_null());
            Some(fields.filter_map(|(key, value)| Some((key, taken_as_is(value)?))).collect::<Map<_, _>>().into())
        }
        Value::Array(items) => Some(items.into_iter().filter_map(taken_as_is).collect::<Vec<_>>().into()),
        other => Some(other),
    }
}

#[cfg(test)]
mod tests;
