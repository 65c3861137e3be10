//! A server and agents on machines of their own, whose network is cut: what pods, nodes and rollouts do meanwhile.

#[path = "../../store-etcd/tests/support/etcd.rs"]
mod etcd;
mod support;

use std::path::Path;
use std::process::Command;

use etcd::Etcd;
use serde_json::Value;
use support::hosts::{NEEDS, Network, Running};
use support::{Ran, needs, run, traces, wait_for};

const MANIFEST: &str = "apiVersion: apps/v1
kind: DaemonSet
metadata: { name: agent }
spec:
  selector: { matchLabels: { app: agent } }
  updateStrategy: { rollingUpdate: { maxUnavailable: 1 } }
  template:
    metadata: { labels: { app: agent } }
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: main
        image: none
        command: [sh, -c, \"while :; do date +%s%N; sleep 0.2; done\"]
        env: [{ name: VERSION, value: \"1\" }]
";

/// The node is named after its host.
fn agent(network: &Network, host: u32, data_dir: &Path, words: &[&str]) -> Running {
    let mut command = network.backstay(host, None);
    command.arg("agent").args(words).args(["--node-name", &format!("n{host}"), "--runtime", "process"]);
    Running::start(command.arg("--data-dir").arg(data_dir))
}

/// Host 1 serves, hosts 2 and 3 are nodes n2 and n3.
struct World {
    network: Network,
    server: Option<Running>,
    agents: Vec<Option<Running>>,
    dir: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            network: Network::new(3),
            server: None,
            agents: vec![None, None],
            dir: tempfile::tempdir().unwrap(),
        };
        world.serve();
        let printed = world.backstay(&["token", "create", "--agent-server", &world.network.url(1)]).ok();
        let words: Vec<&str> = printed.split_whitespace().skip(2).collect();
        for host in [2, 3] {
            world.agent(host, &words);
        }
        for host in [2, 3] {
            world.wait_node(host, "True");
        }
        world
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    fn serve(&mut self) {
        let arguments = ["--node-monitor-grace-period", "8s"];
        self.server = Some(self.network.serve(1, &self.path("server"), &arguments, None));
    }

    fn agent(&mut self, host: u32, words: &[&str]) {
        let agent = agent(&self.network, host, &self.path(&format!("agent{host}")), words);
        self.agents[host as usize - 2] = Some(agent);
    }

    fn client(&self, program: &str, arguments: &[&str]) -> Ran {
        run(self.network.client(1, &self.path("server"), program).args(arguments))
    }

    fn backstay(&self, arguments: &[&str]) -> Ran {
        self.client(env!("CARGO_BIN_EXE_backstay"), arguments)
    }

    fn kubectl(&self, arguments: &[&str]) -> Ran {
        self.client(support::kubectl(), arguments)
    }

    fn wait_node(&self, host: u32, ready: &str) {
        wait_for(&format!("n{host} is ready: {ready}"), || {
            let path = "jsonpath={.status.conditions[?(@.type==\"Ready\")].status}";
            (self.backstay(&["get", "node", &format!("n{host}"), "-o", path]).stdout == ready).then_some(())
        });
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.backstay(arguments).ok()).expect("JSON")
    }

    /// Name, version, start and restarts of the pod on a host.
    fn pod(&self, host: u32) -> (String, String, String) {
        let selector = format!("--field-selector=spec.nodeName=n{host}");
        let list = self.json(&["get", "pods", &selector, "-o", "json"]);
        let pod = &list["items"][0];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
        let state = &pod["status"]["containerStatuses"][0];
        (
            text(&pod["metadata"]["name"]),
            text(&pod["spec"]["containers"][0]["env"][0]["value"]),
            format!("{} {}", state["state"], state["restartCount"]),
        )
    }

    fn log_lines(&self, host: u32) -> usize {
        let pods = self.path(&format!("agent{host}/pods"));
        let logs = Command::new("find").arg(&pods).args(["-name", "*.log"]).output().unwrap();
        let files = String::from_utf8(logs.stdout).unwrap();
        files.lines().map(|file| std::fs::read_to_string(file).map_or(0, |text| text.lines().count())).sum()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.agents.clear();
        for host in [2, 3] {
            traces::end_pods(&self.path(&format!("agent{host}")));
        }
    }
}

#[test]
fn a_network_that_is_cut_in_mid_rollout() {
    if !needs::are_met("a_network_that_is_cut_in_mid_rollout", true, &NEEDS) {
        return;
    }
    let mut world = World::new();
    let manifest = world.path("agent.yaml");
    std::fs::write(&manifest, MANIFEST).unwrap();
    world.backstay(&["apply", "-f", manifest.to_str().unwrap()]).ok();
    world.backstay(&["rollout", "status", "ds/agent", "--timeout", "60s"]).ok();

    // A host is cut off: its node is given up, its pod runs on.
    let before = world.pod(3);
    world.network.cut(3);
    world.wait_node(3, "Unknown");
    let taints = world.backstay(&["get", "node", "n3", "-o", "jsonpath={.spec.taints[*].key}"]).ok();
    assert!(taints.contains("node.kubernetes.io/unreachable"), "{taints}");
    let lines = world.log_lines(3);
    wait_for("its pod writes on", || (world.log_lines(3) > lines + 5).then_some(()));
    assert!(world.kubectl(&["exec", &before.0, "--", "true"]).code != Some(0), "it cannot be reached");

    // With one pod unavailable, the budget is used up: nothing more is taken down.
    world.backstay(&["set", "env", "ds/agent", "VERSION=2"]).ok();
    let other = world.pod(2);
    let waits = world.backstay(&["rollout", "status", "ds/agent", "--timeout", "5s"]);
    assert_eq!(waits.code, Some(1), "{waits:?}");
    assert_eq!(world.pod(2), other, "the last available pod is not touched");

    // The link is mended: the node is back by itself, nothing was restarted, and the rollout goes on to its end.
    world.network.heal(3);
    world.wait_node(3, "True");
    world.backstay(&["rollout", "status", "ds/agent", "--timeout", "60s"]).ok();
    for host in [2, 3] {
        assert_eq!(world.pod(host).1, "2");
    }
    wait_for("both are reached again", || {
        let reached = |host| world.kubectl(&["exec", &world.pod(host).0, "--", "true"]).code == Some(0);
        (reached(2) && reached(3)).then_some(())
    });

    // The server dies and comes back; so does an agent. Pods notice neither.
    let before = [world.pod(2), world.pod(3)];
    world.server = None;
    world.agents[0] = None;
    let lines = world.log_lines(2);
    wait_for("pods write on", || (world.log_lines(2) > lines + 5).then_some(()));
    world.serve();
    world.agent(2, &[]);
    for host in [2, 3] {
        world.wait_node(host, "True");
    }
    wait_for("both are reached again", || {
        let reached = |host| world.kubectl(&["exec", &world.pod(host).0, "--", "true"]).code == Some(0);
        (reached(2) && reached(3)).then_some(())
    });
    assert_eq!([world.pod(2), world.pod(3)], before, "nothing was restarted");

    world.backstay(&["rollout", "undo", "ds/agent"]).ok();
    world.backstay(&["rollout", "status", "ds/agent", "--timeout", "60s"]).ok();
    assert_eq!((world.pod(2).1, world.pod(3).1), ("1".to_string(), "1".to_string()));
}

/// Host 1 keeps the state, hosts 2 and 3 serve it, host 4 is node n4.
struct Several {
    network: Network,
    _etcd: Etcd,
    _servers: Vec<Running>,
    agent: Option<Running>,
    dir: tempfile::TempDir,
}

impl Several {
    fn new(test: &str) -> Option<Self> {
        let (network, dir) = (Network::new(4), tempfile::tempdir().unwrap());
        let entering = format!("--net={}", network.namespace(1).display());
        let etcd = Etcd::start_on(test, &network.address(1), &["nsenter", &entering])?;
        let endpoint = etcd.endpoint();
        wait_for("etcd answers", || {
            let asked = run(network.on(1, "curl").args(["-s", "-m", "5", &format!("{endpoint}/health")]));
            asked.stdout.contains("true").then_some(())
        });
        let over_etcd = ["--store", "etcd", "--etcd-endpoints", &endpoint];
        let servers = [2, 3].map(|host| network.serve(host, &dir.path().join(host.to_string()), &over_etcd, None));
        let mut several = Self { network, _etcd: etcd, _servers: servers.into(), agent: None, dir };
        let printed = several.backstay(2, &["token", "create"]).ok();
        let words: Vec<&str> = printed.split_whitespace().skip(2).collect();
        several.agent = Some(agent(&several.network, 4, &several.path(4), &words));
        Some(several)
    }

    fn path(&self, host: u32) -> std::path::PathBuf {
        self.dir.path().join(host.to_string())
    }

    fn backstay(&self, host: u32, arguments: &[&str]) -> Ran {
        run(self.network.client(host, &self.path(host), env!("CARGO_BIN_EXE_backstay")).args(arguments))
    }

    /// The name of the one pod, once it runs in this version.
    fn pod(&self, host: u32, version: &str) -> String {
        wait_for("the pod", || {
            let list: Value = serde_json::from_str(&self.backstay(host, &["get", "pods", "-o", "json"]).stdout).ok()?;
            let [pod] = list["items"].as_array()?.as_slice() else { return None };
            let is_it =
                pod["spec"]["containers"][0]["env"][0]["value"] == version && pod["status"]["phase"] == "Running";
            is_it.then(|| pod["metadata"]["name"].as_str().unwrap_or_default().to_string())
        })
    }

    fn wait_reached(&self, host: u32, pod: &str) {
        wait_for(&format!("{pod} is reached through host {host}"), || {
            (self.backstay(host, &["exec", pod, "--", "true"]).code == Some(0)).then_some(())
        });
    }
}

impl Drop for Several {
    fn drop(&mut self) {
        self.agent = None;
        traces::end_pods(&self.path(4));
    }
}

#[test]
fn a_link_to_one_of_several_servers_is_cut() {
    let test = "a_link_to_one_of_several_servers_is_cut";
    if !needs::are_met(test, true, &NEEDS) {
        return;
    }
    let Some(several) = Several::new(test) else { return };
    let manifest = several.dir.path().join("agent.yaml");
    std::fs::write(&manifest, MANIFEST).unwrap();
    several.backstay(2, &["apply", "-f", manifest.to_str().unwrap()]).ok();
    let pod = several.pod(3, "1");
    for host in [2, 3] {
        several.wait_reached(host, &pod);
    }
    // The server that the agent asks is the one that its pod was told of.
    let told = several.backstay(2, &["exec", &pod, "--", "sh", "-c", "echo $KUBERNETES_SERVICE_HOST"]).ok();
    let (asked, other) = if told.trim() == several.network.address(2) { (2, 3) } else { (3, 2) };
    let facts = || {
        let (node, lease) = (["get", "node", "n4"], ["get", "lease", "n4", "-n", "kube-node-lease"]);
        let ready = "jsonpath={.status.conditions[?(@.type==\"Ready\")].lastTransitionTime}";
        let since = several.backstay(other, &[&node[..], &["-o", ready]].concat()).ok();
        (since, several.backstay(other, &[&lease[..], &["-o", "jsonpath={.spec.renewTime}"]].concat()).ok())
    };
    let before = facts();
    several.network.cut(asked);
    wait_for("the lease is renewed through the other", || (facts().1 != before.1).then_some(()));
    several.backstay(other, &["set", "env", "ds/agent", "VERSION=2"]).ok();
    several.backstay(other, &["rollout", "status", "ds/agent", "--timeout", "120s"]).ok();
    let pod = several.pod(other, "2");
    several.wait_reached(other, &pod);
    assert_eq!(facts().0, before.0, "it was ready all the time");
    several.network.heal(asked);
    several.wait_reached(asked, &pod);
}
