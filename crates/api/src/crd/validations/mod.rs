//! `x-kubernetes-validations`: rules in CEL that objects must obey beside their schema.
//!
//! A rule sees `self`, the part of the object that its schema is about, and `oldSelf`, what that was before.
//! Source: `k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel`.

mod definition;
mod evaluate;
mod field_path;
mod shape;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use crate::cel::{Program, Type};
use crate::crd::props::{Additional, Kind, Props};
use crate::meta::{list_at, str_at};

pub use definition::{problems, problems_of_default};
pub use evaluate::Findings;
use shape::Shape;

/// What all rules of an object may cost together. Source: `RuntimeCELCostBudget`.
pub const BUDGET: u64 = 10_000_000;
/// What one evaluation may cost. Source: `PerCallLimit`.
const CALL_COST_MAX: u64 = 1_000_000;

/// The rules of a schema and of what is below it; only the parts that have any.
#[derive(Clone, Debug)]
pub struct Validator {
    rules: Vec<Arc<Rule>>,
    shape: Arc<Shape>,
    kind: Option<Kind>,
    properties: BTreeMap<String, Validator>,
    additional: Option<Box<Validator>>,
    items: Option<Box<Validator>>,
}

#[derive(Debug)]
pub struct Rule {
    text: String,
    message: String,
    message_expression: Option<Program>,
    reason: String,
    /// As it is put behind the path of the schema: `.a.b`.
    field_path: String,
    /// Compiled; or why it cannot be, which only happens to definitions that nobody validated.
    program: Result<Program, String>,
    uses_old: bool,
    /// `oldSelf` is an optional value, and the rule holds for new objects, too.
    optional_old: bool,
}

impl Validator {
    /// The rules of a whole resource; `None` if it has none.
    pub fn of_resource(schema: &Value, props: &Props) -> Option<Self> {
        // Most definitions have no rules at all, and need no types for them.
        if !mentions_rules(schema) {
            return None;
        }
        Self::of(schema, props, Arc::new(Shape::of(props, true, "selfType")))
    }

    fn of(schema: &Value, props: &Props, shape: Arc<Shape>) -> Option<Self> {
        let rules = list_at(schema, &["x-kubernetes-validations"]);
        let rules = rules.iter().map(|rule| Arc::new(Rule::read(rule, props, &shape))).collect();
        let child = |schema: Option<&Value>, props: Option<&Props>, shape: Option<&Arc<Shape>>| {
            Self::of(schema?, props?, shape?.clone())
        };
        let properties = props.properties.iter().filter_map(|(name, props)| {
            let schema = schema.get("properties").and_then(|fields| fields.get(name));
            Some((name.clone(), child(schema, Some(props), shape.fields.get(name))?))
        });
        let additional = match &props.additional {
            Some(Additional::Of(props)) => {
                child(schema.get("additionalProperties"), Some(props), shape.additional.as_ref())
            }
            _ => None,
        };
        let validator = Self {
            rules,
            kind: props.kind,
            properties: properties.collect(),
            additional: additional.map(Box::new),
            items: child(schema.get("items"), props.items.as_deref(), shape.items.as_ref()).map(Box::new),
            shape,
        };
        let is_empty = validator.rules.is_empty()
            && validator.properties.is_empty()
            && validator.additional.is_none()
            && validator.items.is_none();
        (!is_empty).then_some(validator)
    }
}

fn mentions_rules(schema: &Value) -> bool {
    match schema {
        Value::Object(fields) => fields.contains_key("x-kubernetes-validations") || fields.values().any(mentions_rules),
        Value::Array(items) => items.iter().any(mentions_rules),
        _ => false,
    }
}

impl Rule {
    fn read(rule: &Value, props: &Props, shape: &Shape) -> Self {
        let text = |name: &str| str_at(rule, &[name]).to_string();
        let optional_old = rule.get("optionalOldSelf") == Some(&Value::Bool(true));
        let variables = variables(shape, optional_old);
        let expression = text("messageExpression");
        let message_expression =
            (!expression.trim().is_empty()).then(|| Program::compile(&expression, &variables).ok()).flatten();
        let program = compile(&text("rule"), &variables);
        let speaks_of_old = |program: &Program| program.mentions("oldSelf");
        Self {
            uses_old: program.as_ref().is_ok_and(speaks_of_old)
                || message_expression.as_ref().is_some_and(speaks_of_old),
            program,
            message_expression,
            optional_old,
            message: text("message"),
            reason: text("reason"),
            field_path: field_path::normalized(&text("fieldPath"), props).unwrap_or_default(),
            text: text("rule"),
        }
    }

    /// What is said of a rule in errors.
    fn name(&self) -> &str {
        if self.message.is_empty() { self.text.trim() } else { self.message.trim() }
    }

    fn message_or_default(&self) -> String {
        if self.message.is_empty() { format!("failed rule: {}", self.name()) } else { self.name().to_string() }
    }
}

fn variables(shape: &Shape, optional_old: bool) -> [(&'static str, Type); 2] {
    let this = shape.ty.clone().unwrap_or(Type::Dyn);
    let old = if optional_old { Type::optional(this.clone()) } else { this.clone() };
    [("self", this), ("oldSelf", old)]
}

/// Compiles a rule, which must give a bool.
fn compile(text: &str, variables: &[(&str, Type)]) -> Result<Program, String> {
    let program = Program::compile(text, variables).map_err(|why| format!("compilation failed: {why}"))?;
    match program.result {
        Type::Bool => Ok(program),
        _ => Err("cel expression must evaluate to a bool".into()),
    }
}

#[cfg(test)]
mod tests;
