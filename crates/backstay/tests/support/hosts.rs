//! Several machines on one: network namespaces that hang on a switch, whose links can be cut.
//!
//! ```text
//! namespace bsPID-N-sw: bridge br0 ── v1 ── eth0 10.99.0.1/24 in bsPID-N-h1
//!                                  └─ v2 ── eth0 10.99.0.2/24 in bsPID-N-h2 ...
//! ```
//! They share file system and processes with everybody; nothing of it is seen outside. All of it ends with its guard.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use super::{Ran, run};

/// What tests with hosts need of the machine, besides root.
pub const NEEDS: [(&str, &str); 2] = [("ip", "iproute2"), ("nsenter", "util-linux")];

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
