//! Custom resources: served as soon as their definition is written, gone with it.

use crate::script::check;

const DEFINITION: &str = r#"{
  "metadata": {"name": "widgets.example.com"},
  "spec": {
    "group": "example.com", "scope": "Namespaced",
    "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "shortNames": ["w"]},
    "versions": [
      {"name": "v1", "served": true, "storage": true,
       "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size"}},
       "additionalPrinterColumns": [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}],
       "schema": {"openAPIV3Schema": {"type": "object", "properties": {
         "spec": {"type": "object", "required": ["color"], "properties": {
           "color": {"type": "string"}, "size": {"type": "integer", "minimum": 1, "default": 3}}},
         "status": {"type": "object", "properties": {"size": {"type": "integer"}}}}}}},
      {"name": "v1beta1", "served": true, "storage": false, "deprecated": true,
       "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}
    ]}}"#;

const API: &str = "/apis/example.com/v1/namespaces/default/widgets";

async fn check_widgets(script: &str) {
    let definition = DEFINITION.replace('\n', " ");
    let post = format!("> POST /apis/apiextensions.k8s.io/v1/customresourcedefinitions {definition}");
    let script = script.replace("API", API);
    check(&format!("{post}\n< 201 status.acceptedNames.kind=\"Widget\"\n{script}")).await;
}

#[tokio::test(start_paused = true)]
async fn objects_obey_their_schema() {
    check_widgets(
        r#"
        > GET /apis/example.com/v1
        < 200 resources.*.name=["widgets","widgets/status","widgets/scale"]
        > POST API {"metadata":{"name":"a"},"spec":{"color":"red","shape":"round"},"status":{"size":9}}
        < 201 kind="Widget" apiVersion="example.com/v1" spec={"color":"red","size":3} status=null metadata.generation=1
        > POST API {"metadata":{"name":"b"},"spec":{"size":0}}
        < 422 reason="Invalid" message~spec.color message~spec.size
        > POST API?fieldValidation=Strict {"metadata":{"name":"b"},"spec":{"color":"red","shape":"round"}}
        < 400 message~shape
        > PATCH API/a [merge]{"spec":{"size":5}}
        < 200 metadata.generation=2
        > PATCH API/a [smp]{"spec":{"size":5}}
        < 415 reason="UnsupportedMediaType"
        > PATCH API/a/status [merge]{"status":{"size":4},"spec":{"size":7}}
        < 200 spec.size=5 status.size=4 metadata.generation=2
        > GET API/a/scale
        < 200 kind="Scale" spec.replicas=5 status.replicas=4
        > PATCH API/a/scale [merge]{"spec":{"replicas":8}}
        < 200 spec.replicas=8
        > GET API
        < 200 kind="WidgetList" items.*.kind=["Widget"] items.*.spec.size=[8]
        > GET /apis/example.com/v1beta1/namespaces/default/widgets
        < 200 items.*.apiVersion=["example.com/v1beta1"]
        > GET /apis/example.com/v1beta1/namespaces/default/widgets?watch=1&timeoutSeconds=1
        < 200 object.apiVersion="example.com/v1beta1"
        > PUT API/a {"metadata":{"name":"a"},"spec":{"color":"red"}}
        < 422 message~resourceVersion
        "#,
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_definition_takes_its_objects_along() {
    check_widgets(
        r#"
        > POST API {"metadata":{"name":"a"},"spec":{"color":"red"}}
        < 201
        > POST API {"metadata":{"name":"b","finalizers":["x.io/hold"]},"spec":{"color":"red"}}
        < 201
        > DELETE /apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.example.com
        < 200 metadata.finalizers~cleanup
        > GET API
        < 200 items.*.metadata.name=["b"]
        > POST API {"metadata":{"name":"c"},"spec":{"color":"red"}}
        < 405 message~terminating
        > PATCH API/b [merge]{"metadata":{"finalizers":null}}
        < 200
        > GET /apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.example.com
        < 404 reason="NotFound"
        > GET API
        < 404
        "#,
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_definition_without_objects_goes_at_once() {
    check_widgets(
        r#"
        > DELETE /apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.example.com
        < 200
        > GET API
        < 404
        > GET /apis/apiextensions.k8s.io/v1/customresourcedefinitions
        < 200 items=[]
        "#,
    )
    .await;
}

const RULES: &str = r#"{"metadata":{"name":"locks.example.com"},"spec":{"group":"example.com","scope":"Namespaced","names":{"plural":"locks","singular":"lock","kind":"Lock"},"versions":[{"name":"v1","served":true,"storage":true,"subresources":{"status":{}},"schema":{"openAPIV3Schema":{"type":"object","properties":{"spec":{"type":"object","x-kubernetes-validations":[{"rule":"self.min <= self.max"}],"properties":{"min":{"type":"integer"},"max":{"type":"integer"},"key":{"type":"string","x-kubernetes-validations":[{"rule":"self == oldSelf","message":"the key is for ever"}]}}},"status":{"type":"object","properties":{"count":{"type":"integer","x-kubernetes-validations":[{"rule":"self >= oldSelf","messageExpression":"'%d is less than %d'.format([self, oldSelf])"}]}}}}}}}]}}"#;

#[tokio::test(start_paused = true)]
async fn objects_obey_the_rules_of_their_schema() {
    check(&format!(
        r#"
        > POST /apis/apiextensions.k8s.io/v1/customresourcedefinitions {RULES}
        < 201
        > POST /apis/example.com/v1/namespaces/default/locks {{"metadata":{{"name":"a"}},"spec":{{"min":3,"max":2}}}}
        < 422 message="Lock.example.com \"a\" is invalid: spec: Invalid value: failed rule: self.min <= self.max"
        > POST /apis/example.com/v1/namespaces/default/locks {{"metadata":{{"name":"a"}},"spec":{{"min":1,"max":2,"key":"k"}}}}
        < 201
        > PATCH /apis/example.com/v1/namespaces/default/locks/a [merge]{{"spec":{{"max":0}}}}
        < 422
        > PATCH /apis/example.com/v1/namespaces/default/locks/a [merge]{{"spec":{{"key":"other"}}}}
        < 422 details.causes.0.field="spec.key" details.causes.0.message="Invalid value: \"other\": the key is for ever"
        > PATCH /apis/example.com/v1/namespaces/default/locks/a [merge]{{"spec":{{"max":5}}}}
        < 200
        > PATCH /apis/example.com/v1/namespaces/default/locks/a/status [merge]{{"status":{{"count":2}}}}
        < 200
        > PATCH /apis/example.com/v1/namespaces/default/locks/a/status [merge]{{"status":{{"count":1}}}}
        < 422 details.causes.0.message="Invalid value: 1: 1 is less than 2"
        > PATCH /apis/example.com/v1/namespaces/default/locks/b?fieldManager=me [apply]{{"kind":"Lock","apiVersion":"example.com/v1","metadata":{{"name":"b"}},"spec":{{"min":9,"max":2}}}}
        < 422
        "#
    ))
    .await;
}
