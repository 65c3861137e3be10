//! The runtime over a containerd of the test's own, whose cgroups are gone with the test, too.

pub mod daemon;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use backstay_cri::{CriConfig, CriRuntime};
use backstay_node::lifecycle::observed::Exit;
use backstay_node::lifecycle::{ContainerRecord, ContainerState};
use backstay_node::runtime::{
    ContainerKey, Namespace, Namespaces, PodIdentity, Runtime as _, SandboxRequest, StartRequest,
};
use daemon::{Daemon, IMAGE};

const PATIENCE: Duration = Duration::from_secs(60);

pub struct Machine {
    pub daemon: Daemon,
    pub cgroup: String,
    pub log_bytes_max: u64,
    pub runtime: CriRuntime,
}

impl Machine {
    /// In a network of its own, where nothing of the machine's is touched.
    pub async fn new() -> Self {
        Self::with(&["unshare", "--net"]).await
    }

    /// For pods on the machine's network, which is ours; the runtime's streams are on its loopback.
    pub async fn on_our_network() -> Self {
        Self::with(&["env"]).await
    }

    async fn with(enter: &[&str]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let cgroup = format!("bstest{}x{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let daemon = Daemon::new(enter);
        let log_bytes_max = 10 * 1024 * 1024;
        let runtime = connect(&daemon, &cgroup, log_bytes_max).await;
        daemon.import_all();
        Self { daemon, cgroup, log_bytes_max, runtime }
    }

    pub fn dir(&self) -> &Path {
        self.daemon.dir.path()
    }

    /// As after a restart of the agent.
    pub async fn reconnect(&mut self) {
        self.runtime = connect(&self.daemon, &self.cgroup, self.log_bytes_max).await;
    }

    /// As after a crash of the container runtime.
    pub async fn crash(&mut self) {
        self.daemon.kill();
        // The same network as before is in the hands of nobody: hosts' networks outlive their daemons.
        self.daemon.start_again();
        connect(&self.daemon, &self.cgroup, self.log_bytes_max).await;
    }

    pub fn pod(&self, uid: &str, network: Namespace) -> SandboxRequest {
        SandboxRequest {
            pod: PodIdentity { namespace: "default".into(), name: format!("pod-{uid}"), uid: uid.into() },
            namespaces: Namespaces { network, pid: Namespace::Container, ipc: Namespace::Pod },
            log_dir: self.dir().join("pods").join(uid).join("logs"),
            ..SandboxRequest::default()
        }
    }

    pub async fn request(&self, key: &ContainerKey, script: &str) -> StartRequest {
        let image = self.runtime.images_of().find(IMAGE).await.unwrap().expect("the image was imported");
        StartRequest {
            image: IMAGE.into(),
            image_id: image.id,
            command: vec!["/bin/sh".into(), "-c".into(), script.into()],
            log: self.log_file(key),
            oom_score_adj: 1000,
            ..StartRequest::default()
        }
    }

    pub fn log_file(&self, key: &ContainerKey) -> PathBuf {
        let logs = self.dir().join("pods").join(&key.pod_uid).join("logs");
        logs.join(&key.name).join(format!("{}.log", key.attempt))
    }

    pub async fn start(&self, uid: &str, attempt: u32, script: &str) -> ContainerKey {
        self.start_with(uid, attempt, script, |_| {}).await
    }

    pub async fn start_with(
        &self,
        uid: &str,
        attempt: u32,
        script: &str,
        change: impl FnOnce(&mut StartRequest),
    ) -> ContainerKey {
        self.runtime.prepare(&self.pod(uid, Namespace::Host)).await.unwrap();
        let key = key(uid, attempt);
        let mut request = self.request(&key, script).await;
        change(&mut request);
        self.runtime.start(&key, request).await.unwrap();
        key
    }

    pub async fn record(&self, key: &ContainerKey) -> ContainerRecord {
        let containers = self.runtime.containers(&key.pod_uid).await.unwrap();
        containers[&key.name].iter().find(|record| record.attempt == key.attempt).unwrap().clone()
    }

    pub async fn exit(&self, key: &ContainerKey) -> Exit {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            if let ContainerState::Exited(exit) = self.record(key).await.state {
                return exit;
            }
            assert!(tokio::time::Instant::now() < deadline, "{key:?} did not end");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// What the container printed, once it holds `text`.
    pub async fn log_with(&self, key: &ContainerKey, text: &str) -> String {
        let mut log = String::new();
        for _ in 0..PATIENCE.as_millis() / 20 {
            log = std::fs::read_to_string(self.log_file(key)).unwrap_or_default();
            if log.contains(text) {
                return log;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{key:?} did not print {text:?}: {log:?}")
    }

    /// Ends everything: what outlives an agent by design must not outlive a test.
    pub async fn end(self) {
        for pod in self.runtime.pods().await.unwrap() {
            let mut removed = self.runtime.remove(&pod.uid).await;
            // As an agent does: containerd refuses to end what is just ending by itself.
            for _ in 0..PATIENCE.as_millis() / 20 {
                if removed.is_ok() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
                removed = self.runtime.remove(&pod.uid).await;
            }
            removed.unwrap();
        }
        let left: Vec<PathBuf> = cgroups(&self.cgroup);
        assert!(left.is_empty(), "cgroups left: {left:?}");
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.daemon.end_tasks();
        cgroups(&self.cgroup).iter().for_each(|dir| remove_tree(dir));
    }
}

pub fn key(uid: &str, attempt: u32) -> ContainerKey {
    ContainerKey { pod_uid: uid.into(), name: "main".into(), attempt }
}

/// The directories of this name in all hierarchies.
pub fn cgroups(name: &str) -> Vec<PathBuf> {
    let roots = std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().map(|entry| entry.path());
    let all = roots.chain([PathBuf::from("/sys/fs/cgroup")]).map(|root| root.join(name));
    all.filter(|path| path.exists()).collect()
}

fn remove_tree(dir: &Path) {
    for child in std::fs::read_dir(dir).into_iter().flatten().flatten().filter(|child| child.path().is_dir()) {
        remove_tree(&child.path());
    }
    let _ = std::fs::remove_dir(dir);
}

/// Its images, whatever else the runtime has.
pub trait ImagesOf {
    fn images_of(&self) -> &dyn backstay_node::runtime::Images;
}

impl ImagesOf for CriRuntime {
    fn images_of(&self) -> &dyn backstay_node::runtime::Images {
        backstay_node::runtime::Runtime::images(self).expect("it has images")
    }
}

async fn connect(daemon: &Daemon, cgroup: &str, log_bytes_max: u64) -> CriRuntime {
    let mut config = CriConfig::new(daemon.socket(), cgroup.to_string(), daemon.dir.path().join("seccomp"));
    config.cgroup = cgroup.to_string();
    (config.log_bytes_max, config.log_files) = (log_bytes_max, 3);
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        match CriRuntime::connect(config.clone()).await {
            Ok(runtime) => return runtime,
            Err(error) if tokio::time::Instant::now() > deadline => {
                panic!("{error}\n{}", daemon.log())
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}
