//! A server on one host, and on another an agent with a containerd of its own.

use std::path::PathBuf;
use std::process::Command;

use backstay_cri::{CriConfig, CriRuntime};
use backstay_node::runtime::Runtime as _;
use serde_json::Value;

use crate::daemon::{Daemon, NEEDS};
use crate::support::hosts::{Network, Running};
use crate::support::{Ran, kubectl, needs, run, traces, wait_for};

const SERVER: u32 = 1;
const NODE: u32 = 2;

pub struct World {
    agent: Option<Running>,
    pub daemon: Daemon,
    _server: Running,
    pub network: Network,
    pub dir: tempfile::TempDir,
}

impl World {
    /// `None`: this machine lacks something, which was said.
    pub fn start(test: &str) -> Option<Self> {
        if !needs::are_met(test, true, &NEEDS) {
            return None;
        }
        let network = Network::new(2);
        let daemon = Daemon::new(&["nsenter", &format!("--net={}", network.namespace(NODE).display())]);
        let dir = tempfile::Builder::new().prefix("bs").tempdir_in("/run").unwrap();
        let server = network.serve(SERVER, &dir.path().join("server"), &[], None);
        let mut world = Self { agent: None, daemon, _server: server, network, dir };
        wait_for("containerd answers", || {
            let answers = world.daemon.ctr(&["version"]).status.success();
            answers.then_some(())
        });
        world.daemon.import_all();
        let printed = world.backstay(&["token", "create", "--agent-server", &world.network.url(SERVER)]).ok();
        let words: Vec<&str> = printed.split_whitespace().skip(2).collect();
        world.start_agent(&words);
        world.wait_ready();
        Some(world)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn agent_dir(&self) -> PathBuf {
        self.path("agent")
    }

    /// `words`: how it joins; none: it has joined before.
    pub fn start_agent(&mut self, words: &[&str]) {
        let mut command = self.network.backstay(NODE, None);
        command.arg("agent").args(words).args(["--node-name", "n", "--runtime", "cri", "--cri-socket"]);
        command.arg(self.daemon.socket()).arg("--data-dir").arg(self.agent_dir());
        self.agent = Some(Running::start(&mut command));
    }

    pub fn kill_agent(&mut self) {
        self.agent = None;
    }

    pub fn wait_ready(&self) {
        wait_for("the node is ready", || {
            let path = "jsonpath={.status.conditions[?(@.type==\"Ready\")].status}";
            (self.backstay(&["get", "node", "n", "-o", path]).stdout == "True").then_some(())
        });
    }

    /// A client program on the server's host.
    fn client(&self, program: &str, arguments: &[&str]) -> Ran {
        run(self.command(program).args(arguments))
    }

    pub fn command(&self, program: &str) -> Command {
        self.network.client(SERVER, &self.path("server"), program)
    }

    pub fn backstay(&self, arguments: &[&str]) -> Ran {
        self.client(env!("CARGO_BIN_EXE_backstay"), arguments)
    }

    pub fn kubectl(&self, arguments: &[&str]) -> Ran {
        self.client(kubectl(), arguments)
    }

    pub fn apply(&self, objects: &Value) {
        let file = self.path("objects.json");
        std::fs::write(&file, objects.to_string()).unwrap();
        self.backstay(&["apply", "-f", file.to_str().unwrap()]).ok();
    }

    pub fn json(&self, arguments: &[&str]) -> Value {
        let printed = self.backstay(&[arguments, &["-o", "json"]].concat()).ok();
        serde_json::from_str(&printed).expect("JSON")
    }

    /// The pod by this name, once `is` holds of it.
    #[track_caller]
    pub fn pod_that(&self, name: &str, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        let deadline = std::time::Instant::now() + crate::support::PATIENCE;
        while std::time::Instant::now() < deadline {
            last = self.json(&["get", "pod", name]);
            if is(&last) {
                return last;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        panic!("waited in vain for {what} of {name}: {:#}\n{}", last["status"], self.events(name))
    }

    #[track_caller]
    pub fn ready(&self, name: &str) -> Value {
        self.pod_that(name, "readiness", is_ready)
    }

    /// The only pod of a DaemonSet's template that has this label, once there is one.
    #[track_caller]
    pub fn only_pod(&self, label: &str) -> String {
        wait_for(&format!("one pod with {label}"), || {
            let list = self.json(&["get", "pods", "-l", label]);
            let items = list["items"].as_array().unwrap();
            let live: Vec<&Value> = items.iter().filter(|it| it["metadata"]["deletionTimestamp"].is_null()).collect();
            (live.len() == 1).then(|| live[0]["metadata"]["name"].as_str().unwrap().to_string())
        })
    }

    /// Lines `REASON MESSAGE` of the events about an object.
    pub fn events(&self, name: &str) -> String {
        let list = self.json(&["get", "events"]);
        let own = list["items"].as_array().unwrap().iter().filter(|it| it["involvedObject"]["name"] == name);
        own.map(|it| {
            format!("{} {}\n", it["reason"].as_str().unwrap_or_default(), it["message"].as_str().unwrap_or_default())
        })
        .collect()
    }

    #[track_caller]
    pub fn wait_event(&self, name: &str, text: &str) {
        wait_for(&format!("the event {text:?} of {name}"), || self.events(name).contains(text).then_some(()));
    }

    /// What a container has printed, once it holds `text`.
    #[track_caller]
    pub fn log_with(&self, pod: &str, container: &str, text: &str) -> String {
        wait_for(&format!("{text:?} in the log of {pod}/{container}"), || {
            let ran = self.backstay(&["logs", pod, "-c", container]);
            (ran.code == Some(0) && ran.stdout.contains(text)).then_some(ran.stdout)
        })
    }

    /// Runs a script in a pod's first container.
    #[track_caller]
    pub fn exec(&self, pod: &str, script: &str) -> String {
        self.backstay(&["exec", pod, "--", "sh", "-c", script]).ok()
    }

    #[track_caller]
    pub fn exec_in(&self, pod: &str, container: &str, script: &str) -> String {
        self.backstay(&["exec", pod, "-c", container, "--", "sh", "-c", script]).ok()
    }

    /// Where the agent keeps what belongs to a pod.
    pub fn pod_dir(&self, pod: &Value) -> PathBuf {
        self.agent_dir().join("pods").join(pod["metadata"]["uid"].as_str().unwrap())
    }
}

pub fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    conditions.into_iter().flatten().any(|it| it["type"] == "Ready" && it["status"] == "True")
}

/// Those of a pod, in all hierarchies.
pub fn cgroups(uid: &str) -> Vec<PathBuf> {
    let roots = std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().map(|entry| entry.path());
    let roots = roots.chain(["/sys/fs/cgroup".into()]).map(|root| root.join("kubepods"));
    let all =
        roots.flat_map(|root| ["", "burstable", "besteffort"].map(|class| root.join(class).join(format!("pod{uid}"))));
    all.filter(|dir| dir.exists()).collect()
}

/// After a failure: what processes that were killed have left.
fn remove_cgroups(uid: &str) {
    for dir in cgroups(uid) {
        let _ = Command::new("find").arg(&dir).args(["-depth", "-type", "d", "-exec", "rmdir", "{}", ";"]).status();
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.agent = None;
        // Pods outlive their agent by design; a test must not leave them behind.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (socket, data_dir) = (self.daemon.socket(), self.agent_dir());
        runtime.block_on(async {
            let owner = data_dir.display().to_string();
            let config = CriConfig::new(socket, owner, data_dir.join("seccomp"));
            let Ok(runtime) = CriRuntime::connect(config).await else { return };
            for pod in runtime.pods().await.unwrap_or_default() {
                let _ = runtime.remove(&pod.uid).await;
            }
        });
        self.daemon.end_tasks();
        let uids = std::fs::read_dir(data_dir.join("pods")).into_iter().flatten().flatten();
        uids.for_each(|entry| remove_cgroups(&entry.file_name().to_string_lossy()));
        traces::unmount_below(self.dir.path());
    }
}
