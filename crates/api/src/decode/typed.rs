//! Gives a parsed body its type, as Go's decoder and encoder do between them.
//!
//! Names are matched to the letter. Unknown and repeated fields are problems, which the caller weighs; a value of the
//! wrong type is an error, which is reported at the end, the first one only; a value that its type's own reader refuses
//! (times, quantities) ends decoding at once.

mod empty;

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::Decoded;
use super::scalar::{self, Fault};
use super::tree::{PROBLEMS_MAX, Tree};
use crate::schema::{Field, Scalar, Schema, StructId, Type};

/// # Errors
/// The sentence of Go's decoder.
pub fn decode(schema: &Schema, ty: &Type, tree: Tree<'_>) -> Result<Decoded, String> {
    let mut decoder = Decoder {
        schema,
        problems: Vec::new(),
        seen: BTreeSet::new(),
        path: String::new(),
        fields: Vec::new(),
        first_error: None,
    };
    let object = decoder.value(&Place { ty, go_type: None, loose: false }, tree, None)?;
    match decoder.first_error {
        Some(message) => Err(message),
        None => Ok(Decoded { object: object.unwrap_or_else(|| empty::zero(schema, ty)), problems: decoder.problems }),
    }
}

struct Decoder<'s> {
    schema: &'s Schema,
    problems: Vec<String>,
    seen: BTreeSet<String>,
    /// Where we are, with the indices of lists and the keys of maps: `spec.containers[0].ports`.
    path: String,
    /// Where we are, as errors say it: the fields that lead here, each with the struct it is in.
    fields: Vec<(&'s str, &'s str)>,
    first_error: Option<String>,
}

/// What is expected at one place.
struct Place<'s> {
    ty: &'s Type,
    go_type: Option<&'static str>,
    /// Inside a custom resource: keep what was sent.
    loose: bool,
}

impl<'s> Decoder<'s> {
    /// `None`: nothing was set, be it null or an error noted for later. `before` is the value of an earlier field of
    /// the same name, into which Go decodes.
    fn value(&mut self, place: &Place<'s>, tree: Tree<'_>, before: Option<Value>) -> Result<Option<Value>, String> {
        match (place.ty, tree) {
            (_, Tree::Null) => Ok(place.loose.then_some(Value::Null)),
            (Type::Struct { id }, Tree::Object(fields)) => self.object(*id, fields, before).map(Some),
            (Type::Map { value, .. }, Tree::Object(fields)) => self.map(place, value, fields, before).map(Some),
            (Type::List { element, .. }, Tree::Array(items)) => self.list(place, element, items).map(Some),
            (Type::Any, tree) => self.any(place, tree),
            (_, tree) if place.loose => Ok(Some(tree.into_value())),
            (Type::Scalar(scalar), tree) => match scalar::decode(*scalar, tree) {
                Ok(value) => Ok(value),
                Err(Fault::Refused(message)) => Err(message),
                Err(Fault::Mismatch(found)) => Ok(self.mismatch(place, &found)),
            },
            (_, tree) => Ok(self.mismatch(place, tree.go_kind())),
        }
    }

    fn object(
        &mut self,
        id: StructId,
        fields: Vec<(Cow<'_, str>, Tree<'_>)>,
        before: Option<Value>,
    ) -> Result<Value, String> {
        let structure = self.schema.get(id);
        let mut out = match before {
            Some(Value::Object(map)) => map,
            _ => Map::new(),
        };
        let mut met = BTreeSet::new();
        for (name, tree) in fields {
            let Some((name, field)) = structure.fields.get_key_value(name.as_ref()) else {
                let names_kind = structure.gvk.is_some() && matches!(name.as_ref(), "apiVersion" | "kind");
                if structure.preserve_unknown || names_kind {
                    out.insert(name.into_owned(), tree.into_value());
                } else {
                    self.problem("unknown", &name);
                }
                continue;
            };
            if !met.insert(name) {
                self.problem("duplicate", name);
            }
            let before = out.remove(name.as_str());
            let kept = if matches!(tree, Tree::Null) && !is_nilable(field) { before.clone() } else { None };
            let value = self.field(&structure.name, name, field, tree, before, structure.loose)?;
            out.extend(value.or(kept).map(|value| (name.clone(), value)));
        }
        // An empty list is more than none here: it gives up the tracking of owners.
        let untracked = (self.path == "metadata").then(|| out.get_key_value("managedFields")).flatten();
        let untracked = untracked.filter(|(_, list)| **list == Value::Array(Vec::new()));
        let untracked = untracked.map(|(name, list)| (name.clone(), list.clone()));
        if !structure.loose {
            empty::finish(self.schema, structure, &mut out);
        }
        out.extend(untracked);
        Ok(Value::Object(out))
    }

    fn field(
        &mut self,
        structure: &'s str,
        name: &'s str,
        field: &'s Field,
        tree: Tree<'_>,
        before: Option<Value>,
        loose: bool,
    ) -> Result<Option<Value>, String> {
        self.fields.push((structure, name));
        let length = self.enter(name);
        let value = self.value(&Place { ty: &field.ty, go_type: field.go_type, loose }, tree, before)?;
        self.path.truncate(length);
        self.fields.pop();
        Ok(value)
    }

