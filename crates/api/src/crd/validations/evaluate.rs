//! Which rules an object breaks.

use serde_json::Value as Json;

use super::{BUDGET, CALL_COST_MAX, Rule, Validator};
use crate::cel::{Fault, Program, Value};
use crate::crd::props::{Kind, ListType, Props};
use crate::crd::value::counterpart;
use crate::status::Cause;
use crate::validation::field::{self, Causes, Path};

/// What keeps an object from being accepted, and what does not though it should.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    pub causes: Causes,
    pub warnings: Vec<String>,
}

/// What a part of an object was before an update.
#[derive(Clone, Copy)]
pub struct Past<'a> {
    /// The same part; none in a new object, a new part, or where parts cannot be told apart.
    same: Option<&'a Json>,
    /// The nearest part around this one that has a past, with it.
    around: Option<(&'a Json, &'a Json)>,
}

impl<'a> Past<'a> {
    pub fn of(old: Option<&'a Json>) -> Self {
        Self { same: old, around: None }
    }

    fn inside(self, value: &'a Json, same: Option<&'a Json>) -> Self {
        Self { same, around: self.same.map(|old| (value, old)).or(self.around) }
    }

    /// What was wrong before may stay wrong.
    fn is_unchanged(&self, value: &Json) -> bool {
        match (self.same, self.around) {
            (Some(old), _) => old == value,
            (None, Some((now, old))) => now == old,
            (None, None) => false,
        }
    }
}

/// No more rules are looked at: too much was spent.
struct Spent;

struct Run {
    findings: Findings,
    left: u64,
}

impl Validator {
    /// Everything that is wrong with an object, given what it was before.
    pub fn validate(&self, props: &Props, object: &Json, old: Option<&Json>, path: &str) -> Findings {
        let mut run = Run { findings: Findings::default(), left: BUDGET };
        // Whoever spends too much has been told so.
        let _ = run.walk(self, props, object, Past::of(old), path);
        run.findings
    }
}

