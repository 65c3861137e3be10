//! `"%s of %d".format([...])`.

use super::convert::text_of;
use super::{Entry, member};
use crate::cel::eval::{Cx, Outcome, error, no_overload};
use crate::cel::value::Value;

pub(super) static ALL: &[Entry] = &[member("format", "string, list<dyn>", "string", format_all)];

/// Places of a number that no text asks for.
const PRECISION: usize = 6;
/// More places than a double has.
const PRECISION_MAX: usize = 340;

fn format_all<'a>(cx: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    let [Value::String(text), Value::List(values)] = args else { return no_overload() };
    cx.spend_bytes(text.len())?;
    let (mut out, mut rest, mut values) = (String::new(), &**text, values.iter());
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        let (clause, after) = Clause::read(after)?;
        rest = after;
        if clause.verb == '%' {
            out.push('%');
            continue;
        }
        let Some(value) = values.next() else { return error("index out of range for the arguments of format") };
        let shown = clause.show(cx, &value)?;
        cx.spend_bytes(shown.len())?;
        out.push_str(&shown);
    }
    out.push_str(rest);
    Ok(Value::text(out))
}

struct Clause {
    precision: Option<usize>,
    verb: char,
}

impl Clause {
    /// What follows a percent sign, and what follows that.
    fn read(text: &str) -> Outcome<(Self, &str)> {
        let (precision, text) = match text.strip_prefix('.') {
            Some(rest) => {
                let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
                match rest[..end].parse() {
                    Ok(precision) if precision <= PRECISION_MAX => (Some(precision), &rest[end..]),
                    _ => return error("invalid precision in format"),
                }
            }
            None => (None, text),
        };
        let mut chars = text.chars();
        match chars.next() {
            Some(verb) => Ok((Self { precision, verb }, chars.as_str())),
            None => error("unexpected end of format"),
        }
    }

    fn show<'a>(&self, cx: &mut Cx<'a>, value: &Value<'a>) -> Outcome<String> {
        let places = self.precision.unwrap_or(PRECISION);
        match (self.verb, value) {
            ('s', value) => shown(cx, value),
            ('d', Value::Int(_) | Value::Uint(_)) => Ok(text_of(value).unwrap_or_default()),
            ('f', Value::Double(value)) if value.is_finite() => Ok(format!("{value:.places$}")),
            ('f', Value::Int(value)) => Ok(format!("{:.places$}", *value as f64)),
            ('f', Value::Uint(value)) => Ok(format!("{:.places$}", *value as f64)),
            ('e', Value::Double(value)) if value.is_finite() => Ok(scientific(*value, places)),
            ('e', Value::Int(value)) => Ok(scientific(*value as f64, places)),
            ('f' | 'e' | 'd', Value::Double(_)) => Ok(text_of(value).unwrap_or_default()),
            ('b', Value::Bool(value)) => Ok(u8::from(*value).to_string()),
            ('b', Value::Int(value)) => Ok(signed(*value, |value| format!("{value:b}"))),
            ('b', Value::Uint(value)) => Ok(format!("{value:b}")),
            ('o', Value::Int(value)) => Ok(signed(*value, |value| format!("{value:o}"))),
            ('o', Value::Uint(value)) => Ok(format!("{value:o}")),
            ('x', Value::Int(value)) => Ok(signed(*value, |value| format!("{value:x}"))),
            ('x', Value::Uint(value)) => Ok(format!("{value:x}")),
            ('X', Value::Int(value)) => Ok(signed(*value, |value| format!("{value:X}"))),
            ('X', Value::Uint(value)) => Ok(format!("{value:X}")),
            ('x', Value::String(text)) => Ok(text.bytes().map(|byte| format!("{byte:02x}")).collect()),
            ('X', Value::String(text)) => Ok(text.bytes().map(|byte| format!("{byte:02X}")).collect()),
            ('x', Value::Bytes(bytes)) => Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect()),
            ('X', Value::Bytes(bytes)) => Ok(bytes.iter().map(|byte| format!("{byte:02X}")).collect()),
            ('d' | 'f' | 'e' | 'b' | 'o' | 'x' | 'X', other) => {
                error(format!("formatting clause '%{}' does not take a {}", self.verb, other.type_name()))
            }
            (verb, _) => error(format!("unrecognized formatting clause \"{verb}\"")),
        }
    }
}

fn signed(value: i64, show: fn(u64) -> String) -> String {
    format!("{}{}", if value < 0 { "-" } else { "" }, show(value.unsigned_abs()))
}

/// An exponent has two digits at least.
fn scientific(value: f64, places: usize) -> String {
    let text = format!("{value:.places$e}");
    match text.split_once('e') {
        Some((digits, exponent)) => {
            let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |exponent| ('-', exponent));
            format!("{digits}e{sign}{exponent:0>2}")
        }
        None => text,
    }
}

/// Any value as `%s` shows it.
fn shown<'a>(cx: &mut Cx<'a>, value: &Value<'a>) -> Outcome<String> {
    cx.spend(1)?;
    match value {
        Value::Null => Ok("null".into()),
        Value::Type(name) => Ok(name.to_string()),
        Value::Bytes(bytes) => Ok(String::from_utf8_lossy(bytes).into_owned()),
        Value::List(list) => {
            let items = list.iter().map(|item| shown(cx, &item)).collect::<Outcome<Vec<_>>>()?;
            Ok(format!("[{}]", items.join(", ")))
        }
        Value::Map(map) => {
            let entries = map.iter().map(|(key, value)| Ok(format!("{}: {}", shown(cx, &key)?, shown(cx, &value)?)));
            Ok(format!("{{{}}}", entries.collect::<Outcome<Vec<_>>>()?.join(", ")))
        }
        value => text_of(value).map_or_else(no_overload, Ok),
    }
}
