//! What expressions know of the parts of an object.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use base64::Engine;
use jiff::civil;
use serde_json::Value as Json;

use crate::cel::{Identity, Object, RESERVED, Shape as SomeShape, Shaped, Type, Value, parse_duration};
use crate::crd::props::{Additional, Kind, ListType, Props};

#[derive(Debug)]
pub struct Shape {
    kind: Option<Kind>,
    int_or_string: bool,
    format: String,
    /// By the names that they have in objects.
    pub fields: BTreeMap<String, Arc<Shape>>,
    pub additional: Option<Arc<Shape>>,
    pub items: Option<Arc<Shape>>,
    list_type: ListType,
    list_keys: Vec<String>,
    /// `None` if nothing is known: expressions cannot speak of such parts.
    pub ty: Option<Type>,
}

impl Shape {
    /// `is_resource`: the part is an object of Kubernetes itself, and has the metadata of one. `name`: its type's.
    pub fn of(props: &Props, is_resource: bool, name: &str) -> Self {
        let below = |props: &Props, step: &str| Arc::new(Shape::of(props, props.embedded, &format!("{name}.{step}")));
        let mut fields: BTreeMap<String, Arc<Shape>> =
            props.properties.iter().map(|(field, props)| (field.clone(), below(props, field))).collect();
        if is_resource {
            let metadata = metadata(fields.get("metadata"), &format!("{name}.metadata"));
            fields.insert("metadata".into(), Arc::new(metadata));
            for field in ["apiVersion", "kind"] {
                fields.entry(field.into()).or_insert_with(|| Arc::new(string()));
            }
        }
        let mut shape = Self {
            kind: props.kind,
            int_or_string: props.int_or_string,
            format: props.rules.format.clone(),
            fields,
            additional: match &props.additional {
                Some(Additional::Of(props)) => Some(below(props, "@values")),
                _ => None,
            },
            items: props.items.as_ref().map(|props| below(props, "@items")),
            list_type: props.list_type,
            list_keys: props.list_keys.clone(),
            ty: None,
        };
        shape.ty = shape.find_type(name);
        shape
    }

    fn find_type(&self, name: &str) -> Option<Type> {
        if self.int_or_string {
            return Some(Type::Dyn);
        }
        Some(match self.kind? {
            Kind::Boolean => Type::Bool,
            Kind::Integer => Type::Int,
            Kind::Number => Type::Double,
            Kind::String => match self.format.as_str() {
                "byte" => Type::Bytes,
                "duration" => Type::Duration,
                "date" | "date-time" => Type::Timestamp,
                _ => Type::String,
            },
            Kind::Array => Type::list(self.items.as_ref()?.ty.clone()?),
            Kind::Object => match &self.additional {
                Some(value) => Type::map(Type::String, value.ty.clone()?),
                None => {
                    let known = self.fields.iter().filter_map(|(name, shape)| Some((escape(name)?, shape.ty.clone()?)));
                    Type::Object(Arc::new(Object { name: name.into(), fields: known.collect() }))
                }
            },
        })
    }
}

fn string() -> Shape {
    Shape::of(&Props { kind: Some(Kind::String), ..Props::default() }, false, "string")
}

/// Of the metadata, rules see the name, and what it is made from.
fn metadata(declared: Option<&Arc<Shape>>, name: &str) -> Shape {
    let mut shape = Shape::of(&Props { kind: Some(Kind::Object), ..Props::default() }, false, name);
    for field in ["name", "generateName"] {
        let known = declared.and_then(|shape| shape.fields.get(field)).cloned();
        shape.fields.insert(field.into(), known.unwrap_or_else(|| Arc::new(string())));
    }
    shape.ty = shape.find_type(name);
    shape
}

