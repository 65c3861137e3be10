//! The port to whatever runs containers on this machine.
//!
//! The driver prepares volumes and environment and decides when; a runtime makes, stops, shows and forgets containers.
//! Containers must outlive the agent: whatever a runtime knows, it can find out again after a restart.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use thiserror::Error;
use tokio::sync::mpsc;

use crate::lifecycle::ContainerRecord;

/// A pod as a runtime sees it: enough to know it again after a restart.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct PodIdentity {
    pub namespace: String,
    pub name: String,
    pub uid: String,
}

/// One attempt at running a container.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ContainerKey {
    pub pod_uid: String,
    pub name: String,
    pub attempt: u32,
}

/// Everything needed to start a container; nothing is left to look up.
#[derive(Clone, Debug, Default)]
pub struct StartRequest {
    pub image: String,
    /// `command` and `args` with `$(VAR)` expanded. An empty command means the image's own.
    pub command: Vec<String>,
    pub args: Vec<String>,
    pub env: Vec<(String, String)>,
    pub working_dir: Option<String>,
    pub mounts: Vec<Mount>,
    pub limits: Limits,
    pub run_as_user: Option<u32>,
    pub run_as_group: Option<u32>,
    /// `terminationMessagePolicy: FallbackToLogsOnError`: a failed container's message is the end of its log.
    pub message_from_log: bool,
    /// To be kept in the container's record.
    pub backoff_seconds: i64,
}

/// A directory or file of the node that the container sees at `target`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Mount {
    pub source: PathBuf,
    pub target: PathBuf,
    pub read_only: bool,
}

/// What a container may use at most; `None`: no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    pub memory_bytes: Option<u64>,
    pub cpu_millis: Option<u64>,
    /// Relative weight of the CPU: the request, in thousandths of a CPU.
    pub cpu_request_millis: Option<u64>,
}

/// A container that could not be made, with the reason that the pod's status is to show.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{message}")]
pub struct StartFailure {
    /// `CreateContainerConfigError`, `CreateContainerError`, `ErrImagePull`...
    pub reason: String,
    pub message: String,
}

/// What came out of a command run inside a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecOutput {
    /// `None`: it was killed for taking too long.
    pub exit_code: Option<i32>,
    /// Standard output and error as they came, cut at a length fit for an event.
    pub output: String,
}

#[derive(Debug, Error)]
pub enum RuntimeError {
    #[error("cannot {what} {path}")]
    Io { what: &'static str, path: PathBuf, source: std::io::Error },
    #[error("container {0} of this attempt is not known here")]
    UnknownContainer(String),
    #[error("container {0} is not running")]
    NotRunning(String),
}

#[async_trait]
pub trait Runtime: Send + Sync + 'static {
    /// As in `nodeInfo.containerRuntimeVersion`: `process://0.1.0`.
    fn version(&self) -> String;

    /// Every pod that this runtime still holds something of, alive or dead, in order of uid.
    async fn pods(&self) -> Result<Vec<PodIdentity>, RuntimeError>;

    /// Makes what containers of the pod share. Doing it again does no harm.
    async fn prepare(&self, pod: &PodIdentity) -> Result<(), RuntimeError>;

    /// Starts a container and returns once it runs, or has failed to: then its record says how it ended.
    ///
    /// # Errors
    /// If there is not even a container to show.
    async fn start(&self, key: &ContainerKey, request: StartRequest) -> Result<(), StartFailure>;

    /// Every attempt that is still known, by container name, oldest first.
    async fn containers(&self, pod_uid: &str) -> Result<BTreeMap<String, Vec<ContainerRecord>>, RuntimeError>;

    /// Asks the container to end, kills it and all it has started after `grace`, and returns once nothing of it runs.
    /// A second call with a shorter grace cuts the first one short. One that has ended already is fine.
    async fn stop(&self, key: &ContainerKey, grace: Duration) -> Result<(), RuntimeError>;

    /// Runs a command inside a running container.
    async fn exec(&self, key: &ContainerKey, command: &[String], timeout: Duration)
    -> Result<ExecOutput, RuntimeError>;

    /// Forgets an attempt that has ended, with its logs.
    async fn remove_container(&self, key: &ContainerKey) -> Result<(), RuntimeError>;

    /// Forgets a pod: kills what still runs and removes everything that belongs to it.
    async fn remove(&self, pod_uid: &str) -> Result<(), RuntimeError>;

    /// From now on, tells the uid of every pod of which a container has ended. Called once, before anything else.
    fn notify(&self, changed: mpsc::UnboundedSender<String>);
}
