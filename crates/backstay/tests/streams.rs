//! Commands, logs, connections and copies, by every kubectl there is and by our own command line: over SPDY, as old ones
//! speak, and WebSocket.

#[path = "streams/agent.rs"]
mod agent;
mod support;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use agent::Agent;
use support::clients::{self, Kubectl};
use support::{Ran, Server, needs, program, wait_for};
use tempfile::TempDir;

const POD: &str = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"},"spec":{"tolerations":[{"operator":"Exists"}],
"terminationGracePeriodSeconds":1,"containers":[{"name":"main","image":"none","command":["/bin/sh","-c",
"echo begun; while read word; do echo got $word; done; exec sleep 100000"],"stdin":true,
"env":[{"name":"PATH","value":"/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"},{"name":"WHO","value":"container"}]},
{"name":"other","image":"none","command":["/bin/sleep","100000"]}]}}"#;

/// Enough to fill every buffer on the way.
const MANY: usize = 8_000_000;

/// A fleet of this machine, with a pod of two containers.
struct World {
    dir: TempDir,
    server: Server,
    /// An agent elsewhere; none: the node is in the server's process.
    agent: Option<Agent>,
}

impl World {
    fn start() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let server = Server::start(dir.path(), &["up", "--runtime", "process", "--node-name", "this"]);
        Self::with_pod(dir, server, None)
    }

    /// The node is reached through the connections that its agent opens, and these through a network that can be cut.
    fn remote() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let server = Server::start(dir.path(), &["server"]);
        let agent = Agent::start(&server, dir.path());
        Self::with_pod(dir, server, Some(agent))
    }

    fn with_pod(dir: TempDir, server: Server, agent: Option<Agent>) -> Self {
        let world = Self { dir, server, agent };
        let file = world.file("pod.json", POD.as_bytes());
        world.server.backstay(&["apply", "-f", &file]).ok();
        world.server.backstay(&["wait", "--for=condition=Ready", "pod/p", "--timeout=60s"]).ok();
        world
    }

    fn file(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.path(name);
        std::fs::write(&path, bytes).expect("written");
        path
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).into_os_string().into_string().expect("UTF-8")
    }

    /// Runs a client with this standard input.
    fn feed(&self, program: &Path, arguments: &[&str], input: Vec<u8>) -> (Option<i32>, Vec<u8>, String) {
        let mut command = self.client(program, arguments);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let mut stdin = child.stdin.take().expect("a pipe");
        // A program that reads no more of it may be right.
        let typing = thread::spawn(move || drop(stdin.write_all(&input)));
        let output = child.wait_with_output().expect("it ends");
        typing.join().expect("no panic");
        (output.status.code(), output.stdout, String::from_utf8_lossy(&output.stderr).into_owned())
    }

    fn run(&self, program: &Path, arguments: &[&str]) -> Ran {
        support::run(&mut self.client(program, arguments))
    }

    fn client(&self, program: &Path, arguments: &[&str]) -> Command {
        let mut command = self.server.client(program.to_str().expect("UTF-8"));
        command.args(arguments);
        command
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Pods outlive their server by design; a test must not leave them behind. They have time to end, so that the
        // object is there until its node has seen to it.
        let _ = self.server.backstay(&["delete", "pod", "p", "--timeout=60s"]);
    }
}

/// Every client: its name and its program. Of kubectl, those with which the way of speaking changed, and the newest.
fn programs() -> Vec<(String, std::path::PathBuf)> {
    let kubectls = clients::kubectls();
    if kubectls.is_empty() {
        clients::say("SKIPPED: no kubectl is installed; run `cargo xtask clients`");
    }
    let newest = kubectls.last().map(|kubectl| kubectl.minor);
    let chosen = |kubectl: &&Kubectl| [28, 30, 31].contains(&kubectl.minor) || Some(kubectl.minor) == newest;
    let kubectls = kubectls.iter().filter(chosen);
    let mut programs: Vec<_> =
        kubectls.map(|kubectl| (format!("kubectl 1.{}", kubectl.minor), kubectl.program.clone())).collect();
    programs.push(("backstay".into(), env!("CARGO_BIN_EXE_backstay").into()));
    programs
}

#[test]
fn clients_run_commands() {
    let world = World::start();
    for (name, program) in programs() {
        println!("{name}");
        assert_commands(&world, &name, &program);
    }
}

