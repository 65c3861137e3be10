//! Nodes as planners see them.

use serde::Deserialize;

use super::wire::or_default;
use super::{Meta, Object};
use crate::scheduling::taints::Taint;

/// A node: its labels, its taints, and what it said of itself last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    pub meta: Meta,
    pub taints: Vec<Taint>,
    pub unschedulable: bool,
    /// The status of the condition `Ready`; `None` if the node never said.
    pub ready: Option<bool>,
}

impl Node {
    /// Whether daemon placement sees the two states as the same node.
    pub fn places_like(&self, other: &Node) -> bool {
        self.taints == other.taints && self.meta.labels == other.meta.labels && self.meta.name == other.meta.name
    }
}

impl Object for Node {
    fn meta(&self) -> &Meta {
        &self.meta
    }

    fn from_json(json: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(json)
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        WireNode::deserialize(deserializer).map(Node::from)
    }
}

#[derive(Deserialize)]
struct WireNode {
    metadata: Meta,
    #[serde(default, deserialize_with = "or_default")]
    spec: WireSpec,
    #[serde(default, deserialize_with = "or_default")]
    status: WireStatus,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WireSpec {
    #[serde(deserialize_with = "or_default")]
    taints: Vec<Taint>,
    #[serde(deserialize_with = "or_default")]
    unschedulable: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WireStatus {
    #[serde(deserialize_with = "or_default")]
    conditions: Vec<WireCondition>,
}

#[derive(Deserialize)]
struct WireCondition {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    status: String,
}

impl From<WireNode> for Node {
    fn from(wire: WireNode) -> Self {
        let ready = wire.status.conditions.iter().find(|condition| condition.kind == "Ready");
        Node {
            meta: wire.metadata,
            taints: wire.spec.taints,
            unschedulable: wire.spec.unschedulable,
            ready: ready.map(|condition| condition.status == "True"),
        }
    }
}
