//! The runtime port over shims.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use backstay_api::Clock;
use rustix::process::{Signal, pidfd_send_signal};
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;
use tokio::sync::mpsc::UnboundedSender;

use super::alive::{self, KnownProcess};
use super::cgroup::{self, Cgroups, Made};
use super::layout::{self, CgroupSeat, Layout, ShimSpec, ShimState};
use super::output::Output;
use super::remove::{remove_dir, remove_file};
use super::signals;
use super::starting::Starting;
use super::strays;
use super::streams::{self, Terminal};
use crate::lifecycle::observed::Exit;
use crate::lifecycle::{ContainerRecord, ContainerState};
use crate::runtime::{
    ContainerKey, ExecOutput, Mount, PodIdentity, PodUsage, Runtime, RuntimeError, SandboxRequest, SandboxState,
    StartFailure, StartRequest,
};
use crate::streams::{AttachRequest, BoxDuplex, ExecRequest, Reason, Session, StreamError};

/// A log file is turned over at this size, and this many are kept: the kubelet's defaults.
const LOG_BYTES_MAX: u64 = 10 * 1024 * 1024;
const LOG_FILES: u32 = 5;
/// Which runtime a pod belongs to; without it, to `process`.
const OWNER: &str = "runtime.json";
/// A shim that has not started its container after this long never will.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// A process that was killed may take so long to vanish before we call it stuck.
const KILL_TIMEOUT: Duration = Duration::from_secs(10);

/// How to become a shim: the words before `DIR`.
#[derive(Clone, Debug)]
pub struct ShimCommand(pub Vec<OsString>);

impl Default for ShimCommand {
    /// This binary's hidden subcommand. Works even after the binary has been replaced on disk.
    fn default() -> Self {
        Self(vec!["/proc/self/exe".into(), "shim".into()])
    }
}

pub struct ProcessRuntime {
    /// Of container ids, and of the version.
    scheme: &'static str,
    layout: Layout,
    shim: ShimCommand,
    clock: Clock,
    cgroups: Cgroups,
    /// Volumes can be mounted: we are root.
    mounts: bool,
    changed: Arc<Mutex<Option<UnboundedSender<String>>>>,
    /// Running containers whose end somebody waits for already.
    watched: Arc<Mutex<BTreeSet<ContainerKey>>>,
    starting: Starting,
}

impl ProcessRuntime {
    /// `pods`: the directory that holds everything about pods, made if missing, and closed to other users: it holds
    /// secrets.
    ///
    /// # Errors
    /// If the directory cannot be made.
    pub fn new(pods: PathBuf, shim: ShimCommand, clock: Clock) -> io::Result<Self> {
        std::fs::create_dir_all(&pods)?;
        std::fs::set_permissions(&pods, std::fs::Permissions::from_mode(0o700))?;
        let pods = pods.canonicalize()?;
        let root = rustix::process::geteuid().is_root();
        let name = format!("{:016x}", crate::simulated::hash(&pods.display().to_string()));
        Ok(Self {
            scheme: "process",
            cgroups: if root { Cgroups::detect(&name) } else { Cgroups::default() },
            layout: Layout { pods },
            shim,
            clock,
            mounts: root,
            changed: Arc::default(),
            watched: Arc::default(),
            starting: Starting::default(),
        })
    }

    /// The same under another name, for a runtime that encloses what it starts.
    #[must_use]
    pub fn named(self, scheme: &'static str) -> Self {
        Self { scheme, ..self }
    }

    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    pub fn shim(&self) -> &ShimCommand {
        &self.shim
    }

    /// To all users but our own.
    fn close(&self) -> io::Result<()> {
        std::fs::set_permissions(&self.layout.pods, std::fs::Permissions::from_mode(0o700))
    }

