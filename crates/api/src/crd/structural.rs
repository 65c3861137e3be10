//! Which schemas a definition may have: OpenAPI without what Kubernetes leaves out, and structural.
//! Source: `apiextensions-apiserver` `ValidateStructural` and `ValidateCustomResourceDefinitionOpenAPISchema`.

use serde_json::{Map, Value, json};

use super::props::Props;
use super::{collections, validations, value};
use crate::go_regex;
use crate::meta::{list_at, str_at};
use crate::status::Cause;
use crate::validation::field::{Causes, Path, forbidden, invalid, required};

/// Everything wrong with the schema of a version.
pub fn validate(schema: &Value, path: &Path) -> Causes {
    let mut causes = Vec::new();
    left_out(&mut causes, schema, path);
    let mut structural = Vec::new();
    invariants(&mut structural, schema, Level::Root, path);
    completeness(&mut structural, schema, Some(schema), path);
    structural.sort_by_key(|cause: &Cause| format!("{}: {}", cause.field, cause.message));
    causes.extend(structural);
    if causes.is_empty() {
        causes.extend(validations::problems(schema, &Props::read(schema), path));
    }
    if causes.is_empty() {
        defaults(&mut causes, schema, path);
    }
    causes
}

const PRESERVE: &str = "x-kubernetes-preserve-unknown-fields";

#[derive(Clone, Copy, PartialEq)]
enum Level {
    Root,
    Item,
    Field,
}

/// What OpenAPI has and Kubernetes has not.
fn left_out(causes: &mut Causes, schema: &Value, path: &Path) {
    let has = |name: &str| schema.get(name).is_some_and(|value| !value.is_null());
    for name in ["id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref"] {
        if has(name) {
            causes.push(forbidden(&path.child(name), &format!("{name} is not supported")));
        }
    }
    if str_at(schema, &["type"]) == "null" {
        causes.push(forbidden(&path.child("type"), "type cannot be set to null, use nullable as an alternative"));
    }
    if schema.get("items").is_some_and(Value::is_array) {
        causes.push(forbidden(&path.child("items"), "items must be a schema object and not an array"));
    }
    if schema.get(PRESERVE) == Some(&json!(false)) {
        causes.push(invalid(&path.child(PRESERVE), false, "must be true or undefined"));
    }
    if is_set(schema, "uniqueItems") {
        let why = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        causes.push(forbidden(&path.child("uniqueItems"), why));
    }
    let closed = schema.get("additionalProperties").is_some_and(|additional| *additional != json!(true));
    if closed && schema.get("properties").and_then(Value::as_object).is_some_and(|fields| !fields.is_empty()) {
        let why = "additionalProperties and properties are mutual exclusive";
        causes.push(forbidden(&path.child("additionalProperties"), why));
    }
    collections::check(causes, schema, path);
    for (child, path) in children(schema, path) {
        left_out(causes, child, &path);
    }
}

/// Every schema directly inside another one.
fn children<'a>(schema: &'a Value, path: &Path) -> Vec<(&'a Value, Path)> {
    let mut children = Vec::new();
    for name in ["items", "additionalProperties", "not"] {
        children.extend(schema.get(name).filter(|child| child.is_object()).map(|child| (child, path.child(name))));
    }
    for (name, child) in fields(schema) {
        children.push((child, path.child("properties").key(name)));
    }
    for name in ["allOf", "anyOf", "oneOf"] {
        let list = list_at(schema, &[name]).iter().enumerate();
        children.extend(list.map(|(index, child)| (child, path.child(name).index(index))));
    }
    children
}

fn invariants(causes: &mut Causes, schema: &Value, level: Level, path: &Path) {
    let kind = str_at(schema, &["type"]);
    if kind == "array" && schema.get("items").is_none() {
        causes.push(required(&path.child("items"), "must be specified"));
    }
    if let Some(items) = schema.get("items") {
        invariants(causes, items, Level::Item, &path.child("items"));
    }
    for (name, field) in fields(schema) {
        invariants(causes, field, Level::Field, &path.child("properties").key(name));
    }
    if let Some(additional) = schema.get("additionalProperties") {
        if level == Level::Root {
            causes.push(forbidden(&path.child("additionalProperties"), "must not be used at the root"));
        }
        if additional.is_object() {
            invariants(causes, additional, Level::Field, &path.child("additionalProperties"));
        }
    }
    extensions(causes, schema, kind, level, path);
    rules(causes, schema, path, int_or_string_junctor(schema));
    metadata(causes, schema, level, path);
}

