//! Calls that are no functions: what they are given is not evaluated before.

use super::ast::{Expr, Kind, Loop, LoopKind};
use super::functions;
use super::lex::{Problem, problem};
use super::parse::Parser;

/// `name(args)`.
pub fn global(parser: &Parser, name: &str, args: Vec<Expr>, at: usize) -> Result<Expr, Problem> {
    if name != "has" || args.len() != 1 {
        return parser.call(name, false, args, at);
    }
    let arg = args.into_iter().next().map(|arg| (arg.at, arg.kind));
    match arg {
        Some((_, Kind::Select { of, field, optional: false })) => parser.node(Kind::Has { of, field }, at),
        _ => Err(problem(at, "invalid argument to has() macro")),
    }
}

/// `target.name(args)`.
pub fn member(parser: &Parser, target: Expr, name: &str, args: Vec<Expr>, at: usize) -> Result<Expr, Problem> {
    // `sets.contains(...)` is a function with a dot in its name.
    if let Kind::Ident(space) = &target.kind {
        let qualified = format!("{space}.{name}");
        if !functions::named(&qualified, false).is_empty() {
            return parser.call(&qualified, false, args, at);
        }
    }
    let args = match (name, <[Expr; 2]>::try_from(args)) {
        ("optMap" | "optFlatMap", Ok([variable, body])) => {
            let (variable, flat) = (variable_name(&variable, at)?, name == "optFlatMap");
            let kind = Kind::IfPresent { target: Box::new(target), variable, body: Box::new(body), flat };
            return parser.node(kind, at);
        }
        (_, Ok(two)) => two.into(),
        (_, Err(args)) => args,
    };
    match shape(name, args.len()) {
        Some(shape) => looped(parser, target, shape, args, at),
        None => parser.call(name, true, std::iter::once(target).chain(args).collect(), at),
    }
}

struct Shape {
    what: LoopKind,
    two_variables: bool,
    filter: bool,
}

/// The macro of this name with so many arguments.
fn shape(name: &str, args: usize) -> Option<Shape> {
    let shape = |what, two_variables, filter| Some(Shape { what, two_variables, filter });
    match (name, args) {
        ("all", 2) => shape(LoopKind::All, false, false),
        ("all", 3) => shape(LoopKind::All, true, false),
        ("exists", 2) => shape(LoopKind::Exists, false, false),
        ("exists", 3) => shape(LoopKind::Exists, true, false),
        ("exists_one" | "existsOne", 2) => shape(LoopKind::ExistsOne, false, false),
        ("existsOne", 3) => shape(LoopKind::ExistsOne, true, false),
        ("filter", 2) => shape(LoopKind::Filter, false, false),
        ("map", 2) => shape(LoopKind::Map, false, false),
        ("map", 3) => shape(LoopKind::Map, false, true),
        ("sortBy", 2) => shape(LoopKind::SortBy, false, false),
        ("transformList", 3) => shape(LoopKind::Map, true, false),
        ("transformList", 4) => shape(LoopKind::Map, true, true),
        ("transformMap", 3) => shape(LoopKind::TransformMap, true, false),
        ("transformMap", 4) => shape(LoopKind::TransformMap, true, true),
        ("transformMapEntry", 3) => shape(LoopKind::TransformMapEntry, true, false),
        ("transformMapEntry", 4) => shape(LoopKind::TransformMapEntry, true, true),
        _ => None,
    }
}

fn looped(parser: &Parser, range: Expr, shape: Shape, args: Vec<Expr>, at: usize) -> Result<Expr, Problem> {
    let mut args = args.into_iter();
    let mut variable = || match args.next() {
        Some(expr) => variable_name(&expr, at),
        None => Err(problem(at, "argument must be a simple name")),
    };
    let first = shape.two_variables.then(&mut variable).transpose()?;
    let last = variable()?;
    let filter = if shape.filter { args.next() } else { None };
    let Some(body) = args.next() else { return Err(problem(at, "a macro needs something to evaluate")) };
    let each = Loop { what: shape.what, range, first, last, filter, body };
    parser.node(Kind::Loop(Box::new(each)), at)
}

fn variable_name(expr: &Expr, at: usize) -> Result<String, Problem> {
    match &expr.kind {
        Kind::Ident(name) => Ok(name.clone()),
        _ => Err(problem(at, "argument must be a simple name")),
    }
}