    /// # Errors
    /// If nobody knows. What cannot be looked at just now may run.
    fn record(&self, key: &ContainerKey) -> io::Result<Option<ContainerRecord>> {
        let dir = self.layout.attempt(key);
        // An agent that died, or a disk that was full, before there was anything to run.
        if ["spec.json", "state.json", "exit.json"].iter().all(|file| !dir.join(file).exists()) {
            return Ok(None);
        }
        // What has become unreadable was written once, and may run: it must not be forgotten.
        let spec: ShimSpec = layout::try_read(&dir.join("spec.json"))?.unwrap_or_default();
        Ok(Some(ContainerRecord {
            id: self.id(key),
            attempt: key.attempt,
            image_id: spec.image_id.clone(),
            backoff_seconds: spec.backoff_seconds,
            state: self.state(key, &dir, &spec)?,
        }))
    }

    fn state(&self, key: &ContainerKey, dir: &Path, spec: &ShimSpec) -> io::Result<ContainerState> {
        if let Some(exit) = layout::try_read::<Exit>(&dir.join("exit.json"))? {
            return Ok(ContainerState::Exited(exit));
        }
        let state = layout::try_read::<ShimState>(&dir.join("state.json"))?;
        if let Some(state) = &state
            && state.boot_id == alive::this_boot()?
            && alive::is_alive(state.shim_pid, state.shim_start)?
        {
            self.watch(key, state);
            return Ok(ContainerState::Running { started_at: state.started_at });
        }
        // It may have ended between the two looks.
        if let Some(exit) = layout::try_read::<Exit>(&dir.join("exit.json"))? {
            return Ok(ContainerState::Exited(exit));
        }
        Ok(ContainerState::Exited(self.lost(dir, spec, state.as_ref())))
    }

    /// The shim is gone without a word: it was killed, or the machine went down. Nothing of it may go on.
    fn lost(&self, dir: &Path, spec: &ShimSpec, state: Option<&ShimState>) -> Exit {
        match state {
            Some(state) if state.boot_id == alive::boot_id() => {
                alive::kill_sessions(&[state.pid, state.shim_pid]);
            }
            Some(_) => {}
            // An agent that was killed may have left one that has not begun yet.
            None => strays::kill(&self.shim.0, dir),
        }
        spec.cgroups.iter().for_each(CgroupSeat::kill_all);
        let now = self.clock.now();
        let complaint = std::fs::read_to_string(dir.join("shim.err")).unwrap_or_default();
        let exit = match state {
            Some(state) => Exit {
                started_at: state.started_at,
                finished_at: now,
                exit_code: 137,
                reason: "ContainerStatusUnknown".into(),
                message: "The container could not be located when the pod was looked at: its supervisor is gone".into(),
            },
            None => Exit {
                started_at: now,
                finished_at: now,
                exit_code: 128,
                reason: "StartError".into(),
                message: complaint.trim().to_string(),
            },
        };
        if let Err(error) = layout::write(&dir.join("exit.json"), &exit) {
            tracing::warn!(dir = %dir.display(), %error, "end of a lost container not recorded");
        }
        exit
    }

    /// Tells of the container's end, once.
    fn watch(&self, key: &ContainerKey, state: &ShimState) {
        if !self.watched.lock().expect("never poisoned").insert(key.clone()) {
            return;
        }
        let (key, changed, watched) = (key.clone(), self.changed.clone(), self.watched.clone());
        let fd = alive::open(state.shim_pid, state.shim_start);
        tokio::spawn(async move {
            if let Some(fd) = fd {
                signals::ended(fd).await;
            }
            watched.lock().expect("never poisoned").remove(&key);
            tell(&changed, &key.pod_uid);
        });
    }

    fn alive_shim(&self, dir: &Path) -> Option<OwnedFd> {
        let state = layout::read::<ShimState>(&dir.join("state.json"))?;
        if state.boot_id != alive::boot_id() {
            return None;
        }
        alive::open(state.shim_pid, state.shim_start)
    }

    /// The container's own process; `None`: it does not run.
    pub fn main_process(&self, key: &ContainerKey) -> Option<KnownProcess> {
        let state = layout::read::<ShimState>(&self.layout.attempt(key).join("state.json"))?;
        Some(state.main()).filter(|main| main.open().is_some())
    }

