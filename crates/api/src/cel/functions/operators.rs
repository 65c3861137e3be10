//! Operators, which are functions with odd names.

use std::cmp::Ordering;

use super::{Entry, global};
use crate::cel::compare::{contains, equal, order};
use crate::cel::eval::{Cx, Outcome, error, no_overload};
use crate::cel::functions::time::{self, DURATION_OVERFLOW};
use crate::cel::value::{Identity, List, Value};

pub const INT_OVERFLOW: &str = "integer overflow";
pub const UINT_OVERFLOW: &str = "unsigned integer overflow";

macro_rules! comparison {
    ($name:literal, $run:ident) => {
        [
            global($name, "bool, bool", "bool", $run),
            global($name, "int, int", "bool", $run),
            global($name, "uint, uint", "bool", $run),
            global($name, "double, double", "bool", $run),
            global($name, "string, string", "bool", $run),
            global($name, "bytes, bytes", "bool", $run),
            global($name, "timestamp, timestamp", "bool", $run),
            global($name, "duration, duration", "bool", $run),
            global($name, "int, uint", "bool", $run),
            global($name, "int, double", "bool", $run),
            global($name, "uint, int", "bool", $run),
            global($name, "uint, double", "bool", $run),
            global($name, "double, int", "bool", $run),
            global($name, "double, uint", "bool", $run),
        ]
    };
}

const LESS: [Entry; 14] = comparison!("_<_", less);
const LESS_EQUAL: [Entry; 14] = comparison!("_<=_", less_equal);
const GREATER: [Entry; 14] = comparison!("_>_", greater);
const GREATER_EQUAL: [Entry; 14] = comparison!("_>=_", greater_equal);

const OTHERS: [Entry; 31] = [
    global("_==_", "T, T", "bool", equals),
    global("_!=_", "T, T", "bool", differs),
    global("@in", "T, list<T>", "bool", in_list),
    global("@in", "K, map<K, V>", "bool", in_map),
    global("!_", "bool", "bool", not),
    global("-_", "int", "int", negate),
    global("-_", "double", "double", negate),
    global("-_", "duration", "duration", negate),
    global("_+_", "int, int", "int", add),
    global("_+_", "uint, uint", "uint", add),
    global("_+_", "double, double", "double", add),
    global("_+_", "string, string", "string", add),
    global("_+_", "bytes, bytes", "bytes", add),
    global("_+_", "list<T>, list<T>", "list<T>", add_lists),
    global("_+_", "timestamp, duration", "timestamp", time::add),
    global("_+_", "duration, timestamp", "timestamp", time::add),
    global("_+_", "duration, duration", "duration", time::add),
    global("_-_", "int, int", "int", subtract),
    global("_-_", "uint, uint", "uint", subtract),
    global("_-_", "double, double", "double", subtract),
    global("_-_", "timestamp, timestamp", "duration", time::subtract),
    global("_-_", "timestamp, duration", "timestamp", time::subtract),
    global("_-_", "duration, duration", "duration", time::subtract),
    global("_*_", "int, int", "int", multiply),
    global("_*_", "uint, uint", "uint", multiply),
    global("_*_", "double, double", "double", multiply),
    global("_/_", "int, int", "int", divide),
    global("_/_", "uint, uint", "uint", divide),
    global("_/_", "double, double", "double", divide),
    global("_%_", "int, int", "int", modulo),
    global("_%_", "uint, uint", "uint", modulo),
];

const COUNT: usize = 4 * 14 + 31;

pub(super) static ALL: &[Entry] = &{
    let parts: [&[Entry]; 5] = [&LESS, &LESS_EQUAL, &GREATER, &GREATER_EQUAL, &OTHERS];
    let mut all = [const { global("", "", "", not) }; COUNT];
    let (mut part, mut to) = (0, 0);
    while part < parts.len() {
        let mut from = 0;
        while from < parts[part].len() {
            let entry = &parts[part][from];
            all[to] = global(entry.name, entry.params, entry.result, entry.run);
            (from, to) = (from + 1, to + 1);
        }
        part += 1;
    }
    all
};

fn equals<'a>(cx: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    equal(cx, &args[0], &args[1]).map(Value::Bool)
}

fn differs<'a>(cx: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    equal(cx, &args[0], &args[1]).map(|equal| Value::Bool(!equal))
}

fn in_list<'a>(cx: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    let [wanted, Value::List(list)] = args else { return no_overload() };
    contains(cx, list, wanted).map(Value::Bool)
}

fn in_map<'a>(_: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    let [key, Value::Map(map)] = args else { return no_overload() };
    Ok(Value::Bool(map.get(key).is_some()))
}

fn not<'a>(_: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    let [Value::Bool(value)] = args else { return no_overload() };
    Ok(Value::Bool(!value))
}

fn negate<'a>(_: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    match args {
        [Value::Int(value)] => int(value.checked_neg()),
        [Value::Double(value)] => Ok(Value::Double(-value)),
        [Value::Duration(nanos)] => {
            nanos.checked_neg().map_or_else(|| error(DURATION_OVERFLOW), |n| Ok(Value::Duration(n)))
        }
        _ => no_overload(),
    }
}

