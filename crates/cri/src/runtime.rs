//! The runtime port over CRI.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use backstay_node::lifecycle::ContainerRecord;
use backstay_node::process::layout::SUB_PATHS;
use backstay_node::runtime::{
    ContainerKey, ExecOutput, Health, Images, Mount, Namespace, PodIdentity, PodUsage, Runtime, RuntimeError,
    SandboxRequest, SandboxState, StartFailure, StartRequest, masked_paths, termination_message,
};
use backstay_node::streams::{AttachRequest, BoxDuplex, ExecRequest, Reason, Session, StreamError};
use backstay_streams::remote::Wanted;
use thiserror::Error;
use tokio::sync::mpsc::UnboundedSender;
use tonic::{Code, Status};

use crate::answer;
use crate::cgroup::{Driver, PodCgroups};
use crate::request::{self, Host};
use crate::settings::{self, Settings};
use crate::wire::{self, CREATED, Client, EXITED, READY, RUNNING};
use crate::{events, logs, netns, streams};

/// Where runtimes usually listen.
pub const SOCKETS: [&str; 2] = ["/run/containerd/containerd.sock", "/var/run/crio/crio.sock"];

/// A kubelet waits as long (`--runtime-request-timeout`).
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
/// Beyond a container's grace, for it to be killed and taken apart.
pub(crate) const STOP_PATIENCE: Duration = Duration::from_secs(120);
/// Above the runtime's own limit of a command, which is in whole seconds.
const EXEC_PATIENCE: Duration = Duration::from_secs(10);
/// As much of a probe's output as fits into an event.
const EXEC_OUTPUT_BYTES: usize = 10 * 1024;

/// How to use a container runtime.
#[derive(Clone, Debug)]
pub struct CriConfig {
    pub socket: PathBuf,
    /// Told from others that use the same runtime, a kubelet among them, whose pods are left alone.
    pub owner: String,
    /// The cgroup above those of all pods.
    pub cgroup: String,
    /// Where the seccomp profiles lie that pods name (`type: Localhost`).
    pub seccomp_dir: PathBuf,
    /// A log file is turned over at this size.
    pub log_bytes_max: u64,
    /// How many files of a log are kept, the current one included.
    pub log_files: u32,
}

impl CriConfig {
    /// With a kubelet's defaults: cgroups below `kubepods`, logs of 5 files of 10 MiB.
    pub fn new(socket: PathBuf, owner: String, seccomp_dir: PathBuf) -> Self {
        let cgroup = "kubepods".to_string();
        Self { socket, owner, cgroup, seccomp_dir, log_bytes_max: 10 * 1024 * 1024, log_files: 5 }
    }
}

#[derive(Debug, Error)]
pub enum CriError {
    #[error(
        "no container runtime that speaks CRI v1 answers at {socket}: {message}; is it running, and is its CRI plugin on?"
    )]
    Connect { socket: PathBuf, message: String },
}

/// A machine's containerd or CRI-O. A clone speaks to the same.
#[derive(Clone)]
pub struct CriRuntime {
    inner: Arc<Inner>,
}

struct Inner {
    client: Client,
    config: CriConfig,
    host: Host,
    cgroups: PodCgroups,
    settings: settings::Known,
    /// `containerd`, and its version.
    name: String,
    version: String,
}

impl CriRuntime {
    /// # Errors
    /// If nobody answers there, or not in CRI v1.
    pub async fn connect(config: CriConfig) -> Result<Self, CriError> {
        let client = Client::new(&config.socket);
        let version = wire::within(wire::CONNECT_PATIENCE, client.runtime().version(wire::VersionRequest {})).await;
        let version: wire::VersionResponse = version.map_err(|status| CriError::Connect {
            socket: config.socket.clone(),
            message: status.message().to_string(),
        })?;
        let settings = settings::Known::default();
        let cgroups = PodCgroups::detect(driver(&client, &settings).await, &config.cgroup);
        let host = Host {
            owner: config.owner.clone(),
            seccomp_dir: config.seccomp_dir.clone(),
            oom_score_adj_min: oom_score_adj_min(),
            masked_paths: masked_paths(),
        };
        let wire::VersionResponse { runtime_name: name, runtime_version: version } = version;
        Ok(Self { inner: Arc::new(Inner { client, config, host, cgroups, settings, name, version }) })
    }