    async fn spawn(&self, dir: &Path) -> io::Result<()> {
        let errors = std::fs::File::create(dir.join("shim.err"))?;
        let mut command = Command::new(&self.shim.0[0]);
        command.args(&self.shim.0[1..]).arg(dir).env_clear().current_dir("/");
        // A group of its own: what the terminal sends to the agent is not for pods.
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(errors).process_group(0);
        let mut child = command.spawn()?;
        let mut said = Vec::new();
        if let Some(mut stdout) = child.stdout.take() {
            // It closes its end once the container runs or word of its failure is on disk. It speaks if there is neither.
            if tokio::time::timeout(START_TIMEOUT, stdout.read_to_end(&mut said)).await.is_err() {
                // It must not begin later on, when another one has taken its place.
                kill_group(&child);
                let _ = tokio::time::timeout(KILL_TIMEOUT, child.wait()).await;
                return Err(io::Error::other(format!("it did not start within {} s", START_TIMEOUT.as_secs())));
            }
        }
        tokio::spawn(async move { child.wait().await });
        match String::from_utf8_lossy(&said).trim() {
            "" => Ok(()),
            complaint => Err(io::Error::other(complaint)),
        }
    }

    /// Several runtimes may share a directory of pods.
    fn is_own(&self, uid: &str) -> bool {
        let owner = layout::read::<String>(&self.layout.pod(uid).join(OWNER));
        owner.as_deref().unwrap_or("process") == self.scheme
    }

    fn id(&self, key: &ContainerKey) -> String {
        format!("{}://{}/{}/{}", self.scheme, key.pod_uid, key.name, key.attempt)
    }

    /// What a shim is to run for a request, with cgroups that are made now.
    pub fn spec(&self, key: &ContainerKey, request: StartRequest) -> ShimSpec {
        let name = format!("{}-{}-{}", key.pod_uid, key.name, key.attempt);
        let Made { seats, missing } = self.cgroups.make(&name, request.limits);
        ShimSpec {
            command: request.command.into_iter().chain(request.args).collect(),
            env: request.env,
            working_dir: request.working_dir,
            uid: request.security.user,
            gid: request.security.group,
            mounts: if self.mounts { request.mounts } else { Vec::<Mount>::new() },
            cgroups: seats,
            limits_missing: missing,
            log: self.layout.log(key),
            log_bytes_max: LOG_BYTES_MAX,
            log_files: LOG_FILES,
            attempt: key.attempt,
            backoff_seconds: request.backoff_seconds,
            image: request.image,
            message_from_log: request.message_from_log,
            stdin: request.stdin,
            stdin_once: request.stdin_once,
            tty: request.tty,
            image_id: request.image_id,
            stop_signal: request.stop_signal,
            termination_message: request.termination_message,
            enclosure: None,
        }
    }

    /// Has a shim run what the spec says; returns once it runs, or its end is on record.
    ///
    /// # Errors
    /// If there is not even a shim, or it found no room to work in. Nothing is left of it then.
    pub async fn launch(&self, key: &ContainerKey, spec: &ShimSpec) -> Result<(), StartFailure> {
        let _start = self.starting.begin(key);
        let launched = self.try_launch(key, spec).await;
        if launched.is_err() {
            spec.cgroups.iter().for_each(CgroupSeat::kill_all);
            spec.cgroups.iter().for_each(CgroupSeat::remove);
            if let Err(error) = self.remove_attempt(key) {
                tracing::warn!(container = key.name, %error, "a container that was not started is not removed");
            }
        }
        launched
    }

    async fn try_launch(&self, key: &ContainerKey, spec: &ShimSpec) -> Result<(), StartFailure> {
        let failed = |what: &str, error: io::Error| StartFailure {
            reason: "CreateContainerError".into(),
            message: format!("cannot {what} for container {}: {error}", key.name),
        };
        let (dir, logs) = (self.layout.attempt(key), self.layout.logs(&key.pod_uid, &key.name));
        std::fs::create_dir_all(&dir).map_err(|error| failed("make a directory", error))?;
        std::fs::create_dir_all(&logs).map_err(|error| failed("make a log directory", error))?;
        layout::write(&dir.join("spec.json"), spec).map_err(|error| failed("write spec.json", error))?;
        self.spawn(&dir).await.map_err(|error| failed("start a supervisor", error))
    }

