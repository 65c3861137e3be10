//! When two revisions hold the same template.

use serde_json::Value;

/// Clients before Kubernetes 1.34 wrote `"creationTimestamp":null` into `data`; it says nothing and must not make a
/// difference.
pub fn without_null_times(mut data: Value) -> Value {
    drop_null_times(&mut data);
    data
}

fn drop_null_times(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, value| name != "creationTimestamp" || !value.is_null());
            fields.values_mut().for_each(drop_null_times);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_null_times),
        _ => {}
    }
}
