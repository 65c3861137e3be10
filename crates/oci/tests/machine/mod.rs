//! A machine with an image of busybox, and one pod on it.

// Each test binary uses its own part of this module.
#![allow(dead_code)]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use backstay_api::Clock;
use backstay_node::lifecycle::ContainerState;
use backstay_node::lifecycle::observed::Exit;
use backstay_node::process::layout::{self, CgroupSeat, ShimSpec, ShimState};
use backstay_node::process::{KnownProcess, ProcessRuntime, ShimCommand};
use backstay_node::runtime::{ContainerKey, Namespace, Namespaces, PodIdentity, Runtime, SandboxRequest, StartRequest};
use backstay_oci::network::{Network, PLUGINS};
use backstay_oci::registry::Registry;
use backstay_oci::store::Store;
use backstay_oci::{OciRuntime, StoredImages};
use jiff::Timestamp;
use rustix::event::{PollFd, PollFlags, poll};
use serde_json::json;
use tempfile::TempDir;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::{needs, support};

/// The longest that anything here may take; a limit against hanging, never a measure.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub struct Machine {
    /// Of the pod: unique among all tests.
    pub uid: String,
    pub dir: TempDir,
    pub runtime: OciRuntime,
    pub changed: UnboundedReceiver<String>,
    pub image_id: String,
}

/// Of an agent that begins now.
pub fn runtime(dir: &std::path::Path) -> (OciRuntime, UnboundedReceiver<String>) {
    runtime_with(dir, Network::default().patience)
}

/// The same, with so much patience for network plugins.
pub fn runtime_with(dir: &std::path::Path, patience: Duration) -> (OciRuntime, UnboundedReceiver<String>) {
    let shim = ShimCommand(vec![env!("CARGO_BIN_EXE_oci-shim").into()]);
    let shims = ProcessRuntime::new(dir.join("pods"), shim, Clock::new(Timestamp::now)).unwrap();
    let store = Store::open(&dir.join("images")).unwrap();
    let images = StoredImages { store, registry: Arc::new(Registry::new().unwrap()) };
    // Plugins of the test's own come first.
    let plugins = [dir.join("plugins")].into_iter().chain(PLUGINS.map(PathBuf::from)).collect();
    let network = Network { configurations: dir.join("net.d"), plugins, patience };
    let runtime = OciRuntime::new(shims, images, network);
    let (sender, changed) = unbounded_channel();
    runtime.notify(sender);
    (runtime, changed)
}

impl Machine {
    /// `None`, and a word about it, where there cannot be containers.
    pub async fn new(test: &str) -> Option<Self> {
        Self::with(test, Namespace::Container).await
    }

    /// The same, with the process namespace of the pod or of each container.
    pub async fn with(test: &str, pid: Namespace) -> Option<Self> {
        if !needs::are_met(test, true, &[("busybox", "busybox-static")]) {
            return None;
        }
        let machine = Self::empty();
        machine.prepare(pid).await;
        Some(machine)
    }

    /// The same without the pod.
    pub fn empty() -> Self {
        // With a space: paths of users may have them.
        let dir = tempfile::Builder::new().prefix("a machine ").tempdir().unwrap();
        let busybox = ["/bin/busybox", "/usr/bin/busybox"].iter().find_map(|path| std::fs::read(path).ok()).unwrap();
        let passwd: &[u8] = b"root:x:0:0::/:/bin/sh\napp:x:100:101::/:/bin/sh\n";
        let links: Vec<String> = [
            "sh", "cat", "id", "ls", "mount", "sleep", "touch", "grep", "head", "tail", "test", "kill", "hostname",
            "readlink", "echo", "stat", "mkdir", "setsid", "wc", "unshare", "stty", "tty", "cp", "nc", "ip",
        ]
        .iter()
        .map(|name| format!("bin/{name} -> busybox"))
        .collect();
        let mut entries: Vec<(&str, &[u8])> = vec![("bin/", b""), ("bin/busybox", &busybox), ("etc/", b"")];
        entries.extend(links.iter().map(|link| (link.as_str(), &b""[..])));
        entries.extend([
            ("etc/passwd", passwd),
            ("etc/hidden", b"x"),
            ("tmp/", b""),
            ("kept/", b""),
            ("kept/x", b"of the image\n"),
        ]);
        let upper: &[(&str, &[u8])] =
            &[("etc/.wh.hidden", b""), ("etc/group", b"web:x:33:app\n"), ("out -> /etc", b"")];
        let layers = vec![support::tar(&entries), support::tar(upper)];
        let words = json!({ "Env": ["FROM=image", "PATH=/bin"], "Cmd": ["sh", "-c", "echo from the image; exit 7"],
            "Volumes": { "/kept/": {}, "/kept/deep/fresh": {} } });
        let config = support::config(&layers, words);
        let archive = support::oci_archive(dir.path(), "localhost/busybox:1", &layers, &config);
        let (runtime, changed) = runtime(dir.path());
        let images = Store::open(&dir.path().join("images")).unwrap().import(&archive).unwrap();
        let uid = format!("pod-{}", dir.path().display().to_string().rsplit(' ').next().unwrap());
        Self { uid, dir, runtime, changed, image_id: images[0].image.id.clone() }
    }

    pub async fn prepare(&self, pid: Namespace) {
        let namespaces = Namespaces { network: Namespace::Host, pid, ipc: Namespace::Pod };
        self.runtime.prepare(&SandboxRequest { namespaces, ..self.request() }).await.unwrap();
    }

