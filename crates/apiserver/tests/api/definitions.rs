//! Definitions and what follows from them later: names, versions, schemas that change, restarts, the end.

use std::sync::Arc;

use backstay_api::Index;
use backstay_store::{Encoded, Key, Operation, Store};

use crate::script::{World, check};

/// `widgets.example.com`: v1 is stored, has all there is; v1beta1 is served beside it and deprecated.
const WIDGETS: &str = r#"{"kind":"CustomResourceDefinition","apiVersion":"apiextensions.k8s.io/v1","metadata":{"name":"widgets.example.com"},"spec":{"group":"example.com","scope":"Namespaced","names":{"plural":"widgets","singular":"widget","kind":"Widget","shortNames":["wi"]},"versions":[{"name":"v1","served":true,"storage":true,"subresources":{"status":{},"scale":{"specReplicasPath":".spec.replicas","statusReplicasPath":".status.replicas"}},"selectableFields":[{"jsonPath":".spec.color"}],"additionalPrinterColumns":[{"name":"Color","type":"string","jsonPath":".spec.color"}],"schema":{"openAPIV3Schema":{"type":"object","properties":{"spec":{"type":"object","required":["color"],"properties":{"color":{"type":"string","enum":["red","blue"]},"size":{"type":"integer","minimum":1,"default":3},"replicas":{"type":"integer"}}},"status":{"type":"object","properties":{"replicas":{"type":"integer"}}}}}}},{"name":"v1beta1","served":true,"storage":false,"deprecated":true,"schema":{"openAPIV3Schema":{"type":"object","x-kubernetes-preserve-unknown-fields":true}}}]}}"#;

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

async fn widgets() -> World {
    let mut world = World::new().await;
    world.run(&format!("> POST {DEFINITIONS} {WIDGETS}\n< 201")).await;
    world
}

/// The definition comes into the store without passing the server.
async fn smuggle(world: &World) {
    let (head, tail) = WIDGETS.split_once("},\"spec\"").unwrap();
    let head = format!("{head},\"uid\":\"u\",\"creationTimestamp\":\"2026-01-01T00:00:00Z\",\"resourceVersion\":\"");
    let tail = format!("\"}},\"spec\"{tail}");
    let value = Encoded { head: head.into(), tail: tail.into(), index: Arc::new(Index::default()) };
    let key = Key::new("apiextensions.k8s.io/customresourcedefinitions", "", "widgets.example.com");
    world.store.commit(key, Operation::Create { value }).await.unwrap();
}

/// Lets the server do what it does by itself.
async fn settle(world: &World) {
    world.server.upkeep(tokio::time::sleep(std::time::Duration::from_secs(3))).await;
}

