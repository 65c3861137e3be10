use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::testing::{any_object, workload};

/// Applies `patch` to `object`, which has the shape of a pod with labels.
fn apply(object: Value, patch: Value) -> Result<Value, String> {
    let (schema, ty) = workload();
    strategic_merge(&schema, &ty, &object, &patch).map_err(|status| format!("{} {}", status.code(), status.message()))
}

#[track_caller]
fn check(object: Value, patch: Value, expected: Value) {
    assert_eq!(apply(object, patch), Ok(expected));
}

#[track_caller]
fn refuses(object: Value, patch: Value, message: &str) {
    assert_eq!(apply(object, patch), Err(message.to_string()));
}

fn containers(items: Value) -> Value {
    json!({"spec": {"containers": items}})
}

#[test]
fn objects_merge_and_nulls_delete() {
    check(
        json!({"metadata": {"labels": {"a": "1", "b": "2"}}, "spec": {"hostNetwork": true}}),
        json!({"metadata": {"labels": {"a": null, "c": "3"}}, "spec": {"hostNetwork": null, "nodeName": null}}),
        json!({"metadata": {"labels": {"b": "2", "c": "3"}}, "spec": {}}),
    );
    check(json!({}), json!({"spec": {"nodeName": null, "priority": 1}}), json!({"spec": {"priority": 1}}));
}

#[test]
fn maps_obey_directives() {
    let object = json!({"metadata": {"labels": {"a": "1"}, "name": "x"}});
    check(object.clone(), json!({"metadata": {"$patch": "replace", "name": "y"}}), json!({"metadata": {"name": "y"}}));
    check(
        object.clone(),
        json!({"metadata": {"labels": {"$patch": "delete"}}}),
        json!({"metadata": {"labels": {}, "name": "x"}}),
    );
    refuses(
        object,
        json!({"metadata": {"$patch": "explode", "name": "b"}}),
        "500 unknown patch type: explode in map: map[$patch:explode name:b]",
    );
    check(json!({}), json!({"metadata": {"labels": {"$patch": "replace", "a": "1"}}}), json!({"metadata": {}}));
}

#[test]
fn an_object_may_be_replaced_by_its_strategy() {
    check(
        json!({"spec": {"selector": {"a": "1"}}}),
        json!({"spec": {"selector": {"b": "2"}}}),
        json!({"spec": {"selector": {"b": "2"}}}),
    );
}

#[test]
fn retained_keys_are_all_that_stays() {
    let object = json!({"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}}}});
    check(
        object.clone(),
        json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "OnDelete"}}}),
        json!({"spec": {"strategy": {"type": "OnDelete"}}}),
    );
    let refused = "400 invalid patch format of retainKeys";
    refuses(object.clone(), json!({"spec": {"strategy": {"$retainKeys": ["x"], "type": "OnDelete"}}}), refused);
    refuses(object, json!({"spec": {"strategy": {"$retainKeys": "type"}}}), refused);
}

#[test]
fn keyed_lists_merge_by_key() {
    let object = containers(json!([{"name": "a", "image": "a:1", "args": ["1"]}, {"name": "b", "image": "b:1"}]));
    check(
        object.clone(),
        containers(json!([{"name": "b", "image": "b:2"}])),
        containers(json!([{"name": "a", "image": "a:1", "args": ["1"]}, {"name": "b", "image": "b:2"}])),
    );
    check(
        object.clone(),
        containers(json!([{"name": "a", "args": ["2", "3"], "image": null}])),
        containers(json!([{"name": "a", "args": ["2", "3"]}, {"name": "b", "image": "b:1"}])),
    );
    check(
        object.clone(),
        containers(json!([{"name": "c"}])),
        containers(json!([{"name": "c"}, {"name": "a", "image": "a:1", "args": ["1"]}, {"name": "b", "image": "b:1"}])),
    );
    check(
        object.clone(),
        containers(json!([{"$patch": "delete", "name": "a"}])),
        containers(json!([{"name": "b", "image": "b:1"}])),
    );
    check(
        object,
        containers(json!([{"$patch": "replace"}, {"name": "z", "image": "z:1"}])),
        containers(json!([{"name": "z", "image": "z:1"}])),
    );
    check(json!({}), containers(json!([{"$patch": "replace"}, {"name": "z"}])), containers(json!([{"name": "z"}])));
}

