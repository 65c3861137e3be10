//! Evaluates expressions. Everything costs something, and what may be spent is limited: no expression runs for long.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use regex::Regex;

use super::ast::{Element, Entry, Expr, Function, Kind, Literal, Loop, LoopKind};
use super::compare::order;
use super::types::Type;
use super::value::{Key, List, Map, Value};
use crate::go_regex;

/// Why there is no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Something is wrong with the values, in the words of CEL.
    Error(String),
    /// It costs more than it may.
    Cost,
}

pub type Outcome<T> = Result<T, Fault>;

pub fn error<T>(message: impl Into<String>) -> Outcome<T> {
    Err(Fault::Error(message.into()))
}

pub fn no_overload<T>() -> Outcome<T> {
    error("no such overload")
}

/// The cost of making a list or map. Source: the cost model of `cel-go`.
const LIST_COST: u64 = 10;
const MAP_COST: u64 = 30;

/// One evaluation.
pub struct Cx<'a> {
    variables: Vec<(&'a str, Value<'a>)>,
    regexes: &'a BTreeMap<String, Regex>,
    made: HashMap<String, Regex>,
    spent: u64,
    limit: u64,
}

impl<'a> Cx<'a> {
    /// `regexes`: patterns that are compiled already.
    pub fn new(variables: Vec<(&'a str, Value<'a>)>, regexes: &'a BTreeMap<String, Regex>, limit: u64) -> Self {
        Self { variables, regexes, made: HashMap::new(), spent: 0, limit }
    }

    pub fn spent(&self) -> u64 {
        self.spent
    }

    pub fn spend(&mut self, cost: u64) -> Outcome<()> {
        self.spent = self.spent.saturating_add(cost);
        if self.spent > self.limit { Err(Fault::Cost) } else { Ok(()) }
    }

    /// Looking at so many bytes of text.
    pub fn spend_bytes(&mut self, bytes: usize) -> Outcome<()> {
        self.spend(bytes as u64 / 10)
    }

    /// Making or looking at so many elements.
    pub fn spend_items(&mut self, items: usize) -> Outcome<()> {
        self.spend(items as u64)
    }

    pub fn regex(&mut self, pattern: &str) -> Outcome<&Regex> {
        if let Some(regex) = self.regexes.get(pattern) {
            return Ok(regex);
        }
        if !self.made.contains_key(pattern) {
            // Compiling is the expensive part.
            self.spend(1000 + pattern.len() as u64 * 10)?;
            match go_regex::compile(pattern) {
                Ok(regex) => self.made.insert(pattern.to_string(), regex),
                Err(why) => return error(format!("error parsing regexp: {why}")),
            };
        }
        Ok(&self.made[pattern])
    }

    pub fn eval(&mut self, expr: &'a Expr) -> Outcome<Value<'a>> {
        self.spend(1)?;
        match &expr.kind {
            Kind::Literal(literal) => Ok(of_literal(literal)),
            Kind::Ident(name) => self.variable(name),
            Kind::Select { of, field, optional } => {
                let of = self.eval(of)?;
                select(of, field, *optional)
            }
            Kind::Has { of, field } => match self.eval(of)? {
                Value::Map(map) => Ok(Value::Bool(map.field(field).is_some())),
                Value::Optional(None) => Ok(Value::Bool(false)),
                Value::Optional(Some(of)) => match &*of {
                    Value::Map(map) => Ok(Value::Bool(map.field(field).is_some())),
                    _ => no_overload(),
                },
                _ => no_overload(),
            },
            Kind::Index { of, index, optional } => {
                let of = self.eval(of)?;
                let index = self.eval(index)?;
                at(of, &index, *optional)
            }
            Kind::Call { function, args } => self.call(function, args),
            Kind::And(parts) => self.junction(parts.iter(), false),
            Kind::Or(parts) => self.junction(parts.iter(), true),
            Kind::Conditional(parts) => match self.eval(&parts[0])? {
                Value::Bool(true) => self.eval(&parts[1]),
                Value::Bool(false) => self.eval(&parts[2]),
                _ => no_overload(),
            },
            Kind::List(elements) => self.list(elements),
            Kind::Map(entries) => self.map(entries),
            Kind::Loop(each) => self.each(each),
            Kind::IfPresent { target, variable, body, flat } => match self.eval(target)? {
                Value::Optional(None) => Ok(Value::Optional(None)),
                Value::Optional(Some(value)) => {
                    let found = self.with(&[(variable, (*value).clone())], body)?;
                    Ok(if *flat { found } else { Value::some(found) })
                }
                _ => no_overload(),
            },
        }
    }

    fn variable(&self, name: &str) -> Outcome<Value<'a>> {
        if let Some((_, value)) = self.variables.iter().rev().find(|(variable, _)| *variable == name) {
            return Ok(value.clone());
        }
        match type_named(name) {
            Some(name) => Ok(Value::Type(name)),
            None => error(format!("no such attribute(s): {name}")),
        }
    }

