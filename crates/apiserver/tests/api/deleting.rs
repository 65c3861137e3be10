//! Delete: at once, after a grace period, after finalizers, with dependents, in collections.

use crate::script::check;

#[tokio::test(start_paused = true)]
async fn what_nothing_keeps_goes_at_once() {
    check(
        r#"
        > POST /api/v1/namespaces/default/configmaps {"metadata":{"name":"c"}}
        < 201 metadata.uid:=uid metadata.resourceVersion:=v
        > DELETE /api/v1/namespaces/default/configmaps/c {"preconditions":{"uid":"other"}}
        < 409 reason="Conflict" message~UID
        > DELETE /api/v1/namespaces/default/configmaps/c {"preconditions":{"resourceVersion":"1"}}
        < 409 reason="Conflict" message~ResourceVersion
        > DELETE /api/v1/namespaces/default/configmaps/c?dryRun=All
        < 200 status="Success"
        > DELETE /api/v1/namespaces/default/configmaps/c {"preconditions":{"uid":"${uid}","resourceVersion":"${v}"}}
        < 200 status="Success" details.name="c" details.kind="configmaps" details.uid="${uid}"
        > DELETE /api/v1/namespaces/default/configmaps/c
        < 404 reason="NotFound"
        > DELETE /api/v1/namespaces/default
        < 403 message~deleted
        "#,
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn finalizers_keep_an_object_until_the_last_is_gone() {
    check(
        r#"
        > POST /api/v1/namespaces/default/configmaps {"metadata":{"name":"c","finalizers":["x.io/a"]}}
        < 201 metadata.resourceVersion:=v
        > DELETE /api/v1/namespaces/default/configmaps/c
        < 200 kind="ConfigMap" metadata.deletionGracePeriodSeconds=0 metadata.finalizers=["x.io/a"] metadata.deletionTimestamp:=time metadata.resourceVersion:=v2
        > DELETE /api/v1/namespaces/default/configmaps/c
        < 200 metadata.deletionTimestamp="${time}" metadata.resourceVersion="${v2}"
        > POST /api/v1/namespaces/default/configmaps {"metadata":{"name":"c"}}
        < 409 message~deleted
        > PATCH /api/v1/namespaces/default/configmaps/c [merge]{"metadata":{"deletionTimestamp":null}}
        < 200 metadata.deletionTimestamp="${time}"
        > PATCH /api/v1/namespaces/default/configmaps/c?dryRun=All [merge]{"metadata":{"finalizers":null}}
        < 200 metadata.finalizers=null
        > PATCH /api/v1/namespaces/default/configmaps/c [merge]{"metadata":{"finalizers":null}}
        < 200 metadata.finalizers=null
        > GET /api/v1/namespaces/default/configmaps/c
        < 404 reason="NotFound"
        > GET /api/v1/namespaces/default/configmaps?watch=1&resourceVersion=${v}&timeoutSeconds=1
        < 200 MODIFIED c, DELETED c
        "#,
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_policy_becomes_a_finalizer() {
    let daemonset = r#"{"metadata":{"name":"d"},"spec":{"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"m","image":"i:1"}]}}}}"#;
    check(&format!(
        r#"
        > POST /apis/apps/v1/namespaces/default/daemonsets {daemonset}
        < 201 metadata.generation=1
        > DELETE /apis/apps/v1/namespaces/default/daemonsets/d {{"propagationPolicy":"Foreground","orphanDependents":true}}
        < 422 reason="Invalid"
        > DELETE /apis/apps/v1/namespaces/default/daemonsets/d {{"propagationPolicy":"Sideways"}}
        < 422 message~Sideways
        > DELETE /apis/apps/v1/namespaces/default/daemonsets/d?propagationPolicy=Foreground
        < 200 metadata.finalizers=["foregroundDeletion"] metadata.generation=2
        > DELETE /apis/apps/v1/namespaces/default/daemonsets/d?propagationPolicy=Orphan
        < 200 metadata.finalizers=["orphan"] metadata.generation=2
        > DELETE /apis/apps/v1/namespaces/default/daemonsets/d?propagationPolicy=Background
        < 200 status="Success"
        "#
    ))
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_collection_goes_as_far_as_it_matches() {
    check(
        r#"
        > POST /api/v1/namespaces/default/configmaps {"metadata":{"name":"a","labels":{"x":"1"}}}
        < 201
        > POST /api/v1/namespaces/default/configmaps {"metadata":{"name":"b","labels":{"x":"1"}}}
        < 201
        > POST /api/v1/namespaces/default/configmaps {"metadata":{"name":"c"}}
        < 201
        > DELETE /api/v1/configmaps
        < 405 reason="MethodNotAllowed"
        > DELETE /api/v1/namespaces/default/configmaps?labelSelector=x=1
        < 200 kind="ConfigMapList" items.*.metadata.name=["a","b"]
        > GET /api/v1/namespaces/default/configmaps
        < 200 items.*.metadata.name=["c"]
        "#,
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_namespace_waits_for_its_content() {
    check(
        r#"
        > POST /api/v1/namespaces {"metadata":{"name":"n"}}
        < 201 spec.finalizers=["kubernetes"] status.phase="Active"
        > POST /api/v1/namespaces/n/configmaps {"metadata":{"name":"c"}}
        < 201
        > DELETE /api/v1/namespaces/n
        < 200 status.phase="Terminating" metadata.deletionTimestamp:=time
        > POST /api/v1/namespaces/n/configmaps {"metadata":{"name":"d"}}
        < 403 details.causes.0.reason="NamespaceTerminating"
        > PATCH /api/v1/namespaces/n/configmaps/c [merge]{"data":{"a":"1"}}
        < 200 data.a="1"
        > DELETE /api/v1/namespaces/n
        < 200 metadata.deletionTimestamp="${time}"
        > PUT /api/v1/namespaces/n/finalize {"metadata":{"name":"n"},"spec":{"finalizers":[]}}
        < 200 spec={}
        > GET /api/v1/namespaces/n
        < 404
        "#,
    )
    .await;
}
