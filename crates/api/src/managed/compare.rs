//! What differs between two objects of one type, as sets of paths.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::path::PathElement;
use super::set::{Entry, FieldSet};
use super::shape::{Node, Shape};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    pub added: FieldSet,
    pub modified: FieldSet,
    pub removed: FieldSet,
}

impl Comparison {
    pub fn is_same(&self) -> bool {
        self.added.is_empty() && self.modified.is_empty() && self.removed.is_empty()
    }

    /// Everything that the later object has and the earlier one has not, or has with another value.
    pub fn changed(&self) -> FieldSet {
        self.modified.union(&self.added)
    }

    /// Without the paths in `ignored` and all below them.
    #[must_use]
    pub fn without(mut self, ignored: &FieldSet) -> Self {
        for set in [&mut self.added, &mut self.modified, &mut self.removed] {
            set.cut(ignored);
        }
        self
    }
}

/// Compares two objects. Lists with keys compare element by element, whatever their order.
pub fn compare(node: Node<'_>, before: &Value, after: &Value) -> Comparison {
    let mut walk = Walk::default();
    walk.values(node, Some(before), Some(after));
    walk.found
}

#[derive(Default)]
struct Walk {
    path: Vec<PathElement>,
    found: Comparison,
}

impl Walk {
    fn values(&mut self, node: Node<'_>, before: Option<&Value>, after: Option<&Value>) {
        match (before, after) {
            (Some(before), Some(after)) if before != after => self.changed(node, before, after),
            (None, Some(after)) => self.found.added.put_at(&self.path, whole(node, after)),
            (Some(before), None) => self.found.removed.put_at(&self.path, whole(node, before)),
            _ => {}
        }
    }

    fn changed(&mut self, node: Node<'_>, before: &Value, after: &Value) {
        let sample = if after.is_null() { before } else { after };
        let shape = node.shape(sample);
        if shape == Shape::Leaf || is_empty(before) && is_empty(after) {
            return self.found.modified.insert(&self.path);
        }
        if shape == Shape::List {
            return self.elements(node, before, after);
        }
        if matches!(node, Node::Untyped) && !before.is_object() && !before.is_null() {
            self.found.modified.insert(&self.path);
        }
        self.fields(node, before, after);
    }

    fn below(&mut self, element: PathElement, node: Node<'_>, before: Option<&Value>, after: Option<&Value>) {
        self.path.push(element);
        self.values(node, before, after);
        self.path.pop();
    }

    fn fields(&mut self, node: Node<'_>, before: &Value, after: &Value) {
        let none = Map::new();
        let (before, after) = (before.as_object().unwrap_or(&none), after.as_object().unwrap_or(&none));
        for (name, old) in before {
            let new = after.get(name);
            if new != Some(old) {
                self.below(PathElement::field(name), node.field(name), Some(old), new);
            }
        }
        for (name, new) in after.iter().filter(|(name, _)| !before.contains_key(*name)) {
            self.below(PathElement::field(name), node.field(name), None, Some(new));
        }
    }

    fn elements(&mut self, node: Node<'_>, before: &Value, after: &Value) {
        let (before, after) = (by_path(node, before), by_path(node, after));
        let paths: BTreeSet<&PathElement> = before.keys().chain(after.keys()).collect();
        let none = Vec::new();
        for path in paths {
            let (old, new) = (before.get(path).unwrap_or(&none), after.get(path).unwrap_or(&none));
            self.element(node.element(), path, old, new);
        }
    }

    /// One element of a list. Duplicates are compared as if they were one atomic value.
    fn element(&mut self, node: Node<'_>, path: &PathElement, old: &[&Value], new: &[&Value]) {
        match (old, new) {
            ([_, _, ..], [_, _, ..]) => {
                if old != new {
                    self.mark(path, |found| &mut found.modified);
                }
            }
            ([_, _, ..], _) => {
                if let Some(new) = new.first() {
                    self.below(path.clone(), node, None, Some(new));
                }
                self.mark(path, |found| &mut found.removed);
            }
            (_, [_, _, ..]) => {
                if let Some(old) = old.first() {
                    self.below(path.clone(), node, Some(old), None);
                }
                self.mark(path, |found| &mut found.added);
            }
            _ => self.below(path.clone(), node, old.first().copied(), new.first().copied()),
        }
    }

    fn mark(&mut self, element: &PathElement, set: impl Fn(&mut Comparison) -> &mut FieldSet) {
        self.path.push(element.clone());
        set(&mut self.found).insert(&self.path);
        self.path.pop();
    }
}

/// A value that came or went as a whole: itself, and all that is in it.
fn whole(node: Node<'_>, value: &Value) -> Entry {
    let mut below = FieldSet::default();
    match (node.shape(value), value) {
        (Shape::Map, Value::Object(fields)) => {
            for (name, value) in fields {
                below.put(PathElement::field(name), whole(node.field(name), value));
            }
        }
        (Shape::List, Value::Array(_)) => {
            for (path, items) in by_path(node, value) {
                let entry = match items.as_slice() {
                    [item] => whole(node.element(), item),
                    _ => Entry { member: true, below: FieldSet::default() },
                };
                below.put(path, entry);
            }
        }
        _ => {}
    }
    Entry { member: true, below }
}

