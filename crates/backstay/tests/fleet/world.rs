//! A fleet on four machines: host 1 serves, and each of the others runs pods in its own way.

use std::collections::BTreeSet;
use std::path::PathBuf;

use backstay_node::process::layout::{self, ShimState};
use serde_json::Value;

use crate::containerd::Containerd;
use crate::image;
use crate::support::hosts::{Network, Running, last_words};
use crate::support::{Ran, run, traces, wait_for};

/// The host with each runtime. Its node is named after it.
pub const CRI: u32 = 2;
pub const OCI: u32 = 3;
pub const PROCESS: u32 = 4;
pub const NODES: [u32; 3] = [CRI, OCI, PROCESS];

/// What users see of the pod on a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    pub name: String,
    pub uid: String,
    /// The environment variable VERSION of its template.
    pub version: String,
    /// Of its container now; empty: there is none.
    pub container: String,
    pub restarts: u64,
    /// Why its container waits; empty if it runs.
    pub waiting: String,
}

pub struct World {
    pub containerd: Containerd,
    pub network: Network,
    server: Option<Running>,
    agents: Vec<Option<Running>>,
    /// Of all pods that were ever seen.
    uids: BTreeSet<String>,
    dir: tempfile::TempDir,
}

impl World {
    /// With the images of `names` on those hosts that have images.
    pub fn new(images: &[&str]) -> Self {
        let dir = tempfile::Builder::new().prefix("bs").tempdir_in("/run").unwrap();
        let network = Network::new(4);
        let containerd = Containerd::start(&network, CRI, dir.path().join("c"));
        let agents = NODES.map(|_| None).into();
        let mut world = Self { containerd, network, server: None, agents, uids: BTreeSet::new(), dir };
        world.serve();
        let printed = world.backstay(&["token", "create", "--agent-server", &world.network.url(1)]).ok();
        let words: Vec<&str> = printed.split_whitespace().collect();
        assert_eq!(words[..2], ["backstay", "agent"], "{printed}");
        for node in NODES {
            world.start_agent(node, &words[2..]);
        }
        for node in NODES {
            world.wait_node(node, "True");
        }
        for name in images {
            world.containerd.import(name, &["/bin/sh"]);
            world.import(name);
        }
        world
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn data_dir(&self, node: u32) -> PathBuf {
        self.path(&format!("agent{node}"))
    }

    /// By our own verb, while the agent runs.
    fn import(&self, name: &str) {
        let file = self.path("image.tar");
        // Two images with the same content would be one.
        image::pack(&file, name, &["/bin/echo", name]);
        let mut command = self.network.on(OCI, env!("CARGO_BIN_EXE_backstay"));
        command.args(["image", "import"]).arg(&file).arg("--data-dir").arg(self.data_dir(OCI));
        assert!(run(&mut command).ok().contains(name));
    }

    pub fn serve(&mut self) {
        let arguments = ["--node-monitor-grace-period", "8s"];
        self.server = Some(self.network.serve(1, &self.path("server"), &arguments, Some(&self.path("server.log"))));
    }

    pub fn kill_server(&mut self) {
        self.server = None;
    }

    /// `words`: as they were printed to join; none for a machine that has joined.
    pub fn start_agent(&mut self, node: u32, words: &[&str]) {
        let mut command = self.network.backstay(node, Some(&self.path(&format!("agent{node}.log"))));
        command.arg("agent").args(words).args(["--node-name", &format!("n{node}"), "--data-dir"]);
        command.arg(self.data_dir(node)).arg("--runtime");
        match node {
            CRI => command.args(["cri", "--cri-socket"]).arg(self.containerd.socket()),
            OCI => command.arg("oci"),
            _ => command.arg("process"),
        };
        self.agents[node as usize - 2] = Some(Running::start(&mut command));
    }

    pub fn kill_agent(&mut self, node: u32) {
        self.agents[node as usize - 2] = None;
    }

    /// The process that keeps the container on this node.
    pub fn shim(&self, node: u32) -> u32 {
        if node == CRI {
            let socket = self.containerd.socket();
            let shims =
                traces::processes_about(&socket).into_iter().filter(|(_, words)| words.contains("containerd-shim"));
            let shims: Vec<u32> = shims.map(|(pid, _)| pid).collect();
            assert_eq!(shims.len(), 1, "one for each pod");
            return shims[0];
        }
        let pods = self.data_dir(node).join("pods");
        let uid = &layout::names(&pods)[0];
        let attempts = pods.join(uid).join("containers/main");
        let last = layout::attempt_numbers(&attempts).unwrap().pop().expect("it has run");
        let state: ShimState = layout::read(&attempts.join(last.to_string()).join("state.json")).expect("it runs");
        state.shim_pid as u32
    }

    /// A client on the server's host.
    pub fn client(&self, program: &str, arguments: &[&str]) -> Ran {
        run(self.network.client(1, &self.path("server"), program).args(arguments))
    }

    pub fn backstay(&self, arguments: &[&str]) -> Ran {
        self.client(env!("CARGO_BIN_EXE_backstay"), arguments)
    }

    pub fn wait_node(&self, node: u32, ready: &str) {
        wait_for(&format!("n{node} is ready: {ready}"), || {
            let path = "jsonpath={.status.conditions[?(@.type==\"Ready\")].status}";
            (self.backstay(&["get", "node", &format!("n{node}"), "-o", path]).stdout == ready).then_some(())
        });
    }

    pub fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.backstay(arguments).ok()).expect("JSON")
    }

    /// The pod on a node; of two, of which one is going, the newer one.
    pub fn pod(&mut self, node: u32) -> Pod {
        self.find_pod(node).unwrap_or_else(|| panic!("no pod on n{node}"))
    }

    pub fn find_pod(&mut self, node: u32) -> Option<Pod> {
        let selector = format!("--field-selector=spec.nodeName=n{node}");
        let list = self.json(&["get", "pods", &selector, "-o", "json"]);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
        let pods = list["items"].as_array().expect("a list");
        self.uids.extend(pods.iter().map(|pod| text(&pod["metadata"]["uid"])));
        let pod = pods.iter().max_by_key(|pod| text(&pod["metadata"]["creationTimestamp"]))?;
        let status = &pod["status"]["containerStatuses"][0];
        Some(Pod {
            name: text(&pod["metadata"]["name"]),
            uid: text(&pod["metadata"]["uid"]),
            version: text(&pod["spec"]["containers"][0]["env"][0]["value"]),
            container: text(&status["containerID"]),
            restarts: status["restartCount"].as_u64().unwrap_or_default(),
            waiting: text(&status["state"]["waiting"]["reason"]),
        })
    }

    /// Those that there are now, in mid-rollout.
    pub fn pods_now(&mut self) -> Vec<Pod> {
        NODES.iter().filter_map(|node| self.find_pod(*node)).collect()
    }

    pub fn pods(&mut self) -> Vec<Pod> {
        NODES.map(|node| self.pod(node)).into()
    }

    /// What the pod's container has written, line by line, as it lies on the host: also while nobody reaches it.
    pub fn said_on_host(&self, node: u32, pod: &Pod) -> Vec<String> {
        let dir = self.data_dir(node).join("pods").join(&pod.uid).join("logs/main");
        let text = |name: &String| std::fs::read_to_string(dir.join(name)).unwrap_or_default();
        let all: String = layout::names(&dir).iter().map(text).collect();
        let whole = all.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
        // After stamp, stream, and a letter.
        whole.filter_map(|line| line.splitn(4, ' ').nth(3)).map(str::to_string).collect()
    }

    /// Waits until the pod's container has written more.
    pub fn wait_more_said(&self, node: u32, pod: &Pod) {
        let lines = self.said_on_host(node, pod).len();
        wait_for(&format!("{} on n{node} writes on", pod.name), || {
            (self.said_on_host(node, pod).len() > lines + 5).then_some(())
        });
    }

    /// Waits until each node's containers can be reached from the server again.
    pub fn wait_reached(&mut self, nodes: &[u32]) {
        for &node in nodes {
            let pod = self.pod(node).name;
            wait_for(&format!("n{node} is reached"), || {
                (self.backstay(&["exec", &pod, "--", "/bin/true"]).code == Some(0)).then_some(())
            });
        }
    }

    /// What is left of pods on the hosts, in words; nothing once all of them are gone.
    pub fn leftovers(&self) -> Vec<String> {
        let mut left: Vec<String> = Vec::new();
        for node in NODES {
            let names = layout::names(&self.data_dir(node).join("pods"));
            left.extend(names.iter().map(|name| format!("files of {name} on n{node}")));
        }
        left.extend(self.containerd.containers().iter().map(|name| format!("container {name}")));
        left.extend(traces::left(self.dir.path(), &self.uids));
        left
    }
}

impl Drop for World {
    fn drop(&mut self) {
        last_words(self.dir.path(), &["server", "agent2", "agent3", "agent4"]);
        // What outlives an agent by design must not outlive a test.
        self.agents.clear();
        for node in [OCI, PROCESS] {
            traces::end_pods(&self.data_dir(node));
        }
        self.containerd.end_all();
        traces::remove_cgroups_of(&self.uids);
    }
}
