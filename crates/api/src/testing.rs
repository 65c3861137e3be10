//! What the tests of this crate share: arbitrary JSON, and small schemas made by hand.

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::schema::{Field, ListKind, PatchStrategy, Scalar, Schema, StructId, Type};

/// Any JSON of a few levels, with few keys, so that two values often have some in common.
pub fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (0..4i64).prop_map(Value::from),
        (1..8i32).prop_map(|quarters| Value::from(f64::from(quarters) / 4.0)),
        "[a-c]{0,2}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![vec(inner.clone(), 0..4).prop_map(Value::from), btree_map(any_key(), inner, 0..4).prop_map(object)]
    })
}

/// Any JSON object.
pub fn any_object() -> impl Strategy<Value = Value> {
    btree_map(any_key(), any_json(), 0..4).prop_map(object)
}

fn any_key() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-c]",
        1 => Just("name".to_string()),
        1 => Just("$patch".to_string()),
        1 => Just("$retainKeys".to_string()),
        1 => Just("$setElementOrder/a".to_string()),
        1 => Just("$deleteFromPrimitiveList/b".to_string()),
    ]
}

fn object(fields: std::collections::BTreeMap<String, Value>) -> Value {
    fields.into_iter().collect::<Map<_, _>>().into()
}

/// A schema with one of everything that merging has to know, under the names of a pod's fields.
pub fn workload() -> (Schema, Type) {
    let mut schema = Schema::default();
    let container = container(&mut schema);
    let strategy = declare(&mut schema, "Strategy", [("type", string()), ("rollingUpdate", map(false))]);
    let selector = declare(&mut schema, "Selector", [("matchLabels", map(false))]);
    schema.struct_mut(selector).atomic = true;
    let retain = PatchStrategy { retain_keys: true, ..Default::default() };
    let replace = PatchStrategy { replace: true, ..Default::default() };
    let spec = [
        ("containers", required(keyed(container, &["name"], "name"))),
        ("strategy", Field { patch: retain, ..plain(Type::Struct { id: strategy }) }),
        ("selector", Field { patch: replace, ..plain(Type::Struct { id: selector }) }),
        ("nodeSelector", map(true)),
        ("args", list(Type::Scalar(Scalar::String), ListKind::Atomic)),
        ("priority", int()),
        ("hostNetwork", plain(Type::Scalar(Scalar::Bool))),
        ("nodeName", string()),
        ("raw", plain(Type::Any)),
    ];
    let spec = declare(&mut schema, "Spec", spec);
    let status = declare(&mut schema, "Status", [("phase", string()), ("replicas", int())]);
    let metadata = metadata(&mut schema);
    let root = [
        ("apiVersion", string()),
        ("kind", string()),
        ("metadata", written(plain(Type::Struct { id: metadata }))),
        ("spec", written(plain(Type::Struct { id: spec }))),
        ("status", written(plain(Type::Struct { id: status }))),
        ("data", map(false)),
    ];
    let id = declare(&mut schema, "Workload", root);
    (schema, Type::Struct { id })
}

fn container(schema: &mut Schema) -> StructId {
    let port = [("containerPort", required(int())), ("protocol", string()), ("hostPort", int())];
    let port = declare(schema, "Port", port);
    schema.struct_mut(port).defaults.insert("protocol".into(), json!("TCP"));
    let container = [
        ("name", required(string())),
        ("image", string()),
        ("args", list(Type::Scalar(Scalar::String), ListKind::Atomic)),
        ("ports", keyed(port, &["containerPort", "protocol"], "containerPort")),
    ];
    declare(schema, "Container", container)
}

fn metadata(schema: &mut Schema) -> StructId {
    let names = ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"].map(|name| (name, string()));
    let finalizers = list(Type::Scalar(Scalar::String), ListKind::Set);
    let merged = PatchStrategy { merge: true, ..Default::default() };
    let others = [
        ("generation", int()),
        ("labels", map(false)),
        ("annotations", map(false)),
        ("finalizers", Field { patch: merged, ..finalizers }),
        ("managedFields", list(Type::Any, ListKind::Atomic)),
    ];
    declare(schema, "ObjectMeta", names.into_iter().chain(others))
}