/// The elements of a list by their paths; those without a path are left out.
fn by_path<'a>(node: Node<'_>, list: &'a Value) -> BTreeMap<PathElement, Vec<&'a Value>> {
    let mut found: BTreeMap<PathElement, Vec<&Value>> = BTreeMap::new();
    for item in list.as_array().into_iter().flatten() {
        if let Ok(path) = node.item_path(item) {
            found.entry(path).or_default().push(item);
        }
    }
    found
}

/// Null, an empty map or an empty list; also what should be a map or list and is none.
pub fn is_empty(value: &Value) -> bool {
    match value {
        Value::Object(fields) => fields.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::managed::{extract, fields_v1};
    use crate::testing::{any_workload, workload};

    fn found(before: &Value, after: &Value) -> Comparison {
        let (schema, ty) = workload();
        compare(Node::root(&schema, &ty), before, after)
    }

    /// `expected`: added, modified, removed.
    #[track_caller]
    fn check(before: Value, after: Value, expected: [Value; 3]) {
        let found = found(&before, &after);
        assert_eq!([&found.added, &found.modified, &found.removed].map(fields_v1::write), expected);
    }

    #[test]
    fn maps_compare_by_entry() {
        check(
            json!({"data": {"a": "1", "b": "2"}}),
            json!({"data": {"a": "9", "c": "3"}}),
            [json!({"f:data": {"f:c": {}}}), json!({"f:data": {"f:a": {}}}), json!({"f:data": {"f:b": {}}})],
        );
        check(json!({}), json!({"data": {"a": "1"}}), [json!({"f:data": {".": {}, "f:a": {}}}), json!({}), json!({})]);
        check(
            json!({"data": null}),
            json!({"data": {"a": "1"}}),
            [json!({"f:data": {"f:a": {}}}), json!({}), json!({})],
        );
        check(json!({"data": null}), json!({"data": {}}), [json!({}), json!({"f:data": {}}), json!({})]);
    }

    #[test]
    fn keyed_lists_compare_by_element() {
        check(
            json!({"spec": {"containers": [{"name": "a", "image": "1"}, {"name": "b"}]}}),
            json!({"spec": {"containers": [{"name": "c"}, {"name": "a", "image": "2"}]}}),
            [
                json!({"f:spec": {"f:containers": {"k:{\"name\":\"c\"}": {".": {}, "f:name": {}}}}}),
                json!({"f:spec": {"f:containers": {"k:{\"name\":\"a\"}": {"f:image": {}}}}}),
                json!({"f:spec": {"f:containers": {"k:{\"name\":\"b\"}": {".": {}, "f:name": {}}}}}),
            ],
        );
    }

    #[test]
    fn duplicates_compare_as_one() {
        let list = |images: &[&str]| json!({"spec": {"containers": images.iter().map(|image| json!({"name": "a", "image": image})).collect::<Vec<_>>()}});
        let element = json!({"f:spec": {"f:containers": {"k:{\"name\":\"a\"}": {}}}});
        let all = json!({"f:spec": {"f:containers": {"k:{\"name\":\"a\"}": {".": {}, "f:image": {}, "f:name": {}}}}});
        check(list(&["1", "2"]), list(&["1", "3"]), [json!({}), element.clone(), json!({})]);
        check(list(&["1"]), list(&["1", "2"]), [element.clone(), json!({}), all.clone()]);
        check(list(&["1", "2"]), list(&["1"]), [all, json!({}), element]);
    }

    #[test]
    fn atomic_parts_compare_as_a_whole() {
        check(
            json!({"spec": {"args": ["1"], "selector": {"matchLabels": {"a": "1"}}}}),
            json!({"spec": {"args": ["2"], "selector": {"matchLabels": {"a": "2"}}}}),
            [json!({}), json!({"f:spec": {"f:args": {}, "f:selector": {}}}), json!({})],
        );
    }

    proptest! {
        #[test]
        fn nothing_differs_from_itself_and_differences_are_symmetric(a in any_workload(), b in any_workload()) {
            prop_assert!(found(&a, &a).is_same());
            let (forth, back) = (found(&a, &b), found(&b, &a));
            prop_assert_eq!(&forth.added, &back.removed);
            prop_assert_eq!(&forth.modified, &back.modified);
        }

        #[test]
        fn what_comes_from_nothing_is_added(a in any_workload()) {
            let (schema, ty) = workload();
            let named = extract::field_set(Node::root(&schema, &ty), &a);
            let added = found(&json!({}), &a).added;
            prop_assert!(named.difference(&added).is_empty(), "{:?}", named.difference(&added).paths());
        }
    }
}
