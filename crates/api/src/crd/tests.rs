use serde_json::{Value, json};

use super::*;
use crate::managed::{Manager, apply, track_update};
use crate::status::Cause;
use crate::{decode, meta};

const NOW: &str = "2026-01-01T00:00:00Z";

/// A definition of `widgets.example.com` with this schema of `spec`, defaulted.
pub(in crate::crd) fn definition(spec: Value) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "conversion": {"strategy": "None"},
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList",
                      "shortNames": ["wd"]},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                    "spec": spec, "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}},
                "subresources": {"status": {}, "scale": {
                    "specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas",
                    "labelSelectorPath": ".status.selector"}},
                "additionalPrinterColumns": [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}],
            }],
        },
    })
}

fn established(mut definition: Value) -> Value {
    definition["status"] = status(&definition, [], NOW.parse().unwrap());
    definition
}

/// The only version of a definition with this schema of `spec`.
pub(in crate::crd) fn widget(spec: Value) -> CustomResource {
    let definition = definition(spec);
    assert_eq!(validate_create(&definition), []);
    compile(&established(definition)).remove(0)
}

pub(in crate::crd) fn object(spec: Value) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": spec})
}

pub(in crate::crd) fn shown(causes: Vec<Cause>) -> Vec<String> {
    causes.into_iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect()
}

#[test]
fn a_definition_becomes_a_resource_when_its_names_are_accepted() {
    let definition = definition(json!({"type": "object"}));
    assert!(compile(&definition).is_empty());
    let definition = established(definition);
    let resource = compile(&definition).remove(0).resource;
    assert_eq!((resource.plural.as_str(), resource.storage.as_str()), ("widgets", "example.com/widgets"));
    assert_eq!(resource.short_names, ["wd"]);
    let subresources: Vec<&str> = resource.subresources.iter().map(|subresource| subresource.name.as_str()).collect();
    assert_eq!(subresources, ["status", "scale"]);
    assert_eq!(status(&definition, [], "2027-01-01T00:00:00Z".parse().unwrap()), definition["status"]);
}

#[test]
fn names_in_use_are_not_given_twice() {
    let first = established(definition(json!({"type": "object"})));
    let mut second = definition(json!({"type": "object"}));
    second["metadata"]["name"] = "gadgets.example.com".into();
    second["spec"]["names"]["plural"] = "gadgets".into();
    second["spec"]["names"]["singular"] = "gadget".into();
    second["status"] = status(&second, [&first, &second.clone()], NOW.parse().unwrap());
    assert_eq!(second["status"]["acceptedNames"], json!({"plural": "gadgets", "singular": "gadget"}));
    let condition = &second["status"]["conditions"][0];
    assert_eq!((&condition["status"], &condition["reason"]), (&json!("False"), &json!("ListKindConflict")));
    assert_eq!(condition["message"], "\"WidgetList\" is already in use");
    assert!(!is_established(&second));

    second["spec"]["names"] =
        json!({"plural": "gadgets", "singular": "gadget", "kind": "Gadget", "listKind": "GadgetList"});
    second["status"] = status(&second, [&first], NOW.parse().unwrap());
    assert!(is_established(&second));
}

#[test]
fn deletion_waits_for_the_objects() {
    let mut definition = established(definition(json!({"type": "object"})));
    begin_deletion(&mut definition, NOW.parse().unwrap());
    assert_eq!(definition["metadata"]["finalizers"], json!([CLEANUP_FINALIZER]));
    let condition = &definition["status"]["conditions"][2];
    assert_eq!((&condition["type"], &condition["reason"]), (&json!("Terminating"), &json!("InstanceDeletionPending")));
}

