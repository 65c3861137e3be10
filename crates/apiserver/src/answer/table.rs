//! Tables, the form in which `kubectl get` asks for objects.

use backstay_api::{Status, canonical, meta, strategy, table};
use bytes::Bytes;
use serde_json::{Value, json};

use crate::call::Call;

/// What a row carries of its object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Include {
    None,
    Metadata,
    Object,
}

impl Include {
    /// From `includeObject`.
    pub fn of(call: &Call) -> Result<Self, Status> {
        match call.query.text("includeObject") {
            "" | "Metadata" => Ok(Include::Metadata),
            "Object" => Ok(Include::Object),
            "None" => Ok(Include::None),
            other => Err(Status::bad_request(format!(
                "Unable to convert to Table as requested: includeObject: Invalid value: {other:?}: \
                 must be 'Metadata', 'Object', 'None', or empty"
            ))),
        }
    }
}

/// A Table of one row.
pub fn of_object(call: &Call, version: &str, object: Value) -> Result<Bytes, Status> {
    let metadata = json!({ "resourceVersion": meta::resource_version(&object) });
    of_objects(call, version, metadata, vec![object])
}

/// A Table of many rows; `metadata` is that of the list.
pub fn of_objects(call: &Call, version: &str, metadata: Value, objects: Vec<Value>) -> Result<Bytes, Status> {
    let columns = json!(columns(call));
    let include = Include::of(call)?;
    let rows: Vec<Value> = objects.into_iter().map(|object| row(call, version, include, object)).collect();
    Ok(canonical::json(&of_rows(version, metadata, columns, rows)).into())
}

/// A Table of one row for a watch, with columns only if they are asked for.
pub fn of_event(call: &Call, version: &str, include: Include, object: Value, with_columns: bool) -> Value {
    let columns = if with_columns { json!(columns(call)) } else { Value::Null };
    let metadata = json!({ "resourceVersion": meta::resource_version(&object) });
    of_rows(version, metadata, columns, vec![row(call, version, include, object)])
}

fn columns(call: &Call) -> Vec<table::Column> {
    if is_scale(call) { table::scale_columns() } else { call.served.columns() }
}

/// Whether the rows are Scales. Those of custom resources are shown like the resources themselves, as in Kubernetes.
fn is_scale(call: &Call) -> bool {
    call.subresource() == Some("scale") && call.served.custom.is_none()
}

fn of_rows(version: &str, metadata: Value, columns: Value, rows: Vec<Value>) -> Value {
    json!({
        "kind": "Table",
        "apiVersion": format!("meta.k8s.io/{version}"),
        "metadata": metadata,
        "columnDefinitions": columns,
        "rows": rows,
    })
}

fn row(call: &Call, version: &str, include: Include, object: Value) -> Value {
    let now = call.core.clock.now();
    let cells = if is_scale(call) { table::scale_cells(&object, now) } else { call.served.cells(&object, now) };
    let mut row = json!({ "cells": cells });
    let fields = row.as_object_mut().expect("an object literal");
    if let Some(conditions) = table::row_conditions(&call.served.resource, &object) {
        fields.insert("conditions".into(), conditions);
    }
    let carried = match include {
        Include::None => Value::Null,
        Include::Object => object,
        Include::Metadata => json!({
            "kind": "PartialObjectMetadata",
            "apiVersion": format!("meta.k8s.io/{version}"),
            "metadata": metadata(call, &object),
        }),
    };
    fields.insert("object".into(), carried);
    row
}

/// The template generation of a DaemonSet is an annotation only in the whole object: in Kubernetes, rows carry the
/// metadata of the internal one, where it is a field of the spec.
fn metadata(call: &Call, object: &Value) -> Option<Value> {
    let mut metadata = object.get("metadata")?.clone();
    if call.served.is("apps", "daemonsets")
        && let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut)
    {
        annotations.remove(strategy::TEMPLATE_GENERATION);
        if annotations.is_empty() {
            metadata.as_object_mut()?.remove("annotations");
        }
    }
    Some(metadata)
}
