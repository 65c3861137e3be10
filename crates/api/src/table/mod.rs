//! Tables: the columns and cells that `kubectl get` shows, per kind.
//!
//! Names, types and priorities of the columns are Kubernetes'; the descriptions are short words of our own.
//! Source: `pkg/printers/internalversion/printers.go`.

mod cluster;
mod core;
mod custom;
mod network;
mod pod;
mod storage;
mod workload;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

pub use custom::{Printer, custom_cells, custom_columns, custom_printers};

use crate::meta;
use crate::resources::Resource;

/// One column, as `columnDefinitions` holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Column {
    pub name: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub format: String,
    pub description: String,
    pub priority: i32,
}

/// Columns as text, and the function that makes the cells of one object.
///
/// The text is a list of `Name`, `Name:type` (string if not said) and `Name*` (shown with `-o wide` only).
struct Layout {
    columns: &'static str,
    cells: fn(&Value, Timestamp) -> Vec<Value>,
}

const DEFAULT: Layout =
    Layout { columns: "Name, Created At:date", cells: |object, _| vec![name(object), created_at(object)] };

/// The columns of a kind; Name and Created At for kinds without columns of their own.
pub fn columns(resource: &Resource) -> Vec<Column> {
    parse_columns(layout(resource).columns)
}

/// The cells of one object, one per column.
pub fn cells(resource: &Resource, object: &Value, now: Timestamp) -> Vec<Value> {
    (layout(resource).cells)(object, now)
}

/// The columns of the subresource `scale`.
pub fn scale_columns() -> Vec<Column> {
    parse_columns(workload::SCALE.columns)
}

/// The cells of a Scale, one per column.
pub fn scale_cells(scale: &Value, now: Timestamp) -> Vec<Value> {
    (workload::SCALE.cells)(scale, now)
}

/// The `conditions` of a row: finished pods carry one. `None`: the field is left out.
pub fn row_conditions(resource: &Resource, object: &Value) -> Option<Value> {
    if !(resource.group.is_empty() && resource.kind == "Pod") {
        return None;
    }
    let (reason, message) = match meta::str_at(object, &["status", "phase"]) {
        "Succeeded" => ("Succeeded", "The pod has completed successfully."),
        "Failed" => ("Failed", "The pod failed."),
        _ => return None,
    };
    Some(json!([{"type": "Completed", "status": "True", "reason": reason, "message": message}]))
}

/// An age in the words of `kubectl get`: `5s`, `3m20s`, `2d`...; `<invalid>` for times in the future.
pub fn human_duration(seconds: i64) -> String {
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let (days, years) = (hours / 24, hours / 24 / 365);
    let pair = |large: i64, large_unit: &str, small: i64, small_unit: &str| match small {
        0 => format!("{large}{large_unit}"),
        small => format!("{large}{large_unit}{small}{small_unit}"),
    };
    match seconds {
        i64::MIN..-1 => "<invalid>".to_string(),
        -1 => "0s".to_string(),
        0..120 => format!("{seconds}s"),
        _ if minutes < 10 => pair(minutes, "m", seconds % 60, "s"),
        _ if minutes < 180 => format!("{minutes}m"),
        _ if hours < 8 => pair(hours, "h", minutes % 60, "m"),
        _ if hours < 48 => format!("{hours}h"),
        _ if days < 8 => pair(days, "d", hours % 24, "h"),
        _ if days < 2 * 365 => format!("{days}d"),
        _ if days < 8 * 365 => pair(years, "y", days % 365, "d"),
        _ => format!("{years}y"),
    }
}

/// How long ago a time in RFC 3339 was; `<unknown>` where there is none.
pub fn age(time: &str, now: Timestamp) -> String {
    match time.parse::<Timestamp>() {
        Ok(time) => human_duration(now.as_second() - time.as_second()),
        Err(_) => "<unknown>".to_string(),
    }
}

fn layout(resource: &Resource) -> &'static Layout {
    let group = resource.group.as_str();
    let own = match group {
        "" | "events.k8s.io" => core::layout(&resource.kind).or_else(|| match resource.kind.as_str() {
            "Pod" => Some(&pod::POD),
            kind => workload::layout(kind).or_else(|| storage::layout(kind)).or_else(|| network::layout(kind)),
        }),
        "apps" | "batch" | "autoscaling" => workload::layout(&resource.kind),
        "storage.k8s.io" => storage::layout(&resource.kind),
        "networking.k8s.io" | "discovery.k8s.io" => network::layout(&resource.kind),
        _ if crate::strategy::is_custom(resource) => Some(&custom::DEFAULT),
        _ => cluster::layout(&resource.kind),
    };
    own.unwrap_or(&DEFAULT)
}

fn parse_columns(text: &str) -> Vec<Column> {
    let columns = text.split(", ").map(|column| {
        let (name, wide) = column.strip_suffix('*').map_or((column, false), |name| (name, true));
        let (name, kind) = name.split_once(':').unwrap_or((name, "string"));
        Column {
            name: name.to_string(),
            kind: kind.to_string(),
            format: if name == "Name" { "name" } else { "" }.to_string(),
            description: describe(name).to_string(),
            priority: wide.into(),
        }
    });
    columns.collect()
}

/// A few words about a column.
fn describe(name: &str) -> &'static str {
    match name {
        "Name" => "The name of the object, unique within its namespace.",
        "Age" => "How long ago the object was created.",
        "Created At" => "When the object was created.",
        "Containers" => "Names of each container in the template.",
        "Images" => "Images referenced by each container in the template.",
        "Selector" => "Which pods belong to the object.",
        "Node Selector" => "Labels that a node must have to run the pod.",
        "Status" => "The state of the object.",
        _ => "",
    }
}

fn name(object: &Value) -> Value {
    meta::name(object).into()
}

fn created(object: &Value, now: Timestamp) -> Value {
    age(meta::str_at(object, &["metadata", "creationTimestamp"]), now).into()
}

fn created_at(object: &Value) -> Value {
    meta::str_at(object, &["metadata", "creationTimestamp"]).into()
}

fn text(object: &Value, path: &[&str]) -> Value {
    meta::str_at(object, path).into()
}

/// The text at a path, or `<none>`-like words where it is missing or empty.
fn text_or(object: &Value, path: &[&str], missing: &str) -> Value {
    match meta::str_at(object, path) {
        "" => missing.into(),
        text => text.into(),
    }
}

fn number(object: &Value, path: &[&str]) -> Value {
    meta::int_at(object, path).unwrap_or(0).into()
}

fn boolean(object: &Value, path: &[&str]) -> Value {
    (meta::value_at(object, path) == Some(&Value::Bool(true))).into()
}

/// How many entries the list or map at a path has.
fn count(object: &Value, path: &[&str]) -> i64 {
    let length = match meta::value_at(object, path) {
        Some(Value::Array(elements)) => elements.len(),
        Some(Value::Object(fields)) => fields.len(),
        _ => 0,
    };
    length.try_into().unwrap_or(i64::MAX)
}

/// `k=v,k2=v2` in order of the keys, or `<none>`.
fn label_text(object: &Value, path: &[&str]) -> Value {
    let labels = meta::string_map(meta::value_at(object, path));
    let pairs: Vec<_> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    or_none(pairs.join(","))
}

fn or_none(text: String) -> Value {
    if text.is_empty() { "<none>".into() } else { text.into() }
}

/// One field of each element of a list, joined with commas.
fn joined(list: &[Value], field: &str) -> String {
    list.iter().map(|element| meta::str_at(element, &[field])).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests;
