//! When two revisions hold the same template.

use serde_json::Value;

/// The data as it would be written today, and whether it is in an older form: before 1.34 Kubernetes wrote
/// `"creationTimestamp":null` into it, which says nothing.
pub fn in_todays_form(mut data: Value) -> (Value, bool) {
    let older_form = drop_null_times(&mut data);
    (data, older_form)
}

/// Whether there were any.
fn drop_null_times(value: &mut Value) -> bool {
    match value {
        Value::Object(fields) => {
            let before = fields.len();
            fields.retain(|name, value| name != "creationTimestamp" || !value.is_null());
            let dropped = fields.len() < before;
            fields.values_mut().fold(dropped, |dropped, value| drop_null_times(value) || dropped)
        }
        Value::Array(items) => items.iter_mut().fold(false, |dropped, value| drop_null_times(value) || dropped),
        _ => false,
    }
}
