//! ControllerRevisions as planners see them.

use std::sync::Arc;

use backstay_api::canonical;
use serde::Deserialize;
use serde_json::Value;

use super::{Meta, Object};
use crate::history::data;

/// One version of a DaemonSet's template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControllerRevision {
    pub meta: Meta,
    pub revision: i64,
    /// `data` in canonical form, whatever spelling the server keeps.
    pub data: Arc<[u8]>,
    /// The server keeps it as releases before 1.34 wrote it: the same template, but not the same bytes.
    pub older_form: bool,
}

impl ControllerRevision {
    /// The label that pods of this revision carry.
    pub fn hash(&self) -> Option<&str> {
        self.meta.label(crate::history::HASH_LABEL).filter(|hash| !hash.is_empty())
    }
}

impl Object for ControllerRevision {
    fn meta(&self) -> &Meta {
        &self.meta
    }

    fn from_json(json: &[u8]) -> Result<Self, serde_json::Error> {
        let wire: WireRevision = serde_json::from_slice(json)?;
        let (data, older_form) = data::in_todays_form(wire.data);
        let data = canonical::json(&data).into();
        Ok(ControllerRevision { meta: wire.metadata, revision: wire.revision, data, older_form })
    }
}

#[derive(Deserialize)]
struct WireRevision {
    metadata: Meta,
    #[serde(default)]
    revision: i64,
    #[serde(default)]
    data: Value,
}
