//! Which DaemonSets a change wakes. Names follow `daemon_controller_test.go`; there they are the contents of the queue.

use serde_json::{Value, json};

use super::*;

/// Two DaemonSets, `a` and `b`, whose selectors are `app=a` and `app=b`, one that wants `app=a` too, and a node.
fn fleet() -> Fleet {
    let mut fleet = Fleet::default();
    fleet.hear_nodes(&[Change::Listed { objects: vec![node("n", json!({}), json!([]))], resource_version: 1 }]);
    fleet.hear_pods(&[Change::Listed { objects: vec![], resource_version: 1 }]);
    fleet.hear_revisions(&[Change::Listed { objects: vec![], resource_version: 1 }]);
    let sets = vec![daemonset("a", "a"), daemonset("a2", "a"), daemonset("b", "b")];
    fleet.hear_daemonsets(&[Change::Listed { objects: sets, resource_version: 1 }], Timestamp::UNIX_EPOCH);
    assert!(fleet.is_listed());
    woken(&mut fleet);
    fleet
}

fn read<T: Object>(object: Value) -> Arc<T> {
    Arc::new(T::from_json(object.to_string().as_bytes()).unwrap())
}

fn daemonset(name: &str, app: &str) -> Arc<DaemonSet> {
    read(json!({
        "metadata": { "name": name, "namespace": "ns", "uid": format!("uid-{name}"), "resourceVersion": "1" },
        "spec": { "selector": { "matchLabels": { "app": app } },
            "template": { "metadata": { "labels": { "app": app } }, "spec": {} } },
    }))
}

fn node(name: &str, labels: Value, taints: Value) -> Arc<Node> {
    read(json!({ "metadata": { "name": name, "uid": name, "labels": labels }, "spec": { "taints": taints } }))
}

/// A pod with this label; owned by the DaemonSet of this name, if that is not empty.
fn pod(version: u64, app: &str, owner: &str) -> Arc<Pod> {
    let owner = json!({ "kind": "DaemonSet", "name": owner, "uid": format!("uid-{owner}"), "controller": true });
    let owners = if owner["name"] == "" { json!([]) } else { json!([owner]) };
    read(json!({
        "metadata": { "name": "p", "namespace": "ns", "uid": "uid-p", "resourceVersion": version.to_string(),
            "labels": { "app": app }, "ownerReferences": owners },
        "spec": { "nodeName": "n" },
    }))
}

fn woken(fleet: &mut Fleet) -> Vec<String> {
    std::mem::take(&mut fleet.dirty).into_iter().map(|(_, name)| name.to_string()).collect()
}

/// Hears of the pods one after the other; the last one wakes these DaemonSets.
fn check_pods(pods: &[Arc<Pod>], expected: &[&str]) {
    let mut fleet = fleet();
    for pod in pods {
        woken(&mut fleet);
        fleet.hear_pods(&[Change::Set(pod.clone())]);
    }
    assert_eq!(woken(&mut fleet), expected);
}

#[test]
fn add_pod() {
    check_pods(&[pod(2, "a", "a")], &["a"]);
    check_pods(&[pod(2, "b", "b")], &["b"]);
    check_pods(&[pod(2, "a", "stranger")], &[]);
}

/// A reference that crosses namespaces means nothing: whoever can make pods in one has no say in another.
#[test]
fn add_pod_that_names_an_owner_elsewhere() {
    let mut fleet = fleet();
    let mut elsewhere = (*pod(2, "a", "a")).clone();
    elsewhere.meta.namespace = "other".into();
    fleet.hear_pods(&[Change::Set(Arc::new(elsewhere))]);
    assert_eq!(woken(&mut fleet), [""; 0]);
}

/// An orphan wakes all of its namespace; those whose selector does not match find nothing to do.
#[test]
fn add_pod_orphan() {
    check_pods(&[pod(2, "a", "")], &["a", "a2", "b"]);
    let mut fleet = fleet();
    let mut elsewhere = (*pod(2, "a", "")).clone();
    elsewhere.meta.namespace = "other".into();
    fleet.hear_pods(&[Change::Set(Arc::new(elsewhere))]);
    assert_eq!(woken(&mut fleet), [""; 0]);
}

#[test]
fn update_pod() {
    check_pods(&[pod(2, "a", "a"), pod(3, "a", "a")], &["a"]);
    check_pods(&[pod(2, "a", "a"), pod(2, "a", "a")], &[]);
    check_pods(&[pod(5, "a", "a"), pod(3, "a", "a")], &[]);
}

#[test]
fn update_pod_change_controller_ref() {
    check_pods(&[pod(2, "a", "a"), pod(3, "a", "a2")], &["a", "a2"]);
}

#[test]
fn update_pod_controller_ref_removed() {
    check_pods(&[pod(2, "a", "a"), pod(3, "a", "")], &["a", "a2", "b"]);
}

#[test]
fn delete_pod() {
    let mut fleet = fleet();
    for (owner, expected) in [("a", vec!["a"]), ("stranger", vec![])] {
        fleet.hear_pods(&[Change::Set(pod(2, "a", owner))]);
        woken(&mut fleet);
        fleet.hear_pods(&[Change::Gone(pod(4, "a", owner))]);
        assert_eq!(woken(&mut fleet), expected, "owned by {owner}");
    }
}

/// What `DeletedFinalStateUnknown` is elsewhere: a list without an object that was there.
#[test]
fn delete_final_state_unknown() {
    let mut fleet = fleet();
    fleet.hear_pods(&[Change::Set(pod(2, "a", "a"))]);
    woken(&mut fleet);
    fleet.hear_pods(&[Change::Listed { objects: vec![], resource_version: 9 }]);
    assert_eq!(woken(&mut fleet), ["a"]);
    fleet.hear_daemonsets(&[Change::Listed { objects: vec![], resource_version: 9 }], Timestamp::UNIX_EPOCH);
    assert!(fleet.views.is_empty());
}

#[test]
fn expectations_on_recreate() {
    let mut fleet = fleet();
    let mut anew = (*daemonset("a", "a")).clone();
    anew.meta.uid = "uid-anew".into();
    anew.meta.resource_version = 8;
    fleet.hear_daemonsets(&[Change::Set(Arc::new(anew))], Timestamp::UNIX_EPOCH);
    assert_eq!(woken(&mut fleet), ["a"]);
    let view = &fleet.views[&("ns".into(), "a".into())];
    assert_eq!(&*view.daemonset().meta.uid, "uid-anew");
    assert_eq!(fleet.key_of("uid-a"), None);
}

#[test]
fn add_and_update_node() {
    let mut fleet = fleet();
    fleet.hear_nodes(&[Change::Set(node("m", json!({}), json!([])))]);
    assert_eq!(woken(&mut fleet), ["a", "a2", "b"]);
    // Versions are not numbers here, so that every state counts as new.
    fleet.hear_nodes(&[Change::Set(node("m", json!({}), json!([])))]);
    assert_eq!(woken(&mut fleet), [""; 0], "nothing that placement reads has changed");
    fleet.hear_nodes(&[Change::Set(node("m", json!({ "color": "blue" }), json!([])))]);
    assert_eq!(woken(&mut fleet), ["a", "a2", "b"]);
    fleet.hear_nodes(&[Change::Set(node(
        "m",
        json!({ "color": "blue" }),
        json!([{ "key": "k", "effect": "NoSchedule" }]),
    ))]);
    assert_eq!(woken(&mut fleet), ["a", "a2", "b"]);
}