#[test]
fn keyed_lists_refuse_what_has_no_key() {
    let object = containers(json!([{"name": "a"}]));
    refuses(
        object.clone(),
        containers(json!([{"image": "x"}])),
        "500 map: map[image:x] does not contain declared merge key: name",
    );
    refuses(
        object.clone(),
        containers(json!([{"$patch": "delete"}])),
        "500 map: map[$patch:delete] does not contain declared merge key: name",
    );
    refuses(
        object.clone(),
        containers(json!([{"$patch": "explode", "name": "b"}])),
        "500 unknown patch type: explode in map: map[$patch:explode name:b]",
    );
    refuses(
        object.clone(),
        containers(json!([{"$patch": "merge", "name": "b"}])),
        "500 merging lists cannot yet be specified in the patch",
    );
    refuses(object, containers(json!(["a"])), "500 list element types are not identical: [[map[name:a]] [a]]");
}

#[test]
fn element_order_can_be_set() {
    let abc = || containers(json!([{"name": "a"}, {"name": "b"}, {"name": "c"}]));
    let order = |order: Value, items: Value| {
        let mut patch = containers(items);
        patch["spec"]["$setElementOrder/containers"] = order;
        if patch["spec"]["containers"].is_null() {
            patch["spec"].as_object_mut().unwrap().remove("containers");
        }
        patch
    };
    let by_name = |names: &str| json!(names.chars().map(|name| json!({"name": name.to_string()})).collect::<Vec<_>>());
    check(abc(), order(by_name("cba"), Value::Null), containers(by_name("cba")));
    check(abc(), order(by_name("ba"), Value::Null), containers(by_name("bac")));
    check(abc(), order(by_name("axbc"), by_name("x")), containers(by_name("axbc")));
    check(
        abc(),
        order(by_name("xa"), json!([{"$patch": "delete", "name": "b"}, {"name": "x"}])),
        containers(by_name("xac")),
    );
    check(json!({"spec": {}}), order(by_name("xa"), by_name("a")), containers(by_name("a")));
    refuses(
        abc(),
        order(by_name("ab"), by_name("ba")),
        "500 The order in patch list:\n[map[name:b] map[name:a]]\n doesn't match $setElementOrder list:\n[map[name:a] map[name:b]]\n",
    );
    refuses(abc(), order(json!("a"), Value::Null), "500 expected a []interface {}, but received a string");
    refuses(abc(), json!({"spec": {"$setElementOrder": []}}), "400 invalid patch format of setElementOrder list");
}

#[test]
fn lists_of_primitives_merge_as_sets_where_they_are_declared_so() {
    let object = json!({"metadata": {"finalizers": ["a/1", "a/2"]}, "spec": {"args": ["1"]}});
    check(
        object.clone(),
        json!({"metadata": {"finalizers": ["a/3", "a/2"]}, "spec": {"args": ["2"]}}),
        json!({"metadata": {"finalizers": ["a/3", "a/1", "a/2"]}, "spec": {"args": ["2"]}}),
    );
    check(
        object.clone(),
        json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["a/1", "a/9"]}}),
        json!({"metadata": {"finalizers": ["a/2"]}, "spec": {"args": ["1"]}}),
    );
    check(
        object.clone(),
        json!({"metadata": {"$setElementOrder/finalizers": ["a/2", "a/1"]}}),
        json!({"metadata": {"finalizers": ["a/2", "a/1"]}, "spec": {"args": ["1"]}}),
    );
    refuses(
        object,
        json!({"metadata": {"$deleteFromPrimitiveList": ["a"]}}),
        "400 invalid patch format of primitive list",
    );
}

#[test]
fn a_value_of_another_kind_replaces() {
    check(json!({"spec": {"args": ["1"]}}), json!({"spec": {"args": {"a": 1}}}), json!({"spec": {"args": {"a": 1}}}));
}

proptest! {
    #[test]
    fn no_patch_panics(object in any_object(), patch in any_object()) {
        let _ = apply(object.clone(), patch.clone());
        let _ = apply(json!({"spec": object}), json!({"spec": patch}));
        let _ = apply(containers(json!([object])), containers(json!([patch])));
    }

    #[test]
    fn an_empty_patch_changes_nothing(object in any_object()) {
        prop_assert_eq!(apply(object.clone(), json!({})), Ok(object));
    }
}
