//! Protobuf in and out, as clients of Go use it by default. Answers are shown as the JSON that says the same.

use backstay_apiserver::tokens::Signer;
use backstay_store::{Key, Store};

use crate::script::{World, check};

const POD: &str = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","labels":{"a":"b"}},"spec":{"containers":[{"name":"m","image":"i:1","resources":{"limits":{"cpu":"0.5"}}}]}}"#;

const DEFINITION: &str = r#"{"metadata":{"name":"widgets.example.com"},"spec":{"group":"example.com","scope":"Namespaced","names":{"plural":"widgets","singular":"widget","kind":"Widget"},"versions":[{"name":"v1","served":true,"storage":true,"subresources":{"scale":{"specReplicasPath":".spec.size","statusReplicasPath":".status.size"}},"schema":{"openAPIV3Schema":{"type":"object","x-kubernetes-preserve-unknown-fields":true}}}]}}"#;

const WIDGETS: &str = "/apis/example.com/v1/namespaces/default/widgets";

async fn check_widgets(script: &str) {
    let script = script.replace("WIDGETS", WIDGETS);
    check(&format!(
        r#"
        > POST /apis/apiextensions.k8s.io/v1/customresourcedefinitions {DEFINITION}
        < 201
        > POST {WIDGETS} {{"apiVersion":"example.com/v1","kind":"Widget","metadata":{{"name":"w","labels":{{"x":"1"}}}},"spec":{{"size":2}}}}
        < 201 metadata.resourceVersion:=v
        {script}
        "#
    ))
    .await;
}

#[tokio::test(start_paused = true)]
async fn objects_and_lists() {
    check(&format!(
        r#"
        > [typed] POST /api/v1/namespaces/default/pods [pb]{POD}
        < 201 type=vnd.kubernetes.protobuf kind="Pod" apiVersion="v1" spec.containers.0.resources.limits.cpu="500m" status.phase="Pending" metadata.uid:=u
        > [pb] GET /api/v1/namespaces/default/pods/p
        < 200 type=vnd.kubernetes.protobuf metadata.uid="${{u}}" metadata.labels={{"a":"b"}} spec.restartPolicy="Always"
        > GET /api/v1/namespaces/default/pods/p
        < 200 type=json metadata.uid="${{u}}" metadata.managedFields.0.manager="script"
        > [typed] GET /api/v1/pods
        < 200 type=vnd.kubernetes.protobuf kind="PodList" apiVersion="v1" items.*.metadata.name=["p"] items.0.kind=null metadata.resourceVersion:=r
        > [typed] GET /api/v1/pods?labelSelector=a=c
        < 200 kind="PodList" items=[]
        > POST /api/v1/namespaces/default/pods {{"metadata":{{"name":"q"}},"spec":{{"containers":[{{"name":"m","image":"i"}}]}}}}
        < 201
        > [pb] GET /api/v1/pods?limit=1
        < 200 items.*.metadata.name=["p"] metadata.remainingItemCount=1 metadata.continue:=c
        > [pb] GET /api/v1/pods?limit=1&continue=${{c}}
        < 200 items.*.metadata.name=["q"] metadata.continue=null
        > [pb] PATCH /api/v1/namespaces/default/pods/p [merge]{{"metadata":{{"labels":{{"a":"c"}}}}}}
        < 200 type=vnd.kubernetes.protobuf metadata.labels={{"a":"c"}}
        > [pb] PATCH /api/v1/namespaces/default/pods/p?dryRun=All [merge]{{"metadata":{{"labels":{{"a":"d"}}}}}}
        < 200 type=vnd.kubernetes.protobuf kind="Pod" metadata.labels={{"a":"d"}}
        > [pb] GET /api/v1/namespaces/default/pods/p/status
        < 200 type=vnd.kubernetes.protobuf metadata.labels={{"a":"c"}}
        > [yaml] GET /api/v1/namespaces/default/pods/p
        < 200 type=yaml
        "#
    ))
    .await;
}