    pub(crate) fn client(&self) -> &Client {
        &self.inner.client
    }

    pub(crate) async fn settings(&self) -> Result<Settings, Status> {
        self.inner.settings.ask(self.client()).await
    }

    pub(crate) fn config(&self) -> &CriConfig {
        &self.inner.config
    }

    /// Our containers with these labels.
    pub(crate) async fn list(&self, labels: &[(&str, &str)]) -> Result<Vec<wire::Container>, Status> {
        let filter = wire::ContainerFilter { label_selector: self.selector(labels) };
        let request = wire::ListContainersRequest { filter: Some(filter) };
        let answer = wire::within(PATIENCE, self.client().runtime().list_containers(request)).await?;
        Ok(answer.containers)
    }

    fn selector(&self, labels: &[(&str, &str)]) -> HashMap<String, String> {
        let own = [(request::OWNER, self.inner.host.owner.as_str())];
        own.iter().chain(labels).map(|(name, value)| (name.to_string(), value.to_string())).collect()
    }

    /// Our sandboxes with these labels, the newest first.
    async fn sandboxes(&self, labels: &[(&str, &str)]) -> Result<Vec<wire::PodSandbox>, Status> {
        let filter = wire::PodSandboxFilter { label_selector: self.selector(labels) };
        let request = wire::ListPodSandboxRequest { filter: Some(filter) };
        let answer = wire::within(PATIENCE, self.client().runtime().list_pod_sandbox(request)).await?;
        let mut sandboxes = answer.items;
        sandboxes.sort_by_key(|sandbox| std::cmp::Reverse((attempt(sandbox), sandbox.created_at)));
        Ok(sandboxes)
    }

    async fn ready_sandbox(&self, pod_uid: &str) -> Result<Option<wire::PodSandbox>, Status> {
        let newest = self.sandboxes(&[(request::POD_UID, pod_uid)]).await?.into_iter().next();
        Ok(newest.filter(|sandbox| sandbox.state == READY))
    }

    async fn sandbox_status(&self, id: &str, verbose: bool) -> Result<wire::PodSandboxStatusResponse, Status> {
        let request = wire::PodSandboxStatusRequest { pod_sandbox_id: id.to_string(), verbose };
        wire::within(PATIENCE, self.client().runtime().pod_sandbox_status(request)).await
    }

    async fn stop_sandbox(&self, id: &str) -> Result<(), Status> {
        let request = wire::StopPodSandboxRequest { pod_sandbox_id: id.to_string() };
        fine_if_gone(wire::within(STOP_PATIENCE, self.client().runtime().stop_pod_sandbox(request)).await)
    }

    async fn forget_sandbox(&self, id: &str) -> Result<(), Status> {
        self.stop_sandbox(id).await?;
        let request = wire::RemovePodSandboxRequest { pod_sandbox_id: id.to_string() };
        fine_if_gone(wire::within(STOP_PATIENCE, self.client().runtime().remove_pod_sandbox(request)).await)
    }

    async fn find(&self, key: &ContainerKey) -> Result<Option<wire::Container>, Status> {
        let labels = [(request::POD_UID, key.pod_uid.as_str()), (request::CONTAINER_NAME, key.name.as_str())];
        let found = self.list(&labels).await?;
        Ok(found.into_iter().find(|one| one.metadata.as_ref().is_some_and(|it| it.attempt == key.attempt)))
    }

    /// The id of a container that commands can be run in.
    async fn running(&self, key: &ContainerKey) -> Result<String, StreamError> {
        let found = self.find(key).await.map_err(|status| StreamError::failed(answer::text(&status)))?;
        let running = found.filter(|container| container.state == RUNNING);
        let not_found = || StreamError::new(Reason::NotFound, format!("container not found ({:?})", key.name));
        running.map(|container| container.id).ok_or_else(not_found)
    }

