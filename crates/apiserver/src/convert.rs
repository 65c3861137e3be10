//! Between the form in which an object is kept and the forms in which it is served. Events have two; the versions of a
//! custom resource differ in their `apiVersion` only.

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
    is_event(served) || (served.custom.is_some() && served.resource.stored_as.as_ref() != Some(&served.resource.gvk()))
}

fn is_event(served: &Served) -> bool {
    served.is("events.k8s.io", "events")
}

/// From the served form to the stored one.
pub fn to_stored(contents: &Contents, served: &Arc<Served>, object: Value) -> Result<(Arc<Served>, Value), Status> {
    if !is_needed(served) {
        return Ok((served.clone(), object));
    }
    if !is_event(served) {
        let kept_as = served.resource.stored_as.as_ref().map(|gvk| gvk.api_version()).unwrap_or_default();
        return Ok((served.clone(), with_version(object, &kept_as)));
    }
    let stored = contents.stored_form(served);
    let object = rename(object, "v1", |(core, events)| (*events, *core));
    let object = decode::value(&stored.schema, &stored.ty, object)?.object;
    Ok((stored, object))
}

/// From the stored form to the served one.
pub fn to_served(served: &Served, object: Value) -> Value {
    if !is_needed(served) {
        return object;
    }
    if !is_event(served) {
        return with_version(object, &served.resource.api_version());
    }
    let object = rename(object, "events.k8s.io/v1", |(core, events)| (*core, *events));
    match decode::value(&served.schema, &served.ty, object.clone()) {
        Ok(decoded) => decoded.object,
        Err(_) => object,
    }
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
