//! Between the form in which an object is kept and the forms in which it is served. Events have two; the versions of a
//! custom resource differ in their `apiVersion` only, and its objects may be older than their schema has become.

use std::sync::Arc;

use backstay_api::{Status, decode, meta};
use serde_json::{Map, Value, json};

use crate::catalog::{Contents, Served};

/// The same field in `v1` and in `events.k8s.io/v1`. Source: the conversions of `pkg/apis/events/v1`.
const EVENT_FIELDS: [(&str, &str); 7] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("reportingComponent", "reportingController"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
];

/// Whether this resource is kept in another form than it is served.
pub fn is_needed(served: &Served) -> bool {
    is_event(served) || served.custom.is_some()
}

fn is_event(served: &Served) -> bool {
    served.is("events.k8s.io", "events")
}

/// From the served form to the stored one.
pub fn to_stored(contents: &Contents, served: &Arc<Served>, object: Value) -> Result<(Arc<Served>, Value), Status> {
    if !is_event(served) {
        return Ok((
            served.clone(),
            match stored_version(served) {
                Some(version) => with_version(object, &version),
                None => object,
            },
        ));
    }
    let stored = contents.stored_form(served);
    let object = rename(object, "v1", |(core, events)| (*events, *core));
    let object = decode::value(&stored.schema, &stored.ty, object)?.object;
    Ok((stored, object))
}

/// From the stored form to the served one.
pub fn to_served(served: &Served, object: Value) -> Value {
    if served.custom.is_some() {
        return renewed(served, with_version(object, &served.resource.api_version()));
    }
    if !is_event(served) {
        return object;
    }
    let object = rename(object, "events.k8s.io/v1", |(core, events)| (*core, *events));
    match decode::value(&served.schema, &served.ty, object.clone()) {
        Ok(decoded) => decoded.object,
        Err(_) => object,
    }
}

/// A custom object in the served form as it would be kept if it were written today; none for other kinds.
pub fn stored_custom(served: &Served, object: Value) -> Option<Value> {
    stored_version(served).map(|version| with_version(object, &version))
}

/// The `apiVersion` that custom objects are kept with.
fn stored_version(served: &Served) -> Option<String> {
    served.custom.as_ref()?;
    served.resource.stored_as.as_ref().map(|gvk| gvk.api_version())
}

/// A custom object under the schema of today: what it does not know (any more) is dropped, its defaults are filled in.
fn renewed(served: &Served, object: Value) -> Value {
    let mut object = match decode::value(&served.schema, &served.ty, object.clone()) {
        Ok(decoded) => decoded.object,
        Err(_) => object,
    };
    served.apply_defaults(&mut object);
    object
}

fn with_version(mut object: Value, api_version: &str) -> Value {
    meta::map_mut(&mut object, &[]).insert("apiVersion".into(), json!(api_version));
    object
}

fn rename(
    object: Value,
    api_version: &str,
    names: fn(&(&'static str, &'static str)) -> (&'static str, &'static str),
) -> Value {
    let Value::Object(mut fields) = object else { return object };
    let mut renamed = Map::new();
    for (from, to) in EVENT_FIELDS.iter().map(names) {
        if let Some(value) = fields.remove(from) {
            renamed.insert(to.to_string(), value);
        }
    }
    fields.extend(renamed);
    fields.insert("apiVersion".into(), json!(api_version));
    Value::Object(fields)
}
