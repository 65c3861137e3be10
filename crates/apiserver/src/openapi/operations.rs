//! One operation: a method on a path.

use backstay_api::GroupVersionKind;
use backstay_api::resources::{Resource, Subresource};
use serde_json::{Map, Value, json};

use super::{Kind, names, parameters, schemas};

/// What a path is about.
#[derive(Clone, Copy)]
pub struct Target<'a> {
    pub kind: &'a Kind<'a>,
    pub subresource: Option<&'a Subresource>,
    /// A list over all namespaces.
    pub all_namespaces: bool,
}

/// The content types of PATCH bodies.
const PATCH_TYPES: [&str; 5] = [
    "application/apply-patch+cbor",
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
];

const MEDIA_TYPES: [&str; 3] = ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];

/// The method of an action, and the first word of its operation's name.
fn method(action: &str) -> (&'static str, &'static str) {
    match action {
        "get" => ("get", "read"),
        "list" => ("get", "list"),
        "post" => ("post", "create"),
        "put" => ("put", "replace"),
        "patch" => ("patch", "patch"),
        "deletecollection" => ("delete", "deleteCollection"),
        "delete" => ("delete", "delete"),
        other => unreachable!("action {other}"),
    }
}

/// The method and the operation.
pub fn operation(target: Target<'_>, action: &str) -> (String, Value) {
    let resource = target.kind.resource;
    let gvk = target.subresource.map_or_else(|| resource.gvk(), |subresource| subresource.kind.clone());
    let (method, word) = method(action);
    let connects = target.subresource.is_some_and(is_connection);
    let mut operation = json!({
        "tags": [names::tag(resource)],
        "description": format!("{word} {}", what(target)),
        "operationId": id(target, if connects { "connect" } else { word }, method),
        "parameters": parameters::of_action(if connects { "connect" } else { action }),
        "responses": responses(target, action, &gvk),
        "x-kubernetes-action": if connects { "connect" } else { action },
        "x-kubernetes-group-version-kind": gvk,
    });
    if let Some(body) = body(target, action, &gvk).filter(|_| !connects) {
        operation["requestBody"] = body;
    }
    (method.to_string(), operation)
}

/// Subresources that turn the connection into something else, or pass it on.
pub fn is_connection(subresource: &Subresource) -> bool {
    matches!(subresource.name.as_str(), "attach" | "exec" | "portforward" | "proxy")
}

fn what(target: Target<'_>) -> String {
    let Resource { kind, .. } = target.kind.resource;
    match target.subresource {
        Some(subresource) => format!("{} of the specified {kind}", subresource.name),
        None => kind.clone(),
    }
}

fn id(target: Target<'_>, word: &str, method: &str) -> String {
    let resource = target.kind.resource;
    let scope = if resource.namespaced && !target.all_namespaces { "Namespaced" } else { "" };
    let method = if word == "connect" { names::capitalised(method) } else { String::new() };
    let subresource = target.subresource.map(|subresource| names::capitalised(&subresource.name)).unwrap_or_default();
    let everywhere = if target.all_namespaces { "ForAllNamespaces" } else { "" };
    let (camel, kind) = (names::camel(resource), &resource.kind);
    format!("{word}{method}{camel}{scope}{kind}{subresource}{everywhere}")
}

fn type_name(target: Target<'_>, gvk: &GroupVersionKind) -> Option<String> {
    match target.kind.custom {
        Some(_) => Some(names::custom_schema(target.kind.resource)),
        None => schemas::name_of(gvk),
    }
}

fn body(target: Target<'_>, action: &str, gvk: &GroupVersionKind) -> Option<Value> {
    let reference = |name: &str| json!({"schema": {"$ref": names::reference(name)}});
    match action {
        "patch" => {
            let patch = reference(&names::schema("meta.v1.Patch"));
            let custom = target.kind.custom.is_some();
            let types = PATCH_TYPES.iter().filter(|name| !(custom && name.contains("strategic")));
            let content: Map<String, Value> = types.map(|name| (name.to_string(), patch.clone())).collect();
            Some(json!({"required": true, "content": content}))
        }
        "post" | "put" => {
            let name = type_name(target, gvk)?;
            Some(json!({"required": true, "content": {"*/*": reference(&name)}}))
        }
        "delete" | "deletecollection" => {
            Some(json!({"content": {"*/*": reference(&names::schema("meta.v1.DeleteOptions"))}}))
        }
        _ => None,
    }
}

fn responses(target: Target<'_>, action: &str, gvk: &GroupVersionKind) -> Value {
    let name = match action {
        "list" => type_name(target, gvk).map(|name| format!("{name}List")),
        "delete" | "deletecollection" => Some(names::schema("meta.v1.Status")),
        _ => type_name(target, gvk),
    };
    let content: Map<String, Value> = match name {
        None => [("*/*".to_string(), json!({"schema": {"type": "string"}}))].into_iter().collect(),
        Some(name) => {
            let schema = json!({"schema": {"$ref": names::reference(&name)}});
            MEDIA_TYPES.iter().map(|media| (media.to_string(), schema.clone())).collect()
        }
    };
    let codes: &[(&str, &str)] = match action {
        "post" => &[("200", "OK"), ("201", "Created"), ("202", "Accepted")],
        "put" | "patch" => &[("200", "OK"), ("201", "Created")],
        "delete" => &[("200", "OK"), ("202", "Accepted")],
        _ => &[("200", "OK")],
    };
    let mut responses: Map<String, Value> =
        codes.iter().map(|(code, text)| (code.to_string(), json!({"description": text, "content": content}))).collect();
    responses.insert("401".into(), json!({"description": "Unauthorized"}));
    Value::Object(responses)
}
