//! `metadata`, as far as planning reads it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use backstay_api::ObjectKey;
use jiff::Timestamp;

/// The metadata of any object. Strings that are absent on the wire are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// Empty for cluster-scoped kinds.
    pub namespace: Arc<str>,
    pub name: Arc<str>,
    pub uid: Arc<str>,
    /// The store's number of the write that made this state; 0 if the server's versions are not numbers.
    pub resource_version: u64,
    /// The spec's number; 0 where the kind does not count it.
    pub generation: i64,
    pub created: Timestamp,
    /// `deletionTimestamp`: set once the object is being deleted.
    pub deleted: Option<Timestamp>,
    pub labels: BTreeMap<String, String>,
    /// The owner reference with `controller: true`.
    pub controller: Option<Controller>,
}

/// The owner that controls an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Controller {
    pub kind: Arc<str>,
    pub name: Arc<str>,
    pub uid: Arc<str>,
}

/// Names one object in one state: what a write must still find, or else be refused.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectRef {
    pub namespace: Arc<str>,
    pub name: Arc<str>,
    pub uid: Arc<str>,
    pub resource_version: u64,
}

impl Meta {
    pub fn key(&self) -> ObjectKey {
        let namespace = Some(self.namespace.to_string()).filter(|namespace| !namespace.is_empty());
        ObjectKey { namespace, name: self.name.to_string() }
    }

    pub fn reference(&self) -> ObjectRef {
        ObjectRef {
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            uid: self.uid.clone(),
            resource_version: self.resource_version,
        }
    }

    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels.get(key).map(String::as_str)
    }

    pub fn is_being_deleted(&self) -> bool {
        self.deleted.is_some()
    }
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.namespace {
            "" => f.write_str(&self.name),
            namespace => write!(f, "{namespace}/{}", self.name),
        }
    }
}
