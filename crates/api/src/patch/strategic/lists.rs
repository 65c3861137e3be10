//! Lists that merge: objects by their merge key, primitives as sets.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::error::{self, Error};
use super::order::{Ids, in_order};
use super::{DIRECTIVE, Known, merge_map};
use crate::schema::PatchStrategy;

/// Merges two lists of a field with this strategy; `deletes` if the patch is a `$deleteFromPrimitiveList`.
pub fn merge(
    known: Known<'_>,
    strategy: &PatchStrategy,
    original: Vec<Value>,
    patch: Vec<Value>,
    deletes: bool,
) -> Result<Vec<Value>, Error> {
    if !strategy.merge && !deletes {
        return Ok(patch);
    }
    if original.is_empty() && patch.is_empty() {
        return Ok(original);
    }
    match kind_of_elements(&[&original, &patch])? {
        Kind::Maps => {
            let key = strategy.merge_key.as_deref().ok_or_else(|| no_key_declared(known))?;
            merge_maps(known, key, original, patch)
        }
        Kind::Primitives if deletes => {
            let ids = Ids::of(None);
            let gone = ids.positions(&patch);
            Ok(original.into_iter().filter(|item| ids.position(&gone, item).is_none()).collect())
        }
        Kind::Primitives => merge_primitives(original, patch),
    }
}

#[derive(Clone, Copy, PartialEq)]
pub enum Kind {
    Maps,
    Primitives,
}

/// What the elements of all lists are; they must agree, in Go's types. At least one list must have an element.
pub fn kind_of_elements(lists: &[&[Value]]) -> Result<Kind, Error> {
    let go_type = crate::patch::words::go_type;
    let mut elements = lists.iter().copied().flatten();
    let Some(first) = elements.next() else {
        return Err(Error::Other("no elements in any of the given slices".into()));
    };
    if first.is_array() {
        return Err(Error::ListOfLists);
    }
    if elements.any(|element| go_type(element) != go_type(first)) {
        return Err(error::mixed_elements(lists));
    }
    Ok(if first.is_object() { Kind::Maps } else { Kind::Primitives })
}

fn merge_primitives(original: Vec<Value>, patch: Vec<Value>) -> Result<Vec<Value>, Error> {
    let ids = Ids::of(None);
    let mut seen = HashMap::new();
    let all = original.iter().chain(&patch).cloned();
    let merged: Vec<Value> = all.filter(|item| seen.insert(ids.id(item), ()).is_none()).collect();
    in_order(ids, merged, &patch, &patch, &original)
}

fn merge_maps(known: Known<'_>, key: &str, original: Vec<Value>, patch: Vec<Value>) -> Result<Vec<Value>, Error> {
    let (original, patch) = obey_directives(key, original, patch)?;
    let ids = Ids::of(Some(key));
    let mut merged = original.clone();
    let mut positions = ids.positions(&merged);
    for item in &patch {
        let Value::Object(fields) = item else { return Err(error::expected("map[string]interface {}", item)) };
        if !fields.contains_key(key) {
            return Err(error::no_merge_key(fields, key));
        }
        match ids.position(&positions, item) {
            Some(at) => {
                let old = merged[at].as_object().cloned().unwrap_or_default();
                merged[at] = Value::Object(merge_map(known, old, fields.clone())?);
            }
            None => {
                positions.insert(ids.id(item), merged.len());
                merged.push(item.clone());
            }
        }
    }
    in_order(ids, merged, &patch, &patch, &original)
}

/// Carries out the elements of the patch that are directives; what is left of both lists is merged by key.
fn obey_directives(key: &str, mut original: Vec<Value>, patch: Vec<Value>) -> Result<(Vec<Value>, Vec<Value>), Error> {
    let mut replaces = false;
    let mut plain = Vec::new();
    let mut gone = HashSet::new();
    for item in patch {
        match item.get(DIRECTIVE).map(|directive| (directive, item.as_object())) {
            None => plain.push(item),
            Some((directive, Some(fields))) => match directive.as_str() {
                Some("replace") => replaces = true,
                Some("delete") => {
                    let id = fields.get(key).ok_or_else(|| error::no_merge_key(fields, key))?;
                    gone.insert(id.to_string());
                }
                Some("merge") => {
                    return Err(Error::Other("merging lists cannot yet be specified in the patch".into()));
                }
                _ => return Err(error::unknown_directive(directive, fields)),
            },
            Some((_, None)) => {}
        }
    }
    original.retain(|item| item.get(key).is_none_or(|id| gone.is_empty() || !gone.contains(&id.to_string())));
    Ok(if replaces { (plain, Vec::new()) } else { (original, plain) })
}

fn no_key_declared(known: Known<'_>) -> Error {
    let name = match known.ty {
        Some(crate::schema::Type::Struct { id }) => known.schema.get(*id).name.clone(),
        _ => "interface".into(),
    };
    Error::Other(format!("cannot merge lists without merge key for {name}"))
}
