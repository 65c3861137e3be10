//! The set of fields that an applied object names.

use serde_json::Value;

use super::path::PathElement;
use super::set::{Entry, FieldSet};
use super::shape::{Node, Shape};

/// The paths of all leaves of a value, of its empty maps and nulls, of the entries of its maps, and of the elements
/// of its lists. Elements that occur twice are in the set only as such.
pub fn field_set(node: Node<'_>, value: &Value) -> FieldSet {
    entry(node, value).below
}

fn entry(node: Node<'_>, value: &Value) -> Entry {
    match (node.shape(value), value) {
        (Shape::Leaf, _) => Entry { member: true, below: FieldSet::default() },
        (Shape::Map, Value::Object(_)) => Entry { member: false, below: fields(node, value) },
        (Shape::List, Value::Array(items)) => Entry { member: false, below: elements(node, items) },
        _ => Entry::default(),
    }
}

fn fields(node: Node<'_>, value: &Value) -> FieldSet {
    let mut set = FieldSet::default();
    for (name, value) in value.as_object().into_iter().flatten() {
        let mut entry = entry(node.field(name), value);
        let empty = value.is_null() || value.as_object().is_some_and(|fields| fields.is_empty());
        entry.member |= empty || !node.is_named(name);
        set.put(PathElement::field(name), entry);
    }
    set
}

fn elements(node: Node<'_>, items: &[Value]) -> FieldSet {
    let mut set = FieldSet::default();
    for item in items {
        let Ok(path) = node.item_path(item) else { continue };
        let entry = match set.at(&path) {
            None => Entry { member: true, ..entry(node.element(), item) },
            Some(_) => Entry { member: true, below: FieldSet::default() },
        };
        set.replace(path, entry);
    }
    set
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::managed::fields_v1;
    use crate::testing::workload;

    #[track_caller]
    fn check(value: Value, expected: Value) {
        let (schema, ty) = workload();
        assert_eq!(fields_v1::write(&field_set(Node::root(&schema, &ty), &value)), expected);
    }

    #[test]
    fn named_fields_are_owned_through_what_they_hold() {
        check(json!({"data": {"a": "1"}, "kind": "W"}), json!({"f:data": {"f:a": {}}, "f:kind": {}}));
        check(json!({"data": {}, "status": null}), json!({"f:data": {}, "f:status": {}}));
        check(json!({"spec": {"containers": [], "args": []}}), json!({"f:spec": {"f:args": {}}}));
    }

    #[test]
    fn lists_are_owned_by_their_kind() {
        check(
            json!({"spec": {"args": ["1"], "containers": [{"name": "a", "args": ["x"], "ports": [{"containerPort": 53}]}]},
                   "metadata": {"finalizers": ["x"]}}),
            json!({"f:spec": {"f:args": {}, "f:containers": {"k:{\"name\":\"a\"}": {".": {}, "f:args": {}, "f:name": {},
                     "f:ports": {"k:{\"containerPort\":53,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}}}}},
                   "f:metadata": {"f:finalizers": {"v:\"x\"": {}}}}),
        );
    }

    #[test]
    fn atomic_parts_are_owned_as_a_whole() {
        check(
            json!({"spec": {"selector": {"matchLabels": {"a": "1"}}, "nodeSelector": {"a": "1"}, "raw": {"a": [1]}}}),
            json!({"f:spec": {"f:selector": {}, "f:nodeSelector": {}, "f:raw": {}}}),
        );
    }

    #[test]
    fn of_duplicates_only_the_element_is_owned() {
        check(
            json!({"spec": {"containers": [{"name": "a"}, {"name": "a", "image": "x"}, {"name": "a"}]}}),
            json!({"f:spec": {"f:containers": {"k:{\"name\":\"a\"}": {}}}}),
        );
    }

    #[test]
    fn a_set_is_reconciled_with_a_type_that_became_atomic() {
        let (schema, ty) = workload();
        let before = json!({"f:spec": {"f:selector": {"f:matchLabels": {"f:a": {}}}, "f:args": {"v:1": {}}, "f:x": {"f:y": {}}}});
        let after = json!({"f:spec": {"f:selector": {}, "f:args": {}, "f:x": {"f:y": {}}}});
        let set = fields_v1::read(&before).unwrap();
        assert_eq!(fields_v1::write(&Node::root(&schema, &ty).reconciled(&set)), after);
    }
}
