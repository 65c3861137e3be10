//! Paths of fields, and the ways in which a field can be wrong, in Kubernetes' words.
//! Source: `k8s.io/apimachinery/pkg/util/validation/field`.

use std::fmt;

use serde_json::Value;

use crate::canonical;
pub use crate::go::quote;
use crate::status::Cause;

/// `spec.containers[0].ports[1].name`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path(String);

impl Path {
    pub fn new(root: &str) -> Self {
        Self(root.to_string())
    }

    pub fn child(&self, name: &str) -> Self {
        Self(format!("{}.{name}", self.0))
    }

    pub fn index(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }

    /// An entry of a map.
    pub fn key(&self, key: &str) -> Self {
        Self(format!("{}[{key}]", self.0))
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is wrong with an object, in the order in which it was found.
pub type Causes = Vec<Cause>;

pub fn required(path: &Path, detail: &str) -> Cause {
    cause("FieldValueRequired", path, "Required value", detail)
}

pub fn forbidden(path: &Path, detail: &str) -> Cause {
    cause("FieldValueForbidden", path, "Forbidden", detail)
}

pub fn invalid(path: &Path, value: impl Into<Value>, detail: &str) -> Cause {
    invalid_shown(path, &show(&value.into()), detail)
}

/// [`invalid`] with a value that Go prints in its own order of fields.
pub fn invalid_shown(path: &Path, value: &str, detail: &str) -> Cause {
    cause("FieldValueInvalid", path, &format!("Invalid value: {value}"), detail)
}

/// [`invalid`] with a value that is not worth showing.
pub fn invalid_unshown(path: &Path, detail: &str) -> Cause {
    cause("FieldValueInvalid", path, "Invalid value", detail)
}

/// One [`invalid`] for each complaint of a rule.
pub fn invalids(path: &Path, value: &str, details: Vec<String>) -> impl Iterator<Item = Cause> {
    details.into_iter().map(move |detail| invalid(path, value, &detail))
}

pub fn duplicate(path: &Path, value: impl Into<Value>) -> Cause {
    duplicate_shown(path, &show(&value.into()), "")
}

/// [`duplicate`] with a value that Go prints in its own order of fields.
pub fn duplicate_shown(path: &Path, value: &str, detail: &str) -> Cause {
    cause("FieldValueDuplicate", path, &format!("Duplicate value: {value}"), detail)
}

pub fn not_found(path: &Path, value: impl Into<Value>) -> Cause {
    cause("FieldValueNotFound", path, &format!("Not found: {}", show(&value.into())), "")
}

/// `supported` is listed in the order given.
pub fn not_supported(path: &Path, value: &str, supported: &[&str]) -> Cause {
    let supported: Vec<_> = supported.iter().map(|value| quote(value)).collect();
    let detail = match supported.as_slice() {
        [] => String::new(),
        values => format!("supported values: {}", values.join(", ")),
    };
    cause("FieldValueNotSupported", path, &format!("Unsupported value: {}", quote(value)), &detail)
}

pub fn too_long(path: &Path, bytes_max: usize) -> Cause {
    cause("FieldValueTooLong", path, "Too long", &format!("may not be more than {bytes_max} bytes"))
}

pub fn too_many(path: &Path, items: usize, items_max: usize) -> Cause {
    let detail = format!("must have at most {items_max} items");
    cause("FieldValueTooMany", path, &format!("Too many: {items}"), &detail)
}

/// Everything that is there must be at least zero.
pub fn not_negative(path: &Path, value: Option<i64>) -> Option<Cause> {
    let value = value.filter(|value| *value < 0)?;
    Some(invalid(path, value, "must be greater than or equal to 0"))
}

pub const IMMUTABLE: &str = "field is immutable";

/// A value as messages show it: strings as Go quotes them, everything else as JSON.
pub fn show(value: &Value) -> String {
    match value {
        Value::String(text) => quote(text),
        other => canonical::json_text(other),
    }
}

/// An object with its fields in the order given (others after them), as Go prints a struct.
pub fn show_ordered(object: &Value, order: &[&str]) -> String {
    let Some(fields) = object.as_object() else { return show(object) };
    let known = order.iter().filter_map(|name| fields.get_key_value(*name));
    let others = fields.iter().filter(|(name, _)| !order.contains(&name.as_str()));
    let shown = known.chain(others).map(|(name, value)| format!("{}:{}", quote(name), show(value)));
    format!("{{{}}}", shown.collect::<Vec<_>>().join(","))
}

fn cause(reason: &str, path: &Path, what: &str, detail: &str) -> Cause {
    let message = if detail.is_empty() { what.to_string() } else { format!("{what}: {detail}") };
    Cause { reason: reason.to_string(), message, field: path.to_string() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn says_what_is_wrong_as_kubernetes_does() {
        #[track_caller]
        fn check(cause: Cause, reason: &str, message: &str) {
            assert_eq!(
                (cause.reason.as_str(), cause.message.as_str(), cause.field.as_str()),
                (reason, message, "a.b[1][k]")
            );
        }
        let path = Path::new("a").child("b").index(1).key("k");
        check(required(&path, ""), "FieldValueRequired", "Required value");
        check(required(&path, "why"), "FieldValueRequired", "Required value: why");
        check(forbidden(&path, "why"), "FieldValueForbidden", "Forbidden: why");
        check(invalid(&path, "x\"", "why"), "FieldValueInvalid", "Invalid value: \"x\\\"\": why");
        check(invalid(&path, -1, "why"), "FieldValueInvalid", "Invalid value: -1: why");
        check(
            invalid(&path, json!({"b": 1, "a": null}), "why"),
            "FieldValueInvalid",
            "Invalid value: {\"a\":null,\"b\":1}: why",
        );
        check(duplicate(&path, "x"), "FieldValueDuplicate", "Duplicate value: \"x\"");
        check(
            not_supported(&path, "x", &["a", ""]),
            "FieldValueNotSupported",
            "Unsupported value: \"x\": supported values: \"a\", \"\"",
        );
        check(too_long(&path, 5), "FieldValueTooLong", "Too long: may not be more than 5 bytes");
        check(too_many(&path, 9, 5), "FieldValueTooMany", "Too many: 9: must have at most 5 items");
    }
}
