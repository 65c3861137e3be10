//! What is known about a pod on this node besides its object: what the runtime shows, and what the driver remembers.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::probe::{ProbeKind, ProbeState};

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// `None` until the pod's directory, volumes and cgroup stand.
    pub sandbox: Option<Sandbox>,
    /// Why the last attempt to prepare the sandbox failed.
    pub setup_error: Option<SetupError>,
    /// Every container the runtime still knows, by container name, oldest attempt first.
    pub containers: BTreeMap<String, Vec<ContainerRecord>>,
    /// By container name: why the last attempt to start it made no container at all.
    pub start_errors: BTreeMap<String, StartError>,
    /// Containers whose image is being fetched.
    pub pulling: BTreeSet<String>,
    pub probes: BTreeMap<(String, ProbeKind), ProbeState>,
    /// By container id: when a container that is being stopped is killed at the latest.
    pub stopping: BTreeMap<String, Timestamp>,
    /// By container id: those that have been told that the pod ends, before their turn.
    pub told: BTreeMap<String, PreStop>,
    /// The node ends the pod, of its own accord.
    pub ended_by_node: Option<NodeEnd>,
    /// When this node began to end the pod.
    pub termination_began: Option<Timestamp>,
}

/// Why a node ends a pod: it runs short of something, is switched off, or will not have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeEnd {
    /// `Evicted`, `Terminated`, `SysctlForbidden` or `AppArmor`, as the pod's status shows it.
    pub reason: &'static str,
    pub message: String,
    /// At most so long; the pod's own grace if that is shorter.
    pub grace_seconds: i64,
    /// It has never run here, and nothing is said of its containers.
    pub is_rejection: bool,
}

impl NodeEnd {
    pub fn new(reason: &'static str, message: String, grace_seconds: i64) -> Self {
        Self { reason, message, grace_seconds, is_rejection: false }
    }

    /// Of a pod that this node does not take at all.
    pub fn rejection(reason: &'static str, why: &str) -> Self {
        Self { reason, message: format!("Pod was rejected: {why}"), grace_seconds: 0, is_rejection: true }
    }
}

/// The `preStop` hook of a container whose turn to end comes later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PreStop {
    Runs,
    /// Or there is none.
    Done,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sandbox {
    /// The pod's addresses.
    pub ips: Vec<String>,
    /// The node's addresses.
    pub host_ips: Vec<String>,
}

impl Sandbox {
    /// With one address of each family at most, that of the node's own family first, as by a kubelet. `own`: those that
    /// the pod's network gave it; none: it lives in the node's.
    pub fn new(own: Vec<String>, host_ips: Vec<String>) -> Self {
        let is_six = |ip: &str| ip.contains(':');
        let main = host_ips.first().is_some_and(|ip| is_six(ip));
        let all = if own.is_empty() { host_ips.clone() } else { own };
        let of = |family: bool| all.iter().find(|ip| is_six(ip) == family).cloned();
        Self { ips: [of(main), of(!main)].into_iter().flatten().collect(), host_ips }
    }
}

/// One attempt at running a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerRecord {
    /// With the runtime's scheme, as `status` shows it: `process://...`.
    pub id: String,
    /// 0 for the first; becomes `restartCount`.
    pub attempt: u32,
    pub image_id: String,
    /// How long to wait, after this one has exited, before the next is started.
    pub backoff_seconds: i64,
    pub state: ContainerState,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContainerState {
    Created,
    Running { started_at: Timestamp },
    Exited(Exit),
}

/// How a container ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    pub started_at: Timestamp,
    pub finished_at: Timestamp,
    /// 128 plus the signal's number where a signal ended it.
    pub exit_code: i32,
    /// `Completed`, `Error`, `OOMKilled`, `StartError`, `ContainerStatusUnknown`.
    pub reason: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// A container that could not even be made, such as one whose ConfigMap is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartError {
    /// As `state.waiting.reason`: `CreateContainerConfigError`, `ErrImagePull`...
    pub reason: String,
    pub message: String,
    pub at: Timestamp,
    /// How many attempts in a row have failed, this one included.
    pub failures: u32,
}

/// A sandbox that could not be prepared, such as one with a volume of a missing Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetupError {
    pub message: String,
    pub at: Timestamp,
    pub failures: u32,
}

impl StartError {
    /// It was its image that could not be had.
    pub fn is_of_pulling(&self) -> bool {
        matches!(self.reason.as_str(), "ErrImagePull" | "RegistryUnavailable" | "SignatureValidationFailed")
    }
}

impl Observed {
    /// The newest attempt of a container.
    pub fn latest(&self, container: &str) -> Option<&ContainerRecord> {
        self.containers.get(container)?.last()
    }

    /// The attempt before the newest.
    pub fn previous(&self, container: &str) -> Option<&ContainerRecord> {
        self.containers.get(container)?.iter().rev().nth(1)
    }

    pub fn is_running(&self, container: &str) -> bool {
        self.latest(container).is_some_and(ContainerRecord::is_running)
    }

    pub fn probe(&self, container: &str, kind: ProbeKind) -> Option<&ProbeState> {
        let id = &self.latest(container)?.id;
        self.probes.get(&(container.to_string(), kind)).filter(|state| &state.container_id == id)
    }
}

impl ContainerRecord {
    /// Not exited: it may hold resources, and must be stopped before the pod may go.
    pub fn is_running(&self) -> bool {
        !matches!(self.state, ContainerState::Exited(_))
    }

    pub fn exit(&self) -> Option<&Exit> {
        match &self.state {
            ContainerState::Exited(exit) => Some(exit),
            _ => None,
        }
    }

    pub fn started_at(&self) -> Option<Timestamp> {
        match &self.state {
            ContainerState::Created => None,
            ContainerState::Running { started_at } => Some(*started_at),
            ContainerState::Exited(exit) => Some(exit.started_at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_has_one_address_of_each_family() {
        let words = |text: &str| text.split_whitespace().map(String::from).collect::<Vec<_>>();
        for (own, host, expected) in [
            ("10.0.0.2", "192.168.0.1", "10.0.0.2"),
            ("fd00::2 10.0.0.2", "192.168.0.1", "10.0.0.2 fd00::2"),
            ("10.0.0.2 fd00::2", "fd99::1 192.168.0.1", "fd00::2 10.0.0.2"),
            ("10.0.0.2 10.0.0.3 fd00::2 fd00::3", "192.168.0.1", "10.0.0.2 fd00::2"),
            ("fd00::2", "192.168.0.1", "fd00::2"),
            ("10.0.0.2", "", "10.0.0.2"),
            ("", "192.168.0.1 fd99::1", "192.168.0.1 fd99::1"),
            ("", "", ""),
        ] {
            assert_eq!(Sandbox::new(words(own), words(host)).ips, words(expected), "{own} on {host}");
        }
    }
}