impl Run {
    fn walk<'a>(
        &mut self,
        at: &'a Validator,
        props: &'a Props,
        value: &'a Json,
        past: Past<'a>,
        path: &str,
    ) -> Result<(), Spent> {
        if value.is_null() {
            return Ok(());
        }
        for rule in &at.rules {
            self.rule(at, rule, value, past, path)?;
        }
        match value {
            Json::Object(fields) => {
                for (name, value_below) in fields {
                    let below = match at.properties.get(name) {
                        Some(below) => Some((below, join(path, name))),
                        None if props.properties.contains_key(name) => None,
                        None => at.additional.as_deref().map(|below| (below, format!("{path}[{name}]"))),
                    };
                    let Some((below, path_below)) = below else { continue };
                    let Some(props_below) = props.child(name) else { continue };
                    let is_type = path.is_empty() && matches!(name.as_str(), "apiVersion" | "kind");
                    let old = past.same.and_then(|old| old.get(name));
                    let past = if is_type { Past::of(None) } else { past.inside(value, old) };
                    self.walk(below, props_below, value_below, past, &path_below)?;
                }
            }
            Json::Array(items) => {
                let (Some(below), Some(props_below)) = (at.items.as_deref(), props.items.as_deref()) else {
                    return Ok(());
                };
                for (index, item) in items.iter().enumerate() {
                    let old = past.same.filter(|_| props.list_type == ListType::Map);
                    let old = old.and_then(|old| counterpart(props, old, item));
                    self.walk(below, props_below, item, past.inside(value, old), &format!("{path}[{index}]"))?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn rule<'a>(
        &mut self,
        at: &'a Validator,
        rule: &'a Rule,
        value: &'a Json,
        past: Past<'a>,
        path: &str,
    ) -> Result<(), Spent> {
        let kind = at.kind.map_or("", Kind::name);
        let wrong = |why: String| field::invalid(&Path::new(path), kind, &why);
        let program = match &rule.program {
            Ok(program) => program,
            Err(why) => {
                self.findings.causes.push(wrong(format!("rule compile error: {why}")));
                return Ok(());
            }
        };
        if rule.uses_old && past.same.is_none() && !rule.optional_old {
            return Ok(());
        }
        let shape = Some(&*at.shape as &dyn crate::cel::Shaped);
        let old = past.same.map(|old| Value::of(old, shape));
        let old = if rule.optional_old { Some(old.map_or(Value::Optional(None), Value::some)) } else { old };
        let mut variables = vec![("self", Value::of(value, shape))];
        variables.extend(old.map(|old| ("oldSelf", old)));
        let outcome = self.evaluate(program, variables.clone());
        let Some(outcome) = outcome else {
            let why = "validation failed due to running out of cost budget, no further validation rules will be run";
            self.findings.causes.push(wrong(why.into()));
            return Err(Spent);
        };
        match outcome {
            Ok(Value::Bool(true)) => Ok(()),
            Ok(_) => {
                let cause = self.broken(rule, kind, value, variables, path);
                self.add(rule, cause.0, past.is_unchanged(value));
                cause.1
            }
            Err(Fault::Cost) => {
                let why = "'operation cancelled: actual cost limit exceeded': no further validation rules will be run \
                           due to call cost exceeds limit for rule";
                self.findings.causes.push(wrong(format!("{why}: {}", rule.name())));
                Err(Spent)
            }
            Err(Fault::Error(error)) if error.starts_with("no such overload") => {
                let why = "call arguments did not match a supported operator, function or macro signature for rule";
                self.findings.causes.push(wrong(format!("'{error}': {why}: {}", rule.name())));
                Ok(())
            }
            Err(Fault::Error(error)) => {
                self.findings.causes.push(wrong(format!("{error} evaluating rule: {}", rule.name())));
                Ok(())
            }
        }
    }

    /// `None` if there is not enough left for it.
    fn evaluate<'a>(
        &mut self,
        program: &'a Program,
        variables: Vec<(&'a str, Value<'a>)>,
    ) -> Option<Result<Value<'a>, Fault>> {
        let (outcome, cost) = program.evaluate(variables, CALL_COST_MAX);
        self.left = self.left.checked_sub(cost)?;
        Some(outcome)
    }

    /// What is said of a broken rule.
    fn broken<'a>(
        &mut self,
        rule: &'a Rule,
        kind: &str,
        value: &Json,
        variables: Vec<(&'a str, Value<'a>)>,
        path: &str,
    ) -> (Cause, Result<(), Spent>) {
        let path = Path::new(format!("{path}{}", rule.field_path).trim_start_matches('.'));
        let mut detail = None;
        if let Some(program) = &rule.message_expression {
            let invalid = |why: &str| field::invalid(&path, kind, why);
            match self.evaluate(program, variables) {
                None => {
                    let why = "messageExpression evaluation failed due to running out of cost budget, no further \
                               validation rules will be run";
                    return (invalid(why), Err(Spent));
                }
                Some(Err(Fault::Cost)) => {
                    let why = "no further validation rules will be run due to call cost exceeds limit for \
                               messageExpression";
                    return (invalid(why), Err(Spent));
                }
                Some(Ok(Value::String(text))) => detail = Some(text.trim().to_string()).filter(|text| is_message(text)),
                Some(_) => {}
            }
        }
        let detail = detail.unwrap_or_else(|| rule.message_or_default());
        // Lists and objects are not repeated.
        let shown = Some(value).filter(|_| !matches!(kind, "object" | "array"));
        (cause(rule, &path, shown, &detail), Ok(()))
    }

    fn add(&mut self, rule: &Rule, cause: Cause, unchanged: bool) {
        if unchanged && !rule.uses_old {
            self.findings.warnings.push(format!("{}: {}", cause.field, cause.message));
        } else {
            self.findings.causes.push(cause);
        }
    }
}

/// Longer texts than this are no messages. Source: `MaxEvaluatedMessageExpressionSizeBytes`.
const MESSAGE_BYTES_MAX: usize = 5 * 1024;

fn is_message(text: &str) -> bool {
    !text.is_empty() && text.len() <= MESSAGE_BYTES_MAX && !text.contains('\n')
}

fn cause(rule: &Rule, path: &Path, value: Option<&Json>, detail: &str) -> Cause {
    match (rule.reason.as_str(), value) {
        ("FieldValueForbidden", _) => field::forbidden(path, detail),
        ("FieldValueRequired", _) => field::required(path, detail),
        ("FieldValueDuplicate", Some(value)) => field::duplicate(path, value.clone()),
        ("FieldValueDuplicate", None) => {
            Cause { reason: "FieldValueDuplicate".into(), message: "Duplicate value".into(), field: path.to_string() }
        }
        (_, Some(value)) => field::invalid(path, value.clone(), detail),
        (_, None) => field::invalid_unshown(path, detail),
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_string() } else { format!("{path}.{name}") }
}