    /// Runs a command inside a running container, with its streams open, on a terminal that the caller has made.
    ///
    /// # Errors
    /// If the command cannot be started.
    pub fn open_exec_on(
        &self,
        key: &ContainerKey,
        request: ExecRequest,
        terminal: Option<Terminal>,
    ) -> Result<Session, StreamError> {
        let dir = self.layout.attempt(key);
        let shim = self.alive_shim(&dir).ok_or_else(|| not_running(&key.name))?;
        streams::open_exec(&self.shim, &dir, request, terminal, signals::ended(shim))
    }

    fn seats(&self, key: &ContainerKey) -> Vec<CgroupSeat> {
        let spec = layout::read::<ShimSpec>(&self.layout.attempt(key).join("spec.json"));
        spec.map(|spec| spec.cgroups).unwrap_or_default()
    }

    fn keys(&self, pod_uid: &str) -> Result<Vec<ContainerKey>, RuntimeError> {
        let dir = self.layout.containers(pod_uid);
        let mut keys = Vec::new();
        for name in layout::try_names(&dir).map_err(io_error("look at", &dir))? {
            let attempts = layout::attempt_numbers(&self.layout.attempts(pod_uid, &name));
            for attempt in attempts.map_err(io_error("look at", &dir))? {
                keys.push(ContainerKey { pod_uid: pod_uid.to_string(), name: name.clone(), attempt });
            }
        }
        Ok(keys)
    }

    /// See [`Self::record`].
    fn look(&self, key: &ContainerKey) -> Result<Option<ContainerRecord>, RuntimeError> {
        self.record(key).map_err(io_error("look at", &self.layout.attempt(key)))
    }

    fn remove_attempt(&self, key: &ContainerKey) -> Result<(), RuntimeError> {
        self.seats(key).iter().for_each(CgroupSeat::remove);
        self.remove_mount_points(key);
        let log = self.layout.log(key);
        let name = log.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_string();
        let logs = self.layout.logs(&key.pod_uid, &key.name);
        for file in layout::names(&logs).iter().filter(|file| file.starts_with(&name)) {
            remove_file(&logs.join(file))?;
        }
        remove_dir(&self.layout.attempt(key))
    }

    /// Takes away the mount points that were made on the host for this container. Those that another container needs
    /// pass into its care.
    fn remove_mount_points(&self, key: &ContainerKey) {
        let list = |key: &ContainerKey| self.layout.attempt(key).join(super::shim::CREATED_MOUNT_POINTS);
        let Ok(created) = std::fs::read_to_string(list(key)) else { return };
        let uids = layout::names(&self.layout.pods);
        let others: Vec<ContainerKey> =
            uids.iter().flat_map(|uid| self.keys(uid)).flatten().filter(|other| other != key).collect();
        for path in created.lines().rev().map(Path::new) {
            if let Some(heir) = others.iter().find(|other| self.mounts_below(other, path)) {
                let inherited = std::fs::read_to_string(list(heir)).unwrap_or_default();
                let _ = std::fs::write(list(heir), format!("{}\n{inherited}", path.display()));
            } else if path.is_dir() {
                let _ = std::fs::remove_dir(path);
            } else if path.metadata().is_ok_and(|file| file.len() == 0) {
                let _ = std::fs::remove_file(path);
            }
        }
    }

    fn mounts_below(&self, key: &ContainerKey, path: &Path) -> bool {
        let spec = layout::read::<ShimSpec>(&self.layout.attempt(key).join("spec.json"));
        spec.is_some_and(|spec| spec.mounts.iter().any(|mount| mount.target.starts_with(path)))
    }
}

fn tell(changed: &Mutex<Option<UnboundedSender<String>>>, uid: &str) {
    if let Some(sender) = &*changed.lock().expect("never poisoned") {
        let _ = sender.send(uid.to_string());
    }
}

pub(super) fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> RuntimeError {
    let path = path.to_path_buf();
    move |source| RuntimeError::Io { what, path, source }
}

#[async_trait]
impl Runtime for ProcessRuntime {
    fn version(&self) -> String {
        format!("{}://{}", self.scheme, env!("CARGO_PKG_VERSION"))
    }

