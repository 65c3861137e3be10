//! Create, update, patch: what is kept, and what is refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use backstay_api::Entropy;
use backstay_api::managed::TrackedFrom;

use crate::script::{World, check};

#[tokio::test(start_paused = true)]
async fn create_gives_identity_and_refuses_a_second_one() {
    check(
        r#"
        > POST /api/v1/namespaces/default/configmaps {"metadata":{"name":"c","uid":"mine","creationTimestamp":"2000-01-01T00:00:00Z"},"data":{"a":"1"}}
        < 201 kind="ConfigMap" apiVersion="v1" metadata.namespace="default" data.a="1" metadata.uid:=uid
        > POST /api/v1/namespaces/default/configmaps {"metadata":{"name":"c"}}
        < 409 reason="AlreadyExists" message~already
        > POST /api/v1/namespaces/default/configmaps {"metadata":{"generateName":"g-"}}
        < 201 metadata.name~g- metadata.generateName="g-"
        > POST /api/v1/namespaces/default/configmaps {"metadata":{"name":"d","resourceVersion":"5"}}
        < 500 message="resourceVersion should not be set on objects to be created" reason=null
        > POST /api/v1/namespaces/default/configmaps {"metadata":{"name":"d","namespace":"other"}}
        < 400 message~namespace
        > POST /api/v1/namespaces/none/configmaps {"metadata":{"name":"d"}}
        < 404 details.kind="namespaces"
        > POST /api/v1/namespaces/default/configmaps?dryRun=All {"metadata":{"name":"d"}}
        < 201 metadata.resourceVersion=null metadata.name="d"
        > GET /api/v1/namespaces/default/configmaps/d
        < 404 reason="NotFound"
        "#,
    )
    .await;
}

/// There are five numbers here, and as many names.
#[tokio::test(start_paused = true)]
async fn a_generated_name_that_is_taken_is_not_the_last() {
    let drawn = Arc::new(AtomicU64::new(0));
    let counter = drawn.clone();
    let repetitive = Entropy::new(move || counter.fetch_add(1, Ordering::Relaxed) % 5);
    let mut world = World::with(|config| config.entropy = repetitive).await;
    let mut draws = Vec::new();
    for number in 0..5 {
        let create = format!(
            r#"
            > POST /api/v1/namespaces/default/configmaps {{"metadata":{{"generateName":"g-"}},"data":{{"a":"{number}"}}}}
            < 201 metadata.name~g- metadata.generateName="g-" data.a="{number}" metadata.managedFields.*.manager=["script"]
            "#
        );
        let before = drawn.load(Ordering::Relaxed);
        world.run(&create).await;
        draws.push(drawn.load(Ordering::Relaxed) - before);
    }
    assert!(draws[1..].iter().any(|more| *more > draws[0]), "no name was taken: {draws:?}");
    world.run("> GET /api/v1/namespaces/default/configmaps\n< 200 items.*.metadata.generateName=[\"g-\",\"g-\",\"g-\",\"g-\",\"g-\"]").await;
    let mut world = World::with(|config| config.entropy = Entropy::new(|| 0)).await;
    world
        .run(
            r#"
            > POST /api/v1/namespaces/default/configmaps {"metadata":{"generateName":"g-"}}
            < 201 metadata.name~g-
            > POST /api/v1/namespaces/default/configmaps {"metadata":{"generateName":"g-"}}
            < 409 reason="AlreadyExists"
            > POST /api/v1/namespaces/default/configmaps?dryRun=All {"metadata":{"generateName":"g-"}}
            < 409 reason="AlreadyExists"
            "#,
        )
        .await;
}