#[test]
fn unknown_fields_are_pruned_and_defaults_filled_in() {
    let widget = widget(json!({
        "type": "object", "default": {"size": 2},
        "properties": {
            "size": {"type": "integer"},
            "mode": {"type": "string", "default": "slow"},
            "note": {"type": "string", "nullable": true, "default": "n"},
            "gone": {"type": "string"},
            "port": {"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]},
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            "labels": {"type": "object", "additionalProperties": {"type": "string"}},
            "parts": {"type": "array", "items": {"type": "object", "properties": {
                "name": {"type": "string"}, "kind": {"type": "string", "default": "round"}}}},
        },
    }));
    let sent = object(json!({"size": 1, "mode": null, "note": null, "gone": null, "odd": 1, "port": "http",
        "free": {"x": [null, {"y": 1}]}, "labels": {"a": "1"}, "parts": [{"name": "p", "odd": 1}, {}]}));
    let decoded = decode::value(&widget.schema, &widget.ty, sent).expect("an object");
    assert_eq!(decoded.problems, ["unknown field \"spec.odd\"", "unknown field \"spec.parts[0].odd\""]);
    let mut found = decoded.object;
    widget.apply_defaults(&mut found);
    assert_eq!(
        found["spec"],
        json!({"size": 1, "mode": "slow", "note": null, "port": "http", "free": {"x": [null, {"y": 1}]},
               "labels": {"a": "1"}, "parts": [{"name": "p", "kind": "round"}, {"kind": "round"}]})
    );
    assert_eq!(widget.validate(&found, None), Findings::default());
    let mut empty = json!({"metadata": {"name": "w"}});
    widget.apply_defaults(&mut empty);
    assert_eq!(empty["spec"], json!({"size": 2, "mode": "slow", "note": "n"}));
}

#[test]
fn fields_with_dots_in_their_names_are_not_mixed_up() {
    let object_of = |field: &str| json!({"type": "object", "properties": {field: {"type": "string"}}});
    let nested = json!({"type": "object", "properties": {"b": object_of("x")}});
    let widget = widget(json!({"type": "object", "properties": {"a": nested, "a.b": object_of("y")}}));
    let sent = object(json!({"a": {"b": {"x": "1"}}, "a.b": {"y": "2"}}));
    let decoded = decode::value(&widget.schema, &widget.ty, sent.clone()).expect("an object");
    assert_eq!((decoded.object, decoded.problems), (sent, Vec::new()));
}

#[test]
fn objects_are_validated_in_the_words_of_kubernetes() {
    #[track_caller]
    fn check(schema: Value, value: Value, expected: &[&str]) {
        let spec = json!({"type": "object", "properties": {"x": schema}});
        assert_eq!(shown(widget(spec).validate(&object(json!({"x": value})), None).causes), expected);
    }
    check(
        json!({"type": "integer"}),
        json!("a"),
        &["spec.x: Invalid value: \"string\": spec.x in body must be of type integer: \"string\""],
    );
    check(
        json!({"type": "integer"}),
        json!(1.5),
        &["spec.x: Invalid value: \"number\": spec.x in body must be of type integer: \"number\""],
    );
    check(json!({"type": "integer"}), json!(1.0), &[]);
    check(json!({"type": "number"}), json!(1), &[]);
    check(
        json!({"type": "string"}),
        Value::Null,
        &["spec.x: Invalid value: \"null\": spec.x in body must be of type string: \"null\""],
    );
    check(json!({"type": "string", "nullable": true}), Value::Null, &[]);
    check(
        json!({"type": "string", "enum": ["a", "b"]}),
        json!("c"),
        &["spec.x: Unsupported value: \"c\": supported values: \"a\", \"b\""],
    );
    check(
        json!({"type": "string", "pattern": "^a+$"}),
        json!("b"),
        &["spec.x: Invalid value: \"b\": spec.x in body should match '^a+$'"],
    );
    check(json!({"type": "string", "maxLength": 2}), json!("abc"), &["spec.x: Too long: may not be more than 2 bytes"]);
    check(
        json!({"type": "string", "minLength": 2}),
        json!("a"),
        &["spec.x: Invalid value: \"a\": spec.x in body should be at least 2 chars long"],
    );
    check(
        json!({"type": "string", "format": "ipv4"}),
        json!("x"),
        &["spec.x: Invalid value: \"x\": spec.x in body must be of type ipv4: \"x\""],
    );
    check(
        json!({"type": "integer", "minimum": 1, "maximum": 9}),
        json!(0),
        &["spec.x: Invalid value: 0: spec.x in body should be greater than or equal to 1"],
    );
    check(
        json!({"type": "integer", "maximum": 9, "exclusiveMaximum": true}),
        json!(9),
        &["spec.x: Invalid value: 9: spec.x in body should be less than 9"],
    );
    check(
        json!({"type": "integer", "multipleOf": 2}),
        json!(3),
        &["spec.x: Invalid value: 3: spec.x in body should be a multiple of 2"],
    );
    check(
        json!({"type": "array", "items": {"type": "string"}, "maxItems": 1}),
        json!(["a", "b"]),
        &["spec.x: Too many: 2: must have at most 1 items"],
    );
    check(
        json!({"type": "array", "items": {"type": "string"}, "minItems": 1}),
        json!([]),
        &["spec.x: Invalid value: []: spec.x in body should have at least 1 items"],
    );
    check(
        json!({"type": "array", "items": {"type": "string"}}),
        json!(["a", 1]),
        &["spec.x[1]: Invalid value: \"integer\": spec.x[1] in body must be of type string: \"integer\""],
    );
    check(
        json!({"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}}),
        json!(["a", "a"]),
        &["spec.x[1]: Duplicate value: \"a\""],
    );
    check(
        json!({"type": "object", "required": ["y"], "properties": {"y": {"type": "string"}}}),
        json!({}),
        &["spec.x.y: Required value"],
    );
    check(
        json!({"type": "object", "additionalProperties": {"type": "string"}, "maxProperties": 1}),
        json!({"a": "1", "b": 2}),
        &[
            "spec.x: Invalid value: {\"a\":\"1\",\"b\":2}: spec.x in body should have at most 1 properties",
            "spec.x.b: Invalid value: \"integer\": spec.x.b in body must be of type string: \"integer\"",
        ],
    );
    check(
        json!({"type": "string", "oneOf": [{"pattern": "a"}, {"pattern": "b"}]}),
        json!("ab"),
        &[
            "<nil>: Invalid value: \"\": \"spec.x\" must validate one and only one schema (oneOf). Found 2 valid alternatives",
        ],
    );
    check(
        json!({"type": "string", "not": {"pattern": "a"}}),
        json!("a"),
        &["<nil>: Invalid value: \"\": \"spec.x\" must not validate the schema (not)"],
    );
    check(
        json!({"x-kubernetes-int-or-string": true}),
        json!([]),
        &["spec.x: Invalid value: \"array\": spec.x in body must be of type integer,string: \"array\""],
    );
}

#[test]
fn embedded_objects_are_objects() {
    let pod = json!({"type": "object", "x-kubernetes-embedded-resource": true,
        "x-kubernetes-preserve-unknown-fields": true});
    let widget = widget(json!({"type": "object", "properties": {"pods": {"type": "array", "items": pod}}}));
    let check = |pod: Value, expected: &[&str]| {
        let sent = object(json!({"pods": [pod]}));
        let decoded = decode::value(&widget.schema, &widget.ty, sent).expect("an object").object;
        assert_eq!(shown(widget.validate(&decoded, None).causes), expected);
    };
    check(json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"labels": {"a": "b"}}, "spec": {"x": 1}}), &[]);
    check(
        json!({"kind": ""}),
        &[
            "spec.pods[0].apiVersion: Required value: must not be empty",
            "spec.pods[0].kind: Invalid value: \"\": must not be empty",
        ],
    );
    check(
        json!({"apiVersion": "a/b/c", "kind": "Pod", "metadata": {"labels": {"a": "b c"}}}),
        &[
            "spec.pods[0].apiVersion: Invalid value: \"a/b/c\": unexpected GroupVersion string: a/b/c",
            "spec.pods[0].metadata.labels: Invalid value: \"b c\": a valid label must be an empty string or consist of \
             alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. \
             'MyValue',  or 'my_value',  or '12345', regex used for validation is \
             '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')",
        ],
    );
}

