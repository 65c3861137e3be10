//! Nodes and leases as this controller reads them from a watch: no more of them than it needs.

use backstay_api::time;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::model::wire::or_default;
use crate::model::{Meta, Object};

/// A node, cut down to what [`super::plan`] reads.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeReport {
    pub meta: Meta,
    /// In the form of a node.
    pub node: Value,
}

/// A lease, as far as it is a sign of life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renewal {
    pub meta: Meta,
    pub renew_time: String,
    /// How long it is good for, in seconds.
    pub seconds: i64,
}

impl Object for NodeReport {
    fn meta(&self) -> &Meta {
        &self.meta
    }

    fn from_json(json: &[u8]) -> Result<Self, serde_json::Error> {
        let WireNode { metadata: meta, spec, status } = serde_json::from_slice(json)?;
        let metadata = json!({
            "name": meta.name, "labels": meta.labels,
            "creationTimestamp": time::seconds(meta.created),
        });
        let node = json!({ "metadata": metadata, "spec": spec, "status": { "conditions": status.conditions } });
        Ok(Self { meta, node })
    }
}

impl Object for Renewal {
    fn meta(&self) -> &Meta {
        &self.meta
    }

    fn from_json(json: &[u8]) -> Result<Self, serde_json::Error> {
        let WireLease { metadata: meta, spec } = serde_json::from_slice(json)?;
        Ok(Self { meta, renew_time: spec.renew_time, seconds: spec.lease_duration_seconds })
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

#[derive(Default, Deserialize, serde::Serialize)]
#[serde(default)]
struct WireSpec {
    #[serde(deserialize_with = "or_default")]
    taints: Vec<Value>,
    #[serde(deserialize_with = "or_default")]
    unschedulable: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WireStatus {
    #[serde(deserialize_with = "or_default")]
    conditions: Vec<Map<String, Value>>,
}

#[derive(Deserialize)]
struct WireLease {
    metadata: Meta,
    #[serde(default, deserialize_with = "or_default")]
    spec: WireLeaseSpec,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct WireLeaseSpec {
    #[serde(deserialize_with = "or_default")]
    renew_time: String,
    #[serde(deserialize_with = "or_default")]
    lease_duration_seconds: i64,
}
