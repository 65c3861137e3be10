//! An agent of several servers over one etcd: it is reached through each of them, and notices little when one dies.

#[path = "../../store-etcd/tests/support/etcd.rs"]
mod etcd;
mod support;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Stdio};

use etcd::Etcd;
use serde_json::Value;
use support::joined::{Agent, joining, words};
use support::{Ran, Server, wait_for, wait_node};

const MANIFEST: &str = "apiVersion: apps/v1
kind: DaemonSet
metadata: { name: agent }
spec:
  selector: { matchLabels: { app: agent } }
  template:
    metadata: { labels: { app: agent } }
    spec:
      terminationGracePeriodSeconds: 1
      tolerations: [{ operator: Exists }]
      containers:
      - name: main
        image: none
        command: [sh, -c, \"echo hello from $VERSION; exec sleep 100000\"]
        env: [{ name: VERSION, value: one }]
";

/// Every client: our own and kubectl.
fn programs() -> Vec<&'static str> {
    let mut programs = vec![env!("CARGO_BIN_EXE_backstay")];
    match support::clients::kubectls().is_empty() {
        true => support::clients::say("SKIPPED: no kubectl is installed; run `cargo xtask clients`"),
        false => programs.push(support::kubectl()),
    }
    programs
}

fn client(server: &Server, program: &str, arguments: &[&str]) -> Ran {
    support::run(server.client(program).args(arguments))
}

/// The pod that runs, of this version.
fn pod(server: &Server, version: &str) -> String {
    wait_for("the pod of this version", || {
        let list = server.backstay(&["get", "pods", "-l", "app=agent", "-o", "json"]);
        let list: Value = serde_json::from_str(&list.stdout).ok()?;
        let [pod] = list["items"].as_array()?.as_slice() else { return None };
        let is_it = pod["spec"]["containers"][0]["env"][0]["value"] == version && pod["status"]["phase"] == "Running";
        is_it.then(|| pod["metadata"]["name"].as_str().unwrap_or_default().to_string())
    })
}

/// Commands and logs of the pod, through this server, by every client.
fn assert_reached(server: &Server, pod: &str, version: &str) {
    // Tunnels are opened one after the other, and those that were lost after a pause.
    wait_for("its agent is connected to this server", || {
        (server.backstay(&["exec", pod, "--", "true"]).code == Some(0)).then_some(())
    });
    for program in programs() {
        assert_eq!(client(server, program, &["exec", pod, "--", "sh", "-c", "echo $VERSION"]).ok().trim(), version);
        wait_for("its words", || {
            let log = client(server, program, &["logs", pod]).ok();
            (log == format!("hello from {version}\n")).then_some(())
        });
    }
}

