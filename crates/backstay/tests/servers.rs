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
use support::proxy::Proxy;
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
    for program in support::programs() {
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

/// Two servers, each with a link of its own to one etcd, and an agent that has joined with what one of them has printed.
struct World {
    etcd: Etcd,
    links: Vec<Proxy>,
    servers: Vec<Server>,
    agent: Agent,
    dir: tempfile::TempDir,
}

impl World {
    /// The DaemonSet's pod runs there, in version `one`, and is reached through both servers.
    fn start(test: &str) -> Option<(Self, String)> {
        let (etcd, dir) = (Etcd::start(test)?, tempfile::tempdir().unwrap());
        let target = etcd.endpoint().trim_start_matches("http://").parse().unwrap();
        let links: Vec<Proxy> = (0..2).map(|_| Proxy::to(target)).collect();
        let servers = links.iter().enumerate().map(|(number, link)| {
            let endpoint = format!("http://{}", link.address());
            Server::over_etcd(&endpoint, &dir.path().join(number.to_string()), &[])
        });
        let servers: Vec<Server> = servers.collect();
        // Each knows of the other, and so does whoever makes a token.
        let join = joining(&servers[1], &[]);
        let both = servers.iter().map(|server| server.url.as_str()).collect();
        assert_eq!(join[1].split(',').collect::<BTreeSet<_>>(), both);
        let agent = Agent::start("n1", &words(&join));
        wait_node(&servers[1], "n1", "True");
        let manifest = dir.path().join("agent.yaml");
        std::fs::write(&manifest, MANIFEST).unwrap();
        servers[0].backstay(&["apply", "-f", manifest.to_str().unwrap()]).ok();
        let pod = pod(&servers[0], "one");
        for server in &servers {
            assert_reached(server, &pod, "one");
        }
        Some((Self { etcd, links, servers, agent, dir }, pod))
    }

    /// The servers that the agent asks, and does not, by what it has told its first pod; and their links.
    fn asked_and_other(&mut self, pod: &str) -> [(Server, Proxy); 2] {
        let port = self.servers[0].backstay(&["exec", pod, "--", "sh", "-c", "echo $KUBERNETES_SERVICE_PORT"]).ok();
        let both: Vec<(Server, Proxy)> = self.servers.drain(..).zip(self.links.drain(..)).collect();
        let mut both: [_; 2] = both.try_into().unwrap_or_else(|_| panic!("there are two"));
        if !both[0].0.url.ends_with(&format!(":{}", port.trim())) {
            both.reverse();
        }
        both
    }
}

fn kept(agent: &Agent) -> String {
    std::fs::read_to_string(agent.dir.path().join("agent.kubeconfig")).unwrap()
}

/// The agent asks this server now: its lease is renewed and a change arrives, and it has never been given up.
fn assert_goes_on(server: &Server, (since, renewed): &(String, String), version: &str) -> String {
    wait_for("its lease is renewed through this server", || (renewed_at(server) != *renewed).then_some(()));
    server.backstay(&["set", "env", "ds/agent", &format!("VERSION={version}")]).ok();
    server.backstay(&["rollout", "status", "ds/agent", "--timeout", "120s"]).ok();
    let pod = pod(server, version);
    assert_reached(server, &pod, version);
    assert_eq!(ready_since(server), *since, "it was ready all the time");
    pod
}

fn end(server: &Server) {
    server.backstay(&["delete", "ds", "agent"]).ok();
    wait_for("its pods are gone", || server.backstay(&["get", "pods", "-o", "name"]).stdout.is_empty().then_some(()));
}

#[test]
fn an_agent_outlives_a_server() {
    let Some((mut world, pod)) = World::start("an_agent_outlives_a_server") else { return };
    let [(mut asked, _link), (other, _other_link)] = world.asked_and_other(&pod);
    let mut talk = Conversation::begin(&other, &pod);
    let before = (ready_since(&other), renewed_at(&other));
    asked.stop("KILL");
    talk.say("second");
    let pod = assert_goes_on(&other, &before, "two");

    // It comes back, and the agent to it; also an agent that knows of it by what it has kept alone.
    let asked = asked.start_again();
    assert_reached(&asked, &pod, "two");
    world.agent.kill();
    world.agent.resume("n1", &[]);
    for server in [&asked, &other] {
        assert_reached(server, &pod, "two");
    }
    end(&other);
}

/// It takes connections, and says nothing.
#[test]
fn a_server_that_falls_silent_is_left() {
    let Some((mut world, pod)) = World::start("a_server_that_falls_silent_is_left") else { return };
    let [(asked, _link), (other, _other_link)] = world.asked_and_other(&pod);
    let before = (ready_since(&other), renewed_at(&other));
    asked.signal("STOP");
    let pod = assert_goes_on(&other, &before, "two");
    asked.signal("CONT");
    assert_reached(&asked, &pod, "two");
    end(&other);
}

/// It answers, but knows of nothing any more.
#[test]
fn a_server_that_is_cut_off_from_the_state_is_left() {
    let Some((mut world, pod)) = World::start("a_server_that_is_cut_off_from_the_state_is_left") else { return };
    let [(asked, link), (other, _other_link)] = world.asked_and_other(&pod);
    let before = (ready_since(&other), renewed_at(&other));
    link.refuse(true);
    link.cut();
    let pod = assert_goes_on(&other, &before, "two");
    link.refuse(false);
    assert_reached(&asked, &pod, "two");
    end(&other);
}

#[test]
fn a_server_that_comes_later_is_followed() {
    let Some((world, pod)) = World::start("a_server_that_comes_later_is_followed") else { return };
    let later = Server::over_etcd(&world.etcd.endpoint(), &world.dir.path().join("later"), &[]);
    assert_reached(&later, &pod, "one");
    assert!(kept(&world.agent).contains(&later.url));
    // It goes for good, and is forgotten.
    let url = later.url.clone();
    drop(later);
    let [one, two] = [&world.servers[0], &world.servers[1]];
    let selector = "apiserver.kubernetes.io/identity=kube-apiserver";
    let leases = ["get", "leases", "-n", "kube-system", "-l", selector, "-o", "json"];
    let leases: Value = serde_json::from_str(&one.backstay(&leases).ok()).unwrap();
    let leases = leases["items"].as_array().unwrap();
    let is_its = |lease: &&Value| lease["metadata"]["annotations"]["servers.backstay.dev/url"] == url;
    assert_eq!((leases.len(), leases.iter().filter(is_its).count()), (3, 1), "{leases:#?}");
    let name = leases.iter().find(is_its).unwrap()["metadata"]["name"].as_str().unwrap();
    two.backstay(&["delete", "lease", name, "-n", "kube-system"]).ok();
    wait_for("the agent forgets it", || (!kept(&world.agent).contains(&url)).then_some(()));
    end(one);
}

/// The node of a server's own machine, which has no agent of its own.
#[test]
fn the_node_of_a_server_is_reached_through_another() {
    let Some(etcd) = Etcd::start("the_node_of_a_server_is_reached_through_another") else { return };
    let dir = tempfile::tempdir().unwrap();
    let other = Server::over_etcd(&etcd.endpoint(), &dir.path().join("other"), &[]);
    let up = ["up", "--runtime", "process", "--node-name", "n1", "--store", "etcd", "--etcd-endpoints"];
    let own = Server::start(&dir.path().join("own"), &[&up[..], &[&etcd.endpoint()]].concat());
    wait_node(&other, "n1", "True");
    let manifest = dir.path().join("agent.yaml");
    std::fs::write(&manifest, MANIFEST).unwrap();
    other.backstay(&["apply", "-f", manifest.to_str().unwrap()]).ok();
    let pod = pod(&other, "one");
    for server in [&own, &other] {
        assert_reached(server, &pod, "one");
    }
    end(&other);
}
