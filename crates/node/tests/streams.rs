//! Commands, logs and connections on a node that is reached through its tunnel alone: real processes, a real server, and
//! a network between them that breaks.

mod support;

use std::sync::Arc;
use std::time::Duration;

use backstay_apiserver::PodAccess as _;
use backstay_node::process::{ProcessRuntime, ShimCommand};
use backstay_node::runtime::{ContainerKey, PodIdentity, Runtime, Runtimes, SandboxRequest, StartRequest};
use backstay_node::streams::{NodeStreams, tunnel};
use backstay_streams::events::{self, Event, Output};
use backstay_streams::{
    AttachRequest, ExecRequest, LogRequest, PortForwardRequest, Session, StreamError, StreamRequest, Target,
    TerminalSize,
};
use support::Server;
use support::network::Network;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

const NODE: &str = "n1";

/// A node with a pod, behind a network.
struct World {
    server: Server,
    network: Network,
    dir: TempDir,
    runtime: Arc<ProcessRuntime>,
    tunnel: JoinHandle<()>,
}

impl World {
    async fn start() -> Self {
        let server = Server::start().await;
        let network = Network::before(&server).await;
        let client = network.client(&server, "system:node:n1", &["system:nodes"]).await;
        let dir = tempfile::tempdir().unwrap();
        let shim = ShimCommand(vec![env!("CARGO_BIN_EXE_node-shim").into()]);
        let runtime = Arc::new(ProcessRuntime::new(dir.path().join("pods"), shim, server.clock.clone()).unwrap());
        let streams = NodeStreams::new(Runtimes::new(runtime.clone()), dir.path().join("pods"));
        let entropy = server.entropy.clone();
        let tunnel = tokio::spawn(async move { tunnel::run(client.into(), NODE, streams, entropy).await });
        let world = Self { server, network, dir, runtime, tunnel };
        world.wait_for_tunnel(true).await;
        world
    }

    async fn wait_for_tunnel(&self, open: bool) {
        wait_until("the tunnel", || self.server.tunnels.is_connected(NODE) == open).await;
    }

    async fn run(&self, script: &str, change: impl FnOnce(&mut StartRequest)) {
        let pod = PodIdentity { namespace: "default".into(), name: "p".into(), uid: "u".into() };
        self.runtime.prepare(&SandboxRequest { pod, ..SandboxRequest::default() }).await.unwrap();
        let mut request = StartRequest {
            command: ["sh", "-c", script].map(String::from).into(),
            env: vec![("PATH".into(), std::env::var("PATH").unwrap()), ("WHO".into(), "container".into())],
            log: self.dir.path().join("pods/u/logs/main/0.log"),
            ..StartRequest::default()
        };
        change(&mut request);
        let key = ContainerKey { pod_uid: "u".into(), name: "main".into(), attempt: 0 };
        self.runtime.start(&key, request).await.unwrap();
    }

    async fn open(&self, request: StreamRequest) -> Result<Session, StreamError> {
        self.server.tunnels.open(NODE, request).await
    }

    async fn exec(&self, script: &str, change: impl FnOnce(&mut ExecRequest)) -> Result<Session, StreamError> {
        let mut request = ExecRequest {
            command: ["sh", "-c", script].map(String::from).into(),
            stdout: true,
            stderr: true,
            ..ExecRequest::default()
        };
        change(&mut request);
        self.open(StreamRequest::Exec { target: target(), request }).await
    }