#[test]
fn groups_of_kubernetes_show_their_approval() {
    let mut definition = definition(json!({"type": "object"}));
    definition["metadata"]["name"] = "widgets.x.k8s.io".into();
    definition["spec"]["group"] = "x.k8s.io".into();
    let mut check = |annotation: &str, expected: &str| {
        definition["metadata"]["annotations"] = json!({"api-approved.kubernetes.io": annotation});
        let status = status(&definition, [], NOW.parse().unwrap());
        let found = &status["conditions"][2];
        let text = |field: &str| found[field].as_str().unwrap().to_string();
        assert_eq!([text("type"), text("status"), text("reason"), text("message")].join(" "), expected);
    };
    check(
        "https://github.com/kubernetes/kubernetes/pull/1",
        "KubernetesAPIApprovalPolicyConformant True ApprovedAnnotation approved in \
         https://github.com/kubernetes/kubernetes/pull/1",
    );
    check(
        "unapproved, for tests",
        "KubernetesAPIApprovalPolicyConformant False UnapprovedAnnotation not approved: \"unapproved, for tests\"",
    );
}

#[test]
fn definitions_are_validated_in_the_words_of_kubernetes() {
    #[track_caller]
    fn check(change: impl Fn(&mut Value), expected: &[&str]) {
        let mut definition = definition(json!({"type": "object"}));
        change(&mut definition);
        assert_eq!(shown(validate_create(&definition)), expected);
    }
    let schema = |definition: &mut Value, schema: Value| {
        definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"] = schema;
    };
    let at = "spec.versions[0].schema.openAPIV3Schema.properties[spec]";
    let said = |what: &str| format!("{at}{what}");
    check(|_| {}, &[]);
    check(
        |crd| crd["metadata"]["name"] = "x".into(),
        &["metadata.name: Invalid value: \"x\": must be spec.names.plural+\".\"+spec.group"],
    );
    check(
        |crd| crd["spec"]["scope"] = "Here".into(),
        &["spec.scope: Unsupported value: \"Here\": supported values: \"Cluster\", \"Namespaced\""],
    );
    check(
        |crd| crd["spec"]["versions"][0]["schema"] = Value::Null,
        &["spec.versions[0].schema.openAPIV3Schema: Required value: schemas are required"],
    );
    check(
        |crd| crd["spec"]["names"]["listKind"] = "Widget".into(),
        &["spec.names.listKind: Invalid value: \"Widget\": kind and listKind may not be the same"],
    );
    check(
        |crd| schema(crd, json!({})),
        &[&said(".type: Required value: must not be empty for specified object fields")],
    );
    check(|crd| schema(crd, json!({"type": "array"})), &[&said(".items: Required value: must be specified")]);
    check(
        |crd| schema(crd, json!({"type": "object", "allOf": [{"properties": {"a": {"type": "string"}}}]})),
        &[
            &said(".allOf[0].properties[a].type: Forbidden: must be empty to be structural"),
            &said(&format!(".properties[a]: Required value: because it is defined in {at}.allOf[0].properties[a]")),
        ],
    );
    check(
        |crd| schema(crd, json!({"type": "object", "properties": {"a": {"type": "integer", "default": "x"}}})),
        &[&said(".properties[a].default: Invalid value: \"string\":  in body must be of type integer: \"string\"")],
    );
    check(
        |crd| crd["spec"]["group"] = "x.k8s.io".into(),
        &[
            "metadata.name: Invalid value: \"widgets.example.com\": must be spec.names.plural+\".\"+spec.group",
            "metadata.annotations[api-approved.kubernetes.io]: Required value: protected groups must have approval \
             annotation \"api-approved.kubernetes.io\", see https://github.com/kubernetes/enhancements/pull/1111",
        ],
    );
    let item = |extra: Value| {
        let mut item = json!({"type": "object", "properties": {"name": {"type": "string"}}});
        item.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"], "items": item})
    };
    check(
        |crd| schema(crd, item(json!({}))),
        &[&said(
            ".items.properties[name].default: Required value: this property is in x-kubernetes-list-map-keys, so it \
             must have a default or be a required property",
        )],
    );
    check(|crd| schema(crd, item(json!({"required": ["name"]}))), &[]);
    check(
        |crd| schema(crd, item(json!({"required": ["name"], "nullable": true}))),
        &[&said(".items.nullable: Forbidden: cannot be nullable when x-kubernetes-list-type is map")],
    );
    let set = |item: Value| json!({"type": "array", "x-kubernetes-list-type": "set", "items": item});
    check(|crd| schema(crd, set(json!({"type": "string"}))), &[]);
    check(|crd| schema(crd, set(json!({"type": "object", "x-kubernetes-map-type": "atomic"}))), &[]);
    check(
        |crd| schema(crd, set(json!({"type": "object"}))),
        &[&said(
            ".items.x-kubernetes-map-type: Invalid value: null: must be atomic as item of a list with \
             x-kubernetes-list-type=set",
        )],
    );
    check(
        |crd| schema(crd, json!({"type": "object", "x-kubernetes-map-type": "loose"})),
        &[&said(".x-kubernetes-map-type: Unsupported value: \"loose\": supported values: \"atomic\", \"granular\"")],
    );
    check(
        |crd| schema(crd, json!({"type": "object", "x-kubernetes-preserve-unknown-fields": false})),
        &[&said(".x-kubernetes-preserve-unknown-fields: Invalid value: false: must be true or undefined")],
    );
    let version = "spec.versions[0]";
    check(
        |crd| crd["spec"]["versions"][0]["additionalPrinterColumns"][0]["jsonPath"] = "spec.size".into(),
        &[&format!(
            "{version}.additionalPrinterColumns[0].JSONPath: Invalid value: \"spec.size\": must be a simple json path \
             starting with ."
        )],
    );
    let selects = |crd: &mut Value, path: &str| {
        let spec = json!({"type": "object", "properties": {"size": {"type": "integer"}, "part": {"type": "object"}}});
        schema(crd, spec);
        crd["spec"]["versions"][0]["selectableFields"] = json!([{"jsonPath": ".spec.size"}, {"jsonPath": path}]);
    };
    let at_path = |what: &str| format!("{version}.selectableFields[1].jsonPath: {what}");
    check(|crd| selects(crd, ".spec.size"), &[&at_path("Duplicate value: \".spec.size\"")]);
    check(
        |crd| selects(crd, ".spec.none"),
        &[&at_path("Invalid value: \".spec.none\": is an invalid path: does not refer to a valid field")],
    );
    check(
        |crd| selects(crd, ".spec.part"),
        &[&at_path(
            "Invalid value: \".spec.part\": must point to a field of type string, boolean or integer. Enum string \
             fields and strings with formats are allowed.",
        )],
    );
    check(
        |crd| {
            crd["spec"]["versions"][0]["deprecated"] = true.into();
            crd["spec"]["versions"][0]["deprecationWarning"] = "".into();
        },
        &[&format!("{version}.deprecationWarning: Invalid value: \"\": must not be an empty string")],
    );
    let old = established(definition(json!({"type": "object"})));
    let mut new = old.clone();
    new["spec"]["scope"] = "Cluster".into();
    assert_eq!(shown(validate_update(&new, &old)), ["spec.scope: Invalid value: \"Cluster\": field is immutable"]);
}

