//! ConfigMaps, with what they hold, and Secrets, with how much.

use backstay_api::meta;
use backstay_rollout::describe::{Writer, annotations, labels};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

pub fn config_map(object: &Value) -> String {
    let mut out = head(object);
    out.write(0, "\nData\n====\n");
    for (key, value) in meta::string_map(meta::value_at(object, &["data"])) {
        out.write(0, &format!("{key}:\n----\n{value}\n\n"));
    }
    out.write(0, "\nBinaryData\n====\n");
    for (key, value) in meta::string_map(meta::value_at(object, &["binaryData"])) {
        out.write(0, &format!("{key}: {} bytes\n", bytes(&value)));
    }
    out.write(0, "\n");
    out.into_text()
}

pub fn secret(object: &Value) -> String {
    let mut out = head(object);
    out.write(0, &format!("\nType:\t{}\n\nData\n====\n", meta::str_at(object, &["type"])));
    for (key, value) in meta::string_map(meta::value_at(object, &["data"])) {
        out.write(0, &format!("{key}:\t{} bytes\n", bytes(&value)));
    }
    out.into_text()
}

fn head(object: &Value) -> Writer {
    let mut out = Writer::default();
    out.write(0, &format!("Name:\t{}\n", meta::name(object)));
    out.write(0, &format!("Namespace:\t{}\n", meta::namespace(object).unwrap_or("")));
    labels(&mut out, "Labels", &meta::labels(object));
    annotations(&mut out, "Annotations", &meta::annotations(object));
    out
}

fn bytes(base64: &str) -> usize {
    STANDARD.decode(base64).map_or(0, |bytes| bytes.len())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// As kubectl 1.32 and newer have it; older ones leave out the empty line after each entry.
    #[test]
    fn a_config_map_shows_its_entries() {
        let object =
            json!({"metadata": {"name": "c", "namespace": "n"}, "data": {"a": "x\n"}, "binaryData": {"b": "AAE="}});
        let expected = "Name:\tc\nNamespace:\tn\nLabels:\t<none>\nAnnotations:\t<none>\n\nData\n====\na:\n----\nx\n\n\n\nBinaryData\n====\nb: 2 bytes\n\n";
        assert_eq!(config_map(&object), expected);
    }
}
