//! From text to tree. Source: the grammar of the CEL language definition.

use super::ast::{Element, Entry, Expr, Function, HEIGHT_MAX, Kind, Literal};
use super::functions;
use super::lex::{Problem, Token, problem, tokens};
use super::macros;

/// Words that CEL keeps for itself, and that no variable or function may have.
pub const RESERVED: [&str; 17] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// Operators between two values, with how strongly they bind.
const OPERATORS: [(&str, &str, u8); 14] = [
    ("||", OR, 0),
    ("&&", AND, 1),
    ("==", "_==_", 2),
    ("!=", "_!=_", 2),
    ("<", "_<_", 2),
    ("<=", "_<=_", 2),
    (">", "_>_", 2),
    (">=", "_>=_", 2),
    ("in", "@in", 2),
    ("+", "_+_", 3),
    ("-", "_-_", 3),
    ("*", "_*_", 4),
    ("/", "_/_", 4),
    ("%", "_%_", 4),
];
const OR: &str = "_||_";
const AND: &str = "_&&_";

/// Reads an expression.
///
/// # Errors
/// If the text is none.
pub fn parse(text: &str) -> Result<Expr, Problem> {
    let mut parser = Parser { tokens: tokens(text)?, at: 0, depth: 0 };
    let expr = parser.expr()?;
    match parser.peek() {
        Token::End => Ok(expr),
        _ => Err(parser.unexpected("<EOF>")),
    }
}

pub struct Parser {
    tokens: Vec<(Token, usize)>,
    at: usize,
    depth: u16,
}

impl Parser {
    fn peek(&self) -> &Token {
        &self.tokens[self.at].0
    }

    fn place(&self) -> usize {
        self.tokens[self.at].1
    }

    fn next(&mut self) -> Token {
        let token = self.peek().clone();
        // The end stays.
        self.at = (self.at + 1).min(self.tokens.len() - 1);
        token
    }

    fn is(&self, sign: &str) -> bool {
        matches!(self.peek(), Token::Sign(found) if *found == sign)
    }

    /// Takes a sign if it comes next, and says where it stood.
    fn take(&mut self, sign: &str) -> Option<usize> {
        let at = self.place();
        self.is(sign).then(|| {
            self.next();
            at
        })
    }

    fn want(&mut self, sign: &str) -> Result<usize, Problem> {
        self.take(sign).ok_or_else(|| self.unexpected(&format!("'{sign}'")))
    }

    fn unexpected(&self, wanted: &str) -> Problem {
        let found = match self.peek() {
            Token::End => "<EOF>".to_string(),
            Token::Ident(name) => name.clone(),
            Token::Sign(sign) => sign.to_string(),
            Token::Int(value) => value.to_string(),
            Token::Literal(literal) => format!("{literal:?}"),
        };
        problem(self.place(), format!("Syntax error: mismatched input '{found}' expecting {wanted}"))
    }

    pub fn node(&self, kind: Kind, at: usize) -> Result<Expr, Problem> {
        Expr::new(kind, at).ok_or_else(|| too_deep(at))
    }

    fn expr(&mut self) -> Result<Expr, Problem> {
        self.depth += 1;
        if self.depth > HEIGHT_MAX {
            return Err(too_deep(self.place()));
        }
        let condition = self.binary(0)?;
        let expr = match self.take("?") {
            None => condition,
            Some(at) => {
                let then = self.binary(0)?;
                self.want(":")?;
                let otherwise = self.expr()?;
                self.node(Kind::Conditional(Box::new([condition, then, otherwise])), at)?
            }
        };
        self.depth -= 1;
        Ok(expr)
    }

    /// Operators that bind as strongly as this, or more.
    fn binary(&mut self, least: u8) -> Result<Expr, Problem> {
        let mut left = self.unary()?;
        while let Some((sign, name, strength)) = self.operator(least) {
            let at = self.place();
            if name == AND || name == OR {
                // A chain of any length is one node.
                let mut parts = vec![left];
                while self.take(sign).is_some() {
                    parts.push(self.binary(strength + 1)?);
                }
                left = self.node(if name == AND { Kind::And(parts) } else { Kind::Or(parts) }, at)?;
            } else {
                self.next();
                let right = self.binary(strength + 1)?;
                left = self.call(name, false, vec![left, right], at)?;
            }
        }
        Ok(left)
    }

    fn operator(&self, least: u8) -> Option<(&'static str, &'static str, u8)> {
        OPERATORS.into_iter().find(|(sign, _, strength)| *strength >= least && self.is(sign))
    }

    pub fn call(&self, name: &str, member: bool, args: Vec<Expr>, at: usize) -> Result<Expr, Problem> {
        let function = Function { name: name.to_string(), member, overloads: functions::named(name, member) };
        self.node(Kind::Call { function, args }, at)
    }

