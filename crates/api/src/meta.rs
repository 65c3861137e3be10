//! Reading and writing `metadata` of an object that is a `serde_json::Value`.
//! Readers answer "absent" for anything that is missing or of another type; they never panic.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::{GroupVersionKind, ObjectKey};

/// A finalizer: deletion waits for dependents that block their owner.
pub const FOREGROUND: &str = "foregroundDeletion";
/// A finalizer: deletion waits until dependents have lost their owner reference.
pub const ORPHAN: &str = "orphan";
/// The annotation that holds what `kubectl apply` sent last.
pub const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The string at a path of field names, or `""`.
pub fn str_at<'a>(object: &'a Value, path: &[&str]) -> &'a str {
    value_at(object, path).and_then(Value::as_str).unwrap_or("")
}

/// The integer at a path of field names.
pub fn int_at(object: &Value, path: &[&str]) -> Option<i64> {
    value_at(object, path).and_then(Value::as_i64)
}

/// The value at a path of field names; `None` where it is absent or null.
pub fn value_at<'a>(object: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(object, |value, field| value.get(field)).filter(|value| !value.is_null())
}

/// The elements of the list at a path; empty where there is none.
pub fn list_at<'a>(object: &'a Value, path: &[&str]) -> &'a [Value] {
    value_at(object, path).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

pub fn name(object: &Value) -> &str {
    str_at(object, &["metadata", "name"])
}

pub fn namespace(object: &Value) -> Option<&str> {
    Some(str_at(object, &["metadata", "namespace"])).filter(|namespace| !namespace.is_empty())
}

pub fn uid(object: &Value) -> &str {
    str_at(object, &["metadata", "uid"])
}

pub fn resource_version(object: &Value) -> &str {
    str_at(object, &["metadata", "resourceVersion"])
}

pub fn generation(object: &Value) -> i64 {
    int_at(object, &["metadata", "generation"]).unwrap_or(0)
}

pub fn key(object: &Value) -> ObjectKey {
    ObjectKey { namespace: namespace(object).map(str::to_string), name: name(object).to_string() }
}

pub fn gvk(object: &Value) -> Option<GroupVersionKind> {
    GroupVersionKind::from_api_version(str_at(object, &["apiVersion"]), str_at(object, &["kind"]))
}

pub fn label<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    value_at(object, &["metadata", "labels", key]).and_then(Value::as_str)
}

pub fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    value_at(object, &["metadata", "annotations", key]).and_then(Value::as_str)
}

pub fn labels(object: &Value) -> BTreeMap<String, String> {
    string_map(value_at(object, &["metadata", "labels"]))
}

pub fn annotations(object: &Value) -> BTreeMap<String, String> {
    string_map(value_at(object, &["metadata", "annotations"]))
}

/// A map of strings; entries of other types are left out.
pub fn string_map(value: Option<&Value>) -> BTreeMap<String, String> {
    let entries = value.and_then(Value::as_object).into_iter().flatten();
    entries.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_string()))).collect()
}

pub fn owner_references(object: &Value) -> &[Value] {
    list_at(object, &["metadata", "ownerReferences"])
}

/// The owner reference with `controller: true`.
pub fn controller_of(object: &Value) -> Option<&Value> {
    owner_references(object).iter().find(|owner| owner.get("controller") == Some(&Value::Bool(true)))
}

pub fn finalizers(object: &Value) -> impl Iterator<Item = &str> {
    list_at(object, &["metadata", "finalizers"]).iter().filter_map(Value::as_str)
}

pub fn is_being_deleted(object: &Value) -> bool {
    value_at(object, &["metadata", "deletionTimestamp"]).is_some()
}

/// The condition of this type in an object's status.
pub fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    list_at(object, &["status", "conditions"]).iter().find(|condition| str_at(condition, &["type"]) == kind)
}

/// Whether that condition says so: it is there, and `True`.
pub fn is_true(object: &Value, kind: &str) -> bool {
    condition(object, kind).is_some_and(|condition| str_at(condition, &["status"]) == "True")
}

/// The object at a path, made (and put in place of anything that is not an object) where it is missing.
pub fn map_mut<'a>(object: &'a mut Value, path: &[&str]) -> &'a mut Map<String, Value> {
    let mut value = object;
    for field in path {
        if !value.is_object() {
            *value = Value::Object(Map::new());
        }
        value = value.as_object_mut().expect("made an object just above").entry(*field).or_insert(Value::Null);
    }
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    value.as_object_mut().expect("made an object just above")
}

/// Sets a field of `metadata`.
pub fn set_meta(object: &mut Value, field: &str, value: impl Into<Value>) {
    map_mut(object, &["metadata"]).insert(field.to_string(), value.into());
}

/// Removes a field of `metadata`.
pub fn remove_meta(object: &mut Value, field: &str) -> Option<Value> {
    object.get_mut("metadata").and_then(Value::as_object_mut)?.remove(field)
}
