//! Merging an applied object into the live one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::{Map, Value};

use super::compare::is_empty;
use super::path::PathElement;
use super::shape::{Node, Shape};

/// Merges `applied` into `live`: leaves are taken from `applied` where it has them, maps and keyed lists merge.
///
/// # Errors
/// What keeps lists from being merged: elements without a key, duplicates in `applied`.
pub fn merge(node: Node<'_>, live: &Value, applied: &Value) -> Result<Value, Vec<String>> {
    let mut errors = Vec::new();
    let merged = values(&mut errors, node, Some(live), Some(applied));
    if errors.is_empty() { Ok(merged.unwrap_or_else(|| Value::Object(Map::new()))) } else { Err(errors) }
}

/// The merged value; `None` for maps and lists that became empty by merging.
fn values(errors: &mut Vec<String>, node: Node<'_>, live: Option<&Value>, applied: Option<&Value>) -> Option<Value> {
    let sample = applied.filter(|value| !value.is_null()).or(live).or(applied)?;
    let mergeable = !(live.is_none_or(is_empty) && applied.is_none_or(is_empty));
    match node.shape(sample) {
        Shape::Map if mergeable => fields(errors, node, live, applied),
        Shape::List if mergeable => elements(errors, node, live, applied),
        _ => applied.or(live).cloned(),
    }
}

fn fields(errors: &mut Vec<String>, node: Node<'_>, live: Option<&Value>, applied: Option<&Value>) -> Option<Value> {
    let none = Map::new();
    let live = live.and_then(Value::as_object).unwrap_or(&none);
    let applied = applied.and_then(Value::as_object).unwrap_or(&none);
    let names = live.keys().chain(applied.keys().filter(|name| !live.contains_key(*name)));
    let merged = names.filter_map(|name| {
        let before = errors.len();
        let value = values(errors, node.field(name), live.get(name), applied.get(name));
        prefix(&mut errors[before..], &PathElement::field(name));
        Some((name.clone(), value?))
    });
    let merged: Map<String, Value> = merged.collect();
    (!merged.is_empty()).then_some(Value::Object(merged))
}

/// One list by the paths of its elements. Elements that occur twice have no value to merge with.
struct Indexed<'a> {
    order: VecDeque<(PathElement, &'a Value)>,
    values: BTreeMap<PathElement, Option<&'a Value>>,
}

fn index<'a>(errors: &mut Vec<String>, node: Node<'_>, list: Option<&'a Value>, duplicates: bool) -> Indexed<'a> {
    let mut indexed = Indexed { order: VecDeque::new(), values: BTreeMap::new() };
    for (at, item) in list.and_then(Value::as_array).into_iter().flatten().enumerate() {
        match node.item_path(item) {
            Err(why) => errors.push(format!("element {at}: {why}")),
            Ok(path) if !indexed.values.contains_key(&path) => {
                indexed.values.insert(path.clone(), Some(item));
                indexed.order.push_back((path, item));
            }
            Ok(path) if duplicates => {
                indexed.values.insert(path.clone(), None);
                indexed.order.push_back((path, item));
            }
            Ok(path) => errors.push(format!("duplicate entries for key {path}")),
        }
    }
    indexed
}

/// Elements keep the order of `applied`; those that only `live` has stay as close as they can to where they were.
fn elements(errors: &mut Vec<String>, node: Node<'_>, live: Option<&Value>, applied: Option<&Value>) -> Option<Value> {
    let before = errors.len();
    let applied = index(errors, node, applied, false);
    let live = index(errors, node, live, true);
    if errors.len() > before {
        return None;
    }
    let merged: Vec<Value> = in_order(live, applied)
        .into_iter()
        .filter_map(|element| {
            let before = errors.len();
            let value = values(errors, node.element(), element.live, element.applied);
            prefix(&mut errors[before..], &element.path);
            value
        })
        .collect();
    (!merged.is_empty()).then_some(Value::Array(merged))
}

/// An element of the merged list, with the values to merge.
struct Element<'a> {
    path: PathElement,
    live: Option<&'a Value>,
    applied: Option<&'a Value>,
}