fn declare<'a>(schema: &mut Schema, name: &str, fields: impl IntoIterator<Item = (&'a str, Field)>) -> StructId {
    let id = schema.declare(name);
    schema.struct_mut(id).fields = fields.into_iter().map(|(name, field)| (name.to_string(), field)).collect();
    id
}

fn plain(ty: Type) -> Field {
    Field {
        ty,
        required: false,
        written: false,
        pointer: false,
        tag: 0,
        patch: PatchStrategy::default(),
        go_type: None,
    }
}

/// As Go writes a struct that is no pointer.
fn written(field: Field) -> Field {
    Field { written: true, ..field }
}

fn required(field: Field) -> Field {
    Field { required: true, written: true, ..field }
}

fn string() -> Field {
    plain(Type::Scalar(Scalar::String))
}

fn int() -> Field {
    plain(Type::Scalar(Scalar::Int32))
}

fn map(atomic: bool) -> Field {
    plain(Type::Map { value: Box::new(Type::Scalar(Scalar::String)), atomic })
}

fn list(element: Type, kind: ListKind) -> Field {
    plain(Type::List { element: Box::new(element), kind })
}

fn keyed(element: StructId, keys: &[&str], merge_key: &str) -> Field {
    let keys = keys.iter().map(|key| key.to_string()).collect();
    let patch = PatchStrategy { merge: true, merge_key: Some(merge_key.into()), ..Default::default() };
    Field { patch, ..list(Type::Struct { id: element }, ListKind::Map { keys }) }
}

/// An object of the type of [`workload`], without nulls and with unique list keys.
pub fn any_workload() -> impl Strategy<Value = Value> {
    let word = || "[a-c]";
    let map = || btree_map(word(), "[1-2]", 0..3).prop_map(|entries| json!(entries));
    let ports = btree_map(1..3i32, proptest::option::of(1..3i32), 0..3).prop_map(|ports| {
        let port = |(port, host)| match host {
            None => json!({"containerPort": port}),
            Some(host) => json!({"containerPort": port, "hostPort": host}),
        };
        Value::from(ports.into_iter().map(port).collect::<Vec<Value>>())
    });
    let container = (field("image", word()), field("args", vec(word(), 0..2)), field("ports", ports))
        .prop_map(|(image, args, ports)| merged([image, args, ports]));
    let containers = btree_map(word(), container, 0..3).prop_map(|containers| {
        let named = |(name, mut container): (String, Value)| {
            container["name"] = name.into();
            container
        };
        containers.into_iter().map(named).collect::<Vec<_>>()
    });
    let finalizers = proptest::collection::btree_set(word(), 0..3);
    let spec = (
        field("containers", containers.prop_shuffle()),
        field("args", vec(word(), 0..2)),
        field("nodeSelector", map()),
        field("selector", map().prop_map(|labels| json!({"matchLabels": labels}))),
        field("priority", 0..3i32),
    );
    let spec = spec.prop_map(|(a, b, c, d, e)| merged([a, b, c, d, e]));
    let metadata = (field("labels", map()), field("finalizers", finalizers)).prop_map(|(a, b)| merged([a, b]));
    let status = field("replicas", 0..3i32);
    let parts = (field("metadata", metadata), field("spec", spec), field("data", map()), field("status", status));
    parts.prop_map(|(metadata, spec, data, status)| as_decoded(merged([metadata, spec, data, status])))
}

/// Decoding keeps no empty parts, so nothing behind it ever meets one.
fn as_decoded(mut object: Value) -> Value {
    let is_empty = |value: &Value| value == &json!({}) || value == &json!([]);
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|_, value| !is_empty(value));
    }
    if let Some(fields) = object.as_object_mut() {
        fields.retain(|_, value| !is_empty(value));
    }
    object
}

/// An object that has the field, or not.
fn field<T: serde::Serialize + std::fmt::Debug>(
    name: &'static str,
    value: impl Strategy<Value = T>,
) -> impl Strategy<Value = Value> {
    proptest::option::weighted(0.7, value).prop_map(move |value| match value {
        Some(value) => json!({name: value}),
        None => json!({}),
    })
}

fn merged(parts: impl IntoIterator<Item = Value>) -> Value {
    let fields = parts.into_iter().filter_map(|part| part.as_object().cloned()).flatten();
    fields.collect::<Map<_, _>>().into()
}
