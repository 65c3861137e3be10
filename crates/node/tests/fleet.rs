//! Simulated nodes against a real server in memory, under virtual time.

mod support;

use std::time::Duration;

use backstay_node::simulated::{self, FleetConfig};
use serde_json::{Value, json};
use support::{Server, is_ready, pod_path};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

struct Fleet {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Fleet {
    fn start(server: &Server, nodes: usize) -> Self {
        let (stop, stopped) = oneshot::channel::<()>();
        let config = FleetConfig { nodes, clock: server.clock.clone(), entropy: server.entropy.clone() };
        let shutdown = async move { drop(stopped.await) };
        Self { stop, task: tokio::spawn(simulated::run(server.client.clone(), config, shutdown)) }
    }

    async fn stop(self) {
        let _ = self.stop.send(());
        self.task.await.unwrap();
    }
}

fn behavior(annotation: &str) -> impl FnOnce(&mut Value) {
    let annotation = annotation.to_string();
    move |pod| pod["metadata"]["annotations"] = json!({ simulated::ANNOTATION: annotation })
}

async fn nodes(server: &Server) -> Vec<String> {
    let list = server.get("/api/v1/nodes").await;
    list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| node["metadata"]["name"].as_str().unwrap().to_string())
        .collect()
}

#[tokio::test(start_paused = true)]
async fn nodes_register_and_stay() {
    let server = Server::start().await;
    let foreign = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": "real" } });
    server.post("/api/v1/nodes", foreign).await;
    let fleet = Fleet::start(&server, 3);
    let lease = |name: &str| format!("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{name}");
    let first = server.wait(&lease("sim-00002"), "lease", |lease| !lease.is_null()).await;
    assert_eq!(nodes(&server).await, ["real", "sim-00000", "sim-00001", "sim-00002"]);
    for name in ["sim-00000", "sim-00001", "sim-00002"] {
        let node = server.get(&format!("/api/v1/nodes/{name}")).await;
        assert!(is_ready(&node), "{node:#}");
        assert_eq!(node["metadata"]["labels"]["kubernetes.io/hostname"], name);
    }
    assert_eq!(server.get("/api/v1/nodes/real").await["status"]["conditions"], Value::Null, "left alone");
    tokio::time::sleep(Duration::from_secs(1300)).await;
    let renewed = server.get(&lease("sim-00002")).await;
    assert_ne!(renewed["spec"]["renewTime"], first["spec"]["renewTime"]);
    fleet.stop().await;
    // A smaller fleet takes over: what is too many goes, and nothing else.
    let fleet = Fleet::start(&server, 2);
    server.wait("/api/v1/nodes/sim-00002", "too many", Value::is_null).await;
    assert_eq!(nodes(&server).await, ["real", "sim-00000", "sim-00001"]);
    // Who deletes a node means it; who makes it anew gets it back.
    server.delete("/api/v1/nodes/sim-00001").await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(nodes(&server).await, ["real", "sim-00000"]);
    server
        .post("/api/v1/nodes", json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": "sim-00001" } }))
        .await;
    server.wait("/api/v1/nodes/sim-00001", "ready again", is_ready).await;
    fleet.stop().await;
    // A fleet of none removes what bears our label, and ends by itself.
    let fleet = Fleet::start(&server, 0);
    fleet.task.await.unwrap();
    assert_eq!(nodes(&server).await, ["real", "sim-00001"]);
}

#[tokio::test(start_paused = true)]
async fn a_pod_costs_one_status_write_and_one_delete() {
    let server = Server::start().await;
    let fleet = Fleet::start(&server, 2);
    server.wait("/api/v1/nodes/sim-00001", "ready", is_ready).await;
    server.pod("elsewhere", "real", |_| {}).await;
    let made = server.pod("a", "sim-00001", |_| {}).await;
    let ready = server.wait(&pod_path("a"), "ready", is_ready).await;
    assert_eq!(ready["status"]["phase"], "Running");
    let version = |object: &Value| object["metadata"]["resourceVersion"].as_str().unwrap().parse::<u64>().unwrap();
    assert_eq!(version(&ready), version(&made) + 1, "one write");
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert_eq!(server.get(&pod_path("a")).await, ready, "and no more");
    server.delete(&pod_path("a")).await;
    server.wait(&pod_path("a"), "gone", Value::is_null).await;
    let elsewhere = server.get(&pod_path("elsewhere")).await;
    assert_eq!(elsewhere["status"]["phase"], "Pending", "pods of other nodes are left alone");
    fleet.stop().await;
}

#[tokio::test(start_paused = true)]
async fn behaviours_show() {
    let server = Server::start().await;
    let fleet = Fleet::start(&server, 2);
    server.pod("crash", "sim-00000", behavior("crash,on=sim-00000")).await;
    server.pod("well", "sim-00001", behavior("crash,on=sim-00000")).await;
    server.pod("slow", "sim-00001", behavior("ready-after=30s")).await;
    server.pod("never", "sim-00001", behavior("never-ready")).await;
    server.pod("pull", "sim-00001", behavior("pull-error")).await;
    server.wait(&pod_path("well"), "ready", is_ready).await;
    let state = |pod: &Value| pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"].clone();
    let crash = server.wait(&pod_path("crash"), "waits", |pod| state(pod) == "CrashLoopBackOff").await;
    assert_eq!(crash["status"]["containerStatuses"][0]["lastState"]["terminated"]["exitCode"], 1);
    server.wait(&pod_path("pull"), "waits", |pod| state(pod) == "ErrImagePull").await;
    assert!(!is_ready(&server.get(&pod_path("slow")).await));
    tokio::time::sleep(Duration::from_secs(31)).await;
    assert!(is_ready(&server.get(&pod_path("slow")).await));
    assert!(!is_ready(&server.get(&pod_path("never")).await));
    assert_eq!(state(&server.get(&pod_path("pull")).await), "ImagePullBackOff");
    let crash = server.get(&pod_path("crash")).await;
    assert_eq!(crash["status"]["containerStatuses"][0]["restartCount"], 3, "at once, after 10 s, after 20 s more");
    fleet.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_new_driver_takes_over_running_pods() {
    let server = Server::start().await;
    let fleet = Fleet::start(&server, 1);
    server.pod("a", "sim-00000", |_| {}).await;
    let before = server.wait(&pod_path("a"), "ready", is_ready).await;
    fleet.stop().await;
    let fleet = Fleet::start(&server, 1);
    tokio::time::sleep(Duration::from_secs(60)).await;
    let after = server.get(&pod_path("a")).await;
    assert_eq!(after["status"]["containerStatuses"][0]["restartCount"], 0);
    assert_eq!(after["status"]["conditions"], before["status"]["conditions"]);
    fleet.stop().await;
}

/// Run with `--ignored --nocapture` and look.
#[tokio::test]
#[ignore = "a measurement"]
async fn ten_thousand_nodes() {
    let server = Server::start().await;
    let began = std::time::Instant::now();
    let fleet = Fleet::start(&server, 10_000);
    server
        .wait("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/sim-09999", "lease", |it| !it.is_null())
        .await;
    println!("registered after {:?}", began.elapsed());
    let began = std::time::Instant::now();
    for index in 0..10_000 {
        server.pod(&format!("p{index}"), &simulated::node_name(index), |_| {}).await;
    }
    println!("pods made after {:?}", began.elapsed());
    server.wait(&pod_path("p9999"), "ready", is_ready).await;
    println!("the last one ready after {:?}", began.elapsed());
    fleet.stop().await;
}
