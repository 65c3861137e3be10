//! Which rules a definition may have.

use std::sync::Arc;

use serde_json::Value;

use super::shape::Shape;
use super::{Validator, compile, field_path, mentions_rules, variables};
use crate::cel::{Program, Type};
use crate::crd::props::{Additional, ListType, Props};
use crate::meta::{list_at, str_at};
use crate::validation::field::{Causes, Path, invalid, invalid_shown, not_supported, quote, required};

const REASONS: [&str; 4] = ["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];

/// Everything wrong with the rules of a schema that has no other faults.
pub fn problems(schema: &Value, props: &Props, path: &Path) -> Causes {
    let mut causes = Vec::new();
    if !mentions_rules(schema) {
        return causes;
    }
    let shape = Arc::new(Shape::of(props, true, "selfType"));
    walk(&mut causes, &Place { schema, props, shape: &shape, uncorrelatable: None }, path);
    causes
}

/// What the rules say of a default.
pub fn problems_of_default(schema: &Value, props: &Props, default: &Value) -> Causes {
    if !mentions_rules(schema) {
        return Vec::new();
    }
    let shape = Arc::new(Shape::of(props, props.embedded, "selfType"));
    let validator = Validator::of(schema, props, shape);
    validator.map(|validator| validator.validate(props, default, None, "").causes).unwrap_or_default()
}

struct Place<'a> {
    schema: &'a Value,
    props: &'a Props,
    shape: &'a Arc<Shape>,
    /// The list around it whose elements have no past, if there is one.
    uncorrelatable: Option<&'a Path>,
}

fn walk(causes: &mut Causes, place: &Place<'_>, path: &Path) {
    let rules = list_at(place.schema, &["x-kubernetes-validations"]);
    for (index, rule) in rules.iter().enumerate() {
        let here = path.child("x-kubernetes-validations").index(index);
        let mut found = texts(rule, place.props, &here);
        if found.is_empty() {
            found = expressions(rule, place, &here);
        }
        causes.extend(found);
    }
    let Place { schema, props, shape, uncorrelatable } = place;
    for (name, props) in &props.properties {
        let child = schema.get("properties").and_then(|fields| fields.get(name));
        if let (Some(schema), Some(shape)) = (child, shape.fields.get(name)) {
            let below = Place { schema, props, shape, uncorrelatable: *uncorrelatable };
            walk(causes, &below, &path.child("properties").key(name));
        }
    }
    if let (Some(schema), Some(Additional::Of(props)), Some(shape)) =
        (schema.get("additionalProperties"), &props.additional, &shape.additional)
    {
        let below = Place { schema, props, shape, uncorrelatable: *uncorrelatable };
        walk(causes, &below, &path.child("additionalProperties"));
    }
    if let (Some(schema), Some(item), Some(shape)) = (schema.get("items"), &props.items, &shape.items) {
        let uncorrelatable = uncorrelatable.or((props.list_type != ListType::Map).then_some(path));
        walk(causes, &Place { schema, props: item, shape, uncorrelatable }, &path.child("items"));
    }
}

/// What can be said of a rule without reading its expressions.
fn texts(rule: &Value, props: &Props, path: &Path) -> Causes {
    let text = |name: &str| str_at(rule, &[name]);
    let has_lines = |text: &str| text.contains(['\n', '\r']);
    let blank = |name: &str| !text(name).is_empty() && text(name).trim().is_empty();
    let mut causes = Vec::new();
    let mut wrong = |name: &str, why: &str| causes.push(invalid(&path.child(name), text(name), why));
    if blank("message") {
        wrong("message", "message must be non-empty if specified");
    } else if has_lines(text("message").trim()) {
        wrong("message", "message must not contain line breaks");
    }
    let field_path = text("fieldPath");
    if blank("fieldPath") {
        wrong("fieldPath", "fieldPath must be non-empty if specified");
    } else if has_lines(field_path) {
        wrong("fieldPath", "fieldPath must not contain line breaks");
    } else if field_path::normalized(field_path, props).is_none() {
        wrong("fieldPath", "fieldPath must be a valid path");
    }
    if text("rule").trim().is_empty() {
        causes.push(required(&path.child("rule"), "rule is not specified"));
    } else if has_lines(text("rule").trim()) && text("message").trim().is_empty() {
        causes.push(required(&path.child("message"), "message must be specified if rule contains line breaks"));
    }
    if blank("messageExpression") {
        let why = "messageExpression must be non-empty if specified";
        causes.push(required(&path.child("messageExpression"), why));
    }
    let reason = text("reason");
    if !reason.is_empty() && !REASONS.contains(&reason) {
        causes.push(not_supported(&path.child("reason"), reason, &REASONS));
    }
    causes
}

fn expressions(rule: &Value, place: &Place<'_>, path: &Path) -> Causes {
    let text = |name: &str| str_at(rule, &[name]);
    let optional = rule.get("optionalOldSelf").filter(|value| !value.is_null());
    let variables = variables(place.shape, optional == Some(&Value::Bool(true)));
    let mut causes = Vec::new();
    let program = match compile(text("rule"), &variables) {
        Ok(program) => program,
        Err(why) => {
            causes.push(invalid_shown(&path.child("rule"), &shown(rule), &why));
            return causes;
        }
    };
    let message = text("messageExpression");
    let mut uses_old = program.mentions("oldSelf");
    if !message.is_empty() {
        match Program::compile(message, &variables) {
            Ok(message) if message.result == Type::String => uses_old |= message.mentions("oldSelf"),
            Ok(_) => {
                let why = "messageExpression must evaluate to a string";
                causes.push(invalid_shown(&path.child("messageExpression"), &shown(rule), why));
            }
            Err(why) => {
                let why = format!("messageExpression compilation failed: {why}");
                causes.push(invalid_shown(&path.child("messageExpression"), &shown(rule), &why));
            }
        }
    }
    match (uses_old, place.uncorrelatable, optional) {
        (true, Some(within), _) => {
            let why = format!("oldSelf cannot be used on the uncorrelatable portion of the schema within {within}");
            causes.push(invalid(&path.child("rule"), text("rule"), &why));
        }
        (false, _, Some(optional)) => {
            let why = "may not be set if oldSelf is not used in rule";
            causes.push(invalid(&path.child("optionalOldSelf"), optional.clone(), why));
        }
        _ => {}
    }
    causes
}

/// A rule as Go prints it.
fn shown(rule: &Value) -> String {
    let text = |name: &str| quote(str_at(rule, &[name]));
    let reason = rule.get("reason").and_then(Value::as_str).map_or_else(|| "null".to_string(), quote);
    let optional =
        rule.get("optionalOldSelf").and_then(Value::as_bool).map_or("null", |set| ["false", "true"][usize::from(set)]);
    format!(
        "{{\"Rule\":{},\"Message\":{},\"MessageExpression\":{},\"Reason\":{reason},\"FieldPath\":{},\"OptionalOldSelf\":{optional}}}",
        text("rule"),
        text("message"),
        text("messageExpression"),
        text("fieldPath"),
    )
}
