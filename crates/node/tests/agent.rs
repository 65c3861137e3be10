//! The agent of a machine against a real server in memory: real pods, real processes.

mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use backstay_node::lifecycle::words;
use backstay_node::pressure::Signals;
use backstay_node::process::{KnownProcess, ProcessRuntime, ShimCommand};
use backstay_node::runtime::{PodIdentity, Runtime, Runtimes};
use backstay_node::servers::{self, Servers};
use backstay_node::streams::NodeStreams;
use backstay_node::{Machine as ThisMachine, NodeConfig, pods_dir};
use backstay_streams::carry::Open as _;
use backstay_streams::{LogRequest, StreamRequest, Target};
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use support::{Server, condition, is_ready, pod_path};
use tempfile::TempDir;
use tokio::io::AsyncReadExt as _;
use tokio::task::JoinHandle;

/// A machine with an agent that can be killed.
struct Machine {
    dir: TempDir,
    agent: JoinHandle<()>,
}

impl Machine {
    async fn start(server: &Server) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let agent = agent(server, dir.path());
        server.wait("/api/v1/nodes/n1", "registered", is_ready).await;
        Self { dir, agent }
    }

    /// No goodbye: the task is gone from one moment to the next.
    async fn kill_agent(&mut self) {
        self.agent.abort();
        let _ = (&mut self.agent).await;
    }

    fn restart_agent(&mut self, server: &Server) {
        self.agent = agent(server, self.dir.path());
    }

    async fn log(&self, pod: &Value, request: LogRequest) -> String {
        let runtimes = Runtimes::new(Arc::new(runtime(self.dir.path())));
        let streams = NodeStreams::new(runtimes, pods_dir(self.dir.path()));
        let uid = pod["metadata"]["uid"].as_str().unwrap().to_string();
        let target = Target { uid, container: "main".into(), ..Target::default() };
        match streams.open(StreamRequest::Logs(LogRequest { target, ..request })).await {
            Ok(session) => {
                let mut log = String::new();
                session.stdout.unwrap().read_to_string(&mut log).await.unwrap();
                log
            }
            Err(error) => error.to_string(),
        }
    }

    /// What still lies in the directory of pods.
    fn pods(&self) -> usize {
        std::fs::read_dir(pods_dir(self.dir.path())).unwrap().count()
    }

    /// The process of a container that runs.
    fn pid(&self, pod: &Value, container: &str) -> i32 {
        let uid = pod["metadata"]["uid"].as_str().unwrap();
        let dir = pods_dir(self.dir.path()).join(uid).join("containers").join(container);
        let newest = std::fs::read_dir(dir).unwrap().flatten().map(|entry| entry.path()).max().unwrap();
        let state: Value = serde_json::from_slice(&std::fs::read(newest.join("state.json")).unwrap()).unwrap();
        state["pid"].as_i64().unwrap() as i32
    }

    /// Takes everything away, as a test must: pods outlive their agent by design.
    async fn end(mut self) {
        self.kill_agent().await;
        let runtime = runtime(self.dir.path());
        for PodIdentity { uid, .. } in runtime.pods().await.unwrap() {
            runtime.remove(&uid).await.unwrap();
        }
    }
}

fn runtime(dir: &Path) -> ProcessRuntime {
    let shim = ShimCommand(vec![env!("CARGO_BIN_EXE_node-shim").into()]);
    ProcessRuntime::new(pods_dir(dir), shim, backstay_api::Clock::new(jiff::Timestamp::now)).unwrap()
}

fn agent(server: &Server, dir: &Path) -> JoinHandle<()> {
    let config = NodeConfig {
        name: "n1".into(),
        runtimes: Runtimes::new(Arc::new(runtime(dir))),
        clock: server.clock.clone(),
        entropy: server.entropy.clone(),
        data_dir: dir.to_path_buf(),
        // However little it has left: a pod that is rejected or evicted for that is the subject of other tests.
        machine: ThisMachine { signals: Arc::new(Signals::default), ..ThisMachine::this(dir) },
        addresses: vec!["127.0.0.1".into()],
        labels: vec![("test".into(), "yes".into())],
        sysctls_allowed: Vec::new(),
    };
    let servers = vec![servers::Server { url: Some("https://[::1]:6443".into()), client: server.client.clone() }];
    tokio::spawn(backstay_node::run(Servers::in_order(servers), config, std::future::pending()))
}

