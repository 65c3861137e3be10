//! A whole cluster in one thread: the real API server over the memory store, the real controllers, simulated nodes,
//! virtual time, and a faulty network in between.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use backstay_api::{Clock, meta};
use backstay_apiserver::{ApiServer, Config, UserInfo, as_user};
use backstay_node::simulated;
use backstay_store::{Event, MemoryStore, Range, Store, Watch};
use jiff::SignedDuration;
use kube::Client;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::check::Checker;
use crate::faults::{Faults, Network};
use crate::time;

/// What the checker follows.
const WATCHED: [&str; 4] = ["nodes", "apps/daemonsets", "apps/controllerrevisions", "pods"];

/// Runs a scenario on a cluster made from a seed. A failure of any kind names the seed.
///
/// # Panics
/// If the scenario panics, or an invariant does not hold.
pub fn run<S>(seed: u64, nodes: usize, faults: Faults, scenario: impl FnOnce(Cluster) -> S) -> Vec<String>
where
    S: Future<Output = ()>,
{
    let _tell = OnPanic(seed);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime without threads or sockets can be made");
    runtime.block_on(async {
        let cluster = Cluster::start(seed, nodes, faults).await;
        let (checker, trace) = (cluster.checker.clone(), cluster.trace.clone());
        scenario(cluster).await;
        let violations = lock(&checker).violations().to_vec();
        assert!(violations.is_empty(), "violated: {violations:#?}");
        std::mem::take(&mut *lock(&trace))
    })
}

/// Prints the seed when a panic passes by.
struct OnPanic(u64);

impl Drop for OnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("this was seed {}", self.0);
        }
    }
}

/// A running cluster. Parts that were started end with the runtime.
pub struct Cluster {
    seed: u64,
    faults: Faults,
    server: ApiServer,
    clock: Clock,
    /// Without faults: the hand of the scenario.
    client: Client,
    controllers: JoinHandle<()>,
    starts: u64,
    fleet: JoinHandle<()>,
    /// How far the clocks of nodes are ahead.
    skew: SignedDuration,
    checker: Arc<Mutex<Checker>>,
    trace: Arc<Mutex<Vec<String>>>,
}

impl Cluster {
    async fn start(seed: u64, nodes: usize, faults: Faults) -> Self {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let clock = time::clock();
        let mut config = Config::new(store.clone());
        (config.clock, config.entropy) = (clock.clone(), time::entropy(seed, 1));
        let server = ApiServer::new(config).expect("no admission plugin is left out");
        server.bootstrap().await.expect("the memory store takes every write");

        let checker = Arc::new(Mutex::new(Checker::default()));
        let trace = Arc::new(Mutex::new(Vec::new()));
        let watches = WATCHED.map(|resource| store.watch(Range::all(resource), store.oldest()).expect("kept"));
        tokio::spawn(follow(watches, checker.clone(), trace.clone()));

        let client = Client::new(as_user(server.router(), admin("scenario")), "default");
        let mut cluster = Self {
            seed,
            faults,
            clock,
            client,
            controllers: tokio::spawn(async {}),
            starts: 0,
            fleet: tokio::spawn(async {}),
            skew: SignedDuration::ZERO,
            checker,
            trace,
            server,
        };
        cluster.start_controllers();
        cluster.resize(nodes).await;
        cluster
    }

    /// A client behind the faulty network, with chances of its own.
    fn faulty_client(&mut self, user: &str) -> Client {
        self.starts += 1;
        let router = as_user(self.server.router(), admin(user));
        Client::new(Network::new(router, self.faults, self.seed.wrapping_add(self.starts)), "default")
    }

    fn start_controllers(&mut self) {
        let client = self.faulty_client("system:kube-controller-manager");
        let entropy = time::entropy(self.seed, 1000 + self.starts);
        let config = backstay_manager::Config::new(self.clock.clone(), entropy);
        self.controllers = tokio::spawn(backstay_manager::run(client, config, std::future::pending()));
    }

    /// The controllers die in the middle of whatever they do, and start anew knowing nothing.
    pub fn crash_controllers(&mut self) {
        self.controllers.abort();
        self.start_controllers();
    }

    /// Nodes join or leave: the fleet has so many from now on.
    pub async fn resize(&mut self, nodes: usize) {
        self.fleet.abort();
        let clock = time::skewed(&self.clock, self.skew);
        let client = self.faulty_client("system:simulated-nodes");
        let config = simulated::FleetConfig { nodes, clock, entropy: time::entropy(self.seed, 2000 + self.starts) };
        self.fleet = tokio::spawn(simulated::run(client, config, std::future::pending()));
        self.until("the nodes to be there", || async {
            let found = self.list("/api/v1/nodes").await;
            let usable =
                |node: &Value| meta::list_at(node, &["spec", "taints"]).is_empty() && meta::is_true(node, "Ready");
            found.len() == nodes && found.iter().all(usable)
        })
        .await;
    }

    /// The clocks of all nodes are set to another time than the server's, as when their agents start anew.
    pub async fn skew(&mut self, ahead: SignedDuration) {
        self.skew = ahead;
        let nodes = self.list("/api/v1/nodes").await.len();
        self.resize(nodes).await;
    }

    /// How many nodes are ready now.
    pub async fn ready_nodes(&self) -> usize {
        self.list("/api/v1/nodes").await.iter().filter(|node| meta::is_true(node, "Ready")).count()
    }

