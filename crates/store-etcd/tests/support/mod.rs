//! A real etcd, of one member, in a directory of its own on loopback. It ends with its guard.
#![allow(dead_code, reason = "each test binary uses a part of it")]

#[path = "../../../backstay/tests/support/needs.rs"]
#[allow(clippy::duplicate_mod, reason = "tests of the binary use it beside their own")]
pub mod needs;
pub mod proxy;

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(30);

/// What tests with etcd need of the machine.
pub const NEEDS: [(&str, &str); 1] = [("etcd", "etcd-server")];

pub struct Etcd {
    child: Option<Child>,
    data: PathBuf,
    client_port: u16,
    peer_port: u16,
    _dir: tempfile::TempDir,
}

impl Etcd {
    /// Starts one, or says that this machine has none.
    pub fn start(test: &str) -> Option<Self> {
        if !needs::are_met(test, false, &NEEDS) {
            return None;
        }
        let dir = tempfile::tempdir().expect("a directory");
        let data = dir.path().join("etcd");
        // Somebody else may take a port that was free a moment ago.
        for _ in 0..10 {
            let [client_port, peer_port] = free_ports();
            let mut etcd = Self { child: None, data: data.clone(), client_port, peer_port, _dir: tempdir() };
            if etcd.resume() {
                etcd._dir = dir;
                return Some(etcd);
            }
            let _ = std::fs::remove_dir_all(&data);
        }
        panic!("etcd does not start");
    }

    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.client_port)
    }

    /// From one moment to the next, as by a power cut.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts with the data that it had. Returns whether it serves.
    pub fn resume(&mut self) -> bool {
        let (client, peer) = (self.endpoint(), format!("http://127.0.0.1:{}", self.peer_port));
        let mut command = Command::new("etcd");
        command.arg("--data-dir").arg(&self.data).args(["--name", "one", "--logger", "zap", "--log-level", "error"]);
        command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        command.args(["--initial-cluster", &format!("one={peer}")]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        self.child = Some(child.expect("etcd can be started"));
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if self.child.as_mut().is_some_and(|child| child.try_wait().is_ok_and(|ended| ended.is_some())) {
                return false;
            }
            if TcpStream::connect((Ipv4Addr::LOCALHOST, self.client_port)).is_ok() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        false
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.kill();
    }
}

fn tempdir() -> tempfile::TempDir {
    tempfile::tempdir().expect("a directory")
}

fn free_ports() -> [u16; 2] {
    // Both at once, so that they differ.
    let listeners = [0; 2].map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("a free port"));
    listeners.map(|listener| listener.local_addr().expect("an address").port())
}
