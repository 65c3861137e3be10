//! Words of an expression. Source: the lexical part of the CEL language definition.

use super::ast::Literal;

#[derive(Clone, Debug, PartialEq)]
pub enum Token {
    Ident(String),
    Literal(Literal),
    /// A digit sequence without sign: -9223372036854775808 has no positive counterpart.
    Int(u64),
    Sign(&'static str),
    End,
}

/// Why a text is no expression, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub at: usize,
    pub message: String,
}

pub fn problem(at: usize, message: impl Into<String>) -> Problem {
    Problem { at, message: message.into() }
}

/// Longer ones before those they begin with.
const SIGNS: [&str; 25] = [
    "&&", "||", "==", "!=", "<=", ">=", "<", ">", "!", "-", "+", "*", "/", "%", "?", ":", ".", ",", "(", ")", "[", "]",
    "{", "}", "=",
];

/// All tokens with the places where they begin; the last is [`Token::End`].
///
/// # Errors
/// If something is no token.
pub fn tokens(text: &str) -> Result<Vec<(Token, usize)>, Problem> {
    let mut lexer = Lexer { text, at: 0 };
    let mut tokens = Vec::new();
    loop {
        lexer.skip();
        let at = lexer.at;
        let token = lexer.token()?;
        let is_end = token == Token::End;
        tokens.push((token, at));
        if is_end {
            return Ok(tokens);
        }
    }
}