#[tokio::test(start_paused = true)]
async fn failures_and_successes() {
    check(
        r#"
        > [pb] GET /api/v1/namespaces/default/pods/none
        < 404 type=vnd.kubernetes.protobuf kind="Status" apiVersion="v1" status="Failure" reason="NotFound" code=404 details={"name":"none","kind":"pods"} message="pods \"none\" not found"
        > [typed] POST /api/v1/namespaces/default/pods {"metadata":{"name":"P"}}
        < 422 type=vnd.kubernetes.protobuf reason="Invalid" details.causes.0.field="metadata.name"
        > [pb] GET /api/v1/nothing
        < 404 type=vnd.kubernetes.protobuf kind="Status" message="the server could not find the requested resource"
        > [metadata] GET /api/v1/namespaces/default/pods/none
        < 404 type=json reason="NotFound"
        > [pb] @nobody GET /api/v1/pods
        < 403 type=vnd.kubernetes.protobuf reason="Forbidden"
        > [pb] GET /api/v1/pods?resourceVersion=x
        < 400 type=vnd.kubernetes.protobuf kind="Status"
        > POST /api/v1/namespaces/default/configmaps {"metadata":{"name":"c"}}
        < 201 metadata.uid:=u
        > [pb] DELETE /api/v1/namespaces/default/configmaps/c
        < 200 type=vnd.kubernetes.protobuf kind="Status" status="Success" details.name="c" details.kind="configmaps" details.uid="${u}"
        > [pb] GET /api/v1/pods?watch=1&timeoutSeconds=1&sendInitialEvents=true
        < 422 type=vnd.kubernetes.protobuf reason="Invalid"
        > [pb] GET /version
        < 200 type=json major="1"
        "#,
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn bodies() {
    let status = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","labels":{"a":"b"}},"spec":{"containers":[{"name":"m","image":"i:1"}]},"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"}]}}"#;
    check(&format!(
        r#"
        > POST /api/v1/namespaces/default/pods [pb]{POD}
        < 201 type=json metadata.uid:=u
        > PUT /api/v1/namespaces/default/pods/p/status [pb]{status}
        < 200 status.phase="Running"
        > [typed] POST /api/v1/namespaces/default/pods/p/binding [pb]{{"apiVersion":"v1","kind":"Binding","metadata":{{"name":"p","uid":"${{u}}"}},"target":{{"kind":"Node","name":"n"}}}}
        < 201 type=vnd.kubernetes.protobuf kind="Status" status="Success"
        > POST /apis/policy/v1/namespaces/default/poddisruptionbudgets [pb]{{"apiVersion":"policy/v1","kind":"PodDisruptionBudget","metadata":{{"name":"b"}},"spec":{{"maxUnavailable":"50%","selector":{{"matchLabels":{{"a":"b"}}}}}}}}
        < 201 spec.maxUnavailable="50%"
        > [typed] POST /api/v1/namespaces/default/pods/p/eviction [pb]{{"apiVersion":"policy/v1","kind":"Eviction","metadata":{{"name":"p"}},"deleteOptions":{{"gracePeriodSeconds":3}}}}
        < 429 type=vnd.kubernetes.protobuf reason="TooManyRequests" details.retryAfterSeconds=10 details.causes.0.reason="DisruptionBudget"
        > DELETE /apis/policy/v1/namespaces/default/poddisruptionbudgets/b
        < 200
        > [typed] POST /api/v1/namespaces/default/pods/p/eviction [pb]{{"apiVersion":"policy/v1","kind":"Eviction","metadata":{{"name":"p"}},"deleteOptions":{{"gracePeriodSeconds":3}}}}
        < 201 type=vnd.kubernetes.protobuf status="Success"
        > [typed] DELETE /api/v1/namespaces/default/pods/p [pb]{{"apiVersion":"v1","kind":"DeleteOptions","preconditions":{{"uid":"other"}}}}
        < 409 type=vnd.kubernetes.protobuf reason="Conflict"
        > [typed] DELETE /api/v1/namespaces/default/pods/p [pb]{{"apiVersion":"v1","kind":"DeleteOptions","gracePeriodSeconds":0,"preconditions":{{"uid":"${{u}}"}}}}
        < 200 type=vnd.kubernetes.protobuf kind="Pod" metadata.deletionGracePeriodSeconds=0
        > GET /api/v1/namespaces/default/pods/p
        < 404
        > POST /apis/apps/v1/namespaces/default/deployments [pb]{{"apiVersion":"apps/v1","kind":"Deployment","metadata":{{"name":"d"}},"spec":{{"replicas":2,"selector":{{"matchLabels":{{"a":"b"}}}},"template":{{"metadata":{{"labels":{{"a":"b"}}}},"spec":{{"containers":[{{"name":"m","image":"i"}}]}}}}}}}}
        < 201 spec.replicas=2
        > [typed] GET /apis/apps/v1/namespaces/default/deployments/d/scale
        < 200 type=vnd.kubernetes.protobuf kind="Scale" apiVersion="autoscaling/v1" spec.replicas=2 status.selector="a=b"
        > [typed] PUT /apis/apps/v1/namespaces/default/deployments/d/scale [pb]{{"apiVersion":"autoscaling/v1","kind":"Scale","metadata":{{"name":"d"}},"spec":{{"replicas":5}}}}
        < 200 type=vnd.kubernetes.protobuf spec.replicas=5
        > [typed] DELETE /apis/apps/v1/namespaces/default/deployments [pb]{{"apiVersion":"v1","kind":"DeleteOptions","propagationPolicy":"Background"}}
        < 200 type=vnd.kubernetes.protobuf kind="DeploymentList" items.*.metadata.name=["d"]
        > POST /apis/apps/v1/namespaces/default/controllerrevisions [pb]{{"apiVersion":"apps/v1","kind":"ControllerRevision","metadata":{{"name":"r"}},"revision":3,"data":{{"spec":{{"template":{{"$patch":"replace","x":null}}}}}}}}
        < 201 data={{"spec":{{"template":{{"$patch":"replace","x":null}}}}}} revision=3
        "#
    ))
    .await;
}

#[tokio::test(start_paused = true)]
async fn bodies_that_cannot_be_read() {
    const NO_MAGIC: &str = "provided data does not appear to be a protobuf message";
    check(&format!(
        r#"
        > [pb] POST /api/v1/namespaces/default/configmaps [pb]xxxx
        < 400 type=vnd.kubernetes.protobuf reason="BadRequest" message~unrecognized
        > POST /api/v1/namespaces/default/configmaps [pb]{NO_MAGIC}
        < 400 reason="BadRequest" message~prefix
        > POST /api/v1/namespaces/default/configmaps [pb]{{"apiVersion":"v1","kind":"Secret","metadata":{{"name":"c"}}}}
        < 400 reason="BadRequest" message="Secret in version \"v1\" cannot be handled as a ConfigMap: converting (v1.Secret) to (core.ConfigMap): unknown conversion"
        > PATCH /api/v1/namespaces/default/configmaps/c [pb]xxxx
        < 415 reason="UnsupportedMediaType" message~merge-patch
        > DELETE /api/v1/namespaces/default/configmaps/kube-root-ca.crt [pb]xxxx
        < 400 reason="BadRequest"
        "#
    ))
    .await;
    check_widgets(
        r#"
        > POST WIDGETS [pb]{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c"}}
        < 415 reason="UnsupportedMediaType" message~application/yaml
        > [typed] DELETE WIDGETS/w [pb]{"apiVersion":"v1","kind":"DeleteOptions","preconditions":{"uid":"other"}}
        < 409 type=vnd.kubernetes.protobuf reason="Conflict"
        "#,
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn reviews_and_tokens() {
    let dir = tempfile::tempdir().expect("a directory");
    let signer = Signer::open(dir.path(), jiff::Timestamp::now()).expect("a signer");
    let mut world = World::with(|config| config.tokens = Some(signer.into())).await;
    world
        .run(
            r#"
            > [typed] POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews [pb]{"apiVersion":"authorization.k8s.io/v1","kind":"SelfSubjectAccessReview","spec":{"resourceAttributes":{"verb":"get","resource":"pods"}}}
            < 201 type=vnd.kubernetes.protobuf kind="SelfSubjectAccessReview" status.allowed=true
            > [typed] POST /apis/authorization.k8s.io/v1/subjectaccessreviews [pb]{"apiVersion":"authorization.k8s.io/v1","kind":"SubjectAccessReview","spec":{"user":"nobody","extra":{"k":["v"]},"resourceAttributes":{"verb":"get","resource":"pods"}}}
            < 201 spec.extra={"k":["v"]} status.allowed=false
            > [typed] POST /apis/authorization.k8s.io/v1/selfsubjectrulesreviews [pb]{"apiVersion":"authorization.k8s.io/v1","kind":"SelfSubjectRulesReview","spec":{"namespace":"default"}}
            < 201 type=vnd.kubernetes.protobuf status.incomplete=false
            > [typed] POST /apis/authentication.k8s.io/v1/selfsubjectreviews [pb]{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}
            < 201 status.userInfo.username="admin"
            > POST /api/v1/namespaces/default/serviceaccounts {"metadata":{"name":"robot"}}
            < 201
            > [typed] POST /api/v1/namespaces/default/serviceaccounts/robot/token [pb]{"apiVersion":"authentication.k8s.io/v1","kind":"TokenRequest","spec":{"audiences":[],"expirationSeconds":700}}
            < 201 type=vnd.kubernetes.protobuf kind="TokenRequest" spec.expirationSeconds=700 status.token:=token
            > [typed] POST /apis/authentication.k8s.io/v1/tokenreviews [pb]{"apiVersion":"authentication.k8s.io/v1","kind":"TokenReview","spec":{"token":"${token}"}}
            < 201 type=vnd.kubernetes.protobuf status.authenticated=true status.user.username="system:serviceaccount:default:robot"
            "#,
        )
        .await;
}

#[tokio::test(start_paused = true)]
async fn custom_resources_are_json_but_for_their_metadata() {
    check_widgets(
        r#"
        > [typed] GET WIDGETS/w
        < 200 type=json spec.size=2
        > [pb] GET WIDGETS/w
        < 406 type=vnd.kubernetes.protobuf reason="NotAcceptable" message="only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf"
        > [pb] GET WIDGETS
        < 406 reason="NotAcceptable"
        > [typed] GET WIDGETS/w/scale
        < 200 type=json kind="Scale" spec.replicas=2
        > [typed] GET WIDGETS/none
        < 404 type=vnd.kubernetes.protobuf reason="NotFound"
        > [metadata] GET WIDGETS/w
        < 200 type=vnd.kubernetes.protobuf kind="PartialObjectMetadata" apiVersion="meta.k8s.io/v1" metadata.name="w" metadata.labels={"x":"1"} spec=null
        > [metadatalist] GET WIDGETS
        < 200 type=vnd.kubernetes.protobuf kind="PartialObjectMetadataList" apiVersion="meta.k8s.io/v1" items.*.metadata.name=["w"] items.0.spec=null
        > [metadata] GET WIDGETS
        < 406 reason="NotAcceptable"
        > [metadatalist] GET WIDGETS/w
        < 406 reason="NotAcceptable"
        > [metadata] PATCH WIDGETS/w [merge]{"metadata":{"labels":{"x":"2"}}}
        < 200 kind="PartialObjectMetadata" metadata.labels={"x":"2"}
        > [metadata] GET WIDGETS?watch=1&timeoutSeconds=1&resourceVersion=0
        < 200 ADDED w
        > [metadata] GET WIDGETS?watch=1&timeoutSeconds=1&resourceVersion=${v}
        < 200 type=vnd.kubernetes.protobuf;stream=watch type=vnd.kubernetes.protobuf;stream=watch object.kind="PartialObjectMetadata" object.metadata.labels={"x":"2"} object.spec=null
        > [typed] GET WIDGETS?watch=1&timeoutSeconds=1&resourceVersion=${v}
        < 200 type=json object.spec.size=2
        "#,
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn metadata_of_built_in_kinds() {
    check(&format!(
        r#"
        > POST /api/v1/namespaces/default/pods {POD}
        < 201 metadata.resourceVersion:=v
        > [metadatalist] GET /api/v1/pods
        < 200 type=vnd.kubernetes.protobuf kind="PartialObjectMetadataList" items.*.metadata.labels=[{{"a":"b"}}] metadata.resourceVersion="${{v}}"
        > [metadata] GET /api/v1/namespaces/default/pods/p
        < 200 type=vnd.kubernetes.protobuf kind="PartialObjectMetadata" metadata.managedFields.0.fieldsV1~f:containers
        > [pb] GET /api/v1/pods
        < 200 items.0.metadata.labels={{"a":"b"}}
        > [metadatalist] GET /api/v1/pods
        < 200 items.*.metadata.labels=[{{"a":"b"}}] items.0.spec=null
        > [metadata] POST /api/v1/namespaces/default/pods?dryRun=All {{"metadata":{{"name":"q"}},"spec":{{"containers":[{{"name":"m","image":"i"}}]}}}}
        < 201 type=vnd.kubernetes.protobuf kind="PartialObjectMetadata" metadata.name="q"
        > [metadata] DELETE /api/v1/namespaces/default/pods/p
        < 200 type=vnd.kubernetes.protobuf kind="PartialObjectMetadata" metadata.name="p"
        > [metadata] GET /api/v1/pods?watch=1&timeoutSeconds=1&resourceVersion=${{v}}&labelSelector=a=b
        < 200 DELETED p
        "#
    ))
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_watch_in_frames() {
    check(
        r#"
        > POST /api/v1/namespaces/default/configmaps {"metadata":{"name":"a","labels":{"x":"1"}},"data":{"k":"1"}}
        < 201 metadata.resourceVersion:=v
        > PATCH /api/v1/namespaces/default/configmaps/a [merge]{"data":{"k":"2"}}
        < 200 metadata.resourceVersion:=w
        > [pb] GET /api/v1/configmaps?watch=1&timeoutSeconds=1&resourceVersion=${v}
        < 200 type=vnd.kubernetes.protobuf;stream=watch type=vnd.kubernetes.protobuf;stream=watch object.data={"k":"2"} object.kind="ConfigMap" object.apiVersion="v1" object.metadata.resourceVersion="${w}"
        > PATCH /api/v1/namespaces/default/configmaps/a [merge]{"metadata":{"labels":{"x":"2"}}}
        < 200 metadata.resourceVersion:=w
        > [typed] GET /api/v1/configmaps?watch=1&timeoutSeconds=1&resourceVersion=${v}
        < 200 MODIFIED a, MODIFIED a
        > [pb] GET /api/v1/configmaps?watch=1&timeoutSeconds=1&labelSelector=x=1&resourceVersion=${v}
        < 200 MODIFIED a, DELETED a
        > [pb] GET /api/v1/configmaps?watch=1&timeoutSeconds=1&labelSelector=x=2&resourceVersion=${v}
        < 200 ADDED a
        > DELETE /api/v1/namespaces/default/configmaps/a
        < 200
        > [pb] GET /api/v1/configmaps?watch=1&timeoutSeconds=1&resourceVersion=${w}
        < 200 type=vnd.kubernetes.protobuf;stream=watch object.data={"k":"2"} object.metadata.name="a"
        > [pb] GET /api/v1/configmaps?watch=1&timeoutSeconds=1&labelSelector=x=1&resourceVersion=${v}
        < 200 MODIFIED a, DELETED a
        > [pb] GET /api/v1/configmaps?watch=1&timeoutSeconds=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true
        < 200 object.kind="ConfigMap" object.metadata.annotations={"k8s.io/initial-events-end":"true"}
        > [metadata] GET /api/v1/configmaps?watch=1&timeoutSeconds=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true
        < 200 object.kind="PartialObjectMetadata" object.metadata.annotations={"k8s.io/initial-events-end":"true"}
        > [yaml] GET /api/v1/configmaps?watch=1
        < 406 type=yaml
        > POST /api/v1/namespaces/default/events {"metadata":{"name":"e"},"message":"m","involvedObject":{"namespace":"default"}}
        < 201
        > [pb] GET /apis/events.k8s.io/v1/namespaces/default/events?watch=1&timeoutSeconds=1
        < 200 object.note="m" object.apiVersion="events.k8s.io/v1"
        > [pb] GET /apis/events.k8s.io/v1/events
        < 200 items.*.note=["m"] kind="EventList" apiVersion="events.k8s.io/v1"
        > [pb] GET /api/v1/events
        < 200 items.*.message=["m"] kind="EventList" apiVersion="v1"
        "#,
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_is_too_late_says_so_in_a_frame() {
    let mut world = World::new().await;
    let newest = world.store.snapshot().revision();
    world.run("> POST /api/v1/namespaces/default/configmaps {\"metadata\":{\"name\":\"a\"}}\n< 201").await;
    world.store.compact(newest + 1).await.expect("a running store");
    world
        .run(&format!(
            r#"
            > [pb] GET /api/v1/configmaps?watch=1&resourceVersion={newest}
            < 200 type=vnd.kubernetes.protobuf;stream=watch object.kind="Status" object.code=410 object.reason="Expired"
            "#
        ))
        .await;
}

#[tokio::test(start_paused = true)]
async fn discovery() {
    check(
        r#"
        > [typed] GET /api
        < 200 type=vnd.kubernetes.protobuf kind="APIVersions" versions=["v1"]
        > [pb] GET /apis
        < 200 type=vnd.kubernetes.protobuf kind="APIGroupList" groups.0.preferredVersion.version="v1"
        > [pb] GET /apis/apps
        < 200 type=vnd.kubernetes.protobuf kind="APIGroup" name="apps"
        > [typed] GET /apis/apps/v1
        < 200 type=vnd.kubernetes.protobuf kind="APIResourceList" groupVersion="apps/v1" resources.0.verbs~get
        > [pb] GET /api/v1
        < 200 type=vnd.kubernetes.protobuf kind="APIResourceList" groupVersion="v1"
        "#,
    )
    .await;
    let world = World::new().await;
    let form = "g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let get = |accept: String| http::Request::get("/apis").header("accept", accept).body(Default::default()).unwrap();
    let admin = || backstay_apiserver::UserInfo::new("admin", &["system:masters"]);
    let json = world.call(get(format!("application/json;{form}")), admin()).await;
    let protobuf = world.call(get(format!("application/vnd.kubernetes.protobuf;{form}")), admin()).await;
    assert_eq!(json.headers["content-type"], format!("application/json;{form}"));
    assert_eq!(protobuf.headers["content-type"], format!("application/vnd.kubernetes.protobuf;{form}"));
    let parsed = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("JSON");
    assert_eq!(parsed(&protobuf.body), parsed(&json.body));
}

#[tokio::test(start_paused = true)]
async fn a_message_is_made_once_and_only_if_wanted() {
    let mut world = World::new().await;
    world.run("> POST /api/v1/namespaces/default/configmaps {\"metadata\":{\"name\":\"a\"}}\n< 201").await;
    let entry = world.store.snapshot().get(&Key::new("configmaps", "default", "a")).expect("an entry");
    world
        .run("> GET /api/v1/configmaps\n< 200\n> GET /api/v1/configmaps?watch=1&timeoutSeconds=1\n< 200 ADDED a")
        .await;
    assert!(entry.messages.get().is_none(), "who reads JSON does not pay for protobuf");

    world.run("> [metadatalist] GET /api/v1/configmaps\n< 200").await;
    assert!(entry.messages().whole.get().is_none() && entry.messages().metadata.get().is_some());
    world.run("> [pb] GET /api/v1/configmaps\n< 200").await;
    let made = entry.messages().whole.get().expect("made for the list").as_ptr();
    world
        .run(
            "> [pb] GET /api/v1/configmaps?watch=1&timeoutSeconds=1\n< 200 ADDED a\n\
             > [pb] GET /api/v1/namespaces/default/configmaps/a\n< 200",
        )
        .await;
    assert_eq!(entry.messages().whole.get().map(|message| message.as_ptr()), Some(made));
}
