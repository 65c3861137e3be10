//! A containerd of the test's own: its root, state, socket, network and cgroups, all gone with the test.

mod image;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use backstay_cri::{CriConfig, CriRuntime};
use backstay_node::lifecycle::observed::Exit;
use backstay_node::lifecycle::{ContainerRecord, ContainerState};
use backstay_node::runtime::{
    ContainerKey, Namespace, Namespaces, PodIdentity, Runtime as _, SandboxRequest, StartRequest,
};
use tempfile::TempDir;

pub const IMAGE: &str = "localhost/busybox:1";
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Machine {
    pub dir: TempDir,
    containerd: Child,
    unshared: &'static [&'static str],
    pub cgroup: String,
    pub log_bytes_max: u64,
    pub runtime: CriRuntime,
}

impl Machine {
    /// In a network of its own, where nothing of the machine's is touched.
    pub async fn new() -> Self {
        Self::with(&["--net"]).await
    }

    /// For pods on the machine's network, which is ours; the runtime's streams are on its loopback.
    pub async fn on_our_network() -> Self {
        Self::with(&[]).await
    }

    async fn with(unshared: &'static [&'static str]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let cgroup = format!("bstest{}x{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        // Short: a socket's path may have no more than 108 bytes.
        let dir = tempfile::Builder::new().prefix("bs").tempdir_in("/run").unwrap();
        write_config(dir.path());
        let containerd = spawn(dir.path(), unshared);
        let log_bytes_max = 10 * 1024 * 1024;
        let runtime = connect(dir.path(), &cgroup, log_bytes_max).await;
        import(dir.path(), "localhost/pause:1", &["/bin/busybox", "sleep", "2147483647"]);
        import(dir.path(), IMAGE, &["/bin/sh", "-c", "echo the image speaks"]);
        Self { dir, containerd, unshared, cgroup, log_bytes_max, runtime }
    }

    /// As after a restart of the agent.
    pub async fn reconnect(&mut self) {
        self.runtime = connect(self.dir.path(), &self.cgroup, self.log_bytes_max).await;
    }

    /// As after a crash of the container runtime.
    pub async fn crash(&mut self) {
        self.containerd.kill().unwrap();
        self.containerd.wait().unwrap();
        // The same network as before is in the hands of nobody: hosts' networks outlive their daemons.
        self.containerd = spawn(self.dir.path(), self.unshared);
        connect(self.dir.path(), &self.cgroup, self.log_bytes_max).await;
    }

    pub fn pod(&self, uid: &str, network: Namespace) -> SandboxRequest {
        SandboxRequest {
            pod: PodIdentity { namespace: "default".into(), name: format!("pod-{uid}"), uid: uid.into() },
            namespaces: Namespaces { network, pid: Namespace::Container, ipc: Namespace::Pod },
            log_dir: self.dir.path().join("pods").join(uid).join("logs"),
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
        let logs = self.dir.path().join("pods").join(&key.pod_uid).join("logs");
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

    /// Runs a program in the network of this machine.
    pub fn in_network(&self, program: &[&str]) -> std::process::Output {
        let pid = self.containerd.id().to_string();
        Command::new("nsenter").args(["-t", &pid, "-n"]).args(program).output().unwrap()
    }

    /// Ends everything: what outlives an agent by design must not outlive a test.
    pub async fn end(self) {
        for pod in self.runtime.pods().await.unwrap() {
            self.runtime.remove(&pod.uid).await.unwrap();
        }
        let left: Vec<PathBuf> = cgroups(&self.cgroup);
        assert!(left.is_empty(), "cgroups left: {left:?}");
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // After a failure: shims are ended through containerd's own tool, one by one.
        let tasks = ctr(self.dir.path(), &["tasks", "list", "-q"]);
        for task in String::from_utf8_lossy(&tasks.stdout).lines() {
            ctr(self.dir.path(), &["tasks", "delete", "-f", task]);
        }
        let _ = self.containerd.kill();
        let _ = self.containerd.wait();
        cgroups(&self.cgroup).iter().for_each(|dir| remove_tree(dir));
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let own =
            mounts.lines().filter_map(|line| line.split(' ').nth(1)).filter(|at| Path::new(at).starts_with(&self.dir));
        for mount in own {
            let _ = Command::new("umount").args(["-l", mount]).status();
        }
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

fn write_config(dir: &Path) {
    let at = dir.display();
    std::fs::create_dir_all(dir.join("net.d")).unwrap();
    let config = format!(
        r#"version = 2
root = "{at}/root"
state = "{at}/state"
[grpc]
  address = "{at}/c.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{at}/net.d"
"#
    );
    std::fs::write(dir.join("config.toml"), config).unwrap();
    let network = format!(
        r#"{{"cniVersion":"0.4.0","name":"bs","plugins":[
  {{"type":"bridge","bridge":"bs0","isGateway":true,"ipMasq":true,
    "ipam":{{"type":"host-local","dataDir":"{at}/ipam","ranges":[[{{"subnet":"10.213.0.0/24"}}]],"routes":[{{"dst":"0.0.0.0/0"}}]}}}},
  {{"type":"portmap","capabilities":{{"portMappings":true}}}}]}}"#
    );
    std::fs::write(dir.join("net.d/10-bs.conflist"), network).unwrap();
}

/// `unshared`: which namespaces are its own.
fn spawn(dir: &Path, unshared: &[&str]) -> Child {
    let script = format!("ip link set lo up && exec containerd -c {}/config.toml", dir.display());
    let log = std::fs::File::options().create(true).append(true).open(dir.join("containerd.log")).unwrap();
    let mut command = Command::new("unshare");
    command
        .args(unshared)
        .args(["sh", "-c", &script])
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log);
    command.spawn().unwrap()
}

async fn connect(dir: &Path, cgroup: &str, log_bytes_max: u64) -> CriRuntime {
    let mut config = CriConfig::new(dir.join("c.sock"), cgroup.to_string(), dir.join("seccomp"));
    config.cgroup = cgroup.to_string();
    (config.log_bytes_max, config.log_files) = (log_bytes_max, 3);
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        match CriRuntime::connect(config.clone()).await {
            Ok(runtime) => return runtime,
            Err(error) if tokio::time::Instant::now() > deadline => {
                let log = std::fs::read_to_string(dir.join("containerd.log")).unwrap_or_default();
                panic!("{error}\n{log}")
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

fn import(dir: &Path, name: &str, entrypoint: &[&str]) {
    let file = dir.join("image.tar");
    image::pack(&file, name, entrypoint);
    let done = ctr(dir, &["images", "import", &file.display().to_string()]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

fn ctr(dir: &Path, words: &[&str]) -> std::process::Output {
    let socket = dir.join("c.sock").display().to_string();
    Command::new("ctr").args(["-a", &socket, "-n", "k8s.io"]).args(words).output().unwrap()
}
