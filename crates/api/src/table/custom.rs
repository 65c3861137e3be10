//! Custom resources: the columns their definition asks for.

use jiff::Timestamp;
use serde_json::Value;

use super::{Column, Layout, age, created, name};
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

/// The cells of one custom resource, one per column of [`custom_columns`].
pub fn custom_cells(version: &Value, object: &Value, now: Timestamp) -> Vec<Value> {
    let wanted = meta::list_at(version, &["additionalPrinterColumns"]);
    if wanted.is_empty() {
        return (DEFAULT.cells)(object, now);
    }
    let cells = wanted.iter().map(|column| {
        let found = find(object, meta::str_at(column, &["jsonPath"]));
        cell(meta::str_at(column, &["type"]), found.first().copied(), now)
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

/// Follows a simple JSONPath: `.a.b`, `['a.b']`, `[0]`, `[*]` and `[?(@.type=="Ready")]`. Nothing for any other.
fn find<'a>(object: &'a Value, path: &str) -> Vec<&'a Value> {
    let mut found = vec![object];
    let mut rest = path.trim();
    while !rest.is_empty() && !found.is_empty() {
        let Some((step, after)) = step(rest) else { return Vec::new() };
        found = found.into_iter().flat_map(|value| step.apply(value)).collect();
        rest = after;
    }
    found
}

enum Step<'p> {
    Field(&'p str),
    Index(usize),
    All,
    Where { field: &'p str, equals: &'p str },
}

fn step(path: &str) -> Option<(Step<'_>, &str)> {
    if let Some(rest) = path.strip_prefix('.') {
        let end = rest.find(['.', '[']).unwrap_or(rest.len());
        let name = &rest[..end];
        return match name {
            "" => None,
            "*" => Some((Step::All, &rest[end..])),
            name => Some((Step::Field(name), &rest[end..])),
        };
    }
    let rest = path.strip_prefix('[')?;
    if let Some(rest) = rest.strip_prefix("?(@.") {
        let (condition, rest) = rest.split_once(")]")?;
        let (field, value) = condition.split_once("==")?;
        let equals = value.trim().trim_matches(['"', '\'']);
        return Some((Step::Where { field: field.trim(), equals }, rest));
    }
    let (inside, rest) = rest.split_once(']')?;
    let quoted = inside.strip_prefix('\'').and_then(|name| name.strip_suffix('\''));
    match (quoted, inside) {
        (Some(name), _) => Some((Step::Field(name), rest)),
        (None, "*") => Some((Step::All, rest)),
        (None, index) => Some((Step::Index(index.parse().ok()?), rest)),
    }
}

impl Step<'_> {
    fn apply<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        let elements = value.as_array().map(Vec::as_slice).unwrap_or_default();
        match self {
            Step::Field(name) => value.get(name).into_iter().collect(),
            Step::Index(index) => elements.get(*index).into_iter().collect(),
            Step::All => {
                elements.iter().chain(value.as_object().into_iter().flat_map(|fields| fields.values())).collect()
            }
            Step::Where { field, equals } => {
                elements.iter().filter(|element| meta::str_at(element, &[field]) == *equals).collect()
            }
        }
    }
}
