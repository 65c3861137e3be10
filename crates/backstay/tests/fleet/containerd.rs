//! A containerd of the test's own on one of its hosts: its root, state and socket, all gone with the test.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use crate::config;
use crate::image;
use crate::support::hosts::{Network, Running};
use crate::support::{traces, wait_for};

pub struct Containerd {
    dir: PathBuf,
    daemon: Option<Running>,
}

impl Containerd {
    /// `dir` is made. Its path is short, since a socket's may have no more than 108 bytes.
    pub fn start(network: &Network, host: u32, dir: PathBuf) -> Self {
        config::write(&dir);
        let mut containerd = Self { dir, daemon: None };
        containerd.resume(network, host);
        containerd.import("localhost/pause:1", &["/bin/busybox", "sleep", "2147483647"]);
        containerd
    }

    /// Starts again after [`Self::kill`].
    pub fn resume(&mut self, network: &Network, host: u32) {
        let log = std::fs::File::options().create(true).append(true).open(self.dir.join("log")).unwrap();
        let mut command = network.on(host, "containerd");
        command.arg("-c").arg(self.dir.join("config.toml")).stdin(Stdio::null());
        command.stdout(log.try_clone().unwrap()).stderr(log);
        self.daemon = Some(Running::start(&mut command));
        wait_for("containerd answers", || self.ctr(&["version"]).status.success().then_some(()));
    }

    /// As `kill -9` does.
    pub fn kill(&mut self) {
        self.daemon = None;
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.join("c.sock")
    }

    pub fn import(&self, name: &str, entrypoint: &[&str]) {
        let file = self.dir.join("image.tar");
        image::pack(&file, name, entrypoint);
        let done = self.ctr(&["images", "import", &file.display().to_string()]);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    /// The names of all its containers, sandboxes among them.
    pub fn containers(&self) -> Vec<String> {
        let listed = self.ctr(&["containers", "list", "-q"]);
        assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
        String::from_utf8_lossy(&listed.stdout).lines().map(str::to_string).collect()
    }

    /// Ends what a failed test has left, one by one, through containerd's own tool.
    pub fn end_all(&self) {
        let tasks = self.ctr(&["tasks", "list", "-q"]);
        for task in String::from_utf8_lossy(&tasks.stdout).lines() {
            self.ctr(&["tasks", "delete", "-f", task]);
        }
    }

    fn ctr(&self, words: &[&str]) -> Output {
        Command::new("ctr").arg("-a").arg(self.socket()).args(["-n", "k8s.io"]).args(words).output().unwrap()
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        self.end_all();
        self.kill();
        traces::unmount_below(&self.dir);
    }
}
