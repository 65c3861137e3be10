//! Tables: the columns and cells that `kubectl get` shows, per kind.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

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

/// The columns of a kind; Name and Created At (age) for kinds without columns of their own.
pub fn columns(resource: &Resource) -> Vec<Column> {
    let _ = resource;
    todo!("table")
}

/// The cells of one object, one per column.
pub fn cells(resource: &Resource, object: &Value, now: Timestamp) -> Vec<Value> {
    let _ = (resource, object, now);
    todo!("table")
}

/// An age in the words of `kubectl get`: `5s`, `3m20s`, `2d`...; `<invalid>` for times in the future.
pub fn human_duration(seconds: i64) -> String {
    let _ = seconds;
    todo!("table")
}
