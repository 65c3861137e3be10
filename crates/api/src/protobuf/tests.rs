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
    let message = message(schema, &ty, &canonical).expect("a protobuf form");
    let body = body(meta::str_at(&canonical, &["apiVersion"]), meta::str_at(&canonical, &["kind"]), &message);
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
fn a_body_to_the_byte() {
    let ty = type_of("v1", "ConfigMap");
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "uid": "u",
        "creationTimestamp": "1970-01-01T00:00:01Z"}, "data": {"b": "y", "a": "x"}});
    let message = message(schema::builtin(), &ty, &object).expect("a protobuf form");
    let metadata = b"\x0a\x0c\x0a\x01c\x2a\x01u\x42\x04\x08\x01\x10\x00";
    let data = b"\x12\x06\x0a\x01a\x12\x01x\x12\x06\x0a\x01b\x12\x01y";
    assert_eq!(message, [&metadata[..], data].concat());
    assert_eq!(metadata_length(&message), Some(metadata.len()));
    assert_eq!(super::metadata(&object), metadata);
    let expected = [b"k8s\0\x0a\x0f\x0a\x02v1\x12\x09ConfigMap\x12\x1e", &message[..], b"\x1a\0\x22\0"].concat();
    assert_eq!(body("v1", "ConfigMap", &message), expected);
}

#[test]
fn a_list_and_a_watch_event_to_the_byte() {
    let metadata = json!({"resourceVersion": "5", "continue": "x", "remainingItemCount": 7});
    let items: [&[u8]; 2] = [b"one", b""];
    let mut expected = b"k8s\0\x0a\x13\x0a\x02v1\x12\x0dConfigMapList\x12\x11".to_vec();
    expected.extend(b"\x0a\x08\x12\x015\x1a\x01x\x20\x07\x12\x03one\x12\x00\x1a\0\x22\0");
    assert_eq!(list("v1", "ConfigMapList", &metadata, &items), expected);

    // The event around the object is a bare message; readers of frames do not look for `k8s\0` there.
    let object = body("v1", "ConfigMap", b"one");
    let frame = |event, kind, message: &[u8]| {
        let mut frame = b"before".to_vec();
        watch_frame(&mut frame, event, "v1", kind, message);
        frame.split_off(6)
    };
    let length = u8::try_from(object.len()).expect("short");
    let head = [0, 0, 0, length + 11, 0x0a, 5, b'A', b'D', b'D', b'E', b'D', 0x12, length + 2, 0x0a, length];
    assert_eq!(frame("ADDED", "ConfigMap", b"one"), [&head[..], &object].concat());
    for size in [0, 1, 100, 127, 128, 200, 20_000, 3_000_000] {
        let frame = frame("MODIFIED", "Pod", &vec![7; size]);
        let length = u32::from_be_bytes(frame[..4].try_into().expect("four bytes"));
        assert_eq!(length as usize, frame.len() - 4);
    }
}

#[test]
fn what_is_written_for_revisions_is_gos_json() {
    let ty = type_of("apps/v1", "ControllerRevision");
    let object = json!({"metadata": {}, "data": {"b": "<&>\u{2028}", "a": 1e21}, "revision": 1});
    let message = message(schema::builtin(), &ty, &object).expect("a protobuf form");
    let data = br#"{"a":1e+21,"b":"\u003c\u0026\u003e\u2028"}"#;
    assert!(message.windows(data.len()).any(|window| window == data), "{}", String::from_utf8_lossy(&message));
}

#[test]
fn documents_say_themselves_what_they_are() {
    let read = |name: &str, document: Value| {
        let body = super::document(&document).expect("a protobuf form");
        let id = schema::builtin().find(name).expect("a type");
        let object = decode::protobuf(schema::builtin(), &Type::Struct { id }, &body).expect("our own").object;
        assert_eq!(object, document);
    };
    read(
        "meta.v1.Status",
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 404, "reason": "NotFound",
        "message": "m", "details": {"name": "x", "kind": "pods", "causes": [{"field": "f"}], "retryAfterSeconds": 1}}),
    );
    read(
        "meta.v1.APIResourceList",
        json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "apps/v1", "resources": [
        {"name": "daemonsets", "singularName": "daemonset", "namespaced": true, "kind": "DaemonSet", "shortNames": ["ds"],
        "verbs": ["get", "list"]}, {"name": "x/status", "singularName": "", "namespaced": false, "kind": "X",
        "verbs": null}]}),
    );
    assert_eq!(super::document(&json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1"})), None);
    assert_eq!(super::document(&json!({"kind": "Widget", "apiVersion": "example.com/v1"})), None);
    assert_eq!(super::document(&json!({"major": "1"})), None);
}

#[test]
fn a_custom_resource_has_no_such_form_but_its_metadata() {
    let widget = json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": {}});
    assert_eq!(message(schema::builtin(), &Type::Any, &widget), None);
    assert_eq!(super::metadata(&widget), b"\x0a\x03\x0a\x01w");
}

#[test]
fn every_kind_begins_with_its_metadata() {
    for kind in schema::builtin().kinds() {
        let structure = schema::builtin().get(schema::builtin().find(kind).expect("a kind"));
        let Some(metadata) = structure.fields.get("metadata") else { continue };
        assert_eq!(metadata.tag, 1, "{kind}");
    }
}

/// Alpha fields that came after the source of the tags. They are switched off in a server of this version.
const WITHOUT_TAG: &[&str] = &[
    "core.v1.ImageVolumeStatus imageRef",
    "core.v1.NodeAllocatableResourceClaimStatus containers",
    "core.v1.NodeAllocatableResourceClaimStatus resourceClaimName",
    "core.v1.NodeAllocatableResourceClaimStatus resources",
    "core.v1.PodSchedulingGroup podGroupName",
    "core.v1.PodSpec schedulingGroup",
    "core.v1.PodStatus nodeAllocatableResourceClaimStatuses",
    "core.v1.ResourceHealth message",
    "core.v1.VolumeMountStatus volumeStatus",
    "core.v1.VolumeStatus image",
    "meta.v1.ListMeta shardInfo",
    "meta.v1.ShardInfo selector",
    "resource.v1.Device nodeAllocatableResourceMappings",
    "resource.v1.DeviceAttribute bools",
    "resource.v1.DeviceAttribute ints",
    "resource.v1.DeviceAttribute strings",
    "resource.v1.DeviceAttribute versions",
    "resource.v1.NodeAllocatableResourceMapping allocationMultiplier",
    "resource.v1.NodeAllocatableResourceMapping capacityKey",
    "storage.v1.CSIDriverSpec preventPodSchedulingIfMissing",
];

#[test]
fn all_other_fields_can_be_written() {
    let schema = schema::builtin();
    let mut without = Vec::new();
    for structure in schema.all() {
        for name in structure.fields.keys().filter(|name| !matches!(name.as_str(), "apiVersion" | "kind")) {
            if !has_tag(schema, structure, name) {
                without.push(format!("{} {name}", structure.name));
            }
        }
    }
    without.sort();
    assert_eq!(without, WITHOUT_TAG);
}

fn has_tag(schema: &Schema, structure: &Struct, name: &str) -> bool {
    structure.parts.iter().any(|(_, part)| match part {
        Part::Field(field) => field == name,
        Part::Message(id) => {
            let inner = schema.get(*id);
            inner.fields.contains_key(name) && has_tag(schema, inner, name)
        }
    })
}
