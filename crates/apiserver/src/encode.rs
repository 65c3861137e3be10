//! Objects to their final JSON, once per commit; and back.
//!
//! Every encoded object begins with `{"kind":...,"apiVersion":...,"metadata":{`, the metadata in Kubernetes' order, so
//! that a list can leave the kind out and a resource version can be put in without parsing anything.

use std::sync::Arc;

use backstay_api::resources::Resource;
use backstay_api::{Index, Pairs, canonical, meta, strategy};
use backstay_store::{Encoded, Entry, Revision};
use bytes::Bytes;
use serde_json::{Map, Value};

use crate::catalog::prefix;

/// The fields of `metadata` that stand before `resourceVersion`, and those after it. Source: `ObjectMeta`.
const BEFORE_VERSION: [&str; 5] = ["name", "generateName", "namespace", "selfLink", "uid"];
const AFTER_VERSION: [&str; 9] = [
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "labels",
    "annotations",
    "ownerReferences",
    "finalizers",
    "managedFields",
];

/// The form for the store, with what the store shall know about the object.
pub fn for_store(resource: &Resource, object: &Value) -> Encoded {
    with_fields(object, strategy::selectable_fields(resource, object))
}

/// The same, given the fields that selectors can ask for.
pub fn with_fields(object: &Value, fields: Vec<(String, String)>) -> Encoded {
    // The quote that ends the resource version.
    let (mut head, tail) = halves(object, b"\"");
    if !head.ends_with(b"{") {
        head.push(b',');
    }
    head.extend_from_slice(br#""resourceVersion":""#);
    Encoded { head: head.into(), tail: tail.into(), index: Arc::new(index(object, fields)) }
}

/// Final JSON of an object that is not going to the store; its resource version, if it has one, is kept.
pub fn plain(object: &Value) -> Vec<u8> {
    if object.get("metadata").is_none() {
        return top_level(object, None);
    }
    let (mut out, tail) = halves(object, b"");
    let version = meta::resource_version(object);
    if !version.is_empty() {
        if !out.ends_with(b"{") {
            out.push(b',');
        }
        out.extend_from_slice(format!("\"resourceVersion\":\"{version}\"").as_bytes());
    }
    // The tail goes on after a resource version; without one its comma may have nothing to follow.
    let comma_is_loose = out.ends_with(b"{") && tail.starts_with(b",");
    out.extend_from_slice(if comma_is_loose { &tail[1..] } else { &tail });
    out
}

/// An object as a JSON or merge patch leaves it: whatever the patch has looked into has its fields in order.
/// `metadata_touched`: the patch speaks of `metadata`.
pub fn patched(object: &Value, metadata_touched: bool) -> Vec<u8> {
    let mut out = b"{".to_vec();
    for (index, (name, value)) in object.as_object().into_iter().flatten().enumerate() {
        let mut first = index == 0;
        match value.as_object().filter(|_| name == "metadata" && !metadata_touched) {
            Some(metadata) => metadata_in_order(&mut out, metadata, first),
            None => field(&mut out, name, value, &mut first),
        }
    }
    out.push(b'}');
    out
}

fn metadata_in_order(out: &mut Vec<u8>, metadata: &Map<String, Value>, first: bool) {
    out.extend_from_slice(if first { b"\"metadata\":{" } else { b",\"metadata\":{" });
    let mut first = true;
    for names in [BEFORE_VERSION.as_slice(), &["resourceVersion"], &AFTER_VERSION] {
        members(out, metadata, names, &mut first);
    }
    out.push(b'}');
}

/// An entry's object.
pub fn parse(entry: &Entry) -> Value {
    serde_json::from_slice(&entry.value).expect("the store holds what this server encoded")
}

/// The object again of which this was made; it has no resource version yet.
pub fn decoded(value: &Encoded) -> Value {
    let mut object = serde_json::from_slice(&value.at(0)).expect("this server has encoded it");
    meta::remove_meta(&mut object, "resourceVersion");
    object
}

/// The bytes of an object as if its resource version were another.
pub fn with_revision(entry: &Entry, revision: Revision) -> Bytes {
    let old = format!("\"resourceVersion\":\"{}\"", entry.revision);
    let Some(at) = find(&entry.value, old.as_bytes()) else { return entry.value.clone() };
    let new = format!("\"resourceVersion\":\"{revision}\"");
    [&entry.value[..at], new.as_bytes(), &entry.value[at + old.len()..]].concat().into()
}

fn index(object: &Value, fields: Vec<(String, String)>) -> Index {
    let owners = meta::owner_references(object).iter().map(|owner| meta::str_at(owner, &["uid"]).to_string());
    Index {
        uid: meta::uid(object).to_string(),
        labels: Pairs::from(&meta::labels(object)),
        fields: Pairs::from(&*fields),
        owners: owners.collect(),
    }
}

/// A usual object. Most of it stands behind the resource version.
const OBJECT_BYTES: usize = 4096;

/// JSON up to the place of the resource version, and from there on (with its comma, if anything follows), `between`
/// first.
fn halves(object: &Value, between: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let none = Map::new();
    let metadata = object.get("metadata").and_then(Value::as_object).unwrap_or(&none);
    let mut head = prefix(meta::str_at(object, &["kind"]), meta::str_at(object, &["apiVersion"])).into_bytes();
    head.extend_from_slice(b"\"metadata\":{");
    let mut first = true;
    members(&mut head, metadata, &BEFORE_VERSION, &mut first);
    let mut tail = Vec::with_capacity(OBJECT_BYTES);
    tail.extend_from_slice(between);
    members(&mut tail, metadata, &AFTER_VERSION, &mut false);
    tail.push(b'}');
    others(&mut tail, object, &mut false);
    tail.push(b'}');
    (head, tail)
}

/// An object without metadata.
fn top_level(object: &Value, mut out: Option<Vec<u8>>) -> Vec<u8> {
    let mut out = out.take().unwrap_or_else(|| b"{".to_vec());
    let mut first = true;
    if let Some(object) = object.as_object() {
        members(&mut out, object, &["kind", "apiVersion"], &mut first);
    }
    others(&mut out, object, &mut first);
    out.push(b'}');
    out
}

fn members(out: &mut Vec<u8>, object: &Map<String, Value>, names: &[&str], first: &mut bool) {
    for name in names {
        if let Some(value) = object.get(*name) {
            field(out, name, value, first);
        }
    }
}

/// Everything but kind, API version and metadata.
fn others(out: &mut Vec<u8>, object: &Value, first: &mut bool) {
    let fields = object.as_object().into_iter().flatten();
    for (name, value) in fields.filter(|(name, _)| !matches!(name.as_str(), "kind" | "apiVersion" | "metadata")) {
        field(out, name, value, first);
    }
}

fn field(out: &mut Vec<u8>, name: &str, value: &Value, first: &mut bool) {
    if !std::mem::take(first) {
        out.push(b',');
    }
    canonical::write_string(out, name);
    out.push(b':');
    canonical::write_value(out, value);
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