    pub(crate) async fn status(&self, id: &str) -> Result<wire::ContainerStatus, Status> {
        let request = wire::ContainerStatusRequest { container_id: id.to_string(), verbose: false };
        let answer = wire::within(PATIENCE, self.client().runtime().container_status(request)).await?;
        answer.status.ok_or_else(|| Status::not_found(format!("container {id} has no status")))
    }

    /// `None`: gone meanwhile.
    async fn record(&self, id: &str) -> Result<Option<ContainerRecord>, Status> {
        let status = match self.status(id).await {
            Ok(status) => status,
            Err(status) if answer::is_gone(&status) => return Ok(None),
            Err(status) => return Err(status),
        };
        let message = if status.state == EXITED { last_words(&status) } else { String::new() };
        Ok(Some(answer::record(&self.inner.name, &status, message)))
    }

    async fn remove_by_id(&self, id: &str) -> Result<(), Status> {
        let request = wire::RemoveContainerRequest { container_id: id.to_string() };
        fine_if_gone(wire::within(PATIENCE, self.client().runtime().remove_container(request)).await)
    }

    /// The container's id, or why there is none.
    async fn create(&self, key: &ContainerKey, request: &StartRequest) -> Result<String, Status> {
        let sandbox = self.ready_sandbox(&key.pod_uid).await?;
        let sandbox =
            sandbox.ok_or_else(|| Status::not_found(format!("pod {} has no sandbox that is ready", key.pod_uid)))?;
        // What an agent that ended in the middle of a start has left behind.
        if let Some(half) = self.find(key).await? {
            self.stop_container(&half.id, Duration::ZERO).await?;
            self.remove_by_id(&half.id).await?;
        }
        let needs_user = request.security.user.is_none() && request.security.group.is_some();
        let image = if needs_user { self.image_status(&request.image_id).await? } else { None };
        let pod = identity(&sandbox);
        let asked = asked(&sandbox);
        let places = asked.log_dir.with_file_name(SUB_PATHS).join(&key.name);
        let mounts = pinned(&request.mounts, &places).map_err(|error| Status::internal(error.to_string()))?;
        let request = &StartRequest { mounts, ..request.clone() };
        let mut config = request::container(&self.inner.host, key, &pod, request, asked.namespaces, image.as_ref());
        if let Some(target) = request.pid_of.as_ref().filter(|_| asked.namespaces.pid == Namespace::Container) {
            let found = self.find(target).await?.filter(|it| it.state == RUNNING);
            let found = found.ok_or_else(|| Status::not_found(format!("container {:?} does not run", target.name)))?;
            request::look_into(&mut config, found.id);
        }
        // As it was made: the runtime asks the request, not its memory, whether a container may be privileged.
        let parent = sandbox.annotations.get(CGROUP_PARENT).cloned().unwrap_or_default();
        let sandbox_config = wire::PodSandboxConfig {
            labels: sandbox.labels.clone(),
            annotations: sandbox.annotations.clone(),
            ..request::sandbox(&self.inner.host, &asked, attempt(&sandbox), parent)
        };
        let request = wire::CreateContainerRequest {
            pod_sandbox_id: sandbox.id,
            config: Some(config),
            sandbox_config: Some(sandbox_config),
        };
        let created = wire::within(PATIENCE, self.client().runtime().create_container(request)).await?;
        Ok(created.container_id)
    }

    async fn make_sandbox(&self, request: &SandboxRequest) -> Result<(), Status> {
        let uid = &request.pod.uid;
        let held = self.sandboxes(&[(request::POD_UID, uid)]).await?;
        if held.first().is_some_and(|newest| newest.state == READY) {
            return Ok(());
        }
        for old in &held {
            // Its containers are kept, for what they have said and how often they have been tried.
            self.stop_sandbox(&old.id).await?;
        }
        let attempt = held.first().map_or(0, |newest| attempt(newest) + 1);
        self.inner.cgroups.make(request.qos, uid, &request.limits);
        let parent = self.inner.cgroups.parent(request.qos, uid);
        let mut config = request::sandbox(&self.inner.host, request, attempt, parent.clone());
        config.annotations.insert(CGROUP_PARENT.to_string(), parent);
        let kept = SandboxRequest { labels: BTreeMap::new(), annotations: BTreeMap::new(), ..request.clone() };
        config.annotations.insert(ASKED.to_string(), serde_json::to_string(&kept).unwrap_or_default());
        let request = wire::RunPodSandboxRequest { config: Some(config), runtime_handler: request.handler.clone() };
        wire::within(PATIENCE, self.client().runtime().run_pod_sandbox(request)).await?;
        Ok(())
    }
}

