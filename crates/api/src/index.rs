//! The little that a server needs to find an object without parsing it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Stands beside an object's bytes in the store; selectors and the garbage collector read it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Index {
    pub uid: String,
    pub labels: BTreeMap<String, String>,
    /// Values of the field selectors this kind knows besides `metadata.name` and `metadata.namespace`,
    /// such as `spec.nodeName`; a field that is not set is the empty string.
    pub fields: Vec<(String, String)>,
    /// UIDs of all owner references.
    pub owners: Vec<String>,
}
