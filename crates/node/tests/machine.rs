//! The agent of a machine whose runtime has images, and here runs nothing: what it is asked for, what the pod says, and
//! what becomes of both when something fails.

#[path = "machine/fake.rs"]
mod fake;
mod support;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use backstay_node::pressure::Room;
use backstay_node::process::{ProcessRuntime, ShimCommand};
use backstay_node::runtime::{Health, Image, ImageUser, Runtimes};
use backstay_node::{NodeConfig, pods_dir};
use base64::Engine as _;
use fake::Fake;
use serde_json::{Value, json};
use support::link::Link;
use support::{Server, condition, is_ready, pod_path};
use tokio::sync::Notify;

struct Machine {
    server: Server,
    fake: Arc<Fake>,
    dir: tempfile::TempDir,
    agent: tokio::task::JoinHandle<()>,
    shutdown: Arc<Notify>,
    link: Link,
    client: kube::Client,
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.agent.abort();
    }
}

impl Machine {
    async fn start() -> Self {
        let (server, fake) = (Server::start().await, Arc::new(Fake::default()));
        let (link, client) = Link::to(server.router.clone());
        let (dir, shutdown) = (tempfile::tempdir().unwrap(), Arc::new(Notify::new()));
        let agent = tokio::spawn(async {});
        let mut machine = Self { server, fake, dir, agent, shutdown, link, client };
        machine.start_agent();
        machine.server.wait(NODE, "registered", is_ready).await;
        machine
    }

    fn volumes(&self, uid: &Value) -> std::path::PathBuf {
        pods_dir(self.dir.path()).join(uid.as_str().unwrap()).join("volumes")
    }

    fn start_agent(&mut self) {
        let (server, dir) = (&self.server, self.dir.path());
        let shim = ShimCommand(vec![env!("CARGO_BIN_EXE_node-shim").into()]);
        let process = ProcessRuntime::new(pods_dir(dir), shim, server.clock.clone()).unwrap();
        let (signals, stopping) = (self.fake.clone(), self.fake.clone());
        let config = NodeConfig {
            name: "n1".into(),
            runtimes: Runtimes::new(self.fake.clone()).with("process", Arc::new(process)),
            clock: server.clock.clone(),
            entropy: server.entropy.clone(),
            data_dir: dir.to_path_buf(),
            machine: backstay_node::Machine {
                signals: Arc::new(move || signals.state().signals),
                is_stopping: Arc::new(move || stopping.state().stopping),
                shutdown_grace: (Duration::from_secs(20), Duration::from_secs(10)),
                has_apparmor: false,
            },
            addresses: vec!["127.0.0.1".into()],
            labels: Vec::new(),
            sysctls_allowed: Vec::new(),
        };
        let told = self.shutdown.clone();
        let shutdown = async move { told.notified().await };
        self.agent = tokio::spawn(backstay_node::run(self.client.clone().into(), config, shutdown));
    }

    /// Another agent follows the one that runs, with or without a way to the server.
    fn start_agent_again(&mut self, cut: bool) {
        self.agent.abort();
        if cut {
            self.link.cut()
        } else {
            self.link.heal()
        }
        self.start_agent();
    }

    async fn pod(&self, image: &str, policy: &str, change: impl FnOnce(&mut Value)) {
        let pod = |pod: &mut Value| {
            pod["spec"]["containers"][0] = json!({ "name": "main", "image": image, "imagePullPolicy": policy });
            change(pod);
        };
        self.server.pod("a", "n1", pod).await;
    }

    async fn waits_for(&self, reason: &str) -> Value {
        let waiting = |pod: &Value| pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == reason;
        self.server.wait(&pod_path("a"), reason, waiting).await["status"]["containerStatuses"][0]["state"]["waiting"]
            .clone()
    }

    async fn wait_for_event(&self, text: &str) {
        let told = |list: &Value| {
            let events = list["items"].as_array().map(Vec::as_slice).unwrap_or_default();
            events.iter().any(|it| {
                format!("{} {}", it["reason"].as_str().unwrap(), it["message"].as_str().unwrap()).contains(text)
            })
        };
        self.server.wait("/api/v1/namespaces/default/events", text, told).await;
    }
}

#[tokio::test]
async fn an_image_is_fetched_once() {
    let machine = Machine::start().await;
    machine.pod("app:v1", "IfNotPresent", |_| {}).await;
    let pod = machine.server.wait(&pod_path("a"), "ready", is_ready).await;
    assert_eq!(pod["status"]["podIP"], "10.1.2.3");
    assert_eq!(pod["status"]["hostIP"], "127.0.0.1");
    assert_eq!(pod["status"]["containerStatuses"][0]["imageID"], "app:v1@sha256:0");
    machine.wait_for_event("Pulling Pulling image \"app:v1\"").await;
    machine.wait_for_event("Pulled Successfully pulled image \"app:v1\" in ").await;
    machine.server.delete(&pod_path("a")).await;
    machine.server.wait(&pod_path("a"), "gone", Value::is_null).await;
    machine.pod("app:v1", "IfNotPresent", |_| {}).await;
    machine.server.wait(&pod_path("a"), "ready again", is_ready).await;
    machine.wait_for_event("Pulled Container image \"app:v1\" already present on machine").await;
    assert_eq!(machine.fake.state().pulls.len(), 1);
    machine.server.delete(&pod_path("a")).await;
    machine.server.wait(&pod_path("a"), "gone", Value::is_null).await;
    machine.pod("app:v1", "Always", |_| {}).await;
    machine.server.wait(&pod_path("a"), "ready a third time", is_ready).await;
    assert_eq!(machine.fake.state().pulls.len(), 2);
    assert!(std::fs::read_dir(pods_dir(machine.dir.path())).unwrap().count() == 1, "the others left nothing");
}

