//! JSON merge patch (RFC 7396), and the reading of patch bodies that are one object.

use serde_json::Value;

use super::words::{json_error, json_kind};
use crate::Status;

/// Applies a JSON merge patch.
///
/// # Errors
/// `BadRequest` if the patch is not an object.
pub fn merge_patch(object: &Value, patch: &[u8]) -> Result<Value, Status> {
    let patch = object_body(patch).map_err(|why| Status::bad_request(format!("error decoding patch: {why}")))?;
    let mut patched = object.clone();
    json_patch::merge(&mut patched, &patch);
    Ok(patched)
}

/// Reads the body of a strategic merge patch.
///
/// # Errors
/// `BadRequest` if it is not an object.
pub fn strategic_patch_body(patch: &[u8]) -> Result<Value, Status> {
    object_body(patch).map_err(Status::bad_request)
}

fn object_body(patch: &[u8]) -> Result<Value, String> {
    let parsed: Value = serde_json::from_slice(patch).map_err(|error| json_error(patch, &error))?;
    match parsed {
        Value::Object(_) => Ok(parsed),
        // Go decodes null into a map as "nothing".
        Value::Null => Ok(Value::Object(Default::default())),
        other => {
            Err(format!("json: cannot unmarshal {} into Go value of type map[string]interface {{}}", json_kind(&other)))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, json};

    use super::*;
    use crate::testing::any_object;

    #[test]
    fn sets_adds_removes_and_replaces_lists() {
        let object = json!({"data": {"a": "1", "b": "2"}, "list": [1, 2]});
        let patch = br#"{"data": {"a": null, "b": "3", "c": {"d": null}}, "list": [3]}"#;
        assert_eq!(merge_patch(&object, patch), Ok(json!({"data": {"b": "3", "c": {}}, "list": [3]})));
    }

    #[test]
    fn bodies_that_are_no_patch() {
        let message =
            |body: &str| merge_patch(&json!({}), body.as_bytes()).expect_err("no patch").message().to_string();
        assert_eq!(message("{\"data\":"), "error decoding patch: unexpected end of JSON input");
        assert_eq!(
            message("[]"),
            "error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}"
        );
        assert_eq!(strategic_patch_body(b"{\"a\":").expect_err("cut off").message(), "unexpected end of JSON input");
    }

    /// The smallest merge patch that leads from `before` to `after`.
    fn diff(before: &Map<String, Value>, after: &Map<String, Value>) -> Map<String, Value> {
        let gone = before.keys().filter(|key| !after.contains_key(*key)).map(|key| (key.clone(), Value::Null));
        let changed = after.iter().filter(|(key, value)| before.get(*key) != Some(value)).map(|(key, value)| {
            match (before.get(key), value) {
                (Some(Value::Object(old)), Value::Object(new)) => (key.clone(), Value::Object(diff(old, new))),
                _ => (key.clone(), value.clone()),
            }
        });
        gone.chain(changed).collect()
    }

    proptest! {
        #[test]
        fn the_difference_of_two_objects_leads_from_one_to_the_other(before in any_object(), after in any_object()) {
            let (before, after) = (without_nulls(before), without_nulls(after));
            let patch = diff(before.as_object().unwrap(), after.as_object().unwrap());
            prop_assert_eq!(merge_patch(&before, Value::Object(patch).to_string().as_bytes()).unwrap(), after);
        }
    }

    fn without_nulls(value: Value) -> Value {
        match value {
            Value::Object(fields) => {
                let kept = fields.into_iter().filter(|(_, value)| !value.is_null());
                kept.map(|(key, value)| (key, without_nulls(value))).collect::<Map<_, _>>().into()
            }
            other => other,
        }
    }
}
