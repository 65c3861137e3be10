//! Custom resources: the columns their definition asks for.

use jiff::Timestamp;
use serde_json::Value;

use super::{Column, Layout, age, created, name};
use crate::json_path::Template;
use crate::meta;

/// For a definition that asks for nothing.
pub(super) const DEFAULT: Layout =
    Layout { columns: "Name, Age:date", cells: |object, now| vec![name(object), created(object, now)] };

/// The columns of one version (an element of `spec.versions`) of a CustomResourceDefinition.
pub fn custom_columns(version: &Value) -> Vec<Column> {
    let mut columns = super::parse_columns(DEFAULT.columns);
    let wanted = meta::list_at(version, &["additionalPrinterColumns"]);
    if wanted.is_empty() {
        return columns;
    }
    columns.truncate(1);
    columns.extend(wanted.iter().map(|column| Column {
        name: meta::str_at(column, &["name"]).to_string(),
        kind: meta::str_at(column, &["type"]).to_string(),
        format: meta::str_at(column, &["format"]).to_string(),
        description: meta::str_at(column, &["description"]).to_string(),
        priority: meta::int_at(column, &["priority"]).and_then(|priority| priority.try_into().ok()).unwrap_or(0),
    }));
    columns
}

/// Where the cells of a custom resource come from, one per column after the first.
#[derive(Clone, Debug)]
pub struct Printer {
    kind: String,
    /// None for a path that makes no sense; its cells are empty.
    path: Option<Template>,
}

/// The printers of one version; none for a version that asks for no columns.
pub fn custom_printers(version: &Value) -> Vec<Printer> {
    let printer = |column: &Value| Printer {
        kind: meta::str_at(column, &["type"]).to_string(),
        path: Template::parse(&format!("{{{}}}", meta::str_at(column, &["jsonPath"]))).ok(),
    };
    meta::list_at(version, &["additionalPrinterColumns"]).iter().map(printer).collect()
}

/// The cells of one custom resource, one per column of [`custom_columns`].
pub fn custom_cells(printers: &[Printer], object: &Value, now: Timestamp) -> Vec<Value> {
    if printers.is_empty() {
        return (DEFAULT.cells)(object, now);
    }
    let cells = printers.iter().map(|printer| {
        let found = printer.path.as_ref().and_then(|path| path.find(object).ok()).unwrap_or_default();
        cell(&printer.kind, found.first(), now)
    });
    std::iter::once(name(object)).chain(cells).collect()
}

/// The value as the column's type wants it; null where it has another one or there is none.
fn cell(kind: &str, value: Option<&Value>, now: Timestamp) -> Value {
    match (kind, value) {
        ("integer", Some(Value::Number(number))) => {
            number.as_i64().or_else(|| number.as_f64().map(|float| float as i64)).map_or(Value::Null, Value::from)
        }
        ("number", Some(value @ Value::Number(_))) | ("boolean", Some(value @ Value::Bool(_))) => value.clone(),
        ("date", Some(Value::String(time))) => age(time, now).into(),
        ("string", Some(Value::String(text))) => text.as_str().into(),
        ("string", Some(Value::Null) | None) => Value::Null,
        ("string", Some(value)) => crate::canonical::json_text(value).into(),
        _ => Value::Null,
    }
}