#[test]
fn custom_resources_have_columns_fields_and_a_scale() {
    let spec = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true,
        "properties": {"size": {"type": "integer"}}});
    let mut definition = definition(spec);
    definition["spec"]["versions"][0]["selectableFields"] = json!([{"jsonPath": ".spec.size"}]);
    assert_eq!(validate_create(&definition), []);
    let widget = compile(&established(definition)).remove(0);
    let mut object = object(json!({"size": 3, "replicas": 2}));
    object["status"] = json!({"replicas": 1, "selector": "a=b"});
    assert_eq!(widget.columns().iter().map(|column| column.name.as_str()).collect::<Vec<_>>(), ["Name", "Size"]);
    assert_eq!(widget.cells(&object, NOW.parse().unwrap()), [json!("w"), json!(3)]);
    assert_eq!(widget.selectable_fields(&object), [("spec.size".to_string(), "3".to_string())]);
    let mut scale = widget.scale(&object).expect("it can be scaled");
    assert_eq!(scale["spec"], json!({"replicas": 2}));
    assert_eq!(scale["status"], json!({"replicas": 1, "selector": "a=b"}));
    scale["spec"]["replicas"] = 5.into();
    widget.set_scale(&mut object, &scale).expect("it can be scaled");
    assert_eq!(object["spec"]["replicas"], 5);
}

