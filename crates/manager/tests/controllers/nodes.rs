//! Nodes that fall silent, come back, or go.

use std::sync::Arc;
use std::time::Duration;

use backstay_api::{meta, time};
use http::Method;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::world::{Line, World};

const NODE: &str = "/api/v1/nodes/n";
const POD: &str = "/api/v1/namespaces/default/pods/p";

/// `KEY:EFFECT` of every taint, without the common prefix, in order.
fn taints(node: &Value) -> String {
    let taints = node["spec"]["taints"].as_array().map(Vec::as_slice).unwrap_or_default();
    let text = |taint: &Value| format!("{}:{}", taint["key"].as_str().unwrap(), taint["effect"].as_str().unwrap());
    taints.iter().map(text).collect::<Vec<_>>().join(" ").replace("node.kubernetes.io/", "")
}

fn ready(object: &Value) -> &str {
    let conditions = object["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let ready = conditions.iter().find(|one| one["type"] == "Ready");
    ready.and_then(|one| one["status"].as_str()).unwrap_or("none")
}

async fn lease(world: &World, seconds: u32) {
    let spec =
        json!({ "holderIdentity": "n", "leaseDurationSeconds": seconds, "renewTime": time::micros(world.now()) });
    let lease = json!({ "metadata": { "name": "n" }, "spec": spec });
    world.create("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases", lease).await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_reports_loses_its_first_taint() {
    let world = World::new().await;
    world
        .create("/api/v1/nodes", json!({ "metadata": { "name": "n", "labels": { "kubernetes.io/os": "linux" } } }))
        .await;
    world.pass(5).await;
    assert_eq!(taints(&world.get(NODE).await), "not-ready:NoSchedule");
    world.report("n", "True").await;
    let node = world.until(NODE, |node| taints(node).is_empty()).await;
    assert_eq!(node["metadata"]["labels"]["beta.kubernetes.io/os"], "linux");
    world.report("n", "False").await;
    world.until(NODE, |node| taints(node) == "not-ready:NoSchedule not-ready:NoExecute").await;
    world.patch(NODE, json!({ "spec": { "unschedulable": true } })).await;
    world.until(NODE, |node| taints(node).ends_with("unschedulable:NoSchedule")).await;
}

/// What a node says while the controller is still busy with what it was before is attended to as well.
#[tokio::test(start_paused = true)]
async fn no_report_is_overlooked_whenever_it_comes() {
    let mut world = World::without_manager().await;
    world.start_late_manager(Duration::from_millis(20));
    for moment in 0..100 {
        let name = format!("n-{moment}");
        let node = json!({ "metadata": { "name": name }, "spec": { "unschedulable": true } });
        world.create("/api/v1/nodes", node).await;
        tokio::time::sleep(Duration::from_millis(moment)).await;
        world.report(&name, "True").await;
    }
    world.pass(5).await;
    let nodes = world.items("/api/v1/nodes").await;
    let overlooked: Vec<&str> =
        nodes.iter().filter(|node| taints(node) != "unschedulable:NoSchedule").map(meta::name).collect();
    assert_eq!((nodes.len(), overlooked), (100, vec![]));
}

/// The time to give a node up may come while the controller is busy with something else about it.
#[tokio::test(start_paused = true)]
async fn no_silence_is_overlooked_whenever_it_comes() {
    let mut world = World::without_manager().await;
    world.start_late_manager(Duration::from_millis(20));
    world.pass(10).await;
    let names: Vec<String> = (0..80).map(|moment| format!("n-{moment}")).collect();
    for name in &names {
        world.node(name).await;
    }
    tokio::time::sleep(Duration::from_millis(49_940)).await;
    for name in &names {
        world.patch(&format!("/api/v1/nodes/{name}"), json!({ "spec": { "unschedulable": true } })).await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    world.pass(30).await;
    let nodes = world.items("/api/v1/nodes").await;
    let overlooked: Vec<&str> = nodes.iter().filter(|node| ready(node) != "Unknown").map(meta::name).collect();
    assert_eq!((nodes.len(), overlooked), (80, vec![]));
}

#[tokio::test(start_paused = true)]
async fn a_node_made_anew_is_not_given_up_for_the_old_one() {
    let mut world = World::without_manager().await;
    let line = Line { asks_late: Duration::from_millis(200), ..Line::default() };
    world.start_manager_on(Arc::new(watch::Sender::new(line)), |_| {});
    world.pass(60).await;
    let node = json!({ "metadata": { "name": "n" } });
    world.create("/api/v1/nodes", node.clone()).await;
    tokio::time::sleep(Duration::from_millis(60_100)).await;
    world.delete(NODE, "Background").await;
    world.create("/api/v1/nodes", node).await;
    world.pass(20).await;
    assert_eq!(ready(&world.get(NODE).await), "none");
}

#[tokio::test(start_paused = true)]
async fn a_silent_node_is_given_up_and_taken_back() {
    let world = World::new().await;
    world.node("n").await;
    lease(&world, 40).await;
    world.running_pod("p", "n", json!([{ "operator": "Exists" }])).await;
    for _ in 0..20 {
        world.pass(10).await;
        let renewed = json!({ "spec": { "renewTime": time::micros(world.now()) } });
        world.patch("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n", renewed).await;
    }
    assert_eq!((taints(&world.get(NODE).await).as_str(), ready(&world.get(POD).await)), ("", "True"));
    let silent_since = world.now();
    let node = world.until(NODE, |node| taints(node) == "unreachable:NoSchedule unreachable:NoExecute").await;
    let took = world.now().duration_since(silent_since).as_secs();
    assert!((50..55).contains(&took), "given up after {took} s");
    assert_eq!(ready(&node), "Unknown");
    world.until(POD, |pod| ready(pod) == "False").await;
    world.pass(600).await;
    assert!(world.exists(POD).await, "it tolerates everything");
    world.report("n", "True").await;
    world.until(NODE, |node| taints(node).is_empty()).await;
    let events = world.events().await;
    for expected in [
        "RegisteredNode Node n event: Registered Node n in Controller",
        "NodeNotReady Node n status is now: NodeNotReady",
        "NodeNotReady Node is not ready",
    ] {
        assert!(events.iter().any(|event| event == expected), "{expected} is not among {events:#?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_lasts_is_believed() {
    let world = World::new().await;
    world.node("n").await;
    lease(&world, 3600).await;
    world.pass(3500).await;
    assert_eq!(ready(&world.get(NODE).await), "True");
    world.until(NODE, |node| ready(node) == "Unknown").await;
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_lasts_is_believed_of_a_node_made_anew() {
    let world = World::new().await;
    world.node("n").await;
    lease(&world, 3600).await;
    world.pass(10).await;
    world.delete(NODE, "Background").await;
    world.pass(10).await;
    world.node("n").await;
    world.pass(300).await;
    assert_eq!(ready(&world.get(NODE).await), "True");
}

#[tokio::test(start_paused = true)]
async fn pods_leave_a_lost_node_when_their_patience_is_over() {
    let world = World::new().await;
    world.node("n").await;
    let patience = json!([{ "key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute",
        "tolerationSeconds": 120 }]);
    world.running_pod("p", "n", patience).await;
    world.running_pod("stays", "n", json!([{ "operator": "Exists" }])).await;
    world.until(NODE, |node| taints(node).contains("unreachable:NoExecute")).await;
    let tainted_since = world.now();
    // The node is silent: nobody confirms the deletion, so the pod stays, marked.
    let pod = world.until(POD, |pod| !pod["metadata"]["deletionTimestamp"].is_null()).await;
    let took = world.now().duration_since(tainted_since).as_secs();
    assert!((119..125).contains(&took), "evicted after {took} s");
    let conditions = pod["status"]["conditions"].as_array().unwrap();
    assert!(conditions.iter().any(|one| one["reason"] == "DeletionByTaintManager"), "{conditions:?}");
    world.pass(1000).await;
    let stays = world.get("/api/v1/namespaces/default/pods/stays").await;
    assert!(stays["metadata"]["deletionTimestamp"].is_null());
    let events = world.events().await;
    assert!(events.contains(&"TaintManagerEviction Marking for deletion Pod default/p".into()), "{events:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_comes_back_in_time_keeps_its_pods() {
    let world = World::new().await;
    world.node("n").await;
    let patience = json!([{ "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300 }]);
    world.running_pod("p", "n", patience).await;
    world.until(NODE, |node| taints(node).contains("unreachable:NoExecute")).await;
    world.pass(200).await;
    world.report("n", "True").await;
    world.until(NODE, |node| taints(node).is_empty()).await;
    for _ in 0..40 {
        world.pass(20).await;
        world.report("n", "True").await;
    }
    assert!(world.get(POD).await["metadata"]["deletionTimestamp"].is_null());
    let events = world.events().await;
    assert!(events.contains(&"TaintManagerEviction Cancelling deletion of Pod default/p".into()), "{events:#?}");
}

/// One pod that cannot be evicted keeps no other on the node.
#[tokio::test(start_paused = true)]
async fn patience_ends_in_time_whatever_becomes_of_others() {
    let mut world = World::without_manager().await;
    let refused = Some((Method::DELETE, "/api/v1/namespaces/default/pods/stuck".to_string(), 500));
    world.start_manager_on(Arc::new(watch::Sender::new(Line { refused, ..Line::default() })), |_| {});
    world.node("n").await;
    lease(&world, 36_000).await;
    let patience =
        |seconds: u32| json!([{ "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds }]);
    world.running_pod("stuck", "n", patience(10)).await;
    world.running_pod("p", "n", patience(90)).await;
    world.patch(NODE, json!({ "spec": { "taints": [{ "key": "x", "effect": "NoExecute" }] } })).await;
    world.pass(92).await;
    assert!(!world.get(POD).await["metadata"]["deletionTimestamp"].is_null());
}

/// A taint that went and came back gives pods their whole patience again, whatever is found out about them just then.
#[tokio::test(start_paused = true)]
async fn patience_begins_anew_with_each_taint() {
    let mut world = World::without_manager().await;
    world.start_late_manager(Duration::from_millis(20));
    world.pass(10).await;
    world.node("n").await;
    lease(&world, 36_000).await;
    let patience = json!([{ "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 100 }]);
    world.running_pod("p", "n", patience.clone()).await;
    let taint = json!({ "spec": { "taints": [{ "key": "x", "effect": "NoExecute" }] } });
    world.patch(NODE, taint.clone()).await;
    world.pass(90).await;
    // The pods of the node are listed because of this one.
    world.running_pod("late", "n", patience).await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    world.patch(NODE, json!({ "spec": { "taints": null } })).await;
    world.patch(NODE, taint).await;
    world.pass(60).await;
    assert!(world.get(POD).await["metadata"]["deletionTimestamp"].is_null());
    world.pass(60).await;
    assert!(!world.get(POD).await["metadata"]["deletionTimestamp"].is_null());
}

#[tokio::test(start_paused = true)]
async fn a_taint_by_hand_evicts_at_once_and_whoever_comes_later() {
    let world = World::new().await;
    world.node("n").await;
    lease(&world, 36_000).await;
    world.running_pod("p", "n", json!([])).await;
    world.pass(60).await;
    world.patch(NODE, json!({ "spec": { "taints": [{ "key": "x", "effect": "NoExecute" }] } })).await;
    let is_marked = |pod: &Value| pod.is_null() || !pod["metadata"]["deletionTimestamp"].is_null();
    world.until(POD, is_marked).await;
    world.running_pod("late", "n", json!([{ "key": "y", "operator": "Exists" }])).await;
    world.until("/api/v1/namespaces/default/pods/late", is_marked).await;
}

#[tokio::test(start_paused = true)]
async fn pods_of_a_node_that_is_deleted_are_collected() {
    let world = World::new().await;
    world.node("n").await;
    world.running_pod("p", "n", json!([{ "operator": "Exists" }])).await;
    world.pass(5).await;
    world.delete(NODE, "Background").await;
    let deleted = world.now();
    world.until_gone(POD).await;
    let took = world.now().duration_since(deleted).as_secs();
    assert!((40..=65).contains(&took), "collected after {took} s");
    let events = world.events().await;
    assert!(events.contains(&"RemovingNode Node n event: Removing Node n from Controller".into()), "{events:#?}");
}
