//! DaemonSets as planners see them.

use std::collections::BTreeMap;
use std::sync::Arc;

use backstay_api::canonical;
use backstay_api::selector::LabelSelector;
use backstay_api::strategy::TEMPLATE_GENERATION;
use serde::Deserialize;
use serde_json::Value;

use super::wire::or_default;
use super::{Meta, Object};

/// A DaemonSet with every choice of its wire form made.
#[derive(Clone, Debug, PartialEq)]
pub struct DaemonSet {
    pub meta: Meta,
    pub annotations: BTreeMap<String, String>,
    pub selector: LabelSelector,
    /// `metadata` and `spec` of the pods, as stored (defaulted).
    pub template: Arc<Value>,
    /// The bytes of `data` that a ControllerRevision of this template has.
    pub data: Arc<[u8]>,
    /// The annotation that counts template changes, if it is a number.
    pub template_generation: Option<i64>,
    pub strategy: UpdateStrategy,
    /// How long a pod must have been ready to be available. Never negative.
    pub min_ready_seconds: u32,
    /// How many old revisions are kept. Default 10.
    pub revision_history_limit: usize,
    /// The status as it stands.
    pub status: DaemonSetStatus,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpdateStrategy {
    OnDelete,
    /// At least one of the two counts is not zero once resolved against a fleet that is not empty.
    RollingUpdate {
        max_unavailable: Count,
        max_surge: Count,
    },
}

/// A number of nodes, or a share of those that should run the pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    Number(u32),
    Percent(u32),
}

/// `status`; the numbers are nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct DaemonSetStatus {
    pub current_number_scheduled: u32,
    pub number_misscheduled: u32,
    pub desired_number_scheduled: u32,
    pub number_ready: u32,
    pub updated_number_scheduled: u32,
    pub number_available: u32,
    pub number_unavailable: u32,
    pub observed_generation: i64,
    pub collision_count: Option<u32>,
}

impl Count {
    /// The number for a fleet of `desired` nodes; shares are rounded up.
    pub fn of(self, desired: u32) -> u32 {
        match self {
            Count::Number(number) => number,
            Count::Percent(percent) => {
                u64::from(percent).saturating_mul(desired.into()).div_ceil(100).try_into().unwrap_or(u32::MAX)
            }
        }
    }
}

impl UpdateStrategy {
    /// Whether a new pod may stand beside an old one.
    pub fn surges(&self) -> bool {
        matches!(self, UpdateStrategy::RollingUpdate { max_surge, .. } if max_surge.of(1) > 0)
    }

    pub fn is_rolling(&self) -> bool {
        matches!(self, UpdateStrategy::RollingUpdate { .. })
    }
}

impl DaemonSet {
    /// A selector without any requirement matches every pod; such a DaemonSet is left alone.
    pub fn selects_everything(&self) -> bool {
        self.selector.requirements.is_empty()
    }

    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.selector.matches(labels)
    }

    /// Reads the object from a parsed one.
    ///
    /// # Errors
    /// A selector that cannot be read; values of a wrong type.
    pub fn from_value(object: &Value) -> Result<Self, serde_json::Error> {
        let wire = WireDaemonSet::deserialize(object)?;
        let selector = object.pointer("/spec/selector").unwrap_or(&Value::Null);
        let selector = LabelSelector::from_object(selector).map_err(serde::de::Error::custom)?;
        let annotations = backstay_api::meta::annotations(object);
        let generation = annotations.get(TEMPLATE_GENERATION);
        Ok(DaemonSet {
            template_generation: generation.and_then(|text| text.parse().ok()),
            annotations,
            meta: wire.metadata,
            selector,
            template: Arc::new(object.pointer("/spec/template").cloned().unwrap_or_default()),
            data: canonical::revision_data(object).into(),
            strategy: wire.spec.update_strategy.into(),
            min_ready_seconds: wire.spec.min_ready_seconds.max(0) as u32,
            revision_history_limit: wire.spec.revision_history_limit.unwrap_or(10).max(0) as usize,
            status: wire.status,
        })
    }
}

impl Object for DaemonSet {
    fn meta(&self) -> &Meta {
        &self.meta
    }

    fn from_json(json: &[u8]) -> Result<Self, serde_json::Error> {
        Self::from_value(&serde_json::from_slice(json)?)
    }
}

#[derive(Deserialize)]
struct WireDaemonSet {
    metadata: Meta,
    #[serde(default)]
    spec: WireSpec,
    #[serde(default, deserialize_with = "or_default")]
    status: DaemonSetStatus,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct WireSpec {
    #[serde(deserialize_with = "or_default")]
    update_strategy: WireStrategy,
    #[serde(deserialize_with = "or_default")]
    min_ready_seconds: i32,
    revision_history_limit: Option<i32>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct WireStrategy {
    #[serde(rename = "type", deserialize_with = "or_default")]
    kind: String,
    #[serde(deserialize_with = "or_default")]
    rolling_update: WireRollingUpdate,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct WireRollingUpdate {
    max_unavailable: Option<WireCount>,
    max_surge: Option<WireCount>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum WireCount {
    Number(i64),
    Text(String),
}

impl From<WireStrategy> for UpdateStrategy {
    fn from(wire: WireStrategy) -> Self {
        if wire.kind == "OnDelete" {
            return UpdateStrategy::OnDelete;
        }
        let WireRollingUpdate { max_unavailable, max_surge } = wire.rolling_update;
        UpdateStrategy::RollingUpdate {
            max_unavailable: max_unavailable.map_or(Count::Number(1), Count::from),
            max_surge: max_surge.map_or(Count::Number(0), Count::from),
        }
    }
}

impl From<WireCount> for Count {
    /// What is neither a number nor a percentage counts as nothing; the server refuses such values.
    fn from(wire: WireCount) -> Self {
        match wire {
            WireCount::Number(number) => Count::Number(number.clamp(0, i64::from(u32::MAX)) as u32),
            WireCount::Text(text) => match text.strip_suffix('%').and_then(|percent| percent.parse().ok()) {
                Some(percent) => Count::Percent(percent),
                None => Count::Number(0),
            },
        }
    }
}