fn runs(script: &str) -> impl FnOnce(&mut Value) {
    let script = script.to_string();
    move |pod| pod["spec"]["containers"][0]["command"] = json!(["sh", "-c", script])
}

fn main_status(pod: &Value) -> &Value {
    &pod["status"]["containerStatuses"][0]
}

async fn events(server: &Server, pod: &str) -> Vec<String> {
    let list = server.get("/api/v1/namespaces/default/events").await;
    let ours = list["items"].as_array().unwrap().iter().filter(|event| event["involvedObject"]["name"] == pod);
    ours.map(|event| format!("{} {}", event["reason"].as_str().unwrap(), event["message"].as_str().unwrap())).collect()
}

async fn wait_for_event(server: &Server, pod: &str, text: &str) {
    for _ in 0..1000 {
        if events(server, pod).await.iter().any(|event| event.contains(text)) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("no event {text:?} of {pod}: {:?}", events(server, pod).await);
}

#[tokio::test]
async fn a_pod_runs_and_goes() {
    let server = Server::start().await;
    let machine = Machine::start(&server).await;
    let node = server.get("/api/v1/nodes/n1").await;
    assert_eq!(node["metadata"]["labels"]["test"], "yes");
    server.pod("a", "n1", runs("trap 'echo bye; exit 0' TERM; echo hello; while :; do sleep 0.01; done")).await;
    let pod = server.wait(&pod_path("a"), "ready", is_ready).await;
    assert_eq!((&pod["status"]["phase"], &pod["status"]["podIP"]), (&json!("Running"), &json!("127.0.0.1")));
    assert!(main_status(&pod)["containerID"].as_str().unwrap().starts_with("process://"), "{pod:#}");
    wait_for_event(&server, "a", "Started container main").await;
    let pid = machine.pid(&pod, "main");
    server.delete(&pod_path("a")).await;
    server.wait(&pod_path("a"), "gone", Value::is_null).await;
    assert_eq!(machine.pods(), 0, "nothing is left of it");
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
    wait_for_event(&server, "a", "Stopping container main").await;
    machine.end().await;
}

#[tokio::test]
async fn pods_outlive_the_agent() {
    let server = Server::start().await;
    let mut machine = Machine::start(&server).await;
    server.pod("stays", "n1", |_| {}).await;
    server.pod("ends", "n1", runs("sleep 1000 & wait")).await;
    server.pod("deleted", "n1", |_| {}).await;
    let before = server.wait(&pod_path("stays"), "ready", is_ready).await;
    let ends = server.wait(&pod_path("ends"), "ready", is_ready).await;
    let deleted = server.wait(&pod_path("deleted"), "ready", is_ready).await;
    let (stays_pid, ends_pid, deleted_pid) =
        (machine.pid(&before, "main"), machine.pid(&ends, "main"), machine.pid(&deleted, "main"));
    machine.kill_agent().await;
    let alive = |pid: i32| Path::new(&format!("/proc/{pid}/cwd")).exists();
    assert!(alive(stays_pid) && alive(ends_pid));
    // While nobody looks, one container ends and one pod is taken away by force.
    rustix::process::kill_process(rustix::process::Pid::from_raw(ends_pid).unwrap(), rustix::process::Signal::KILL)
        .unwrap();
    server.delete(&format!("{}?gracePeriodSeconds=0", pod_path("deleted"))).await;
    server.wait(&pod_path("deleted"), "gone", Value::is_null).await;
    assert!(alive(deleted_pid), "nobody is here to stop it");
    // Times in a status are whole seconds: what is written anew shows in the next one.
    let then = before["status"]["conditions"].to_string();
    while then.contains(&words::time(jiff::Timestamp::now())) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    machine.restart_agent(&server);
    let ended = server.wait(&pod_path("ends"), "restarted", |pod| main_status(pod)["restartCount"] == 1).await;
    assert_eq!(main_status(&ended)["lastState"]["terminated"]["exitCode"], 137);
    for _ in 0..1000 {
        if !alive(deleted_pid) && machine.pods() == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(!alive(deleted_pid) && machine.pods() == 2, "the orphan is gone");
    let after = server.get(&pod_path("stays")).await;
    assert_eq!(after["status"], before["status"], "not a word about the one that was left alone");
    assert_eq!(machine.pid(&after, "main"), stays_pid);
    machine.end().await;
}

/// Killed when dropped: what has no record is found by nobody else.
struct Killed(KnownProcess);

impl Killed {
    fn is_alive(&self) -> bool {
        self.0.open().is_some()
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        self.0.kill();
    }
}

/// Under a running agent, by somebody who knows no better.
#[tokio::test]
async fn what_runs_without_records_is_ended() {
    let server = Server::start().await;
    let machine = Machine::start(&server).await;
    // One of them ends what it has started, one has nobody to do that; neither ends by itself.
    server.pod("again", "n1", runs("trap '' TERM; setsid sleep 1000 & while :; do sleep 0.05; done")).await;
    server.pod("gone", "n1", runs("trap '' TERM; while :; do sleep 0.05; done")).await;
    let again = server.wait(&pod_path("again"), "ready", is_ready).await;
    let gone = server.wait(&pod_path("gone"), "ready", is_ready).await;
    let known = |pod: &Value| Killed(KnownProcess::of(machine.pid(pod, "main")).unwrap());
    let (again_one, gone_one) = (known(&again), known(&gone));
    std::fs::remove_dir_all(pods_dir(machine.dir.path())).unwrap();
    server.delete(&pod_path("gone")).await;
    let look = json!({ "metadata": { "labels": { "look": "again" } } });
    server.send(http::Method::PATCH, &pod_path("again"), &look).await.unwrap();
    server.wait(&pod_path("gone"), "gone", Value::is_null).await;
    assert!(!gone_one.is_alive());
    let begun = |pod: &Value| main_status(pod)["state"]["running"]["startedAt"].clone();
    let id = again["metadata"]["uid"].as_str().unwrap();
    for _ in 0..1000 {
        if pods_dir(machine.dir.path()).join(id).join("containers/main/0/state.json").exists() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(!again_one.is_alive(), "there are no two of it");
    let now = server.wait(&pod_path("again"), "running", |pod| begun(pod).is_string() && is_ready(pod)).await;
    assert!(KnownProcess::of(machine.pid(&now, "main")).is_some());
    let mode = std::os::unix::fs::PermissionsExt::mode(&pods_dir(machine.dir.path()).metadata().unwrap().permissions());
    assert_eq!(mode & 0o777, 0o700, "it holds secrets");
    machine.end().await;
}

#[tokio::test]
async fn crashes_back_off_and_keep_their_logs() {
    let server = Server::start().await;
    let machine = Machine::start(&server).await;
    server.pod("crash", "n1", runs("echo run; exit 3")).await;
    let waits = |pod: &Value| main_status(pod)["state"]["waiting"]["reason"] == "CrashLoopBackOff";
    let pod = server.wait(&pod_path("crash"), "backs off", waits).await;
    assert_eq!(main_status(&pod)["restartCount"], 1);
    assert_eq!(main_status(&pod)["lastState"]["terminated"]["exitCode"], 3);
    assert_eq!(pod["status"]["phase"], "Running");
    assert_eq!(machine.log(&pod, LogRequest::default()).await, "run\n");
    let previous = LogRequest { previous: true, ..LogRequest::default() };
    assert_eq!(machine.log(&pod, previous).await, "run\n");
    wait_for_event(&server, "crash", "BackOff Back-off restarting failed container main").await;
    machine.end().await;
}

/// Or a rollout would go on from one node to the next, and break them all.
#[tokio::test]
async fn a_container_that_ends_at_once_was_never_ready() {
    let server = Server::start().await;
    let machine = Machine::start(&server).await;
    let pods: kube::Api<Pod> = kube::Api::default_namespaced(server.client.clone());
    let watch = pods.watch(&kube::api::WatchParams::default(), "0").await.unwrap();
    server
        .pod("a", "n1", |pod| {
            let container =
                |name: &str, script: &str| json!({ "name": name, "image": "i", "command": ["sh", "-c", script] });
            // One that takes a while to start after it, as with images.
            pod["spec"]["containers"] = json!([container("main", "exit 3"), container("well", "sleep 1000000")]);
        })
        .await;
    let mut events = std::pin::pin!(watch);
    let mut seen = Vec::new();
    let backs_off = |pod: &Value| main_status(pod)["state"]["waiting"]["reason"] == "CrashLoopBackOff";
    while !seen.last().is_some_and(backs_off) {
        let event = tokio::time::timeout(Duration::from_secs(60), events.next()).await.expect("it backs off");
        let event = event.expect("the watch lasts");
        if let Ok(kube::api::WatchEvent::Added(pod) | kube::api::WatchEvent::Modified(pod)) = event {
            seen.push(serde_json::to_value(pod).unwrap());
        }
    }
    assert!(!seen.iter().any(is_ready), "{seen:#?}");
    machine.end().await;
}

#[tokio::test]
async fn a_pod_without_a_command_says_what_to_do() {
    let server = Server::start().await;
    let machine = Machine::start(&server).await;
    server
        .pod("image", "n1", |pod| drop(pod["spec"]["containers"][0].as_object_mut().unwrap().remove("command")))
        .await;
    let waits = |pod: &Value| main_status(pod)["state"]["waiting"]["reason"] == "CreateContainerConfigError";
    let pod = server.wait(&pod_path("image"), "refused", waits).await;
    let message = main_status(&pod)["state"]["waiting"]["message"].as_str().unwrap();
    assert!(message.contains("set the container's command"), "{message}");
    assert_eq!(pod["status"]["phase"], "Pending");
    server.delete(&pod_path("image")).await;
    server.wait(&pod_path("image"), "gone", Value::is_null).await;
    machine.end().await;
}

#[tokio::test]
async fn environment_and_volumes_arrive() {
    let server = Server::start().await;
    let machine = Machine::start(&server).await;
    let config =
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "c" }, "data": { "k": "from-config" } });
    server
        .pod("p", "n1", |pod| {
            let target = machine.dir.path().join("mnt").display().to_string();
            let container = &mut pod["spec"]["containers"][0];
            container["command"] = json!(["sh", "-c"]);
            container["args"] = json!([
                "echo $K $POD $(NODE) $KUBERNETES_SERVICE_HOST $KUBERNETES_SERVICE_PORT; cat $BACKSTAY_VOLUME_DIR/v/k; [ $(id -u) != 0 ] || cat $AT/k; sleep 1000"
            ]);
            container["env"] = json!([
                { "name": "K", "valueFrom": { "configMapKeyRef": { "name": "c", "key": "k" } } },
                { "name": "POD", "valueFrom": { "fieldRef": { "fieldPath": "metadata.name" } } },
                { "name": "NODE", "valueFrom": { "fieldRef": { "fieldPath": "spec.nodeName" } } },
                { "name": "AT", "value": target },
            ]);
            container["volumeMounts"] = json!([{ "name": "v", "mountPath": target }]);
            pod["spec"]["volumes"] = json!([{ "name": "v", "configMap": { "name": "c" } }]);
        })
        .await;
    wait_for_event(&server, "p", "FailedMount MountVolume.SetUp failed for volume \"v\" : configmap \"c\" not found")
        .await;
    let waiting = server.get(&pod_path("p")).await;
    assert_eq!(main_status(&waiting)["state"]["waiting"]["reason"], "ContainerCreating");
    server.post("/api/v1/namespaces/default/configmaps", config).await;
    let pod = server.wait(&pod_path("p"), "ready", is_ready).await;
    let root = rustix::process::geteuid().is_root();
    let expected = if root {
        "from-config p n1 ::1 6443\nfrom-configfrom-config"
    } else {
        "from-config p n1 ::1 6443\nfrom-config"
    };
    for _ in 0..500 {
        // The last line has no end, so it shows only when the container has ended.
        if machine.log(&pod, LogRequest::default()).await.starts_with("from-config p n1 ::1 6443\n") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let follow = LogRequest { follow: true, ..LogRequest::default() };
    let pid = rustix::process::Pid::from_raw(machine.pid(&pod, "main")).unwrap();
    let (log, ()) = tokio::join!(machine.log(&pod, follow), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    });
    assert_eq!(log.trim_end(), expected);
    machine.end().await;
    assert!(!Path::new("/tmp/mnt").exists());
}

