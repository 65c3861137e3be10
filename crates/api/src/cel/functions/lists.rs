//! Lists.

use std::cmp::Ordering;
use std::rc::Rc;

use super::{Entry, global, member, operators};
use crate::cel::compare::{contains, equal, order};
use crate::cel::eval::{Cx, Outcome, error, no_overload, sort};
use crate::cel::value::{List, Value};

pub(super) static ALL: &[Entry] = &[
    member("isSorted", "list<T>", "bool", is_sorted),
    member("sum", "list<int>", "int", sum),
    member("sum", "list<uint>", "uint", sum),
    member("sum", "list<double>", "double", sum),
    member("sum", "list<duration>", "duration", sum),
    member("min", "list<T>", "T", min),
    member("max", "list<T>", "T", max),
    member("indexOf", "list<T>, T", "int", index_of),
    member("lastIndexOf", "list<T>, T", "int", last_index_of),
    member("slice", "list<T>, int, int", "list<T>", slice),
    member("flatten", "list<list<T>>", "list<T>", flatten),
    member("flatten", "list<dyn>, int", "list<dyn>", flatten),
    member("distinct", "list<T>", "list<T>", distinct),
    member("reverse", "list<T>", "list<T>", reverse),
    member("sort", "list<T>", "list<T>", sorted),
    member("first", "list<T>", "optional<T>", first),
    member("last", "list<T>", "optional<T>", last),
    global("lists.range", "int", "list<int>", range),
];

/// The list, paid for.
fn list<'v, 'a>(cx: &mut Cx<'a>, args: &'v [Value<'a>]) -> Outcome<&'v List<'a>> {
    let [Value::List(list), ..] = args else { return no_overload() };
    cx.spend_items(list.len())?;
    Ok(list)
}

fn is_sorted<'a>(cx: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    let list = list(cx, args)?;
    for (left, right) in list.iter().zip(list.iter().skip(1)) {
        match order(&left, &right) {
            Some(Ordering::Greater) => return Ok(Value::Bool(false)),
            Some(_) => {}
            None => return no_overload(),
        }
    }
    Ok(Value::Bool(true))
}

fn sum<'a>(cx: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    let mut items = list(cx, args)?.iter();
    let Some(first) = items.next() else { return Ok(Value::Int(0)) };
    items.try_fold(first, |sum, item| operators::add(cx, &[sum, item]))
}

fn extreme<'a>(cx: &mut Cx<'a>, args: &[Value<'a>], name: &str, wanted: Ordering) -> Outcome<Value<'a>> {
    let mut items = list(cx, args)?.iter();
    let Some(first) = items.next() else { return error(format!("{name} called on empty list")) };
    items.try_fold(first, |best, item| match order(&item, &best) {
        Some(found) if found == wanted => Ok(item),
        Some(_) => Ok(best),
        None => no_overload(),
    })
}

fn min<'a>(cx: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    extreme(cx, args, "min", Ordering::Less)
}

fn max<'a>(cx: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    extreme(cx, args, "max", Ordering::Greater)
}

fn index_of<'a>(cx: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    for (index, item) in list(cx, args)?.iter().enumerate() {
        if equal(cx, &item, &args[1])? {
            return Ok(Value::Int(index as i64));
        }
    }
    Ok(Value::Int(-1))
}

fn last_index_of<'a>(cx: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    let list = list(cx, args)?;
    for index in (0..list.len()).rev() {
        if let Some(item) = list.get(index)
            && equal(cx, &item, &args[1])?
        {
            return Ok(Value::Int(index as i64));
        }
    }
    Ok(Value::Int(-1))
}

fn slice<'a>(cx: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    let items: Vec<Value<'a>> = list(cx, args)?.iter().collect();
    let [_, Value::Int(from), Value::Int(to)] = args else { return no_overload() };
    let part = usize::try_from(*from).ok().zip(usize::try_from(*to).ok()).and_then(|(from, to)| items.get(from..to));
    match part {
        Some(part) => Ok(Value::list(part.to_vec())),
        None => error(format!("cannot slice({from}, {to}), list is length {}", items.len())),
    }
}

fn flatten<'a>(cx: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    let depth = match args.get(1) {
        Some(Value::Int(depth)) if *depth < 0 => return error("level must be non-negative"),
        Some(Value::Int(depth)) => *depth,
        _ => 1,
    };
    let (list, mut flat) = (list(cx, args)?, Vec::new());
    flatten_into(cx, list, depth, &mut flat)?;
    Ok(Value::list(flat))
}

fn flatten_into<'a>(cx: &mut Cx<'a>, list: &List<'a>, depth: i64, out: &mut Vec<Value<'a>>) -> Outcome<()> {
    cx.spend_items(list.len())?;
    for item in list.iter() {
        match item {
            Value::List(inner) if depth > 0 => flatten_into(cx, &inner, depth - 1, out)?,
            other => out.push(other),
        }
    }
    Ok(())
}

fn distinct<'a>(cx: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    let mut kept = Rc::new(Vec::new());
    for item in list(cx, args)?.iter() {
        if !contains(cx, &List::Made(kept.clone()), &item)? {
            Rc::make_mut(&mut kept).push(item);
        }
    }
    Ok(Value::List(List::Made(kept)))
}

fn reverse<'a>(cx: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    Ok(Value::list(list(cx, args)?.iter().rev().collect()))
}

fn sorted<'a>(cx: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    let keyed = list(cx, args)?.iter().map(|item| (item.clone(), item)).collect();
    sort(cx, keyed)
}

fn first<'a>(cx: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    Ok(Value::Optional(list(cx, args)?.get(0).map(Rc::new)))
}

fn last<'a>(cx: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    let list = list(cx, args)?;
    let last = list.len().checked_sub(1).and_then(|last| list.get(last));
    Ok(Value::Optional(last.map(Rc::new)))
}

fn range<'a>(cx: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    let [Value::Int(end)] = args else { return no_overload() };
    cx.spend_items(usize::try_from(*end).unwrap_or(0))?;
    Ok(Value::list((0..*end).map(Value::Int).collect()))
}