    /// Evaluates with more variables.
    fn with(&mut self, variables: &[(&'a str, Value<'a>)], body: &'a Expr) -> Outcome<Value<'a>> {
        let before = self.variables.len();
        self.variables.extend(variables.iter().cloned());
        let value = self.eval(body);
        self.variables.truncate(before);
        value
    }

    fn call(&mut self, function: &'a Function, args: &'a [Expr]) -> Outcome<Value<'a>> {
        let args = args.iter().map(|arg| self.eval(arg)).collect::<Outcome<Vec<_>>>()?;
        let fits =
            |params: &[Type]| params.len() == args.len() && params.iter().zip(&args).all(|(ty, arg)| is(arg, ty));
        match function.overloads.iter().find(|overload| fits(&overload.params)) {
            Some(overload) => (overload.run)(self, &args),
            None => no_overload(),
        }
    }

    /// `&&` (decided by a false) and `||` (decided by a true). What decides makes errors of others void.
    fn junction(&mut self, parts: impl Iterator<Item = &'a Expr>, decisive: bool) -> Outcome<Value<'a>> {
        let mut fault = None;
        for part in parts {
            match self.eval(part) {
                Ok(Value::Bool(value)) if value == decisive => return Ok(Value::Bool(decisive)),
                Ok(Value::Bool(_)) => {}
                Ok(_) => fault = fault.or(Some(Fault::Error("no such overload".into()))),
                Err(Fault::Cost) => return Err(Fault::Cost),
                Err(found) => fault = fault.or(Some(found)),
            }
        }
        fault.map_or(Ok(Value::Bool(!decisive)), Err)
    }

    fn list(&mut self, elements: &'a [Element]) -> Outcome<Value<'a>> {
        self.spend(LIST_COST)?;
        let mut items = Vec::with_capacity(elements.len());
        for element in elements {
            match (self.eval(&element.value)?, element.optional) {
                (Value::Optional(value), true) => items.extend(value.map(|value| (*value).clone())),
                (_, true) => return no_overload(),
                (value, false) => items.push(value),
            }
        }
        Ok(Value::list(items))
    }

    fn map(&mut self, entries: &'a [Entry]) -> Outcome<Value<'a>> {
        self.spend(MAP_COST)?;
        let mut map = BTreeMap::new();
        for entry in entries {
            let key = self.eval(&entry.key)?;
            let value = match (self.eval(&entry.value)?, entry.optional) {
                (Value::Optional(Some(value)), true) => (*value).clone(),
                (Value::Optional(None), true) => continue,
                (_, true) => return no_overload(),
                (value, false) => value,
            };
            insert(&mut map, &key, value)?;
        }
        Ok(Value::Map(Map::Made(Rc::new(map))))
    }

    fn each(&mut self, each: &'a Loop) -> Outcome<Value<'a>> {
        let range = self.eval(&each.range)?;
        let rounds: Vec<[Value<'a>; 2]> = match &range {
            Value::List(list) => {
                list.iter().enumerate().map(|(index, item)| [Value::Int(index as i64), item]).collect()
            }
            Value::Map(map) if each.first.is_none() => map.iter().map(|(key, _)| [Value::Null, key]).collect(),
            Value::Map(map) => map.iter().map(|(key, value)| [key, value]).collect(),
            _ => return no_overload(),
        };
        self.spend_items(rounds.len())?;
        match each.what {
            LoopKind::All => self.decided(each, rounds, false),
            LoopKind::Exists => self.decided(each, rounds, true),
            LoopKind::ExistsOne => {
                let mut found = 0;
                for round in &rounds {
                    found += usize::from(self.is_true(each, round, &each.body)?);
                }
                Ok(Value::Bool(found == 1))
            }
            LoopKind::Filter => {
                let mut kept = Vec::new();
                for round in rounds {
                    if self.is_true(each, &round, &each.body)? {
                        let [_, value] = round;
                        kept.push(value);
                    }
                }
                Ok(Value::list(kept))
            }
            LoopKind::Map => {
                self.spend(LIST_COST)?;
                let mut items = Vec::new();
                for round in &rounds {
                    if self.passes(each, round)? {
                        items.push(self.round(each, round, &each.body)?);
                    }
                }
                Ok(Value::list(items))
            }
            LoopKind::TransformMap | LoopKind::TransformMapEntry => self.transform_map(each, &rounds),
            LoopKind::SortBy => self.sort_by(each, rounds),
        }
    }

    fn round(&mut self, each: &'a Loop, [first, last]: &[Value<'a>; 2], body: &'a Expr) -> Outcome<Value<'a>> {
        match &each.first {
            Some(name) => self.with(&[(name, first.clone()), (&each.last, last.clone())], body),
            None => self.with(&[(&each.last, last.clone())], body),
        }
    }

    fn is_true(&mut self, each: &'a Loop, round: &[Value<'a>; 2], condition: &'a Expr) -> Outcome<bool> {
        match self.round(each, round, condition)? {
            Value::Bool(value) => Ok(value),
            _ => no_overload(),
        }
    }

    fn passes(&mut self, each: &'a Loop, round: &[Value<'a>; 2]) -> Outcome<bool> {
        each.filter.as_ref().map_or(Ok(true), |filter| self.is_true(each, round, filter))
    }

    /// As [`Cx::junction`], over the rounds.
    fn decided(&mut self, each: &'a Loop, rounds: Vec<[Value<'a>; 2]>, decisive: bool) -> Outcome<Value<'a>> {
        let mut fault = None;
        for round in &rounds {
            match self.is_true(each, round, &each.body) {
                Ok(value) if value == decisive => return Ok(Value::Bool(decisive)),
                Ok(_) => {}
                Err(Fault::Cost) => return Err(Fault::Cost),
                Err(found) => fault = fault.or(Some(found)),
            }
        }
        fault.map_or(Ok(Value::Bool(!decisive)), Err)
    }

