//! Several machines on one: network namespaces that hang on a switch, whose links can be cut.
//!
//! ```text
//! namespace bsPID-N-sw: bridge br0 ── v1 ── eth0 10.99.0.1/24 in bsPID-N-h1
//!                                  └─ v2 ── eth0 10.99.0.2/24 in bsPID-N-h2 ...
//! ```
//! They share file system and processes with everybody; nothing of it is seen outside. All of it ends with its guard.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use super::{Ran, run};

/// What tests with hosts need of the machine, besides root.
pub const NEEDS: [(&str, &str); 2] = [("ip", "iproute2"), ("nsenter", "util-linux")];

/// A program on a host, killed when dropped.
pub struct Running(Child);

impl Running {
    pub fn start(command: &mut Command) -> Self {
        Self(command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}")))
    }

    /// The first line that it prints; further ones are not read.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        BufReader::new(self.0.stdout.as_mut().expect("it is heard")).read_line(&mut line).unwrap();
        line
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // `nsenter` has become the program itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The last lines of `DIR/NAME.log`, if the test fails.
pub fn last_words(dir: &Path, names: &[&str]) {
    if !std::thread::panicking() {
        return;
    }
    for name in names {
        let log = std::fs::read_to_string(dir.join(format!("{name}.log"))).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        eprintln!("--- {name}\n{}", lines[lines.len().saturating_sub(30)..].join("\n"));
    }
}

pub struct Network {
    prefix: String,
    count: u32,
}

impl Network {
    pub fn new(count: u32) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let prefix = format!("bs{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let network = Self { prefix, count };
        let switch = network.switch();
        ip(&format!("netns add {switch}"));
        ip(&format!("-n {switch} link add br0 type bridge"));
        ip(&format!("-n {switch} link set br0 up"));
        for number in 1..=count {
            let host = network.name(number);
            ip(&format!("netns add {host}"));
            ip(&format!("-n {switch} link add v{number} type veth peer name eth0 netns {host}"));
            ip(&format!("-n {switch} link set v{number} master br0 up"));
            ip(&format!("-n {host} addr add {}/24 dev eth0", network.address(number)));
            ip(&format!("-n {host} link set eth0 up"));
            ip(&format!("-n {host} link set lo up"));
            // As on a machine with a way to the world: that is how an agent finds its own address.
            ip(&format!("-n {host} route add default via 10.99.0.254"));
        }
        network
    }

    fn switch(&self) -> String {
        format!("{}-sw", self.prefix)
    }

    fn name(&self, number: u32) -> String {
        format!("{}-h{number}", self.prefix)
    }

    pub fn address(&self, number: u32) -> String {
        format!("10.99.0.{number}")
    }

    /// A program on the host, with its network; numbers begin with 1.
    pub fn on(&self, number: u32, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        // Not `ip netns exec`, which hides the machine's cgroups.
        command.arg(format!("--net={}", self.namespace(number).display())).arg(program);
        command
    }

    /// Our binary on the host. What it says goes to the end of a file; without one only warnings are, and to the test's
    /// own output.
    pub fn backstay(&self, number: u32, log: Option<&Path>) -> Command {
        let mut command = self.on(number, env!("CARGO_BIN_EXE_backstay"));
        match log {
            Some(log) => {
                command.stderr(std::fs::File::options().create(true).append(true).open(log).unwrap());
            }
            None => {
                command.env("BACKSTAY_LOG", std::env::var("BACKSTAY_LOG").unwrap_or("warn".into()));
            }
        }
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    /// A server on the host, at [`Self::url`]. Returns once it is ready.
    pub fn serve(&self, number: u32, data_dir: &Path, arguments: &[&str], log: Option<&Path>) -> Running {
        let mut command = self.backstay(number, log);
        let listen = format!("{}:6443", self.address(number));
        command.args(["server", "--listen", &listen]).args(arguments).arg("--data-dir").arg(data_dir);
        let mut server = Running::start(command.stdout(Stdio::piped()));
        let line = server.line();
        assert!(line.starts_with("backstay: ready "), "{line}");
        server
    }

    pub fn url(&self, number: u32) -> String {
        format!("https://{}:6443", self.address(number))
    }

    /// A client on the host of the server that has this data directory.
    pub fn client(&self, number: u32, data_dir: &Path, program: &str) -> Command {
        let mut command = self.on(number, program);
        command.env("KUBECONFIG", data_dir.join("admin.kubeconfig")).env("HOME", data_dir);
        command
    }

    pub fn namespace(&self, number: u32) -> PathBuf {
        Path::new("/run/netns").join(self.name(number))
    }

    /// Nothing comes to the host, and nothing from it; it does not notice but by the silence.
    pub fn cut(&self, number: u32) {
        ip(&format!("-n {} link set v{number} down", self.switch()));
    }

    pub fn heal(&self, number: u32) {
        ip(&format!("-n {} link set v{number} up", self.switch()));
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let hosts = (1..=self.count).map(|number| self.name(number));
        for namespace in hosts.chain([self.switch()]) {
            let _ = Command::new("ip").args(["netns", "del", &namespace]).status();
        }
    }
}

#[track_caller]
fn ip(arguments: &str) -> String {
    let Ran { code, stdout, stderr } = run(Command::new("ip").args(arguments.split(' ')));
    assert_eq!(code, Some(0), "ip {arguments}: {stderr}");
    stdout
}