impl Shaped for Shape {
    fn scalar<'a>(&'a self, json: &'a Json) -> Value<'a> {
        match (self.kind, json) {
            _ if self.int_or_string => Value::plain(json),
            (Some(Kind::Number), Json::Number(number)) => Value::Double(number.as_f64().unwrap_or(f64::NAN)),
            (Some(Kind::Integer), Json::Number(number)) if number.is_f64() => match number.as_f64() {
                Some(float) if float.fract() == 0.0 && float.abs() < 9.0e18 => Value::Int(float as i64),
                _ => Value::plain(json),
            },
            (Some(Kind::String), Json::String(text)) => self.formatted(text),
            _ => Value::plain(json),
        }
    }

    fn field(&self, name: &str) -> SomeShape<'_> {
        let shape = self.fields.get(name).or(self.additional.as_ref())?;
        Some(&**shape)
    }

    fn item(&self) -> SomeShape<'_> {
        Some(&**self.items.as_ref()?)
    }

    fn field_name(&self, name: &str) -> Option<String> {
        self.additional.is_none().then(|| unescape(name))
    }

    fn identity(&self) -> Identity<'_> {
        match self.list_type {
            ListType::Atomic => Identity::Index,
            ListType::Set => Identity::Value,
            ListType::Map => Identity::Keys(&self.list_keys),
        }
    }
}

impl Shape {
    /// A string that stands for something else; itself if it does not.
    fn formatted<'a>(&self, text: &'a str) -> Value<'a> {
        let found = match self.format.as_str() {
            "byte" => base64::engine::general_purpose::STANDARD.decode(text).ok().map(|b| Value::Bytes(Rc::from(b))),
            "duration" => parse_duration(text).map(Value::Duration),
            "date-time" => text.parse().ok().map(Value::Timestamp),
            "date" => text.parse::<civil::Date>().ok().and_then(|date| {
                let midnight = date.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
                Some(Value::Timestamp(midnight.timestamp()))
            }),
            _ => None,
        };
        found.unwrap_or(Value::String(Cow::Borrowed(text)))
    }
}

/// Whether CEL keeps a name for itself: a word that it may use one day, or one that it uses.
fn is_reserved(name: &str) -> bool {
    matches!(name, "true" | "false" | "null" | "in") || RESERVED.contains(&name)
}

/// Parts of names that CEL's names have not. The first comes first, as all others are made of it.
const ESCAPES: [(&str, &str); 4] = [("__", "__underscores__"), (".", "__dot__"), ("-", "__dash__"), ("/", "__slash__")];

/// The name by which expressions speak of a field; `None` if they cannot.
fn escape(name: &str) -> Option<String> {
    if is_reserved(name) {
        return Some(format!("__{name}__"));
    }
    let fits = |c: char| c.is_ascii_alphanumeric() || "_.-/".contains(c);
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || !name.chars().all(fits) {
        return None;
    }
    Some(ESCAPES.iter().fold(name.to_string(), |name, (from, to)| name.replace(from, to)))
}

fn unescape(name: &str) -> String {
    if !name.contains("__") {
        return name.to_string();
    }
    let inner = name.strip_prefix("__").and_then(|name| name.strip_suffix("__"));
    if let Some(reserved) = inner.filter(|inner| is_reserved(inner)) {
        return reserved.to_string();
    }
    let (mut out, mut rest) = (String::new(), name);
    while !rest.is_empty() {
        match ESCAPES.iter().find(|(_, escaped)| rest.starts_with(escaped)) {
            Some((plain, escaped)) => {
                out.push_str(plain);
                rest = &rest[escaped.len()..];
            }
            None => {
                let end = rest.chars().next().map_or(0, char::len_utf8);
                out.push_str(&rest[..end]);
                rest = &rest[end..];
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_and_back() {
        for (name, escaped) in [
            ("plain", "plain"),
            ("namespace", "__namespace__"),
            ("a-b.c/d", "a__dash__b__dot__c__slash__d"),
            ("a__b", "a__underscores__b"),
            ("__namespace__", "__underscores__namespace__underscores__"),
            ("a_b", "a_b"),
        ] {
            assert_eq!(escape(name).as_deref(), Some(escaped));
            assert_eq!(unescape(escaped), name);
        }
        assert_eq!(escape("1a"), None);
        assert_eq!(escape("a b"), None);
    }
}
