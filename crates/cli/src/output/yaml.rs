//! YAML as kubectl prints it: block style, lists not indented below their key, keys in natural order, the quoting and
//! the folding at column 80 of the library it uses (go-yaml 2).

use std::cmp::Ordering;

use serde_json::Value;

use super::yaml_scalar::{Style, style};

/// Lines are folded at the first blank beyond this column.
const WIDTH: usize = 80;

const KEY_BYTES_MAX: usize = 128;

/// The document, with its last line break, without `---`.
pub fn text(value: &Value) -> String {
    let mut emitter = Emitter::default();
    match value {
        Value::Object(fields) if !fields.is_empty() => emitter.mapping(fields, 0, false),
        Value::Array(items) if !items.is_empty() => emitter.sequence(items, 0, false),
        other => {
            emitter.scalar(other, 0);
            emitter.line_break();
        }
    }
    emitter.out
}

#[derive(Default)]
struct Emitter {
    out: String,
    column: usize,
}

impl Emitter {
    /// `inline`: the first key follows a `- ` on the same line.
    fn mapping(&mut self, fields: &serde_json::Map<String, Value>, indent: usize, inline: bool) {
        let mut keys: Vec<&String> = fields.keys().collect();
        keys.sort_by(|a, b| natural(a, b));
        for (index, key) in keys.into_iter().enumerate() {
            if index > 0 || !inline {
                self.indent(indent);
            }
            if key.len() > KEY_BYTES_MAX {
                self.put("? ");
                self.text(key, indent + 2, true);
                self.line_break();
                self.indent(indent);
            } else {
                self.text(key, indent, false);
            }
            self.put(":");
            self.value(&fields[key], indent);
        }
    }

    fn value(&mut self, value: &Value, indent: usize) {
        match value {
            Value::Object(fields) if !fields.is_empty() => {
                self.line_break();
                self.mapping(fields, indent + 2, false);
            }
            Value::Array(items) if !items.is_empty() => {
                self.line_break();
                self.sequence(items, indent, false);
            }
            other => {
                self.put(" ");
                self.scalar(other, indent + 2);
                self.line_break();
            }
        }
    }

    fn sequence(&mut self, items: &[Value], indent: usize, inline: bool) {
        for (index, item) in items.iter().enumerate() {
            if index > 0 || !inline {
                self.indent(indent);
            }
            self.put("- ");
            match item {
                Value::Object(fields) if !fields.is_empty() => self.mapping(fields, indent + 2, true),
                Value::Array(items) if !items.is_empty() => self.sequence(items, indent + 2, true),
                other => {
                    self.scalar(other, indent + 2);
                    self.line_break();
                }
            }
        }
    }

    /// `indent` is where further lines of a long text begin.
    fn scalar(&mut self, value: &Value, indent: usize) {
        match value {
            Value::String(text) => self.text(text, indent, true),
            Value::Object(_) => self.put("{}"),
            Value::Array(_) => self.put("[]"),
            other => self.put(&other.to_string()),
        }
    }

    fn text(&mut self, text: &str, indent: usize, foldable: bool) {
        match style(text, !foldable) {
            Style::Plain => self.plain(text, indent, foldable),
            Style::Single => self.single_quoted(text, indent, foldable),
            Style::Double => self.double_quoted(text, indent, foldable),
            Style::Literal => self.literal(text, indent),
        }
    }

    fn plain(&mut self, text: &str, indent: usize, foldable: bool) {
        let chars: Vec<char> = text.chars().collect();
        let mut after_space = false;
        for (index, c) in chars.iter().enumerate() {
            let lone = !after_space && chars.get(index + 1) != Some(&' ');
            if *c == ' ' && foldable && lone && self.column > WIDTH {
                self.fold(indent);
            } else {
                self.push(*c);
            }
            after_space = *c == ' ';
        }
    }

    fn single_quoted(&mut self, text: &str, indent: usize, foldable: bool) {
        self.push('\'');
        let chars: Vec<char> = text.chars().collect();
        let mut after_space = false;
        for (index, c) in chars.iter().enumerate() {
            let inner = index > 0 && index + 1 < chars.len();
            let lone = !after_space && chars.get(index + 1) != Some(&' ');
            if *c == ' ' && foldable && inner && lone && self.column > WIDTH {
                self.fold(indent);
            } else {
                if *c == '\'' {
                    self.push('\'');
                }
                self.push(*c);
            }
            after_space = *c == ' ';
        }
        self.push('\'');
    }

