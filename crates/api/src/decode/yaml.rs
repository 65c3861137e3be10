//! Reads YAML as Kubernetes does: the first document only, scalars resolved by the rules of YAML 1.1 (`yes` is a
//! boolean, `0777` octal), merge keys and anchors followed, keys made into strings and sorted.

mod resolve;

use std::collections::{BTreeMap, HashMap};

use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, ScanError, Span, Tag};

use self::resolve::resolve;
use super::parse::{DEPTH_MAX, ParseError};
use super::tree::{PROBLEMS_MAX, Tree};

/// Aliases can make a small text into a huge object. This is twenty times the largest manifest we have seen.
const NODES_MAX: usize = 200_000;
/// What anchors and aliases copy altogether, in nodes and bytes of text: four times the longest body.
const COPIED_MAX: usize = 12 << 20;

type Object = BTreeMap<String, Tree<'static>>;

/// The tree, and what a strict reader says of keys that occur twice (one message for the whole document).
pub fn read(text: &[u8]) -> Result<(Tree<'static>, Vec<String>), ParseError> {
    let text = std::str::from_utf8(text).map_err(|_| error("yaml: invalid leading UTF-8 octet"))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = Reader {
        events: Parser::new_from_str(text),
        anchors: HashMap::new(),
        nodes: 0,
        copied: 0,
        depth: 0,
        repeated: Vec::new(),
    };
    let tree = reader.document()?;
    let problems = match reader.repeated.as_slice() {
        [] => Vec::new(),
        repeated => vec![format!("yaml: unmarshal errors:\n{}", repeated.join("\n"))],
    };
    Ok((tree, problems))
}

struct Reader<'a, I: Iterator<Item = Result<(Event<'a>, Span), ScanError>>> {
    events: I,
    /// With their sizes.
    anchors: HashMap<usize, (Tree<'static>, usize)>,
    nodes: usize,
    copied: usize,
    depth: usize,
    repeated: Vec<String>,
}

impl<'a, I: Iterator<Item = Result<(Event<'a>, Span), ScanError>>> Reader<'a, I> {
    fn document(&mut self) -> Result<Tree<'static>, ParseError> {
        loop {
            match self.next()?.0 {
                Event::StreamStart => {}
                Event::DocumentStart(..) => break,
                _ => return Ok(Tree::Null),
            }
        }
        let first = self.next()?.0;
        self.node(first)
    }

    fn next(&mut self) -> Result<(Event<'a>, Span), ParseError> {
        loop {
            match self.events.next() {
                None => return Ok((Event::StreamEnd, Span::default())),
                Some(Ok((Event::Comment(..) | Event::Anchor(..), _))) => {}
                Some(Ok(event)) => return Ok(event),
                Some(Err(problem)) => {
                    return Err(error(&format!("yaml: line {}: {}", problem.marker().line(), problem.info())));
                }
            }
        }
    }

    fn node(&mut self, event: Event<'a>) -> Result<Tree<'static>, ParseError> {
        self.count(1)?;
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(error("yaml: exceeded max depth"));
        }
        let (tree, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => (scalar(&text, style, tag.as_deref())?, anchor),
            Event::SequenceStart(_, anchor, _) => (self.sequence()?, anchor),
            Event::MappingStart(_, anchor, _) => (self.mapping()?, anchor),
            Event::Alias(id) => {
                let unknown = || error("yaml: anchor value contains itself");
                let size = self.anchors.get(&id).ok_or_else(unknown)?.1;
                self.copy(size)?;
                (self.anchors.get(&id).ok_or_else(unknown)?.0.clone(), 0)
            }
            _ => (Tree::Null, 0),
        };
        self.depth -= 1;
        if anchor != 0 {
            let size = tree.size();
            self.copy(size)?;
            self.anchors.insert(anchor, (tree.clone(), size));
        }
        Ok(tree)
    }

    fn count(&mut self, nodes: usize) -> Result<(), ParseError> {
        self.nodes += nodes;
        if self.nodes > NODES_MAX { Err(error(TOO_MUCH)) } else { Ok(()) }
    }

    fn copy(&mut self, size: usize) -> Result<(), ParseError> {
        self.copied += size;
        if self.copied > COPIED_MAX { Err(error(TOO_MUCH)) } else { Ok(()) }
    }

    fn sequence(&mut self) -> Result<Tree<'static>, ParseError> {
        let mut items = Vec::new();
        loop {
            match self.next()?.0 {
                Event::SequenceEnd => return Ok(Tree::Array(items)),
                event => items.push(self.node(event)?),
            }
        }
    }

    fn mapping(&mut self) -> Result<Tree<'static>, ParseError> {
        let mut fields = Object::new();
        let mut merged = Vec::new();
        loop {
            let (event, span) = self.next()?;
            let is_merge = matches!(&event, Event::Scalar(text, ScalarStyle::Plain, ..) if text == "<<");
            let key = match event {
                Event::MappingEnd => break,
                event => self.node(event)?,
            };
            let value = self.next()?.0;
            let value = self.node(value)?;
            if is_merge {
                merged.push(value);
                continue;
            }
            let key = key_text(key)?;
            if fields.contains_key(&key) && self.repeated.len() < PROBLEMS_MAX {
                self.repeated.push(format!("  line {}: key {key:?} already set in map", span.start.line()));
            }
            fields.insert(key, value);
        }
        for value in merged {
            merge(&mut fields, value)?;
        }
        Ok(Tree::Object(fields.into_iter().map(|(key, value)| (key.into(), value)).collect()))
    }
}