#[tokio::test]
async fn images_that_cannot_be_had() {
    let machine = Machine::start().await;
    machine.pod("app:v1", "Never", |_| {}).await;
    let waiting = machine.waits_for("ErrImageNeverPull").await;
    assert_eq!(waiting["message"], "Container image \"app:v1\" is not present with pull policy of Never");
    machine.server.delete(&pod_path("a")).await;
    machine.server.wait(&pod_path("a"), "gone", Value::is_null).await;

    machine.fake.state().broken.insert("gone:v1".into(), "not found".into());
    machine.pod("gone:v1", "Always", |_| {}).await;
    assert_eq!(machine.waits_for("ErrImagePull").await["message"], "not found");
    let waiting = machine.waits_for("ImagePullBackOff").await;
    assert_eq!(waiting["message"], "Back-off pulling image \"gone:v1\": ErrImagePull: not found");
    machine.wait_for_event("Failed Failed to pull image \"gone:v1\": not found").await;
    machine.wait_for_event("Failed Error: ErrImagePull").await;
    machine.wait_for_event("BackOff Back-off pulling image \"gone:v1\"").await;
    machine.server.delete(&pod_path("a")).await;
    machine.server.wait(&pod_path("a"), "gone", Value::is_null).await;

    machine.pod("no such name", "IfNotPresent", |_| {}).await;
    machine.waits_for("InvalidImageName").await;
    machine.wait_for_event("InspectFailed").await;
}

#[tokio::test]
async fn a_pod_can_be_deleted_while_its_image_comes() {
    let machine = Machine::start().await;
    machine.pod("slow", "Always", |_| {}).await;
    machine.wait_for_event("Pulling image \"slow\"").await;
    machine.server.delete(&pod_path("a")).await;
    machine.server.wait(&pod_path("a"), "gone", Value::is_null).await;
    assert!(machine.fake.state().requests.is_empty());
    // The next pull has its turn, whatever has become of the first.
    machine.pod("app:v1", "Always", |_| {}).await;
    machine.server.wait(&pod_path("a"), "ready", is_ready).await;
}

#[tokio::test]
async fn what_the_runtime_is_asked_for() {
    let machine = Machine::start().await;
    let encode = |value: Value| base64::engine::general_purpose::STANDARD.encode(value.to_string());
    let auths = json!({ "auths": { "r.io": { "username": "u", "password": "p" }, "other.io": { "username": "x" } } });
    let secret = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "pull" },
        "type": "kubernetes.io/dockerconfigjson", "data": { ".dockerconfigjson": encode(auths) } });
    machine.server.post("/api/v1/namespaces/default/secrets", secret).await;
    let change = |pod: &mut Value| {
        pod["spec"]["imagePullSecrets"] = json!([{ "name": "pull" }, { "name": "missing" }]);
        pod["spec"]["hostPID"] = true.into();
        pod["spec"]["securityContext"] = json!({ "fsGroup": 7 });
        let main = &mut pod["spec"]["containers"][0];
        let field =
            |name: &str, path: &str| json!({ "name": name, "valueFrom": { "fieldRef": { "fieldPath": path } } });
        main["env"] = json!([field("IP", "status.podIP"), field("IPS", "status.podIPs")]);
        main["securityContext"] = json!({ "privileged": true });
        main["terminationMessagePath"] = "/last".into();
    };
    machine.pod("r.io/app", "Always", change).await;
    machine.server.wait(&pod_path("a"), "ready", is_ready).await;
    let state = machine.fake.state();
    assert_eq!(state.pulls, [("r.io/app".to_string(), vec!["u".to_string()])]);
    let request = &state.requests[0];
    assert_eq!(request.image_id, "id-of-r.io/app");
    let env = [("IP", "10.1.2.3"), ("IPS", "10.1.2.3,fd00::3")].map(|(name, value)| (name.into(), value.into()));
    assert_eq!(request.env, env, "nothing of the host's");
    assert!(request.security.privileged && request.security.supplemental_groups == [7]);
    let targets: Vec<String> = request.mounts.iter().map(|mount| mount.target.display().to_string()).collect();
    assert_eq!(targets, ["/etc/hosts", "/last"]);
    let hosts = std::fs::read_to_string(&request.mounts[0].source).unwrap();
    assert!(hosts.ends_with("10.1.2.3\ta\nfd00::3\ta\n"), "{hosts}");
    assert!(request.termination_message.as_ref().unwrap().exists());
    let sandbox = state.sandboxes.values().next().unwrap();
    assert!(sandbox.security.privileged && sandbox.hostname == "a");
}

#[tokio::test]
async fn root_is_refused_by_the_image_too() {
    let machine = Machine::start().await;
    for (name, user) in
        [("root", ImageUser::Root), ("named", ImageUser::Name("www".into())), ("fine", ImageUser::Id(5))]
    {
        machine.fake.state().images.insert(name.into(), Image { user, ..Image::default() });
    }
    let non_root = |pod: &mut Value| pod["spec"]["securityContext"] = json!({ "runAsNonRoot": true });
    for (image, text) in [("root", "image will run as root"), ("named", "non-numeric user (www)")] {
        machine.pod(image, "Never", non_root).await;
        let waiting = machine.waits_for("CreateContainerConfigError").await;
        assert!(waiting["message"].as_str().unwrap().contains(text), "{waiting}");
        machine.server.delete(&pod_path("a")).await;
        machine.server.wait(&pod_path("a"), "gone", Value::is_null).await;
    }
    machine.pod("fine", "Never", non_root).await;
    machine.server.wait(&pod_path("a"), "ready", is_ready).await;
}