#[tokio::test]
async fn memory_volumes_go_with_their_pod() {
    let server = Server::start().await;
    let machine = Machine::start(&server).await;
    let target = machine.dir.path().join("mem").display().to_string();
    server
        .pod("mem", "n1", |pod| {
            let container = &mut pod["spec"]["containers"][0];
            container["volumeMounts"] = json!([{ "name": "m", "mountPath": target }]);
            container["command"] = json!(["sh", "-c", format!("stat -f -c %T {target}; sleep 1000")]);
            pod["spec"]["volumes"] = json!([{ "name": "m", "emptyDir": { "medium": "Memory", "sizeLimit": "1Mi" } }]);
        })
        .await;
    let pod = server.wait(&pod_path("mem"), "ready", is_ready).await;
    if rustix::process::geteuid().is_root() {
        let mut log = String::new();
        for _ in 0..500 {
            log = machine.log(&pod, LogRequest::default()).await;
            if !log.is_empty() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(log, "tmpfs\n");
    }
    let quiet = server.get(&pod_path("mem")).await;
    server.delete(&pod_path("mem")).await;
    server.wait(&pod_path("mem"), "gone", Value::is_null).await;
    assert_eq!(machine.pods(), 0);
    assert_eq!(
        quiet["metadata"]["resourceVersion"], pod["metadata"]["resourceVersion"],
        "a running pod writes nothing"
    );
    machine.end().await;
}

#[tokio::test]
async fn a_failed_hook_restarts_its_container() {
    let server = Server::start().await;
    let machine = Machine::start(&server).await;
    server
        .pod("hook", "n1", |pod| {
            let hook = json!({ "postStart": { "exec": { "command": ["sh", "-c", "echo no; exit 1"] } } });
            pod["spec"]["containers"][0]["lifecycle"] = hook;
        })
        .await;
    let restarted = |pod: &Value| main_status(pod)["restartCount"].as_i64() >= Some(1);
    server.wait(&pod_path("hook"), "restarted", restarted).await;
    wait_for_event(&server, "hook", "PostStartHook failed: no").await;
    machine.end().await;
}

#[tokio::test]
async fn probes_decide_readiness_and_restarts() {
    let server = Server::start().await;
    let machine = Machine::start(&server).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let answering = tokio::spawn(async move {
        use tokio::io::AsyncWriteExt as _;
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").await;
        }
    });
    let flag = machine.dir.path().join("flag").display().to_string();
    let probe = |handler: Value| {
        let mut probe = json!({ "periodSeconds": 1, "failureThreshold": 1 });
        probe.as_object_mut().unwrap().extend(handler.as_object().unwrap().clone());
        probe
    };
    server
        .pod("probed", "n1", |pod| {
            pod["spec"]["terminationGracePeriodSeconds"] = 1.into();
            let container = &mut pod["spec"]["containers"][0];
            container["startupProbe"] = probe(json!({ "tcpSocket": { "host": "127.0.0.1", "port": port } }));
            container["readinessProbe"] = probe(json!({ "exec": { "command": ["test", "-e", flag] } }));
            container["livenessProbe"] =
                probe(json!({ "httpGet": { "host": "127.0.0.1", "port": port, "path": "/" } }));
        })
        .await;
    wait_for_event(&server, "probed", "Unhealthy Readiness probe failed").await;
    let pod = server.get(&pod_path("probed")).await;
    assert_eq!((condition(&pod, "Ready"), &main_status(&pod)["started"]), ("False", &json!(true)));
    std::fs::write(&flag, "").unwrap();
    server.wait(&pod_path("probed"), "ready", is_ready).await;
    answering.abort();
    let pod =
        server.wait(&pod_path("probed"), "restarted", |pod| main_status(pod)["restartCount"].as_i64() >= Some(1)).await;
    assert_eq!(main_status(&pod)["lastState"]["terminated"]["exitCode"], 143);
    wait_for_event(&server, "probed", "Container main failed liveness probe, will be restarted").await;
    machine.end().await;
}

