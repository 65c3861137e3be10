//! Clocks that are set while the controllers work: by a time server, or after a machine has slept.

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::world::World;

const HOUR: i64 = 3600;
const NODE: &str = "/api/v1/nodes/n";
const POD: &str = "/api/v1/namespaces/default/pods/p";
const SETS: &str = "/apis/apps/v1/namespaces/default/daemonsets";

fn is_ready(node: &Value) -> bool {
    node["status"]["conditions"].as_array().is_some_and(|all| all.iter().any(|one| one["status"] == "True"))
}

fn is_marked(pod: &Value) -> bool {
    pod.is_null() || !pod["metadata"]["deletionTimestamp"].is_null()
}

/// A node falls silent, a pod runs out of patience, a namespace waits, and a DaemonSet is told of a new node.
async fn check(put_forward: i64) {
    let world = World::new().await;
    let labels = json!({ "app": "d" });
    let containers = json!([{ "name": "c", "image": "i" }]);
    let template = json!({ "metadata": { "labels": labels }, "spec": { "containers": containers } });
    let spec = json!({ "selector": { "matchLabels": labels }, "template": template });
    world.create(SETS, json!({ "metadata": { "name": "d" }, "spec": spec })).await;
    world.node("n").await;
    let patience = json!([{ "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 100 }]);
    world.running_pod("p", "n", patience).await;
    world.namespace("x").await;
    world.config_map("x", "hold", json!({ "finalizers": ["x.io/a"] })).await;
    world.delete("/api/v1/namespaces/x", "Background").await;
    world.pass(20).await;
    world.report("n", "True").await;
    let begun = Instant::now();
    world.pass(1).await;
    world.put_clock_forward(put_forward);
    world.pass(40).await;
    assert!(is_ready(&world.get(NODE).await), "41 s are not too long");
    let hold = json!({ "metadata": { "finalizers": null } });
    world.patch("/api/v1/namespaces/x/configmaps/hold", hold).await;
    world.node("m").await;
    world.pass(8).await;
    assert_eq!(world.get(&format!("{SETS}/d")).await["status"]["desiredNumberScheduled"], 2);
    assert!(!world.exists("/api/v1/namespaces/x").await);
    world.until(NODE, |node| !is_ready(node)).await;
    let took = begun.elapsed().as_secs();
    assert!((50..55).contains(&took), "given up after {took} s");
    world.until(POD, is_marked).await;
    let took = begun.elapsed().as_secs();
    assert!((150..160).contains(&took), "evicted after {took} s");
}

#[tokio::test(start_paused = true)]
async fn nothing_comes_sooner_or_later_for_it() {
    check(0).await;
    check(HOUR).await;
    check(-HOUR).await;
}
