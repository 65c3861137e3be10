//! Walks a template over an object.

use std::cell::Cell;
use std::cmp::Ordering;

use crate::canonical;
use serde_json::Value;

use super::parse::{Comparison, Node, Operand, Path, Step};

type Found<'a> = Vec<&'a Value>;

/// Values that one template may come across, at all its steps together: all values of 5,000 pods a dozen times. Without
/// an end, `....` over a small object would fill the memory.
const VALUES_MAX: usize = 20_000_000;

/// What a template may still come across.
struct Work(Cell<usize>);

impl Work {
    fn new() -> Self {
        Self(Cell::new(VALUES_MAX))
    }

    fn take(&self, values: usize) -> Result<(), String> {
        let left = self.0.get().checked_sub(values + 1);
        self.0.set(left.ok_or_else(|| format!("the template comes across more than {VALUES_MAX} values"))?);
        Ok(())
    }
}

pub fn fill(nodes: &[Node], object: &Value) -> Result<String, String> {
    let mut out = String::new();
    write(nodes, object, object, &Work::new(), &mut out)?;
    Ok(out)
}

pub fn find(nodes: &[Node], object: &Value) -> Result<Vec<Value>, String> {
    match nodes.first() {
        Some(Node::Path(path)) => Ok(walk(path, object, object, &Work::new())?.into_iter().cloned().collect()),
        _ => Ok(Vec::new()),
    }
}

fn write(nodes: &[Node], root: &Value, current: &Value, work: &Work, out: &mut String) -> Result<(), String> {
    for node in nodes {
        match node {
            Node::Text(text) => out.push_str(text),
            Node::Path(path) => {
                let found: Vec<String> = walk(path, root, current, work)?.into_iter().map(text).collect();
                out.push_str(&found.join(" "));
            }
            Node::Range { over, body } => {
                for item in walk(over, root, current, work)? {
                    write(body, root, item, work, out)?;
                }
            }
        }
    }
    Ok(())
}

/// Bare text and numbers; lists and objects as compact JSON.
fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => canonical::json_text(other),
    }
}

fn walk<'a>(path: &Path, root: &'a Value, current: &'a Value, work: &Work) -> Result<Found<'a>, String> {
    let mut found = vec![if path.from_root { root } else { current }];
    for step in &path.steps {
        // A union goes through all values for its first part, then for the next.
        let parts = if let Step::Union(parts) = step { parts.as_slice() } else { std::slice::from_ref(step) };
        let mut next = Vec::new();
        for part in parts {
            for value in &found {
                let before = next.len();
                take(part, root, value, work, &mut next)?;
                work.take(next.len() - before)?;
            }
        }
        found = next;
    }
    Ok(found)
}

fn take<'a>(step: &Step, root: &'a Value, value: &'a Value, work: &Work, found: &mut Found<'a>) -> Result<(), String> {
    match step {
        Step::Field(name) => found.extend(value.get(name)),
        Step::All => found.extend(children(value)),
        Step::Descend => descend(value, found),
        Step::Index(index) => found.extend(element(value, *index)?),
        Step::Slice { start, end, step } => found.extend(slice(value, *start, *end, *step)?),
        Step::Union(steps) => steps.iter().try_for_each(|step| take(step, root, value, work, found))?,
        Step::Filter { left, comparison } => {
            for child in children(value) {
                if holds(left, comparison.as_ref(), root, child, work)? {
                    found.push(child);
                }
            }
        }
    }
    Ok(())
}

fn children(value: &Value) -> Found<'_> {
    match value {
        Value::Array(items) => items.iter().collect(),
        Value::Object(fields) => fields.values().collect(),
        _ => Vec::new(),
    }
}

fn descend<'a>(value: &'a Value, found: &mut Found<'a>) {
    found.push(value);
    children(value).into_iter().for_each(|child| descend(child, found));
}

fn element(value: &Value, index: i64) -> Result<Option<&Value>, String> {
    let Some(items) = value.as_array() else { return Ok(None) };
    let length = i64::try_from(items.len()).unwrap_or(i64::MAX);
    let position = if index < 0 { index + length } else { index };
    match usize::try_from(position).ok().and_then(|position| items.get(position)) {
        Some(item) => Ok(Some(item)),
        None => Err(format!("array index out of bounds: index {index}, length {length}")),
    }
}

fn slice(value: &Value, start: Option<i64>, end: Option<i64>, step: i64) -> Result<Found<'_>, String> {
    let Some(items) = value.as_array() else { return Ok(Vec::new()) };
    let length = i64::try_from(items.len()).unwrap_or(i64::MAX);
    let from_end = |index: i64| if index < 0 { index + length } else { index };
    let start = from_end(start.unwrap_or(0)).clamp(0, length);
    let end = from_end(end.unwrap_or(length)).clamp(0, length);
    let step = usize::try_from(step).unwrap_or(1);
    let (start, end) = (usize::try_from(start).unwrap_or(0), usize::try_from(end).unwrap_or(0));
    Ok(items.get(start..end).unwrap_or_default().iter().step_by(step).collect())
}

fn holds(
    left: &Operand,
    comparison: Option<&(Comparison, Operand)>,
    root: &Value,
    value: &Value,
    work: &Work,
) -> Result<bool, String> {
    let Some(left) = operand(left, root, value, work)? else { return Ok(false) };
    let Some((comparison, right)) = comparison else { return Ok(true) };
    let Some(right) = operand(right, root, value, work)? else { return Ok(false) };
    let order = compare(&left, &right);
    Ok(match comparison {
        Comparison::Equal => order == Some(Ordering::Equal),
        Comparison::NotEqual => order != Some(Ordering::Equal),
        Comparison::Less => order == Some(Ordering::Less),
        Comparison::LessOrEqual => matches!(order, Some(Ordering::Less | Ordering::Equal)),
        Comparison::Greater => order == Some(Ordering::Greater),
        Comparison::GreaterOrEqual => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
    })
}

fn operand(operand: &Operand, root: &Value, value: &Value, work: &Work) -> Result<Option<Value>, String> {
    Ok(match operand {
        Operand::Path(path) => walk(path, root, value, work)?.first().map(|value| (*value).clone()),
        Operand::Text(text) => Some(text.as_str().into()),
        Operand::Number(number) => Some((*number).into()),
        Operand::Bool(value) => Some((*value).into()),
    })
}

/// Values of one kind; none between kinds.
pub fn compare(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => left.as_f64()?.partial_cmp(&right.as_f64()?),
        (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
        (Value::Bool(left), Value::Bool(right)) => Some(left.cmp(right)),
        (left, right) => (left == right).then_some(Ordering::Equal),
    }
}