#[tokio::test(start_paused = true)]
async fn updates_respect_versions_and_identity() {
    check(
        r#"
        > POST /api/v1/namespaces/default/configmaps {"metadata":{"name":"c"},"data":{"a":"1"}}
        < 201 metadata.resourceVersion:=v1 metadata.uid:=uid metadata.creationTimestamp:=born
        > PUT /api/v1/namespaces/default/configmaps/c {"metadata":{"name":"c"},"data":{"a":"2"}}
        < 200 data.a="2" metadata.uid="${uid}" metadata.creationTimestamp="${born}" metadata.resourceVersion:=v2
        > PUT /api/v1/namespaces/default/configmaps/c {"metadata":{"name":"c","resourceVersion":"${v1}"},"data":{"a":"3"}}
        < 409 reason="Conflict"
        > PUT /api/v1/namespaces/default/configmaps/c {"metadata":{"name":"c","resourceVersion":"${v2}"},"data":{"a":"2"}}
        < 200 metadata.resourceVersion="${v2}"
        > PUT /api/v1/namespaces/default/configmaps/c {"metadata":{"name":"c","uid":"other"}}
        < 409 message~Precondition
        > PUT /api/v1/namespaces/default/configmaps/c {"metadata":{"name":"d"}}
        < 400 message~match
        > PUT /api/v1/namespaces/default/configmaps/d {"metadata":{"name":"d"}}
        < 404 reason="NotFound"
        > PUT /apis/coordination.k8s.io/v1/namespaces/default/leases/l {"metadata":{"name":"l"}}
        < 201 kind="Lease"
        "#,
    )
    .await;
}

