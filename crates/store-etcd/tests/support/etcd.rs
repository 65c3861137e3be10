//! A real etcd, in directories of its own on loopback. It ends with its guard.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::needs;

const PATIENCE: Duration = Duration::from_secs(30);

/// What tests with etcd need of the machine.
pub const NEEDS: [(&str, &str); 1] = [("etcd", "etcd-server")];

/// One member.
pub struct Etcd {
    child: Option<Child>,
    place: Place,
    arguments: Vec<String>,
    dir: tempfile::TempDir,
}

/// Where a member listens.
struct Place {
    scheme: &'static str,
    /// Of this machine, or of another network namespace, which the program enters by these words.
    ip: String,
    entering: Vec<String>,
    client_port: u16,
    peer_port: u16,
}

impl Place {
    fn new(scheme: &'static str) -> Self {
        let [client_port, peer_port] = free_ports();
        Self { scheme, ip: Ipv4Addr::LOCALHOST.to_string(), entering: Vec::new(), client_port, peer_port }
    }

    fn client(&self) -> String {
        format!("{}://{}:{}", self.scheme, self.ip, self.client_port)
    }

    fn peer(&self) -> String {
        format!("http://{}:{}", self.ip, self.peer_port)
    }
}

impl Etcd {
    /// Starts one, or says that this machine has none.
    pub fn start(test: &str) -> Option<Self> {
        Self::start_with(test, "http", &[])
    }

    /// With settings of its own.
    pub fn start_with(test: &str, scheme: &'static str, arguments: &[String]) -> Option<Self> {
        Self::members(test, scheme, 1, arguments)?.pop()
    }

    /// On another host: at this address, in the network namespace that these words enter. Whether it serves is to be seen
    /// from there.
    pub fn start_on(test: &str, ip: &str, entering: &[&str]) -> Option<Self> {
        if !needs::are_met(test, false, &NEEDS) {
            return None;
        }
        let entering = entering.iter().map(|word| word.to_string()).collect();
        let place = Place { ip: ip.to_string(), entering, ..Place::new("http") };
        let arguments = vec!["--name=m0".to_string(), format!("--initial-cluster=m0={}", place.peer())];
        let mut etcd = Self { child: None, place, arguments, dir: tempfile::tempdir().expect("a directory") };
        etcd.spawn();
        Some(etcd)
    }

    /// A cluster.
    pub fn cluster(test: &str, size: usize) -> Option<Vec<Self>> {
        Self::members(test, "http", size, &[])
    }

    fn members(test: &str, scheme: &'static str, size: usize, arguments: &[String]) -> Option<Vec<Self>> {
        if !needs::are_met(test, false, &NEEDS) {
            return None;
        }
        // Somebody else may take a port that was free a moment ago.
        for _ in 0..10 {
            let places: Vec<Place> = (0..size).map(|_| Place::new(scheme)).collect();
            let all = places.iter().enumerate().map(|(at, place)| format!("m{at}={}", place.peer()));
            let all = all.collect::<Vec<_>>().join(",");
            let members = places.into_iter().enumerate().map(|(at, place)| {
                let mut own = vec![format!("--name=m{at}"), format!("--initial-cluster={all}")];
                own.extend(arguments.iter().cloned());
                let dir = tempfile::tempdir().expect("a directory");
                Self { child: None, place, arguments: own, dir }
            });
            let mut members: Vec<Self> = members.collect();
            // None listens before most are there.
            members.iter_mut().for_each(Self::spawn);
            if members.iter_mut().all(Self::listens) {
                return Some(members);
            }
        }
        panic!("etcd does not start");
    }

    pub fn endpoint(&self) -> String {
        self.place.client()
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
        self.spawn();
        self.listens()
    }

    /// Starts without the data that it had, as after it was restored from an old copy.
    pub fn begin_anew(&mut self) -> bool {
        self.kill();
        self.dir = tempfile::tempdir().expect("a directory");
        self.resume()
    }

    fn spawn(&mut self) {
        let (client, peer) = (self.place.client(), self.place.peer());
        let mut words = self.place.entering.iter().map(String::as_str).chain(["etcd"]);
        let mut command = Command::new(words.next().expect("at least its name"));
        command.args(words).arg("--data-dir").arg(self.dir.path().join("etcd")).args([
            "--logger",
            "zap",
            "--log-level",
            "error",
        ]);
        command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]).args(&self.arguments);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        self.child = Some(child.expect("etcd can be started"));
    }

    fn listens(&mut self) -> bool {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if self.child.as_mut().is_some_and(|child| child.try_wait().is_ok_and(|ended| ended.is_some())) {
                return false;
            }
            if TcpStream::connect((Ipv4Addr::LOCALHOST, self.place.client_port)).is_ok() {
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

fn free_ports() -> [u16; 2] {
    // Both at once, so that they differ.
    let listeners = [0; 2].map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("a free port"));
    listeners.map(|listener| listener.local_addr().expect("an address").port())
}
