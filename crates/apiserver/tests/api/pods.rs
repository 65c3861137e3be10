//! Pods: admission, binding, grace periods, eviction, logs.

use std::io::Cursor;
use std::sync::Arc;

use async_trait::async_trait;
use backstay_apiserver::PodAccess;
use backstay_streams::{LogRequest, Session, StreamError, StreamRequest, Target};

use crate::script::{World, check};

const POD: &str = r#"{"metadata":{"name":"p","labels":{"a":"b"}},"spec":{"containers":[{"name":"m","image":"i:1"}]}}"#;

#[tokio::test(start_paused = true)]
async fn admission_fills_in_priority_and_tolerations() {
    check(&format!(
        r#"
        > POST /apis/scheduling.k8s.io/v1/priorityclasses {{"metadata":{{"name":"high"}},"value":7,"preemptionPolicy":"Never"}}
        < 201
        > POST /api/v1/namespaces/default/pods {POD}
        < 201 spec.priority=0 spec.preemptionPolicy="PreemptLowerPriority" spec.tolerations.*.tolerationSeconds=[300,300] status.phase="Pending"
        > POST /api/v1/namespaces/default/pods {{"metadata":{{"name":"q"}},"spec":{{"priorityClassName":"high","containers":[{{"name":"m","image":"i:1"}}],"tolerations":[{{"operator":"Exists"}}]}}}}
        < 201 spec.priority=7 spec.preemptionPolicy="Never" spec.tolerations=[{{"operator":"Exists"}}]
        > POST /api/v1/namespaces/default/pods {{"metadata":{{"name":"r"}},"spec":{{"priorityClassName":"none","containers":[{{"name":"m","image":"i:1"}}]}}}}
        < 403 message~none
        > POST /apis/scheduling.k8s.io/v1/priorityclasses {{"metadata":{{"name":"first"}},"value":1,"globalDefault":true}}
        < 201
        > POST /apis/scheduling.k8s.io/v1/priorityclasses {{"metadata":{{"name":"second"}},"value":2,"globalDefault":true}}
        < 403 message~default
        > POST /api/v1/namespaces/default/pods {{"metadata":{{"name":"s"}},"spec":{{"containers":[{{"name":"m","image":"i:1"}}]}}}}
        < 201 spec.priorityClassName="first" spec.priority=1
        > POST /api/v1/nodes {{"metadata":{{"name":"n"}}}}
        < 201 spec.taints.*.key=["node.kubernetes.io/not-ready"]
        "#
    ))
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_service_account_brings_its_token() {
    let mut world = World::with(|config| {
        config.disabled_admission_plugins.clear();
        config.root_ca = Some("PEM".into());
    })
    .await;
    world
        .run(&format!(
            r#"
            > POST /api/v1/namespaces {{"metadata":{{"name":"n"}}}}
            < 201
            > GET /api/v1/namespaces/n/configmaps/kube-root-ca.crt
            < 200 data={{"ca.crt":"PEM"}}
            > POST /api/v1/namespaces/n/pods {POD}
            < 201 spec.serviceAccountName="default" spec.volumes.0.name~kube-api-access- spec.containers.0.volumeMounts.0.readOnly=true
            > DELETE /api/v1/namespaces/n/serviceaccounts/default
            < 200 kind="ServiceAccount"
            > GET /api/v1/namespaces/n/serviceaccounts
            < 200 items.*.metadata.name=["default"]
            > POST /api/v1/namespaces/n/pods {{"metadata":{{"name":"q"}},"spec":{{"serviceAccountName":"none","containers":[{{"name":"m","image":"i:1"}}]}}}}
            < 403 message~n/none
            > DELETE /api/v1/namespaces/n
            < 200
            > DELETE /api/v1/namespaces/n/serviceaccounts/default
            < 200
            > GET /api/v1/namespaces/n/serviceaccounts
            < 200 items=[]
            "#
        ))
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_bound_pod_gets_its_grace() {
    check(&format!(
        r#"
        > POST /api/v1/namespaces/default/pods {POD}
        < 201 metadata.resourceVersion:=v
        > POST /api/v1/namespaces/default/pods/p/binding {{"metadata":{{"name":"p"}},"target":{{"kind":"Node","name":"n"}}}}
        < 201 status="Success"
        > POST /api/v1/namespaces/default/pods/p/binding {{"metadata":{{"name":"p"}},"target":{{"kind":"Node","name":"n"}}}}
        < 409 message~assigned
        > GET /api/v1/pods?fieldSelector=spec.nodeName=n
        < 200 items.*.metadata.name=["p"] items.*.metadata.generation=[1] items.0.status.conditions.*.type=["PodScheduled"]
        > DELETE /api/v1/namespaces/default/pods/p
        < 200 metadata.deletionGracePeriodSeconds=30 metadata.generation=2 metadata.deletionTimestamp:=later
        > DELETE /api/v1/namespaces/default/pods/p?gracePeriodSeconds=60
        < 200 metadata.deletionGracePeriodSeconds=30 metadata.deletionTimestamp="${{later}}"
        > DELETE /api/v1/namespaces/default/pods/p?gracePeriodSeconds=5
        < 200 metadata.deletionGracePeriodSeconds=5 metadata.generation=2
        > DELETE /api/v1/namespaces/default/pods/p?gracePeriodSeconds=0
        < 200 kind="Pod" metadata.deletionGracePeriodSeconds=0
        > GET /api/v1/namespaces/default/pods/p
        < 404
        > GET /api/v1/pods?watch=1&resourceVersion=${{v}}&timeoutSeconds=1
        < 200 MODIFIED p, MODIFIED p, MODIFIED p, DELETED p
        > POST /api/v1/namespaces/default/pods {POD}
        < 201
        > DELETE /api/v1/namespaces/default/pods/p
        < 200 metadata.deletionGracePeriodSeconds=0
        > GET /api/v1/namespaces/default/pods/p
        < 404
        "#
    ))
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_eviction_asks_the_budget() {
    check(&format!(
        r#"
        > POST /api/v1/namespaces/default/pods {POD}
        < 201
        > PATCH /api/v1/namespaces/default/pods/p/status [merge]{{"status":{{"phase":"Running","conditions":[{{"type":"Ready","status":"True"}}]}}}}
        < 200
        > POST /apis/policy/v1/namespaces/default/poddisruptionbudgets {{"metadata":{{"name":"b"}},"spec":{{"minAvailable":1,"selector":{{"matchLabels":{{"a":"b"}}}}}}}}
        < 201 metadata.generation=1
        > POST /api/v1/namespaces/default/pods/p/eviction {{"metadata":{{"name":"p"}}}}
        < 429 reason="TooManyRequests" details.causes.0.message~processed
        > PATCH /apis/policy/v1/namespaces/default/poddisruptionbudgets/b/status [merge]{{"status":{{"observedGeneration":1,"desiredHealthy":1,"currentHealthy":1,"disruptionsAllowed":0,"expectedPods":1}}}}
        < 200
        > POST /api/v1/namespaces/default/pods/p/eviction {{"metadata":{{"name":"p"}}}}
        < 429 details.causes.0.message~needs
        > PATCH /apis/policy/v1/namespaces/default/poddisruptionbudgets/b/status [merge]{{"status":{{"disruptionsAllowed":1}}}}
        < 200
        > POST /api/v1/namespaces/default/pods/p/eviction {{"metadata":{{"name":"p"}}}}
        < 201 status="Success"
        > GET /apis/policy/v1/namespaces/default/poddisruptionbudgets/b
        < 200 status.disruptionsAllowed=0 status.disruptedPods.p~20
        > GET /api/v1/namespaces/default/pods/p
        < 404
        "#
    ))
    .await;
}

#[tokio::test(start_paused = true)]
async fn connections_to_containers_are_for_who_may_create_them() {
    let role = |verbs: &str| {
        format!(
            r#"{{"rules":[{{"verbs":{verbs},"apiGroups":[""],"resources":["pods/exec","pods/attach","pods/portforward"]}}]}}"#
        )
    };
    let rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/default";
    let (looks, may) = (role(r#"["get"]"#), role(r#"["get","create"]"#));
    let p = "/api/v1/namespaces/default/pods/p";
    // In this process there is no connection to turn into anything: whoever gets as far as that has been let in.
    check(&format!(
        r#"
        > POST /api/v1/namespaces/default/pods {{"metadata":{{"name":"p"}},"spec":{{"nodeName":"n","containers":[{{"name":"m","image":"i:1"}},{{"name":"o","image":"i:1"}}]}}}}
        < 201
        > POST /api/v1/namespaces/default/pods {{"metadata":{{"name":"new"}},"spec":{{"schedulingGates":[{{"name":"a.b/c"}}],"containers":[{{"name":"m","image":"i:1"}}]}}}}
        < 201
        > POST {rbac}/roles {{"metadata":{{"name":"r"}},{}
        < 201
        > POST {rbac}/rolebindings {{"metadata":{{"name":"r"}},"roleRef":{{"apiGroup":"rbac.authorization.k8s.io","kind":"Role","name":"r"}},"subjects":[{{"apiGroup":"rbac.authorization.k8s.io","kind":"User","name":"ann"}}]}}
        < 201
        > @ann GET {p}/exec?command=ls&stdout=1&container=m
        < 403 message="pods \"p\" is forbidden: User \"ann\" cannot create resource \"pods/exec\" in API group \"\" in the namespace \"default\""
        > @ann GET {p}/portforward
        < 403
        > @ann POST {p}/attach?stdout=1&container=m
        < 403
        > PUT {rbac}/roles/r {{"metadata":{{"name":"r"}},{}
        < 200
        > @ann GET {p}/exec?command=ls&stdout=1&container=m
        < 400 message="Upgrade request required"
        > @ann POST {p}/exec?command=ls&stdout=1&container=m
        < 400 message="Upgrade request required"
        > @ann POST {p}/attach?stdin=1&container=o
        < 400 message="Upgrade request required"
        > @ann GET {p}/portforward?ports=80,81
        < 400 message="Upgrade request required"
        > POST {p}/exec?stdout=1&container=m
        < 400 message="you must specify at least one command for the container"
        > POST {p}/exec?command=ls&container=m
        < 400 message="you must specify at least 1 of stdin, stdout, stderr"
        > POST {p}/attach?stderr=1&tty=1&container=m
        < 400 message="you must specify at least 1 of stdin, stdout, stderr"
        > POST {p}/exec?command=ls&stdout=1
        < 400 message="a container name must be specified for pod p, choose one of: [m o]"
        > POST {p}/exec?command=ls&stdout=1&container=x
        < 400 message="container x is not valid for pod p"
        > POST /api/v1/namespaces/default/pods/new/exec?command=ls&stdout=1
        < 400 message="pod new does not have a host assigned"
        > POST /api/v1/namespaces/default/pods/new/portforward
        < 400 message="pod new does not have a host assigned"
        > POST /api/v1/namespaces/default/pods/none/exec?command=ls&stdout=1
        < 404 message="pods \"none\" not found"
        > GET {p}/portforward?ports=http
        < 400 message="unable to parse \"http\" as a port"
        > PUT {p}/exec?command=ls&stdout=1 {{}}
        < 405
        > GET {p}/proxy/some/path
        < 501 message="this server does not serve pods/proxy"
        > GET /api/v1/nodes/n/proxy/healthz
        < 501 message="this server does not serve nodes/proxy"
        > GET {p}/exec/more
        < 404
        "#,
        &looks[1..],
        &may[1..]
    ))
    .await;
}

/// Says what it was asked.
struct Echo;

#[async_trait]
impl PodAccess for Echo {
    async fn open(&self, node: &str, request: StreamRequest) -> Result<Session, StreamError> {
        let StreamRequest::Logs(LogRequest { target, follow, tail_lines, stream, .. }) = request else {
            return Err(StreamError::unsupported("anything but logs", "test"));
        };
        let Target { namespace, pod, container, .. } = target;
        let stream = stream.map(|stream| format!(" {stream:?}")).unwrap_or_default();
        let line = format!("{node} {namespace}/{pod}/{container} follow={follow} tail={tail_lines:?}{stream}\nend\n");
        Ok(Session::output(Box::new(Cursor::new(line.into_bytes()))))
    }
}

#[tokio::test(start_paused = true)]
async fn logs_come_from_the_node() {
    let mut world = World::with(|config| config.pod_access = Arc::new(Echo)).await;
    let script = r#"
        > POST /api/v1/namespaces/default/pods {"metadata":{"name":"p"},"spec":{"nodeName":"n","containers":[{"name":"m","image":"i:1"}]}}
        < 201
        > POST /api/v1/namespaces/default/pods {"metadata":{"name":"two"},"spec":{"nodeName":"n","containers":[{"name":"a","image":"i:1"},{"name":"b","image":"i:1"}]}}
        < 201
        > GET /api/v1/namespaces/default/pods/two/log
        < 400 message="a container name must be specified for pod two, choose one of: [a b]"
        > GET /api/v1/namespaces/default/pods/p/log?container=x
        < 400 message="container x is not valid for pod p"
        > GET /api/v1/namespaces/default/pods/p/log?tailLines=-1
        < 422 reason="Invalid"
        > GET /api/v1/namespaces/default/pods/p/log?stream=Both
        < 422 message~Stderr
        > GET /api/v1/namespaces/default/pods/p/log?stream=Stdout&tailLines=1
        < 422 message~mutually
        > GET /api/v1/namespaces/default/pods/none/log
        < 404
        "#;
    world.run(script).await;
    let answer = world.send("GET /api/v1/namespaces/default/pods/p/log?follow=true&tailLines=5").await;
    assert_eq!((answer.code, answer.body.as_str()), (200, "n default/p/m follow=true tail=Some(5)\nend\n"));
    assert_eq!(answer.headers["content-type"], "text/plain");
    let answer = world.send("GET /api/v1/namespaces/default/pods/p/log?stream=Stderr").await;
    assert_eq!(answer.body, "n default/p/m follow=false tail=None Stderr\nend\n");
}
