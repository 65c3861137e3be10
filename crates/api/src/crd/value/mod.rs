//! Whether a custom resource is what its schema wants, in Kubernetes' words.
//! Source: `k8s.io/kube-openapi/pkg/validation`, and how `apiextensions-apiserver` turns its findings into causes.

mod embedded;
mod lists;

use serde_json::{Map, Value};

use super::props::{Bound, Kind, ListType, Props, Rules};
use crate::canonical::json_text;
use crate::status::Cause;
use crate::validation::field::{self, Causes, Path};
use crate::validation::format;

pub use embedded::embedded;
pub use lists::duplicates;

/// Everything wrong with a value; `path` is empty at the root.
pub fn validate(props: &Props, value: &Value, path: &str) -> Causes {
    validate_update(props, value, None, path)
}

/// The same, for a value that was another one before: what has not changed may stay as it is.
pub fn validate_update(props: &Props, value: &Value, old: Option<&Value>, path: &str) -> Causes {
    let mut causes = Vec::new();
    check(&mut causes, props, value, old, path);
    causes
}

/// Visits a value and all below it that the schema knows, from above, with the path of each.
fn walk(props: &Props, value: &Value, path: &str, visit: &mut impl FnMut(&Props, &Value, &str)) {
    visit(props, value, path);
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                if let Some(props) = props.child(name) {
                    let below = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                    walk(props, value, &below, visit);
                }
            }
        }
        Value::Array(items) => {
            let Some(props) = &props.items else { return };
            for (index, item) in items.iter().enumerate() {
                walk(props, item, &format!("{path}[{index}]"), visit);
            }
        }
        _ => {}
    }
}

fn check(causes: &mut Causes, props: &Props, value: &Value, old: Option<&Value>, path: &str) {
    if old == Some(value) {
        return;
    }
    let Some(fits) = has_type(causes, props, value, path) else { return };
    if value.is_null() {
        allowed(causes, &props.rules, value, path);
        return;
    }
    junctors(causes, &props.rules, value, path);
    if !fits {
        return;
    }
    match value {
        Value::String(text) => string(causes, props, text, path),
        Value::Number(_) => number(causes, &props.rules, value, path),
        Value::Array(items) => array(causes, props, items, old, path),
        _ => {}
    }
    allowed(causes, &props.rules, value, path);
    if let Value::Object(fields) = value {
        object(causes, props, fields, old, path);
    }
}

/// Whether the value has the type; `None` if it is a null that may not be one.
fn has_type(causes: &mut Causes, props: &Props, value: &Value, path: &str) -> Option<bool> {
    if value.is_null() {
        let wanted = props.kind.filter(|_| !props.nullable);
        let Some(kind) = wanted else { return Some(true) };
        causes.push(wrong_type(path, kind.name(), "null"));
        return None;
    }
    let found = kind_of(value);
    let fits = match props.kind {
        _ if props.int_or_string => matches!(found, Kind::Integer | Kind::String),
        Some(Kind::Number) => matches!(found, Kind::Number | Kind::Integer),
        Some(kind) => kind == found,
        None => true,
    };
    if !fits {
        let wanted = if props.int_or_string { "integer,string" } else { props.kind.map_or("", Kind::name) };
        causes.push(wrong_type(path, wanted, found.name()));
    }
    Some(fits)
}

/// 1.0 is an integer as well.
fn kind_of(value: &Value) -> Kind {
    match value {
        Value::Object(_) | Value::Null => Kind::Object,
        Value::Array(_) => Kind::Array,
        Value::String(_) => Kind::String,
        Value::Bool(_) => Kind::Boolean,
        Value::Number(number) if number.is_f64() && number.as_f64().is_some_and(|float| float.fract() != 0.0) => {
            Kind::Number
        }
        Value::Number(_) => Kind::Integer,
    }
}

fn wrong_type(path: &str, wanted: &str, found: &str) -> Cause {
    let detail = format!("{path} in body must be of type {wanted}: {}", field::quote(found));
    let cause = field::invalid(&Path::new(path), found, &detail);
    Cause { reason: "FieldValueTypeInvalid".into(), ..cause }
}

fn invalid(path: &str, value: &Value, what: &str) -> Cause {
    field::invalid(&Path::new(path), value.clone(), &format!("{path} in body {what}"))
}

fn allowed(causes: &mut Causes, rules: &Rules, value: &Value, path: &str) {
    let Some(allowed) = rules.allowed.as_ref().filter(|allowed| !allowed.contains(value)) else { return };
    let text = |value: &Value| value.as_str().map_or_else(|| json_text(value), str::to_string);
    let supported: Vec<String> = allowed.iter().map(text).collect();
    let supported: Vec<&str> = supported.iter().map(String::as_str).collect();
    let cause = field::not_supported(&Path::new(path), &text(value), &supported);
    // Everything but strings is shown without quotes.
    let quoted = field::quote(&text(value));
    let message = cause.message.replacen(&quoted, &field::show(value), 1);
    causes.push(Cause { message, ..cause });
}

fn string(causes: &mut Causes, props: &Props, text: &str, path: &str) {
    let (rules, value) = (&props.rules, Value::from(text));
    let length = text.chars().count();
    if let Some(max) = rules.length.max.filter(|max| length > *max) {
        causes.push(field::too_long(&Path::new(path), max));
    }
    if let Some(min) = rules.length.min.filter(|min| length < *min) {
        causes.push(invalid(path, &value, &format!("should be at least {min} chars long")));
    }
    if let Some((pattern, Some(regex))) = &rules.pattern
        && !regex.is_match(text)
    {
        causes.push(invalid(path, &value, &format!("should match '{pattern}'")));
    }
    if !format::fits(&rules.format, text) {
        causes.push(invalid(path, &value, &format!("must be of type {}: {}", rules.format, field::quote(text))));
    }
}

