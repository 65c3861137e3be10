//! When two values are equal, and which of two comes first. Numbers are compared as numbers, whatever their types.

use std::cmp::Ordering;

use super::eval::{Cx, Outcome};
use super::value::{Identity, List, Map, Value};

/// Values of different types are different; nothing is wrong with comparing them.
pub fn equal<'a>(cx: &mut Cx<'a>, left: &Value<'a>, right: &Value<'a>) -> Outcome<bool> {
    cx.spend(1)?;
    Ok(match (left, right) {
        (Value::Int(_) | Value::Uint(_) | Value::Double(_), Value::Int(_) | Value::Uint(_) | Value::Double(_)) => {
            numbers(left, right) == Some(Ordering::Equal)
        }
        (Value::Null, Value::Null) => true,
        (Value::Bool(left), Value::Bool(right)) => left == right,
        (Value::String(left), Value::String(right)) => {
            cx.spend_bytes(left.len().min(right.len()))?;
            left == right
        }
        (Value::Bytes(left), Value::Bytes(right)) => {
            cx.spend_bytes(left.len().min(right.len()))?;
            left == right
        }
        (Value::Timestamp(left), Value::Timestamp(right)) => left == right,
        (Value::Duration(left), Value::Duration(right)) => left == right,
        (Value::Type(left), Value::Type(right)) => left == right,
        (Value::List(left), Value::List(right)) => lists(cx, left, right)?,
        (Value::Map(left), Value::Map(right)) => maps(cx, left, right)?,
        (Value::Optional(None), Value::Optional(None)) => true,
        (Value::Optional(Some(left)), Value::Optional(Some(right))) => equal(cx, left, right)?,
        (Value::Quantity(left), Value::Quantity(right)) => left == right,
        (Value::Url(left), Value::Url(right)) => left == right,
        (Value::Ip(left), Value::Ip(right)) => left == right,
        (Value::Cidr(left), Value::Cidr(right)) => left == right,
        (Value::Format(left), Value::Format(right)) => left.name == right.name,
        (Value::Semver(left), Value::Semver(right)) => left.cmp_precedence(right) == Ordering::Equal,
        _ => false,
    })
}

/// `None` if one is not a number, or no number at all.
pub fn numbers(left: &Value<'_>, right: &Value<'_>) -> Option<Ordering> {
    let whole = |value: &Value<'_>| match value {
        Value::Int(value) => Some(i128::from(*value)),
        Value::Uint(value) => Some(i128::from(*value)),
        _ => None,
    };
    match (left, right) {
        (Value::Double(left), Value::Double(right)) => left.partial_cmp(right),
        (Value::Double(left), right) => double_and_whole(*left, whole(right)?),
        (left, Value::Double(right)) => double_and_whole(*right, whole(left)?).map(Ordering::reverse),
        (left, right) => Some(whole(left)?.cmp(&whole(right)?)),
    }
}

fn double_and_whole(double: f64, whole: i128) -> Option<Ordering> {
    // All whole numbers here have at most 64 bits, and a double of that size is one exactly.
    match double.partial_cmp(&0.0)? {
        _ if double.abs() < 1e30 => {
            let floor = double.floor();
            let fraction = if double > floor { Ordering::Greater } else { Ordering::Equal };
            Some((floor as i128).cmp(&whole).then(fraction))
        }
        sign => Some(sign),
    }
}

/// Which of two comparable values comes first; `None` if they are not.
pub fn order(left: &Value<'_>, right: &Value<'_>) -> Option<Ordering> {
    match (left, right) {
        (Value::Bool(left), Value::Bool(right)) => Some(left.cmp(right)),
        (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
        (Value::Bytes(left), Value::Bytes(right)) => Some(left.cmp(right)),
        (Value::Timestamp(left), Value::Timestamp(right)) => Some(left.cmp(right)),
        (Value::Duration(left), Value::Duration(right)) => Some(left.cmp(right)),
        (Value::Quantity(left), Value::Quantity(right)) => Some(left.cmp(right)),
        _ => numbers(left, right),
    }
}

fn lists<'a>(cx: &mut Cx<'a>, left: &List<'a>, right: &List<'a>) -> Outcome<bool> {
    if left.len() != right.len() {
        return Ok(false);
    }
    // A list that is a set or a map has no order. The one on the left decides, as it does for `+`.
    if left.identity() != Identity::Index {
        for item in left.iter() {
            if !contains(cx, right, &item)? {
                return Ok(false);
            }
        }
        return Ok(true);
    }
    for (left, right) in left.iter().zip(right.iter()) {
        if !equal(cx, &left, &right)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn maps<'a>(cx: &mut Cx<'a>, left: &Map<'a>, right: &Map<'a>) -> Outcome<bool> {
    if left.len() != right.len() {
        return Ok(false);
    }
    for (key, value) in left.iter() {
        match right.get(&key) {
            Some(other) if equal(cx, &value, &other)? => {}
            _ => return Ok(false),
        }
    }
    Ok(true)
}

pub fn contains<'a>(cx: &mut Cx<'a>, list: &List<'a>, wanted: &Value<'a>) -> Outcome<bool> {
    for item in list.iter() {
        if equal(cx, &item, wanted)? {
            return Ok(true);
        }
    }
    Ok(false)
}
