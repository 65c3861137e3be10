//! JSON patch (RFC 6902).

use json_patch::PatchOperation;
use serde_json::{Map, Value};

use super::words::{json_error, json_kind};
use crate::decode::{DEPTH_MAX, is_deeper};
use crate::status::Details;
use crate::{Reason, Status};

/// As in Kubernetes: a patch with more operations is refused before any of them runs.
const OPERATIONS_MAX: usize = 10_000;

/// As in Kubernetes (`JSONPatchMaxCopyBytes`): all copies of a patch together. Without a limit, a few dozen operations
/// that each double the object would fill the memory.
const COPIED_BYTES_MAX: usize = 3 << 20;

/// All elements that one patch pushes aside in lists: 10,000 operations on a list of 5,000. More would keep a core busy
/// for seconds with a patch that takes a moment to write.
const MOVED_ELEMENTS_MAX: usize = 50_000_000;

/// Applies a JSON patch.
///
/// # Errors
/// `BadRequest` if the patch is no list of objects, `RequestEntityTooLarge` for more than 10,000 operations, and the
/// wordless 422 of Kubernetes for everything that cannot be applied, operations that do not exist included.
pub fn json_patch(object: &Value, patch: &[u8]) -> Result<Value, Status> {
    let operations = parse(patch)?;
    if operations.len() > OPERATIONS_MAX {
        return Err(Status::new(
            Reason::RequestEntityTooLarge,
            format!("The allowed maximum operations in a JSON patch is {OPERATIONS_MAX}, got {}", operations.len()),
        ));
    }
    let operations: Vec<PatchOperation> =
        operations.into_iter().map(operation).collect::<Option<_>>().ok_or_else(unprocessable)?;
    let mut patched = object.clone();
    let (mut copied, mut moved) = (0, 0);
    for operation in operations {
        copied += copied_bytes(&patched, &operation);
        moved += moved_elements(&patched, &operation);
        if copied > COPIED_BYTES_MAX || moved > MOVED_ELEMENTS_MAX || is_too_deep(&patched, &operation) {
            return Err(unprocessable());
        }
        if !is_met_by_absence(&patched, &operation) {
            json_patch::patch_unsafe(&mut patched, &[operation]).map_err(|_| unprocessable())?;
        }
    }
    Ok(patched)
}

/// What strict field validation objects to in a JSON patch: `json patch unknown field "[0].foo"`.
pub fn json_patch_problems(patch: &[u8]) -> Vec<String> {
    let operations = parse(patch).unwrap_or_default();
    let unknown = operations.iter().enumerate().flat_map(|(index, operation)| {
        let fields = operation.keys().filter(|field| !["op", "path", "from", "value"].contains(&field.as_str()));
        fields.map(move |field| format!("json patch unknown field \"[{index}].{field}\""))
    });
    unknown.collect()
}

fn parse(patch: &[u8]) -> Result<Vec<Map<String, Value>>, Status> {
    let bad = |why: String| Status::bad_request(format!("error decoding patch: {why}"));
    let parsed: Value = serde_json::from_slice(patch).map_err(|error| bad(json_error(patch, &error)))?;
    let Value::Array(items) = parsed else {
        let kind = json_kind(&parsed);
        return Err(bad(format!("json: cannot unmarshal {kind} into Go value of type []handlers.jsonPatchOp")));
    };
    let object = |item: Value| match item {
        Value::Object(fields) => Ok(fields),
        other => {
            let kind = json_kind(&other);
            Err(bad(format!("json: cannot unmarshal {kind} into Go value of type handlers.jsonPatchOp")))
        }
    };
    items.into_iter().map(object).collect()
}

/// One operation; `None` if it is none. A value that is left out counts as null, as in Kubernetes.
fn operation(mut fields: Map<String, Value>) -> Option<PatchOperation> {
    fields.entry("value").or_insert(Value::Null);
    serde_json::from_value(Value::Object(fields)).ok()
}