#[tokio::test]
async fn a_sandbox_that_is_lost_is_made_again() {
    let machine = Machine::start().await;
    machine.pod("app:v1", "Always", |_| {}).await;
    machine.server.wait(&pod_path("a"), "ready", is_ready).await;
    let uid = {
        let mut state = machine.fake.state();
        let uid = state.sandboxes.keys().next().unwrap().clone();
        state.sandboxes.clear();
        state.changed.as_ref().unwrap().send(uid.clone()).unwrap();
        uid
    };
    for _ in 0..500 {
        if machine.fake.state().sandboxes.contains_key(&uid) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("no new sandbox");
}

#[tokio::test]
async fn a_runtime_class_chooses() {
    let machine = Machine::start().await;
    let class = |name: &str, handler: &str| json!({ "apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": { "name": name }, "handler": handler });
    let host = |pod: &mut Value| {
        pod["spec"]["runtimeClassName"] = "host".into();
        pod["spec"]["containers"][0]["command"] = json!(["sh", "-c", "sleep 1000"]);
    };
    machine.pod("app:v1", "Always", host).await;
    machine
        .wait_for_event("FailedCreatePodSandBox Failed to create pod sandbox: RuntimeClass \"host\" not found")
        .await;
    machine.server.post("/apis/node.k8s.io/v1/runtimeclasses", class("host", "process")).await;
    let pod = machine.server.wait(&pod_path("a"), "ready", is_ready).await;
    let id = pod["status"]["containerStatuses"][0]["containerID"].as_str().unwrap();
    assert!(id.starts_with("process://") && machine.fake.state().pulls.is_empty(), "{id}");
    machine.server.delete(&pod_path("a")).await;
    machine.server.wait(&pod_path("a"), "gone", Value::is_null).await;
}

#[tokio::test(start_paused = true)]
async fn pods_run_on_without_their_server() {
    let machine = Machine::start().await;
    for name in ["a", "b"] {
        machine.server.pod(name, "n1", |pod| pod["spec"]["containers"][0]["image"] = "app:v1".into()).await;
        machine.server.wait(&pod_path(name), "ready", is_ready).await;
    }
    machine.link.cut();
    let uid = machine.server.get(&pod_path("a")).await["metadata"]["uid"].as_str().unwrap().to_string();
    machine.fake.exit(&uid, 1);
    tokio::time::sleep(Duration::from_secs(60)).await;
    let attempts = machine.fake.state().containers[&uid]["main"].len();
    assert_eq!(attempts, 2, "a container that fails is started again without being told to");
    // A pod that is deleted meanwhile runs on: nobody can tell its node.
    machine.server.delete(&pod_path("b")).await;
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(machine.server.get(&pod_path("a")).await["status"]["containerStatuses"][0]["restartCount"], 0);
    assert_eq!(machine.fake.state().containers.len(), 2);
    let before = machine.server.get(LEASE).await["spec"]["renewTime"].clone();
    machine.link.heal();
    let restarted = |pod: &Value| pod["status"]["containerStatuses"][0]["restartCount"] == 1 && is_ready(pod);
    machine.server.wait(&pod_path("a"), "what happened is told", restarted).await;
    machine.server.wait(&pod_path("b"), "the other is ended", Value::is_null).await;
    machine.server.wait(LEASE, "renewed", |lease| lease["spec"]["renewTime"] != before).await;
    machine.server.pod("c", "n1", |pod| pod["spec"]["containers"][0]["image"] = "app:v1".into()).await;
    machine.server.wait(&pod_path("c"), "a new one runs", is_ready).await;
}

fn has_ended(pod: &Value) -> bool {
    matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"))
}

/// Its network goes when it has ended, not only with its object; and it never comes again.
#[tokio::test(start_paused = true)]
async fn a_pod_that_has_ended_gives_back_what_it_shares() {
    let mut machine = Machine::start().await;
    machine.pod("app:v1", "Always", |pod| pod["spec"]["restartPolicy"] = "Never".into()).await;
    let pod = machine.server.wait(&pod_path("a"), "ready", is_ready).await;
    let uid = pod["metadata"]["uid"].as_str().unwrap().to_string();
    let why = "plugin type=\"bridge\" failed (del): no";
    machine.fake.state().stuck = Some(why.into());
    machine.fake.exit(&uid, 0);
    machine.server.wait(&pod_path("a"), "ended", has_ended).await;
    machine.wait_for_event(&format!("FailedKillPod error killing pod: {why}")).await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    let tries = machine.fake.state().tries;
    assert!((5..20).contains(&tries), "again and again, but not at once: {tries}");
    machine.fake.state().stuck = None;
    let given_back = |pod: &Value| condition(pod, "PodReadyToStartContainers") == "False";
    let pod = machine.server.wait(&pod_path("a"), "given back", given_back).await;
    assert_eq!(machine.fake.state().ended.iter().collect::<Vec<_>>(), [&uid]);
    assert_eq!(pod["status"]["podIP"], "10.1.2.3", "what it was is still known");
    assert_eq!(pod["status"]["podIPs"], json!([{ "ip": "10.1.2.3" }, { "ip": "fd00::3" }]));
    let tries = machine.fake.state().tries;
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(machine.fake.state().tries, tries, "once is enough");
    for cut in [true, false] {
        machine.start_agent_again(cut);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(machine.fake.state().prepared, 1, "another agent leaves it as it is (cut off: {cut})");
        assert_eq!(machine.fake.state().containers[&uid]["main"].len(), 1);
    }
    machine.server.delete(&pod_path("a")).await;
    machine.server.wait(&pod_path("a"), "gone", Value::is_null).await;
    assert!(machine.fake.state().sandboxes.is_empty());
}

/// Its policy would have it start again, but the node has ended it.
#[tokio::test(start_paused = true)]
async fn an_evicted_pod_stays_ended() {
    let mut machine = Machine::start().await;
    machine.pod("app:v1", "Always", |_| {}).await;
    let pod = machine.server.wait(&pod_path("a"), "ready", is_ready).await;
    let uid = pod["metadata"]["uid"].as_str().unwrap().to_string();
    machine.fake.state().usage.memory_bytes = 1 << 20;
    machine.fake.state().signals.memory = short(50 << 20);
    machine.server.wait(&pod_path("a"), "evicted", has_ended).await;
    machine.fake.state().signals.memory = short(1 << 30);
    machine
        .server
        .wait(&pod_path("a"), "given back", |pod| condition(pod, "PodReadyToStartContainers") == "False")
        .await;
    for cut in [true, false] {
        machine.start_agent_again(cut);
        tokio::time::sleep(Duration::from_secs(600)).await;
        assert_eq!(machine.fake.state().prepared, 1, "another agent leaves it as it is (cut off: {cut})");
        assert_eq!(machine.fake.state().containers[&uid]["main"].len(), 1, "not started again");
    }
}

/// A plugin that hangs, say.
#[tokio::test(start_paused = true)]
async fn a_pod_can_be_deleted_while_its_sandbox_is_made() {
    let machine = Machine::start().await;
    machine.fake.state().hangs = true;
    machine.pod("app:v1", "Always", |_| {}).await;
    while machine.fake.state().prepared == 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    machine.server.delete(&pod_path("a")).await;
    machine.server.wait(&pod_path("a"), "gone", Value::is_null).await;
    assert_eq!(machine.fake.state().prepared, 1);
    machine.fake.state().hangs = false;
    machine.pod("app:v1", "Always", |_| {}).await;
    machine.server.wait(&pod_path("a"), "another one runs", is_ready).await;
}

/// Deleted while no agent was here, and what is left does not go at once.
#[tokio::test(start_paused = true)]
async fn what_is_left_of_unknown_pods_goes_in_the_end() {
    let mut machine = Machine::start().await;
    machine.pod("app:v1", "Always", |_| {}).await;
    machine.server.wait(&pod_path("a"), "ready", is_ready).await;
    machine.agent.abort();
    machine.server.delete(&format!("{}?gracePeriodSeconds=0", pod_path("a"))).await;
    machine.fake.state().stuck = Some("busy".into());
    machine.start_agent();
    tokio::time::sleep(Duration::from_secs(600)).await;
    let tries = machine.fake.state().tries;
    assert!((5..30).contains(&tries), "again and again, but not at once: {tries}");
    assert_eq!(machine.fake.state().sandboxes.len(), 1);
    machine.fake.state().stuck = None;
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(machine.fake.state().sandboxes.is_empty());
    assert_eq!(std::fs::read_dir(pods_dir(machine.dir.path())).unwrap().count(), 0);
}

/// The object stays until nothing of the pod is left here.
#[tokio::test(start_paused = true)]
async fn a_pod_that_cannot_be_removed_is_tried_again() {
    let machine = Machine::start().await;
    machine.pod("app:v1", "Always", |_| {}).await;
    machine.server.wait(&pod_path("a"), "ready", is_ready).await;
    machine.fake.state().stuck = Some("busy".into());
    machine.server.delete(&pod_path("a")).await;
    machine.wait_for_event("FailedKillPod error killing pod: busy").await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    let tries = machine.fake.state().tries;
    assert!((5..20).contains(&tries), "again and again, but not at once: {tries}");
    assert!(!machine.server.get(&pod_path("a")).await.is_null());
    machine.fake.state().stuck = None;
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_secs(10)).await;
    }
    machine.server.wait(&pod_path("a"), "gone", Value::is_null).await;
    assert!(machine.fake.state().sandboxes.is_empty());
}

