use serde_json::json;

use super::*;
use crate::{GroupVersionKind, schema};

fn type_of(api_version: &str, kind: &str) -> Type {
    let gvk = GroupVersionKind::from_api_version(api_version, kind).expect("a version");
    schema::type_of(&gvk).expect("a known kind")
}

/// What is written is read back as it was.
fn check(value: Value) {
    let ty = type_of(meta::str_at(&value, &["apiVersion"]), meta::str_at(&value, &["kind"]));
    let schema = schema::builtin();
    let canonical = decode::value(schema, &ty, value).expect("an object").object;
    let body = object(schema, &ty, &canonical).expect("a protobuf form");
    assert_eq!(decode::protobuf(schema, &ty, &body).expect("our own body").object, canonical);
}

#[test]
fn objects_survive_the_way_there_and_back() {
    check(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "creationTimestamp":
        "2026-11-23T17:08:18Z"}, "data": {"a": "", "b": "x"}, "binaryData": {"c": "/wA="}, "immutable": false}));
    check(json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"priority": -5,
        "terminationGracePeriodSeconds": 0, "volumes": [{"name": "v", "hostPath": {"path": "/x", "type": ""}},
        {"name": "e", "emptyDir": {}}], "containers": [{"name": "m", "args": ["", "a"], "resources": {"limits":
        {"cpu": "500m"}}, "livenessProbe": {"httpGet": {"port": "web"}}, "readinessProbe": {"tcpSocket": {"port": 5}},
        "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]}],
        "ephemeralContainers": [{"name": "d", "image": "i", "targetContainerName": "m"}]}}));
    check(json!({"apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": {"name": "r"}, "revision": 3,
        "data": {"spec": {"template": {"$patch": "replace", "x": null}}}}));
    check(json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
        "spec": {"user": "u", "extra": {"k": ["a", "b"]}}}));
    check(
        json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "c"},
        "spec": {"group": "g", "names": {"kind": "K", "plural": "p"}, "scope": "Cluster", "versions": [{"name": "v1",
        "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object", "properties": {
        "a": {"minimum": 1.5, "default": [1, null], "items": {"type": "string"}}, "b": {"additionalProperties": false},
        "c": {"additionalProperties": {"type": "integer"}}, "d": {"items": [{"type": "string"}]}}}}}]}}),
    );
}

#[test]
fn a_list_and_a_watch_event() {
    let schema = schema::builtin();
    let ty = type_of("v1", "ConfigMap");
    let item = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}});
    let metadata = json!({"resourceVersion": "5", "continue": "x", "remainingItemCount": 7});
    let body = list(schema, &ty, "v1", "ConfigMapList", &metadata, [&item]).expect("a protobuf form");
    let text = String::from_utf8_lossy(&body);
    assert!(text.starts_with("k8s\0") && text.contains("ConfigMapList"), "{text}");
    let one = object(schema, &ty, &item).expect("a protobuf form");
    let frame = watch_frame("ADDED", &one);
    let length = u32::from_be_bytes(frame[..4].try_into().expect("four bytes"));
    assert_eq!(length as usize, frame.len() - 4);
    assert!(frame.windows(one.len()).any(|window| window == one));
}

#[test]
fn a_custom_resource_has_no_such_form() {
    assert_eq!(object(schema::builtin(), &Type::Any, &json!({})), None);
}
