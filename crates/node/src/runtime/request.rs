//! What a runtime is asked to make: resolved, so that nothing is left to look up, and free of any runtime's own words.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::ContainerKey;

/// A pod as a runtime sees it: enough to know it again after a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodIdentity {
    pub namespace: String,
    pub name: String,
    pub uid: String,
}

/// What the containers of a pod share.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SandboxRequest {
    pub pod: PodIdentity,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    /// The handler of the pod's RuntimeClass; empty: the usual one.
    pub handler: String,
    /// Of a pod with a network of its own; empty for one on the host's.
    pub hostname: String,
    pub dns: Dns,
    pub namespaces: Namespaces,
    /// Ports of the host that lead into the pod; only where the network is its own.
    pub ports: Vec<HostPort>,
    /// By name, such as `net.ipv4.ip_forward`.
    pub sysctls: BTreeMap<String, String>,
    /// Of the pod as a whole; privileged if any container is.
    pub security: SecurityContext,
    pub qos: Qos,
    pub limits: PodLimits,
    /// Where the logs of the pod's containers lie.
    pub log_dir: PathBuf,
}

/// Whose namespace of a kind the containers live in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Namespace {
    /// All containers of the pod share one.
    #[default]
    Pod,
    /// Every container has its own.
    Container,
    Host,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespaces {
    pub network: Namespace,
    pub pid: Namespace,
    pub ipc: Namespace,
}

/// The contents of a resolver's configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dns {
    pub servers: Vec<String>,
    pub searches: Vec<String>,
    pub options: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostPort {
    pub container_port: u16,
    pub host_port: u16,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// Empty: every address.
    pub host_ip: String,
}

/// Quality of service, by requests and limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Qos {
    Guaranteed,
    Burstable,
    #[default]
    BestEffort,
}

/// What a whole pod may use; `None`: no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodLimits {
    pub memory_bytes: Option<u64>,
    pub cpu_millis: Option<u64>,
    pub cpu_request_millis: Option<u64>,
}

/// Everything needed to start a container; nothing is left to look up.
#[derive(Clone, Debug, Default)]
pub struct StartRequest {
    /// As the pod names it.
    pub image: String,
    /// As [`super::Images`] knows it; empty for a runtime without images.
    pub image_id: String,
    /// `command` and `args` with `$(VAR)` expanded. An empty command means the image's own.
    pub command: Vec<String>,
    pub args: Vec<String>,
    pub env: Vec<(String, String)>,
    pub working_dir: Option<String>,
    pub mounts: Vec<Mount>,
    pub limits: Limits,
    pub security: SecurityContext,
    /// Sees the processes of this container of the pod, as if it were one of them.
    pub pid_of: Option<ContainerKey>,
    /// Lowering it below the agent's own needs a privilege that the agent may lack; then its own is used.
    pub oom_score_adj: i32,
    pub stdin: bool,
    /// Standard input is closed once the first who attached to it has left.
    pub stdin_once: bool,
    pub tty: bool,
    /// By name, `SIGTERM`; `None`: the image's, else `SIGTERM`.
    pub stop_signal: Option<String>,
    /// The file on the host that the container writes its last words to; it is among the mounts.
    pub termination_message: Option<PathBuf>,
    /// `terminationMessagePolicy: FallbackToLogsOnError`: a failed container's message is the end of its log.
    pub message_from_log: bool,
    /// Where its log goes, in CRI format.
    pub log: PathBuf,
    /// To be kept in the container's record.
    pub backoff_seconds: i64,
}

/// A directory or file of the node that the container sees at `target`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    pub source: PathBuf,
    /// What is seen of `source`: all of it if empty, else what lies there ([`Mount::open`]).
    #[serde(default)]
    pub sub_path: PathBuf,
    pub target: PathBuf,
    pub read_only: bool,
    #[serde(default)]
    pub propagation: Propagation,
}

/// Whether mounts that are made later below a mount cross its border.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Propagation {
    #[default]
    None,
    HostToContainer,
    Bidirectional,
}

/// What a container may use at most; `None`: no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    pub memory_bytes: Option<u64>,
    pub cpu_millis: Option<u64>,
    /// Relative weight of the CPU: the request, in thousandths of a CPU.
    pub cpu_request_millis: Option<u64>,
}

/// As whom, and with which rights, a container runs. The pod's and the container's own are merged already.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecurityContext {
    pub privileged: bool,
    /// `None`: the image's.
    pub user: Option<u32>,
    /// `None`: that of the user.
    pub group: Option<u32>,
    /// Besides `group`, `fsGroup` among them.
    pub supplemental_groups: Vec<u32>,
    /// Only `supplemental_groups`, not those that the image gives its user.
    pub strict_groups: bool,
    pub capabilities: Capabilities,
    pub read_only_root: bool,
    pub no_new_privileges: bool,
    pub seccomp: Profile,
    pub apparmor: Profile,
    pub selinux: Option<SelinuxOptions>,
    /// `procMount: Unmasked`.
    pub unmasked_proc: bool,
}

/// Changes of the usual set, by name as pods write them: `NET_ADMIN`, `ALL`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    pub add: Vec<String>,
    pub drop: Vec<String>,
}

/// A seccomp or AppArmor profile.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Profile {
    /// Nothing is said: as the runtime does it.
    #[default]
    Unset,
    RuntimeDefault,
    Unconfined,
    /// A file below the node's profile directory (seccomp), or a loaded profile by name (AppArmor).
    Localhost(String),
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SelinuxOptions {
    pub user: String,
    pub role: String,
    pub kind: String,
    pub level: String,
}
