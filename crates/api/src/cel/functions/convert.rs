//! From one type to another.

use jiff::Timestamp;

use super::operators::{INT_OVERFLOW, UINT_OVERFLOW};
use super::{Entry, global, member, time};
use crate::cel::eval::{Cx, Outcome, error, no_overload};
use crate::cel::value::Value;
use crate::go::quote;

pub(super) static ALL: &[Entry] = &[
    global("size", "string", "int", size),
    global("size", "bytes", "int", size),
    global("size", "list<T>", "int", size),
    global("size", "map<K, V>", "int", size),
    member("size", "string", "int", size),
    member("size", "bytes", "int", size),
    member("size", "list<T>", "int", size),
    member("size", "map<K, V>", "int", size),
    global("type", "dyn", "type", type_of),
    global("dyn", "dyn", "dyn", same),
    global("bool", "bool", "bool", same),
    global("bool", "string", "bool", to_bool),
    global("int", "int", "int", same),
    global("int", "uint", "int", to_int),
    global("int", "double", "int", to_int),
    global("int", "string", "int", to_int),
    global("int", "timestamp", "int", to_int),
    global("int", "duration", "int", to_int),
    global("uint", "uint", "uint", same),
    global("uint", "int", "uint", to_uint),
    global("uint", "double", "uint", to_uint),
    global("uint", "string", "uint", to_uint),
    global("double", "double", "double", same),
    global("double", "int", "double", to_double),
    global("double", "uint", "double", to_double),
    global("double", "string", "double", to_double),
    global("string", "string", "string", same),
    global("string", "bool", "string", to_string),
    global("string", "int", "string", to_string),
    global("string", "uint", "string", to_string),
    global("string", "double", "string", to_string),
    global("string", "bytes", "string", to_string),
    global("string", "timestamp", "string", to_string),
    global("string", "duration", "string", to_string),
    global("string", "ip", "string", to_string),
    global("string", "cidr", "string", to_string),
    global("bytes", "bytes", "bytes", same),
    global("bytes", "string", "bytes", to_bytes),
    global("timestamp", "timestamp", "timestamp", same),
    global("timestamp", "string", "timestamp", to_timestamp),
    global("timestamp", "int", "timestamp", to_timestamp),
    global("duration", "duration", "duration", same),
    global("duration", "string", "duration", to_duration),
    global("duration", "int", "duration", to_duration),
];

fn size<'a>(cx: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    let size = match args {
        [Value::String(text)] => {
            cx.spend_bytes(text.len())?;
            text.chars().count()
        }
        [Value::Bytes(bytes)] => bytes.len(),
        [Value::List(list)] => list.len(),
        [Value::Map(map)] => map.len(),
        _ => return no_overload(),
    };
    Ok(Value::Int(size as i64))
}

fn type_of<'a>(_: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    Ok(Value::Type(args[0].type_name()))
}

pub fn same<'a>(_: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    Ok(args[0].clone())
}

fn to_bool<'a>(_: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    match args {
        [Value::String(text)] => match &**text {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Value::Bool(true)),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Value::Bool(false)),
            _ => error("type conversion error from 'string' to 'bool'"),
        },
        _ => no_overload(),
    }
}

fn to_int<'a>(_: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    match args {
        [Value::Uint(value)] => i64::try_from(*value).map_or_else(|_| error(INT_OVERFLOW), |int| Ok(Value::Int(int))),
        // The doubles around the ends of the range are not exact.
        [Value::Double(value)] if value.abs() < 9_223_372_036_854_775_807.0 => Ok(Value::Int(*value as i64)),
        [Value::Double(_)] => error(INT_OVERFLOW),
        [Value::String(text)] => match text.parse() {
            Ok(int) => Ok(Value::Int(int)),
            Err(_) => error("type conversion error from 'string' to 'int'"),
        },
        [Value::Timestamp(time)] => Ok(Value::Int(time.as_second())),
        [Value::Duration(nanos)] => Ok(Value::Int(*nanos)),
        _ => no_overload(),
    }
}

fn to_uint<'a>(_: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    match args {
        [Value::Int(value)] => {
            u64::try_from(*value).map_or_else(|_| error(UINT_OVERFLOW), |uint| Ok(Value::Uint(uint)))
        }
        [Value::Double(value)] if *value >= 0.0 && *value < 18_446_744_073_709_551_615.0 => {
            Ok(Value::Uint(*value as u64))
        }
        [Value::Double(_)] => error(UINT_OVERFLOW),
        [Value::String(text)] => match text.parse() {
            Ok(uint) => Ok(Value::Uint(uint)),
            Err(_) => error("type conversion error from 'string' to 'uint'"),
        },
        _ => no_overload(),
    }
}

fn to_double<'a>(_: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    match args {
        [Value::Int(value)] => Ok(Value::Double(*value as f64)),
        [Value::Uint(value)] => Ok(Value::Double(*value as f64)),
        [Value::String(text)] => match text.parse() {
            Ok(double) => Ok(Value::Double(double)),
            Err(_) => error("type conversion error from 'string' to 'double'"),
        },
        _ => no_overload(),
    }
}

fn to_string<'a>(_: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    match args {
        [Value::Bytes(bytes)] => match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Value::text(text)),
            Err(_) => error("invalid UTF-8 in bytes, cannot convert to string"),
        },
        [value] => text_of(value).map_or_else(no_overload, |text| Ok(Value::text(text))),
        _ => no_overload(),
    }
}

/// The text of a scalar.
pub fn text_of(value: &Value<'_>) -> Option<String> {
    Some(match value {
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Uint(value) => value.to_string(),
        Value::Double(value) => double_text(*value),
        Value::String(text) => text.to_string(),
        Value::Timestamp(time) => time.to_string(),
        Value::Duration(nanos) => time::duration_text(*nanos),
        Value::Ip(ip) => ip.to_string(),
        Value::Cidr(cidr) => cidr.to_string(),
        Value::Quantity(quantity) => quantity.to_string(),
        _ => return None,
    })
}

/// A double in its shortest form; with an exponent where Go's `%g` has one.
pub fn double_text(value: f64) -> String {
    if value.is_nan() {
        return "NaN".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.into();
    }
    let text = format!("{value:e}");
    let Some((digits, exponent)) = text.split_once('e') else { return text };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if !(-4..6).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.abs());
    }
    value.to_string()
}

fn to_bytes<'a>(cx: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    let [Value::String(text)] = args else { return no_overload() };
    cx.spend_bytes(text.len())?;
    Ok(Value::Bytes(text.as_bytes().into()))
}

fn to_timestamp<'a>(_: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    let found = match args {
        [Value::String(text)] => text.parse::<Timestamp>().ok(),
        [Value::Int(seconds)] => Timestamp::from_second(*seconds).ok(),
        _ => return no_overload(),
    };
    match found {
        Some(time) => time::in_range(time).map(Value::Timestamp),
        None => error("type conversion error to 'timestamp'"),
    }
}

fn to_duration<'a>(_: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    match args {
        [Value::String(text)] => match time::parse_duration(text) {
            Some(nanos) => Ok(Value::Duration(nanos)),
            None => error(format!("time: invalid duration {}", quote(text))),
        },
        [Value::Int(nanos)] => Ok(Value::Duration(*nanos)),
        _ => no_overload(),
    }
}
