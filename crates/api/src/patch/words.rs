//! Values and parse errors in the words of Go, whose texts end up in error messages.

use serde_json::Value;

/// A value as Go's `%v` prints it: `map[a:1 b:[x y]]`, `<nil>`.
pub fn go_value(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".into(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", join(items.iter().map(go_value))),
        Value::Object(fields) => {
            format!("map[{}]", join(fields.iter().map(|(key, value)| format!("{key}:{}", go_value(value)))))
        }
    }
}

/// A value as Go's `%#v` prints it: `map[string]interface {}{"a":1}`.
pub fn go_syntax(value: &Value) -> String {
    let commas = |parts: Vec<String>| parts.join(", ");
    match value {
        Value::Null => "interface {}(nil)".into(),
        Value::String(text) => format!("{text:?}"),
        Value::Array(items) => format!("[]interface {{}}{{{}}}", commas(items.iter().map(go_syntax).collect())),
        Value::Object(fields) => {
            let fields = fields.iter().map(|(key, value)| format!("{key:?}:{}", go_syntax(value)));
            format!("map[string]interface {{}}{{{}}}", commas(fields.collect()))
        }
        scalar => go_value(scalar),
    }
}

/// The type that Go's JSON decoder gives a value when it decodes into an interface.
pub fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "%!s(<nil>)",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

/// The kind of JSON value in the errors of Go's decoder: `cannot unmarshal array into ...`.
pub fn json_kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// What Go's decoder says of a body that is not JSON. Close to, not always the same as, the text for broken tokens.
pub fn json_error(body: &[u8], error: &serde_json::Error) -> String {
    if error.to_string().starts_with("recursion limit exceeded") {
        return crate::decode::TOO_DEEP.into();
    }
    if error.is_eof() {
        return "unexpected end of JSON input".into();
    }
    let lines = body.split_inclusive(|byte| *byte == b'\n');
    let before: usize = lines.take(error.line().saturating_sub(1)).map(<[u8]>::len).sum();
    let at = (before + error.column().saturating_sub(1)).min(body.len());
    match String::from_utf8_lossy(&body[at..]).chars().next() {
        Some(found) => format!("invalid character {found:?} looking for beginning of value"),
        None => "unexpected end of JSON input".into(),
    }
}

fn join(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_read_as_go_prints_them() {
        let value = json!({"b": [1, "x", null], "a": {"$patch": "explode"}, "c": true});
        assert_eq!(go_value(&value), "map[a:map[$patch:explode] b:[1 x <nil>] c:true]");
    }

    #[test]
    fn values_read_as_go_source() {
        let value = json!({"a": [1, "x"], "b": null});
        assert_eq!(go_syntax(&value), r#"map[string]interface {}{"a":[]interface {}{1, "x"}, "b":interface {}(nil)}"#);
    }

    #[test]
    fn broken_json_is_named_in_the_words_of_go() {
        let say = |body: &str| {
            json_error(body.as_bytes(), &serde_json::from_str::<Value>(body).expect_err("broken on purpose"))
        };
        assert_eq!(say("{\"data\":"), "unexpected end of JSON input");
        assert_eq!(say(""), "unexpected end of JSON input");
        assert_eq!(say("{\n\"a\": x}"), "invalid character 'x' looking for beginning of value");
    }
}
