//! Pods as planners see them.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Deserialize;

use super::wire::or_default;
use super::{Meta, Object};
use crate::scheduling::affinity::{Affinity, NodeSelector, RequiredNodes};
use crate::scheduling::taints::Toleration;

/// A pod: where it runs or should run, and how it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    pub meta: Meta,
    /// `spec.nodeName`: set once the pod is bound.
    pub node_name: Option<Arc<str>>,
    /// The node a daemon pod is meant for: its `spec.nodeName`, else the one value of its required affinity's
    /// matchField `metadata.name`.
    pub target_node: Option<Arc<str>>,
    pub phase: Phase,
    pub readiness: Readiness,
    /// What decides where the pod may run; kept only while the pod is not bound.
    pub scheduling: Option<Box<Scheduling>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum Phase {
    #[default]
    Pending,
    Running,
    Succeeded,
    Failed,
    #[serde(other)]
    Unknown,
}

/// The condition `Ready`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    NotReady,
    /// `since` is the condition's lastTransitionTime, if it has one.
    Ready {
        since: Option<Timestamp>,
    },
}

/// What the scheduler reads of a pod that is not bound yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scheduling {
    pub scheduler_name: String,
    pub gated: bool,
    pub required: RequiredNodes,
    pub tolerations: Vec<Toleration>,
    /// Whether the condition `PodScheduled` already says `False`, and why.
    pub unschedulable: Option<String>,
}

impl Pod {
    /// Succeeded or Failed: no container of it will run again.
    pub fn is_terminal(&self) -> bool {
        matches!(self.phase, Phase::Succeeded | Phase::Failed)
    }

    pub fn is_ready(&self) -> bool {
        matches!(self.readiness, Readiness::Ready { .. })
    }

    pub fn is_terminating(&self) -> bool {
        self.meta.is_being_deleted()
    }
}

impl Object for Pod {
    fn meta(&self) -> &Meta {
        &self.meta
    }

    fn from_json(json: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(json)
    }
}

impl<'de> Deserialize<'de> for Pod {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        WirePod::deserialize(deserializer).map(Pod::from)
    }
}

#[derive(Deserialize)]
struct WirePod {
    metadata: Meta,
    #[serde(default)]
    spec: WireSpec,
    #[serde(default, deserialize_with = "or_default")]
    status: WireStatus,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct WireSpec {
    #[serde(deserialize_with = "or_default")]
    node_name: Arc<str>,
    #[serde(deserialize_with = "or_default")]
    scheduler_name: String,
    #[serde(deserialize_with = "or_default")]
    scheduling_gates: Vec<serde::de::IgnoredAny>,
    #[serde(deserialize_with = "or_default")]
    node_selector: BTreeMap<String, String>,
    #[serde(deserialize_with = "or_default")]
    affinity: Affinity,
    #[serde(deserialize_with = "or_default")]
    tolerations: Vec<Toleration>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WireStatus {
    #[serde(deserialize_with = "or_default")]
    phase: Phase,
    #[serde(deserialize_with = "or_default")]
    conditions: Vec<WireCondition>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireCondition {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    status: String,
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    last_transition_time: Option<Timestamp>,
}

impl From<WirePod> for Pod {
    fn from(wire: WirePod) -> Self {
        let WirePod { metadata, spec, status } = wire;
        let required = spec.affinity.required();
        let node_name = Some(spec.node_name).filter(|name| !name.is_empty());
        let named = || required.as_ref().and_then(NodeSelector::only_named_node).map(Arc::from);
        let target_node = node_name.clone().or_else(named);
        let readiness = readiness(&status.conditions);
        let scheduling = node_name.is_none().then(|| {
            Box::new(Scheduling {
                scheduler_name: spec.scheduler_name,
                gated: !spec.scheduling_gates.is_empty(),
                required: RequiredNodes { node_selector: spec.node_selector, affinity: required },
                tolerations: spec.tolerations,
                unschedulable: unschedulable(status.conditions),
            })
        });
        Pod { meta: metadata, node_name, target_node, phase: status.phase, readiness, scheduling }
    }
}

fn readiness(conditions: &[WireCondition]) -> Readiness {
    match conditions.iter().find(|condition| condition.kind == "Ready") {
        Some(ready) if ready.status == "True" => Readiness::Ready { since: ready.last_transition_time },
        _ => Readiness::NotReady,
    }
}

fn unschedulable(conditions: Vec<WireCondition>) -> Option<String> {
    let mut conditions = conditions.into_iter();
    let scheduled = conditions.find(|condition| condition.kind == "PodScheduled" && condition.status == "False")?;
    Some(scheduled.message.unwrap_or_default())
}