    /// Creates a DaemonSet `NAME` with one container of this image and this update strategy.
    pub async fn create(&self, name: &str, image: &str, rolling_update: Value) {
        let daemonset = json!({
            "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": { "name": name },
            "spec": {
                "selector": { "matchLabels": { "app": name } },
                "updateStrategy": { "type": "RollingUpdate", "rollingUpdate": rolling_update },
                "template": {
                    "metadata": { "labels": { "app": name } },
                    "spec": { "containers": [{ "name": "main", "image": image }] },
                },
            },
        });
        self.send("POST", DAEMONSETS, &daemonset).await;
    }

    /// Changes the image, and how pods of the new template behave on simulated nodes.
    pub async fn set_image(&self, name: &str, image: &str, behavior: &str) {
        let annotations = json!({ simulated::ANNOTATION: behavior });
        let container = json!({ "name": "main", "image": image });
        let template = json!({ "metadata": { "annotations": annotations }, "spec": { "containers": [container] } });
        self.patch(name, &json!({ "spec": { "template": template } })).await;
    }

    /// What `rollout undo` does: the data of the revision before the newest is the patch.
    pub async fn undo(&self, name: &str) {
        let mut revisions = self.revisions(name).await;
        let target = revisions.len().checked_sub(2).expect("two revisions at least");
        self.patch(name, &revisions.swap_remove(target)["data"]).await;
    }

    async fn patch(&self, name: &str, patch: &Value) {
        let path = format!("{DAEMONSETS}/{name}");
        let request = http::Request::patch(path).header("Content-Type", "application/strategic-merge-patch+json");
        let request = request.body(patch.to_string().into_bytes()).expect("a request");
        self.client.request::<Value>(request).await.expect("the patch is taken");
    }

    /// The revisions of a DaemonSet by number.
    pub async fn revisions(&self, name: &str) -> Vec<Value> {
        let mut revisions = self.list("/apis/apps/v1/namespaces/default/controllerrevisions").await;
        revisions.retain(|revision| meta::controller_of(revision).is_some_and(|owner| owner["name"] == name));
        revisions.sort_by_key(|revision| revision["revision"].as_i64());
        revisions
    }

    pub async fn pods(&self) -> Vec<Value> {
        self.list("/api/v1/namespaces/default/pods").await
    }

    /// Somebody deletes a pod by hand.
    pub async fn delete_pod(&self, name: &str) {
        let path = format!("/api/v1/namespaces/default/pods/{name}");
        let pod: Value = self.send("GET", &path, &Value::Null).await;
        lock(&self.checker).expect_deletion(meta::uid(&pod));
        self.send("DELETE", &path, &json!({})).await;
    }

    pub async fn daemonset(&self, name: &str) -> Value {
        self.send("GET", &format!("{DAEMONSETS}/{name}"), &Value::Null).await
    }

    /// Lets virtual time pass.
    pub async fn run_for(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    /// Waits until every rollout is through and everything that must hold at rest holds.
    ///
    /// # Panics
    /// If that does not come about within an hour of virtual time.
    pub async fn settle(&self) {
        // The checker looks once a millisecond: it must have seen what the scenario did last.
        self.run_for(Duration::from_millis(5)).await;
        self.until("the cluster to come to rest", || async { lock(&self.checker).violations_at_rest().is_empty() })
            .await;
    }

    async fn until<F: Future<Output = bool>>(&self, what: &str, holds: impl Fn() -> F) {
        for _ in 0..36_000 {
            if holds().await {
                return;
            }
            assert!(lock(&self.checker).violations().is_empty(), "{:#?}", lock(&self.checker).violations());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("waited an hour for {what}: {:#?}", lock(&self.checker).violations_at_rest());
    }

    async fn list(&self, path: &str) -> Vec<Value> {
        let mut list = self.send("GET", path, &Value::Null).await;
        match list["items"].take() {
            Value::Array(items) => items,
            _ => Vec::new(),
        }
    }

    async fn send(&self, method: &str, path: &str, body: &Value) -> Value {
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let request = http::Request::builder().method(method).uri(path).header("Content-Type", "application/json");
        let request = request.body(body).expect("a request");
        self.client.request(request).await.unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }
}

const DAEMONSETS: &str = "/apis/apps/v1/namespaces/default/daemonsets";

/// Hands every commit to the checker, in the order of revisions, and notes it in the trace.
async fn follow(
    mut watches: [Box<dyn Watch>; WATCHED.len()],
    checker: Arc<Mutex<Checker>>,
    trace: Arc<Mutex<Vec<String>>>,
) {
    loop {
        let mut events: Vec<Arc<Event>> = Vec::new();
        for watch in &mut watches {
            while let Some(event) = watch.try_next().expect("the checker keeps up") {
                events.push(event);
            }
        }
        events.sort_by_key(|event| event.entry.revision);
        for event in events {
            let key = &event.entry.key;
            lock(&trace).push(format!("{} {:?} {} {}", event.entry.revision, event.kind, key.resource, key.name));
            lock(&checker).observe(&event);
        }
        // The smallest step of virtual time: the checker looks after everything that happened at one instant.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn admin(name: &str) -> UserInfo {
    UserInfo::new(name, &["system:masters"])
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