/// Annotations of a sandbox, for its containers.
const CGROUP_PARENT: &str = "backstay.dev/cgroup-parent";
/// What the sandbox was made from, but for its own labels and annotations.
const ASKED: &str = "backstay.dev/sandbox";

/// Asks the runtime; one too old to be asked says it among its settings.
async fn driver(client: &Client, settings: &settings::Known) -> Driver {
    let answer =
        wire::within(wire::CONNECT_PATIENCE, client.runtime().runtime_config(wire::RuntimeConfigRequest {})).await;
    let asked: Option<wire::RuntimeConfigResponse> = answer.ok();
    if let Some(linux) = asked.and_then(|answer| answer.linux) {
        return if linux.cgroup_driver == wire::CgroupDriver::Systemd as i32 {
            Driver::Systemd
        } else {
            Driver::Cgroupfs
        };
    }
    if settings.ask(client).await.unwrap_or_default().uses_systemd { Driver::Systemd } else { Driver::Cgroupfs }
}

/// Without `CAP_SYS_RESOURCE` nobody gets below where he is; the runtime beside us is as free as we are.
fn oom_score_adj_min() -> i32 {
    const CAP_SYS_RESOURCE: u64 = 1 << 24;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let capabilities = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let capabilities = capabilities.and_then(|text| u64::from_str_radix(text.trim(), 16).ok()).unwrap_or(0);
    if capabilities & CAP_SYS_RESOURCE != 0 {
        return -1000;
    }
    let own = std::fs::read_to_string("/proc/self/oom_score_adj").unwrap_or_default();
    own.trim().parse().unwrap_or(0)
}

/// The runtime follows links in what it mounts; parts of volumes are held fast first, as a kubelet does it.
fn pinned(mounts: &[Mount], places: &Path) -> std::io::Result<Vec<Mount>> {
    let pinned = mounts.iter().enumerate().map(|(number, mount)| {
        if mount.sub_path.as_os_str().is_empty() {
            return Ok(mount.clone());
        }
        let source = places.join(number.to_string());
        mount.pin(&source)?;
        Ok(Mount { source, sub_path: PathBuf::new(), ..mount.clone() })
    });
    pinned.collect()
}

fn attempt(sandbox: &wire::PodSandbox) -> u32 {
    sandbox.metadata.as_ref().map_or(0, |metadata| metadata.attempt)
}

fn identity(sandbox: &wire::PodSandbox) -> PodIdentity {
    let label = |name: &str| sandbox.labels.get(name).cloned().unwrap_or_default();
    PodIdentity {
        namespace: label(request::POD_NAMESPACE),
        name: label(request::POD_NAME),
        uid: label(request::POD_UID),
    }
}

fn asked(sandbox: &wire::PodSandbox) -> SandboxRequest {
    let kept = sandbox.annotations.get(ASKED);
    let asked = kept.and_then(|text| serde_json::from_str(text).ok());
    asked.unwrap_or_else(|| SandboxRequest { pod: identity(sandbox), ..SandboxRequest::default() })
}

fn last_words(status: &wire::ContainerStatus) -> String {
    let file = answer::annotation(status, request::TERMINATION_MESSAGE);
    let message = if file.is_empty() { String::new() } else { termination_message(Path::new(file)) };
    if message.is_empty() && status.exit_code != 0 && answer::annotation(status, request::MESSAGE_FROM_LOG) == "true" {
        return logs::last_words(Path::new(answer::annotation(status, request::LOG)));
    }
    message
}

pub(crate) fn fine_if_gone<T>(answer: Result<T, Status>) -> Result<(), Status> {
    match answer {
        Err(status) if !answer::is_gone(&status) => Err(status),
        _ => Ok(()),
    }
}

