//! Reads JSON text, with the messages of Go's scanner for what is not JSON.
//!
//! Bytes that are no UTF-8 and lone surrogates become U+FFFD, as in Go. Nesting is limited.

use std::borrow::Cow;

use super::tree::Tree;

/// The message of a text that cannot be read.
#[derive(Debug, PartialEq)]
pub struct ParseError(pub String);

/// Go allows 10,000 levels, and needs a stack of megabytes for it. The deepest definition of a custom resource that we
/// have seen has 60. What is stored must also be read by others: most readers stop at 128 levels, a list puts two more
/// around an object, and the managed fields of a deep object stand five levels lower than its fields.
pub const DEPTH_MAX: usize = 100;

pub const TOO_DEEP: &str = "exceeded max depth";

pub fn json(text: &[u8]) -> Result<Tree<'_>, ParseError> {
    let mut parser = Parser { text, at: 0, depth: 0 };
    parser.skip_space();
    let tree = parser.value("looking for beginning of value")?;
    parser.skip_space();
    match parser.peek() {
        None => Ok(tree),
        Some(byte) => Err(unexpected(byte, "after top-level value")),
    }
}

struct Parser<'a> {
    text: &'a [u8],
    at: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn next(&mut self) -> Result<u8, ParseError> {
        let byte = self.peek().ok_or_else(end)?;
        self.at += 1;
        Ok(byte)
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn value(&mut self, context: &str) -> Result<Tree<'a>, ParseError> {
        match self.peek().ok_or_else(end)? {
            b'{' => self.nested(Self::object),
            b'[' => self.nested(Self::array),
            b'"' => Ok(Tree::String(self.string()?)),
            b't' => self.literal("true", Tree::Bool(true)),
            b'f' => self.literal("false", Tree::Bool(false)),
            b'n' => self.literal("null", Tree::Null),
            b'-' | b'0'..=b'9' => self.number(),
            other => Err(unexpected(other, context)),
        }
    }

    fn nested(&mut self, read: impl Fn(&mut Self) -> Result<Tree<'a>, ParseError>) -> Result<Tree<'a>, ParseError> {
        self.at += 1;
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(ParseError(TOO_DEEP.into()));
        }
        let tree = read(self)?;
        self.depth -= 1;
        Ok(tree)
    }

    fn object(&mut self) -> Result<Tree<'a>, ParseError> {
        let mut fields = Vec::new();
        self.skip_space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Tree::Object(fields));
        }
        loop {
            self.skip_space();
            match self.peek().ok_or_else(end)? {
                b'"' => {}
                other => return Err(unexpected(other, "looking for beginning of object key string")),
            }
            let key = self.string()?;
            self.skip_space();
            match self.next()? {
                b':' => {}
                other => return Err(unexpected(other, "after object key")),
            }
            self.skip_space();
            fields.push((key, self.value("looking for beginning of value")?));
            self.skip_space();
            match self.next()? {
                b',' => {}
                b'}' => return Ok(Tree::Object(fields)),
                other => return Err(unexpected(other, "after object key:value pair")),
            }
        }
    }

    fn array(&mut self) -> Result<Tree<'a>, ParseError> {
        let mut items = Vec::new();
        self.skip_space();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Tree::Array(items));
        }
        loop {
            self.skip_space();
            items.push(self.value("looking for beginning of value")?);
            self.skip_space();
            match self.next()? {
                b',' => {}
                b']' => return Ok(Tree::Array(items)),
                other => return Err(unexpected(other, "after array element")),
            }
        }
    }

    fn literal(&mut self, word: &str, tree: Tree<'a>) -> Result<Tree<'a>, ParseError> {
        for expected in word.bytes() {
            let found = self.next()?;
            if found != expected {
                let expected = char::from(expected);
                return Err(unexpected(found, &format!("in literal {word} (expecting '{expected}')")));
            }
        }
        Ok(tree)
    }

    fn number(&mut self) -> Result<Tree<'a>, ParseError> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
            match self.peek().ok_or_else(end)? {
                b'0'..=b'9' => {}
                other => return Err(unexpected(other, "in numeric literal")),
            }
        }
        match self.next()? {
            b'0' => {}
            _ => self.digits(),
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.some_digits("after decimal point in numeric literal")?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.some_digits("in exponent of numeric literal")?;
        }
        Ok(Tree::Number(String::from_utf8_lossy(&self.text[start..self.at])))
    }

    fn some_digits(&mut self, context: &str) -> Result<(), ParseError> {
        match self.peek().ok_or_else(end)? {
            b'0'..=b'9' => self.digits(),
            other => return Err(unexpected(other, context)),
        }
        Ok(())
    }

    fn digits(&mut self) {
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
    }

    /// From the opening quote to behind the closing one.
    fn string(&mut self) -> Result<Cow<'a, str>, ParseError> {
        self.at += 1;
        let start = self.at;
        loop {
            match self.next()? {
                b'"' => return Ok(String::from_utf8_lossy(&self.text[start..self.at - 1])),
                b'\\' => {
                    self.at -= 1;
                    return self.escaped(start).map(Cow::Owned);
                }
                control if control < 0x20 => return Err(unexpected(control, "in string literal")),
                _ => {}
            }
        }
    }

    /// A string with escapes; `self` stands at the first one.
    fn escaped(&mut self, start: usize) -> Result<String, ParseError> {
        let mut out = String::from_utf8_lossy(&self.text[start..self.at]).into_owned();
        loop {
            let plain = self.at;
            let byte = self.next()?;
            match byte {
                b'"' => return Ok(out),
                b'\\' => out.push(self.escape()?),
                control if control < 0x20 => return Err(unexpected(control, "in string literal")),
                _ => {
                    while self.peek().is_some_and(|byte| !matches!(byte, b'"' | b'\\' | 0..=0x1f)) {
                        self.at += 1;
                    }
                    out.push_str(&String::from_utf8_lossy(&self.text[plain..self.at]));
                }
            }
        }
    }

    fn escape(&mut self) -> Result<char, ParseError> {
        Ok(match self.next()? {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let unit = self.hex()?;
                char::from_u32(unit).unwrap_or_else(|| self.surrogate(unit))
            }
            other => return Err(unexpected(other, "in string escape code")),
        })
    }

    /// The character of a surrogate pair whose first half is read; U+FFFD (and the text left alone) if it is none.
    fn surrogate(&mut self, high: u32) -> char {
        let before = self.at;
        if self.text[self.at..].starts_with(b"\\u") {
            self.at += 2;
            if let Ok(low) = self.hex()
                && (0xd800..0xdc00).contains(&high)
                && (0xdc00..0xe000).contains(&low)
            {
                let code = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
                return char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
            }
        }
        self.at = before;
        char::REPLACEMENT_CHARACTER
    }

    fn hex(&mut self) -> Result<u32, ParseError> {
        let mut unit = 0;
        for _ in 0..4 {
            let byte = self.next()?;
            let digit = char::from(byte).to_digit(16);
            unit = unit * 16 + digit.ok_or_else(|| unexpected(byte, "in \\u hexadecimal character escape"))?;
        }
        Ok(unit)
    }
}

