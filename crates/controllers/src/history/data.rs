//! When two revisions hold the same template.

use serde_json::Value;

/// The data as it would be written today, and whether it is in an older form: before 1.34 Kubernetes wrote
/// `"creationTimestamp":null` into it, which says nothing.
pub fn in_todays_form(mut data: Value) -> (Value, bool) {
    let mut older_form = false;
    drop_null_times(&mut data, &mut older_form);
    (data, older_form)
}

fn drop_null_times(value: &mut Value, dropped: &mut bool) {
    match value {
        Value::Object(fields) => {
            let before = fields.len();
            fields.retain(|name, value| name != "creationTimestamp" || !value.is_null());
            *dropped |= fields.len() < before;
            fields.values_mut().for_each(|value| drop_null_times(value, dropped));
        }
        Value::Array(items) => items.iter_mut().for_each(|value| drop_null_times(value, dropped)),
        _ => {}
    }
}
