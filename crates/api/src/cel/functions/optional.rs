//! Values that may not be there.

use super::{Entry, global, member};
use crate::cel::eval::{Cx, Outcome, error, no_overload};
use crate::cel::value::Value;

pub(super) static ALL: &[Entry] = &[
    global("optional.of", "T", "optional<T>", of),
    global("optional.none", "", "optional<dyn>", none),
    global("optional.ofNonZeroValue", "T", "optional<T>", of_non_zero),
    member("hasValue", "optional<T>", "bool", has_value),
    member("value", "optional<T>", "T", value),
    member("or", "optional<T>, optional<T>", "optional<T>", or),
    member("orValue", "optional<T>, T", "T", or_value),
];

fn of<'a>(_: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    Ok(Value::some(args[0].clone()))
}

fn none<'a>(_: &mut Cx<'a>, _: &[Value<'a>]) -> Outcome<Value<'a>> {
    Ok(Value::Optional(None))
}

fn of_non_zero<'a>(_: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    let is_zero = match &args[0] {
        Value::Null | Value::Bool(false) | Value::Int(0) | Value::Uint(0) | Value::Duration(0) => true,
        Value::Double(value) => *value == 0.0,
        Value::String(text) => text.is_empty(),
        Value::Bytes(bytes) => bytes.is_empty(),
        Value::List(list) => list.len() == 0,
        Value::Map(map) => map.len() == 0,
        _ => false,
    };
    Ok(if is_zero { Value::Optional(None) } else { Value::some(args[0].clone()) })
}

fn has_value<'a>(_: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    let [Value::Optional(value)] = args else { return no_overload() };
    Ok(Value::Bool(value.is_some()))
}

fn value<'a>(_: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    match args {
        [Value::Optional(Some(value))] => Ok((**value).clone()),
        [Value::Optional(None)] => error("optional.none() dereference"),
        _ => no_overload(),
    }
}

fn or<'a>(_: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    let [left, right] = args else { return no_overload() };
    Ok(if matches!(left, Value::Optional(Some(_))) { left.clone() } else { right.clone() })
}

fn or_value<'a>(_: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    match args {
        [Value::Optional(Some(value)), _] => Ok((**value).clone()),
        [Value::Optional(None), other] => Ok(other.clone()),
        _ => no_overload(),
    }
}