#[tokio::test(start_paused = true)]
async fn a_definition_is_established_by_the_server() {
    let mut world = World::new().await;
    world
        .run(&format!(
            r#"
            > GET /apis/example.com/v1/widgets
            < 404
            > POST {DEFINITIONS} {WIDGETS}
            < 201
            > GET {DEFINITIONS}/widgets.example.com
            < 200 status.conditions.*.type=["NamesAccepted","Established"] status.conditions.*.status=["True","True"] status.acceptedNames.listKind="WidgetList" status.storedVersions=["v1"] metadata.managedFields~"kube-apiserver" metadata.managedFields~"subresource":"status"
            > GET /apis/example.com/v1
            < 200 resources.*.name=["widgets","widgets/status","widgets/scale"] resources.0.shortNames=["wi"]
            > GET /apis
            < 200 groups~example.com
            > GET /openapi/v3/apis/example.com/v1
            < 200 components.schemas~com.example.v1.Widget components.schemas~blue
            > GET /apis/example.com/v1/widgets
            < 200 kind="WidgetList" apiVersion="example.com/v1" items=[]
            "#
        ))
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_second_definition_does_not_get_names_that_are_taken() {
    let mut world = widgets().await;
    let other = WIDGETS.replace("widgets", "gadgets").replace("\"singular\":\"widget\"", "\"singular\":\"gadget\"");
    world
        .run(&format!(
            r#"
            > POST {DEFINITIONS} {other}
            < 201
            > GET {DEFINITIONS}/gadgets.example.com
            < 200 status.conditions.*.status=["False","False"] status.conditions.0.reason~Conflict
            > GET /apis/example.com/v1/gadgets
            < 404
            > DELETE {DEFINITIONS}/widgets.example.com
            < 200
            "#
        ))
        .await;
    settle(&world).await;
    world.run("> GET /apis/example.com/v1/gadgets\n< 200").await;
}

#[tokio::test(start_paused = true)]
async fn objects_obey_the_schema() {
    let mut world = widgets().await;
    world
        .run(
            r#"
            > POST /apis/example.com/v1/namespaces/default/widgets {"kind":"Widget","apiVersion":"example.com/v1","metadata":{"name":"a"},"spec":{"color":"red","bogus":1},"status":{"replicas":9}}
            < 201 spec={"color":"red","size":3} status=null metadata.generation=1 metadata.managedFields.0.manager="script"
            > POST /apis/example.com/v1/namespaces/default/widgets?fieldValidation=Strict {"kind":"Widget","apiVersion":"example.com/v1","metadata":{"name":"b"},"spec":{"color":"red","bogus":1}}
            < 400 message~spec.bogus
            > POST /apis/example.com/v1/namespaces/default/widgets {"kind":"Widget","apiVersion":"example.com/v1","metadata":{"name":"b"},"spec":{"color":"green","size":0}}
            < 422 reason="Invalid" message~spec.color message~spec.size
            > POST /apis/example.com/v1/namespaces/default/widgets {"kind":"Widget","apiVersion":"example.com/v1","metadata":{"name":"b"},"spec":{}}
            < 422 message~spec.color
            > PATCH /apis/example.com/v1/namespaces/default/widgets/a [merge] {"spec":{"color":"blue"}}
            < 200 spec.color="blue" metadata.generation=2
            > PATCH /apis/example.com/v1/namespaces/default/widgets/a [merge] {"metadata":{"labels":{"a":"b"}}}
            < 200 metadata.generation=2
            > PATCH /apis/example.com/v1/namespaces/default/widgets/a [jsonpatch] [{"op":"replace","path":"/spec/size","value":-1}]
            < 422 message~spec.size
            > PATCH /apis/example.com/v1/namespaces/default/widgets/a [smp] {"spec":{"color":"red"}}
            < 415
            > PATCH /apis/example.com/v1/namespaces/default/widgets/a/status [merge] {"status":{"replicas":2},"spec":{"color":"red"}}
            < 200 status.replicas=2 spec.color="blue" metadata.generation=2
            > PATCH /apis/example.com/v1/namespaces/default/widgets/b?fieldManager=me [apply] {"kind":"Widget","apiVersion":"example.com/v1","metadata":{"name":"b"},"spec":{"color":"red"}}
            < 201 spec.size=3 metadata.managedFields.0.operation="Apply"
            > PUT /apis/example.com/v1/namespaces/default/widgets/b {"kind":"Widget","apiVersion":"example.com/v1","metadata":{"name":"b"},"spec":{"color":"blue"}}
            < 422 message~resourceVersion
            > GET /apis/example.com/v1/widgets?fieldSelector=spec.color=red
            < 200 items.*.metadata.name=["b"] items.0.kind="Widget"
            > GET /apis/example.com/v1/widgets?fieldSelector=spec.size=3
            < 400
            > GET /apis/example.com/v1/widgets?watch=1&timeoutSeconds=1&fieldSelector=spec.color=blue
            < 200 ADDED a
            > DELETE /apis/example.com/v1/namespaces/default/widgets
            < 200 items.*.metadata.name=["a","b"]
            > GET /apis/example.com/v1/widgets
            < 200 items=[]
            "#,
        )
        .await;
}

#[tokio::test(start_paused = true)]
async fn versions_differ_by_name_only() {
    let mut world = widgets().await;
    world
        .run(
            r#"
            > POST /apis/example.com/v1beta1/namespaces/default/widgets {"kind":"Widget","apiVersion":"example.com/v1beta1","metadata":{"name":"a"},"spec":{"color":"red","more":1}}
            < 201 apiVersion="example.com/v1beta1" spec.more=1
            > GET /apis/example.com/v1/namespaces/default/widgets/a
            < 200 apiVersion="example.com/v1" spec={"color":"red","size":3}
            > GET /apis/example.com/v1beta1/widgets
            < 200 items.0.apiVersion="example.com/v1beta1" items.0.spec.more=1
            > PATCH /apis/example.com/v1/namespaces/default/widgets/a [merge] {"metadata":{"labels":{"a":"b"}}}
            < 200 metadata.generation=1
            "#,
        )
        .await;
    let answer = world.send("GET /apis/example.com/v1beta1/widgets").await;
    assert_eq!(answer.headers["warning"], "299 - \"example.com/v1beta1 Widget is deprecated\"");
}

#[tokio::test(start_paused = true)]
async fn a_version_without_status_counts_changes_of_it() {
    let mut world = World::new().await;
    let definition = WIDGETS.replace(r#""subresources":{"status":{},"scale"#, r#""subresources":{"scale"#);
    world
        .run(&format!(
            r#"
            > POST {DEFINITIONS} {definition}
            < 201
            > POST /apis/example.com/v1/namespaces/default/widgets {{"metadata":{{"name":"a"}},"spec":{{"color":"red"}},"status":{{"replicas":1}}}}
            < 201 status.replicas=1 metadata.generation=1
            > PATCH /apis/example.com/v1/namespaces/default/widgets/a [merge] {{"status":{{"replicas":2}}}}
            < 200 status.replicas=2 metadata.generation=2
            > PATCH /apis/example.com/v1/namespaces/default/widgets/a/status [merge] {{"status":{{"replicas":3}}}}
            < 404
            "#
        ))
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_version_that_is_not_served_is_stored() {
    let mut world = World::new().await;
    let definition = WIDGETS.replace(r#""name":"v1","served":true"#, r#""name":"v1","served":false"#);
    world
        .run(&format!(
            r#"
            > POST {DEFINITIONS} {definition}
            < 201 status.storedVersions=["v1"]
            > GET /apis/example.com/v1/widgets
            < 404
            > POST /apis/example.com/v1beta1/namespaces/default/widgets {{"metadata":{{"name":"a"}},"spec":{{"color":"red"}}}}
            < 201 apiVersion="example.com/v1beta1"
            > PATCH {DEFINITIONS}/widgets.example.com [jsonpatch] [{{"op":"replace","path":"/spec/versions/0/served","value":true}}]
            < 200
            > GET /apis/example.com/v1/namespaces/default/widgets/a
            < 200 apiVersion="example.com/v1" spec={{"color":"red","size":3}}
            > PATCH {DEFINITIONS}/widgets.example.com [jsonpatch] [{{"op":"replace","path":"/spec/versions/0/storage","value":false}},{{"op":"replace","path":"/spec/versions/1/storage","value":true}}]
            < 200 status.storedVersions=["v1","v1beta1"]
            > PATCH {DEFINITIONS}/widgets.example.com [jsonpatch] [{{"op":"remove","path":"/spec/versions/0"}}]
            < 422 message~spec.versions
            > PATCH {DEFINITIONS}/widgets.example.com/status [merge] {{"status":{{"storedVersions":["v1beta1"]}}}}
            < 200
            > PATCH {DEFINITIONS}/widgets.example.com [jsonpatch] [{{"op":"remove","path":"/spec/versions/0"}}]
            < 200
            > GET /apis/example.com/v1beta1/namespaces/default/widgets/a
            < 200 spec.color="red"
            "#
        ))
        .await;
}

#[tokio::test(start_paused = true)]
async fn replicas_are_scaled() {
    let mut world = widgets().await;
    world
        .run(
            r#"
            > POST /apis/example.com/v1/namespaces/default/widgets {"kind":"Widget","apiVersion":"example.com/v1","metadata":{"name":"a"},"spec":{"color":"red","replicas":1}}
            < 201 metadata.resourceVersion:=v1
            > GET /apis/example.com/v1/namespaces/default/widgets/a/scale
            < 200 kind="Scale" apiVersion="autoscaling/v1" spec.replicas=1 status.replicas=0
            > POST /apis/example.com/v1/namespaces/default/widgets {"kind":"Widget","apiVersion":"example.com/v1","metadata":{"name":"none"},"spec":{"color":"red"}}
            < 201
            > GET /apis/example.com/v1/namespaces/default/widgets/none/scale
            < 500 reason="InternalError" message="Internal error occurred: the spec replicas field \".spec.replicas\" does not exist"
            > PATCH /apis/example.com/v1/namespaces/default/widgets/none/scale [merge] {"spec":{"replicas":1}}
            < 200 spec.replicas=1
            > PUT /apis/example.com/v1/namespaces/default/widgets/a/scale {"kind":"Scale","apiVersion":"autoscaling/v1","metadata":{"name":"a","resourceVersion":"${v1}"},"spec":{"replicas":2}}
            < 200 spec.replicas=2
            > PUT /apis/example.com/v1/namespaces/default/widgets/a/scale {"kind":"Scale","apiVersion":"autoscaling/v1","metadata":{"name":"a","resourceVersion":"${v1}"},"spec":{"replicas":3}}
            < 409
            > PATCH /apis/example.com/v1/namespaces/default/widgets/a/scale [merge] {"spec":{"replicas":4}}
            < 200 spec.replicas=4
            > PATCH /apis/example.com/v1/namespaces/default/widgets/a/scale [merge] {"spec":{"replicas":-1}}
            < 422 message~spec.replicas
            > PATCH /apis/example.com/v1/namespaces/default/widgets/a/scale?fieldManager=me&force=true [apply] {"kind":"Scale","apiVersion":"autoscaling/v1","metadata":{"name":"a"},"spec":{"replicas":5}}
            < 200 spec.replicas=5
            > GET /apis/example.com/v1/namespaces/default/widgets/a
            < 200 spec={"color":"red","replicas":5,"size":3} metadata.generation=4 metadata.managedFields~"scale"
            "#,
        )
        .await;
}

#[tokio::test(start_paused = true)]
async fn rights_are_those_of_the_group() {
    let mut world = widgets().await;
    world
        .run(
            r#"
            > @eve GET /apis/example.com/v1/widgets
            < 403 message~example.com
            > POST /apis/rbac.authorization.k8s.io/v1/clusterroles {"metadata":{"name":"w"},"rules":[{"apiGroups":["example.com"],"resources":["widgets"],"verbs":["list"]}]}
            < 201
            > POST /apis/rbac.authorization.k8s.io/v1/clusterrolebindings {"metadata":{"name":"w"},"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"w"},"subjects":[{"apiGroup":"rbac.authorization.k8s.io","kind":"User","name":"eve"}]}
            < 201
            > @eve GET /apis/example.com/v1/widgets
            < 200
            "#,
        )
        .await;
}

#[tokio::test(start_paused = true)]
async fn tables_have_the_columns_of_the_definition() {
    let mut world = widgets().await;
    world
        .run(
            r#"
            > POST /apis/example.com/v1/namespaces/default/widgets {"kind":"Widget","apiVersion":"example.com/v1","metadata":{"name":"a"},"spec":{"color":"red"}}
            < 201
            "#,
        )
        .await;
    let request = http::Request::get("/apis/example.com/v1/widgets")
        .header("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
        .body(Default::default())
        .unwrap();
    let admin = backstay_apiserver::UserInfo::new("admin", &[backstay_apiserver::identity::MASTERS]);
    let table: serde_json::Value = serde_json::from_str(&world.call(request, admin).await.body).unwrap();
    assert_eq!(table["columnDefinitions"][1]["name"], "Color", "{table}");
    assert_eq!(table["rows"][0]["cells"], serde_json::json!(["a", "red"]), "{table}");
}

#[tokio::test(start_paused = true)]
async fn a_definition_goes_after_its_objects() {
    let mut world = widgets().await;
    world
        .run(&format!(
            r#"
            > POST /apis/example.com/v1/namespaces/default/widgets {{"kind":"Widget","apiVersion":"example.com/v1","metadata":{{"name":"a"}},"spec":{{"color":"red"}}}}
            < 201
            > POST /apis/example.com/v1/namespaces/default/widgets {{"kind":"Widget","apiVersion":"example.com/v1","metadata":{{"name":"kept","finalizers":["example.com/mine"]}},"spec":{{"color":"red"}}}}
            < 201
            > DELETE {DEFINITIONS}/widgets.example.com
            < 200 metadata.finalizers=["customresourcecleanup.apiextensions.k8s.io"] status.conditions.2.type="Terminating"
            > GET /apis/example.com/v1/widgets
            < 200 items.*.metadata.name=["kept"]
            > GET {DEFINITIONS}/widgets.example.com
            < 200 status.conditions.2.reason="InstanceDeletionInProgress"
            > POST /apis/example.com/v1/namespaces/default/widgets {{"kind":"Widget","apiVersion":"example.com/v1","metadata":{{"name":"b"}},"spec":{{"color":"red"}}}}
            < 405 message~terminating
            > PATCH /apis/example.com/v1/namespaces/default/widgets/kept [merge] {{"metadata":{{"finalizers":null}}}}
            < 200
            > GET {DEFINITIONS}/widgets.example.com
            < 404
            > GET /apis/example.com/v1/widgets
            < 404
            > POST {DEFINITIONS} {WIDGETS}
            < 201
            > GET /apis/example.com/v1/widgets
            < 200 items=[]
            "#
        ))
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_definition_that_another_wrote_is_served() {
    let mut world = World::new().await;
    smuggle(&world).await;
    world.run("> GET /apis/example.com/v1/widgets\n< 404").await;
    settle(&world).await;
    world.run("> GET /apis/example.com/v1/widgets\n< 200").await;
}

#[tokio::test(start_paused = true)]
async fn a_new_server_serves_what_the_store_holds() {
    let world = World::new().await;
    smuggle(&world).await;
    let mut world = world.restart().await;
    world
        .run(&format!(
            r#"
            > POST /apis/example.com/v1/namespaces/default/widgets {{"kind":"Widget","apiVersion":"example.com/v1","metadata":{{"name":"a"}},"spec":{{"color":"red"}}}}
            < 201
            > GET {DEFINITIONS}/widgets.example.com
            < 200 status.conditions.*.status=["True","True"]
            "#
        ))
        .await;
    let mut world = world.restart().await;
    world.run("> GET /apis/example.com/v1/widgets\n< 200 items.*.metadata.name=[\"a\"]").await;
}

#[tokio::test(start_paused = true)]
async fn names_are_given_once() {
    let world = World::new().await;
    let other = WIDGETS.replace("widgets", "gadgets");
    let post = |definition: &str| format!("POST {DEFINITIONS} {definition}");
    let (first, second) = (post(WIDGETS), post(&other));
    let (first, second) = tokio::join!(world.send(&first), world.send(&second));
    let established = [first, second].map(|answer| answer.body.contains("\"InitialNamesAccepted\""));
    assert_eq!(established.iter().filter(|established| **established).count(), 1, "{established:?}");
}

#[tokio::test(start_paused = true)]
async fn a_changed_schema_counts_for_objects_that_are_there() {
    let mut world = widgets().await;
    let path = "/apis/example.com/v1/namespaces/default/widgets/a";
    world
        .run(&format!(
            r#"
            > POST /apis/example.com/v1/namespaces/default/widgets {{"kind":"Widget","apiVersion":"example.com/v1","metadata":{{"name":"a"}},"spec":{{"color":"red"}}}}
            < 201
            > PATCH {DEFINITIONS}/widgets.example.com [jsonpatch] [{{"op":"add","path":"/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/shape","value":{{"type":"string","default":"round"}}}},{{"op":"replace","path":"/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/color/enum","value":["blue"]}}]
            < 200
            > GET {path}
            < 200 spec={{"color":"red","size":3,"shape":"round"}}
            > PATCH {path} [merge] {{"metadata":{{"labels":{{"a":"b"}}}}}}
            < 200 metadata.generation=1
            > PATCH {path} [merge] {{"spec":{{"color":"green"}}}}
            < 422
            "#
        ))
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_running_watch_learns_of_new_fields() {
    let world = widgets().await;
    let watch = world.send("GET /apis/example.com/v1/widgets?watch=1&timeoutSeconds=5");
    let write = async {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        let shape = r#"{"op":"add","path":"/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/shape","value":{"type":"string"}}"#;
        world.send(&format!("PATCH {DEFINITIONS}/widgets.example.com [jsonpatch] [{shape}]")).await;
        let widget = r#"{"metadata":{"name":"a"},"spec":{"color":"red","shape":"round"}}"#;
        world.send(&format!("POST /apis/example.com/v1/namespaces/default/widgets {widget}")).await
    };
    let (seen, written) = tokio::join!(watch, write);
    assert_eq!(written.code, 201, "{}", written.body);
    assert!(seen.body.contains("\"shape\":\"round\""), "{}", seen.body);
}

#[tokio::test(start_paused = true)]
async fn unlawful_definitions_are_refused() {
    check(
        r#"
        > POST /apis/apiextensions.k8s.io/v1/customresourcedefinitions {"metadata":{"name":"x.example.com"},"spec":{"group":"example.com","scope":"Namespaced","names":{"plural":"widgets","kind":"Widget"},"versions":[{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":{"type":"object"}}}]}}
        < 422 reason="Invalid"
        "#,
    )
    .await;
}