/// Who has seen an object that is gone does not make another one of its name.
#[tokio::test(start_paused = true)]
async fn an_update_of_what_is_gone_is_no_create() {
    check(
        r#"
        > PUT /apis/coordination.k8s.io/v1/namespaces/default/leases/l {"metadata":{"name":"l","uid":"gone"}}
        < 409 reason="Conflict" message~Precondition message~gone,
        > PUT /api/v1/namespaces/default/configmaps/c {"metadata":{"name":"c","uid":"gone"}}
        < 409 reason="Conflict" message~Precondition
        > PATCH /api/v1/namespaces/default/configmaps/c?fieldManager=m [apply]{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c","uid":"gone"}}
        < 409 reason="Conflict" message="Operation cannot be fulfilled on configmaps \"c\": uid mismatch: the provided object specified uid gone, and no existing object was found"
        > GET /apis/coordination.k8s.io/v1/namespaces/default/leases/l
        < 404
        > GET /api/v1/namespaces/default/configmaps/c
        < 404
        "#,
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn every_patch_type_reaches_the_object() {
    check(
        r#"
        > POST /api/v1/namespaces/default/configmaps {"metadata":{"name":"c"},"data":{"a":"1"}}
        < 201 metadata.resourceVersion:=v1
        > PATCH /api/v1/namespaces/default/configmaps/c [merge]{"data":{"b":"2"}}
        < 200 data={"a":"1","b":"2"} metadata.resourceVersion:=v2
        > PATCH /api/v1/namespaces/default/configmaps/c [merge]{"data":{"b":"2"}}
        < 200 metadata.resourceVersion="${v2}"
        > PATCH /api/v1/namespaces/default/configmaps/c [jsonpatch][{"op":"remove","path":"/data/a"}]
        < 200 data={"b":"2"}
        > PATCH /api/v1/namespaces/default/configmaps/c [smp]{"data":{"b":null},"metadata":{"labels":{"l":"1"}}}
        < 200 data=null metadata.labels.l="1"
        > PATCH /api/v1/namespaces/default/configmaps/c?fieldManager=m [apply]{"apiVersion":"v1","kind":"ConfigMap","data":{"z":"26"}}
        < 200 data={"z":"26"}
        > PATCH /api/v1/namespaces/default/configmaps/n?fieldManager=m [apply]{"apiVersion":"v1","kind":"ConfigMap","data":{"z":"26"}}
        < 201 metadata.name="n"
        > PATCH /api/v1/namespaces/default/configmaps/c [merge]{"metadata":{"resourceVersion":"${v1}"}}
        < 409 reason="Conflict"
        > PATCH /api/v1/namespaces/default/configmaps/c [merge]{"metadata":{"name":"d"}}
        < 400 message~match
        > PATCH /api/v1/namespaces/default/configmaps/c {"data":{}}
        < 415 reason="UnsupportedMediaType"
        > PATCH /api/v1/namespaces/default/configmaps/c?fieldValidation=Strict [merge]{"data":{"a":"1"},"foo":1}
        < 422 reason="Invalid" message~foo
        > PATCH /api/v1/namespaces/default/configmaps/none [merge]{}
        < 404 reason="NotFound"
        "#,
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_event_is_one_object_in_two_groups() {
    check(
        r#"
        > POST /apis/events.k8s.io/v1/namespaces/default/events {"metadata":{"name":"e"},"eventTime":"2026-01-01T00:00:00.000000Z","note":"hello","reason":"R","action":"A","type":"Normal","reportingController":"x.io/c","reportingInstance":"i","regarding":{"kind":"Pod","name":"p","namespace":"default"}}
        < 201 apiVersion="events.k8s.io/v1" note="hello" message=null
        > GET /api/v1/namespaces/default/events/e
        < 200 apiVersion="v1" message="hello" involvedObject.name="p" reportingComponent="x.io/c" note=null
        > GET /api/v1/namespaces/default/events?fieldSelector=involvedObject.name=p
        < 200 items.*.metadata.name=["e"]
        > GET /apis/events.k8s.io/v1/namespaces/default/events?fieldSelector=regarding.name=p
        < 200 items.*.note=["hello"]
        > PATCH /apis/events.k8s.io/v1/namespaces/default/events/e [merge]{"note":"bye"}
        < 200 note="bye"
        > GET /api/v1/namespaces/default/events/e
        < 200 message="bye"
        "#,
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn nobody_grants_or_does_what_they_may_not() {
    check(
        r#"
        > @eve GET /api/v1/namespaces/default/configmaps
        < 403 reason="Forbidden" message~eve
        > @eve GET /api/v1/nosuch
        < 403 reason="Forbidden"
        > POST /apis/rbac.authorization.k8s.io/v1/namespaces/default/roles {"metadata":{"name":"r"},"rules":[{"apiGroups":["","rbac.authorization.k8s.io"],"resources":["configmaps","roles"],"verbs":["get","create"]}]}
        < 201 kind="Role"
        > POST /apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings {"metadata":{"name":"b"},"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"Role","name":"r"},"subjects":[{"apiGroup":"rbac.authorization.k8s.io","kind":"User","name":"eve"}]}
        < 201 kind="RoleBinding"
        > @eve POST /api/v1/namespaces/default/configmaps {"metadata":{"name":"c"}}
        < 201 metadata.name="c"
        > @eve DELETE /api/v1/namespaces/default/configmaps/c
        < 403 reason="Forbidden"
        > @eve POST /apis/rbac.authorization.k8s.io/v1/namespaces/default/roles {"metadata":{"name":"more"},"rules":[{"apiGroups":[""],"resources":["secrets"],"verbs":["get"]}]}
        < 403 reason="Forbidden" message~secrets
        "#,
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn services_get_addresses_of_their_own() {
    check(
        r#"
        > POST /api/v1/namespaces/default/services {"metadata":{"name":"a"},"spec":{"ports":[{"port":80}]}}
        < 201 spec.clusterIP~10.96. spec.clusterIP:=ip spec.ports.0.nodePort=null
        > POST /api/v1/namespaces/default/services {"metadata":{"name":"b"},"spec":{"clusterIP":"${ip}","ports":[{"port":80}]}}
        < 422 reason="Invalid"
        > POST /api/v1/namespaces/default/services {"metadata":{"name":"b"},"spec":{"clusterIP":"10.1.2.3","ports":[{"port":80}]}}
        < 422 message~range
        > POST /api/v1/namespaces/default/services {"metadata":{"name":"n"},"spec":{"type":"NodePort","ports":[{"port":80,"nodePort":30001},{"port":81,"name":"x"}]}}
        < 422 message~name
        > POST /api/v1/namespaces/default/services {"metadata":{"name":"n"},"spec":{"type":"NodePort","ports":[{"port":80,"name":"y","nodePort":30001},{"port":81,"name":"x"}]}}
        < 201 spec.ports.0.nodePort=30001 spec.ports.1.nodePort~3
        > POST /api/v1/namespaces/default/services {"metadata":{"name":"m"},"spec":{"type":"NodePort","ports":[{"port":80,"nodePort":30001}]}}
        < 422 message~allocated
        > POST /api/v1/namespaces/default/services {"metadata":{"name":"h"},"spec":{"clusterIP":"None"}}
        < 201 spec.clusterIP="None"
        > PATCH /api/v1/namespaces/default/services/a [merge]{"metadata":{"labels":{"l":"1"}}}
        < 200 metadata.labels.l="1"
        "#,
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn events_are_forgotten_in_time() {
    check_events(jiff::SignedDuration::from_hours(1), r#"["young"]"#).await;
    check_events(jiff::SignedDuration::from_hours(2), r#"["old","young"]"#).await;
    check_events(jiff::SignedDuration::from_mins(1), "[]").await;
}

/// Of two events, 4,000 and 1,000 seconds old, these are left after a minute.
async fn check_events(ttl: jiff::SignedDuration, left: &str) {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, Ordering};

    use backstay_api::Clock;

    let now = Arc::new(AtomicI64::new(1_000_000));
    let hands = now.clone();
    let clock = Clock::new(move || jiff::Timestamp::from_second(hands.load(Ordering::Relaxed)).expect("in range"));
    let mut world = World::with(|config| (config.clock, config.event_ttl) = (clock, ttl)).await;
    let post = |name: &str| {
        format!(
            "> POST /api/v1/namespaces/default/events {{\"metadata\":{{\"name\":\"{name}\"}},\"involvedObject\":{{\"namespace\":\"default\"}}}}\n< 201"
        )
    };
    world.run(&post("old")).await;
    now.fetch_add(3_000, Ordering::Relaxed);
    world.run(&post("young")).await;
    now.fetch_add(1_000, Ordering::Relaxed);
    let minutes = tokio::time::sleep(std::time::Duration::from_secs(61));
    world.server.upkeep(minutes).await;
    world.run(&format!("> GET /api/v1/namespaces/default/events\n< 200 items.*.metadata.name={left}")).await;
}

#[tokio::test(start_paused = true)]
async fn managers_may_be_told_apart_from_the_first_apply_on() {
    let mut world = World::with(|config| config.tracked_from = TrackedFrom::FirstApply).await;
    world
        .run(
            r#"
            > POST /api/v1/namespaces/default/configmaps {"metadata":{"name":"c"},"data":{"a":"1","b":"1"}}
            < 201 metadata.managedFields=null
            > PATCH /api/v1/namespaces/default/configmaps/c [merge]{"data":{"a":"2"}}
            < 200 metadata.managedFields=null data.a="2"
            > PATCH /api/v1/namespaces/default/configmaps/c?fieldManager=m [apply]{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c"},"data":{"a":"3"}}
            < 409 message~before-first-apply
            > PATCH /api/v1/namespaces/default/configmaps/c?fieldManager=m&force=true [apply]{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c"},"data":{"a":"3"}}
            < 200 metadata.managedFields.*.manager=["m","before-first-apply"]
            > PATCH /api/v1/namespaces/default/configmaps/c?fieldManager=n [merge]{"data":{"a":"4"}}
            < 200 metadata.managedFields.*.manager=["before-first-apply","n"]
            > PATCH /api/v1/namespaces/default/configmaps/d?fieldManager=m [apply]{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"d"},"data":{"a":"3"}}
            < 201 metadata.managedFields.*.manager=["m"]
            > POST /api/v1/namespaces/default/configmaps {"metadata":{"name":"e","managedFields":[{"manager":"o","operation":"Update","apiVersion":"v1","time":"2020-01-01T00:00:00Z","fieldsType":"FieldsV1","fieldsV1":{"f:data":{"f:a":{}}}}]},"data":{"a":"1"}}
            < 201 metadata.managedFields.*.manager=["script"]
            > POST /api/v1/namespaces/default/configmaps {"metadata":{"name":"f","managedFields":[{}]}}
            < 201 metadata.managedFields=null
            "#,
        )
        .await;
}