fn refused(status: Status) -> RuntimeError {
    RuntimeError::Refused(answer::text(&status))
}

#[async_trait]
impl Runtime for CriRuntime {
    fn version(&self) -> String {
        format!("{}://{}", self.inner.name, self.inner.version.trim_start_matches('v'))
    }

    fn images(&self) -> Option<&dyn Images> {
        Some(self)
    }

    async fn health(&self) -> Health {
        let answer =
            wire::within(PATIENCE, self.client().runtime().status(wire::StatusRequest { verbose: false })).await;
        let answer: wire::StatusResponse = match answer {
            Ok(answer) => answer,
            Err(status) => {
                let why = Err(format!("container runtime is down: {}", status.message()));
                return Health { runtime: why.clone(), network: why };
            }
        };
        health(&answer.status.unwrap_or_default())
    }

    async fn pods(&self) -> Result<Vec<PodIdentity>, RuntimeError> {
        let sandboxes = self.sandboxes(&[]).await.map_err(refused)?;
        let mut pods: Vec<PodIdentity> = sandboxes.iter().map(identity).collect();
        pods.sort_by(|one, other| one.uid.cmp(&other.uid));
        pods.dedup_by(|one, other| one.uid == other.uid);
        Ok(pods)
    }

    async fn prepare(&self, request: &SandboxRequest) -> Result<(), RuntimeError> {
        let dir = &request.log_dir;
        std::fs::create_dir_all(dir).map_err(|source| RuntimeError::Io { what: "make", path: dir.clone(), source })?;
        self.make_sandbox(request).await.map_err(refused)
    }

    async fn sandbox(&self, pod_uid: &str) -> Result<Option<SandboxState>, RuntimeError> {
        let Some(sandbox) = self.ready_sandbox(pod_uid).await.map_err(refused)? else { return Ok(None) };
        let answer = match self.sandbox_status(&sandbox.id, false).await {
            Ok(answer) => answer,
            Err(status) if answer::is_gone(&status) => return Ok(None),
            Err(status) => return Err(refused(status)),
        };
        let network = answer.status.and_then(|status| status.network).unwrap_or_default();
        let more = network.additional_ips.into_iter().map(|it| it.ip);
        let ips = std::iter::once(network.ip).chain(more).filter(|ip| !ip.is_empty()).collect();
        Ok(Some(SandboxState { ips }))
    }

    async fn start(&self, key: &ContainerKey, request: StartRequest) -> Result<(), StartFailure> {
        let failure = |reason: &str, message: String| StartFailure { reason: reason.into(), message };
        if let Some(dir) = request.log.parent() {
            let made = std::fs::create_dir_all(dir);
            made.map_err(|error| failure("CreateContainerError", format!("cannot make {}: {error}", dir.display())))?;
        }
        let id = self.create(key, &request).await;
        let id = id.map_err(|status| failure("CreateContainerError", status.message().to_string()))?;
        let asked = wire::StartContainerRequest { container_id: id.clone() };
        let started = wire::within(PATIENCE, self.client().runtime().start_container(asked)).await;
        let Err(refused) = started else { return Ok(()) };
        // There is a container that tells, if the runtime got as far as trying.
        match self.status(&id).await {
            Ok(status) if status.state == EXITED => Ok(()),
            _ => Err(failure("RunContainerError", refused.message().to_string())),
        }
    }

    async fn containers(&self, pod_uid: &str) -> Result<BTreeMap<String, Vec<ContainerRecord>>, RuntimeError> {
        let found = self.list(&[(request::POD_UID, pod_uid)]).await.map_err(refused)?;
        let mut containers: BTreeMap<String, Vec<ContainerRecord>> = BTreeMap::new();
        // One that was made and never started is what an interrupted start has left: the next start replaces it.
        for container in found.into_iter().filter(|container| container.state != CREATED) {
            if container.state > EXITED {
                // The runtime has lost sight of it: nothing of it may go on.
                self.stop_container(&container.id, Duration::ZERO).await.map_err(refused)?;
            }
            let name = container.metadata.as_ref().map(|metadata| metadata.name.clone()).unwrap_or_default();
            if let Some(record) = self.record(&container.id).await.map_err(refused)? {
                containers.entry(name).or_default().push(record);
            }
        }
        containers.values_mut().for_each(|records| records.sort_by_key(|record| record.attempt));
        Ok(containers)
    }