    fn double_quoted(&mut self, text: &str, indent: usize, foldable: bool) {
        self.push('"');
        let chars: Vec<char> = text.chars().collect();
        let mut after_space = false;
        for (index, c) in chars.iter().enumerate() {
            if let Some(escape) = super::yaml_scalar::escape(*c) {
                self.put(&escape);
                after_space = false;
                continue;
            }
            let inner = index > 0 && index + 1 < chars.len();
            if *c == ' ' && foldable && inner && !after_space && self.column > WIDTH {
                self.fold(indent);
                if chars.get(index + 1) == Some(&' ') {
                    self.push('\\');
                }
            } else {
                self.push(*c);
            }
            after_space = *c == ' ';
        }
        self.push('"');
    }

    fn literal(&mut self, text: &str, indent: usize) {
        self.push('|');
        if text.starts_with([' ', '\n']) {
            self.push('2');
        }
        if !text.ends_with('\n') {
            self.push('-');
        } else if text == "\n" || text.ends_with("\n\n") {
            self.push('+');
        }
        let body = text.strip_suffix('\n').unwrap_or(text);
        for line in body.split('\n') {
            self.line_break();
            if !line.is_empty() {
                self.indent(indent);
                self.put(line);
            }
        }
        // With `+` the last break belongs to the text; the one that ends the line is written by the caller.
    }

    fn fold(&mut self, indent: usize) {
        self.line_break();
        self.indent(indent);
    }

    fn indent(&mut self, indent: usize) {
        (0..indent).for_each(|_| self.push(' '));
    }

    fn line_break(&mut self) {
        self.out.push('\n');
        self.column = 0;
    }

    fn put(&mut self, text: &str) {
        self.out.push_str(text);
        self.column += text.chars().count();
    }

    fn push(&mut self, c: char) {
        self.out.push(c);
        self.column += 1;
    }
}

