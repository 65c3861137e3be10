//! The schema of a custom resource, read from `openAPIV3Schema`.

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::Value;

use crate::go_regex;
use crate::meta::{list_at, str_at};

/// One node of a structural schema: what a value is, and what it must be like.
#[derive(Clone, Debug, Default)]
pub struct Props {
    pub kind: Option<Kind>,
    pub nullable: bool,
    pub default: Option<Value>,
    pub properties: BTreeMap<String, Props>,
    pub additional: Option<Additional>,
    pub items: Option<Box<Props>>,
    pub required: Vec<String>,
    pub preserve_unknown: bool,
    pub int_or_string: bool,
    /// A Kubernetes object of its own, with `apiVersion`, `kind` and `metadata`.
    pub embedded: bool,
    pub list_type: ListType,
    pub list_keys: Vec<String>,
    pub map_atomic: bool,
    pub rules: Rules,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Object,
    Array,
    String,
    Integer,
    Number,
    Boolean,
}

#[derive(Clone, Debug)]
pub enum Additional {
    /// `true`: any value; `false`: none.
    Any(bool),
    Of(Box<Props>),
}

/// Lists are atomic unless they say otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ListType {
    #[default]
    Atomic,
    Set,
    Map,
}

/// Validations of the value itself.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    pub format: String,
    pub allowed: Option<Vec<Value>>,
    pub minimum: Option<Bound>,
    pub maximum: Option<Bound>,
    pub multiple_of: Option<Value>,
    pub length: Range,
    pub items: Range,
    pub fields: Range,
    pub unique_items: bool,
    /// As written, and as compiled; patterns that do not compile are refused with the definition.
    pub pattern: Option<(String, Option<Regex>)>,
    pub all_of: Vec<Props>,
    pub any_of: Vec<Props>,
    pub one_of: Vec<Props>,
    pub not: Option<Box<Props>>,
}

#[derive(Clone, Debug)]
pub struct Bound {
    pub value: Value,
    pub exclusive: bool,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Range {
    pub min: Option<usize>,
    pub max: Option<usize>,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Object => "object",
            Kind::Array => "array",
            Kind::String => "string",
            Kind::Integer => "integer",
            Kind::Number => "number",
            Kind::Boolean => "boolean",
        }
    }

    fn read(name: &str) -> Option<Self> {
        let all = [Kind::Object, Kind::Array, Kind::String, Kind::Integer, Kind::Number, Kind::Boolean];
        all.into_iter().find(|kind| kind.name() == name)
    }
}

impl Props {
    /// Reads a schema; what is malformed in it is left out, as validation of definitions refuses it.
    pub fn read(schema: &Value) -> Self {
        let flag = |name: &str| schema.get(name) == Some(&Value::Bool(true));
        Self {
            kind: Kind::read(str_at(schema, &["type"])),
            nullable: flag("nullable"),
            default: schema.get("default").cloned(),
            properties: fields(schema, "properties"),
            additional: additional(schema.get("additionalProperties")),
            items: child(schema, "items"),
            required: strings(schema, "required"),
            preserve_unknown: flag("x-kubernetes-preserve-unknown-fields"),
            int_or_string: flag("x-kubernetes-int-or-string"),
            embedded: flag("x-kubernetes-embedded-resource"),
            list_type: match str_at(schema, &["x-kubernetes-list-type"]) {
                "set" => ListType::Set,
                "map" => ListType::Map,
                _ => ListType::Atomic,
            },
            list_keys: strings(schema, "x-kubernetes-list-map-keys"),
            map_atomic: str_at(schema, &["x-kubernetes-map-type"]) == "atomic",
            rules: Rules::read(schema),
        }
    }

    /// The schema of a field or entry.
    pub fn child(&self, name: &str) -> Option<&Props> {
        self.properties.get(name).or(match &self.additional {
            Some(Additional::Of(value)) => Some(&**value),
            _ => None,
        })
    }
}

impl Rules {
    fn read(schema: &Value) -> Self {
        let bound = |name: &str, exclusive: &str| {
            let value = schema.get(name).filter(|value| value.is_number())?.clone();
            Some(Bound { value, exclusive: schema.get(exclusive) == Some(&Value::Bool(true)) })
        };
        let pattern = str_at(schema, &["pattern"]);
        Self {
            format: str_at(schema, &["format"]).to_string(),
            allowed: schema.get("enum").and_then(Value::as_array).filter(|values| !values.is_empty()).cloned(),
            minimum: bound("minimum", "exclusiveMinimum"),
            maximum: bound("maximum", "exclusiveMaximum"),
            multiple_of: schema.get("multipleOf").filter(|value| value.is_number()).cloned(),
            length: range(schema, "minLength", "maxLength"),
            items: range(schema, "minItems", "maxItems"),
            fields: range(schema, "minProperties", "maxProperties"),
            unique_items: schema.get("uniqueItems") == Some(&Value::Bool(true)),
            pattern: (!pattern.is_empty()).then(|| (pattern.to_string(), go_regex::compile(pattern).ok())),
            all_of: children(schema, "allOf"),
            any_of: children(schema, "anyOf"),
            one_of: children(schema, "oneOf"),
            not: child(schema, "not"),
        }
    }
}

fn range(schema: &Value, min: &str, max: &str) -> Range {
    let size = |name: &str| schema.get(name).and_then(Value::as_u64).and_then(|size| usize::try_from(size).ok());
    Range { min: size(min), max: size(max) }
}

fn additional(value: Option<&Value>) -> Option<Additional> {
    match value? {
        Value::Bool(any) => Some(Additional::Any(*any)),
        schema @ Value::Object(_) => Some(Additional::Of(Box::new(Props::read(schema)))),
        _ => None,
    }
}

fn child(schema: &Value, name: &str) -> Option<Box<Props>> {
    schema.get(name).filter(|schema| schema.is_object()).map(|schema| Box::new(Props::read(schema)))
}

fn children(schema: &Value, name: &str) -> Vec<Props> {
    list_at(schema, &[name]).iter().map(Props::read).collect()
}

fn fields(schema: &Value, name: &str) -> BTreeMap<String, Props> {
    let fields = schema.get(name).and_then(Value::as_object).into_iter().flatten();
    fields.map(|(name, schema)| (name.clone(), Props::read(schema))).collect()
}

fn strings(schema: &Value, name: &str) -> Vec<String> {
    list_at(schema, &[name]).iter().filter_map(Value::as_str).map(str::to_string).collect()
}