    /// Signs in front: an even number of them is none.
    fn unary(&mut self) -> Result<Expr, Problem> {
        let at = self.place();
        for (sign, name) in [("!", "!_"), ("-", "-_")] {
            let mut count = 0;
            while self.is(sign) {
                count += 1;
                self.next();
            }
            if count == 0 {
                continue;
            }
            if count == 1
                && sign == "-"
                && let Some(literal) = negative(self.peek())
            {
                self.next();
                let literal = literal.ok_or_else(|| problem(at, "invalid int literal"))?;
                let literal = self.node(Kind::Literal(literal), at)?;
                return self.member(literal);
            }
            let primary = self.primary()?;
            let operand = self.member(primary)?;
            return if count % 2 == 0 { Ok(operand) } else { self.call(name, false, vec![operand], at) };
        }
        let primary = self.primary()?;
        self.member(primary)
    }

    /// What follows a value: fields, indices, calls.
    fn member(&mut self, mut target: Expr) -> Result<Expr, Problem> {
        loop {
            let at = self.place();
            if self.take(".").is_some() {
                let optional = self.take("?").is_some();
                let Token::Ident(name) = self.peek().clone() else { return Err(self.unexpected("IDENTIFIER")) };
                self.next();
                target = match self.take("(") {
                    Some(at) if !optional => {
                        let args = self.args(")")?;
                        macros::member(self, target, &name, args, at)?
                    }
                    _ => self.node(Kind::Select { of: Box::new(target), field: name, optional }, at)?,
                };
            } else if self.take("[").is_some() {
                let optional = self.take("?").is_some();
                let index = Box::new(self.expr()?);
                self.want("]")?;
                target = self.node(Kind::Index { of: Box::new(target), index, optional }, at)?;
            } else {
                return Ok(target);
            }
        }
    }

    fn args(&mut self, end: &str) -> Result<Vec<Expr>, Problem> {
        let mut args = Vec::new();
        if self.take(end).is_some() {
            return Ok(args);
        }
        loop {
            args.push(self.expr()?);
            if self.take(",").is_none() {
                self.want(end)?;
                return Ok(args);
            }
        }
    }

    fn primary(&mut self) -> Result<Expr, Problem> {
        let at = self.place();
        match self.peek().clone() {
            Token::Literal(literal) => {
                self.next();
                self.node(Kind::Literal(literal), at)
            }
            Token::Int(value) => {
                self.next();
                let value = i64::try_from(value).map_err(|_| problem(at, "invalid int literal"))?;
                self.node(Kind::Literal(Literal::Int(value)), at)
            }
            Token::Sign("(") => {
                self.next();
                let inside = self.expr()?;
                self.want(")")?;
                Ok(inside)
            }
            Token::Sign("[") => {
                self.next();
                self.list(at)
            }
            Token::Sign("{") => {
                self.next();
                self.map(at)
            }
            Token::Sign(".") => {
                self.next();
                self.ident()
            }
            Token::Ident(_) => self.ident(),
            _ => Err(self.unexpected("an expression")),
        }
    }

    fn ident(&mut self) -> Result<Expr, Problem> {
        let at = self.place();
        let Token::Ident(name) = self.peek().clone() else { return Err(self.unexpected("IDENTIFIER")) };
        if RESERVED.contains(&name.as_str()) {
            return Err(problem(at, format!("Syntax error: reserved identifier: {name}")));
        }
        self.next();
        match self.take("(") {
            Some(at) => {
                let args = self.args(")")?;
                macros::global(self, &name, args, at)
            }
            None => self.node(Kind::Ident(name), at),
        }
    }

    fn list(&mut self, at: usize) -> Result<Expr, Problem> {
        let mut elements = Vec::new();
        while self.take("]").is_none() {
            let optional = self.take("?").is_some();
            elements.push(Element { value: self.expr()?, optional });
            if self.take(",").is_none() {
                self.want("]")?;
                break;
            }
        }
        self.node(Kind::List(elements), at)
    }

    fn map(&mut self, at: usize) -> Result<Expr, Problem> {
        let mut entries = Vec::new();
        while self.take("}").is_none() {
            let optional = self.take("?").is_some();
            let key = self.expr()?;
            self.want(":")?;
            entries.push(Entry { key, value: self.expr()?, optional });
            if self.take(",").is_none() {
                self.want("}")?;
                break;
            }
        }
        self.node(Kind::Map(entries), at)
    }
}

/// The literal that a minus sign makes of a number; `Some(None)` if there is none so small.
fn negative(token: &Token) -> Option<Option<Literal>> {
    match token {
        Token::Int(value) => Some(0i64.checked_sub_unsigned(*value).map(Literal::Int)),
        Token::Literal(Literal::Double(value)) => Some(Some(Literal::Double(-value))),
        _ => None,
    }
}

fn too_deep(at: usize) -> Problem {
    problem(at, format!("expression recursion limit exceeded: {HEIGHT_MAX}"))
}