/// The order of keys: letters after all else, runs of digits by their value.
fn natural(a: &str, b: &str) -> Ordering {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let Some(at) = a.iter().zip(&b).position(|(a, b)| a != b) else {
        return a.len().cmp(&b.len());
    };
    match (a[at].is_alphabetic(), b[at].is_alphabetic()) {
        (true, true) => return a[at].cmp(&b[at]),
        (true, false) => return Ordering::Greater,
        (false, true) => return Ordering::Less,
        (false, false) => {}
    }
    // A zero that follows other digits of the same number counts as a digit of it.
    let inside =
        (a[at] == '0' || b[at] == '0') && a[..at].iter().rev().take_while(|c| c.is_numeric()).any(|c| *c != '0');
    let number = |chars: &[char]| {
        let digits = chars[at..].iter().take_while(|c| c.is_ascii_digit());
        let start = i64::from(inside);
        let value = digits.clone().fold(start, |value, digit| {
            value.wrapping_mul(10).wrapping_add(i64::from(digit.to_digit(10).unwrap_or(0)))
        });
        (value, digits.count())
    };
    let ((a_value, a_len), (b_value, b_len)) = (number(&a), number(&b));
    a_value.cmp(&b_value).then(a_len.cmp(&b_len)).then(a[at].cmp(&b[at]))
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(value: Value, expected: Expect) {
        expected.assert_eq(&text(&value));
    }

    #[test]
    fn structure() {
        check(
            json!({"b": {"list": [{"x": 1, "a": [1, [2, 3]]}, "s", [], {}], "empty": {}, "none": null}, "a": true}),
            expect![[r#"
                a: true
                b:
                  empty: {}
                  list:
                  - a:
                    - 1
                    - - 2
                      - 3
                    x: 1
                  - s
                  - []
                  - {}
                  none: null
            "#]],
        );
        check(json!("x"), expect!["x\n"]);
    }

    #[test]
    fn long_lines_fold_after_column_80() {
        let words = "word ".repeat(30);
        check(
            json!({"plain": words.trim_end(), "quoted": format!("{}: x", words.trim_end()), "list": [words.trim_end()]}),
            expect![[r#"
                list:
                - word word word word word word word word word word word word word word word word
                  word word word word word word word word word word word word word word
                plain: word word word word word word word word word word word word word word word
                  word word word word word word word word word word word word word word word
                quoted: 'word word word word word word word word word word word word word word word
                  word word word word word word word word word word word word word word word: x'
            "#]],
        );
    }

    #[test]
    fn lines_stay_lines() {
        check(
            json!({"keep": "a\n\n", "none": "a\nb", "one": "a\n\n  b\n", "start": " a\nb\n", "trail": "a \nb"}),
            expect![[r#"
                keep: |+
                  a

                none: |-
                  a
                  b
                one: |
                  a

                    b
                start: |2
                   a
                  b
                trail: "a \nb"
            "#]],
        );
    }

    #[test]
    fn keys_are_in_natural_order() {
        let mut keys = ["a10", "a9", "B", "a", ".", "f:x", "1", "a-b", "ab"];
        keys.sort_by(|a, b| natural(a, b));
        assert_eq!(keys, [".", "1", "B", "a", "a-b", "a9", "a10", "ab", "f:x"]);
    }

    /// A few hundred texts made of awkward pieces, as kubectl prints them.
    #[test]
    fn texts_are_written_as_kubectl_writes_them() {
        let Some(kubectl) = std::env::var_os("BACKSTAY_KUBECTL") else {
            eprintln!("SKIPPED: set BACKSTAY_KUBECTL to a kubectl to compare with");
            return;
        };
        let data: serde_json::Map<String, Value> =
            awkward_texts().into_iter().enumerate().map(|(index, text)| (format!("k{index}"), text.into())).collect();
        let mut command = std::process::Command::new(kubectl);
        command.args(["create", "configmap", "x", "--dry-run=client", "-o", "yaml"]);
        for (key, text) in &data {
            command.arg(format!("--from-literal={key}={}", text.as_str().unwrap()));
        }
        let expected = String::from_utf8(command.output().unwrap().stdout).unwrap();
        let mut object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, "data": data});
        if expected.contains("creationTimestamp: null") {
            object["metadata"]["creationTimestamp"] = Value::Null;
        }
        let got = text(&object);
        for (got, expected) in got.lines().zip(expected.lines()) {
            assert_eq!(got, expected);
        }
        assert_eq!(got, expected);
    }

    fn awkward_texts() -> Vec<String> {
        const PIECES: [&str; 44] = [
            "a",
            "yes",
            "0",
            "1",
            "7",
            ".",
            "-",
            "- ",
            "+",
            ":",
            ": ",
            " ",
            "  ",
            "#",
            " #",
            "\n",
            "\n\n",
            "'",
            "\"",
            "\\",
            "{",
            "}",
            "[",
            "]",
            ",",
            "&",
            "*",
            "!",
            "|",
            ">",
            "%",
            "@",
            "`",
            "?",
            "? ",
            "=",
            "~",
            "e",
            "x",
            "_",
            "\t",
            "ä",
            "\u{1f600}",
            "2026-01-02",
        ];
        let mut texts: Vec<String> = [
            "true",
            "null",
            "0x1F",
            "0o7",
            "0b1",
            "1e3",
            "12:30",
            "1:2:3",
            "2026-01-02T03:04:05Z",
            "---",
            "...a",
            "<<",
            ".inf",
            "-.inf",
            "y",
            "on",
        ]
        .map(str::to_string)
        .to_vec();
        let mut state = 12345_u64;
        let mut next = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(state >> 33).unwrap() % below
        };
        for _ in 0..600 {
            let count = 1 + next(5);
            texts.push((0..count).map(|_| PIECES[next(PIECES.len())]).collect());
        }
        for _ in 0..60 {
            let words = (0..40).map(|_| ["word", "longer-word", "a", "b:c", "it's", "x "][next(6)]);
            texts.push(words.collect::<Vec<_>>().join(" "));
        }
        texts.retain(|text| !text.contains('\0'));
        texts
    }
}
