//! Which expressions make sense, given the types of their variables, and what they evaluate to. Where a type is not
//! known, the expression has the benefit of the doubt.

use std::collections::BTreeMap;

use super::ast::{Expr, Function, Kind, Literal, Loop, LoopKind};
use super::eval::type_named;
use super::lex::{Problem, problem};
use super::types::Type;

/// The type of an expression.
///
/// # Errors
/// Everything that can never be evaluated.
pub fn check(expr: &Expr, variables: &[(&str, Type)]) -> Result<Type, Vec<Problem>> {
    let variables = variables.iter().map(|(name, ty)| (name.to_string(), ty.clone())).collect();
    let mut checker = Checker { variables, problems: Vec::new(), mixed: false };
    let ty = checker.of(expr);
    if checker.problems.is_empty() { Ok(ty) } else { Err(checker.problems) }
}

struct Checker {
    variables: Vec<(String, Type)>,
    problems: Vec<Problem>,
    /// Elements of one list may have different types: the arguments of `format` do.
    mixed: bool,
}

impl Checker {
    /// Reports a problem; what comes of the expression is not known then.
    fn wrong(&mut self, at: usize, message: String) -> Type {
        self.problems.push(problem(at, message));
        Type::Dyn
    }

    fn of(&mut self, expr: &Expr) -> Type {
        match &expr.kind {
            Kind::Literal(literal) => of_literal(literal),
            Kind::Ident(name) => self.variable(name, expr.at),
            Kind::Select { of, field, optional } => {
                let of = self.of(of);
                let (inner, is_optional) = unwrapped(&of);
                let found = self.field(inner, field, expr.at);
                if *optional || is_optional { Type::optional(found) } else { found }
            }
            Kind::Has { of, field } => {
                let of = self.of(of);
                self.field(unwrapped(&of).0, field, expr.at);
                Type::Bool
            }
            Kind::Index { of, index, optional } => {
                let (of, index) = (self.of(of), self.of(index));
                let (inner, is_optional) = unwrapped(&of);
                let found = self.item(inner, &index, expr.at);
                if *optional || is_optional { Type::optional(found) } else { found }
            }
            Kind::Call { function, args } => {
                let before = self.mixed;
                self.mixed |= function.name == "format";
                let args: Vec<Type> = args.iter().map(|arg| self.of(arg)).collect();
                self.mixed = before;
                self.call(function, &args, expr.at)
            }
            Kind::And(parts) => self.junction("_&&_", parts, expr.at),
            Kind::Or(parts) => self.junction("_||_", parts, expr.at),
            Kind::Conditional(parts) => {
                let types: Vec<Type> = parts.iter().map(|part| self.of(part)).collect();
                match types[1].join(&types[2]) {
                    Some(ty) if is_bool(&types[0]) => ty,
                    _ => self.no_overload("_?_:_", false, &types, expr.at),
                }
            }
            Kind::List(elements) => {
                let mut of = None;
                for element in elements {
                    let found = self.of(&element.value);
                    let found = self.element(found, element.optional, element.value.at);
                    of = Some(self.common(of, found, element.value.at));
                }
                Type::list(of.unwrap_or(Type::Dyn))
            }
            Kind::Map(entries) => {
                let (mut keys, mut values) = (None, None);
                for entry in entries {
                    let (key, value) = (self.of(&entry.key), self.of(&entry.value));
                    let value = self.element(value, entry.optional, entry.value.at);
                    keys = Some(self.common(keys, key, entry.key.at));
                    values = Some(self.common(values, value, entry.value.at));
                }
                Type::map(keys.unwrap_or(Type::Dyn), values.unwrap_or(Type::Dyn))
            }
            Kind::Loop(each) => self.each(each),
            Kind::IfPresent { target, variable, body, flat } => {
                let target = self.of(target);
                let inner = match unwrapped(&target) {
                    (inner, true) => inner.clone(),
                    (Type::Dyn, _) => Type::Dyn,
                    _ => {
                        let name = if *flat { "optFlatMap" } else { "optMap" };
                        return self.no_overload(name, true, &[target], expr.at);
                    }
                };
                let body = self.with(vec![(variable.clone(), inner)], body);
                if *flat { body } else { Type::optional(body) }
            }
        }
    }

    fn variable(&mut self, name: &str, at: usize) -> Type {
        if let Some((_, ty)) = self.variables.iter().rev().find(|(variable, _)| variable == name) {
            return ty.clone();
        }
        match type_named(name) {
            Some(_) => Type::Type,
            None => self.undeclared(name, at),
        }
    }

    fn undeclared(&mut self, name: &str, at: usize) -> Type {
        self.wrong(at, format!("undeclared reference to '{name}' (in container '')"))
    }

    fn no_overload(&mut self, name: &str, member: bool, args: &[Type], at: usize) -> Type {
        let shown: Vec<String> = args.iter().map(Type::to_string).collect();
        let args = match shown.split_first() {
            Some((target, args)) if member => format!("{target}.({})", args.join(", ")),
            _ => format!("({})", shown.join(", ")),
        };
        self.wrong(at, format!("found no matching overload for '{name}' applied to '{args}'"))
    }

    fn field(&mut self, of: &Type, field: &str, at: usize) -> Type {
        match of {
            Type::Dyn => Type::Dyn,
            Type::Map(_, value) => (**value).clone(),
            Type::Object(object) => match object.fields.get(field) {
                Some(ty) => ty.clone(),
                None => self.wrong(at, format!("undefined field '{field}'")),
            },
            other => self.wrong(at, format!("type '{other}' does not support field selection")),
        }
    }