    /// The loss of the old tunnel may not have been noticed yet.
    async fn exec_at_last(&self, script: &str) -> Session {
        for _ in 0..600 {
            if let Ok(session) = self.exec(script, |_| {}).await {
                return session;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("no command can be run any more");
    }

    async fn attach(&self, request: AttachRequest) -> Session {
        self.open(StreamRequest::Attach { target: target(), request }).await.unwrap()
    }

    async fn end(self) {
        self.tunnel.abort();
        self.runtime.remove("u").await.unwrap();
    }
}

fn target() -> Target {
    Target { namespace: "default".into(), pod: "p".into(), uid: "u".into(), container: "main".into() }
}

async fn wait_until(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..3000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("waited in vain for {what}");
}

/// All that comes out of a session: outputs, errors, and how it ended.
async fn all(session: Session) -> (Vec<u8>, String, Result<i32, StreamError>) {
    let (_inputs, mut events) = events::split(session);
    let (mut out, mut err) = (Vec::new(), Vec::new());
    loop {
        match events.next().await.expect("an exit comes last") {
            Event::Data(Output::Stdout, bytes) => out.extend_from_slice(&bytes),
            Event::Data(Output::Stderr, bytes) => err.extend_from_slice(&bytes),
            Event::End(_) => {}
            Event::Exit(exit) => return (out, String::from_utf8(err).unwrap(), exit),
        }
    }
}

fn texts(all: (Vec<u8>, String, Result<i32, StreamError>)) -> (String, String, Result<i32, StreamError>) {
    (String::from_utf8(all.0).unwrap(), all.1, all.2)
}

fn row(out: &str, err: &str, code: i32) -> (String, String, Result<i32, StreamError>) {
    (out.into(), err.into(), Ok(code))
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_run_beside_the_container() {
    let world = World::start().await;
    world.run("sleep 1000", |_| {}).await;
    for (script, expected) in [
        ("echo $WHO; echo bad >&2; exit 7", row("container\n", "bad\n", 7)),
        ("kill -9 $$", row("", "", 137)),
        // It does not wait for what it leaves behind.
        ("sleep 1000 & echo left", row("left\n", "", 0)),
    ] {
        let session = world.exec(script, |_| {}).await.unwrap();
        assert_eq!(texts(all(session).await), expected, "{script}");
    }
    for (program, message, code) in [
        ("/no/such", "exec: \"/no/such\": stat /no/such: no such file or directory\n", 127),
        ("none", "exec: \"none\": executable file not found in $PATH\n", 127),
        ("/", "exec: \"/\": Permission denied (os error 13)\n", 126),
    ] {
        let session = world.exec("", |request| request.command = vec![program.into()]).await.unwrap();
        assert_eq!(texts(all(session).await), row("", message, code));
    }
    // What is not asked for is not sent.
    let session = world.exec("echo a; echo b >&2", |request| request.stdout = false).await.unwrap();
    assert!(session.stdout.is_none() && session.stdin.is_none());
    assert_eq!(texts(all(session).await), row("", "b\n", 0));
    let missing = Target { container: "other".into(), ..target() };
    let request = ExecRequest { command: vec!["true".into()], stdout: true, ..ExecRequest::default() };
    let refused = world.open(StreamRequest::Exec { target: missing, request }).await.err().unwrap();
    assert_eq!(refused.message, "container not found (\"other\")");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_bytes_go_both_ways() {
    let world = World::start().await;
    world.run("sleep 1000", |_| {}).await;
    let sent: Vec<u8> = (0..20_000_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut session = world.exec("cat", |request| request.stdin = true).await.unwrap();
    let mut stdin = session.stdin.take().unwrap();
    let typing = {
        let sent = sent.clone();
        tokio::spawn(async move {
            stdin.write_all(&sent).await.unwrap();
            stdin.shutdown().await.unwrap();
        })
    };
    let (got, _, exit) = all(session).await;
    typing.await.unwrap();
    assert!(got == sent, "{} of {} bytes came back, or others", got.len(), sent.len());
    assert_eq!(exit, Ok(0));
    world.end().await;
}

/// A reader that is slow holds up its own command, and nobody else.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_nobody_reads_stops_no_other() {
    let world = World::start().await;
    world.run("sleep 1000", |_| {}).await;
    let mut stuck = Vec::new();
    for _ in 0..30 {
        stuck.push(world.exec("head -c 10000000 /dev/zero", |_| {}).await.unwrap());
    }
    let session = world.exec("echo there", |_| {}).await.unwrap();
    assert_eq!(texts(all(session).await), row("there\n", "", 0));
    for session in stuck.into_iter().take(2) {
        assert_eq!(all(session).await.0.len(), 10_000_000);
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn terminals_have_a_size() {
    let world = World::start().await;
    world.run("sleep 1000", |_| {}).await;
    let script = "test -t 0 && test -t 1 && echo terminal; read word; stty size; echo \"$word\" >&2; exit 4";
    let mut session =
        world.exec(script, |request| (request.tty, request.stdin, request.stderr) = (true, true, false)).await.unwrap();
    session.resize.as_ref().unwrap().send(TerminalSize { width: 77, height: 33 }).await.unwrap();
    // The size is there before the word is.
    let mut stdin = session.stdin.take().unwrap();
    stdin.write_all(b"w\xc3\xb6rd\n").await.unwrap();
    let (out, err, exit) = texts(all(session).await);
    let lines: Vec<&str> = out.lines().collect();
    assert!(lines.contains(&"terminal") && lines.contains(&"33 77"), "{out:?}");
    assert_eq!(lines.last(), Some(&"wörd"));
    assert_eq!((err.as_str(), exit), ("", Ok(4)));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_ends_with_its_session() {
    let world = World::start().await;
    world.run("sleep 1000", |_| {}).await;
    for tty in [false, true] {
        let script = "echo $$; trap '' HUP; while true; do sleep 1; done";
        let mut session = world.exec(script, |request| (request.tty, request.stderr) = (tty, !tty)).await.unwrap();
        let pid = read_pid(&mut session).await;
        drop(session);
        wait_until("the command to end", || !is_there(pid)).await;
    }
    world.end().await;
}

/// What `echo $$` has printed.
async fn read_pid(session: &mut Session) -> i32 {
    let mut line = [0; 32];
    let count = session.stdout.as_mut().unwrap().read(&mut line).await.unwrap();
    std::str::from_utf8(&line[..count]).unwrap().trim().parse().unwrap()
}

/// A process that has ended, and is only waited for, has no directory any more.
fn is_there(pid: i32) -> bool {
    std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_ends_with_its_container() {
    let world = World::start().await;
    world.run("sleep 1000", |_| {}).await;
    let session = world.exec("trap '' TERM; while true; do sleep 1; done", |_| {}).await.unwrap();
    let key = ContainerKey { pod_uid: "u".into(), name: "main".into(), attempt: 0 };
    world.runtime.stop(&key, Duration::ZERO).await.unwrap();
    assert_eq!(texts(all(session).await), row("", "", 137));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_reads_on_for_who_has_left() {
    let world = World::start().await;
    world.run("echo line; sleep 1000", |_| {}).await;
    let log = world.dir.path().canonicalize().unwrap().join("pods/u/logs/main/0.log");
    let is_open = || {
        let descriptors = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
        descriptors.filter_map(|entry| entry.path().read_link().ok()).any(|target| target == log)
    };
    let request = LogRequest { target: target(), follow: true, ..LogRequest::default() };
    let mut session = world.open(StreamRequest::Logs(request)).await.unwrap();
    let mut line = [0; 5];
    session.stdout.as_mut().unwrap().read_exact(&mut line).await.unwrap();
    assert!(is_open());
    drop(session);
    wait_until("the log to be closed", || !is_open()).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_are_followed_to_the_end() {
    let world = World::start().await;
    world.run("echo one; echo two >&2; read word; echo three", |request| request.stdin = true).await;
    let request = LogRequest { target: target(), follow: true, ..LogRequest::default() };
    let session = world.open(StreamRequest::Logs(request)).await.unwrap();
    let following = tokio::spawn(all(session));
    let request = AttachRequest { stdin: true, ..AttachRequest::default() };
    let mut attached = world.attach(request).await;
    attached.stdin.take().unwrap().write_all(b"go\n").await.unwrap();
    let (out, _, exit) = texts(following.await.unwrap());
    let mut lines: Vec<&str> = out.lines().collect();
    // Two streams have no common order.
    lines[..2].sort_unstable();
    assert_eq!((lines, exit), (vec!["one", "two", "three"], Ok(0)));
    let request = LogRequest { target: target(), tail_lines: Some(1), ..LogRequest::default() };
    let session = world.open(StreamRequest::Logs(request)).await.unwrap();
    assert_eq!(texts(all(session).await), row("three\n", "", 0));
    let request = LogRequest { target: target(), previous: true, ..LogRequest::default() };
    let refused = world.open(StreamRequest::Logs(request)).await.err().unwrap();
    assert_eq!(refused.message, "previous terminated container \"main\" in pod \"p\" not found");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attached_clients_see_and_type() {
    let world = World::start().await;
    let script = "while read word; do echo got $word; done; echo over >&2";
    world.run(script, |request| (request.stdin, request.stdin_once) = (true, true)).await;
    let request = AttachRequest { stdin: true, stdout: true, stderr: true, tty: false };
    let watching = world.attach(AttachRequest { stdin: false, ..request.clone() }).await;
    let watching = tokio::spawn(all(watching));
    let mut session = world.attach(request).await;
    let mut stdin = session.stdin.take().unwrap();
    stdin.write_all(b"a\nb\n").await.unwrap();
    stdin.shutdown().await.unwrap();
    // Standard input was for one client only, and its end is that of the container.
    assert_eq!(texts(all(session).await), row("got a\ngot b\n", "over\n", 0));
    assert_eq!(texts(watching.await.unwrap()), row("got a\ngot b\n", "over\n", 0));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_may_have_a_terminal() {
    let world = World::start().await;
    let script = "read word; stty size; echo \"$word\"; exec sleep 1000";
    world.run(script, |request| (request.stdin, request.tty) = (true, true)).await;
    let request = AttachRequest { stdin: true, stdout: true, stderr: false, tty: true };
    let mut session = world.attach(request).await;
    session.resize.as_ref().unwrap().send(TerminalSize { width: 91, height: 19 }).await.unwrap();
    session.stdin.as_mut().unwrap().write_all(b"hello\n").await.unwrap();
    let (mut out, mut stdout) = (Vec::new(), session.stdout.take().unwrap());
    while !String::from_utf8_lossy(&out).contains("19 91\r\nhello\r\n") {
        assert_ne!(stdout.read_buf(&mut out).await.unwrap(), 0, "{:?}", String::from_utf8_lossy(&out));
    }
    drop((session.stdin.take(), stdout, session));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ports_are_reached() {
    let world = World::start().await;
    world.run("sleep 1000", |_| {}).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut reader, mut writer) = client.split();
                let _ = tokio::io::copy(&mut reader, &mut writer).await;
            });
        }
    });
    let request = |port| PortForwardRequest { namespace: "default".into(), pod: "p".into(), uid: "u".into(), port };
    let world = Arc::new(world);
    let connections = (0..50_u8).map(|number| {
        let world = world.clone();
        async move {
            let mut session = world.open(StreamRequest::PortForward(request(port))).await.unwrap();
            let mut target = session.stdin.take().unwrap();
            target.write_all(&[number; 100_000]).await.unwrap();
            target.shutdown().await.unwrap();
            let (got, _, exit) = all(session).await;
            assert!(got == [number; 100_000]);
            assert_eq!(exit, Ok(0));
        }
    });
    futures::future::join_all(connections).await;
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let refused = world.open(StreamRequest::PortForward(request(free))).await.err().unwrap();
    assert!(refused.message.starts_with(&format!("cannot connect to 127.0.0.1:{free}: ")), "{refused}");
    Arc::into_inner(world).unwrap().end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_that_is_cut_is_opened_again() {
    let world = World::start().await;
    world.run("sleep 1000", |_| {}).await;
    let mut waiting = world.exec("echo $$; while true; do sleep 1; done", |_| {}).await.unwrap();
    let pid = read_pid(&mut waiting).await;
    world.network.cut();
    let (_, _, lost) = all(waiting).await;
    assert!(lost.unwrap_err().message.starts_with("lost the connection to the node: "));
    // Nobody will ever hear of what it does.
    wait_until("the command to end", || !is_there(pid)).await;
    world.wait_for_tunnel(true).await;
    assert_eq!(texts(all(world.exec_at_last("echo again").await).await), row("again\n", "", 0));
    world.end().await;
}

/// Twenty seconds of silence on a connection that nobody has closed.
#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_swallows_everything_is_noticed() {
    let world = World::start().await;
    world.run("sleep 1000", |_| {}).await;
    let waiting = world.exec("sleep 1000", |_| {}).await.unwrap();
    world.network.fog();
    assert!(all(waiting).await.2.is_err());
    wait_until("a new tunnel", || world.server.tunnels.is_connected(NODE)).await;
    assert_eq!(texts(all(world.exec_at_last("echo again").await).await), row("again\n", "", 0));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_is_opened_by_its_node_alone() {
    let server = Server::start().await;
    let network = Network::before(&server).await;
    for (user, groups, code) in [
        ("system:node:n2", &["system:nodes"][..], 403),
        ("system:node:n1", &["other"], 403),
        ("admin", &["system:masters"], 403),
        ("system:node:n1", &["system:nodes"], 400),
    ] {
        let client = network.client(&server, user, groups).await;
        let request = http::Request::get("/backstay/v1/nodes/n1/tunnel").body(Vec::new()).unwrap();
        let error = client.request::<serde_json::Value>(request).await.unwrap_err();
        assert!(matches!(&error, kube::Error::Api(status) if status.code == code), "{user}: {error:?}");
    }
    let request = LogRequest { target: target(), ..LogRequest::default() };
    let lost = server.tunnels.open(NODE, StreamRequest::Logs(request)).await.err().unwrap();
    assert_eq!(lost.message, "node \"n1\" cannot be reached: its agent is not connected to this server");
}