    /// For a pod whose containers share all but their processes.
    pub fn request(&self) -> SandboxRequest {
        let pod = PodIdentity { namespace: "default".into(), name: "p".into(), uid: self.uid.clone() };
        let namespaces = Namespaces { network: Namespace::Pod, pid: Namespace::Container, ipc: Namespace::Pod };
        SandboxRequest { pod, namespaces, hostname: "p".into(), ..SandboxRequest::default() }
    }

    pub fn pod(&self) -> PathBuf {
        self.dir.path().join("pods").join(&self.uid)
    }

    /// The process that keeps the pod's process namespace.
    pub fn pause(&self) -> KnownProcess {
        layout::read(&self.pod().join("pause.json")).unwrap()
    }

    pub async fn start(&self, script: &str, change: impl FnOnce(&mut StartRequest)) -> ContainerKey {
        let attempt = self.runtime.containers(&self.uid).await.unwrap().get("main").map_or(0, |all| all.len() as u32);
        let key = ContainerKey { pod_uid: self.uid.clone(), name: "main".into(), attempt };
        let mut request =
            StartRequest { image: "busybox".into(), image_id: self.image_id.clone(), ..StartRequest::default() };
        if !script.is_empty() {
            request.command = ["sh", "-c", script].map(String::from).to_vec();
        }
        change(&mut request);
        request.log = self.log_path(&key);
        self.runtime.start(&key, request).await.unwrap();
        key
    }

    pub fn log_path(&self, key: &ContainerKey) -> PathBuf {
        self.dir.path().join(format!("pods/{}/logs/{}/{}.log", self.uid, key.name, key.attempt))
    }

    /// Waits until the container has printed this.
    pub async fn says(&self, key: &ContainerKey, text: &str) {
        until(|| std::fs::read_to_string(self.log_path(key)).is_ok_and(|log| log.contains(text))).await;
    }

    /// What of the machine belongs to the pod: mounts, cgroups, processes.
    pub fn traces(&self) -> Vec<String> {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let mut found: Vec<String> = mounts.lines().filter(|line| line.contains(&self.uid)).map(String::from).collect();
        let mut folders = vec![PathBuf::from("/sys/fs/cgroup")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    let name = entry.file_name().to_string_lossy().into_owned();
                    found.extend(name.contains(&self.uid).then(|| entry.path().display().to_string()));
                    folders.push(entry.path());
                }
            }
        }
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let words = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let words = String::from_utf8_lossy(&words).into_owned();
            found.extend(words.contains(&self.uid).then_some(words));
        }
        found
    }

    pub async fn exit(&mut self, key: &ContainerKey) -> Exit {
        loop {
            let containers = self.runtime.containers(&self.uid).await.unwrap();
            let record = containers["main"].iter().find(|record| record.attempt == key.attempt).unwrap();
            if let ContainerState::Exited(exit) = &record.state {
                return exit.clone();
            }
            let told = tokio::time::timeout(PATIENCE, self.changed.recv()).await;
            told.expect("nobody told of the end");
        }
    }

    /// What the container has printed, and how it ended.
    pub async fn run(&mut self, script: &str, change: impl FnOnce(&mut StartRequest)) -> (String, i32) {
        let key = self.start(script, change).await;
        let exit = self.exit(&key).await;
        let log = std::fs::read_to_string(self.log_path(&key)).unwrap_or_default();
        let lines: Vec<&str> = log.lines().filter_map(|line| line.splitn(4, ' ').nth(3)).collect();
        let mut text = lines.join("\n");
        if exit.reason == "StartError" {
            text.push_str(&exit.message);
        }
        (text, exit.exit_code)
    }

    pub async fn check(&mut self, script: &str, change: impl FnOnce(&mut StartRequest), expected: &str, code: i32) {
        let (text, exit_code) = self.run(script, change).await;
        assert_eq!((text.trim(), exit_code), (expected, code), "{script}");
    }

    pub async fn end(self) {
        self.runtime.remove(&self.uid).await.unwrap();
        assert!(!self.pod().exists());
        assert_eq!(self.traces(), Vec::<String>::new());
    }
}

/// Waits for something that nobody tells of.
pub async fn until(mut holds: impl FnMut() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("it never came true");
}

/// Waits for the end of a process that has been killed: the first of a namespace goes after all others.
pub async fn gone(process: KnownProcess) {
    let wait = move || process.open().map(|it| poll(&mut [PollFd::new(&it, PollFlags::IN)], None));
    tokio::task::spawn_blocking(move || wait().transpose()).await.unwrap().unwrap();
}

impl Drop for Machine {
    fn drop(&mut self) {
        // What a failed test has left mounted or running must not outlive it.
        let below = |dir: PathBuf| layout::names(&dir).into_iter().map(move |name| dir.join(name));
        let mut cgroups = Vec::new();
        for attempt in below(self.pod().join("containers")).flat_map(below) {
            if let Some(state) = layout::read::<ShimState>(&attempt.join("state.json")) {
                let ShimState { boot_id, shim_pid: pid, shim_start: start, .. } = state;
                KnownProcess { boot_id, pid, start }.kill();
            }
            cgroups.extend(layout::read::<ShimSpec>(&attempt.join("spec.json")).into_iter().flat_map(|it| it.cgroups));
        }
        if let Some(pause) = layout::read::<KnownProcess>(&self.pod().join("pause.json")) {
            pause.kill();
        }
        for name in ["ns/net", "ns/uts", "ns/ipc", "shm"] {
            let path = self.pod().join(name);
            let _ = rustix::mount::unmount(&path, rustix::mount::UnmountFlags::DETACH);
        }
        // The killed need a moment.
        for _ in 0..100 {
            cgroups.iter().for_each(CgroupSeat::remove);
            cgroups.retain(|seat| seat.dir.exists());
            if cgroups.is_empty() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
