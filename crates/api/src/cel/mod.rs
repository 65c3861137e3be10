//! The Common Expression Language, as far as rules of custom resources use it: the language itself with its standard
//! macros and functions, optional values, macros with two variables, and the functions that Kubernetes adds (strings,
//! lists, sets, regular expressions, URLs, addresses, quantities, named formats, semantic versions).
//!
//! Not here: messages of protocol buffers (there are none to make), and estimating before the first evaluation what
//! an expression may cost. What it does cost is limited when it is evaluated.
//! Source: the CEL language definition, <https://github.com/google/cel-spec>, and the CEL libraries that Kubernetes
//! documents, <https://kubernetes.io/docs/reference/using-api/cel/>.

mod ast;
mod check;
mod compare;
mod eval;
mod functions;
mod lex;
mod macros;
mod parse;
mod types;
mod value;

use std::collections::BTreeMap;

use regex::Regex;

use ast::{Expr, Kind, Literal};
use lex::Problem;

use crate::go_regex;

pub use eval::{Cx, Fault};
pub use functions::parse_duration;
pub use parse::RESERVED;
pub use types::{Object, Type};
pub use value::{Identity, Shape, Shaped, Value};

/// An expression that makes sense.
#[derive(Debug)]
pub struct Program {
    expr: Expr,
    /// The patterns that stand in it.
    regexes: BTreeMap<String, Regex>,
    pub result: Type,
}

impl Program {
    /// Reads and checks an expression over these variables.
    ///
    /// # Errors
    /// What is wrong with it, as CEL's own compiler shows it.
    pub fn compile(text: &str, variables: &[(&str, Type)]) -> Result<Self, String> {
        let shown = |problems: Vec<Problem>| {
            let shown: Vec<String> = problems.iter().map(|problem| show(text, problem)).collect();
            shown.join("\n")
        };
        let expr = parse::parse(text).map_err(|problem| shown(vec![problem]))?;
        let result = check::check(&expr, variables).map_err(shown)?;
        let mut regexes = BTreeMap::new();
        patterns(&expr, &mut regexes).map_err(|problem| shown(vec![problem]))?;
        Ok(Self { expr, regexes, result })
    }

    pub fn mentions(&self, variable: &str) -> bool {
        self.expr.mentions(variable)
    }

    /// The value for these variables, and what it cost.
    pub fn evaluate<'a>(&'a self, variables: Vec<(&'a str, Value<'a>)>, limit: u64) -> (Result<Value<'a>, Fault>, u64) {
        let mut cx = Cx::new(variables, &self.regexes, limit);
        let value = cx.eval(&self.expr);
        (value, cx.spent())
    }
}

/// Compiles the patterns that are written as literals.
fn patterns(expr: &Expr, regexes: &mut BTreeMap<String, Regex>) -> Result<(), Problem> {
    if let Kind::Call { function, args } = &expr.kind
        && matches!(function.name.as_str(), "matches" | "find" | "findAll")
        && let Some(Kind::Literal(Literal::String(pattern))) = args.get(1).map(|arg| &arg.kind)
    {
        let regex = go_regex::compile(pattern);
        let regex = regex.map_err(|_| lex::problem(args[1].at, format!("invalid matches argument: {pattern}")))?;
        regexes.insert(pattern.clone(), regex);
    }
    let mut result = Ok(());
    expr.kind.each(&mut |child| {
        if result.is_ok() {
            result = patterns(child, regexes);
        }
    });
    result
}

/// A problem with the line it is in, and a mark below the place.
fn show(text: &str, problem: &Problem) -> String {
    let before = &text[..problem.at.min(text.len())];
    let (line, start) = (before.matches('\n').count() + 1, before.rfind('\n').map_or(0, |newline| newline + 1));
    let column = before[start..].chars().count();
    let shown = text[start..].lines().next().unwrap_or_default();
    format!("ERROR: <input>:{line}:{}: {}\n | {shown}\n | {}^", column + 1, problem.message, ".".repeat(column))
}

#[cfg(test)]
mod tests;
