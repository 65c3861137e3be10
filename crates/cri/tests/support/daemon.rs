//! A containerd of the test's own: its root, state, socket and network, all gone with the test.
//!
//! Also used by the tests of the whole product.

// Each test binary uses its own part of this module.
#![allow(dead_code)]

#[path = "config.rs"]
mod config;
#[path = "image.rs"]
mod image;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use tempfile::TempDir;

/// What it needs of the machine, besides root.
pub const NEEDS: [(&str, &str); 7] = [
    ("containerd", "containerd"),
    ("ctr", "containerd"),
    ("runc", "runc"),
    ("/usr/lib/cni/bridge", "containernetworking-plugins"),
    ("/bin/busybox", "busybox-static"),
    ("ip", "iproute2"),
    ("nsenter", "util-linux"),
];

pub const IMAGE: &str = "localhost/busybox:1";

pub struct Daemon {
    pub dir: TempDir,
    child: Child,
    /// What it is started by: `unshare`, `nsenter`; its arguments follow.
    enter: Vec<String>,
}

impl Daemon {
    /// Its images are there once somebody has waited for it and called [`Daemon::import`].
    pub fn new(enter: &[&str]) -> Self {
        // Short: a socket's path may have no more than 108 bytes.
        let dir = tempfile::Builder::new().prefix("bs").tempdir_in("/run").unwrap();
        config::write(dir.path());
        let enter: Vec<String> = enter.iter().map(ToString::to_string).collect();
        let child = spawn(dir.path(), &enter);
        Self { dir, child, enter }
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("c.sock")
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("containerd.log")).unwrap_or_default()
    }

    pub fn import_all(&self) {
        self.import("localhost/pause:1", &["/bin/busybox", "sleep", "2147483647"]);
        self.import(IMAGE, &["/bin/sh", "-c", "echo the image speaks"]);
    }

    pub fn import(&self, name: &str, entrypoint: &[&str]) {
        let file = self.dir.path().join("image.tar");
        image::pack(&file, name, entrypoint);
        let done = self.ctr(&["images", "import", &file.display().to_string()]);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    pub fn ctr(&self, words: &[&str]) -> Output {
        let socket = self.socket().display().to_string();
        Command::new("ctr").args(["-a", &socket, "-n", "k8s.io"]).args(words).output().unwrap()
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn start_again(&mut self) {
        self.child = spawn(self.dir.path(), &self.enter);
    }

    /// For use after a failure: ends what still runs, by containerd's own tool, and then what that does not know of: the
    /// beginnings of containers whose start was cut short.
    pub fn end_tasks(&self) {
        let tasks = self.ctr(&["tasks", "list", "-q"]);
        for task in String::from_utf8_lossy(&tasks.stdout).lines() {
            self.ctr(&["tasks", "delete", "-f", task]);
        }
        let socket = self.socket().display().to_string();
        let shims = processes().filter(|pid| {
            let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            words.starts_with(b"/usr/bin/containerd-shim")
                && words.split(|byte| *byte == 0).any(|it| it == socket.as_bytes())
        });
        for shim in shims.collect::<Vec<_>>() {
            let children = processes().filter(|pid| parent(*pid) == Some(shim)).collect::<Vec<_>>();
            for pid in children.into_iter().chain([shim]) {
                let _ = Command::new("kill").args(["-s", "KILL", &pid.to_string()]).status();
            }
        }
    }

    /// Runs a program in its network.
    pub fn in_network(&self, program: &[&str]) -> Output {
        let pid = self.child.id().to_string();
        Command::new("nsenter").args(["-t", &pid, "-n"]).args(program).output().unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.end_tasks();
        let _ = self.child.kill();
        let _ = self.child.wait();
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let own =
            mounts.lines().filter_map(|line| line.split(' ').nth(1)).filter(|at| Path::new(at).starts_with(&self.dir));
        for mount in own {
            let _ = Command::new("umount").args(["-l", mount]).status();
        }
    }
}

fn spawn(dir: &Path, enter: &[String]) -> Child {
    let script = format!("ip link set lo up && exec containerd -c {}/config.toml", dir.display());
    let log = std::fs::File::options().create(true).append(true).open(dir.join("containerd.log")).unwrap();
    let mut command = Command::new(&enter[0]);
    command.args(&enter[1..]).args(["sh", "-c", &script]).stdin(Stdio::null()).stdout(log.try_clone().unwrap());
    command.stderr(log).spawn().unwrap()
}

fn processes() -> impl Iterator<Item = u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn parent(pid: u32) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
}
