//! A parsed body before it is given a type: fields in the order of the text, repeated ones included, numbers as written.

use std::borrow::Cow;

use serde_json::{Map, Number, Value};

/// Go stops collecting complaints here.
pub const PROBLEMS_MAX: usize = 100;

#[derive(Clone, Debug, PartialEq)]
pub enum Tree<'a> {
    Null,
    Bool(bool),
    /// As JSON writes it.
    Number(Cow<'a, str>),
    String(Cow<'a, str>),
    Array(Vec<Tree<'a>>),
    Object(Vec<(Cow<'a, str>, Tree<'a>)>),
}

impl Tree<'_> {
    /// Nodes, and the bytes of all texts.
    pub fn size(&self) -> usize {
        match self {
            Tree::Array(items) => 1 + items.iter().map(Tree::size).sum::<usize>(),
            Tree::Object(fields) => 1 + fields.iter().map(|(key, value)| key.len() + value.size()).sum::<usize>(),
            Tree::Number(text) | Tree::String(text) => 1 + text.len(),
            Tree::Null | Tree::Bool(_) => 1,
        }
    }

    /// What Go calls this in its messages.
    pub fn go_kind(&self) -> &'static str {
        match self {
            Tree::Null => "null",
            Tree::Bool(_) => "bool",
            Tree::Number(_) => "number",
            Tree::String(_) => "string",
            Tree::Array(_) => "array",
            Tree::Object(_) => "object",
        }
    }

    /// The value without a type; of a repeated field the last one counts.
    pub fn into_value(self) -> Value {
        match self {
            Tree::Null => Value::Null,
            Tree::Bool(value) => Value::Bool(value),
            Tree::Number(text) => number(&text),
            Tree::String(text) => Value::String(text.into_owned()),
            Tree::Array(items) => Value::Array(items.into_iter().map(Tree::into_value).collect()),
            Tree::Object(fields) => {
                Value::Object(fields.into_iter().map(|(key, value)| (key.into_owned(), value.into_value())).collect())
            }
        }
    }

    /// `duplicate field "data.a"` for every field that occurs twice, each named once; where Go stops counting, so do we.
    pub fn duplicates(&self) -> Vec<String> {
        let mut found = Vec::new();
        self.collect_duplicates("", &mut found);
        found
    }

    fn collect_duplicates(&self, path: &str, found: &mut Vec<String>) {
        match self {
            Tree::Object(fields) => {
                let mut seen = std::collections::BTreeSet::new();
                for (key, value) in fields {
                    let path = if path.is_empty() { key.to_string() } else { format!("{path}.{key}") };
                    let message = format!("duplicate field \"{path}\"");
                    if !seen.insert(key) && found.len() < PROBLEMS_MAX && !found.contains(&message) {
                        found.push(message);
                    }
                    value.collect_duplicates(&path, found);
                }
            }
            Tree::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    item.collect_duplicates(&format!("{path}[{index}]"), found);
                }
            }
            _ => {}
        }
    }
}

/// A number as Go keeps one of no type: 64 bits if it is whole and fits, a float otherwise.
pub fn number(text: &str) -> Value {
    if let Ok(whole) = text.parse::<i64>() {
        return Value::from(whole);
    }
    text.parse().ok().and_then(float).map_or(Value::Null, Value::Number)
}

/// A float as Go writes it: without a fraction if it has none.
pub fn float(value: f64) -> Option<Number> {
    /// Up to here every whole number has a float of its own.
    const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;
    if value.fract() == 0.0 && value.abs() < WHOLE_MAX {
        // The check above makes the conversion exact.
        #[allow(clippy::cast_possible_truncation)]
        return Some(Number::from(value as i64));
    }
    Number::from_f64(value)
}

impl From<Value> for Tree<'static> {
    fn from(value: Value) -> Self {
        match value {
            Value::Null => Tree::Null,
            Value::Bool(value) => Tree::Bool(value),
            Value::Number(number) => Tree::Number(number.to_string().into()),
            Value::String(text) => Tree::String(text.into()),
            Value::Array(items) => Tree::Array(items.into_iter().map(Tree::from).collect()),
            Value::Object(fields) => Tree::from(fields),
        }
    }
}

impl From<Map<String, Value>> for Tree<'static> {
    fn from(fields: Map<String, Value>) -> Self {
        Tree::Object(fields.into_iter().map(|(key, value)| (key.into(), value.into())).collect())
    }
}