/// A command in the pod that answers, for as long as its session lasts.
struct Conversation {
    child: Child,
    stdin: ChildStdin,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Conversation {
    fn begin(server: &Server, pod: &str) -> Self {
        let mut command = server.client(env!("CARGO_BIN_EXE_backstay"));
        command.args(["exec", "-i", pod, "--", "cat"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let stdin = child.stdin.take().expect("a pipe");
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let mut conversation = Self { child, stdin, lines };
        conversation.say("first");
        conversation
    }

    fn say(&mut self, word: &str) {
        writeln!(self.stdin, "{word}").expect("it listens");
        assert_eq!(self.lines.next().expect("an answer").expect("text"), word);
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        // Killing one that has ended already is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn ready_since(server: &Server) -> String {
    let path = "jsonpath={.status.conditions[?(@.type==\"Ready\")].lastTransitionTime}";
    let since = server.backstay(&["get", "node", "n1", "-o", path]).ok();
    assert!(since.ends_with('Z'), "{since:?}");
    since
}

fn renewed_at(server: &Server) -> String {
    server.backstay(&["get", "lease", "n1", "-n", "kube-node-lease", "-o", "jsonpath={.spec.renewTime}"]).ok()
}

#[test]
fn an_agent_outlives_a_server() {
    let Some(etcd) = Etcd::start("an_agent_outlives_a_server") else { return };
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let servers = dirs.each_ref().map(|dir| Server::over_etcd(&etcd.endpoint(), dir.path(), &[]));
    let [one, two] = &servers;
    // Each knows of the other, and so does whoever makes a token.
    let both = BTreeSet::from([one.url.as_str(), two.url.as_str()]);
    let join = joining(two, &[]);
    assert_eq!(join[1].split(',').collect::<BTreeSet<_>>(), both);
    let mut agent = Agent::start("n1", &words(&join));
    wait_node(two, "n1", "True");
    let manifest = dirs[0].path().join("agent.yaml");
    std::fs::write(&manifest, MANIFEST).unwrap();
    two.backstay(&["apply", "-f", manifest.to_str().unwrap()]).ok();
    let first = pod(one, "one");
    for server in &servers {
        assert_reached(server, &first, "one");
    }

    // Another one comes later, and the agent hears of it.
    let dir = tempfile::tempdir().unwrap();
    let three = Server::over_etcd(&etcd.endpoint(), dir.path(), &[]);
    assert_reached(&three, &first, "one");
    let kept = || std::fs::read_to_string(agent.dir.path().join("agent.kubeconfig")).unwrap();
    assert!(kept().contains(&three.url));
    // It goes for good, and is forgotten.
    drop(three);
    let selector = "apiserver.kubernetes.io/identity=kube-apiserver";
    let leases = ["get", "leases", "-n", "kube-system", "-l", selector, "-o", "json"];
    let leases: Value = serde_json::from_str(&one.backstay(&leases).ok()).unwrap();
    let leases = leases["items"].as_array().unwrap();
    let url =
        |lease: &Value| lease["metadata"]["annotations"]["servers.backstay.dev/url"].as_str().unwrap().to_string();
    let of_three: Vec<&Value> = leases.iter().filter(|lease| !both.contains(url(lease).as_str())).collect();
    assert!(leases.len() == 3 && of_three.len() == 1, "{leases:#?}");
    let name = of_three[0]["metadata"]["name"].as_str().unwrap();
    two.backstay(&["delete", "lease", name, "-n", "kube-system"]).ok();
    wait_for("the agent forgets it", || (!kept().contains(&url(of_three[0]))).then_some(()));

    // The server that the agent asks is the one that its pod was told of. It is killed.
    let port = one.backstay(&["exec", &first, "--", "sh", "-c", "echo $KUBERNETES_SERVICE_PORT"]).ok();
    let [one, two] = servers;
    let (mut asked, other) = if one.url.ends_with(&format!(":{}", port.trim())) { (one, two) } else { (two, one) };
    let mut talk = Conversation::begin(&other, &first);
    let (since, renewed) = (ready_since(&other), renewed_at(&other));
    asked.stop("KILL");
    talk.say("second");
    wait_for("its lease is renewed through the other", || (renewed_at(&other) != renewed).then_some(()));
    other.backstay(&["set", "env", "ds/agent", "VERSION=two"]).ok();
    other.backstay(&["rollout", "status", "ds/agent", "--timeout", "120s"]).ok();
    let second = pod(&other, "two");
    assert_reached(&other, &second, "two");
    assert_eq!(ready_since(&other), since, "it was ready all the time");

    // It comes back, and the agent to it; also an agent that knows of it by what it has kept alone.
    let asked = asked.start_again();
    assert_reached(&asked, &second, "two");
    agent.kill();
    agent.resume("n1", &[]);
    for server in [&asked, &other] {
        assert_reached(server, &second, "two");
    }
    other.backstay(&["delete", "ds", "agent"]).ok();
    wait_for("its pods are gone", || other.backstay(&["get", "pods", "-o", "name"]).stdout.is_empty().then_some(()));
}