    async fn pods(&self) -> Result<Vec<PodIdentity>, RuntimeError> {
        let uids = layout::names(&self.layout.pods);
        let own = uids.iter().filter(|uid| self.is_own(uid));
        Ok(own.filter_map(|uid| layout::read(&self.layout.pod(uid).join("pod.json"))).collect())
    }

    async fn prepare(&self, request: &SandboxRequest) -> Result<(), RuntimeError> {
        let pod = &request.pod;
        let dir = self.layout.pod(&pod.uid);
        std::fs::create_dir_all(&dir).map_err(io_error("make", &dir))?;
        let owner = dir.join(OWNER);
        layout::write(&owner, &self.scheme).map_err(io_error("write", &owner))?;
        let file = dir.join("pod.json");
        if !file.exists() {
            // Somebody may have removed the directory of all pods.
            self.close().map_err(io_error("close", &self.layout.pods))?;
            strays::end(&self.shim.0, &dir, KILL_TIMEOUT).await;
        }
        layout::write(&file, pod).map_err(io_error("write", &file))
    }

    async fn sandbox(&self, pod_uid: &str) -> Result<Option<SandboxState>, RuntimeError> {
        Ok(self.layout.pod(pod_uid).join("pod.json").exists().then(SandboxState::default))
    }

    async fn start(&self, key: &ContainerKey, request: StartRequest) -> Result<(), StartFailure> {
        if request.command.is_empty() {
            return Err(without_command(&key.name, &request.image));
        }
        let spec = self.spec(key, request);
        for missing in &spec.limits_missing {
            tracing::warn!(container = %self.id(key), missing, "a limit does not hold");
        }
        self.launch(key, &spec).await
    }

    async fn containers(&self, pod_uid: &str) -> Result<BTreeMap<String, Vec<ContainerRecord>>, RuntimeError> {
        let mut containers: BTreeMap<String, Vec<ContainerRecord>> = BTreeMap::new();
        for key in self.keys(pod_uid)?.into_iter().filter(|key| !self.starting.has(key)) {
            if let Some(record) = self.look(&key)? {
                containers.entry(key.name).or_default().push(record);
            }
        }
        Ok(containers)
    }

    async fn stop(&self, key: &ContainerKey, grace: Duration) -> Result<(), RuntimeError> {
        let dir = self.layout.attempt(key);
        let unknown = || io_error("look at", &dir);
        let state = layout::try_read::<ShimState>(&dir.join("state.json")).map_err(unknown())?;
        let Some(state) = state else { return Ok(()) };
        if state.boot_id != alive::this_boot().map_err(unknown())? {
            return Ok(());
        }
        let shim = alive::try_open(state.shim_pid, state.shim_start).map_err(unknown())?;
        let Some(shim) = shim else { return Ok(()) };
        let gone = signals::ended(shim);
        tokio::pin!(gone);
        // Without grace there is no asking.
        let spec = layout::read::<ShimSpec>(&dir.join("spec.json")).unwrap_or_default();
        let gentle = spec.stop_signal.as_deref().and_then(signals::by_name).unwrap_or(Signal::TERM);
        let asked = (!grace.is_zero()).then_some((gentle, grace));
        for (signal, patience) in asked.into_iter().chain([(Signal::KILL, KILL_TIMEOUT)]) {
            if let Some(main) = alive::open(state.pid, state.pid_start) {
                let _ = pidfd_send_signal(&main, signal);
            }
            if tokio::time::timeout(patience, &mut gone).await.is_ok() {
                return Ok(());
            }
        }
        // The shim itself hangs: without it, all dies that is in its session or the container's.
        alive::kill(state.shim_pid);
        alive::kill_sessions(&[state.pid, state.shim_pid]);
        self.seats(key).iter().for_each(CgroupSeat::kill_all);
        Ok(())
    }