#[tokio::test]
async fn init_containers_hooks_and_a_final_phase() {
    let server = Server::start().await;
    let machine = Machine::start(&server).await;
    let dir = machine.dir.path().display().to_string();
    server
        .pod("job", "n1", |pod| {
            pod["spec"]["restartPolicy"] = "Never".into();
            let command = |script: String| json!(["sh", "-c", script]);
            pod["spec"]["initContainers"] =
                json!([{ "name": "init", "image": "i", "command": command(format!("echo one > {dir}/init")) }]);
            pod["spec"]["containers"][0]["command"] = command(format!("cat {dir}/init"));
        })
        .await;
    let done = server.wait(&pod_path("job"), "done", |pod| pod["status"]["phase"] == "Succeeded").await;
    assert_eq!(machine.log(&done, LogRequest::default()).await, "one\n");
    assert_eq!(done["status"]["initContainerStatuses"][0]["state"]["terminated"]["reason"], "Completed");
    server
        .pod("hooked", "n1", |pod| {
            let hook = |script: String| json!({ "exec": { "command": ["sh", "-c", script] } });
            pod["spec"]["containers"][0]["lifecycle"] = json!({
                "postStart": hook(format!("touch {dir}/started")), "preStop": hook(format!("touch {dir}/stopping")),
            });
        })
        .await;
    server.wait(&pod_path("hooked"), "ready", is_ready).await;
    server.delete(&pod_path("hooked")).await;
    server.wait(&pod_path("hooked"), "gone", Value::is_null).await;
    assert!(machine.dir.path().join("started").exists() && machine.dir.path().join("stopping").exists());
    machine.end().await;
}

