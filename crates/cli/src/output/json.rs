//! JSON as kubectl prints it: sorted keys, four blanks, Go's escapes.

use backstay_api::canonical;
use serde_json::Value;

/// The value over several lines, with the last line break.
pub fn text(value: &Value) -> String {
    let mut out = String::new();
    write(&mut out, value, 0);
    out.push('\n');
    out
}

fn write(out: &mut String, value: &Value, depth: usize) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            out.push('{');
            for (index, (key, value)) in fields.iter().enumerate() {
                separate(out, index, depth + 1);
                out.push_str(&canonical::json_text(&Value::String(key.clone())));
                out.push_str(": ");
                write(out, value, depth + 1);
            }
            close(out, '}', depth);
        }
        Value::Array(items) if !items.is_empty() => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                separate(out, index, depth + 1);
                write(out, item, depth + 1);
            }
            close(out, ']', depth);
        }
        other => out.push_str(&canonical::json_text(other)),
    }
}

fn separate(out: &mut String, index: usize, depth: usize) {
    out.push_str(if index > 0 { ",\n" } else { "\n" });
    out.extend(std::iter::repeat_n("    ", depth));
}

fn close(out: &mut String, bracket: char, depth: usize) {
    out.push('\n');
    out.extend(std::iter::repeat_n("    ", depth));
    out.push(bracket);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn four_blanks_and_gos_escapes() {
        let value = json!({"b": [1, {"c": "<&>"}], "a": {}, "d": []});
        let expected = "{\n    \"a\": {},\n    \"b\": [\n        1,\n        {\n            \"c\": \"\\u003c\\u0026\\u003e\"\n        }\n    ],\n    \"d\": []\n}\n";
        assert_eq!(text(&value), expected);
    }
}
