//! Quantities.

use std::cmp::Ordering;
use std::rc::Rc;

use super::{Entry, global, member};
use crate::cel::eval::{Cx, Outcome, error, no_overload};
use crate::cel::value::Value;
use crate::quantity::Quantity;

pub(super) static ALL: &[Entry] = &[
    global("quantity", "string", "quantity", quantity),
    global("isQuantity", "string", "bool", is_quantity),
    member("sign", "quantity", "int", sign),
    member("isInteger", "quantity", "bool", is_integer),
    member("asInteger", "quantity", "int", as_integer),
    member("asApproximateFloat", "quantity", "double", as_float),
    member("add", "quantity, quantity", "quantity", add),
    member("add", "quantity, int", "quantity", add),
    member("sub", "quantity, quantity", "quantity", sub),
    member("sub", "quantity, int", "quantity", sub),
    member("isLessThan", "quantity, quantity", "bool", is_less),
    member("isGreaterThan", "quantity, quantity", "bool", is_greater),
    member("compareTo", "quantity, quantity", "int", compare_to),
];

fn quantity<'a>(_: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    let [Value::String(text)] = args else { return no_overload() };
    match Quantity::parse(text) {
        Ok(quantity) => Ok(Value::Quantity(Rc::new(quantity))),
        Err(why) => error(why.to_string()),
    }
}

fn is_quantity<'a>(_: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    let [Value::String(text)] = args else { return no_overload() };
    Ok(Value::Bool(Quantity::parse(text).is_ok()))
}

fn sign<'a>(_: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    let [Value::Quantity(quantity)] = args else { return no_overload() };
    Ok(Value::Int(quantity.as_ref().cmp(&Quantity::ZERO) as i64))
}

/// The quantity as an integer, if it is one and small enough.
fn exact(quantity: &Quantity) -> Option<i64> {
    let int = quantity.to_int();
    (*quantity == Quantity::from_int(int)).then_some(int)
}

fn is_integer<'a>(_: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    let [Value::Quantity(quantity)] = args else { return no_overload() };
    Ok(Value::Bool(exact(quantity).is_some()))
}

fn as_integer<'a>(_: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    let [Value::Quantity(quantity)] = args else { return no_overload() };
    exact(quantity).map_or_else(|| error("cannot convert value to integer"), |int| Ok(Value::Int(int)))
}

fn as_float<'a>(_: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    let [Value::Quantity(quantity)] = args else { return no_overload() };
    Ok(Value::Double(quantity.to_f64()))
}

fn other(value: &Value<'_>) -> Outcome<Quantity> {
    match value {
        Value::Quantity(quantity) => Ok((**quantity).clone()),
        Value::Int(int) => Ok(Quantity::from_int(*int)),
        _ => no_overload(),
    }
}

fn add<'a>(_: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    let [Value::Quantity(left), right] = args else { return no_overload() };
    Ok(Value::Quantity(Rc::new(left.add(&other(right)?))))
}

fn sub<'a>(_: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    let [Value::Quantity(left), right] = args else { return no_overload() };
    Ok(Value::Quantity(Rc::new(left.sub(&other(right)?))))
}

fn compared(args: &[Value<'_>]) -> Outcome<Ordering> {
    let [Value::Quantity(left), Value::Quantity(right)] = args else { return no_overload() };
    Ok(left.cmp(right))
}

fn is_less<'a>(_: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    compared(args).map(|order| Value::Bool(order.is_lt()))
}

fn is_greater<'a>(_: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    compared(args).map(|order| Value::Bool(order.is_gt()))
}

fn compare_to<'a>(_: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    compared(args).map(|order| Value::Int(order as i64))
}