    async fn exec(
        &self,
        key: &ContainerKey,
        command: &[String],
        timeout: Duration,
    ) -> Result<ExecOutput, RuntimeError> {
        let dir = self.layout.attempt(key);
        let mut program = Command::new(&self.shim.0[0]);
        program.args(&self.shim.0[1..]).arg("exec").arg(&dir).args(command).env_clear().current_dir("/");
        let (reader, writer) = io::pipe().map_err(io_error("make a pipe for", &dir))?;
        let writer2 = writer.try_clone().map_err(io_error("make a pipe for", &dir))?;
        program.stdin(Stdio::null()).stdout(writer).stderr(writer2).process_group(0).kill_on_drop(true);
        let mut child = program.spawn().map_err(io_error("run a command in", &dir))?;
        drop(program);
        let mut output = Output::new(reader.into()).map_err(io_error("read from a command in", &dir))?;
        let status = {
            let wait = tokio::time::timeout(timeout, child.wait());
            tokio::pin!(wait);
            loop {
                tokio::select! {
                    status = &mut wait => break status,
                    () = output.read_on() => {}
                }
            }
        };
        let exit_code = match status {
            Ok(status) => Some(status.map_err(io_error("wait for a command in", &dir))?.code().unwrap_or(137)),
            Err(_) => {
                kill_group(&child);
                let _ = child.wait().await;
                None
            }
        };
        Ok(ExecOutput { exit_code, output: output.finish() })
    }

    async fn open_exec(&self, key: &ContainerKey, request: ExecRequest) -> Result<Session, StreamError> {
        self.open_exec_on(key, request, None)
    }

    async fn attach(&self, key: &ContainerKey, request: AttachRequest) -> Result<Session, StreamError> {
        streams::attach(&self.layout.attempt(key), key, request).await
    }

    async fn port_forward(&self, _pod_uid: &str, port: u16) -> Result<BoxDuplex, StreamError> {
        streams::port_forward(port).await
    }

    async fn end_sandbox(&self, pod_uid: &str) -> Result<(), RuntimeError> {
        for key in self.keys(pod_uid)? {
            if self.look(&key)?.is_none_or(|record| !record.is_running()) {
                self.seats(&key).iter().for_each(CgroupSeat::remove);
            }
        }
        Ok(())
    }

    async fn remove_container(&self, key: &ContainerKey) -> Result<(), RuntimeError> {
        self.remove_attempt(key)
    }

    async fn remove(&self, pod_uid: &str) -> Result<(), RuntimeError> {
        for key in self.keys(pod_uid)? {
            if self.look(&key)?.is_some_and(|record| record.is_running()) {
                self.stop(&key, Duration::ZERO).await?;
            }
            self.remove_attempt(&key)?;
        }
        let dir = self.layout.pod(pod_uid);
        strays::end(&self.shim.0, &dir, KILL_TIMEOUT).await;
        remove_dir(&dir)?;
        if layout::names(&self.layout.pods).is_empty() {
            self.cgroups.remove_if_unused();
        }
        Ok(())
    }

    async fn usage(&self, pod_uid: &str) -> Option<PodUsage> {
        let seats = self.keys(pod_uid).ok()?.iter().map(|key| cgroup::usage(&self.seats(key))).collect::<Vec<_>>();
        seats.into_iter().reduce(|total, one| PodUsage {
            memory_bytes: total.memory_bytes + one.memory_bytes,
            disk_bytes: 0,
            processes: total.processes + one.processes,
        })
    }

    fn notify(&self, changed: UnboundedSender<String>) {
        *self.changed.lock().expect("never poisoned") = Some(changed);
    }
}

fn not_running(container: &str) -> StreamError {
    StreamError::new(Reason::NotFound, format!("container not found ({container:?})"))
}

fn without_command(name: &str, image: &str) -> StartFailure {
    let message = format!(
        "container {name} has no command, and the process runtime, which runs commands of this machine, cannot take it \
         from the image {image}: set the container's command, or use a node whose runtime has images (cri, oci)"
    );
    StartFailure { reason: "CreateContainerConfigError".into(), message }
}

fn kill_group(child: &tokio::process::Child) {
    let group = child.id().and_then(|id| rustix::process::Pid::from_raw(id as i32));
    if let Some(group) = group {
        let _ = rustix::process::kill_process_group(group, Signal::KILL);
    }
}