fn assert_commands(world: &World, name: &str, program: &Path) {
    let script = "echo $WHO; echo bad >&2; exit 7";
    let ran = world.run(program, &["exec", "p", "-c", "main", "--", "sh", "-c", script]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(7), "container\n"), "{name}");
    assert_eq!(ran.stderr, "bad\ncommand terminated with exit code 7\n", "{name}");
    let quiet = world.run(program, &["exec", "p", "-c", "main", "--", "true"]);
    assert_eq!(quiet, Ran { code: Some(0), stdout: String::new(), stderr: String::new() }, "{name}");
    let many: Vec<u8> = (0..MANY as u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let (code, got, errors) = world.feed(program, &["exec", "-i", "p", "-c", "main", "--", "cat"], many.clone());
    assert!(code == Some(0) && got == many, "{name}: {code:?}, {} bytes of {MANY}: {errors}", got.len());
    let refused = world.run(program, &["exec", "p", "-c", "none", "--", "true"]);
    assert!(refused.code == Some(1) && refused.stderr.contains("container none is not valid for pod p"), "{name}");
    assert_terminal(world, name, program);
}

/// On a terminal, as somebody who sits at one: `script` has a pseudo terminal.
fn assert_terminal(world: &World, name: &str, program: &Path) {
    if !needs::are_met("a command on a terminal", false, &[("script", "bsdutils")]) {
        return;
    }
    let inner = "test -t 0 && test -t 1 && echo on a $TERM terminal of $(stty size); exit 5";
    let line = format!("stty rows 31 cols 97; {} exec -it p -c main -- sh -c '{inner}'", program.display());
    let mut command = world.server.client("script");
    command.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
    let ran = support::run(&mut command);
    assert_eq!(ran.code, Some(5), "{name}: {ran:?}");
    assert!(ran.stdout.contains("on a xterm terminal of "), "{name}: {ran:?}");
}

#[test]
fn clients_attach_and_follow_logs() {
    let world = World::start();
    for (name, program) in programs() {
        println!("{name}");
        assert_attached(&world, &name, &program);
    }
}

fn assert_attached(world: &World, name: &str, program: &Path) {
    let word = name.replace(' ', "-");
    let expected = format!("got {word}\n");
    let mut following = world.client(program, &["logs", "-f", "p", "-c", "main"]);
    let mut following = following.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("it starts");
    let mut attached = world.client(program, &["attach", "-i", "p", "-c", "main"]);
    attached.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut attached = attached.spawn().expect("it starts");
    let mut stdin = attached.stdin.take().expect("a pipe");
    stdin.write_all(format!("{word}\n").as_bytes()).expect("it listens");
    for (what, child) in [("logs", &mut following), ("attach", &mut attached)] {
        let seen = read_until(child.stdout.as_mut().expect("a pipe"), &expected);
        assert!(seen.ends_with(&expected), "{name} {what}: {seen:?}");
        // It would go on for ever.
        let _ = child.kill();
        child.wait().expect("it ends");
    }
    let last = world.run(program, &["logs", "p", "-c", "main", "--tail=1"]).ok();
    assert_eq!(last, expected, "{name}");
}

fn read_until(from: &mut impl Read, end: &str) -> String {
    let (mut seen, mut byte) = (Vec::new(), [0]);
    while !seen.ends_with(end.as_bytes()) && from.read(&mut byte).expect("readable") > 0 {
        seen.push(byte[0]);
    }
    String::from_utf8(seen).expect("UTF-8")
}

#[test]
fn clients_forward_ports() {
    let world = World::start();
    let target = echo();
    for (name, program) in programs() {
        println!("{name}");
        assert_forwarded(&world, &name, &program, target);
    }
}

fn assert_forwarded(world: &World, name: &str, program: &Path, target: u16) {
    let mut forwarding = world.client(program, &["port-forward", "pod/p", &format!(":{target}")]);
    let mut child = forwarding.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("it starts");
    let mut stdout = child.stdout.take().expect("a pipe");
    let line = read_until(&mut stdout, "\n");
    let local = line.strip_prefix("Forwarding from 127.0.0.1:").and_then(|rest| rest.split(' ').next());
    let local: u16 = local.and_then(|port| port.parse().ok()).unwrap_or_else(|| panic!("{name}: {line:?}"));
    // Nobody reads on, and it must not wait for that.
    let rest = thread::spawn(move || drop(std::io::copy(&mut stdout, &mut std::io::sink())));
    let connections = (0..30_u8).map(|number| thread::spawn(move || round_trip(local, &[number; 200_000])));
    for connection in connections.collect::<Vec<_>>() {
        assert!(connection.join().expect("no panic"), "{name}");
    }
    // The target closes; the next connection is a new one.
    assert!(round_trip(local, b"close"), "{name}");
    assert!(round_trip(local, b"again"), "{name}");
    let _ = child.kill();
    child.wait().expect("it ends");
    rest.join().expect("no panic");
}

/// Sends back what comes, and closes right after `close`. Returns its port.
fn echo() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            thread::spawn(move || {
                let (mut from, mut to) = (&client, &client);
                let mut buffer = [0; 65_536];
                while let Ok(count @ 1..) = from.read(&mut buffer) {
                    if to.write_all(&buffer[..count]).is_err() || buffer.starts_with(b"close") {
                        break;
                    }
                }
            });
        }
    });
    port
}

