//! Taking paths out of an object.

use serde_json::{Map, Value};

use super::path::PathElement;
use super::set::FieldSet;
use super::shape::{Node, Shape};

/// The object without the values at the paths of `set`. Maps and lists that lose everything become null.
pub fn remove(node: Node<'_>, value: &Value, set: &FieldSet) -> Value {
    match (node.shape(value), value) {
        (Shape::Map, Value::Object(fields)) => {
            let kept = fields.iter().filter_map(|(name, value)| {
                let kept = kept(node.field(name), value, set, &PathElement::field(name))?;
                Some((name.clone(), kept))
            });
            let kept: Map<String, Value> = kept.collect();
            if kept.is_empty() { Value::Null } else { Value::Object(kept) }
        }
        (Shape::List, Value::Array(items)) => {
            let kept = items.iter().filter_map(|item| match node.item_path(item) {
                Ok(path) => kept(node.element(), item, set, &path),
                Err(_) => Some(item.clone()),
            });
            let kept: Vec<Value> = kept.collect();
            if kept.is_empty() { Value::Null } else { Value::Array(kept) }
        }
        _ => value.clone(),
    }
}

fn kept(node: Node<'_>, value: &Value, set: &FieldSet, element: &PathElement) -> Option<Value> {
    match set.at(element) {
        None => Some(value.clone()),
        Some(entry) if entry.member => None,
        Some(entry) => Some(remove(node, value, &entry.below)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::managed::fields_v1;
    use crate::testing::workload;

    #[test]
    fn values_at_the_paths_go() {
        let (schema, ty) = workload();
        let object = json!({"data": {"a": "1"}, "spec": {"priority": 1, "containers": [
            {"name": "a", "image": "x"}, {"name": "b"}], "args": ["1"]}});
        let set = json!({"f:data": {"f:a": {}}, "f:spec": {"f:args": {"v:\"1\"": {}}, "f:containers": {
            "k:{\"name\":\"a\"}": {"f:image": {}}, "k:{\"name\":\"b\"}": {}}}});
        let set = fields_v1::read(&set).unwrap();
        assert_eq!(
            remove(Node::root(&schema, &ty), &object, &set),
            json!({"data": null, "spec": {"priority": 1, "containers": [{"name": "a"}], "args": ["1"]}}),
        );
    }
}
