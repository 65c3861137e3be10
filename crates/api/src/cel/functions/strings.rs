//! Strings. Places in them are counted in characters.

use super::{Entry, global, member};
use crate::cel::eval::{Cx, Outcome, error, no_overload};
use crate::cel::value::Value;

pub(super) static ALL: &[Entry] = &[
    member("contains", "string, string", "bool", contains),
    member("startsWith", "string, string", "bool", starts_with),
    member("endsWith", "string, string", "bool", ends_with),
    member("charAt", "string, int", "string", char_at),
    member("indexOf", "string, string", "int", index_of),
    member("indexOf", "string, string, int", "int", index_of),
    member("lastIndexOf", "string, string", "int", last_index_of),
    member("lastIndexOf", "string, string, int", "int", last_index_of),
    member("join", "list<string>", "string", join),
    member("join", "list<string>, string", "string", join),
    member("lowerAscii", "string", "string", lower_ascii),
    member("upperAscii", "string", "string", upper_ascii),
    member("replace", "string, string, string", "string", replace),
    member("replace", "string, string, string, int", "string", replace),
    member("split", "string, string", "list<string>", split),
    member("split", "string, string, int", "list<string>", split),
    member("substring", "string, int", "string", substring),
    member("substring", "string, int, int", "string", substring),
    member("trim", "string", "string", trim),
    global("strings.quote", "string", "string", quote),
];

/// Both texts, paid for.
fn two<'v>(cx: &mut Cx<'_>, args: &'v [Value<'_>]) -> Outcome<(&'v str, &'v str)> {
    let [Value::String(text), Value::String(other), ..] = args else { return no_overload() };
    cx.spend_bytes(text.len() + other.len())?;
    Ok((text, other))
}

fn contains<'a>(cx: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    let (text, part) = two(cx, args)?;
    Ok(Value::Bool(text.contains(part)))
}

fn starts_with<'a>(cx: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    let (text, part) = two(cx, args)?;
    Ok(Value::Bool(text.starts_with(part)))
}

fn ends_with<'a>(cx: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    let (text, part) = two(cx, args)?;
    Ok(Value::Bool(text.ends_with(part)))
}

/// The byte where a character begins; the end counts as one.
fn byte_at(text: &str, place: i64) -> Outcome<usize> {
    let place = usize::try_from(place).ok();
    let mut places = text.char_indices().map(|(at, _)| at).chain([text.len()]);
    match place.and_then(|place| places.nth(place)) {
        Some(byte) => Ok(byte),
        None => error("index out of range"),
    }
}

fn place_of(text: &str, byte: Option<usize>) -> Value<'static> {
    Value::Int(byte.map_or(-1, |byte| text[..byte].chars().count() as i64))
}

fn char_at<'a>(cx: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    let [Value::String(text), Value::Int(place)] = args else { return no_overload() };
    cx.spend_bytes(text.len())?;
    let byte = byte_at(text, *place)?;
    Ok(Value::text(text[byte..].chars().next().map(String::from).unwrap_or_default()))
}

fn index_of<'a>(cx: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    let (text, part) = two(cx, args)?;
    let from = match args.get(2) {
        Some(Value::Int(place)) => byte_at(text, *place)?,
        _ => 0,
    };
    Ok(place_of(text, text[from..].find(part).map(|at| from + at)))
}

fn last_index_of<'a>(cx: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    let (text, part) = two(cx, args)?;
    let Some(Value::Int(place)) = args.get(2) else { return Ok(place_of(text, text.rfind(part))) };
    // The match may begin here at the latest.
    let latest = byte_at(text, *place)?;
    let end = latest.saturating_add(part.len()).min(text.len());
    let end = (end..=text.len()).find(|end| text.is_char_boundary(*end)).unwrap_or(text.len());
    Ok(place_of(text, text[..end].rfind(part).filter(|at| *at <= latest)))
}

fn join<'a>(cx: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    let (list, separator) = match args {
        [Value::List(list)] => (list, ""),
        [Value::List(list), Value::String(separator)] => (list, &**separator),
        _ => return no_overload(),
    };
    let mut out = String::new();
    for (index, item) in list.iter().enumerate() {
        let Value::String(text) = item else { return no_overload() };
        cx.spend_bytes(10 + text.len() + separator.len())?;
        if index > 0 {
            out.push_str(separator);
        }
        out.push_str(&text);
    }
    Ok(Value::text(out))
}

fn mapped<'a>(cx: &mut Cx<'a>, args: &[Value<'a>], with: fn(&str) -> String) -> Outcome<Value<'a>> {
    let [Value::String(text)] = args else { return no_overload() };
    cx.spend_bytes(text.len())?;
    Ok(Value::text(with(text)))
}

fn lower_ascii<'a>(cx: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    mapped(cx, args, str::to_ascii_lowercase)
}

fn upper_ascii<'a>(cx: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    mapped(cx, args, str::to_ascii_uppercase)
}

fn trim<'a>(cx: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    mapped(cx, args, |text| text.trim().to_string())
}

fn quote<'a>(cx: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    mapped(cx, args, crate::go::quote)
}

/// Less than zero: as often as there is something.
fn limit(arg: Option<&Value<'_>>) -> usize {
    match arg {
        Some(Value::Int(count)) => usize::try_from(*count).unwrap_or(usize::MAX),
        _ => usize::MAX,
    }
}

fn replace<'a>(cx: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    let [Value::String(text), Value::String(from), Value::String(to), ..] = args else { return no_overload() };
    cx.spend_bytes(text.len() + from.len())?;
    let count = text.matches(&**from).count().min(limit(args.get(3)));
    cx.spend_bytes(text.len().saturating_add(count.saturating_mul(to.len())))?;
    Ok(Value::text(text.replacen(&**from, to, count)))
}

fn split<'a>(cx: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    let (text, separator) = two(cx, args)?;
    let limit = limit(args.get(2));
    let parts: Vec<String> = match limit {
        0 => Vec::new(),
        _ if separator.is_empty() => {
            let mut parts: Vec<String> = text.chars().map(String::from).collect();
            if parts.len() > limit {
                let rest = parts.split_off(limit - 1).concat();
                parts.push(rest);
            }
            parts
        }
        limit => text.splitn(limit, separator).map(str::to_string).collect(),
    };
    cx.spend_items(parts.len())?;
    Ok(Value::list(parts.into_iter().map(Value::text).collect()))
}

fn substring<'a>(cx: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    let [Value::String(text), Value::Int(from), ..] = args else { return no_overload() };
    cx.spend_bytes(text.len())?;
    let from = byte_at(text, *from)?;
    let to = match args.get(2) {
        Some(Value::Int(to)) => byte_at(text, *to)?,
        _ => text.len(),
    };
    match text.get(from..to) {
        Some(part) => Ok(Value::text(part)),
        None => error("invalid substring range"),
    }
}