/// Whether this tests that a field of an object is null, and there is none. The RFC says no, Kubernetes says yes, and
/// clients ask so whether they are the first to add a finalizer.
fn is_met_by_absence(object: &Value, operation: &PatchOperation) -> bool {
    let PatchOperation::Test(test) = operation else { return false };
    let Some((parent, field)) = test.path.split_back() else { return false };
    let parent = object.pointer(parent.as_str()).and_then(Value::as_object);
    test.value.is_null() && parent.is_some_and(|parent| !parent.contains_key(&*field.decoded()))
}

fn copied_bytes(object: &Value, operation: &PatchOperation) -> usize {
    match operation {
        PatchOperation::Copy(copy) => object.pointer(copy.from.as_str()).map_or(0, |value| value.to_string().len()),
        _ => 0,
    }
}

/// What is put somewhere goes as deep as its place and itself together. Without a limit, a few operations that each put
/// the object into itself would make one that no stack can hold.
fn is_too_deep(object: &Value, operation: &PatchOperation) -> bool {
    let from = |from: &str| object.pointer(from);
    let put = match operation {
        PatchOperation::Add(add) => Some(&add.value),
        PatchOperation::Replace(replace) => Some(&replace.value),
        PatchOperation::Copy(copy) => from(copy.from.as_str()),
        PatchOperation::Move(moving) => from(moving.from.as_str()),
        PatchOperation::Remove(_) | PatchOperation::Test(_) => None,
    };
    let levels = operation.path().as_str().matches('/').count();
    put.is_some_and(|value| levels > DEPTH_MAX || is_deeper(value, DEPTH_MAX - levels))
}

/// How many elements an operation within a list pushes aside.
fn moved_elements(object: &Value, operation: &PatchOperation) -> usize {
    let list = |path: &str| {
        let parent = path.rsplit_once('/').and_then(|(parent, _)| object.pointer(parent));
        parent.and_then(Value::as_array).map_or(0, Vec::len)
    };
    match operation {
        PatchOperation::Add(_) | PatchOperation::Remove(_) | PatchOperation::Copy(_) => list(operation.path().as_str()),
        PatchOperation::Move(moving) => list(moving.from.as_str()) + list(operation.path().as_str()),
        PatchOperation::Replace(_) | PatchOperation::Test(_) => 0,
    }
}

