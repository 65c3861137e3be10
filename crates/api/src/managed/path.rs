//! One step of a path into an object, as `FieldsV1` writes it: `f:spec`, `k:{"name":"a"}`, `v:"x"`, `i:3`.

use std::fmt;

use serde_json::{Map, Value};

use crate::canonical::json_text;

/// Ordered as Kubernetes orders them. Keys and values are kept as canonical JSON, so that equal ones are equal texts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PathElement {
    /// A field of an object.
    Field(String),
    /// The element of a keyed list whose key fields have these values: a JSON object.
    Key(String),
    /// The element of a set with this value: JSON.
    Value(String),
    /// The element of an atomic list at this place.
    Index(i64),
}

impl PathElement {
    pub fn field(name: &str) -> Self {
        PathElement::Field(name.to_string())
    }

    pub fn key(fields: Map<String, Value>) -> Self {
        let fields = fields.into_iter().map(|(name, value)| (name, whole_number(value)));
        PathElement::Key(json_text(&Value::Object(fields.collect())))
    }

    pub fn value(value: &Value) -> Self {
        PathElement::Value(json_text(&whole_number(value.clone())))
    }

    /// Reads the text form. `None` for kinds of elements that are not known: they are to be skipped, so that later
    /// versions can add some.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn parse(text: &str) -> Result<Option<Self>, String> {
        let Some((kind, rest)) = text.split_at_checked(2) else {
            return Err(format!("key must be 2 characters long: {text}"));
        };
        let json = || serde_json::from_str::<Value>(rest).map_err(|error| format!("{text}: {error}"));
        Ok(Some(match kind {
            "f:" => PathElement::field(rest),
            "v:" => PathElement::value(&json()?),
            "k:" => match json()? {
                Value::Object(fields) => PathElement::key(fields),
                _ => return Err(format!("{text}: the key of a list element must be an object")),
            },
            "i:" => PathElement::Index(rest.parse().map_err(|error| format!("{text}: {error}"))?),
            _ if kind.ends_with(':') => return Ok(None),
            _ => return Err(format!("missing colon: {text}")),
        }))
    }

    /// The text form.
    pub fn text(&self) -> String {
        match self {
            PathElement::Field(name) => format!("f:{name}"),
            PathElement::Key(fields) => format!("k:{fields}"),
            PathElement::Value(value) => format!("v:{value}"),
            PathElement::Index(index) => format!("i:{index}"),
        }
    }
}

/// As error messages show it: `.spec`, `[name="a"]`, `[="x"]`, `[3]`.
impl fmt::Display for PathElement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PathElement::Field(name) => write!(f, ".{name}"),
            PathElement::Key(fields) => {
                let fields: Map<String, Value> = serde_json::from_str(fields).unwrap_or_default();
                let shown: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
                write!(f, "[{}]", shown.join(","))
            }
            PathElement::Value(value) => write!(f, "[={value}]"),
            PathElement::Index(index) => write!(f, "[{index}]"),
        }
    }
}

/// A whole path, one element after the other.
pub fn show(path: &[PathElement]) -> String {
    path.iter().map(ToString::to_string).collect()
}

/// 1.0 and 1 are the same key.
fn whole_number(value: Value) -> Value {
    /// Below this every whole number has a double of its own (2^53).
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    match value.as_f64() {
        Some(number) if value.is_f64() && number.fract() == 0.0 && number.abs() < EXACT_MAX => (number as i64).into(),
        _ => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, shown: &str) {
        let element = PathElement::parse(text).expect("well-formed").expect("known");
        assert_eq!((element.text().as_str(), element.to_string().as_str()), (text, shown));
    }

    #[test]
    fn every_kind_is_read_written_and_shown() {
        check("f:spec", ".spec");
        check("f:", ".");
        check(r#"k:{"containerPort":53,"protocol":"UDP"}"#, r#"[containerPort=53,protocol="UDP"]"#);
        check(r#"v:"a.io/x""#, r#"[="a.io/x"]"#);
        check("v:7", "[=7]");
        check("i:3", "[3]");
    }

    #[test]
    fn keys_are_equal_whatever_they_were_written_like() {
        assert_eq!(PathElement::parse(r#"k:{ "b":1.0, "a":"x" }"#), PathElement::parse(r#"k:{"a":"x","b":1}"#));
    }

    #[test]
    fn malformed_elements_are_errors_and_unknown_ones_are_not() {
        for text in ["", "f", "é", "fx:", "k:{", "k:[]", "v:x", "i:x"] {
            assert!(PathElement::parse(text).is_err(), "{text}");
        }
        assert_eq!(PathElement::parse("z:later"), Ok(None));
    }
}
