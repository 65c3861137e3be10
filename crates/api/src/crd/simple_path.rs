//! Simple JSON paths (`.spec.replicas`), as subresources and selectable fields use them.

use serde_json::{Map, Value};

/// The value at a path of field names.
pub fn find<'a>(object: &'a Value, path: &str) -> Option<&'a Value> {
    fields(path).try_fold(object, |value, field| value.get(field))
}

/// Puts a value at a path of field names; objects on the way are made where they are missing.
pub fn set(object: &mut Value, path: &str, value: Value) {
    let mut place = object;
    for field in fields(path) {
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
        let fields = place.as_object_mut().expect("made an object just above");
        place = fields.entry(field).or_insert(Value::Null);
    }
    *place = value;
}

fn fields(path: &str) -> impl Iterator<Item = &str> {
    path.trim_start_matches('.').split('.').filter(|field| !field.is_empty())
}