/// Kubernetes gives no reason here: its message is the generic one of the status code.
fn unprocessable() -> Status {
    Status::new(Reason::Invalid, "the server rejected our request due to an error in our request")
        .details(Details::default())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn check(object: Value, patch: Value, expected: Result<Value, u16>) {
        let patched = json_patch(&object, patch.to_string().as_bytes()).map_err(|status| status.code());
        assert_eq!(patched, expected, "{patch}");
    }

    #[test]
    fn operations_run_in_order() {
        let object = json!({"data": {"a": "1", "b": "2"}, "labels": {"x/y": "1"}, "list": [1, 2]});
        check(
            object.clone(),
            json!([{"op": "add", "path": "/data/c", "value": "3"}, {"op": "remove", "path": "/data/b"}]),
            Ok(json!({"data": {"a": "1", "c": "3"}, "labels": {"x/y": "1"}, "list": [1, 2]})),
        );
        check(
            object.clone(),
            json!([{"op": "replace", "path": "/labels/x~1y", "value": "2"}, {"op": "add", "path": "/list/-", "value": 3}]),
            Ok(json!({"data": {"a": "1", "b": "2"}, "labels": {"x/y": "2"}, "list": [1, 2, 3]})),
        );
        check(object, json!([{"op": "test", "path": "/data/a", "value": "2"}]), Err(422));
    }

    #[test]
    fn a_field_that_is_missing_tests_as_null() {
        let test = |path: &str, value: Value| json!([{"op": "test", "path": path, "value": value}]);
        let object = json!({"metadata": {"name": "x", "nothing": null}, "list": [1]});
        for path in ["/metadata/finalizers", "/metadata/nothing", "/spec", "/metadata/a~1b"] {
            check(object.clone(), test(path, Value::Null), Ok(object.clone()));
        }
        for (path, value) in [
            ("/metadata/finalizers", json!([])),
            ("/metadata/name", Value::Null),
            ("/spec/x", Value::Null),
            ("/list/3", Value::Null),
            ("/list/0", Value::Null),
            ("/metadata/name/x", Value::Null),
        ] {
            check(object.clone(), test(path, value), Err(422));
        }
        let add = json!([{"op": "test", "path": "/metadata/finalizers"},
            {"op": "add", "path": "/metadata/finalizers", "value": ["a"]}]);
        check(json!({"metadata": {}}), add, Ok(json!({"metadata": {"finalizers": ["a"]}})));
    }

    #[test]
    fn what_cannot_be_applied_is_unprocessable() {
        for patch in [
            json!([{"op": "remove", "path": "/data/zz"}]),
            json!([{"op": "add", "path": "/spec/x/y", "value": "1"}]),
            json!([{"op": "twist", "path": "/data/a"}]),
            json!([{"op": "replace", "path": "/list/9", "value": {}}]),
            json!([{"path": "/data"}]),
            json!([{}]),
        ] {
            check(json!({"data": {"a": "1"}, "list": []}), patch, Err(422));
        }
        let status = json_patch(&json!({}), b"[{}]").expect_err("an empty operation");
        assert_eq!(status.to_json()["details"], json!({}));
    }

    #[test]
    fn bodies_that_are_no_patch() {
        let message = |body: &str| json_patch(&json!({}), body.as_bytes()).expect_err("no patch").message().to_string();
        assert_eq!(message("{\"data\":"), "error decoding patch: unexpected end of JSON input");
        assert_eq!(
            message("{\"a\":1}"),
            "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp"
        );
        let many = format!("[{}]", vec!["{}"; OPERATIONS_MAX + 1].join(","));
        assert_eq!(json_patch(&json!({}), many.as_bytes()).expect_err("too many").code(), 413);
    }

    #[test]
    fn copies_cannot_fill_the_memory() {
        let double = json!({"op": "copy", "from": "/a", "path": "/a/-"});
        check(json!({"a": ["x".repeat(1000)]}), Value::from(vec![double.clone(); 8]).clone(), {
            let mut list = vec![json!("x".repeat(1000))];
            (0..8).for_each(|_| list.push(Value::from(list.clone())));
            Ok(json!({"a": list}))
        });
        check(json!({"a": ["x".repeat(1000)]}), Value::from(vec![double; 60]), Err(422));
    }

    #[test]
    fn nesting_has_an_end() {
        let inward = json!({"op": "move", "from": "/a", "path": "/b/a"});
        let round = [
            inward,
            json!({"op": "move", "from": "/b", "path": "/a"}),
            json!({"op": "add", "path": "/b", "value": {}}),
        ];
        let rounds: Vec<Value> = round.iter().cycle().take(9_000).cloned().collect();
        check(json!({"a": {}, "b": {}}), rounds.into(), Err(422));
        let deep = format!("/a{}", "/a".repeat(150));
        check(json!({"a": {}}), json!([{"op": "add", "path": deep, "value": 1}]), Err(422));
    }

    #[test]
    fn long_lists_are_not_pushed_around_for_ever() {
        let list: Vec<u32> = (0..100_000).collect();
        let front = json!({"op": "add", "path": "/a/0", "value": 0});
        check(json!({"a": list}), vec![front; 9_000].into(), Err(422));
    }

    #[test]
    fn unknown_fields_of_operations_are_reported() {
        let patch = br#"[{"op":"add","path":"/data","value":{},"foo":1}]"#;
        assert_eq!(json_patch_problems(patch), ["json patch unknown field \"[0].foo\""]);
    }

    proptest! {
        #[test]
        fn no_patch_panics(object in crate::testing::any_json(), patch in crate::testing::any_json(), path in "(/[a-c0-2-]{0,2}){0,3}") {
            let _ = json_patch(&object, patch.to_string().as_bytes());
            for op in ["add", "remove", "replace", "move", "copy", "test"] {
                let patch = json!([{"op": op, "path": path, "from": path, "value": patch}]);
                let _ = json_patch(&object, patch.to_string().as_bytes());
            }
        }
    }
}