    async fn stop(&self, key: &ContainerKey, grace: Duration) -> Result<(), RuntimeError> {
        match self.find(key).await.map_err(refused)? {
            Some(container) if container.state != EXITED => self.stop_gently(&container, grace).await.map_err(refused),
            _ => Ok(()),
        }
    }

    async fn exec(
        &self,
        key: &ContainerKey,
        command: &[String],
        timeout: Duration,
    ) -> Result<ExecOutput, RuntimeError> {
        let container = self.find(key).await.map_err(refused)?;
        let container = container.ok_or_else(|| RuntimeError::UnknownContainer(key.name.clone()))?;
        if container.state != RUNNING {
            return Err(RuntimeError::NotRunning(key.name.clone()));
        }
        let seconds = i64::try_from(timeout.as_millis().div_ceil(1000)).unwrap_or(i64::MAX).max(1);
        let request = wire::ExecSyncRequest { container_id: container.id, cmd: command.to_vec(), timeout: seconds };
        let patience = timeout.saturating_add(EXEC_PATIENCE);
        let answer = wire::within(patience, self.client().runtime().exec_sync(request)).await;
        match answer {
            Ok(answer) => Ok(ExecOutput { exit_code: Some(answer.exit_code), output: output(&answer) }),
            Err(status) if is_timeout(&status) => Ok(ExecOutput { exit_code: None, output: String::new() }),
            Err(status) => Err(refused(status)),
        }
    }

    async fn open_exec(&self, key: &ContainerKey, request: ExecRequest) -> Result<Session, StreamError> {
        let container_id = self.running(key).await?;
        let ExecRequest { command: cmd, stdin, stdout, stderr, tty } = request;
        let asked = wire::ExecRequest { container_id, cmd, tty, stdin, stdout, stderr };
        let answer = wire::within(PATIENCE, self.client().runtime().exec(asked)).await;
        let at: wire::ExecResponse = answer.map_err(|status| StreamError::failed(answer::text(&status)))?;
        streams::open(&at.url, Wanted { stdin, stdout, stderr, tty }).await
    }

    async fn attach(&self, key: &ContainerKey, request: AttachRequest) -> Result<Session, StreamError> {
        let container_id = self.running(key).await?;
        let AttachRequest { stdin, stdout, stderr, tty } = request;
        let asked = wire::AttachRequest { container_id, stdin, tty, stdout, stderr };
        let answer = wire::within(PATIENCE, self.client().runtime().attach(asked)).await;
        let at: wire::AttachResponse = answer.map_err(|status| StreamError::failed(answer::text(&status)))?;
        streams::open(&at.url, Wanted { stdin, stdout, stderr, tty }).await
    }

    async fn port_forward(&self, pod_uid: &str, port: u16) -> Result<BoxDuplex, StreamError> {
        let failed = |why: String| StreamError::failed(format!("cannot connect to port {port} of the pod: {why}"));
        let sandbox = self.ready_sandbox(pod_uid).await.map_err(|status| failed(answer::text(&status)))?;
        let sandbox = sandbox.ok_or_else(|| failed("it has no sandbox".to_string()))?;
        let verbose = self.sandbox_status(&sandbox.id, true).await.map_err(|status| failed(answer::text(&status)))?;
        let namespace = match asked(&sandbox).namespaces.network {
            backstay_node::runtime::Namespace::Host => None,
            _ => Some(network_namespace(&verbose.info).ok_or_else(|| failed("its network is not known".to_string()))?),
        };
        let connection = netns::connect(namespace.as_deref(), port).await.map_err(|error| failed(error.to_string()))?;
        Ok(Box::new(connection))
    }

    async fn end_sandbox(&self, pod_uid: &str) -> Result<(), RuntimeError> {
        for sandbox in self.sandboxes(&[(request::POD_UID, pod_uid)]).await.map_err(refused)? {
            self.stop_sandbox(&sandbox.id).await.map_err(refused)?;
        }
        self.inner.cgroups.remove(pod_uid).await;
        Ok(())
    }

