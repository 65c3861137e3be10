//! Regular expressions.

use super::{Entry, global, member};
use crate::cel::eval::{Cx, Outcome, no_overload};
use crate::cel::value::Value;

pub(super) static ALL: &[Entry] = &[
    global("matches", "string, string", "bool", matches),
    member("matches", "string, string", "bool", matches),
    member("find", "string, string", "string", find),
    member("findAll", "string, string", "list<string>", find_all),
    member("findAll", "string, string, int", "list<string>", find_all),
];

/// What a search in a text costs: every character may meet every part of the pattern.
fn pay<'v>(cx: &mut Cx<'_>, args: &'v [Value<'_>]) -> Outcome<(&'v str, &'v str)> {
    let [Value::String(text), Value::String(pattern), ..] = args else { return no_overload() };
    cx.spend((text.len() as u64 / 10 + 1) * (pattern.len() as u64 / 4 + 1))?;
    Ok((text, pattern))
}

fn matches<'a>(cx: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    let (text, pattern) = pay(cx, args)?;
    Ok(Value::Bool(cx.regex(pattern)?.is_match(text)))
}

fn find<'a>(cx: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    let (text, pattern) = pay(cx, args)?;
    Ok(Value::text(cx.regex(pattern)?.find(text).map_or("", |found| found.as_str())))
}

fn find_all<'a>(cx: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    let (text, pattern) = pay(cx, args)?;
    let limit = match args.get(2) {
        Some(Value::Int(limit)) => usize::try_from(*limit).unwrap_or(usize::MAX),
        _ => usize::MAX,
    };
    let found: Vec<Value<'a>> =
        cx.regex(pattern)?.find_iter(text).take(limit).map(|found| Value::text(found.as_str())).collect();
    cx.spend_items(found.len())?;
    Ok(Value::list(found))
}
