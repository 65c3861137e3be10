//! The ControllerRevisions of one DaemonSet.

use std::collections::BTreeMap;

use backstay_api::meta;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// A ControllerRevision, with its `data` to the byte as it was served.
#[derive(Clone, Debug)]
pub struct Revision {
    pub object: Value,
    /// A strategic merge patch that puts the template back.
    pub data: Box<str>,
}

impl Revision {
    /// Reads the JSON of one ControllerRevision.
    pub fn read(json: &str) -> Result<Self, serde_json::Error> {
        #[derive(Deserialize)]
        struct Data<'a> {
            #[serde(borrow, default)]
            data: Option<&'a RawValue>,
        }
        let data: Data<'_> = serde_json::from_str(json)?;
        let data = data.data.map_or("null", RawValue::get);
        Ok(Self { data: data.into(), object: serde_json::from_str(json)? })
    }

    /// Reads the JSON of a ControllerRevisionList.
    pub fn read_list(json: &str) -> Result<Vec<Self>, serde_json::Error> {
        #[derive(Deserialize)]
        struct List<'a> {
            #[serde(borrow, default)]
            items: Vec<&'a RawValue>,
        }
        let list: List<'_> = serde_json::from_str(json)?;
        list.items.into_iter().map(|item| Self::read(item.get())).collect()
    }

    pub fn number(&self) -> i64 {
        meta::int_at(&self.object, &["revision"]).unwrap_or(0)
    }

    /// The pod template that this revision keeps.
    pub fn template(&self) -> Value {
        let mut template = meta::value_at(&self.object, &["data", "spec", "template"]).cloned().unwrap_or_default();
        if let Some(fields) = template.as_object_mut() {
            fields.remove("$patch");
        }
        template
    }

    /// The DaemonSet as it would be with this revision's template; all else is as in `daemonset`.
    pub fn applied_to(&self, daemonset: &Value) -> Value {
        let mut daemonset = daemonset.clone();
        meta::map_mut(&mut daemonset, &["spec"]).insert("template".into(), self.template());
        daemonset
    }
}

/// The revisions that a DaemonSet controls, in the order of the server's list.
#[derive(Clone, Debug, Default)]
pub struct History(Vec<Revision>);

impl History {
    /// Keeps the revisions whose controller is this very DaemonSet (by UID).
    pub fn of(daemonset: &Value, revisions: Vec<Revision>) -> Self {
        let ours = |revision: &Revision| {
            meta::controller_of(&revision.object)
                .is_some_and(|owner| meta::str_at(owner, &["uid"]) == meta::uid(daemonset))
        };
        Self(revisions.into_iter().filter(ours).collect())
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// By number, ascending. Of several revisions with one number the last counts.
    pub fn by_number(&self) -> BTreeMap<i64, &Revision> {
        self.0.iter().map(|revision| (revision.number(), revision)).collect()
    }

    /// The first revision with this number.
    pub fn find(&self, number: i64) -> Option<&Revision> {
        self.0.iter().find(|revision| revision.number() == number)
    }

    /// The one with the second highest number: what the DaemonSet was before its last change.
    pub fn previous(&self) -> Option<&Revision> {
        let mut sorted: Vec<&Revision> = self.0.iter().collect();
        sorted.sort_by_key(|revision| revision.number());
        sorted.len().checked_sub(2).map(|index| sorted[index])
    }
}
