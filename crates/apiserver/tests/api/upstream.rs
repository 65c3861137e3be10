//! Conformance tests of Kubernetes about DaemonSets and ControllerRevisions, as far as they are about the API alone.

use crate::script::check;

const SETS: &str = "/apis/apps/v1/namespaces/default/daemonsets";
const REVISIONS: &str = "/apis/apps/v1/namespaces/default/controllerrevisions";

fn daemonset(name: &str, label: &str) -> String {
    format!(
        r#"{{"metadata":{{"name":"{name}","labels":{{"e2e":"{label}"}}}},"spec":{{"selector":{{"matchLabels":{{"app":"{name}"}}}},"template":{{"metadata":{{"labels":{{"app":"{name}"}}}},"spec":{{"containers":[{{"name":"app","image":"app:1"}}]}}}}}}}}"#
    )
}

#[tokio::test(start_paused = true)]
async fn a_collection_of_daemonsets_is_listed_and_deleted() {
    let (first, second, other) = (daemonset("a", "mine"), daemonset("b", "mine"), daemonset("c", "other"));
    check(&format!(
        r#"
        > POST {SETS} {first}
        < 201
        > POST {SETS} {second}
        < 201
        > POST {SETS} {other}
        < 201
        > GET /apis/apps/v1/daemonsets?labelSelector=e2e=mine
        < 200 items.*.metadata.name=["a","b"]
        > DELETE {SETS}?labelSelector=e2e=mine&gracePeriodSeconds=1
        < 200
        > GET /apis/apps/v1/daemonsets?labelSelector=e2e=mine
        < 200 items=[]
        > GET {SETS}
        < 200 items.*.metadata.name=["c"]
        "#
    ))
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_status_of_a_daemonset_is_read_written_and_watched() {
    let set = daemonset("a", "mine");
    let condition =
        |kind: &str| format!(r#"{{"type":"{kind}","status":"True","reason":"E2E","message":"Set from an e2e test"}}"#);
    let (first, second) = (condition("StatusUpdate"), condition("StatusPatched"));
    let numbers = r#""currentNumberScheduled":0,"numberMisscheduled":0,"desiredNumberScheduled":0,"numberReady":0"#;
    check(&format!(
        r#"
        > POST {SETS} {set}
        < 201 metadata.resourceVersion:=begin
        > GET {SETS}/a/status
        < 200 kind="DaemonSet" status.conditions=null
        > PUT {SETS}/a/status {{"metadata":{{"name":"a"}},"spec":{{"selector":{{"matchLabels":{{"app":"a"}}}},"template":{{"metadata":{{"labels":{{"app":"a"}}}},"spec":{{"containers":[{{"name":"app","image":"other"}}]}}}}}},"status":{{{numbers},"conditions":[{first}]}}}}
        < 200 status.conditions.*.type=["StatusUpdate"] spec.template.spec.containers.0.image="app:1" metadata.generation=1
        > PATCH {SETS}/a/status [merge]{{"status":{{"conditions":[{second}]}}}}
        < 200 status.conditions.*.type=["StatusPatched"]
        > GET {SETS}?watch=1&timeoutSeconds=1&resourceVersion=${{begin}}
        < 200 MODIFIED a, MODIFIED a
        "#
    ))
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_controller_revision_lives_from_create_to_delete_collection() {
    let data = r#""data":{"spec":{"template":{"$patch":"replace","spec":{"containers":[]}}}}"#;
    check(&format!(
        r#"
        > POST {REVISIONS} {{"metadata":{{"name":"a-1","labels":{{"daemonset-name":"a"}}}},"revision":1,{data}}}
        < 201 revision=1
        > GET /apis/apps/v1/controllerrevisions?labelSelector=daemonset-name=a
        < 200 items.*.metadata.name=["a-1"]
        > PATCH {REVISIONS}/a-1 [smp]{{"metadata":{{"labels":{{"a-1":"patched"}}}}}}
        < 200 metadata.labels={{"a-1":"patched","daemonset-name":"a"}}
        > POST {REVISIONS} {{"metadata":{{"name":"a-2","labels":{{"daemonset-name":"a"}}}},"revision":2,{data}}}
        < 201
        > GET {REVISIONS}?labelSelector=daemonset-name=a
        < 200 items.*.revision=[1,2]
        > DELETE {REVISIONS}/a-1
        < 200
        > GET {REVISIONS}?labelSelector=daemonset-name=a
        < 200 items.*.metadata.name=["a-2"]
        > PUT {REVISIONS}/a-2 {{"metadata":{{"name":"a-2","labels":{{"daemonset-name":"a","a-2":"updated"}}}},"revision":2,{data}}}
        < 200 metadata.labels.a-2="updated"
        > POST {REVISIONS} {{"metadata":{{"name":"a-3","labels":{{"daemonset-name":"a"}}}},"revision":3,"data":{{"spec":{{}}}}}}
        < 201
        > GET {REVISIONS}?labelSelector=daemonset-name=a
        < 200 items.*.revision=[2,3]
        > DELETE {REVISIONS}?labelSelector=a-2=updated
        < 200
        > GET {REVISIONS}?labelSelector=daemonset-name=a
        < 200 items.*.revision=[3]
        "#
    ))
    .await;
}