    async fn remove_container(&self, key: &ContainerKey) -> Result<(), RuntimeError> {
        let Some(container) = self.find(key).await.map_err(refused)? else { return Ok(()) };
        self.remove_by_id(&container.id).await.map_err(refused)?;
        let named = |annotation: &str| container.annotations.get(annotation).map(Path::new);
        if let Some(log) = named(request::LOG) {
            logs::remove(log);
        }
        if let Some(message) = named(request::TERMINATION_MESSAGE) {
            let _ = std::fs::remove_file(message);
            let _ = message.parent().map(std::fs::remove_dir);
        }
        Ok(())
    }

    async fn remove(&self, pod_uid: &str) -> Result<(), RuntimeError> {
        for sandbox in self.sandboxes(&[(request::POD_UID, pod_uid)]).await.map_err(refused)? {
            self.forget_sandbox(&sandbox.id).await.map_err(refused)?;
        }
        for container in self.list(&[(request::POD_UID, pod_uid)]).await.map_err(refused)? {
            self.stop_container(&container.id, Duration::ZERO).await.map_err(refused)?;
            self.remove_by_id(&container.id).await.map_err(refused)?;
        }
        self.inner.cgroups.remove(pod_uid).await;
        if self.sandboxes(&[]).await.is_ok_and(|left| left.is_empty()) {
            self.inner.cgroups.remove_if_unused();
        }
        Ok(())
    }

    async fn usage(&self, pod_uid: &str) -> Option<PodUsage> {
        let filter = wire::ContainerStatsFilter { label_selector: self.selector(&[(request::POD_UID, pod_uid)]) };
        let request = wire::ListContainerStatsRequest { filter: Some(filter) };
        let answer = wire::within(PATIENCE, self.client().runtime().list_container_stats(request)).await;
        let answer: wire::ListContainerStatsResponse = answer.ok()?;
        let mut usage = PodUsage { processes: self.inner.cgroups.processes(pod_uid), ..PodUsage::default() };
        for stats in answer.stats {
            let memory = stats.memory.and_then(|memory| memory.working_set_bytes);
            let disk = stats.writable_layer.and_then(|layer| layer.used_bytes);
            usage.memory_bytes += memory.map_or(0, |bytes| bytes.value);
            usage.disk_bytes += disk.map_or(0, |bytes| bytes.value);
        }
        Some(usage)
    }

    fn notify(&self, changed: UnboundedSender<String>) {
        tokio::spawn(events::watch(self.clone(), changed));
    }
}

fn health(status: &wire::RuntimeStatus) -> Health {
    let of = |kind: &str| match status.conditions.iter().find(|condition| condition.r#type == kind) {
        Some(condition) if condition.status => Ok(()),
        Some(condition) => Err(format!(
            "container {} not ready: {}: {}",
            kind.trim_end_matches("Ready").to_lowercase(),
            condition.reason,
            condition.message
        )),
        None => Err(format!("the container runtime says nothing about {kind}")),
    };
    Health { runtime: of("RuntimeReady"), network: of("NetworkReady") }
}

/// A runtime says it by its code, containerd 1.6 only by its words.
fn is_timeout(status: &Status) -> bool {
    status.code() == Code::DeadlineExceeded
        || status.message().contains("timeout") && status.message().contains("exceeded")
}

fn output(answer: &wire::ExecSyncResponse) -> String {
    let mut bytes = [answer.stdout.as_slice(), answer.stderr.as_slice()].concat();
    bytes.truncate(EXEC_OUTPUT_BYTES);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// From what the runtime says about a sandbox when asked for all.
fn network_namespace(info: &HashMap<String, String>) -> Option<PathBuf> {
    let info: serde_json::Value = serde_json::from_str(info.get("info")?).ok()?;
    let namespaces = info["runtimeSpec"]["linux"]["namespaces"].as_array()?;
    let network = namespaces.iter().find(|namespace| namespace["type"] == "network")?;
    Some(network["path"].as_str()?.into())
}

#[cfg(test)]
#[path = "runtime_tests.rs"]
mod tests;
