//! The wire form of what several objects share. Absent and null are the same everywhere.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer};

use super::meta::{Controller, Meta};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireMeta {
    #[serde(default)]
    namespace: Option<Arc<str>>,
    #[serde(default)]
    name: Option<Arc<str>>,
    #[serde(default)]
    uid: Option<Arc<str>>,
    #[serde(default)]
    resource_version: Option<String>,
    #[serde(default)]
    generation: Option<i64>,
    #[serde(default)]
    creation_timestamp: Option<Timestamp>,
    #[serde(default)]
    deletion_timestamp: Option<Timestamp>,
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
    #[serde(default)]
    owner_references: Option<Vec<WireOwner>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireOwner {
    #[serde(default)]
    kind: Arc<str>,
    #[serde(default)]
    name: Arc<str>,
    #[serde(default)]
    uid: Arc<str>,
    #[serde(default)]
    controller: Option<bool>,
}

impl From<WireMeta> for Meta {
    fn from(wire: WireMeta) -> Self {
        let owners = wire.owner_references.unwrap_or_default();
        let controller = owners.into_iter().find(|owner| owner.controller == Some(true));
        Meta {
            namespace: wire.namespace.unwrap_or_default(),
            name: wire.name.unwrap_or_default(),
            uid: wire.uid.unwrap_or_default(),
            resource_version: wire.resource_version.and_then(|text| text.parse().ok()).unwrap_or(0),
            generation: wire.generation.unwrap_or(0),
            created: wire.creation_timestamp.unwrap_or_default(),
            deleted: wire.deletion_timestamp,
            labels: wire.labels.unwrap_or_default(),
            controller: controller.map(|owner| Controller { kind: owner.kind, name: owner.name, uid: owner.uid }),
        }
    }
}

impl<'de> Deserialize<'de> for Meta {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        WireMeta::deserialize(deserializer).map(Meta::from)
    }
}

/// A value that may be absent or null.
pub(crate) fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}
