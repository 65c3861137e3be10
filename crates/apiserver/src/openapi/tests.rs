use backstay_api::resources;

use super::*;

fn builtin() -> Vec<Kind<'static>> {
    resources::builtin().iter().map(|resource| Kind { resource, custom: None }).collect()
}

fn parsed(document: &Document) -> Value {
    serde_json::from_slice(&document.plain()).expect("JSON")
}

fn apps() -> Value {
    parsed(&OpenApi::default().v3(&builtin(), "apis/apps/v1").expect("served"))
}

fn parameter_names(operation: &Value) -> Vec<&str> {
    let list = operation["parameters"].as_array().expect("parameters");
    list.iter().filter_map(|parameter| parameter["name"].as_str()).collect()
}

#[test]
fn what_kubectl_looks_for_in_an_operation() {
    let apps = apps();
    let one = &apps["paths"]["/apis/apps/v1/namespaces/{namespace}/daemonsets/{name}"];
    assert_eq!(parameter_names(&one["patch"]), ["dryRun", "fieldManager", "fieldValidation", "force"]);
    let gvk = json!({"group": "apps", "version": "v1", "kind": "DaemonSet"});
    assert_eq!(one["patch"]["x-kubernetes-group-version-kind"], gvk);
    assert_eq!(one["patch"]["operationId"], "patchAppsV1NamespacedDaemonSet");
    assert!(one["patch"]["requestBody"]["content"]["application/strategic-merge-patch+json"].is_object());
    let all = &apps["paths"]["/apis/apps/v1/namespaces/{namespace}/daemonsets"];
    assert_eq!(parameter_names(&all["post"]), ["dryRun", "fieldManager", "fieldValidation"]);
    assert_eq!(all["post"]["x-kubernetes-action"], "post");
    assert!(apps["paths"]["/apis/apps/v1/daemonsets"]["get"].is_object());
    assert!(apps["paths"]["/apis/apps/v1/namespaces/{namespace}/daemonsets/{name}/scale"].is_null());
}

#[test]
fn schemas_hold_descriptions_and_merge_rules() {
    let apps = apps();
    let schema = |name: &str| apps["components"]["schemas"][name].clone();
    let set = schema("io.k8s.api.apps.v1.DaemonSet");
    assert_eq!(
        set["x-kubernetes-group-version-kind"],
        json!([{"group": "apps", "version": "v1", "kind": "DaemonSet"}])
    );
    assert_eq!(set["properties"]["kind"]["type"], "string");
    assert_eq!(schema("io.k8s.api.apps.v1.DaemonSetSpec")["required"], json!(["selector", "template"]));
    assert_eq!(schema("io.k8s.api.apps.v1.ControllerRevision")["required"], json!(["revision"]));
    let ports = schema("io.k8s.api.core.v1.Container")["properties"]["ports"].clone();
    assert_eq!(ports["x-kubernetes-list-map-keys"], json!(["containerPort", "protocol"]));
    assert_eq!(ports["x-kubernetes-patch-merge-key"], "containerPort");
    for (name, schema) in apps["components"]["schemas"].as_object().expect("schemas") {
        assert!(schema["description"].is_string(), "{name} has no description");
        for (field, property) in schema["properties"].as_object().into_iter().flatten() {
            let is_list = name.ends_with("List");
            assert!(property["description"].is_string() || is_list, "{name}.{field} has no description");
        }
    }
}

#[test]
fn every_reference_leads_somewhere() {
    let kinds = builtin();
    for path in group_versions(&kinds).keys() {
        let document = parsed(&OpenApi::default().v3(&kinds, path).expect("served"));
        check_references(&document, &document, "#/components/schemas/");
        let described = document["components"]["schemas"].as_object().expect("schemas").values();
        let bare = described.filter(|schema| schema["description"].is_null()).count();
        assert_eq!(bare, 0, "{path}: types without description");
    }
    let document = v2::document(&kinds);
    check_references(&document, &document, "#/definitions/");
}

fn check_references(root: &Value, value: &Value, prefix: &str) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::String(reference)) = fields.get("$ref") {
                assert!(reference.starts_with(prefix), "{reference}");
                assert!(root.pointer(&reference[1..]).is_some(), "{reference} leads nowhere");
            }
            fields.values().for_each(|value| check_references(root, value, prefix));
        }
        Value::Array(items) => items.iter().for_each(|value| check_references(root, value, prefix)),
        _ => {}
    }
}

#[test]
fn documents_are_kept_until_something_changes() {
    let openapi = OpenApi::default();
    let kinds = builtin();
    let first = openapi.v3(&kinds, "apis/batch/v1").expect("served");
    assert!(Arc::ptr_eq(&first, &openapi.v3(&kinds, "apis/batch/v1").expect("served")));
    let url = openapi.index(&kinds)["paths"]["apis/batch/v1"]["serverRelativeURL"].clone();
    assert_eq!(url, format!("/openapi/v3/apis/batch/v1?hash={}", first.hash()));
    assert!(openapi.v3(&kinds, "apis/nosuch/v1").is_none());
    let fewer: Vec<Kind<'_>> = kinds.iter().filter(|kind| kind.resource.plural != "jobs").copied().collect();
    assert_ne!(openapi.v3(&fewer, "apis/batch/v1").expect("served").hash(), first.hash());
}

#[test]
fn custom_resources_have_documents_too() {
    let mut resource = resources::builtin()[2].clone();
    resource.group = "example.com".into();
    resource.kind = "Thing".into();
    resource.plural = "things".into();
    let schema = json!({
        "type": "object", "description": "A thing.",
        "properties": {"spec": {"type": "object", "properties": {"size": {"type": "integer", "nullable": true}}}},
    });
    let kinds = [Kind { resource: &resource, custom: Some(&schema) }];
    let document = parsed(&OpenApi::default().v3(&kinds, "apis/example.com/v1").expect("served"));
    let thing = &document["components"]["schemas"]["com.example.v1.Thing"];
    assert_eq!(thing["properties"]["spec"]["properties"]["size"]["type"], "integer");
    assert_eq!(thing["x-kubernetes-group-version-kind"][0]["kind"], "Thing");
    check_references(&document, &document, "#/components/schemas/");
    let patch = &document["paths"]["/apis/example.com/v1/namespaces/{namespace}/things/{name}"]["patch"];
    assert!(patch["requestBody"]["content"]["application/strategic-merge-patch+json"].is_null());
    let v2 = v2::document(&kinds);
    check_references(&v2, &v2, "#/definitions/");
}

#[test]
fn version_2() {
    let document = v2::document(&builtin());
    assert_eq!(document["swagger"], "2.0");
    let spec = &document["definitions"]["io.k8s.api.apps.v1.DaemonSetSpec"];
    assert_eq!(spec["required"], json!(["selector", "template"]));
    assert_eq!(spec["properties"]["template"]["$ref"], "#/definitions/io.k8s.api.core.v1.PodTemplateSpec");
    let patch = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/daemonsets/{name}"]["patch"];
    assert_eq!(patch["parameters"][0]["in"], "body");
    assert_eq!(patch["consumes"].as_array().map(Vec::len), Some(5));
    assert!(v2_protobuf::encode(&document).len() > 1_000_000);
}
