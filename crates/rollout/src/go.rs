//! Values in the form in which Go prints them, where kubectl's output shows it.

pub use backstay_api::go::quote;
use serde_json::Value;

/// `%v`: text bare, `[a b]` for lists, `map[k:v]` for objects, `<nil>` for null.
pub fn plain(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_string(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::Array(items) => list(items),
        Value::Object(fields) => {
            let fields: Vec<String> = fields.iter().map(|(key, value)| format!("{key}:{}", plain(value))).collect();
            format!("map[{}]", fields.join(" "))
        }
    }
}

/// `[a b]`.
pub fn list(items: &[Value]) -> String {
    let items: Vec<String> = items.iter().map(plain).collect();
    format!("[{}]", items.join(" "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_look_as_go_prints_them() {
        assert_eq!(plain(&json!({"b": ["x", 1, true], "a": null})), "map[a:<nil> b:[x 1 true]]");
    }
}