fn in_order<'a>(mut live: Indexed<'a>, mut applied: Indexed<'a>) -> Vec<Element<'a>> {
    let mut shared: VecDeque<PathElement> =
        applied.order.iter().map(|(path, _)| path).filter(|path| live.values.contains_key(path)).cloned().collect();
    let mut next_shared = shared.pop_front();
    let mut merged = Vec::new();
    let mut taken = BTreeSet::new();
    loop {
        let left = live.order.front().map(|(path, _)| path.clone());
        let right = applied.order.front().map(|(path, _)| path.clone());
        if let (Some(left), Some(_)) = (&left, &right) {
            let waits = next_shared.is_some() && next_shared.as_ref() != Some(left);
            if left != right.as_ref().expect("checked above") && applied.values.contains_key(left) && waits {
                // Its turn comes when `applied` has it.
                live.order.pop_front();
                continue;
            }
        }
        if let Some(left) = left.filter(|left| right.as_ref() != Some(left)) {
            if !applied.values.contains_key(&left) {
                let value = live.order.pop_front().map(|(_, value)| value);
                merged.push(Element { path: left, live: value, applied: None });
                continue;
            }
            if taken.contains(&left) {
                live.order.pop_front();
            }
        }
        let Some((path, value)) = applied.order.pop_front() else {
            if live.order.is_empty() {
                return merged;
            }
            continue;
        };
        if live.order.front().is_some_and(|(left, _)| *left == path) {
            live.order.pop_front();
        }
        if next_shared.as_ref() == Some(&path) {
            next_shared = shared.pop_front();
        }
        let old = live.values.get(&path).copied().flatten();
        merged.push(Element { path: path.clone(), live: old, applied: Some(value) });
        taken.insert(path);
    }
}

/// Puts the element before the paths of errors found below it.
fn prefix(errors: &mut [String], element: &PathElement) {
    for error in errors {
        let separator = if error.starts_with(['.', '[']) { "" } else { ": " };
        *error = format!("{element}{separator}{error}");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::managed::{compare, extract};
    use crate::testing::{any_workload, workload};

    fn merged(live: &Value, applied: &Value) -> Result<Value, Vec<String>> {
        let (schema, ty) = workload();
        merge(Node::root(&schema, &ty), live, applied)
    }

    #[track_caller]
    fn check(live: Value, applied: Value, expected: Value) {
        assert_eq!(merged(&live, &applied), Ok(expected));
    }

    /// Lists of containers, one letter each; a capital letter is an element with an image.
    #[track_caller]
    fn check_order(live: &str, applied: &str, expected: &str) {
        let list = |names: &str| {
            let item = |name: char| match name.is_uppercase() {
                true => json!({"name": name.to_lowercase().to_string(), "image": "x"}),
                false => json!({"name": name.to_string()}),
            };
            json!({"spec": {"containers": names.chars().map(item).collect::<Vec<_>>()}})
        };
        assert_eq!(merged(&list(live), &list(applied)), Ok(list(expected)), "{live} {applied}");
    }

    #[test]
    fn maps_merge_and_atomic_parts_are_replaced() {
        check(
            json!({"data": {"a": "1"}, "spec": {"nodeSelector": {"a": "1"}, "args": ["1"], "priority": 1}}),
            json!({"data": {"b": "2"}, "spec": {"nodeSelector": {"b": "2"}, "args": ["2"]}}),
            json!({"data": {"a": "1", "b": "2"}, "spec": {"nodeSelector": {"b": "2"}, "args": ["2"], "priority": 1}}),
        );
    }

    #[test]
    fn null_and_empty_maps_take_nothing_away() {
        check(json!({"data": {"a": "1"}}), json!({"data": null}), json!({"data": {"a": "1"}}));
        check(json!({"data": {"a": "1"}}), json!({"data": {}}), json!({"data": {"a": "1"}}));
        check(json!({"data": {}}), json!({"data": null}), json!({"data": null}));
    }

    #[test]
    fn keyed_lists_keep_the_order_of_the_applied_list() {
        check_order("ab", "B", "aB");
        check_order("ab", "c", "abc");
        check_order("ab", "BA", "BA");
        check_order("abcd", "dB", "acdB");
        check_order("", "ba", "ba");
        check_order("axb", "ba", "xba");
        check_order("aab", "Ab", "Ab");
    }

    #[test]
    fn lists_that_cannot_be_merged_are_errors() {
        let twice = json!({"spec": {"containers": [{"name": "a"}, {"name": "a"}]}});
        assert_eq!(
            merged(&json!({}), &twice),
            Err(vec![".spec.containers: duplicate entries for key [name=\"a\"]".to_string()])
        );
    }

    proptest! {
        #[test]
        fn merging_is_idempotent_and_keeps_what_was_applied(live in any_workload(), applied in any_workload()) {
            let (schema, ty) = workload();
            let node = Node::root(&schema, &ty);
            let once = merged(&live, &applied);
            prop_assume!(once.is_ok());
            let once = once.unwrap();
            prop_assert_eq!(&merged(&once, &applied).unwrap(), &once);
            let lost = compare::compare(node, &applied, &once);
            let named = extract::field_set(node, &applied);
            let lost = named.intersection(&lost.removed.union(&lost.modified)).paths();
            prop_assert!(lost.is_empty(), "{lost:?}");
        }

        #[test]
        fn nothing_panics(live in crate::testing::any_json(), applied in crate::testing::any_json()) {
            let _ = merged(&live, &applied);
            let _ = merged(&json!({"spec": {"containers": [live]}}), &json!({"spec": {"containers": [applied]}}));
        }
    }
}