    fn map(
        &mut self,
        place: &Place<'s>,
        value: &'s Type,
        fields: Vec<(Cow<'_, str>, Tree<'_>)>,
        before: Option<Value>,
    ) -> Result<Value, String> {
        let mut out = match before {
            Some(Value::Object(map)) => map,
            _ => Map::new(),
        };
        let inner = Place { ty: value, go_type: place.go_type.and_then(map_value), loose: place.loose };
        let mut met = BTreeSet::new();
        for (key, tree) in fields {
            if !met.insert(key.to_string()) {
                self.problem("duplicate", &key);
            }
            let length = self.enter(&key);
            let value = self.value(&inner, tree, None)?;
            self.path.truncate(length);
            // As everywhere, the protobuf form in which objects are kept does not tell an empty list from none.
            let value = value.filter(|value| place.loose || !matches!(value, Value::Array(items) if items.is_empty()));
            let none = || match inner.ty {
                // That form does not tell no bytes from none either.
                Type::Scalar(Scalar::Bytes) => Value::String(String::new()),
                ty => empty::zero(self.schema, ty),
            };
            out.insert(key.into_owned(), value.unwrap_or_else(none));
        }
        Ok(Value::Object(out))
    }

    fn list(&mut self, place: &Place<'s>, element: &'s Type, items: Vec<Tree<'_>>) -> Result<Value, String> {
        let inner = Place { ty: element, go_type: place.go_type.and_then(list_element), loose: place.loose };
        let mut out = Vec::with_capacity(items.len());
        for (index, tree) in items.into_iter().enumerate() {
            let length = self.path.len();
            self.path.push_str(&format!("[{index}]"));
            let value = self.value(&inner, tree, None)?;
            self.path.truncate(length);
            out.push(value.unwrap_or_else(|| empty::zero(self.schema, inner.ty)));
        }
        Ok(Value::Array(out))
    }

    /// Any JSON, and the unions of the schema of custom resources, which are more than one thing.
    fn any(&mut self, place: &Place<'s>, tree: Tree<'_>) -> Result<Option<Value>, String> {
        let nested = || self.schema.find("apiextensions.v1.JSONSchemaProps");
        match (place.go_type, &tree) {
            (Some("v1.JSONSchemaPropsOrBool"), Tree::Bool(_)) => Ok(Some(tree.into_value())),
            (Some("v1.JSONSchemaPropsOrBool" | "v1.JSONSchemaPropsOrArray"), Tree::Object(_)) => match nested() {
                Some(id) => self.quietly(id, tree).map(Some),
                None => Ok(Some(tree.into_value())),
            },
            // What holds neither list nor schema is written as null.
            (Some("v1.JSONSchemaPropsOrArray" | "v1.JSONSchemaPropsOrStringArray"), Tree::Array(list))
                if list.is_empty() =>
            {
                Ok(Some(Value::Null))
            }
            (Some("v1.JSONSchemaPropsOrBool"), _) => Err("boolean or JSON schema expected".to_string()),
            _ => Ok(Some(tree.into_value())),
        }
    }

    /// Go decodes these with a reader of their own, which has no complaints about fields.
    fn quietly(&mut self, id: StructId, tree: Tree<'_>) -> Result<Value, String> {
        let decoded = decode(self.schema, &Type::Struct { id }, tree)?;
        Ok(decoded.object)
    }

    fn mismatch(&mut self, place: &Place<'_>, found: &str) -> Option<Value> {
        if self.first_error.is_none() {
            let ty = place.go_type.map_or_else(|| empty::go_name(self.schema, place.ty), str::to_string);
            let into = match self.fields.last() {
                Some((structure, _)) => {
                    let structure = structure.rsplit('.').next().unwrap_or(structure);
                    let fields: Vec<&str> = self.fields.iter().map(|(_, field)| *field).collect();
                    format!("struct field {structure}.{} of type {ty}", fields.join("."))
                }
                None => format!("value of type {ty}"),
            };
            self.first_error = Some(format!("json: cannot unmarshal {found} into Go {into}"));
        }
        None
    }

    fn problem(&mut self, what: &str, name: &str) {
        let path = if self.path.is_empty() { name.to_string() } else { format!("{}.{name}", self.path) };
        let problem = format!("{what} field \"{path}\"");
        if self.problems.len() < PROBLEMS_MAX && self.seen.insert(problem.clone()) {
            self.problems.push(problem);
        }
    }

    /// Steps into a field or key; returns the length to go back to.
    fn enter(&mut self, name: &str) -> usize {
        let length = self.path.len();
        if length > 0 {
            self.path.push('.');
        }
        self.path.push_str(name);
        length
    }
}

/// Null empties it; anything else keeps what an earlier field of the same name has set.
fn is_nilable(field: &Field) -> bool {
    field.pointer || matches!(field.ty, Type::List { .. } | Type::Map { .. } | Type::Any)
}

/// `v1.Capability` from `[]v1.Capability`.
fn list_element(go_type: &'static str) -> Option<&'static str> {
    go_type.strip_prefix("[]").map(|element| element.trim_start_matches('*'))
}

/// `v1.ExtraValue` from `map[string]v1.ExtraValue`.
fn map_value(go_type: &'static str) -> Option<&'static str> {
    go_type.strip_prefix("map[")?.split_once(']').map(|(_, value)| value.trim_start_matches('*'))
}