    fn transform_map(&mut self, each: &'a Loop, rounds: &[[Value<'a>; 2]]) -> Outcome<Value<'a>> {
        self.spend(MAP_COST)?;
        let mut map = BTreeMap::new();
        for round in rounds {
            if !self.passes(each, round)? {
                continue;
            }
            match (self.round(each, round, &each.body)?, each.what) {
                (Value::Map(entries), LoopKind::TransformMapEntry) => {
                    for (key, value) in entries.iter() {
                        insert(&mut map, &key, value)?;
                    }
                }
                (_, LoopKind::TransformMapEntry) => return no_overload(),
                (value, _) => insert(&mut map, &round[0], value)?,
            }
        }
        Ok(Value::Map(Map::Made(Rc::new(map))))
    }

    fn sort_by(&mut self, each: &'a Loop, rounds: Vec<[Value<'a>; 2]>) -> Outcome<Value<'a>> {
        let mut keyed = Vec::with_capacity(rounds.len());
        for round in rounds {
            let key = self.round(each, &round, &each.body)?;
            let [_, value] = round;
            keyed.push((key, value));
        }
        sort(self, keyed)
    }
}

/// The values in the order of their keys, which must be comparable.
pub fn sort<'a>(cx: &mut Cx<'a>, mut keyed: Vec<(Value<'a>, Value<'a>)>) -> Outcome<Value<'a>> {
    let steps = keyed.len().checked_ilog2().unwrap_or(0) as usize + 1;
    cx.spend_items(keyed.len() * steps)?;
    let first = keyed.first().map(|(key, _)| key.clone());
    if let Some(first) = first
        && keyed.iter().any(|(key, _)| order(&first, key).is_none())
    {
        return error("list elements must have the same type, and be comparable");
    }
    keyed.sort_by(|(left, _), (right, _)| order(left, right).unwrap_or(Ordering::Equal));
    Ok(Value::list(keyed.into_iter().map(|(_, value)| value).collect()))
}

