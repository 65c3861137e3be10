//! The order of merged lists: `$setElementOrder` before the order of the patch before the order of the original.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::error::{self, BAD_SET_ORDER, Error};
use super::{DIRECTIVE, Known, SET_ORDER, lists};

/// What identifies an element: its merge key, or the whole element in lists of primitives.
#[derive(Clone, Copy)]
pub struct Ids<'a> {
    key: Option<&'a str>,
}

type Positions = HashMap<String, usize>;

impl<'a> Ids<'a> {
    pub fn of(key: Option<&'a str>) -> Self {
        Self { key }
    }

    pub fn id(self, item: &Value) -> String {
        match self.key {
            Some(key) => item.get(key).unwrap_or(&Value::Null).to_string(),
            None => item.to_string(),
        }
    }

    /// Where each element stands, the first of several equal ones.
    pub fn positions(self, items: &[Value]) -> Positions {
        let mut positions = Positions::new();
        for (at, item) in items.iter().enumerate() {
            positions.entry(self.id(item)).or_insert(at);
        }
        positions
    }

    pub fn position(self, positions: &Positions, item: &Value) -> Option<usize> {
        positions.get(&self.id(item)).copied()
    }

    fn check(self, item: &Value) -> Result<(), Error> {
        let Some(key) = self.key else { return Ok(()) };
        let fields = item.as_object().ok_or_else(|| error::expected("map[string]interface {}", item))?;
        if fields.contains_key(key) { Ok(()) } else { Err(error::no_merge_key(fields, key)) }
    }
}

/// Carries out every `$setElementOrder/LIST` of the patch together with the patch of LIST itself, and takes both out.
pub fn set_orders(
    known: Known<'_>,
    original: &mut Map<String, Value>,
    patch: &mut Map<String, Value>,
) -> Result<(), Error> {
    let directives: Vec<String> = patch.keys().filter(|key| key.starts_with(SET_ORDER)).cloned().collect();
    for directive in directives {
        let order = patch.remove(&directive).unwrap_or_default();
        let field = directive.strip_prefix(SET_ORDER).and_then(|rest| rest.strip_prefix('/'));
        let field = field.ok_or(Error::BadRequest(BAD_SET_ORDER))?;
        let order = list(order)?;
        let live = original.remove(field).map(list).transpose()?;
        let change = patch.remove(field).map(list).transpose()?;
        if let Some(ordered) = set_order(known, field, &order, live, change)? {
            original.insert(field.to_string(), ordered.into());
        }
    }
    Ok(())
}

fn set_order(
    known: Known<'_>,
    field: &str,
    order: &[Value],
    live: Option<Vec<Value>>,
    change: Option<Vec<Value>>,
) -> Result<Option<Vec<Value>>, Error> {
    let (known, strategy) = known.field(field);
    let ids = Ids::of(strategy.merge_key.as_deref());
    if let Some(change) = &change {
        agrees(ids, change, order)?;
    }
    let server_order = live.clone().unwrap_or_default();
    let merged = match (live, change) {
        (None, None) => return Ok(None),
        (Some(live), None) => live,
        (None, Some(change)) => change,
        (Some(live), Some(change)) => lists::merge(known.element(), &strategy, live, change, false)?,
    };
    if merged.is_empty() {
        return Ok(Some(merged));
    }
    lists::kind_of_elements(&[&merged])?;
    in_order(ids, merged, order, order, &server_order).map(Some)
}

/// Elements that are not directives must stand in the patch in the same order as in `$setElementOrder`.
fn agrees(ids: Ids<'_>, change: &[Value], order: &[Value]) -> Result<(), Error> {
    if change.is_empty() || order.is_empty() {
        return Ok(());
    }
    let mut rest = order.iter();
    for item in change.iter().filter(|item| item.get(DIRECTIVE).is_none()) {
        ids.check(item)?;
        let id = ids.id(item);
        if !rest.any(|listed| ids.id(listed) == id) {
            let (change, order) = (Value::from(change.to_vec()), Value::from(order.to_vec()));
            let (change, order) = (super::go_value(&change), super::go_value(&order));
            return Err(Error::Other(format!(
                "The order in patch list:\n{change}\n doesn't match {SET_ORDER} list:\n{order}\n"
            )));
        }
    }
    Ok(())
}

/// Orders a merged list: elements that `listed` holds by `order`, the others by `server_order`, and both interleaved
/// so that an element of the server stands before the first one of the patch that the server has after it.
pub fn in_order(
    ids: Ids<'_>,
    merged: Vec<Value>,
    listed: &[Value],
    order: &[Value],
    server_order: &[Value],
) -> Result<Vec<Value>, Error> {
    merged.iter().chain(order).try_for_each(|item| ids.check(item))?;
    let (listed, order, live) = (ids.positions(listed), ids.positions(order), ids.positions(server_order));
    let (mut patched, mut server): (Vec<Value>, Vec<Value>) =
        merged.into_iter().partition(|item| ids.position(&listed, item).is_some());
    patched.sort_by_key(|item| ids.position(&order, item));
    server.sort_by_key(|item| ids.position(&live, item));
    Ok(interleave(ids, server, patched, &live))
}

fn interleave(ids: Ids<'_>, server: Vec<Value>, patched: Vec<Value>, live: &Positions) -> Vec<Value> {
    let mut all = Vec::with_capacity(server.len() + patched.len());
    let (mut server, mut patched) = (server.into_iter().peekable(), patched.into_iter().peekable());
    while let (Some(left), Some(right)) = (server.peek(), patched.peek()) {
        let server_first = match (ids.position(live, left), ids.position(live, right)) {
            (Some(left), Some(right)) => left < right,
            _ => false,
        };
        all.extend(if server_first { server.next() } else { patched.next() });
    }
    all.extend(server);
    all.extend(patched);
    all
}

fn list(value: Value) -> Result<Vec<Value>, Error> {
    match value {
        Value::Array(items) => Ok(items),
        other => Err(error::expected("[]interface {}", &other)),
    }
}
