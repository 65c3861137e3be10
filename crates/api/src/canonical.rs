//! JSON as Go's encoding/json writes it, and the `data` bytes of a ControllerRevision.
//!
//! A client recognises a revision by comparing these bytes with bytes it computes itself, so every escape counts.

use serde_json::{Map, Number, Value};

/// Compact JSON with sorted keys and Go's string escapes (HTML escaping on).
pub fn json(value: &Value) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    write_value(&mut out, value);
    out
}

/// [`json`] as a `String`, for messages.
pub fn json_text(value: &Value) -> String {
    String::from_utf8(json(value)).expect("built from strings and ASCII only")
}

/// The bytes of `ControllerRevision.data` for a DaemonSet as stored (decoded and defaulted): its template as a
/// replacing patch, in the form of Kubernetes 1.34 and newer (without `"creationTimestamp":null`).
pub fn revision_data(daemonset: &Value) -> Vec<u8> {
    let template = daemonset.pointer("/spec/template").cloned().unwrap_or(Value::Null);
    let mut template = without_null_creation(template);
    if !template.is_object() {
        template = Value::Object(Map::new());
    }
    let fields = template.as_object_mut().expect("made an object just above");
    fields.insert("$patch".into(), "replace".into());
    let mut out = br#"{"spec":{"template":"#.to_vec();
    write_value(&mut out, &template);
    out.extend_from_slice(b"}}");
    out
}

/// Drops `creationTimestamp: null` wherever a `metadata` carries it: until 1.33 Kubernetes wrote it into every template.
fn without_null_creation(mut value: Value) -> Value {
    strip(&mut value);
    return value;

    fn strip(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                if let Some(Value::Object(metadata)) = fields.get_mut("metadata")
                    && metadata.get("creationTimestamp") == Some(&Value::Null)
                {
                    metadata.remove("creationTimestamp");
                }
                fields.values_mut().for_each(strip);
            }
            Value::Array(elements) => elements.iter_mut().for_each(strip),
            _ => {}
        }
    }
}

/// [`json`] onto the end of a buffer.
pub fn write_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(number) => write_number(out, number),
        Value::String(text) => write_string(out, text),
        Value::Array(elements) => {
            write_list(out, b'[', b']', elements, write_value);
        }
        Value::Object(fields) => write_list(out, b'{', b'}', fields, |out, (name, value)| {
            write_string(out, name);
            out.push(b':');
            write_value(out, value);
        }),
    }
}

fn write_list<T>(
    out: &mut Vec<u8>,
    open: u8,
    close: u8,
    items: impl IntoIterator<Item = T>,
    write: impl Fn(&mut Vec<u8>, T),
) {
    out.push(open);
    for (position, item) in items.into_iter().enumerate() {
        if position > 0 {
            out.push(b',');
        }
        write(out, item);
    }
    out.push(close);
}

/// Integers in decimal; floats as Go: plain digits between 1e-6 and 1e21, else with a signed exponent.
fn write_number(out: &mut Vec<u8>, number: &Number) {
    let text = match number.as_f64().filter(|_| number.is_f64()) {
        None => number.to_string(),
        Some(float) if float == 0.0 || (1e-6..1e21).contains(&float.abs()) => float.to_string(),
        Some(float) => {
            let text = format!("{float:e}");
            if text.contains("e-") { text } else { text.replace('e', "e+") }
        }
    };
    out.extend_from_slice(text.as_bytes());
}

/// A string with its quotes, escaped as Go does.
pub fn write_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut clean = 0;
    for (position, byte) in bytes.iter().enumerate() {
        let (escape, length): (&[u8], usize) = match byte {
            b'"' => (br#"\""#, 1),
            b'\\' => (br"\\", 1),
            b'\n' => (br"\n", 1),
            b'\r' => (br"\r", 1),
            b'\t' => (br"\t", 1),
            0x08 => (br"\b", 1),
            0x0c => (br"\f", 1),
            b'<' => (br"\u003c", 1),
            b'>' => (br"\u003e", 1),
            b'&' => (br"\u0026", 1),
            // The line and paragraph separators, E2 80 A8 and E2 80 A9.
            0xe2 if bytes[position..].starts_with(&[0xe2, 0x80, 0xa8]) => (br"\u2028", 3),
            0xe2 if bytes[position..].starts_with(&[0xe2, 0x80, 0xa9]) => (br"\u2029", 3),
            0x00..=0x1f => (b"", 1),
            _ => continue,
        };
        out.extend_from_slice(&bytes[clean..position]);
        match escape {
            b"" => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => out.extend_from_slice(escape),
        }
        clean = position + length;
    }
    out.extend_from_slice(&bytes[clean..]);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn writes_as_go_does() {
        #[track_caller]
        fn check(value: Value, expected: &str) {
            assert_eq!(json_text(&value), expected);
        }
        check(json!({"b": [1, -2, true, null], "a": {}, "$": ""}), r#"{"$":"","a":{},"b":[1,-2,true,null]}"#);
        check(json!("<a>&\u{2028}\u{2029}\u{2030}"), "\"\\u003ca\\u003e\\u0026\\u2028\\u2029\u{2030}\"");
        check(json!("\u{8}\u{c}\n\r\t\u{1}\u{1f}\u{7f}\"\\/é"), "\"\\b\\f\\n\\r\\t\\u0001\\u001f\u{7f}\\\"\\\\/é\"");
        check(json!({"<": i64::MAX}), r#"{"\u003c":9223372036854775807}"#);
        check(json!([0.5, 1e21, 1e-7, 1e20, 0.0]), "[0.5,1e+21,1e-7,100000000000000000000,0]");
    }

    #[test]
    fn revision_data_is_a_replacing_patch() {
        let daemonset = json!({"metadata": {"name": "d"}, "spec": {"minReadySeconds": 1, "template": {
            "metadata": {"creationTimestamp": null, "labels": {"app": "d"}},
            "spec": {"containers": [{"name": "c", "args": ["a<b"]}]},
        }}});
        let expected = concat!(
            r#"{"spec":{"template":{"$patch":"replace","metadata":{"labels":{"app":"d"}},"#,
            r#""spec":{"containers":[{"args":["a\u003cb"],"name":"c"}]}}}}"#
        );
        assert_eq!(String::from_utf8(revision_data(&daemonset)).unwrap(), expected);
    }
}