/// Whether what is sent comes back, and the end after it. `close` ends the connection from the other side.
fn round_trip(port: u16, sent: &[u8]) -> bool {
    let mut connection = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
    connection.set_read_timeout(Some(support::PATIENCE)).expect("a limit");
    let mut writer = connection.try_clone().expect("a copy");
    let bytes = sent.to_vec();
    let writing = thread::spawn(move || {
        let _ = writer.write_all(&bytes);
        if !bytes.starts_with(b"close") {
            let _ = writer.shutdown(std::net::Shutdown::Write);
        }
    });
    let mut got = Vec::new();
    let read = connection.read_to_end(&mut got);
    writing.join().expect("no panic");
    read.is_ok() && got == sent
}

#[test]
fn kubectl_copies_files() {
    if !needs::are_met("kubectl_copies_files", false, &[("tar", "tar")]) {
        return;
    }
    let world = World::start();
    let many: Vec<u8> = (0..MANY as u32).map(|number| (number.wrapping_mul(2_246_822_519) >> 24) as u8).collect();
    let original = world.file("original", &many);
    for (name, program) in programs().into_iter().filter(|(name, _)| name != "backstay") {
        println!("{name}");
        let (there, back) = (world.path("there"), world.path("back"));
        world.run(&program, &["cp", "-c", "main", &original, &format!("p:{there}")]).ok();
        assert!(std::fs::read(&there).expect("copied") == many, "{name}");
        world.run(&program, &["cp", "-c", "main", &format!("p:{there}"), &back]).ok();
        assert!(std::fs::read(&back).expect("copied") == many, "{name}");
        std::fs::remove_file(there).expect("removed");
        std::fs::remove_file(back).expect("removed");
    }
}

#[test]
fn the_python_client_does_as_kubectl() {
    let python = clients::folder().join("python/bin/python3");
    assert!(python.exists() || !clients::is_required("python"), "not there: {}", python.display());
    if !python.exists() {
        return clients::say("SKIPPED: the client for python is not installed; run `cargo xtask clients`");
    }
    let world = World::start();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/python/streams.py");
    let mut program = world.client(&python, &["-B"]);
    program.arg(source).args(["p", "main", &echo().to_string()]);
    let passed = program::play(&mut program, |word| panic!("the program asks for {word:?}"));
    assert!(passed.len() >= 7, "{passed:?}");
}

/// The same through a tunnel; and what becomes of it when the network breaks.
#[test]
fn a_node_behind_its_tunnel_is_like_any_other() {
    let world = World::remote();
    let target = echo();
    let all = programs();
    let (first, last) = (all.first(), all.len().checked_sub(2).and_then(|index| all.get(index)));
    for (name, program) in [first, last].into_iter().flatten() {
        println!("{name}");
        assert_commands(&world, name, program);
        assert_attached(&world, name, program);
        assert_forwarded(&world, name, program, target);
    }
    let network = &world.agent.as_ref().expect("an agent").network;
    let exec = || world.server.backstay(&["exec", "p", "-c", "main", "--", "echo", "there"]);
    network.refuse(true);
    network.cut();
    wait_for("the loss", || exec().stderr.contains("node \"far\" cannot be reached").then_some(()));
    network.refuse(false);
    wait_for("a new tunnel", || (exec().code == Some(0)).then_some(()));
    assert_eq!(exec().ok(), "there\n");
}

#[test]
fn what_cannot_be_reached_says_why() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path(), &["up", "--runtime", "none", "--simulated-nodes", "1"]);
    let pod = |name: &str, node: &str| {
        POD.replace("\"name\":\"p\"", &format!("\"name\":\"{name}\""))
            .replace("\"tolerations\"", &format!("\"nodeName\":\"{node}\",\"tolerations\""))
    };
    for (name, node) in [("far", "elsewhere"), ("sim", "sim-00000")] {
        let file = dir.path().join("pod.json");
        std::fs::write(&file, pod(name, node)).expect("written");
        server.backstay(&["apply", "-f", file.to_str().expect("UTF-8")]).ok();
    }
    wait_for("the simulated pod", || {
        let phase = server.backstay(&["get", "pod", "sim", "-o", "jsonpath={.status.phase}"]).ok();
        (phase == "Running").then_some(())
    });
    let fails = |arguments: &[&str]| server.backstay(arguments).fails();
    assert_eq!(
        fails(&["exec", "far", "-c", "main", "--", "true"]),
        "Error from server (InternalError): Internal error occurred: error dialing backend: node \"elsewhere\" cannot be \
         reached: its agent is not connected to this server\n"
    );
    assert!(fails(&["logs", "far", "-c", "main"]).contains("node \"elsewhere\" cannot be reached"));
    assert!(fails(&["exec", "sim", "-c", "main", "--", "true"]).contains("node \"sim-00000\" is simulated"));
    assert_eq!(fails(&["exec", "sim"]), "error: you must specify at least one command for the container\n");
}
