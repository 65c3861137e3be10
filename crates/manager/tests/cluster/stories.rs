//! Rollouts from beginning to end, as users see them through the API.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use backstay_api::{Clock, Entropy};
use backstay_controllers::check;
use backstay_controllers::model::Object;
use backstay_manager::{Config, Controllers, LeaseConfig, run};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::fake::{Fake, Fault};

const DS: &str = "/apis/apps/v1/namespaces/ns/daemonsets/d";

/// What stops a manager, and its task.
type Manager = (oneshot::Sender<()>, JoinHandle<()>);

/// A cluster with nodes that run what they are given, at once.
pub struct Cluster {
    pub fake: Arc<Fake>,
    pub clock: Clock,
    pub entropy: Entropy,
    manager: Option<Manager>,
    kubelet: JoinHandle<()>,
}

impl Cluster {
    pub fn new(nodes: usize, seed: u64) -> Self {
        let start = Instant::now();
        let clock = Clock::new(move || {
            let passed = SignedDuration::try_from(start.elapsed()).unwrap();
            Timestamp::from_second(1_800_000_000).unwrap() + passed
        });
        let state = AtomicU64::new(seed);
        // SplitMix64: enough for jitter.
        let entropy = Entropy::new(move || {
            let mut z = state.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed).wrapping_add(0x9e37_79b9_7f4a_7c15);
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        });
        let fake = Fake::new(clock.clone());
        for node in 0..nodes {
            fake.put(&format!("/api/v1/nodes/n{node:04}"), json!({ "metadata": { "name": format!("n{node:04}") } }));
        }
        let kubelet = tokio::spawn(kubelets(fake.clone(), clock.clone()));
        let mut cluster = Cluster { fake, clock, entropy, manager: None, kubelet };
        cluster.start_manager();
        cluster
    }

    fn start_manager(&mut self) {
        self.manager = Some(self.another_manager(None));
    }

    fn another_manager(&self, lease: Option<LeaseConfig>) -> Manager {
        let (stop, stopped) = oneshot::channel();
        let config = Config {
            lease,
            controllers: Controllers::DaemonSets,
            ..Config::new(self.clock.clone(), self.entropy.clone())
        };
        let task = tokio::spawn(run(self.fake.client(), config, async move { drop(stopped.await) }));
        (stop, task)
    }

    async fn stop_manager(&mut self) {
        stop(self.manager.take().unwrap()).await;
    }

    fn create(&self, strategy: Value) {
        self.fake.put(
            DS,
            json!({
                "apiVersion": "apps/v1", "kind": "DaemonSet",
                "metadata": { "name": "d", "namespace": "ns", "generation": 1,
                    "annotations": { "deprecated.daemonset.template.generation": "1" } },
                "spec": { "selector": { "matchLabels": { "app": "d" } }, "updateStrategy": strategy,
                    "revisionHistoryLimit": 10,
                    "template": { "metadata": { "labels": { "app": "d" } },
                        "spec": { "containers": [{ "name": "m", "image": "img:1" }] } } },
            }),
        );
    }

    fn set_image(&self, image: &str) {
        self.fake.edit(DS, |object| {
            let generation = object["metadata"]["generation"].as_i64().unwrap() + 1;
            object["metadata"]["generation"] = json!(generation);
            object["metadata"]["annotations"]["deprecated.daemonset.template.generation"] =
                json!(generation.to_string());
            object["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image);
        });
    }

    fn objects(&self) -> check::Fleet {
        fn all<T: Object>(fake: &Fake, plural: &str) -> Vec<Arc<T>> {
            let objects = fake.list(plural).into_iter();
            objects.map(|(_, object)| Arc::new(T::from_json(object.to_string().as_bytes()).unwrap())).collect()
        }
        check::Fleet {
            daemonsets: all(&self.fake, "daemonsets"),
            nodes: all(&self.fake, "nodes"),
            pods: all(&self.fake, "pods"),
            revisions: all(&self.fake, "controllerrevisions"),
        }
    }

    /// Waits until the newest revision is everywhere and the status says so; all promises hold all the time.
    async fn settle(&self) {
        let mut before = self.objects();
        let deadline = Instant::now() + Duration::from_secs(600);
        loop {
            let fleet = self.objects();
            let mut violations = check::always(&fleet);
            violations.extend(check::step(&before, &fleet));
            assert!(violations.is_empty(), "{violations:?}");
            before = fleet;
            let unrest = check::at_rest(&before, self.clock.now());
            let status = &self.fake.get(DS).unwrap()["status"];
            let nodes = before.nodes.len();
            if unrest.is_empty() && status["numberAvailable"] == nodes && status["updatedNumberScheduled"] == nodes {
                return;
            }
            let waiting = tokio::time::timeout_at(deadline, self.fake.next_change()).await;
            assert!(waiting.is_ok(), "never at rest: {unrest:?} {status} {:?}", self.fake.requests());
        }
    }

    fn revisions(&self) -> Vec<i64> {
        let mut numbers: Vec<i64> = self
            .fake
            .list("controllerrevisions")
            .iter()
            .map(|(_, object)| object["revision"].as_i64().unwrap())
            .collect();
        numbers.sort();
        numbers
    }

    fn pod_names(&self) -> Vec<String> {
        self.fake.list("pods").into_iter().map(|(path, _)| path).collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.kubelet.abort();
        if let Some((_, task)) = &self.manager {
            task.abort();
        }
    }
}