#[test]
fn fields_of_custom_resources_have_owners() {
    let widget = widget(json!({"type": "object", "properties": {
        "atomic": {"type": "array", "items": {"type": "string"}},
        "parts": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                  "items": {"type": "object", "required": ["name"], "properties": {
                      "name": {"type": "string"}, "size": {"type": "integer"}}}},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}));
    let manager = |name| Manager { name, resource: &widget.resource, subresource: "", now: NOW.parse().unwrap() };
    let spec = json!({"atomic": ["a"], "parts": [{"name": "p", "size": 1}], "free": {"a": {"b": [1]}}});
    let mut created = object(spec);
    track_update(&widget.schema, &widget.ty, None, &mut created, &manager("creator"));
    assert_eq!(
        meta::list_at(&created, &["metadata", "managedFields"])[0]["fieldsV1"],
        json!({"f:spec": {".": {}, "f:atomic": {}, "f:parts": {".": {}, "k:{\"name\":\"p\"}":
              {".": {}, "f:name": {}, "f:size": {}}}, "f:free": {".": {}, "f:a": {".": {}, "f:b": {}}}}})
    );
    let applied = object(json!({"parts": [{"name": "q", "size": 2}], "free": {"a": {"c": 1}}}));
    let merged = apply(&widget.schema, &widget.ty, Some(&created), &applied, &manager("applier"), false).unwrap();
    assert_eq!(
        merged["spec"],
        json!({"atomic": ["a"], "parts": [{"name": "p", "size": 1}, {"name": "q", "size": 2}],
               "free": {"a": {"b": [1], "c": 1}}})
    );
    let unknown = object(json!({"odd": 1}));
    let refused = apply(&widget.schema, &widget.ty, Some(&created), &unknown, &manager("applier"), false);
    assert_eq!(
        refused.expect_err("an unknown field").message(),
        "failed to create typed patch object (/w; example.com/v1, Kind=Widget): .spec.odd: field not declared in schema"
    );
}

proptest::proptest! {
    #[test]
    fn nothing_panics(schema in crate::testing::any_json(), value in crate::testing::any_json()) {
        let definition = definition(schema);
        let _ = validate_create(&definition);
        let _ = validate_update(&value, &definition);
        let _ = status(&value, [&definition], NOW.parse().unwrap());
        for resource in compile(&established(definition)) {
            let mut object = object(value.clone());
            resource.apply_defaults(&mut object);
            let _ = resource.validate(&object, None);
            let _ = resource.scale(&object);
            let _ = resource.cells(&object, NOW.parse().unwrap());
            let _ = decode::value(&resource.schema, &resource.ty, object);
        }
    }
}
