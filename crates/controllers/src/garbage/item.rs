//! What garbage collection knows of one object: little, since it knows every object of the cluster.

use std::sync::Arc;

use backstay_api::meta::{FOREGROUND, ORPHAN};
use serde::Deserialize;

use crate::model::wire::or_default;
use crate::model::{Meta, Object};

/// Where objects of a kind are found: group, version and plural.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceName {
    pub group: String,
    pub version: String,
    pub plural: String,
}

/// One owner reference.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Owner {
    pub uid: Arc<str>,
    pub api_version: Box<str>,
    pub kind: Box<str>,
    pub name: Box<str>,
    /// `blockOwnerDeletion`: a foreground deletion of the owner waits for this dependent.
    #[serde(rename = "blockOwnerDeletion", deserialize_with = "or_default")]
    pub blocks: bool,
}

/// An owner as a dependent names it, and from where. Others may name the same uid, and mean it rightly.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sought {
    pub uid: Arc<str>,
    /// Of the dependent; empty if that is cluster-scoped.
    pub namespace: Arc<str>,
    api_version: Box<str>,
    kind: Box<str>,
    name: Box<str>,
}

impl Sought {
    pub fn new(owner: &Owner, namespace: &Arc<str>) -> Self {
        let Owner { uid, api_version, kind, name, .. } = owner.clone();
        Self { uid, namespace: namespace.clone(), api_version, kind, name }
    }

    /// Comes before all that are sought under this uid.
    pub fn before(uid: &str) -> Self {
        Self { uid: uid.into(), ..Self::default() }
    }
}

/// One object in one state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    pub uid: Arc<str>,
    pub resource: Arc<ResourceName>,
    /// Empty for cluster-scoped objects.
    pub namespace: Arc<str>,
    pub name: Arc<str>,
    /// 0 if the server's versions are not numbers.
    pub resource_version: u64,
    pub owners: Arc<[Owner]>,
    pub being_deleted: bool,
    /// It carries the finalizer [`FOREGROUND`].
    pub foreground: bool,
    /// It carries the finalizer [`ORPHAN`].
    pub orphan: bool,
}

impl Item {
    pub fn new(resource: Arc<ResourceName>, seen: &Partial) -> Self {
        Self {
            uid: seen.meta.uid.clone(),
            resource,
            namespace: seen.meta.namespace.clone(),
            name: seen.meta.name.clone(),
            resource_version: seen.meta.resource_version,
            owners: seen.owners.clone(),
            being_deleted: seen.meta.is_being_deleted(),
            foreground: seen.foreground,
            orphan: seen.orphan,
        }
    }

    /// Waits for its blocking dependents to go.
    pub fn waits_for_dependents(&self) -> bool {
        self.being_deleted && self.foreground
    }

    /// Waits for its dependents to lose their owner reference.
    pub fn orphans_dependents(&self) -> bool {
        self.being_deleted && self.orphan
    }

    /// Whether both states mean the same to garbage collection.
    pub(super) fn is_like(&self, other: &Item) -> bool {
        self.owners == other.owners
            && (self.being_deleted, self.foreground, self.orphan)
                == (other.being_deleted, other.foreground, other.orphan)
    }
}

/// An object as it is read from a watch of metadata, before it is put where it belongs. Labels are left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partial {
    pub meta: Meta,
    pub owners: Arc<[Owner]>,
    pub foreground: bool,
    pub orphan: bool,
}

impl Object for Partial {
    fn meta(&self) -> &Meta {
        &self.meta
    }

    fn from_json(json: &[u8]) -> Result<Self, serde_json::Error> {
        let WireMeta { namespace, name, uid, resource_version, deletion_timestamp, finalizers, owner_references } =
            serde_json::from_slice::<Wire>(json)?.metadata;
        let meta = Meta {
            namespace,
            name,
            uid,
            resource_version: resource_version.parse().unwrap_or(0),
            deleted: deletion_timestamp,
            ..Meta::default()
        };
        let has = |finalizer: &str| finalizers.iter().any(|own| own == finalizer);
        Ok(Self { meta, owners: owner_references.into(), foreground: has(FOREGROUND), orphan: has(ORPHAN) })
    }
}

#[derive(Deserialize)]
struct Wire {
    metadata: WireMeta,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireMeta {
    #[serde(default, deserialize_with = "or_default")]
    namespace: Arc<str>,
    #[serde(default, deserialize_with = "or_default")]
    name: Arc<str>,
    #[serde(default, deserialize_with = "or_default")]
    uid: Arc<str>,
    #[serde(default, deserialize_with = "or_default")]
    resource_version: String,
    #[serde(default)]
    deletion_timestamp: Option<jiff::Timestamp>,
    #[serde(default, deserialize_with = "or_default")]
    finalizers: Vec<String>,
    #[serde(default, deserialize_with = "or_default")]
    owner_references: Vec<Owner>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_read_from_any_object() {
        let seen = Partial::from_json(
            br#"{"kind":"X","metadata":{"name":"a","namespace":"n","uid":"u","resourceVersion":"7",
                "labels":{"a":"b"},"finalizers":["orphan","x"],"deletionTimestamp":"2026-01-01T00:00:00Z",
                "ownerReferences":[{"apiVersion":"apps/v1","kind":"DaemonSet","name":"d","uid":"o","controller":true,
                "blockOwnerDeletion":true},{"apiVersion":"v1","kind":"Pod","name":"p","uid":"q"}]},"spec":{"x":[1]}}"#,
        )
        .unwrap();
        let resource = Arc::new(ResourceName { group: String::new(), version: "v1".into(), plural: "things".into() });
        let item = Item::new(resource, &seen);
        assert!(item.orphans_dependents() && !item.waits_for_dependents());
        assert_eq!(item.resource_version, 7);
        let owners: Vec<_> = item.owners.iter().map(|owner| (&*owner.uid, owner.blocks)).collect();
        assert_eq!(owners, [("o", true), ("q", false)]);
        assert!(Partial::from_json(br#"{"metadata":{"uid":"u","ownerReferences":null}}"#).unwrap().owners.is_empty());
    }
}
