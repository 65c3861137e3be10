//! Lists taken as sets.

use super::{Entry, global};
use crate::cel::compare::contains;
use crate::cel::eval::{Cx, Outcome, no_overload};
use crate::cel::value::{List, Value};

pub(super) static ALL: &[Entry] = &[
    global("sets.contains", "list<T>, list<T>", "bool", contains_all),
    global("sets.equivalent", "list<T>, list<T>", "bool", equivalent),
    global("sets.intersects", "list<T>, list<T>", "bool", intersects),
];

fn includes<'a>(cx: &mut Cx<'a>, list: &List<'a>, part: &List<'a>) -> Outcome<bool> {
    for item in part.iter() {
        if !contains(cx, list, &item)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn contains_all<'a>(cx: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    let [Value::List(list), Value::List(part)] = args else { return no_overload() };
    includes(cx, list, part).map(Value::Bool)
}

fn equivalent<'a>(cx: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    let [Value::List(left), Value::List(right)] = args else { return no_overload() };
    Ok(Value::Bool(includes(cx, left, right)? && includes(cx, right, left)?))
}

fn intersects<'a>(cx: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    let [Value::List(left), Value::List(right)] = args else { return no_overload() };
    for item in left.iter() {
        if contains(cx, right, &item)? {
            return Ok(Value::Bool(true));
        }
    }
    Ok(Value::Bool(false))
}