fn compared<'a>(cx: &mut Cx<'a>, args: &[Value<'a>], likes: fn(Ordering) -> bool) -> Outcome<Value<'a>> {
    let [left, right] = args else { return no_overload() };
    if let (Value::String(left), Value::String(right)) = (left, right) {
        cx.spend_bytes(left.len().min(right.len()))?;
    }
    match order(left, right) {
        Some(order) => Ok(Value::Bool(likes(order))),
        // Only a double that is no number is neither less nor greater.
        None => Ok(Value::Bool(false)),
    }
}

fn less<'a>(cx: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    compared(cx, args, Ordering::is_lt)
}

fn less_equal<'a>(cx: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    compared(cx, args, Ordering::is_le)
}

fn greater<'a>(cx: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    compared(cx, args, Ordering::is_gt)
}

fn greater_equal<'a>(cx: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    compared(cx, args, Ordering::is_ge)
}

pub fn int<'a>(value: Option<i64>) -> Outcome<Value<'a>> {
    value.map_or_else(|| error(INT_OVERFLOW), |value| Ok(Value::Int(value)))
}

pub fn uint<'a>(value: Option<u64>) -> Outcome<Value<'a>> {
    value.map_or_else(|| error(UINT_OVERFLOW), |value| Ok(Value::Uint(value)))
}

pub fn add<'a>(cx: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    match args {
        [Value::Int(left), Value::Int(right)] => int(left.checked_add(*right)),
        [Value::Uint(left), Value::Uint(right)] => uint(left.checked_add(*right)),
        [Value::Double(left), Value::Double(right)] => Ok(Value::Double(left + right)),
        [Value::String(left), Value::String(right)] => {
            cx.spend_bytes(left.len() + right.len())?;
            Ok(Value::text([&**left, &**right].concat()))
        }
        [Value::Bytes(left), Value::Bytes(right)] => {
            cx.spend_bytes(left.len() + right.len())?;
            Ok(Value::Bytes([&**left, &**right].concat().into()))
        }
        [Value::Duration(_), Value::Duration(_)] => time::add(cx, args),
        _ => no_overload(),
    }
}

/// Lists that are sets or maps stay so.
fn add_lists<'a>(cx: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    let [Value::List(left), Value::List(right)] = args else { return no_overload() };
    cx.spend_items(left.len() + right.len())?;
    let mut items: Vec<Value<'a>> = left.iter().collect();
    for item in right.iter() {
        match place(cx, left, &items, &item)? {
            Some(place) => items[place] = item,
            None => items.push(item),
        }
    }
    Ok(Value::list(items))
}

/// Where an element has its counterpart in a list, if the list tells its elements apart by more than their place.
fn place<'a>(cx: &mut Cx<'a>, list: &List<'a>, items: &[Value<'a>], wanted: &Value<'a>) -> Outcome<Option<usize>> {
    for (place, item) in items.iter().enumerate() {
        let same = match (list.identity(), item, wanted) {
            (Identity::Value, item, wanted) => equal(cx, item, wanted)?,
            (Identity::Keys(keys), Value::Map(item), Value::Map(wanted)) => {
                let mut same = true;
                for key in keys {
                    let key = Value::String(key.as_str().into());
                    same = same
                        && match (item.get(&key), wanted.get(&key)) {
                            (Some(left), Some(right)) => equal(cx, &left, &right)?,
                            (None, None) => true,
                            _ => false,
                        };
                }
                same
            }
            _ => return Ok(None),
        };
        if same {
            return Ok(Some(place));
        }
    }
    Ok(None)
}

fn subtract<'a>(_: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    match args {
        [Value::Int(left), Value::Int(right)] => int(left.checked_sub(*right)),
        [Value::Uint(left), Value::Uint(right)] => uint(left.checked_sub(*right)),
        [Value::Double(left), Value::Double(right)] => Ok(Value::Double(left - right)),
        _ => no_overload(),
    }
}

fn multiply<'a>(_: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    match args {
        [Value::Int(left), Value::Int(right)] => int(left.checked_mul(*right)),
        [Value::Uint(left), Value::Uint(right)] => uint(left.checked_mul(*right)),
        [Value::Double(left), Value::Double(right)] => Ok(Value::Double(left * right)),
        _ => no_overload(),
    }
}

fn divide<'a>(_: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    match args {
        [_, Value::Int(0)] | [_, Value::Uint(0)] => error("division by zero"),
        [Value::Int(left), Value::Int(right)] => int(left.checked_div(*right)),
        [Value::Uint(left), Value::Uint(right)] => Ok(Value::Uint(left / right)),
        [Value::Double(left), Value::Double(right)] => Ok(Value::Double(left / right)),
        _ => no_overload(),
    }
}

fn modulo<'a>(_: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    match args {
        [_, Value::Int(0)] | [_, Value::Uint(0)] => error("modulus by zero"),
        [Value::Int(left), Value::Int(right)] => int(left.checked_rem(*right)),
        [Value::Uint(left), Value::Uint(right)] => Ok(Value::Uint(left % right)),
        _ => no_overload(),
    }
}
