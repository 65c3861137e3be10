//! KYAML as kubectl prints it: YAML that a change of indentation cannot change. Braces everywhere, every text in double
//! quotes, keys bare where nothing else can be read in them. Fields are sorted; kubectl has the order of Go's declarations
//! for the few objects that it builds itself (`rollout history`, `create --dry-run=client`).

use backstay_api::go::is_printable;
use serde_json::Value;

use super::yaml_scalar::means_something_else;

/// The document, with `---` before it and its last line break.
pub fn text(value: &Value) -> String {
    let mut out = "---\n".to_string();
    write(&mut out, value, 0);
    out.push('\n');
    out
}

/// `depth`: of the line on which the value begins.
fn write(out: &mut String, value: &Value, depth: usize) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            out.push_str("{\n");
            for (key, value) in fields {
                indent(out, depth + 1);
                out.push_str(&if is_bare(key) { key.clone() } else { quoted(key, depth + 2) });
                out.push_str(": ");
                write(out, value, depth + 1);
                out.push_str(",\n");
            }
            indent(out, depth);
            out.push('}');
        }
        Value::Array(items) if !items.is_empty() => list(out, items, depth),
        Value::String(text) => out.push_str(&quoted(text, depth + 1)),
        other => out.push_str(&other.to_string()),
    }
}

/// Objects and lists follow each other on the line where the one before ends; anything else gets lines of its own.
fn list(out: &mut String, items: &[Value], depth: usize) {
    if items.iter().all(|item| item.is_object() || item.is_array()) {
        out.push('[');
        for (index, item) in items.iter().enumerate() {
            out.push_str(if index > 0 { ", " } else { "" });
            write(out, item, depth);
        }
    } else {
        out.push_str("[\n");
        for item in items {
            indent(out, depth + 1);
            write(out, item, depth + 1);
            out.push_str(",\n");
        }
        indent(out, depth);
    }
    out.push(']');
}

fn indent(out: &mut String, depth: usize) {
    out.extend(std::iter::repeat_n("  ", depth));
}

fn is_bare(key: &str) -> bool {
    let inner = |c: char| c.is_alphanumeric() || "_-./".contains(c);
    let outer = |c: char| c.is_alphanumeric() || c == '_';
    key.chars().all(inner) && key.starts_with(outer) && key.ends_with(outer) && !is_of_another_type(key)
}

/// It is wider here than in plain YAML: also what Go reads as a boolean, in any case of its letters.
fn is_of_another_type(key: &str) -> bool {
    const WORDS: [&str; 11] = ["null", "true", "false", "t", "f", "y", "n", "yes", "no", "on", "off"];
    // Numbers to Go, without the dot that YAML wants.
    const NUMBERS: [&str; 3] = ["inf", "infinity", "nan"];
    let lower = key.to_lowercase();
    WORDS.contains(&lower.as_str())
        || NUMBERS.contains(&lower.as_str())
        || means_something_else(key)
        || means_something_else(&key.replace('_', ""))
}

/// Lines of a text stand below each other, `depth` deep; each ends with an escape that joins them again.
fn quoted(text: &str, depth: usize) -> String {
    let several = text.contains('\n');
    let mut out = if several { "\"\\\n".to_string() } else { "\"".to_string() };
    for c in text.chars() {
        if out.ends_with('\n') {
            indent(&mut out, depth);
            // Blanks at the start of a line are not read, so the first that counts is escaped.
            out.push(if c.is_whitespace() && c != '\n' { '\\' } else { ' ' });
        }
        escape(&mut out, c);
    }
    if several {
        out.push_str(if out.ends_with('\n') { "" } else { "\\\n" });
        indent(&mut out, depth);
    }
    out.push('"');
    out
}

fn escape(out: &mut String, c: char) {
    let short = match c {
        '\n' => "\\n\\\n",
        '"' => "\\\"",
        '\\' => "\\\\",
        '\0' => "\\0",
        '\u{7}' => "\\a",
        '\u{8}' => "\\b",
        '\u{b}' => "\\v",
        '\u{c}' => "\\f",
        '\r' => "\\r",
        '\u{1b}' => "\\e",
        '\u{85}' => "\\N",
        '\u{a0}' => "\\_",
        '\u{2028}' => "\\L",
        '\u{2029}' => "\\P",
        c if c == '\t' || is_printable(c) => return out.push(c),
        c => {
            let code = u32::from(c);
            let long = match code {
                0..=0x1f | 0x7f => format!("\\x{code:02x}"),
                0..=0xffff => format!("\\u{code:04x}"),
                _ => format!("\\U{code:08x}"),
            };
            return out.push_str(&long);
        }
    };
    out.push_str(short);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn objects_cuddle_and_texts_do_not() {
        let value = json!({"a": {}, "b": [{"c": 1}, {"d": [["x"]]}], "e": [], "f.g/h": ["x", null, {"i": true}]});
        let expected = "---\n{\n  a: {},\n  b: [{\n    c: 1,\n  }, {\n    d: [[\n      \"x\",\n    ]],\n  }],\n  e: [],\n  \
            f.g/h: [\n    \"x\",\n    null,\n    {\n      i: true,\n    },\n  ],\n}\n";
        assert_eq!(text(&value), expected);
    }

    #[test]
    fn lines_of_a_text_stand_below_each_other() {
        let check = |text: &str, expected: &str| assert_eq!(quoted(text, 1), expected, "{text:?}");
        check("a", "\"a\"");
        check("it's \"q\" \\ \t\r\u{1}\u{7f}", "\"it's \\\"q\\\" \\\\ \t\\r\\x01\\x7f\"");
        check("ü☃😀\u{2028}\u{a0}\u{3000}\u{feff}e\u{301}", "\"ü☃😀\\L\\_\\u3000\\ufeffe\u{301}\"");
        check("a\nb", "\"\\\n   a\\n\\\n   b\\\n  \"");
        check("a\n  b\n\n", "\"\\\n   a\\n\\\n  \\  b\\n\\\n   \\n\\\n  \"");
    }

    #[test]
    fn keys_are_bare_unless_something_else_is_read_in_them() {
        for key in ["a", "_x", "a-b", "a..b", "a.b/c", "1a", "ü", "nullx"] {
            assert!(is_bare(key), "{key}");
        }
        let quoted = [
            "",
            "-",
            "a-",
            ".a",
            "a b",
            "a:b",
            "~",
            "null",
            "nULL",
            "true",
            "T",
            "f",
            "Y",
            "off",
            "0",
            "1_0",
            "0x1",
            "1e3",
            "2026-01-01",
            "inf",
            "a\nb",
        ];
        for key in quoted {
            assert!(!is_bare(key), "{key}");
        }
    }
}