fn extensions(causes: &mut Causes, schema: &Value, kind: &str, level: Level, path: &Path) {
    let embedded = is_set(schema, "x-kubernetes-embedded-resource");
    let int_or_string = is_set(schema, "x-kubernetes-int-or-string");
    let preserves = is_set(schema, "x-kubernetes-preserve-unknown-fields");
    for (name, set) in
        [("x-kubernetes-preserve-unknown-fields", preserves), ("x-kubernetes-embedded-resource", embedded)]
    {
        if int_or_string && set {
            let why = "must be false if x-kubernetes-int-or-string is true";
            causes.push(invalid(&path.child(name), true, why));
        }
    }
    let here = path.child("type");
    if embedded && kind != "object" {
        let why = "must be object if x-kubernetes-embedded-resource is true";
        causes.push(if kind.is_empty() { required(&here, why) } else { invalid(&here, kind, why) });
    } else if kind.is_empty() && !int_or_string && !preserves {
        let why = match level {
            Level::Root => "must not be empty at the root",
            Level::Item => "must not be empty for specified array items",
            Level::Field => "must not be empty for specified object fields",
        };
        causes.push(required(&here, why));
    }
    if level == Level::Root && !kind.is_empty() && kind != "object" {
        causes.push(invalid(&here, kind, "must be object at the root"));
    }
    if embedded && schema.get("additionalProperties").is_some() {
        let why = "must not be used if x-kubernetes-embedded-resource is set";
        causes.push(forbidden(&path.child("additionalProperties"), why));
    }
    if embedded && !preserves && fields(schema).next().is_none() {
        let why = "must not be empty if x-kubernetes-embedded-resource is true without \
                   x-kubernetes-preserve-unknown-fields";
        causes.push(required(&path.child("properties"), why));
    }
}

/// `metadata` is what it is for all kinds: a schema may restrict names, and nothing else.
fn metadata(causes: &mut Causes, schema: &Value, level: Level, path: &Path) {
    if level != Level::Root && !is_set(schema, "x-kubernetes-embedded-resource") {
        return;
    }
    for (name, wanted) in [("kind", "string"), ("apiVersion", "string"), ("metadata", "object")] {
        let Some(field) = schema.pointer("/properties").and_then(|fields| fields.get(name)) else { continue };
        let (here, kind) = (path.child("properties").key(name), str_at(field, &["type"]));
        if kind != wanted {
            causes.push(invalid(&here.child("type"), kind, &format!("must be {wanted}")));
        }
        let only_names = fields(field).all(|(name, _)| name == "name" || name == "generateName");
        let others = field
            .as_object()
            .into_iter()
            .flatten()
            .any(|(name, _)| !["type", "properties", "description", "default"].contains(&name.as_str()));
        if name == "metadata" && level == Level::Root && (!only_names || others) {
            let why =
                "must not specify anything other than name and generateName, but metadata is implicitly specified";
            causes.push(forbidden(&here, why));
        }
    }
}

/// Where the two types of an int-or-string may stand in spite of everything.
#[derive(Clone, Copy, PartialEq)]
enum Junctor {
    None,
    AnyOf,
    FirstAllOf,
}

fn int_or_string_junctor(schema: &Value) -> Junctor {
    let both = json!([{"type": "integer"}, {"type": "string"}]);
    if !is_set(schema, "x-kubernetes-int-or-string") {
        Junctor::None
    } else if schema.get("anyOf") == Some(&both) {
        Junctor::AnyOf
    } else if schema.pointer("/allOf/0/anyOf") == Some(&both) {
        Junctor::FirstAllOf
    } else {
        Junctor::None
    }
}

/// The junctors of a schema, which may only validate.
fn rules(causes: &mut Causes, schema: &Value, path: &Path, allowed: Junctor) {
    for name in ["anyOf", "allOf", "oneOf"] {
        for (index, nested) in list_at(schema, &[name]).iter().enumerate() {
            let here = path.child(name).index(index);
            match (name, allowed) {
                ("anyOf", Junctor::AnyOf) => {}
                ("allOf", Junctor::FirstAllOf) if index == 0 => nested_rules(causes, nested, &here, Junctor::AnyOf),
                _ => nested_rules(causes, nested, &here, Junctor::None),
            }
        }
    }
    if let Some(nested) = schema.get("not").filter(|nested| nested.is_object()) {
        nested_rules(causes, nested, &path.child("not"), Junctor::None);
    }
    let pattern = str_at(schema, &["pattern"]);
    if let Err(error) = go_regex::compile(pattern) {
        let why = format!("must be a valid regular expression, but isn't: {error}");
        causes.push(invalid(&path.child("pattern"), pattern, &why));
    }
}