struct Lexer<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Lexer<'t> {
    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    /// Takes what the predicate likes.
    fn take(&mut self, likes: impl Fn(char) -> bool) -> &'t str {
        let rest = self.rest();
        let end = rest.find(|c| !likes(c)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    /// White space and comments.
    fn skip(&mut self) {
        loop {
            self.take(|c| matches!(c, ' ' | '\t' | '\n' | '\r' | '\u{c}'));
            if !self.rest().starts_with("//") {
                return;
            }
            self.take(|c| c != '\n');
        }
    }

    fn token(&mut self) -> Result<Token, Problem> {
        let rest = self.rest();
        let Some(first) = rest.chars().next() else { return Ok(Token::End) };
        let next_is_digit = rest[first.len_utf8()..].starts_with(|c: char| c.is_ascii_digit());
        if first.is_ascii_digit() || first == '.' && next_is_digit {
            return self.number();
        }
        if let Some(prefix) = string_prefix(rest) {
            return self.string(prefix);
        }
        if first.is_ascii_alphabetic() || first == '_' {
            let word = self.take(|c| c.is_ascii_alphanumeric() || c == '_');
            return Ok(match word {
                "true" => Token::Literal(Literal::Bool(true)),
                "false" => Token::Literal(Literal::Bool(false)),
                "null" => Token::Literal(Literal::Null),
                "in" => Token::Sign("in"),
                word => Token::Ident(word.to_string()),
            });
        }
        match SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            Some(sign) => {
                self.at += sign.len();
                Ok(Token::Sign(sign))
            }
            None => Err(problem(self.at, format!("Syntax error: token recognition error at: '{first}'"))),
        }
    }

    fn number(&mut self) -> Result<Token, Problem> {
        let start = self.at;
        let bad = |what: &str| problem(start, format!("invalid {what} literal"));
        if self.rest().starts_with("0x") {
            self.at += 2;
            let digits = self.take(|c| c.is_ascii_hexdigit());
            let value = u64::from_str_radix(digits, 16).map_err(|_| bad("int"));
            return self.unsigned(value, &bad);
        }
        self.take(|c| c.is_ascii_digit());
        let mut is_double = false;
        let fraction = self.rest().strip_prefix('.').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
        if fraction {
            is_double = true;
            self.at += 1;
            self.take(|c| c.is_ascii_digit());
        }
        let exponent = self.rest().strip_prefix(['e', 'E']).map(|rest| rest.strip_prefix(['+', '-']).unwrap_or(rest));
        if let Some(digits) = exponent.filter(|digits| digits.starts_with(|c: char| c.is_ascii_digit())) {
            is_double = true;
            self.at = self.text.len() - digits.len();
            self.take(|c| c.is_ascii_digit());
        }
        let text = &self.text[start..self.at];
        if is_double {
            let value: f64 = text.parse().map_err(|_| bad("double"))?;
            return if value.is_finite() { Ok(Token::Literal(Literal::Double(value))) } else { Err(bad("double")) };
        }
        let value = text.parse().map_err(|_| bad("int"));
        self.unsigned(value, &bad)
    }

    fn unsigned(&mut self, value: Result<u64, Problem>, bad: &dyn Fn(&str) -> Problem) -> Result<Token, Problem> {
        if self.rest().starts_with(['u', 'U']) {
            self.at += 1;
            return value.map(|value| Token::Literal(Literal::Uint(value))).map_err(|_| bad("uint"));
        }
        value.map(Token::Int)
    }

    fn string(&mut self, prefix: Prefix) -> Result<Token, Problem> {
        let start = self.at;
        self.at += prefix.len;
        let rest = self.rest();
        let quote = &rest[..1];
        let triple = quote.repeat(3);
        let quote = if rest.starts_with(&triple) { triple.as_str() } else { quote };
        self.at += quote.len();
        let mut out = Vec::new();
        loop {
            if self.rest().starts_with(quote) {
                self.at += quote.len();
                break;
            }
            let open = || problem(start, "Syntax error: token recognition error at: unterminated string");
            let next = self.rest().chars().next().ok_or_else(open)?;
            if quote.len() == 1 && matches!(next, '\n' | '\r') {
                return Err(open());
            }
            self.at += next.len_utf8();
            if next == '\\' && !prefix.raw {
                self.escape(prefix.bytes, &mut out)?;
            } else {
                let mut buffer = [0; 4];
                out.extend_from_slice(next.encode_utf8(&mut buffer).as_bytes());
            }
        }
        Ok(Token::Literal(match String::from_utf8(out) {
            Err(bytes) => Literal::Bytes(bytes.into_bytes()),
            Ok(text) if prefix.bytes => Literal::Bytes(text.into_bytes()),
            Ok(text) => Literal::String(text),
        }))
    }

    /// What follows a backslash.
    fn escape(&mut self, bytes: bool, out: &mut Vec<u8>) -> Result<(), Problem> {
        let at = self.at - 1;
        let bad = || problem(at, "Syntax error: invalid escape sequence");
        let kind = self.rest().chars().next().ok_or_else(bad)?;
        self.at += kind.len_utf8();
        let plain = match kind {
            'a' => 7,
            'b' => 8,
            'f' => 12,
            'n' => b'\n',
            'r' => b'\r',
            't' => b'\t',
            'v' => 11,
            '\\' | '?' | '"' | '\'' | '`' => kind as u8,
            'x' | 'X' => return self.code(2, 16, bytes, out).ok_or_else(bad),
            'u' if !bytes => return self.code(4, 16, false, out).ok_or_else(bad),
            'U' if !bytes => return self.code(8, 16, false, out).ok_or_else(bad),
            '0'..='3' => {
                self.at -= 1;
                return self.code(3, 8, bytes, out).ok_or_else(bad);
            }
            _ => return Err(bad()),
        };
        out.push(plain);
        Ok(())
    }

    /// A number of so many digits: a byte, or a character.
    fn code(&mut self, digits: usize, radix: u32, byte: bool, out: &mut Vec<u8>) -> Option<()> {
        let text = self.rest().get(..digits).filter(|text| text.chars().all(|c| c.is_digit(radix)))?;
        let code = u32::from_str_radix(text, radix).ok()?;
        self.at += digits;
        if byte {
            out.push(u8::try_from(code).ok()?);
        } else {
            out.extend_from_slice(char::from_u32(code)?.encode_utf8(&mut [0; 4]).as_bytes());
        }
        Some(())
    }
}

#[derive(Clone, Copy)]
struct Prefix {
    len: usize,
    raw: bool,
    bytes: bool,
}

/// What stands before the quote of a string, if a string begins here.
fn string_prefix(text: &str) -> Option<Prefix> {
    let len = text.bytes().take(3).position(|byte| matches!(byte, b'"' | b'\''))?;
    let (bytes, raw) = match text[..len].to_ascii_lowercase().as_str() {
        "" => (false, false),
        "r" => (false, true),
        "b" => (true, false),
        "br" => (true, true),
        _ => return None,
    };
    Some(Prefix { len, raw, bytes })
}