fn end() -> ParseError {
    ParseError("unexpected end of JSON input".into())
}

fn unexpected(byte: u8, context: &str) -> ParseError {
    let shown = match byte {
        b'\'' => r"'\''".to_string(),
        b'"' => r#"'"'"#.to_string(),
        b'\\' => r"'\\'".to_string(),
        7 => r"'\a'".to_string(),
        8 => r"'\b'".to_string(),
        b'\t' => r"'\t'".to_string(),
        b'\n' => r"'\n'".to_string(),
        11 => r"'\v'".to_string(),
        12 => r"'\f'".to_string(),
        b'\r' => r"'\r'".to_string(),
        0..=0x1f | 0x7f => format!(r"'\x{byte:02x}'"),
        // Go quotes the byte as if it were the character of that number.
        0x80..=0x9f | 0xad => format!(r"'\u{byte:04x}'"),
        other => format!("'{}'", char::from(other)),
    };
    ParseError(format!("invalid character {shown} {context}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let actual = match json(text.as_bytes()) {
            Ok(tree) => tree.into_value().to_string(),
            Err(ParseError(message)) => message,
        };
        assert_eq!(actual, expected, "{text}");
    }

    #[test]
    fn values() {
        check(r#" {"a":[1,-2.5,true,null,"x"],"b":{}} "#, r#"{"a":[1,-2.5,true,null,"x"],"b":{}}"#);
        check(r#""\u00e9\ud83d\ude00\ud800x\n\/""#, r#""é😀�x\n/""#);
        check("9223372036854775807", "9223372036854775807");
        check("9223372036854775808", "9.223372036854776e+18");
        check("1e3", "1000");
        check(r#"{"a":1,"a":2}"#, r#"{"a":2}"#);
    }

    #[test]
    fn messages_are_those_of_go() {
        check("", "unexpected end of JSON input");
        check("xxxx", "invalid character 'x' looking for beginning of value");
        check("{", "unexpected end of JSON input");
        check("{a", "invalid character 'a' looking for beginning of object key string");
        check(r#"{"a" 1}"#, "invalid character '1' after object key");
        check(r#"{"a":1 "b"}"#, "invalid character '\"' after object key:value pair");
        check(r#"{"a":1,}"#, "invalid character '}' looking for beginning of object key string");
        check("[1 2]", "invalid character '2' after array element");
        check("[1,]", "invalid character ']' looking for beginning of value");
        check("{} x", "invalid character 'x' after top-level value");
        check("truth", "invalid character 't' in literal true (expecting 'e')");
        check("-x", "invalid character 'x' in numeric literal");
        check("01", "invalid character '1' after top-level value");
        check("1.x", "invalid character 'x' after decimal point in numeric literal");
        check("1ex", "invalid character 'x' in exponent of numeric literal");
        check("\"a\nb\"", "invalid character '\\n' in string literal");
        check(r#""\q""#, "invalid character 'q' in string escape code");
        check(r#""\u12g4""#, "invalid character 'g' in \\u hexadecimal character escape");
        check(&"[".repeat(100_000), "exceeded max depth");
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced() {
        assert_eq!(json(b"\"a\xffb\""), Ok(Tree::String("a\u{fffd}b".into())));
    }
}