fn number(causes: &mut Causes, rules: &Rules, value: &Value, path: &str) {
    let number = value.as_f64().unwrap_or(f64::NAN);
    let bound = |bound: &Bound| bound.value.as_f64().unwrap_or(f64::NAN);
    if let Some(divisor) = &rules.multiple_of
        && divisor.as_f64().is_some_and(|divisor| divisor != 0.0 && (number / divisor).fract() != 0.0)
    {
        causes.push(invalid(path, value, &format!("should be a multiple of {divisor}")));
    }
    if let Some(max) = &rules.maximum
        && (number > bound(max) || max.exclusive && number == bound(max))
    {
        let or_equal = if max.exclusive { "" } else { " or equal to" };
        causes.push(invalid(path, value, &format!("should be less than{or_equal} {}", max.value)));
    }
    if let Some(min) = &rules.minimum
        && (number < bound(min) || min.exclusive && number == bound(min))
    {
        let or_equal = if min.exclusive { "" } else { " or equal to" };
        causes.push(invalid(path, value, &format!("should be greater than{or_equal} {}", min.value)));
    }
}

fn array(causes: &mut Causes, props: &Props, items: &[Value], old: Option<&Value>, path: &str) {
    if let Some(schema) = &props.items {
        for (index, item) in items.iter().enumerate() {
            let old = old.and_then(|old| counterpart(props, old, item));
            check(causes, schema, item, old, &format!("{path}[{index}]"));
        }
    }
    let value = || Value::from(items.to_vec());
    if let Some(min) = props.rules.items.min.filter(|min| items.len() < *min) {
        causes.push(invalid(path, &value(), &format!("should have at least {min} items")));
    }
    if let Some(max) = props.rules.items.max.filter(|max| items.len() > *max) {
        causes.push(field::too_many(&Path::new(path), items.len(), max));
    }
    if props.rules.unique_items && lists::first_duplicate(items).is_some() {
        causes.push(invalid(path, &value(), "shouldn't contain duplicates"));
    }
}

/// The element of a list that was this one before, as far as elements can be told apart.
pub fn counterpart<'a>(props: &Props, old: &'a Value, item: &Value) -> Option<&'a Value> {
    let old = old.as_array().filter(|_| props.list_type == ListType::Map)?;
    let same = |old: &&Value| props.list_keys.iter().all(|key| old.get(key) == item.get(key));
    old.iter().find(same)
}

fn object(causes: &mut Causes, props: &Props, fields: &Map<String, Value>, old: Option<&Value>, path: &str) {
    let value = || Value::Object(fields.clone());
    if let Some(min) = props.rules.fields.min.filter(|min| fields.len() < *min) {
        causes.push(invalid(path, &value(), &format!("should have at least {min} properties")));
    }
    if let Some(max) = props.rules.fields.max.filter(|max| fields.len() > *max) {
        causes.push(invalid(path, &value(), &format!("should have at most {max} properties")));
    }
    let below = |name: &str| if path.is_empty() { name.to_string() } else { format!("{path}.{name}") };
    for (name, value) in fields {
        if let Some(schema) = props.child(name) {
            let old = old.and_then(|old| old.get(name));
            check(causes, schema, value, old, &below(name));
        }
    }
    for name in props.required.iter().filter(|name| !fields.contains_key(*name)) {
        causes.push(field::required(&Path::new(&below(name)), ""));
    }
}

/// `allOf`, `anyOf`, `oneOf` and `not`. What they find has no path of its own in Kubernetes' answers.
fn junctors(causes: &mut Causes, rules: &Rules, value: &Value, path: &str) {
    let nowhere = |message: String| field::invalid(&Path::new("<nil>"), "", &message);
    let valid = |props: &&Props| validate(props, value, path).is_empty();
    let tried: Vec<Causes> = rules.any_of.iter().map(|props| validate(props, value, path)).collect();
    if !tried.is_empty() && tried.iter().all(|causes| !causes.is_empty()) {
        causes.push(nowhere(format!("\"{path}\" must validate at least one schema (anyOf)")));
        causes.extend(tried.into_iter().min_by_key(Vec::len).unwrap_or_default());
    }
    if !rules.one_of.is_empty() {
        let count = rules.one_of.iter().filter(valid).count();
        let found = match count {
            0 => "Found none valid".to_string(),
            count => format!("Found {count} valid alternatives"),
        };
        if count != 1 {
            causes.push(nowhere(format!("\"{path}\" must validate one and only one schema (oneOf). {found}")));
        }
    }
    let failed: Vec<Causes> = rules.all_of.iter().map(|props| validate(props, value, path)).collect();
    if failed.iter().any(|causes| !causes.is_empty()) {
        let none = if failed.iter().all(|causes| !causes.is_empty()) { ". None validated" } else { "" };
        causes.extend(failed.into_iter().flatten());
        causes.push(nowhere(format!("\"{path}\" must validate all the schemas (allOf){none}")));
    }
    if rules.not.as_deref().is_some_and(|props| valid(&props)) {
        causes.push(nowhere(format!("\"{path}\" must not validate the schema (not)")));
    }
}