    fn item(&mut self, of: &Type, index: &Type, at: usize) -> Type {
        match of {
            Type::Dyn => Type::Dyn,
            Type::List(item) if matches!(index, Type::Int | Type::Dyn) => (**item).clone(),
            Type::Map(key, value) if key.accepts(index, &mut BTreeMap::new()) => (**value).clone(),
            other => self.no_overload("_[_]", false, &[other.clone(), index.clone()], at),
        }
    }

    fn call(&mut self, function: &Function, args: &[Type], at: usize) -> Type {
        if function.overloads.is_empty() {
            return self.undeclared(&function.name, at);
        }
        let fitting = function.overloads.iter().filter_map(|overload| {
            let mut bound = BTreeMap::new();
            let fits = overload.params.len() == args.len()
                && overload.params.iter().zip(args).all(|(param, arg)| param.accepts(arg, &mut bound));
            fits.then(|| overload.result.resolve(&bound))
        });
        let mut results: Vec<Type> = fitting.collect();
        results.dedup();
        match results.len() {
            0 => self.no_overload(&function.name, function.member, args, at),
            1 => results.remove(0),
            _ => Type::Dyn,
        }
    }

    fn junction(&mut self, name: &str, parts: &[Expr], at: usize) -> Type {
        let types: Vec<Type> = parts.iter().map(|part| self.of(part)).collect();
        if let Some(wrong) = types.iter().position(|ty| !is_bool(ty)) {
            let pair = if wrong == 0 { 0..2 } else { wrong - 1..wrong + 1 };
            self.no_overload(name, false, &types[pair], at);
        }
        Type::Bool
    }

    /// What an element adds to a list or map: `?value` adds what is in the optional.
    fn element(&mut self, ty: Type, optional: bool, at: usize) -> Type {
        match (ty, optional) {
            (Type::Optional(of), true) => (*of).clone(),
            (Type::Dyn, true) => Type::Dyn,
            (other, true) => self.wrong(at, format!("expected type 'optional_type(dyn)' but found '{other}'")),
            (other, false) => other,
        }
    }

    /// Elements of a list or map have one type.
    fn common(&mut self, so_far: Option<Type>, next: Type, at: usize) -> Type {
        match so_far {
            None => next,
            Some(ty) => match ty.join(&next) {
                Some(ty) => ty,
                None if self.mixed => Type::Dyn,
                None => self.wrong(at, format!("expected type '{ty}' but found '{next}'")),
            },
        }
    }

    fn with(&mut self, variables: Vec<(String, Type)>, body: &Expr) -> Type {
        let before = self.variables.len();
        self.variables.extend(variables);
        let ty = self.of(body);
        self.variables.truncate(before);
        ty
    }

    fn each(&mut self, each: &Loop) -> Type {
        let range = self.of(&each.range);
        let (first, last) = match &range {
            Type::List(item) => (Type::Int, (**item).clone()),
            Type::Map(key, _) if each.first.is_none() => (Type::Dyn, (**key).clone()),
            Type::Map(key, value) => ((**key).clone(), (**value).clone()),
            Type::Dyn => (Type::Dyn, Type::Dyn),
            other => {
                let message = format!(
                    "expression of type '{other}' cannot be range of a comprehension (must be list, map, or dynamic)"
                );
                self.wrong(each.range.at, message);
                (Type::Dyn, Type::Dyn)
            }
        };
        let key = first.clone();
        let element = last.clone();
        let first = each.first.iter().map(|name| (name.clone(), first.clone()));
        let variables: Vec<_> = first.chain(std::iter::once((each.last.clone(), last))).collect();
        if let Some(filter) = &each.filter {
            let found = self.with(variables.clone(), filter);
            self.want_bool(&found, filter.at);
        }
        let body = self.with(variables, &each.body);
        if matches!(each.what, LoopKind::All | LoopKind::Exists | LoopKind::ExistsOne | LoopKind::Filter) {
            self.want_bool(&body, each.body.at);
        }
        match each.what {
            LoopKind::All | LoopKind::Exists | LoopKind::ExistsOne => Type::Bool,
            LoopKind::Map => Type::list(body),
            LoopKind::Filter => Type::list(element),
            LoopKind::SortBy => range,
            LoopKind::TransformMap => Type::map(key, body),
            LoopKind::TransformMapEntry => body,
        }
    }

    fn want_bool(&mut self, found: &Type, at: usize) {
        if !is_bool(found) {
            self.wrong(at, format!("expected type 'bool' but found '{found}'"));
        }
    }
}

fn is_bool(ty: &Type) -> bool {
    matches!(ty, Type::Bool | Type::Dyn)
}

/// What is in an optional, and whether it was one.
fn unwrapped(ty: &Type) -> (&Type, bool) {
    match ty {
        Type::Optional(of) => (of, true),
        other => (other, false),
    }
}

fn of_literal(literal: &Literal) -> Type {
    match literal {
        Literal::Null => Type::Null,
        Literal::Bool(_) => Type::Bool,
        Literal::Int(_) => Type::Int,
        Literal::Uint(_) => Type::Uint,
        Literal::Double(_) => Type::Double,
        Literal::String(_) => Type::String,
        Literal::Bytes(_) => Type::Bytes,
    }
}
