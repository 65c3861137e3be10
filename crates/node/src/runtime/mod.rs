//! The port to whatever runs containers on this machine.
//!
//! The driver prepares volumes and environment and decides when; a runtime makes, stops, shows and forgets containers.
//! Containers must outlive the agent: whatever a runtime knows, it can find out again after a restart.

mod handlers;
mod images;
mod masks;
mod mounted;
mod request;
pub mod sub_path;
mod termination;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use thiserror::Error;
use tokio::sync::mpsc;

use crate::lifecycle::ContainerRecord;
use crate::streams::{AttachRequest, BoxDuplex, ExecRequest, Session, StreamError};

pub use handlers::{Runtimes, UnknownHandler};
pub use images::{Credential, DiskUsage, Image, ImageError, ImageUser, Images, StoredImage};
pub use masks::{READ_ONLY_PATHS, masked_paths};
pub use mounted::is_mounted;
pub use request::{
    Capabilities, Dns, HostPort, Limits, Mount, Namespace, Namespaces, PodIdentity, PodLimits, Profile, Propagation,
    Qos, SandboxRequest, SecurityContext, SelinuxOptions, StartRequest,
};
pub use termination::termination_message;

/// What programs are found by in a container, unless it or its image says otherwise.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// One attempt at running a container.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ContainerKey {
    pub pod_uid: String,
    pub name: String,
    pub attempt: u32,
}

/// What the containers of a pod share, as it is now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SandboxState {
    /// The pod's own addresses, the main one first; none: those of the node.
    pub ips: Vec<String>,
}

/// A container that could not be made, with the reason that the pod's status is to show.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{message}")]
pub struct StartFailure {
    /// `CreateContainerConfigError`, `CreateContainerError`, `RunContainerError`...
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

/// What a pod uses now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PodUsage {
    /// Memory that cannot be given back at once (the kubelet's working set), in bytes.
    pub memory_bytes: u64,
    /// What its containers have written into their own file systems, in bytes; volumes and logs not counted.
    pub disk_bytes: u64,
    pub processes: u64,
}

/// Whether a runtime can run pods. `Err` says why not, in words fit for a node's condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    pub runtime: Result<(), String>,
    /// For pods with a network of their own.
    pub network: Result<(), String>,
}

impl Default for Health {
    fn default() -> Self {
        Self { runtime: Ok(()), network: Ok(()) }
    }
}

#[derive(Debug, Error)]
pub enum RuntimeError {
    #[error("cannot {what} {path}")]
    Io { what: &'static str, path: PathBuf, source: std::io::Error },
    #[error("container {0} of this attempt is not known here")]
    UnknownContainer(String),
    #[error("container {0} is not running")]
    NotRunning(String),
    /// In the runtime's own words.
    #[error("{0}")]
    Refused(String),
}

#[async_trait]
pub trait Runtime: Send + Sync + 'static {
    /// As in `nodeInfo.containerRuntimeVersion`: `process://0.1.0`.
    fn version(&self) -> String;

    /// The images it runs containers from. `None`: it has none, and containers see the machine's own file system.
    fn images(&self) -> Option<&dyn Images> {
        None
    }

    async fn health(&self) -> Health {
        Health::default()
    }

    /// Every pod that this runtime still holds something of, alive or dead, in order of uid.
    async fn pods(&self) -> Result<Vec<PodIdentity>, RuntimeError>;

    /// Makes what containers of the pod share. Doing it again does no harm; what is left of an earlier sandbox that
    /// cannot go on is ended first, with its containers.
    async fn prepare(&self, request: &SandboxRequest) -> Result<(), RuntimeError>;

    /// `None` if there is none, or none that containers can be started in.
    async fn sandbox(&self, pod_uid: &str) -> Result<Option<SandboxState>, RuntimeError>;

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

    /// Runs a command inside a running container, with its streams open. A command that cannot be started is an error.
    async fn open_exec(&self, _key: &ContainerKey, _request: ExecRequest) -> Result<Session, StreamError> {
        Err(StreamError::unsupported("exec", &self.version()))
    }

    /// The streams of a running container's own command; outputs begin with what is printed from now on.
    async fn attach(&self, _key: &ContainerKey, _request: AttachRequest) -> Result<Session, StreamError> {
        Err(StreamError::unsupported("attach", &self.version()))
    }

    /// Connects to a port on the loopback address of the pod's network.
    async fn port_forward(&self, _pod_uid: &str, _port: u16) -> Result<BoxDuplex, StreamError> {
        Err(StreamError::unsupported("port-forward", &self.version()))
    }

    /// Gives back what the containers of a pod share, such as its network with addresses and ports, and what they have
    /// written into their own file systems. All of them have ended, and none will be started again. What they were, and
    /// their logs, stay until [`Self::remove`]. Doing it again does no harm.
    ///
    /// # Errors
    /// In words for the pod's events; then it is to be tried again.
    async fn end_sandbox(&self, _pod_uid: &str) -> Result<(), RuntimeError> {
        Ok(())
    }

    /// Forgets an attempt that has ended, with its logs.
    async fn remove_container(&self, key: &ContainerKey) -> Result<(), RuntimeError>;

    /// Forgets a pod: kills what still runs and removes everything that belongs to it.
    async fn remove(&self, pod_uid: &str) -> Result<(), RuntimeError>;

    /// `None` if this runtime cannot tell.
    async fn usage(&self, _pod_uid: &str) -> Option<PodUsage> {
        None
    }

    /// From now on, tells the uid of every pod of which a container has ended. Called once, before anything else.
    fn notify(&self, changed: mpsc::UnboundedSender<String>);
}
