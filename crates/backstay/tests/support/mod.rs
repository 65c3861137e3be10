//! A real server in a process of its own, and real clients to talk to it. Everything ends with its guard.

// Each test binary uses its own part of this module.
#![allow(dead_code)]

pub mod clients;
pub mod hosts;
pub mod joined;
pub mod kubelet;
pub mod needs;
pub mod program;
pub mod proxy;
pub mod traces;
pub mod world;

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// The longest that anything a test waits for may take; a limit against hanging, never a measure.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The binary under test.
pub fn backstay() -> Command {
    Command::new(env!("CARGO_BIN_EXE_backstay"))
}

/// A running `backstay up` or `backstay server`, killed when dropped.
pub struct Server {
    child: Child,
    pub url: String,
    pub kubeconfig: PathBuf,
    pub data_dir: PathBuf,
    arguments: Vec<String>,
}

impl Server {
    /// Starts `backstay ARGUMENTS --data-dir DIR/state --listen 127.0.0.1:0` and waits for its ready line.
    pub fn start(dir: &Path, arguments: &[&str]) -> Self {
        let arguments: Vec<String> = arguments.iter().map(|argument| argument.to_string()).collect();
        Self::launch(dir.join("state"), "127.0.0.1:0", arguments)
    }

    /// `backstay server`, one of any number over an etcd.
    pub fn over_etcd(endpoint: &str, dir: &Path, arguments: &[&str]) -> Self {
        // It listens before it is ready; the server does not wait for that.
        wait_for("etcd answers", || {
            let asked = run(Command::new("curl").args(["-s", "-m", "5", &format!("{endpoint}/health")]));
            asked.stdout.contains("true").then_some(())
        });
        let etcd = ["server", "--store", "etcd", "--etcd-endpoints", endpoint];
        Self::start(dir, &[&etcd, arguments].concat())
    }

    fn launch(data_dir: PathBuf, listen: &str, arguments: Vec<String>) -> Self {
        let mut command = backstay();
        command.args(&arguments).args(["--listen", listen]).arg("--data-dir").arg(&data_dir);
        command.env("BACKSTAY_LOG", std::env::var("BACKSTAY_LOG").unwrap_or("warn".into()));
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("the server starts");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut line = String::new();
        lines.read_line(&mut line).expect("a line");
        let words: Vec<&str> = line.split_whitespace().collect();
        let ["backstay:", "ready", url, kubeconfig] = words[..] else {
            let status = child.wait();
            panic!("not a ready line: {line:?} ({status:?})");
        };
        let kubeconfig = kubeconfig.strip_prefix("kubeconfig=").expect("kubeconfig=FILE").into();
        child.stdout = Some(lines.into_inner());
        Self { child, url: url.to_string(), kubeconfig, data_dir, arguments }
    }

    /// Starts again with the same data, at the same address (clients keep their kubeconfig).
    pub fn start_again(mut self) -> Self {
        let (data_dir, arguments) = (self.data_dir.clone(), std::mem::take(&mut self.arguments));
        let listen = self.url.trim_start_matches("https://").to_string();
        drop(self);
        Self::launch(data_dir, &listen, arguments)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal, as `kill` names it.
    pub fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args(["-s", signal, &self.child.id().to_string()]).status();
        assert!(sent.expect("kill runs").success());
    }

    /// Sends a signal and waits for the end. Returns how it ended, and what it still printed.
    pub fn stop(&mut self, signal: &str) -> (ExitStatus, String) {
        self.signal(signal);
        let mut rest = String::new();
        if let Some(mut stdout) = self.child.stdout.take() {
            stdout.read_to_string(&mut rest).expect("text");
        }
        (self.child.wait().expect("the server ends"), rest)
    }

    /// A client program with the admin kubeconfig and a home of its own.
    pub fn client(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("KUBECONFIG", &self.kubeconfig).env("HOME", &self.data_dir).env_remove("NO_COLOR");
        command
    }

    pub fn kubectl(&self, arguments: &[&str]) -> Ran {
        run(self.client(kubectl()).args(arguments))
    }

    pub fn backstay(&self, arguments: &[&str]) -> Ran {
        run(self.client(env!("CARGO_BIN_EXE_backstay")).args(arguments))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Killing one that has ended already is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The newest kubectl there is.
pub fn kubectl() -> &'static str {
    static NEWEST: OnceLock<String> = OnceLock::new();
    NEWEST.get_or_init(|| {
        let newest = clients::kubectls().pop().expect("no kubectl is installed; run `cargo xtask clients`");
        newest.program.into_os_string().into_string().expect("UTF-8")
    })
}

/// The newest kubectl, for what can do without one; that there is none is said.
pub fn kubectl_if_any() -> Option<&'static str> {
    if clients::kubectls().is_empty() {
        clients::say("SKIPPED: no kubectl is installed; run `cargo xtask clients`");
        return None;
    }
    Some(kubectl())
}

/// Every client: kubectl if there is one, and our own.
pub fn programs() -> Vec<&'static str> {
    kubectl_if_any().into_iter().chain([env!("CARGO_BIN_EXE_backstay")]).collect()
}

/// What a command printed and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// The output of a command that must have succeeded.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.stdout
    }

    /// The errors of a command that must have failed with code 1.
    #[track_caller]
    pub fn fails(self) -> String {
        assert_eq!(self.code, Some(1), "{self:?}");
        self.stderr
    }
}

pub fn run(command: &mut Command) -> Ran {
    let Output { status, stdout, stderr } = command.stdin(Stdio::null()).output().expect("the program runs");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    Ran { code: status.code(), stdout: text(stdout), stderr: text(stderr) }
}

/// Waits until the node's `Ready` is this.
#[track_caller]
pub fn wait_node(server: &Server, node: &str, ready: &str) {
    wait_for(&format!("{node} is ready: {ready}"), || {
        let path = "jsonpath={.status.conditions[?(@.type==\"Ready\")].status}";
        (server.backstay(&["get", "node", node, "-o", path]).stdout == ready).then_some(())
    });
}

/// Waits until `found` has something, and returns it.
#[track_caller]
pub fn wait_for<T>(what: &str, found: impl FnMut() -> Option<T>) -> T {
    match waits_for(found) {
        Some(value) => value,
        None => panic!("waited in vain for {what}"),
    }
}

/// As [`wait_for`], for callers that have more to say if it is in vain.
pub fn waits_for<T>(mut found: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = found() {
            return Some(value);
        }
        if Instant::now() >= deadline {
            return None;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The folder of recordings that the project is compared with, where it is available.
pub fn shared() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("the workspace");
    let shared = std::env::var_os("BACKSTAY_SHARED").map(PathBuf::from).unwrap_or_else(|| root.join("../shared"));
    if shared.join("data/golden/probe.py").is_file() {
        return Some(shared);
    }
    eprintln!("SKIPPED: no recordings at {} (set BACKSTAY_SHARED): nothing was compared", shared.display());
    None
}
