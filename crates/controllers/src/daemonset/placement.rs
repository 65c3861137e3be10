//! Whether a node should run the pod, and whether it may keep one that runs.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use crate::model::Node;
use crate::model::wire::or_default;
use crate::scheduling::affinity::{Affinity, RequiredNodes};
use crate::scheduling::taints::{self, DAEMON_TOLERATIONS, NO_EXECUTE, NO_SCHEDULE, Toleration};

/// The answer for one node. `should_run` implies `should_continue`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    pub should_run: bool,
    pub should_continue: bool,
}

/// What of the template decides, the automatic tolerations included. Resources, host ports, other affinities, readiness
/// and cordons do not: daemon pods are there before all that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlacementRules {
    node_name: Option<Arc<str>>,
    required: RequiredNodes,
    tolerations: Vec<Toleration>,
}

impl PlacementRules {
    /// Reads the pod template (`metadata` and `spec`). What cannot be read places no pods; the server refuses it anyway.
    pub fn of(template: &Value) -> Self {
        let spec = template.get("spec").map(WireSpec::deserialize).and_then(Result::ok).unwrap_or_default();
        let automatic = DAEMON_TOLERATIONS.iter().filter(|(_, _, host_only)| spec.host_network || !host_only);
        let automatic = automatic.map(|(key, effect, _)| Toleration {
            key: key.to_string(),
            operator: "Exists".into(),
            effect: effect.to_string(),
            ..Toleration::default()
        });
        PlacementRules {
            node_name: Some(spec.node_name).filter(|name| !name.is_empty()),
            required: RequiredNodes { node_selector: spec.node_selector, affinity: spec.affinity.required() },
            tolerations: spec.tolerations.into_iter().chain(automatic).collect(),
        }
    }

    pub fn place(&self, node: &Node) -> Placement {
        let other_node = self.node_name.as_ref().is_some_and(|name| *name != node.meta.name);
        if other_node || !self.required.matches(&node.meta) {
            return Placement::default();
        }
        let repelled = |effects: &[&str]| taints::untolerated(&node.taints, &self.tolerations, effects).is_some();
        Placement { should_run: !repelled(&[NO_SCHEDULE, NO_EXECUTE]), should_continue: !repelled(&[NO_EXECUTE]) }
    }
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct WireSpec {
    #[serde(deserialize_with = "or_default")]
    node_name: Arc<str>,
    #[serde(deserialize_with = "or_default")]
    node_selector: std::collections::BTreeMap<String, String>,
    #[serde(deserialize_with = "or_default")]
    host_network: bool,
    #[serde(deserialize_with = "or_default")]
    affinity: Affinity,
    #[serde(deserialize_with = "or_default")]
    tolerations: Vec<Toleration>,
}
