//! A label selector object in its text form.

use backstay_api::meta;
use serde_json::Value;

/// `app=x,tier in (a,b),!old`, in the order of the keys; empty for a selector without requirements.
pub fn text(selector: &Value) -> String {
    let equalities = meta::string_map(meta::value_at(selector, &["matchLabels"]));
    let mut terms: Vec<(String, String)> =
        equalities.into_iter().map(|(key, value)| (key.clone(), format!("{key}={value}"))).collect();
    terms.extend(meta::list_at(selector, &["matchExpressions"]).iter().filter_map(expression));
    terms.sort_by(|a, b| a.0.cmp(&b.0));
    let terms: Vec<String> = terms.into_iter().map(|(_, term)| term).collect();
    terms.join(",")
}

/// The text form, or `<none>` where it is empty.
pub fn text_or_none(selector: &Value) -> String {
    match text(selector) {
        text if text.is_empty() => "<none>".to_string(),
        text => text,
    }
}

fn expression(requirement: &Value) -> Option<(String, String)> {
    let key = meta::str_at(requirement, &["key"]);
    let mut values: Vec<&str> = meta::list_at(requirement, &["values"]).iter().filter_map(Value::as_str).collect();
    values.sort_unstable();
    let values = values.join(",");
    let term = match meta::str_at(requirement, &["operator"]) {
        "In" => format!("{key} in ({values})"),
        "NotIn" => format!("{key} notin ({values})"),
        "Exists" => key.to_string(),
        "DoesNotExist" => format!("!{key}"),
        _ => return None,
    };
    Some((key.to_string(), term))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn terms_are_in_order_of_their_keys() {
        let selector = json!({
            "matchLabels": {"b": "1"},
            "matchExpressions": [
                {"key": "c", "operator": "In", "values": ["z", "y"]},
                {"key": "a", "operator": "DoesNotExist"},
                {"key": "d", "operator": "NotIn", "values": ["q"]},
                {"key": "e", "operator": "Exists"},
            ],
        });
        assert_eq!(text(&selector), "!a,b=1,c in (y,z),d notin (q),e");
        assert_eq!(text_or_none(&json!({})), "<none>");
    }
}