/// The runtime was away just then.
#[tokio::test(start_paused = true)]
async fn a_container_that_could_not_be_stopped_is_stopped_all_the_same() {
    let machine = Machine::start().await;
    machine.pod("app:v1", "Always", |_| {}).await;
    machine.server.wait(&pod_path("a"), "ready", is_ready).await;
    machine.fake.state().stops_failing = 3;
    machine.server.delete(&pod_path("a")).await;
    machine.server.wait(&pod_path("a"), "gone", Value::is_null).await;
    assert_eq!(machine.fake.state().stops_failing, 0);
    let events = machine.server.get("/api/v1/namespaces/default/events").await;
    let killing: Vec<&Value> =
        events["items"].as_array().unwrap().iter().filter(|event| event["reason"] == "Killing").collect();
    assert!(matches!(killing[..], [event] if event["count"] == 1), "{killing:#?}");
}

/// Nothing should bring a worker down. If something does, its pod gets another.
#[tokio::test(start_paused = true)]
async fn a_pod_whose_worker_has_failed_gets_another() {
    let machine = Machine::start().await;
    let mut uids = Vec::new();
    for name in ["a", "b"] {
        machine.server.pod(name, "n1", |_| {}).await;
        let pod = machine.server.wait(&pod_path(name), "ready", is_ready).await;
        uids.push(pod["metadata"]["uid"].as_str().unwrap().to_string());
        machine.fake.state().panics = true;
        machine.fake.state().changed.as_ref().unwrap().send(uids.last().unwrap().clone()).unwrap();
        while machine.fake.state().panics {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    machine.fake.exit(&uids[0], 1);
    machine.server.delete(&format!("{}?gracePeriodSeconds=0", pod_path("b"))).await;
    let restarted = |pod: &Value| pod["status"]["containerStatuses"][0]["restartCount"] == 1 && is_ready(pod);
    machine.server.wait(&pod_path("a"), "looked after", restarted).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(machine.fake.state().sandboxes.keys().collect::<Vec<_>>(), [&uids[0]], "the other has gone");
}

/// Kubernetes knows no longest grace.
#[tokio::test(start_paused = true)]
async fn a_pod_may_have_all_the_time_there_is() {
    let machine = Machine::start().await;
    let endless = |pod: &mut Value| pod["spec"]["terminationGracePeriodSeconds"] = i64::MAX.into();
    machine.pod("app:v1", "Always", endless).await;
    machine.server.wait(&pod_path("a"), "ready", is_ready).await;
    machine.fake.state().lingers = true;
    machine.server.delete(&pod_path("a")).await;
    machine.wait_for_event("Killing Stopping container main").await;
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert!(is_ready(&machine.server.get(&pod_path("a")).await));
    machine.server.delete(&format!("{}?gracePeriodSeconds=5", pod_path("a"))).await;
    machine.server.wait(&pod_path("a"), "gone", Value::is_null).await;
}

/// An agent begins while its runtime does not answer, or it is away for a while.
#[tokio::test(start_paused = true)]
async fn what_cannot_be_looked_at_is_left_as_it_is() {
    let mut machine = Machine::start().await;
    machine.pod("app:v1", "Always", |_| {}).await;
    let before = machine.server.wait(&pod_path("a"), "ready", is_ready).await;
    let uid = before["metadata"]["uid"].as_str().unwrap().to_string();
    for again in [true, false] {
        machine.fake.state().blind = true;
        if again {
            machine.start_agent_again(false);
        }
        tokio::time::sleep(Duration::from_secs(120)).await;
        assert_eq!(machine.server.get(&pod_path("a")).await["status"], before["status"], "another agent: {again}");
        machine.fake.state().blind = false;
        tokio::time::sleep(Duration::from_secs(120)).await;
        assert_eq!(machine.server.get(&pod_path("a")).await["status"], before["status"], "another agent: {again}");
        assert_eq!(machine.fake.state().prepared, 1);
        assert_eq!(machine.fake.state().containers[&uid]["main"].len(), 1, "there are no two of it");
    }
    machine.fake.state().blind = true;
    machine.server.delete(&pod_path("a")).await;
    machine.start_agent_again(false);
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert!(machine.fake.state().containers.contains_key(&uid), "it runs still, for all that is known");
    machine.fake.state().blind = false;
    machine.server.wait(&pod_path("a"), "gone", Value::is_null).await;
}

/// Its containers run, its object is gone, and so are its agent and what that has written down of it.
async fn machine_with_a_pod_that_nobody_knows() -> Machine {
    let machine = Machine::start().await;
    machine.pod("app:v1", "Always", |_| {}).await;
    let pod = machine.server.wait(&pod_path("a"), "ready", is_ready).await;
    machine.agent.abort();
    machine.server.delete(&format!("{}?gracePeriodSeconds=0", pod_path("a"))).await;
    std::fs::remove_dir_all(machine.volumes(&pod["metadata"]["uid"]).parent().unwrap()).unwrap();
    machine
}

/// As [`what_is_left_of_unknown_pods_goes_in_the_end`], of a pod whose object nobody has kept: the agent ended before.
#[tokio::test(start_paused = true)]
async fn what_is_left_of_pods_that_nobody_knows_goes_in_the_end() {
    let mut machine = machine_with_a_pod_that_nobody_knows().await;
    machine.fake.state().stuck = Some("busy".into());
    machine.start_agent();
    tokio::time::sleep(Duration::from_secs(600)).await;
    let tries = machine.fake.state().tries;
    assert!((5..30).contains(&tries), "again and again, but not at once: {tries}");
    machine.fake.state().stuck = None;
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(machine.fake.state().sandboxes.is_empty());
}

/// The runtime begins later than the agent.
#[tokio::test(start_paused = true)]
async fn what_is_left_is_found_when_it_can_be_looked_for() {
    let mut machine = machine_with_a_pod_that_nobody_knows().await;
    machine.fake.state().blind = true;
    machine.start_agent();
    tokio::time::sleep(Duration::from_secs(60)).await;
    machine.fake.state().blind = false;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(machine.fake.state().sandboxes.is_empty());
}

/// Deleted for good while its agent was here to see it, which then is killed, and the next one begins without a server.
#[tokio::test(start_paused = true)]
async fn a_pod_that_is_gone_does_not_come_again() {
    let mut machine = Machine::start().await;
    machine.pod("app:v1", "Always", |_| {}).await;
    let pod = machine.server.wait(&pod_path("a"), "ready", is_ready).await;
    let uid = pod["metadata"]["uid"].as_str().unwrap().to_string();
    machine.fake.state().lingers = true;
    machine.server.delete(&format!("{}?gracePeriodSeconds=0", pod_path("a"))).await;
    machine.wait_for_event("Killing Stopping container main").await;
    machine.start_agent_again(true);
    machine.fake.exit(&uid, 0);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(machine.fake.state().requests.len(), 1, "not started again");
    machine.link.heal();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(machine.fake.state().sandboxes.is_empty());
}

/// The agent begins anew while the server cannot be reached: after a power cut, say.
#[tokio::test(start_paused = true)]
async fn pods_come_back_without_their_server() {
    let mut machine = Machine::start().await;
    machine.server.pod("a", "n1", |pod| pod["spec"]["containers"][0]["image"] = "app:v1".into()).await;
    let pod = machine.server.wait(&pod_path("a"), "ready", is_ready).await;
    let uid = pod["metadata"]["uid"].as_str().unwrap().to_string();
    machine.link.cut();
    machine.agent.abort();
    machine.fake.exit(&uid, 137);
    machine.start_agent();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(machine.fake.state().containers[&uid]["main"].len(), 2, "started again");
    machine.server.delete(&pod_path("a")).await;
    machine.link.heal();
    machine.server.wait(&pod_path("a"), "ended, now that it is known", Value::is_null).await;
    assert_eq!(std::fs::read_dir(pods_dir(machine.dir.path())).unwrap().count(), 0);
}

const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n1";
const NODE: &str = "/api/v1/nodes/n1";

fn short(available: u64) -> Room {
    Room { available, capacity: 4 << 30 }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_runs_short_says_so_and_ends_a_pod() {
    let machine = Machine::start().await;
    let second = json!({ "name": "b" });
    machine.pod("app:v1", "Always", |_| {}).await;
    machine.server.pod("b", "n1", |pod| pod["metadata"] = second).await;
    for pod in ["a", "b"] {
        let uid = machine.server.wait(&pod_path(pod), "ready", is_ready).await["metadata"]["uid"].clone();
        let volume = machine.volumes(&uid).join("data");
        std::fs::create_dir_all(&volume).unwrap();
        std::fs::write(volume.join("large"), "").unwrap();
    }
    machine.fake.state().usage.memory_bytes = 1 << 20;
    machine.fake.state().signals.memory = short(50 << 20);
    machine.server.wait(NODE, "short", |node| condition(node, "MemoryPressure") == "True").await;
    machine.fake.state().signals.memory = short(1 << 30);
    let evicted = |pod: &Value| pod["status"]["reason"] == "Evicted";
    let mut gone = Vec::new();
    for name in ["a", "b"] {
        gone.extend(Some(machine.server.get(&pod_path(name)).await).filter(evicted));
    }
    machine.wait_for_event("Evicted The node was low on resource: memory.").await;
    let [pod] = gone.as_slice() else { panic!("one at a time: {gone:#?}") };
    let (name, status) = (pod["metadata"]["name"].as_str().unwrap(), &pod["status"]);
    assert!(status["message"].as_str().unwrap().starts_with("The node was low on resource: memory."), "{status:#}");
    assert_eq!(condition(pod, "DisruptionTarget"), "True");
    machine.server.wait(&pod_path(name), "failed", |pod| pod["status"]["phase"] == "Failed").await;
    tokio::time::sleep(Duration::from_secs(400)).await;
    machine.server.wait(NODE, "well again", |node| condition(node, "MemoryPressure") == "False").await;
    assert!(!machine.volumes(&pod["metadata"]["uid"]).exists(), "what it has filled is given back");
    let other = machine.server.get(&pod_path(if name == "a" { "b" } else { "a" })).await;
    assert!(is_ready(&other) && machine.volumes(&other["metadata"]["uid"]).join("data/large").exists(), "it ran on");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_runs_short_takes_no_more_pods() {
    let machine = Machine::start().await;
    // Taken before, though what they refer to is not there yet: one of them goes, the other is not rejected afterwards.
    let waits = json!([{ "name": "v", "configMap": { "name": "later" } }]);
    for name in ["early", "other"] {
        machine.server.pod(name, "n1", |pod| pod["spec"]["volumes"] = waits.clone()).await;
        machine.server.wait(&pod_path(name), "taken", |pod| !pod["status"]["startTime"].is_null()).await;
    }
    machine.fake.state().signals.disk = short(1 << 20);
    machine.server.wait(NODE, "short", |node| condition(node, "DiskPressure") == "True").await;
    machine.fake.state().signals.disk = Room::default();
    let later = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "later" } });
    machine.server.post("/api/v1/namespaces/default/configmaps", later).await;
    let mut ready = 0;
    for name in ["early", "other"] {
        let settled = |pod: &Value| is_ready(pod) || pod["status"]["phase"] == "Failed";
        let pod = machine.server.wait(&pod_path(name), "settled", settled).await;
        ready += usize::from(is_ready(&pod));
        let message = pod["status"]["message"].as_str().unwrap_or_default();
        assert!(is_ready(&pod) || message.starts_with("The node was low on resource"), "{pod:#}");
    }
    assert_eq!(ready, 1);
    let every = json!([{ "operator": "Exists" }]);
    machine.pod("app:v1", "Always", |pod| pod["spec"]["tolerations"] = every).await;
    let pod = machine.server.wait(&pod_path("a"), "failed", |pod| pod["status"]["phase"] == "Failed").await;
    let status = &pod["status"];
    assert_eq!(status["reason"], "Evicted");
    assert_eq!(status["message"], "Pod was rejected: The node had condition: [DiskPressure]. ");
    assert!(status["containerStatuses"].is_null() && condition(&pod, "DisruptionTarget") != "True", "{status:#}");
    machine.wait_for_event("Evicted The node had condition: [DiskPressure]. ").await;
    tokio::time::sleep(Duration::from_secs(400)).await;
    machine.server.wait(NODE, "well again", |node| condition(node, "DiskPressure") == "False").await;
    machine.server.delete(&pod_path("a")).await;
    machine.server.wait(&pod_path("a"), "gone", Value::is_null).await;
    machine.pod("app:v1", "Always", |_| {}).await;
    machine.server.wait(&pod_path("a"), "ready", is_ready).await;
}

#[tokio::test(start_paused = true)]
async fn a_volume_that_outgrows_its_limit_ends_its_pod() {
    let machine = Machine::start().await;
    let limited = json!([{ "name": "v", "emptyDir": { "sizeLimit": "1Mi" } }, { "name": "w", "emptyDir": {} }]);
    machine.pod("app:v1", "Always", |pod| pod["spec"]["volumes"] = limited).await;
    let pod = machine.server.wait(&pod_path("a"), "ready", is_ready).await;
    let volumes = pods_dir(machine.dir.path()).join(pod["metadata"]["uid"].as_str().unwrap()).join("volumes");
    std::fs::write(volumes.join("v/fits"), vec![1; 900 << 10]).unwrap();
    std::fs::write(volumes.join("w/unlimited"), vec![1; 2 << 20]).unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(is_ready(&machine.server.get(&pod_path("a")).await), "it is within its limit");
    std::fs::write(volumes.join("v/too-much"), vec![1; 200 << 10]).unwrap();
    let pod = machine.server.wait(&pod_path("a"), "failed", |pod| pod["status"]["phase"] == "Failed").await;
    assert_eq!(pod["status"]["reason"], "Evicted");
    assert_eq!(pod["status"]["message"], "Usage of EmptyDir volume \"v\" exceeds the limit \"1Mi\".");
}

/// What is asked for, and why the node rejects it.
async fn check_rejected(security: Value, reason: &str, why: &str) {
    let machine = Machine::start().await;
    machine.pod("app:v1", "Always", |pod| pod["spec"]["securityContext"] = security).await;
    let pod = machine.server.wait(&pod_path("a"), "failed", |pod| pod["status"]["phase"] == "Failed").await;
    let status = &pod["status"];
    assert_eq!(status["reason"], reason);
    assert_eq!(status["message"], format!("Pod was rejected: {why}"));
    assert!(status["containerStatuses"].is_null() && condition(&pod, "DisruptionTarget") != "True", "{status:#}");
    machine.wait_for_event(&format!("{reason} {why}")).await;
    assert_eq!(machine.fake.state().prepared, 0);
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_wants_a_setting_of_everybody_is_not_taken() {
    let sysctls = json!({ "sysctls": [{ "name": "kernel.msgmax", "value": "1" }] });
    check_rejected(sysctls, "SysctlForbidden", "forbidden sysctl: \"kernel.msgmax\" not allowlisted").await;
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_wants_what_the_kernel_lacks_is_not_taken() {
    let profile = json!({ "appArmorProfile": { "type": "RuntimeDefault" } });
    check_rejected(profile, "AppArmor", "Cannot enforce AppArmor: AppArmor is not enabled on the host").await;
}

#[tokio::test(start_paused = true)]
async fn a_node_whose_runtime_is_ill_is_not_ready() {
    let machine = Machine::start().await;
    machine.fake.state().health.network = Err("cni plugin not initialized".into());
    let node = machine.server.wait(NODE, "not ready", |node| condition(node, "Ready") == "False").await;
    assert!(
        node.to_string().contains("NetworkPluginNotReady message:Network plugin returns error: cni plugin"),
        "{node:#}"
    );
    machine.fake.state().health = Health::default();
    machine.server.wait(NODE, "ready", is_ready).await;
}

/// The reasons of the events about the node, each with how often it was told.
async fn told_of_node(machine: &Machine) -> Vec<String> {
    let list = machine.server.get("/api/v1/namespaces/default/events").await;
    let about = list["items"].as_array().unwrap().iter().filter(|event| event["involvedObject"]["kind"] == "Node");
    let mut told: Vec<(String, String)> = Vec::new();
    for event in about {
        let text = |field: &str| event[field].as_str().unwrap().to_string();
        assert_eq!(event["involvedObject"], json!({ "apiVersion": "v1", "kind": "Node", "name": "n1", "uid": "n1" }));
        assert_eq!(event["source"], json!({ "component": "kubelet", "host": "n1" }));
        told.push((
            text("firstTimestamp"),
            format!("{} {} {}: {}", event["count"], text("type"), text("reason"), text("message")),
        ));
    }
    told.sort_by(|a, b| a.0.cmp(&b.0));
    told.into_iter().map(|(_, text)| text).collect()
}

#[tokio::test(start_paused = true)]
async fn a_node_tells_of_itself() {
    let mut machine = Machine::start().await;
    machine.wait_for_event("NodeReady Node n1 status is now: NodeReady").await;
    let beginning: BTreeSet<String> = told_of_node(&machine).await.into_iter().collect();
    let expected = [
        "1 Normal Starting: Starting kubelet.",
        "1 Normal NodeHasSufficientMemory: Node n1 status is now: NodeHasSufficientMemory",
        "1 Normal NodeHasNoDiskPressure: Node n1 status is now: NodeHasNoDiskPressure",
        "1 Normal NodeHasSufficientPID: Node n1 status is now: NodeHasSufficientPID",
        "1 Normal NodeReady: Node n1 status is now: NodeReady",
    ];
    assert_eq!(beginning, expected.map(String::from).into());
    // Nothing is told that has not changed.
    tokio::time::sleep(Duration::from_secs(1200)).await;
    assert_eq!(told_of_node(&machine).await.len(), expected.len());

    machine.fake.state().health.runtime = Err("gone".into());
    machine.wait_for_event("NodeNotReady Node n1 status is now: NodeNotReady").await;
    machine.fake.state().health = Health::default();
    machine.fake.state().signals.disk = short(1 << 20);
    machine.wait_for_event("NodeHasDiskPressure Node n1 status is now: NodeHasDiskPressure").await;
    machine.wait_for_event("EvictionThresholdMet Attempting to reclaim ephemeral-storage").await;
    machine.fake.state().signals.disk = Room::default();
    let again = |reason: &'static str| {
        let machine = &machine;
        async move {
            let twice = |list: &Value| {
                let mut events = list["items"].as_array().unwrap().iter();
                events.any(|event| event["reason"] == reason && event["count"] == 2)
            };
            machine.server.wait("/api/v1/namespaces/default/events", reason, twice).await;
        }
    };
    again("NodeReady").await;
    tokio::time::sleep(Duration::from_secs(400)).await;
    again("NodeHasNoDiskPressure").await;

    // The next agent finds that the machine has been started anew.
    machine.agent.abort();
    let boot = json!({ "status": { "nodeInfo": { "bootID": "of-yesterday" } } });
    machine.server.send(http::Method::PATCH, "/api/v1/nodes/n1/status", &boot).await.unwrap();
    machine.start_agent();
    machine.wait_for_event("Rebooted Node n1 has been rebooted, boot id: ").await;

    machine.fake.state().stopping = true;
    machine.pod("app:v1", "Always", |_| {}).await;
    machine.server.wait(&pod_path("a"), "ready", is_ready).await;
    machine.shutdown.notify_one();
    (&mut machine.agent).await.unwrap();
    machine.wait_for_event("Shutdown Shutdown manager detected shutdown event").await;
}

#[tokio::test(start_paused = true)]
async fn a_node_tells_that_it_is_taken_out_of_service() {
    let mut machine = Machine::start().await;
    let told = async |machine: &Machine| {
        let told = told_of_node(machine).await;
        told.into_iter().filter(|event| event.contains("Schedulable")).collect::<Vec<_>>()
    };
    let cordon = async |machine: &Machine, cordoned: bool| {
        let spec = json!({ "spec": { "unschedulable": cordoned } });
        machine.server.send(http::Method::PATCH, NODE, &spec).await.unwrap();
        tokio::time::sleep(Duration::from_secs(5)).await;
    };
    cordon(&machine, false).await;
    assert_eq!(told(&machine).await, [""; 0]);
    cordon(&machine, true).await;
    const OUT: &str = "1 Normal NodeNotSchedulable: Node n1 status is now: NodeNotSchedulable";
    assert_eq!(told(&machine).await, [OUT]);
    cordon(&machine, false).await;
    const IN: &str = "1 Normal NodeSchedulable: Node n1 status is now: NodeSchedulable";
    assert_eq!(told(&machine).await, [OUT, IN]);
    // Nothing else about the node is of interest here.
    tokio::time::sleep(Duration::from_secs(1200)).await;
    assert_eq!(told(&machine).await, [OUT, IN]);
    // As a kubelet, which begins with the belief that it is in service.
    machine.link.cut();
    cordon(&machine, true).await;
    machine.start_agent_again(false);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(told(&machine).await, [OUT, IN, OUT]);
}

#[tokio::test(start_paused = true)]
async fn images_go_when_the_disk_fills() {
    let machine = Machine::start().await;
    machine.fake.state().images.insert("old".into(), Image { id: "old".into(), ..Image::default() });
    machine.pod("app:v1", "Always", |_| {}).await;
    machine.server.wait(&pod_path("a"), "ready", is_ready).await;
    // Seen, and too young.
    machine.fake.state().signals.disk = short(1 << 20);
    machine.server.wait(NODE, "short", |node| condition(node, "DiskPressure") == "True").await;
    tokio::time::sleep(Duration::from_secs(200)).await;
    let left: Vec<String> = machine.fake.state().images.keys().cloned().collect();
    assert!(!left.contains(&"old".to_string()), "{left:?}");
}

#[tokio::test(start_paused = true)]
async fn pods_end_with_their_machine() {
    let mut machine = Machine::start().await;
    machine.pod("app:v1", "Always", |_| {}).await;
    machine.server.wait(&pod_path("a"), "ready", is_ready).await;
    machine.fake.state().stopping = true;
    machine.shutdown.notify_one();
    (&mut machine.agent).await.unwrap();
    let pod = machine.server.get(&pod_path("a")).await;
    let status = &pod["status"];
    assert_eq!((&status["phase"], &status["reason"]), (&json!("Failed"), &json!("Terminated")), "{status:#}");
    let node = machine.server.get(NODE).await;
    assert!(node.to_string().contains("node is shutting down") && condition(&node, "Ready") == "False", "{node:#}");
}

/// Its DaemonSet, say, wants another one at once.
#[tokio::test(start_paused = true)]
async fn a_machine_that_is_switched_off_takes_no_more_pods() {
    let mut machine = Machine::start().await;
    machine.pod("app:v1", "Always", |pod| pod["spec"]["terminationGracePeriodSeconds"] = 15.into()).await;
    machine.server.wait(&pod_path("a"), "ready", is_ready).await;
    (machine.fake.state().stopping, machine.fake.state().lingers) = (true, true);
    machine.shutdown.notify_one();
    machine.wait_for_event("Shutdown Shutdown manager detected shutdown event").await;
    machine.server.pod("b", "n1", |_| {}).await;
    let pod = machine.server.wait(&pod_path("b"), "rejected", has_ended).await;
    let (reason, message) = (&pod["status"]["reason"], &pod["status"]["message"]);
    assert_eq!(reason, "NodeShutdown");
    assert_eq!(message, "Pod was rejected: Pod was rejected as the node is shutting down.");
    assert_eq!(machine.fake.state().prepared, 1);
    let begun = tokio::time::Instant::now();
    (&mut machine.agent).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(16), "nobody waits for what never ran");
}
