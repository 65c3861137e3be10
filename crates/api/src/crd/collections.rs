//! Which lists and maps a schema may have: `x-kubernetes-list-type`, `x-kubernetes-list-map-keys` and
//! `x-kubernetes-map-type`.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::meta::{list_at, str_at, value_at};
use crate::status::Cause;
use crate::validation::field::{Causes, Path, duplicate, forbidden, invalid, quote, required};

const LIST_TYPE: &str = "x-kubernetes-list-type";
const LIST_KEYS: &str = "x-kubernetes-list-map-keys";
const MAP_TYPE: &str = "x-kubernetes-map-type";

/// What is wrong with one schema, apart from those in it.
pub fn check(causes: &mut Causes, schema: &Value, path: &Path) {
    map_type(causes, schema, path);
    let keys = list_at(schema, &[LIST_KEYS]);
    let kind = str_at(schema, &[LIST_TYPE]);
    if kind.is_empty() {
        return;
    }
    if !is_type(causes, schema, "array", LIST_TYPE, path) {
        return;
    }
    match kind {
        "map" => map_list(causes, schema, keys, path),
        "atomic" | "set" => {
            if !keys.is_empty() {
                let why = "must not be specified if x-kubernetes-list-type is not map";
                causes.push(forbidden(&path.child(LIST_KEYS), why));
            }
            if kind == "set" {
                set(causes, schema, path);
            }
        }
        other => causes.push(unsupported(&path.child(LIST_TYPE), other, &["atomic", "map", "set"])),
    }
    if matches!(kind, "map" | "set") && value_at(schema, &["items", "nullable"]) == Some(&Value::Bool(true)) {
        let why = format!("cannot be nullable when x-kubernetes-list-type is {kind}");
        causes.push(forbidden(&path.child("items").child("nullable"), &why));
    }
}

fn map_type(causes: &mut Causes, schema: &Value, path: &Path) {
    let kind = str_at(schema, &[MAP_TYPE]);
    if kind.is_empty() {
        return;
    }
    if is_type(causes, schema, "object", MAP_TYPE, path) && !["atomic", "granular"].contains(&kind) {
        causes.push(unsupported(&path.child(MAP_TYPE), kind, &["atomic", "granular"]));
    }
}

fn is_type(causes: &mut Causes, schema: &Value, wanted: &str, because: &str, path: &Path) -> bool {
    let (here, why) = (path.child("type"), format!("must be {wanted} if {because} is specified"));
    match str_at(schema, &["type"]) {
        found if found == wanted => return true,
        "" => causes.push(required(&here, &why)),
        found => causes.push(invalid(&here, found, &why)),
    }
    false
}

/// Elements that are told apart by some of their fields, which therefore must be there.
fn map_list(causes: &mut Causes, schema: &Value, keys: &[Value], path: &Path) {
    let (items, keys_path) = (path.child("items"), path.child(LIST_KEYS));
    if keys.is_empty() {
        causes.push(required(&keys_path, "must not be empty if x-kubernetes-list-type is map"));
    }
    let found = str_at(schema, &["items", "type"]);
    if schema.get("items").is_some_and(Value::is_object) && found != "object" {
        let why = "must be object if parent array's x-kubernetes-list-type is map";
        causes.push(invalid(&items.child("type"), found, why));
        return;
    }
    let needed: BTreeSet<&str> = list_at(schema, &["items", "required"]).iter().filter_map(Value::as_str).collect();
    let mut seen = BTreeSet::new();
    for (index, key) in keys.iter().filter_map(Value::as_str).enumerate() {
        if !seen.insert(key) {
            causes.push(duplicate(&keys_path.index(index), key));
            continue;
        }
        let Some(field) = value_at(schema, &["items", "properties"]).and_then(|fields| fields.get(key)) else {
            let why = "entries must all be names of item properties";
            causes.push(invalid(&keys_path.index(index), key, why));
            continue;
        };
        let here = items.child("properties").key(key);
        if !needed.contains(key) && field.get("default").is_none_or(Value::is_null) {
            let why =
                "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
            causes.push(required(&here.child("default"), why));
        }
        if field.get("nullable") == Some(&Value::Bool(true)) {
            let why = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable";
            causes.push(forbidden(&here.child("nullable"), why));
        }
    }
}

/// Elements that are told apart as a whole.
fn set(causes: &mut Causes, schema: &Value, path: &Path) {
    let (item, items) = (schema.get("items").unwrap_or(&Value::Null), path.child("items"));
    let text = |field: &str| str_at(item, &[field]);
    let why = "must be atomic as item of a list with x-kubernetes-list-type=set";
    match text("type") {
        "array" if !["", "atomic"].contains(&text(LIST_TYPE)) => {
            causes.push(invalid(&items.child(LIST_TYPE), text(LIST_TYPE), why));
        }
        "object" if text(MAP_TYPE) != "atomic" => {
            let found = item.get(MAP_TYPE).cloned().unwrap_or_default();
            causes.push(invalid(&items.child(MAP_TYPE), found, why));
        }
        _ => {}
    }
}

fn unsupported(path: &Path, found: &str, supported: &[&str]) -> Cause {
    let supported: Vec<String> = supported.iter().map(|value| quote(value)).collect();
    let message = format!("Unsupported value: {}: supported values: {}", quote(found), supported.join(", "));
    Cause { reason: "FieldValueNotSupported".into(), message, field: path.to_string() }
}