fn nested_rules(causes: &mut Causes, schema: &Value, path: &Path, allowed: Junctor) {
    rules(causes, schema, path, allowed);
    if let Some(items) = schema.get("items").filter(|items| items.is_object()) {
        nested_rules(causes, items, &path.child("items"), Junctor::None);
    }
    for (name, field) in fields(schema) {
        nested_rules(causes, field, &path.child("properties").key(name), Junctor::None);
    }
    for (name, why) in NOT_NESTED {
        let empty = |value: &Value| matches!(value, Value::Null | Value::Bool(false)) || *value == json!("");
        if schema.get(*name).is_some_and(|value| !empty(value)) {
            causes.push(forbidden(&path.child(name), &format!("must be {why} to be structural")));
        }
    }
    if schema.pointer("/properties/metadata").is_some() {
        let here = path.child("properties").key("metadata");
        causes.push(forbidden(&here, "must not be specified in a nested context"));
    }
}

/// What says what a value is, which junctors must leave alone, and what it must be there.
const NOT_NESTED: &[(&str, &str)] = &[
    ("type", "empty"),
    ("additionalProperties", "undefined"),
    ("default", "undefined"),
    ("title", "empty"),
    ("description", "empty"),
    ("nullable", "false"),
    ("externalDocs", "undefined"),
    ("x-kubernetes-preserve-unknown-fields", "false"),
    ("x-kubernetes-embedded-resource", "false"),
    ("x-kubernetes-int-or-string", "false"),
    ("x-kubernetes-list-map-keys", "empty"),
    ("x-kubernetes-list-type", "undefined"),
    ("x-kubernetes-map-type", "undefined"),
    ("x-kubernetes-validations", "empty"),
];

/// Fields and items that junctors speak of must be specified outside of them as well (`outside`).
fn completeness(causes: &mut Causes, schema: &Value, outside: Option<&Value>, path: &Path) {
    for name in ["allOf", "anyOf", "oneOf"] {
        for (index, nested) in list_at(schema, &[name]).iter().enumerate() {
            complete_nested(causes, nested, outside, &path.child(name).index(index), path);
        }
    }
    if let Some(nested) = schema.get("not").filter(|nested| nested.is_object()) {
        complete_nested(causes, nested, outside, &path.child("not"), path);
    }
    if let Some(items) = schema.get("items").filter(|items| items.is_object()) {
        completeness(causes, items, Some(items), &path.child("items"));
    }
    for (name, field) in fields(schema) {
        completeness(causes, field, Some(field), &path.child("properties").key(name));
    }
    if let Some(additional) = schema.get("additionalProperties").filter(|additional| additional.is_object()) {
        completeness(causes, additional, Some(additional), &path.child("additionalProperties"));
    }
}

fn complete_nested(causes: &mut Causes, nested: &Value, outside: Option<&Value>, path: &Path, outer: &Path) {
    let missing = |place: Path, path: &Path| required(&place, &format!("because it is defined in {path}"));
    for (name, field) in fields(nested) {
        let (here, place) = (path.child("properties").key(name), outer.child("properties").key(name));
        match outside.and_then(|outside| outside.get("properties")).and_then(|fields| fields.get(name)) {
            Some(specified) => complete_nested(causes, field, Some(specified), &here, &place),
            None => causes.push(missing(place, &here)),
        }
    }
    if let Some(items) = nested.get("items").filter(|items| items.is_object()) {
        let (here, place) = (path.child("items"), outer.child("items"));
        match outside.and_then(|outside| outside.get("items")) {
            Some(specified) => complete_nested(causes, items, Some(specified), &here, &place),
            None => causes.push(missing(place, &here)),
        }
    }
    for name in ["allOf", "anyOf", "oneOf"] {
        for (index, nested) in list_at(nested, &[name]).iter().enumerate() {
            complete_nested(causes, nested, outside, &path.child(name).index(index), outer);
        }
    }
}

/// Defaults must be valid values of what they are the default of.
fn defaults(causes: &mut Causes, schema: &Value, path: &Path) {
    if let Some(default) = schema.get("default").filter(|default| !default.is_null()) {
        let here = path.child("default");
        let props = Props::read(schema);
        let mut found = value::validate(&props, default, "");
        if found.is_empty() {
            found = validations::problems_of_default(schema, &props, default);
        }
        for cause in found {
            let field = if cause.field.is_empty() { here.to_string() } else { format!("{here}.{}", cause.field) };
            causes.push(Cause { field, ..cause });
        }
    }
    for (name, field) in fields(schema) {
        defaults(causes, field, &path.child("properties").key(name));
    }
    for name in ["items", "additionalProperties"] {
        if let Some(child) = schema.get(name).filter(|child| child.is_object()) {
            defaults(causes, child, &path.child(name));
        }
    }
}

fn fields(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    schema.get("properties").and_then(Value::as_object).into_iter().flat_map(Map::iter)
}

fn is_set(schema: &Value, name: &str) -> bool {
    schema.get(name) == Some(&Value::Bool(true))
}