fn insert<'a>(map: &mut BTreeMap<Key, Value<'a>>, key: &Value<'a>, value: Value<'a>) -> Outcome<()> {
    let Some(found) = Key::of(key) else { return error(format!("unsupported key type: {}", key.type_name())) };
    match map.insert(found, value) {
        None => Ok(()),
        Some(_) => error(format!("insert failed: key {} already exists", shown(key))),
    }
}

fn of_literal(literal: &Literal) -> Value<'_> {
    match literal {
        Literal::Null => Value::Null,
        Literal::Bool(value) => Value::Bool(*value),
        Literal::Int(value) => Value::Int(*value),
        Literal::Uint(value) => Value::Uint(*value),
        Literal::Double(value) => Value::Double(*value),
        Literal::String(text) => Value::String(text.as_str().into()),
        Literal::Bytes(bytes) => Value::Bytes(bytes.as_slice().into()),
    }
}

fn select<'a>(of: Value<'a>, field: &str, optional: bool) -> Outcome<Value<'a>> {
    match (of, optional) {
        (Value::Map(map), true) => Ok(Value::Optional(map.field(field).map(Rc::new))),
        (Value::Map(map), false) => map.field(field).map_or_else(|| error(format!("no such key: {field}")), Ok),
        (Value::Optional(None), _) => Ok(Value::Optional(None)),
        (Value::Optional(Some(value)), _) => select((*value).clone(), field, true),
        _ => no_overload(),
    }
}

fn at<'a>(of: Value<'a>, index: &Value<'a>, optional: bool) -> Outcome<Value<'a>> {
    let found = match &of {
        Value::List(list) => item(list, index)?,
        Value::Map(map) => map.get(index),
        Value::Optional(None) => return Ok(Value::Optional(None)),
        Value::Optional(Some(value)) => return at((**value).clone(), index, true),
        _ => return no_overload(),
    };
    match (found, &of) {
        (found, _) if optional => Ok(Value::Optional(found.map(Rc::new))),
        (Some(value), _) => Ok(value),
        (None, Value::List(_)) => error(format!("index out of bounds: {}", shown(index))),
        (None, _) => error(format!("no such key: {}", shown(index))),
    }
}

fn item<'a>(list: &List<'a>, index: &Value<'a>) -> Outcome<Option<Value<'a>>> {
    match Key::of(index) {
        Some(Key::Int(index)) => Ok(usize::try_from(index).ok().and_then(|index| list.get(index))),
        Some(Key::Uint(_)) => Ok(None),
        _ => no_overload(),
    }
}

fn shown(value: &Value<'_>) -> String {
    match Key::of(value) {
        Some(Key::Bool(value)) => value.to_string(),
        Some(Key::Int(value)) => value.to_string(),
        Some(Key::Uint(value)) => value.to_string(),
        Some(Key::String(text)) => text,
        None => value.type_name().to_string(),
    }
}

/// Whether a value is of a type, as far as its outermost part tells.
pub fn is(value: &Value<'_>, ty: &Type) -> bool {
    match (ty, value) {
        (Type::Dyn | Type::Param(_), _) => true,
        (Type::Null, Value::Null)
        | (Type::Bool, Value::Bool(_))
        | (Type::Int, Value::Int(_))
        | (Type::Uint, Value::Uint(_))
        | (Type::Double, Value::Double(_))
        | (Type::String, Value::String(_))
        | (Type::Bytes, Value::Bytes(_))
        | (Type::Timestamp, Value::Timestamp(_))
        | (Type::Duration, Value::Duration(_))
        | (Type::List(_), Value::List(_))
        | (Type::Map(..) | Type::Object(_), Value::Map(_))
        | (Type::Optional(_), Value::Optional(_))
        | (Type::Type, Value::Type(_)) => true,
        (Type::Opaque(name), value) => value.type_name() == *name,
        _ => false,
    }
}

/// The types that expressions may name.
pub fn type_named(name: &str) -> Option<&'static str> {
    const NAMES: [&str; 11] =
        ["null_type", "bool", "int", "uint", "double", "string", "bytes", "list", "map", "type", "optional_type"];
    NAMES.into_iter().find(|known| *known == name)
}
