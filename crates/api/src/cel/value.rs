//! Values while an expression is evaluated. What comes from an object is looked at where it lies.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::rc::Rc;

use jiff::Timestamp;
use serde_json::Value as Json;

use super::functions::{Cidr, NamedFormat, Semver, Url};
use crate::quantity::Quantity;

#[derive(Clone, Debug)]
pub enum Value<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    String(Cow<'a, str>),
    Bytes(Rc<[u8]>),
    Timestamp(Timestamp),
    /// In nanoseconds.
    Duration(i64),
    List(List<'a>),
    Map(Map<'a>),
    Optional(Option<Rc<Value<'a>>>),
    /// A type, by its name.
    Type(&'static str),
    Quantity(Rc<Quantity>),
    Url(Rc<Url>),
    Ip(IpAddr),
    Cidr(Cidr),
    Format(&'static NamedFormat),
    Semver(Rc<Semver>),
}

#[derive(Clone, Debug)]
pub enum List<'a> {
    Made(Rc<Vec<Value<'a>>>),
    /// A list of an object, with what is known of it.
    Json(&'a [Json], Shape<'a>),
}

#[derive(Clone, Debug)]
pub enum Map<'a> {
    Made(Rc<BTreeMap<Key, Value<'a>>>),
    Json(&'a serde_json::Map<String, Json>, Shape<'a>),
}

/// What a schema says of a part of an object. Nothing is known of what has none.
pub trait Shaped: Send + Sync + std::fmt::Debug {
    /// The value of what is no list and no map.
    fn scalar<'a>(&'a self, json: &'a Json) -> Value<'a>;
    /// The shape of a field of an object or an entry of a map.
    fn field(&self, name: &str) -> Shape<'_>;
    fn item(&self) -> Shape<'_>;
    /// The name of a field in the object, by the name that expressions use; `None` for maps, whose keys are data.
    fn field_name(&self, name: &str) -> Option<String>;
    /// How the elements of a list are told apart.
    fn identity(&self) -> Identity<'_>;
}

pub type Shape<'a> = Option<&'a dyn Shaped>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity<'a> {
    /// By their place.
    Index,
    /// The list is a set.
    Value,
    /// The list is a map by these fields.
    Keys(&'a [String]),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    Bool(bool),
    Int(i64),
    /// One that is no `Int`.
    Uint(u64),
    String(String),
}

impl<'a> Value<'a> {
    pub fn of(json: &'a Json, shape: Shape<'a>) -> Self {
        match (json, shape) {
            (Json::Array(items), shape) => Value::List(List::Json(items, shape)),
            (Json::Object(fields), shape) => Value::Map(Map::Json(fields, shape)),
            (Json::Null, _) => Value::Null,
            (scalar, Some(shape)) => shape.scalar(scalar),
            (scalar, None) => Value::plain(scalar),
        }
    }

    /// A scalar of which nothing else is known.
    pub fn plain(json: &'a Json) -> Self {
        match json {
            Json::Bool(value) => Value::Bool(*value),
            Json::String(text) => Value::String(Cow::Borrowed(text)),
            Json::Number(number) => match (number.as_i64(), number.as_u64()) {
                (Some(int), _) => Value::Int(int),
                (None, Some(uint)) => Value::Uint(uint),
                (None, None) => Value::Double(number.as_f64().unwrap_or(f64::NAN)),
            },
            Json::Null | Json::Array(_) | Json::Object(_) => Value::Null,
        }
    }

    pub fn text(text: impl Into<String>) -> Self {
        Value::String(Cow::Owned(text.into()))
    }

    pub fn list(items: Vec<Value<'a>>) -> Self {
        Value::List(List::Made(Rc::new(items)))
    }

    pub fn some(value: Value<'a>) -> Self {
        Value::Optional(Some(Rc::new(value)))
    }

    /// The name of its type, as `type(x)` gives it.
    pub fn type_name(&self) -> &'static str {
        use super::types::{CIDR, FORMAT, IP, QUANTITY, SEMVER, URL};
        match self {
            Value::Null => "null_type",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Uint(_) => "uint",
            Value::Double(_) => "double",
            Value::String(_) => "string",
            Value::Bytes(_) => "bytes",
            Value::Timestamp(_) => "google.protobuf.Timestamp",
            Value::Duration(_) => "google.protobuf.Duration",
            Value::List(_) => "list",
            Value::Map(_) => "map",
            Value::Optional(_) => "optional_type",
            Value::Type(_) => "type",
            Value::Quantity(_) => QUANTITY,
            Value::Url(_) => URL,
            Value::Ip(_) => IP,
            Value::Cidr(_) => CIDR,
            Value::Format(_) => FORMAT,
            Value::Semver(_) => SEMVER,
        }
    }
}

impl<'a> List<'a> {
    pub fn len(&self) -> usize {
        match self {
            List::Made(items) => items.len(),
            List::Json(items, _) => items.len(),
        }
    }

    pub fn get(&self, index: usize) -> Option<Value<'a>> {
        match self {
            List::Made(items) => items.get(index).cloned(),
            List::Json(items, shape) => items.get(index).map(|item| Value::of(item, shape.and_then(Shaped::item))),
        }
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Value<'a>> + '_ {
        (0..self.len()).filter_map(|index| self.get(index))
    }

    pub fn identity(&self) -> Identity<'a> {
        match self {
            List::Json(_, Some(shape)) => shape.identity(),
            _ => Identity::Index,
        }
    }
}

impl<'a> Map<'a> {
    pub fn len(&self) -> usize {
        match self {
            Map::Made(entries) => entries.len(),
            Map::Json(fields, _) => fields.len(),
        }
    }

    pub fn get(&self, key: &Value<'_>) -> Option<Value<'a>> {
        match (self, Key::of(key)?) {
            (Map::Made(entries), key) => entries.get(&key).cloned(),
            (Map::Json(fields, shape), Key::String(name)) => {
                fields.get(&name).map(|value| Value::of(value, shape.and_then(|shape| shape.field(&name))))
            }
            _ => None,
        }
    }

    /// What `map.field` speaks of.
    pub fn field(&self, field: &str) -> Option<Value<'a>> {
        let Map::Json(_, Some(shape)) = self else { return self.get(&Value::String(field.into())) };
        let name = shape.field_name(field).map_or(Cow::Borrowed(field), Cow::Owned);
        self.get(&Value::String(name))
    }

    /// The entries by their keys, in order.
    pub fn iter(&self) -> Box<dyn Iterator<Item = (Value<'a>, Value<'a>)> + '_> {
        match self {
            Map::Made(entries) => Box::new(entries.iter().map(|(key, value)| (key.value(), value.clone()))),
            Map::Json(fields, shape) => Box::new(fields.iter().map(move |(name, value)| {
                let value = Value::of(value, shape.and_then(|shape| shape.field(name)));
                (Value::String(Cow::Borrowed(name.as_str())), value)
            })),
        }
    }
}

impl Key {
    /// `None` for what is no key. A double that is a whole number is the key that the number is.
    pub fn of(value: &Value<'_>) -> Option<Self> {
        Some(match value {
            Value::Bool(value) => Key::Bool(*value),
            Value::Int(value) => Key::Int(*value),
            Value::Uint(value) => i64::try_from(*value).map_or(Key::Uint(*value), Key::Int),
            Value::String(text) => Key::String(text.to_string()),
            Value::Double(value) if value.fract() == 0.0 && value.abs() < 9.0e18 => Key::Int(*value as i64),
            _ => return None,
        })
    }

    pub fn value<'a>(&self) -> Value<'a> {
        match self {
            Key::Bool(value) => Value::Bool(*value),
            Key::Int(value) => Value::Int(*value),
            Key::Uint(value) => Value::Uint(*value),
            Key::String(text) => Value::text(text.clone()),
        }
    }
}