/// Adds the fields of a merged mapping (or of a list of them, the first wins) that are not there yet.
fn merge(fields: &mut Object, value: Tree<'static>) -> Result<(), ParseError> {
    match value {
        Tree::Object(others) => {
            for (key, value) in others {
                fields.entry(key.into_owned()).or_insert(value);
            }
            Ok(())
        }
        Tree::Array(items) => items.into_iter().try_for_each(|item| match item {
            Tree::Object(_) => merge(fields, item),
            _ => Err(error(MERGE_WANTS_MAPS)),
        }),
        _ => Err(error(MERGE_WANTS_MAPS)),
    }
}

const TOO_MUCH: &str = "yaml: document contains excessive aliasing";

const MERGE_WANTS_MAPS: &str = "yaml: map merge requires map or sequence of maps as the value";

fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Result<Tree<'static>, ParseError> {
    let core = tag.filter(|tag| tag.handle() == "tag:yaml.org,2002:" || tag.handle() == "!!").map(Tag::suffix);
    let plain = matches!(style, ScalarStyle::Plain) && tag.is_none();
    match core {
        Some("int" | "float" | "bool" | "null") => resolve(text),
        _ if plain => resolve(text),
        _ => Ok(Tree::String(text.to_string().into())),
    }
}

/// Keys that are no strings are written as one.
fn key_text(key: Tree<'static>) -> Result<String, ParseError> {
    match key {
        Tree::String(text) | Tree::Number(text) => Ok(text.into_owned()),
        Tree::Bool(value) => Ok(value.to_string()),
        Tree::Null => Ok("null".to_string()),
        Tree::Array(_) | Tree::Object(_) => Err(error("yaml: invalid map key")),
    }
}

fn error(message: &str) -> ParseError {
    ParseError(message.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let actual = match read(text.as_bytes()) {
            Ok((tree, problems)) => format!("{}{}", tree.into_value(), problems.join("")),
            Err(ParseError(message)) => message,
        };
        assert_eq!(actual, expected, "{text}");
    }

    #[test]
    fn scalars_follow_yaml_1_1() {
        check(
            "[yes, No, on, y, ~, null, 0x1F, 0777, 08, 1_000, 1.5, 1e3, .5, -3, 2026-11-23, 1.2.3, '5', !!str 5]",
            r#"[true,false,true,true,null,null,31,511,8,1000,1.5,1000,0.5,-3,"2026-11-23","1.2.3","5","5"]"#,
        );
    }

    #[test]
    fn structure() {
        check("a: |\n  x\n  y\nb: >-\n  x\n  y\n", r#"{"a":"x\ny\n","b":"x y"}"#);
        check("b: &x {c: 1}\na: *x\nd: {<<: *x, e: 2}\n", r#"{"a":{"c":1},"b":{"c":1},"d":{"c":1,"e":2}}"#);
        check("{1: a, true: b}", r#"{"1":"a","true":"b"}"#);
        check("", "null");
        check("# nothing\n---\na: 1\n---\nb: 2\n", r#"{"a":1}"#);
        check("{\"a\": [1, {\"b\": null}]}", r#"{"a":[1,{"b":null}]}"#);
    }

    #[test]
    fn repeated_keys_are_told() {
        check(
            "a: 1\nb: 1\na: 2\nb: 2\n",
            "{\"a\":2,\"b\":2}yaml: unmarshal errors:\n  line 3: key \"a\" already set in map\n  line 4: key \"b\" already set in map",
        );
    }

    #[test]
    fn bombs_are_refused() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_string();
        for level in 1..10 {
            let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
            text.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
        }
        check(&text, "yaml: document contains excessive aliasing");
        let long = "x".repeat(1 << 20);
        check(&format!("a: &a {long}\nb: [{}]", vec!["*a"; 100].join(", ")), TOO_MUCH);
        check(
            &format!("{}{long}", (0..50).map(|n| format!("- &a{n}\n{}", " ".repeat(n + 1))).collect::<String>()),
            TOO_MUCH,
        );
        assert!(read("[".repeat(10_000).as_bytes()).is_err());
        assert!(read("- ".repeat(10_000).as_bytes()).is_err());
    }
}