#[tokio::test]
async fn a_sidecar_hears_at_once_and_ends_last() {
    let server = Server::start().await;
    let machine = Machine::start(&server).await;
    let dir = machine.dir.path().join("said");
    std::fs::create_dir(&dir).unwrap();
    // The container goes when it may, the sidecar when it is told to.
    let until = |file: &str| format!("while [ ! -e {}/{file} ]; do sleep 0.02; done", dir.display());
    let (may_go, at) = (until("may-go"), dir.display());
    server
        .pod("pair", "n1", |pod| {
            let command = |script: String| json!(["sh", "-c", script]);
            let script = format!("trap 'touch {at}/ended; exit 0' TERM; while :; do sleep 0.02; done");
            let hook = json!({ "preStop": { "exec": { "command": command(format!("touch {at}/told")) } } });
            pod["spec"]["initContainers"] = json!([{ "name": "side", "image": "i", "restartPolicy": "Always",
                "command": command(script), "lifecycle": hook }]);
            pod["spec"]["containers"][0]["command"] =
                command(format!("trap '{may_go}; exit 0' TERM; while :; do sleep 0.02; done"));
            pod["spec"]["terminationGracePeriodSeconds"] = 600.into();
        })
        .await;
    server.wait(&pod_path("pair"), "ready", is_ready).await;
    server.delete(&pod_path("pair")).await;
    wait_for_event(&server, "pair", "Killing Stopping container side").await;
    for _ in 0..1000 {
        if dir.join("told").exists() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(dir.join("told").exists(), "its hook does not wait for the other");
    assert!(!dir.join("ended").exists(), "but the signal does");
    std::fs::write(dir.join("may-go"), "").unwrap();
    server.wait(&pod_path("pair"), "gone", Value::is_null).await;
    assert!(dir.join("ended").exists());
    let told = events(&server, "pair").await;
    assert_eq!(told.iter().filter(|event| event.contains("Stopping container side")).count(), 1, "{told:?}");
    machine.end().await;
}
