//! The text form of label selectors. Grammar and messages: `k8s.io/apimachinery/pkg/labels`.

use super::labels::{LabelSelector, Operator, Requirement, label_key_problem};

pub(super) fn selector(text: &str) -> Result<LabelSelector, String> {
    Parser { tokens: tokens(text), next: 0 }.selector().map(LabelSelector::sorted)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A key or a value; `in` and `notin` as well where a value may stand.
    Word,
    /// `=`, `!=`, `(`...; the text says which.
    Symbol,
    End,
}

#[derive(Clone, Copy, Debug)]
struct Token<'a> {
    kind: Kind,
    text: &'a str,
}

impl Token<'_> {
    fn is(&self, symbol: &str) -> bool {
        self.kind == Kind::Symbol && self.text == symbol
    }
}

const SYMBOLS: [&str; 9] = ["!=", "==", ")", ",", "!", "=", ">", "<", "("];

/// The tokens of the text, the last of them [`Kind::End`].
fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([' ', '\t', '\r', '\n']);
        if rest.is_empty() || rest.starts_with('\0') {
            tokens.push(Token { kind: Kind::End, text: "" });
            return tokens;
        }
        let symbol = SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol));
        let (kind, length) = match symbol {
            Some(symbol) => (Kind::Symbol, symbol.len()),
            None => (Kind::Word, rest.find(|c| "=!(),>< \t\r\n\0".contains(c)).unwrap_or(rest.len())),
        };
        tokens.push(Token { kind, text: &rest[..length] });
        rest = &rest[length..];
    }
}

struct Parser<'a> {
    tokens: Vec<Token<'a>>,
    next: usize,
}

impl<'a> Parser<'a> {
    fn selector(&mut self) -> Result<Vec<Requirement>, String> {
        let mut requirements = Vec::new();
        loop {
            let first = self.peek();
            if first.kind == Kind::End {
                return Ok(requirements);
            }
            if !starts_requirement(first) {
                return Err(format!("found '{}', expected: !, identifier, or 'end of string'", first.text));
            }
            let requirement = self.requirement().map_err(|error| format!("unable to parse requirement: {error}"))?;
            requirements.push(requirement);
            let after = self.take();
            if after.kind == Kind::End {
                return Ok(requirements);
            }
            if !after.is(",") {
                return Err(format!("found '{}', expected: ',' or 'end of string'", after.text));
            }
            if !starts_requirement(self.peek()) {
                return Err(format!("found '{}', expected: identifier after ','", self.peek().text));
            }
        }
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let negated = self.peek().is("!");
        if negated {
            self.take();
        }
        let key = self.word()?;
        // Kubernetes has no field to name here, and says so.
        label_key_problem("<nil>", key).map_or(Ok(()), Err)?;
        if self.peek().kind == Kind::End || self.peek().is(",") {
            let operator = if negated { Operator::DoesNotExist } else { Operator::Exists };
            return Requirement::new(key, operator, Vec::new());
        }
        if negated {
            return Requirement::new(key, Operator::DoesNotExist, Vec::new());
        }
        let operator = self.operator()?;
        let values = match operator {
            Operator::In | Operator::NotIn => self.values()?,
            _ => vec![self.exact_value()?],
        };
        Requirement::new(key, operator, values)
    }

    fn operator(&mut self) -> Result<Operator, String> {
        let token = self.take();
        match token.text {
            "in" => Ok(Operator::In),
            "notin" => Ok(Operator::NotIn),
            "=" | "==" => Ok(Operator::Equals),
            "!=" => Ok(Operator::NotEquals),
            ">" => Ok(Operator::GreaterThan),
            "<" => Ok(Operator::LessThan),
            other => Err(format!("found '{other}', expected: in, notin, =, ==, !=, gt, lt")),
        }
    }

    /// `(a,b,)`: empty values count.
    fn values(&mut self) -> Result<Vec<String>, String> {
        let open = self.take();
        if !open.is("(") {
            return Err(format!("found '{}' expected: '('", open.text));
        }
        let first = self.peek();
        if !(first.kind == Kind::Word || first.is(",") || first.is(")")) {
            return Err(format!("found '{}', expected: ',', ')' or identifier", first.text));
        }
        let mut values = Vec::new();
        loop {
            let token = self.take();
            let (value, after) = if token.kind == Kind::Word { (token.text, self.take()) } else { ("", token) };
            values.push(value.to_string());
            if after.is(")") {
                return Ok(values);
            }
            if !after.is(",") {
                let expected = if token.kind == Kind::Word { "',' or ')'" } else { "',', or identifier" };
                return Err(format!("found '{}', expected: {expected}", after.text));
            }
        }
    }

    fn exact_value(&mut self) -> Result<String, String> {
        if self.peek().kind == Kind::End || self.peek().is(",") {
            return Ok(String::new());
        }
        self.word().map(str::to_string)
    }

    fn word(&mut self) -> Result<&'a str, String> {
        let token = self.take();
        match token.kind {
            Kind::Word => Ok(token.text),
            _ => Err(format!("found '{}', expected: identifier", token.text)),
        }
    }

    fn peek(&self) -> Token<'a> {
        self.tokens[self.next.min(self.tokens.len() - 1)]
    }

    fn take(&mut self) -> Token<'a> {
        let token = self.peek();
        self.next += 1;
        token
    }
}

fn starts_requirement(token: Token<'_>) -> bool {
    token.kind == Kind::Word || token.is("!")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_selectors() {
        #[track_caller]
        fn check(text: &str, expected: &str) {
            let read = selector(text).map(|selector| selector.to_string()).unwrap_or_else(|error| error);
            assert_eq!(read, expected, "of {text}");
        }
        check("", "");
        check("x", "x");
        check(" ! x , a = b ", "a=b,!x");
        check("x==1", "x=1");
        check("x=", "x=");
        check("x!=1,y>2,z<3", "x!=1,y>2,z<3");
        check("x in (b,a,b)", "x in (a,b)");
        check("x in ()", "x in ()");
        check("x in (,a)", "x in (,a)");
        check("x notin (a,)", "x notin (,a)");
        check("in in (in)", "in in (in)");
        check("x=(", "unable to parse requirement: found '(', expected: identifier");
        check("x in 1", "unable to parse requirement: found '1' expected: '('");
        check("=1", "found '=', expected: !, identifier, or 'end of string'");
        check("x=a b", "found 'b', expected: ',' or 'end of string'");
        check("x=1,", "found '', expected: identifier after ','");
        check("x in (1", "unable to parse requirement: found '', expected: ',' or ')'");
        check("x y", "unable to parse requirement: found 'y', expected: in, notin, =, ==, !=, gt, lt");
        check(
            "x>y",
            "unable to parse requirement: values[0]: Invalid value: \"y\": for 'Gt', 'Lt' operators, the value must be an integer",
        );
        assert!(
            selector("a/b/c=1")
                .unwrap_err()
                .starts_with("unable to parse requirement: <nil>: Invalid value: \"a/b/c\": a valid label key must")
        );
        assert!(
            selector("a=-b")
                .unwrap_err()
                .starts_with("unable to parse requirement: values[0][a]: Invalid value: \"-b\": a valid label must")
        );
    }
}
