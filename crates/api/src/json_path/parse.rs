//! From the text of a template to its nodes.

/// A part of a template.
#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    Text(String),
    Path(Path),
    Range { over: Path, body: Vec<Node> },
}

/// Steps from the current object (or the whole, after `$`) on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Path {
    pub from_root: bool,
    pub steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    Field(String),
    /// `..`: the value and all that is in it.
    Descend,
    All,
    Slice {
        start: Option<i64>,
        end: Option<i64>,
        step: i64,
    },
    Index(i64),
    Union(Vec<Step>),
    Filter {
        left: Operand,
        comparison: Option<(Comparison, Operand)>,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub enum Operand {
    Path(Path),
    Text(String),
    Number(f64),
    Bool(bool),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

pub fn template(text: &str) -> Result<Vec<Node>, String> {
    let mut reader = Reader { rest: text, nested: 0 };
    let nodes = reader.nodes(false)?;
    Ok(nodes)
}

/// Ranges and filters inside one another: ten times what anybody writes, and no trouble for a stack.
const NESTED_MAX: usize = 100;

struct Reader<'a> {
    rest: &'a str,
    /// How many ranges and filters are around this place.
    nested: usize,
}

impl<'a> Reader<'a> {
    /// Up to the end, or to `{end}` inside a range.
    fn nodes(&mut self, in_range: bool) -> Result<Vec<Node>, String> {
        let mut nodes = Vec::new();
        while !self.rest.is_empty() {
            let Some(open) = self.rest.find('{') else {
                nodes.push(Node::Text(std::mem::take(&mut self.rest).to_string()));
                break;
            };
            if open > 0 {
                nodes.push(Node::Text(self.rest[..open].to_string()));
            }
            self.rest = self.rest[open + 1..].trim_start();
            if let Some(rest) = self.word("end") {
                self.rest = rest;
                self.close()?;
                if in_range {
                    return Ok(nodes);
                }
                return Err("not in range, nothing to end".into());
            }
            if let Some(rest) = self.word("range") {
                self.rest = rest.trim_start();
                let over = self.path()?;
                self.close()?;
                nodes.push(Node::Range { over, body: self.inside(|reader| reader.nodes(true))? });
                continue;
            }
            self.action(&mut nodes)?;
        }
        if in_range { Err("unexpected end of template: range without end".into()) } else { Ok(nodes) }
    }

    fn inside<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, String>) -> Result<T, String> {
        if self.nested == NESTED_MAX {
            return Err(format!("more than {NESTED_MAX} ranges and filters inside one another"));
        }
        self.nested += 1;
        let result = read(self);
        self.nested -= 1;
        result
    }

    /// The rest after a keyword.
    fn word(&self, word: &str) -> Option<&'a str> {
        self.rest.strip_prefix(word).filter(|rest| rest.starts_with(['}', ' ', '\t', '\n']) || rest.is_empty())
    }

    /// Paths and quoted texts up to the closing brace.
    fn action(&mut self, nodes: &mut Vec<Node>) -> Result<(), String> {
        loop {
            self.rest = self.rest.trim_start();
            match self.rest.chars().next() {
                None => return Err("unclosed action".into()),
                Some('}') => {
                    self.rest = &self.rest[1..];
                    return Ok(());
                }
                Some('"' | '\'') => nodes.push(Node::Text(self.quoted()?)),
                Some(_) => {
                    let before = self.rest.len();
                    nodes.push(Node::Path(self.path()?));
                    // What ends a path within a filter begins nothing here.
                    if self.rest.len() == before {
                        return Err(self.unrecognized());
                    }
                }
            }
        }
    }

    fn close(&mut self) -> Result<(), String> {
        self.rest = self.rest.trim_start();
        self.rest = self.rest.strip_prefix('}').ok_or("unclosed action")?;
        Ok(())
    }

    fn quoted(&mut self) -> Result<String, String> {
        let mut chars = self.rest.char_indices();
        let quote = chars.next().map_or('"', |(_, quote)| quote);
        let mut text = String::new();
        while let Some((at, c)) = chars.next() {
            match c {
                c if c == quote => {
                    self.rest = &self.rest[at + 1..];
                    return Ok(text);
                }
                '\\' => match chars.next() {
                    Some((_, 'n')) => text.push('\n'),
                    Some((_, 't')) => text.push('\t'),
                    Some((_, 'r')) => text.push('\r'),
                    Some((_, escaped)) => text.push(escaped),
                    None => break,
                },
                c => text.push(c),
            }
        }
        Err("unterminated quoted string".into())
    }

    fn path(&mut self) -> Result<Path, String> {
        let mut path = Path::default();
        if let Some(rest) = self.rest.strip_prefix('$') {
            self.rest = rest;
            path.from_root = true;
        } else if let Some(rest) = self.rest.strip_prefix('@') {
            self.rest = rest;
        }
        let before = self.rest.len();
        loop {
            if let Some(rest) = self.rest.strip_prefix("..") {
                self.rest = rest;
                path.steps.push(Step::Descend);
                self.field(&mut path)?;
            } else if let Some(rest) = self.rest.strip_prefix('.') {
                self.rest = rest;
                self.field(&mut path)?;
            } else if self.rest.starts_with('[') {
                path.steps.push(self.bracket()?);
            } else if self.rest.len() == before
                && !path.from_root
                && self.rest.starts_with(|c: char| c.is_alphanumeric())
            {
                let end = self.rest.find(['}', ' ']).unwrap_or(self.rest.len());
                return Err(format!("unrecognized identifier {}", &self.rest[..end]));
            } else {
                break;
            }
        }
        if self.rest.starts_with(['}', ' ', '\t', '\n', ')', '=', '!', '<', '>', '"', '\'', '$', '@', ','])
            || self.rest.is_empty()
        {
            return Ok(path);
        }
        Err(self.unrecognized())
    }

    fn unrecognized(&self) -> String {
        format!("unrecognized character in action: {}", crate::go::quote(&self.rest[..self.first_len()]))
    }

    fn first_len(&self) -> usize {
        self.rest.chars().next().map_or(0, char::len_utf8)
    }

    /// A name after a dot; it ends where something else begins. Nothing at all stands for the value itself.
    fn field(&mut self, path: &mut Path) -> Result<(), String> {
        let mut name = String::new();
        let mut chars = self.rest.char_indices();
        let mut end = self.rest.len();
        while let Some((at, c)) = chars.next() {
            match c {
                '\\' => match chars.next() {
                    Some((_, escaped)) => name.push(escaped),
                    None => return Err("unexpected end of path".into()),
                },
                '.' | '[' | ']' | '}' | ' ' | '\t' | '\n' | '=' | '!' | '<' | '>' | ')' | ',' | '|' | '$' | '@' => {
                    end = at;
                    break;
                }
                c => name.push(c),
            }
        }
        self.rest = &self.rest[end..];
        match name.as_str() {
            "" => {}
            "*" => path.steps.push(Step::All),
            _ => path.steps.push(Step::Field(name)),
        }
        Ok(())
    }

    fn bracket(&mut self) -> Result<Step, String> {
        if let Some(rest) = self.rest.strip_prefix("[?(") {
            self.rest = rest;
            return self.inside(Self::filter);
        }
        self.rest = &self.rest[1..];
        let mut steps = Vec::new();
        loop {
            self.rest = self.rest.trim_start();
            steps.push(self.element()?);
            self.rest = self.rest.trim_start();
            if let Some(rest) = self.rest.strip_prefix(',') {
                self.rest = rest;
            } else {
                self.rest = self.rest.strip_prefix(']').ok_or("unterminated array")?;
                break;
            }
        }
        Ok(if steps.len() == 1 { steps.remove(0) } else { Step::Union(steps) })
    }

    /// `*`, `'name'`, `3` or `1:5:2`.
    fn element(&mut self) -> Result<Step, String> {
        if let Some(rest) = self.rest.strip_prefix('*') {
            self.rest = rest;
            return Ok(Step::All);
        }
        if self.rest.starts_with(['"', '\'']) {
            return Ok(Step::Field(self.quoted().map_err(|_| "unterminated array")?));
        }
        let end = self.rest.find([']', ',', '}']).ok_or("unterminated array")?;
        let (text, rest) = self.rest.split_at(end);
        self.rest = rest;
        if rest.starts_with('}') {
            return Err("unterminated array".into());
        }
        let number = |text: &str| match text.trim() {
            "" => Ok(None),
            text => text.parse::<i64>().map(Some).map_err(|_| format!("invalid array index {text}")),
        };
        let parts = text.split(':').map(number).collect::<Result<Vec<_>, _>>()?;
        match parts[..] {
            [Some(index)] => Ok(Step::Index(index)),
            [start, end] => Ok(Step::Slice { start, end, step: 1 }),
            [start, end, step] => match step.unwrap_or(1) {
                step if step > 0 => Ok(Step::Slice { start, end, step }),
                _ => Err("step must be > 0".into()),
            },
            _ => Err(format!("invalid array index {text}")),
        }
    }

    fn filter(&mut self) -> Result<Step, String> {
        let left = self.operand()?;
        self.rest = self.rest.trim_start();
        let comparison = match self.comparison() {
            None => None,
            Some(comparison) => Some((comparison, self.operand()?)),
        };
        self.rest = self.rest.trim_start();
        self.rest = self.rest.strip_prefix(")]").ok_or("unterminated filter")?;
        Ok(Step::Filter { left, comparison })
    }

    fn comparison(&mut self) -> Option<Comparison> {
        let known = [
            ("==", Comparison::Equal),
            ("!=", Comparison::NotEqual),
            ("<=", Comparison::LessOrEqual),
            (">=", Comparison::GreaterOrEqual),
            ("<", Comparison::Less),
            (">", Comparison::Greater),
        ];
        let (rest, comparison) =
            known.iter().find_map(|(text, found)| Some((self.rest.strip_prefix(text)?, *found)))?;
        self.rest = rest;
        Some(comparison)
    }

    fn operand(&mut self) -> Result<Operand, String> {
        self.rest = self.rest.trim_start();
        if self.rest.starts_with(['"', '\'']) {
            return self.quoted().map(Operand::Text);
        }
        if self.rest.starts_with(['@', '$', '.']) {
            return self.path().map(Operand::Path);
        }
        let end = self.rest.find([' ', ')', '=', '!', '<', '>', '}']).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        match word {
            "true" => Ok(Operand::Bool(true)),
            "false" => Ok(Operand::Bool(false)),
            word => word.parse().map(Operand::Number).map_err(|_| format!("unrecognized identifier {word}")),
        }
    }
}