async fn stop(manager: Manager) {
    let (stop, task) = manager;
    stop.send(()).unwrap();
    task.await.unwrap();
}

/// Pods become ready 50 ms after they are bound, unless their image is broken; terminating ones go.
async fn kubelets(fake: Arc<Fake>, clock: Clock) {
    loop {
        for (path, pod) in fake.list("pods") {
            let broken = pod["spec"]["containers"][0]["image"] == "img:broken";
            if pod["metadata"]["deletionTimestamp"].is_string() {
                fake.remove(&path);
            } else if pod["spec"]["nodeName"].is_string() && pod["status"].is_null() && !broken {
                let now = clock.now().to_string();
                fake.edit(&path, |pod| {
                    pod["status"] = json!({ "phase": "Running",
                        "conditions": [{ "type": "Ready", "status": "True", "lastTransitionTime": now }] });
                });
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn rolling(max_unavailable: &str) -> Value {
    let max_unavailable = max_unavailable.parse::<i64>().map_or(json!(max_unavailable), |number| json!(number));
    json!({ "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": max_unavailable, "maxSurge": 0 } })
}

#[tokio::test(start_paused = true)]
async fn create_update_undo() {
    let cluster = Cluster::new(40, 1);
    cluster.create(rolling("25%"));
    cluster.settle().await;
    assert_eq!(cluster.revisions(), [1]);
    cluster.set_image("img:2");
    cluster.settle().await;
    assert_eq!(cluster.revisions(), [1, 2]);
    cluster.set_image("img:1");
    cluster.settle().await;
    assert_eq!(cluster.revisions(), [2, 3]);
}

#[tokio::test(start_paused = true)]
async fn pods_without_grace_are_gone_before_the_answer_says_so() {
    let cluster = Cluster::new(10, 10);
    cluster.create(rolling("3"));
    cluster.fake.edit(DS, |object| object["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = json!(0));
    cluster.settle().await;
    cluster.set_image("img:2");
    cluster.settle().await;
    for node in 0..10 {
        let taint = json!([{ "key": "k", "effect": "NoExecute" }]);
        cluster.fake.edit(&format!("/api/v1/nodes/n{node:04}"), |node| node["spec"]["taints"] = taint);
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(cluster.pod_names(), [""; 0]);
    assert_eq!(cluster.fake.get(DS).unwrap()["status"]["numberMisscheduled"], 0);
    assert_eq!(cluster.fake.requests()["DELETE pods"], 20, "every pod is deleted once");
}

#[tokio::test(start_paused = true)]
async fn a_daemonset_made_anew_under_its_name_begins_anew() {
    let cluster = Cluster::new(3, 11);
    cluster.create(rolling("1"));
    cluster.settle().await;
    let old = cluster.pod_names();
    // Its pods still have the old owner, which is gone; garbage collection has not come yet.
    cluster.fake.remove(DS);
    cluster.create(rolling("1"));
    tokio::time::sleep(Duration::from_secs(5)).await;
    let new = cluster.pod_names().into_iter().filter(|name| !old.contains(name)).count();
    assert_eq!(new, 3);
    assert_eq!(cluster.fake.get(DS).unwrap()["status"]["numberAvailable"], 3);
}

/// Its own writes are enough to know what it has done: nobody decides twice because a watch is behind.
#[tokio::test(start_paused = true)]
async fn a_watch_that_is_behind_makes_nothing_happen_twice() {
    let cluster = Cluster::new(20, 12);
    tokio::time::sleep(Duration::from_secs(1)).await;
    cluster.fake.hold_back(&["pods", "controllerrevisions"]);
    cluster.create(rolling("100%"));
    tokio::time::sleep(Duration::from_secs(60)).await;
    let requests = cluster.fake.requests();
    assert_eq!((requests["POST pods"], requests["POST controllerrevisions"]), (20, 1));
    cluster.set_image("img:2");
    tokio::time::sleep(Duration::from_secs(60)).await;
    // The pods were not bound as far as the manager knows: they are gone at once, and new ones made.
    let requests = cluster.fake.requests();
    assert_eq!((requests["POST pods"], requests["DELETE pods"], requests["POST controllerrevisions"]), (40, 20, 2));
    cluster.fake.hold_back(&[]);
    cluster.settle().await;
    let requests = cluster.fake.requests();
    assert_eq!((requests["POST pods"], requests["DELETE pods"], requests["POST controllerrevisions"]), (40, 20, 2));
}

#[tokio::test(start_paused = true)]
async fn dont_do_anything_if_being_deleted_race() {
    let cluster = Cluster::new(1, 13);
    cluster.create(rolling("1"));
    cluster.settle().await;
    // The DaemonSet is being deleted, but the manager has not heard; only a fresh look tells.
    cluster.fake.hold_back(&["daemonsets"]);
    cluster.fake.edit(DS, |object| object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z"));
    let path = "/api/v1/namespaces/ns/pods/orphan";
    cluster.fake.put(
        path,
        json!({ "metadata": { "name": "orphan", "namespace": "ns", "labels": { "app": "d" } },
            "spec": { "nodeName": "n0000" } }),
    );
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(cluster.fake.get(path).unwrap()["metadata"]["ownerReferences"], Value::Null);
    assert_eq!(cluster.pod_names().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_status_that_is_refused_is_written_again() {
    let cluster = Cluster::new(3, 14);
    let mut refusals = vec![Fault::Refuse(500), Fault::Refuse(409), Fault::LoseAnswer, Fault::Refuse(429)];
    cluster.fake.set_faults(move |_, path| match path.ends_with("/status") && path.starts_with(DS) {
        true => refusals.pop().unwrap_or(Fault::None),
        false => Fault::None,
    });
    cluster.create(rolling("1"));
    cluster.settle().await;
    assert!(cluster.fake.requests()["PATCH daemonsets"] < 10);
}

#[tokio::test(start_paused = true)]
async fn pod_is_not_deleted_by_daemonset_with_empty_label_selector() {
    let cluster = Cluster::new(1, 15);
    cluster.create(rolling("1"));
    cluster.fake.edit(DS, |object| object["spec"]["selector"] = json!({}));
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(cluster.pod_names(), [""; 0]);
    let events = cluster.fake.list("events");
    let about: Vec<&Value> = events.iter().map(|(_, event)| &event["reason"]).collect();
    assert_eq!(about, ["SelectingAll"]);
}

#[tokio::test(start_paused = true)]
async fn every_pod_costs_one_request() {
    let cluster = Cluster::new(200, 2);
    cluster.create(rolling("100%"));
    cluster.settle().await;
    cluster.set_image("img:2");
    cluster.settle().await;
    let requests = cluster.fake.requests();
    assert_eq!(requests["POST pods"], 400);
    assert_eq!(requests["POST pods/binding"], 400);
    assert_eq!(requests["DELETE pods"], 200);
    assert!(cluster.fake.list("events").iter().any(|(_, event)| event["reason"] == "Scheduled"));
    assert!(requests["PATCH daemonsets"] < 100, "{requests:?}");
    // The spam filter lets 25 through for the DaemonSet; some of them are counted on an event that is there.
    let events = cluster.fake.list("events");
    assert!(events.iter().filter(|(_, event)| event["involvedObject"]["kind"] == "DaemonSet").count() <= 25);
}

#[tokio::test(start_paused = true)]
async fn a_broken_update_stops_at_its_budget_and_is_undone() {
    let cluster = Cluster::new(10, 3);
    cluster.create(rolling("2"));
    cluster.settle().await;
    let before = cluster.pod_names();
    cluster.set_image("img:broken");
    tokio::time::sleep(Duration::from_secs(60)).await;
    let kept = |names: &[String]| names.iter().filter(|name| before.contains(name)).count();
    assert_eq!(kept(&cluster.pod_names()), 8);
    cluster.set_image("img:1");
    cluster.settle().await;
    assert_eq!(kept(&cluster.pod_names()), 8, "the undo touched pods that were never updated");
}

#[tokio::test(start_paused = true)]
async fn a_surging_update_never_leaves_a_node_unserved() {
    let cluster = Cluster::new(10, 4);
    cluster.create(json!({ "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": 0, "maxSurge": 2 } }));
    cluster.settle().await;
    cluster.set_image("img:2");
    cluster.settle().await;
}

#[tokio::test(start_paused = true)]
async fn a_restarted_manager_changes_nothing() {
    let mut cluster = Cluster::new(10, 5);
    cluster.create(rolling("1"));
    cluster.settle().await;
    let before = (cluster.pod_names(), cluster.revisions());
    cluster.stop_manager().await;
    cluster.start_manager();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!((cluster.pod_names(), cluster.revisions()), before);
}

#[tokio::test(start_paused = true)]
async fn orphans_are_adopted_with_their_revision() {
    let mut cluster = Cluster::new(5, 6);
    cluster.create(rolling("1"));
    cluster.settle().await;
    cluster.stop_manager().await;
    let before = (cluster.pod_names(), cluster.revisions());
    cluster.fake.remove(DS);
    for (path, _) in cluster.fake.list("pods").into_iter().chain(cluster.fake.list("controllerrevisions")) {
        cluster.fake.edit(&path, |object| object["metadata"]["ownerReferences"] = json!([]));
    }
    cluster.start_manager();
    cluster.create(rolling("1"));
    cluster.settle().await;
    assert_eq!((cluster.pod_names(), cluster.revisions()), before);
}

#[tokio::test(start_paused = true)]
async fn nodes_that_join_get_pods_and_those_that_leave_are_forgotten() {
    let cluster = Cluster::new(3, 7);
    cluster.create(rolling("1"));
    cluster.settle().await;
    cluster.fake.put("/api/v1/nodes/late", json!({ "metadata": { "name": "late" } }));
    cluster.settle().await;
    assert_eq!(cluster.pod_names().len(), 4);
    cluster.fake.remove("/api/v1/nodes/n0000");
    for (path, pod) in cluster.fake.list("pods") {
        if pod["spec"]["nodeName"] == "n0000" {
            cluster.fake.remove(&path);
        }
    }
    cluster.settle().await;
    assert_eq!(cluster.pod_names().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_fits_nowhere_says_so_and_is_bound_once_it_fits() {
    let cluster = Cluster::new(2, 8);
    let node = "/api/v1/nodes/n0000";
    let taint = json!({ "key": "k", "effect": "NoSchedule" });
    cluster.fake.edit(node, |node| node["spec"]["taints"] = json!([taint]));
    let path = "/api/v1/namespaces/ns/pods/p";
    cluster.fake.put(
        path,
        json!({ "metadata": { "name": "p", "namespace": "ns" },
            "spec": { "schedulerName": "default-scheduler", "nodeSelector": { "color": "blue" } } }),
    );
    tokio::time::sleep(Duration::from_secs(1)).await;
    let condition = &cluster.fake.get(path).unwrap()["status"]["conditions"][0];
    let why = "0/2 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, \
               1 node(s) had untolerated taint(s).";
    assert_eq!((&condition["reason"], &condition["message"]), (&json!("Unschedulable"), &json!(why)));
    assert_eq!(cluster.fake.list("events")[0].1["message"], why);
    cluster.fake.edit("/api/v1/nodes/n0001", |node| node["metadata"]["labels"] = json!({ "color": "blue" }));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(cluster.fake.get(path).unwrap()["spec"]["nodeName"], "n0001");
}

/// A server (or what it asks before it writes) that says "conflict" about what nobody has changed is not hurried.
#[tokio::test(start_paused = true)]
async fn a_conflict_with_nobody_is_a_failure() {
    let cluster = Cluster::new(3, 12);
    cluster.create(rolling("1"));
    cluster.settle().await;
    cluster.fake.set_faults(|method, path| match *method == http::Method::DELETE && path.contains("/pods/") {
        true => Fault::Refuse(409),
        false => Fault::None,
    });
    let deletions = || cluster.fake.requests().get("GET pods").copied().unwrap_or_default();
    let before = deletions();
    cluster.set_image("img:2");
    tokio::time::sleep(Duration::from_secs(60)).await;
    let tries = deletions() - before;
    assert!(tries < 50, "{tries} looks at what has not changed");
    cluster.fake.set_faults(|_, _| Fault::None);
    cluster.settle().await;
}

/// The watch is slow to tell that the DaemonSet is gone; its status is not written again and again meanwhile.
#[tokio::test(start_paused = true)]
async fn the_status_of_one_that_is_gone_is_let_be() {
    let cluster = Cluster::new(3, 13);
    cluster.create(rolling("1"));
    cluster.settle().await;
    cluster.fake.hold_back(&["daemonsets"]);
    tokio::time::sleep(Duration::from_millis(5)).await;
    cluster.fake.remove(DS);
    let writes = || cluster.fake.requests().get("PATCH daemonsets").copied().unwrap_or_default();
    let before = writes();
    cluster.fake.put("/api/v1/nodes/late", json!({ "metadata": { "name": "late" } }));
    tokio::time::sleep(Duration::from_secs(10)).await;
    let tries = writes() - before;
    assert!((1..20).contains(&tries), "{tries} writes of a status that nobody has any more");
}

/// A DaemonSet is deleted and made anew before anybody has cleared away what was the old one's.
#[tokio::test(start_paused = true)]
async fn a_daemonset_made_anew_gets_a_history_of_its_own() {
    let cluster = Cluster::new(3, 10);
    cluster.create(rolling("1"));
    cluster.settle().await;
    let old: Vec<String> = ["pods", "controllerrevisions"]
        .iter()
        .flat_map(|plural| cluster.fake.list(plural))
        .map(|(path, _)| path)
        .collect();
    cluster.fake.remove(DS);
    tokio::time::sleep(Duration::from_millis(20)).await;
    cluster.create(rolling("1"));
    tokio::time::sleep(Duration::from_secs(1)).await;
    old.iter().for_each(|path| cluster.fake.remove(path));
    tokio::time::sleep(Duration::from_secs(5)).await;
    cluster.settle().await;
    assert_eq!(cluster.revisions(), [1]);
}

#[tokio::test(start_paused = true)]
async fn of_two_managers_the_one_with_the_lease_works() {
    const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/m";
    let mut cluster = Cluster::new(3, 9);
    cluster.stop_manager().await;
    let lease = |identity| Some(LeaseConfig::new("kube-system", "m", identity));
    let holder = |cluster: &Cluster| cluster.fake.get(LEASE).unwrap()["spec"]["holderIdentity"].clone();
    let first = cluster.another_manager(lease("first"));
    cluster.create(rolling("1"));
    cluster.settle().await;
    let second = cluster.another_manager(lease("second"));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(holder(&cluster), "first");
    // The first one is cut off: within the Lease's duration the second one works.
    first.1.abort();
    cluster.set_image("img:2");
    tokio::time::sleep(Duration::from_secs(14)).await;
    assert_eq!(cluster.revisions(), [1], "nobody may work yet");
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(holder(&cluster), "second");
    cluster.settle().await;
    // The second one is stopped in order: the Lease is free at once.
    let third = cluster.another_manager(lease("third"));
    tokio::time::sleep(Duration::from_secs(1)).await;
    stop(second).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(holder(&cluster), "third");
    assert_eq!(cluster.fake.get(LEASE).unwrap()["spec"]["leaseTransitions"], 2);
    // Without renewal it stops working before others may begin.
    cluster.fake.set_faults(|_, path| if path == LEASE { Fault::Refuse(500) } else { Fault::None });
    tokio::time::sleep(Duration::from_secs(13)).await;
    cluster.set_image("img:3");
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(cluster.revisions(), [1, 2]);
    cluster.fake.set_faults(|_, _| Fault::None);
    cluster.settle().await;
    stop(third).await;
}

/// The whole story with every kind of fault, for as many seeds as `BACKSTAY_SEEDS` says. One that fails prints itself.
#[tokio::test(start_paused = true)]
async fn faults_change_nothing_in_the_end() {
    let seeds = std::env::var("BACKSTAY_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(4);
    for seed in 0..seeds {
        let mut cluster = Cluster::new(12, seed);
        let entropy = cluster.entropy.clone();
        cluster.fake.set_faults(move |method, path| {
            let write = method != http::Method::GET;
            match entropy.next_u64() % 20 {
                0 if write => Fault::Refuse(500),
                1 if write => Fault::Refuse(409),
                2 if write => Fault::Refuse(429),
                3 if write && !path.ends_with("/pods") => Fault::LoseAnswer,
                _ => Fault::None,
            }
        });
        println!("seed {seed}");
        cluster.create(rolling("3"));
        for round in 0..4 {
            cluster.settle().await;
            match (seed + round) % 4 {
                0 => cluster.fake.drop_watches(false),
                1 => cluster.fake.drop_watches(true),
                2 => {
                    cluster.stop_manager().await;
                    cluster.start_manager();
                }
                _ => {}
            }
            cluster.set_image(["img:2", "img:1", "img:3", "img:2"][round as usize]);
            if round % 2 == 0 {
                tokio::time::sleep(Duration::from_millis(30)).await;
                cluster.set_image("img:4");
            }
        }
        cluster.settle().await;
    }
}
