//! `FieldsV1`: the JSON form of a set of paths.

use serde_json::{Map, Value};

use super::path::PathElement;
use super::set::{Entry, FieldSet};

/// Marks an element that is in the set itself, where others below it are as well.
const SELF: &str = ".";

/// Writes a set. (The order of the keys is that of all JSON objects here; Kubernetes orders numeric keys by value.)
pub fn write(set: &FieldSet) -> Value {
    Value::Object(fields(set))
}

fn fields(set: &FieldSet) -> Map<String, Value> {
    let written = set.entries().map(|(element, entry)| {
        let mut below = fields(&entry.below);
        if entry.member && !below.is_empty() {
            below.insert(SELF.into(), Value::Object(Map::new()));
        }
        (element.text(), Value::Object(below))
    });
    written.collect()
}

/// Reads a set. Kinds of path elements that are not known are skipped.
///
/// # Errors
/// What is wrong with it.
pub fn read(value: &Value) -> Result<FieldSet, String> {
    Ok(read_entry(value)?.below)
}

fn read_entry(value: &Value) -> Result<Entry, String> {
    let Value::Object(fields) = value else { return Err(format!("expected an object, got {value}")) };
    let mut entry = Entry { member: fields.is_empty(), below: FieldSet::default() };
    for (text, value) in fields {
        if text == SELF {
            entry.member = true;
        } else if let Some(element) = PathElement::parse(text)? {
            entry.below.put(element, read_entry(value)?);
        }
    }
    Ok(entry)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_recorded_set_reads_and_writes_the_same() {
        let recorded = json!({"f:spec": {"f:containers": {
            "k:{\"name\":\"a\"}": {".": {}, "f:name": {}, "f:args": {}},
            "k:{\"name\":\"b\"}": {"f:image": {}},
        }}, "f:metadata": {"f:finalizers": {".": {}, "v:\"x\"": {}}}});
        let set = read(&recorded).expect("well-formed");
        assert_eq!(write(&set), recorded);
        let container = |name: &str| PathElement::parse(&format!("k:{{\"name\":\"{name}\"}}")).unwrap().unwrap();
        let path = |name| [PathElement::field("spec"), PathElement::field("containers"), container(name)];
        assert!(set.has(&path("a")));
        assert!(!set.has(&path("b")), "only its image is owned");
    }

    #[test]
    fn malformed_sets_are_errors() {
        for value in [json!(null), json!([]), json!({"f:a": null}), json!({"f:a": []}), json!({"x": {}})] {
            assert!(read(&value).is_err(), "{value}");
        }
        assert_eq!(read(&json!({"z:later": {}})), Ok(FieldSet::default()));
    }

    fn any_element() -> impl Strategy<Value = PathElement> {
        prop_oneof![
            "[a-c./]{0,2}".prop_map(|name| PathElement::field(&name)),
            crate::testing::any_object().prop_map(|key| PathElement::key(key.as_object().unwrap().clone())),
            crate::testing::any_json().prop_map(|value| PathElement::value(&value)),
            any::<i64>().prop_map(PathElement::Index),
        ]
    }

    proptest! {
        #[test]
        fn every_set_survives_the_round_trip(paths in proptest::collection::vec(proptest::collection::vec(any_element(), 1..4), 0..6)) {
            let mut set = FieldSet::default();
            paths.iter().for_each(|path| set.insert(path));
            prop_assert_eq!(read(&write(&set)), Ok(set));
        }

        #[test]
        fn nothing_panics(value in crate::testing::any_json()) {
            let _ = read(&value);
        }
    }
}
