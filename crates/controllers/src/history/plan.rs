//! Which revision holds the template now, which are older, and what must be written before that can be relied on.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use serde_json::value::RawValue;

use super::{Claim, HASH_LABEL, claim, hash};
use crate::model::{ControllerRevision, DaemonSet, ObjectRef};

/// The history of one DaemonSet.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    /// The hash of the current revision; `None` while a step must first bring that revision about.
    pub current: Option<Arc<str>>,
    /// Revisions of other templates, the oldest first.
    pub old: Vec<Arc<ControllerRevision>>,
    /// What must be done. Nothing else may happen to the DaemonSet before a step that [`Step::blocks`].
    pub steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    Adopt(ObjectRef),
    Release(ObjectRef),
    /// A revision without a hash label gets its name as one.
    Label {
        revision: ObjectRef,
        hash: Arc<str>,
    },
    Create(Arc<RevisionBody>),
    /// The name is taken by other data: count the collision, so that the next hash differs.
    RaiseCollisionCount {
        to: u32,
    },
    Renumber {
        revision: ObjectRef,
        number: i64,
    },
    /// Revisions with the same data as the one of hash `into`: their pods are relabelled, then they are deleted.
    Merge {
        duplicates: Vec<Arc<ControllerRevision>>,
        into: Arc<str>,
    },
}

impl Step {
    /// Whether the hash of the template is not to be relied on before this is done.
    pub fn blocks(&self) -> bool {
        !matches!(self, Step::Release(_) | Step::Renumber { .. })
    }
}

/// A ControllerRevision to be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevisionBody {
    pub name: Arc<str>,
    pub namespace: Arc<str>,
    pub hash: Arc<str>,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    pub owner: Owner,
    pub revision: i64,
    pub data: Arc<[u8]>,
}

/// The DaemonSet that owns a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    pub name: Arc<str>,
    pub uid: Arc<str>,
}

/// Works out the history. `revisions` are all of the namespace, or at least those that the DaemonSet owns, could adopt,
/// or whose name its next revision could need; in the order of their names.
pub fn history<'a>(
    daemonset: &DaemonSet,
    revisions: impl IntoIterator<Item = &'a Arc<ControllerRevision>> + Clone,
) -> History {
    let claimed = |wanted: Claim| {
        let all = revisions.clone().into_iter();
        all.filter(move |revision| claim(daemonset, &revision.meta) == wanted)
    };
    let mut steps: Vec<Step> =
        claimed(Claim::Release).map(|revision| Step::Release(revision.meta.reference())).collect();
    steps.extend(claimed(Claim::Adopt).map(|revision| Step::Adopt(revision.meta.reference())));
    steps.extend(
        claimed(Claim::Keep)
            .filter(|revision| revision.hash().is_none())
            .map(|revision| Step::Label { revision: revision.meta.reference(), hash: revision.meta.name.clone() }),
    );
    if steps.iter().any(Step::blocks) {
        return History { steps, ..History::default() };
    }
    let (mut equal, mut old): (Vec<_>, Vec<_>) =
        claimed(Claim::Keep).cloned().partition(|revision| revision.data == daemonset.data);
    // A revision in an older form serves, unless today's form has one of its own: then Kubernetes, which compares bytes,
    // takes it for one of another template, and pods may carry its hash.
    if equal.iter().any(|revision| !revision.older_form) {
        old.extend(equal.extract_if(.., |revision| revision.older_form));
    }
    old.sort_by(|a, b| (a.revision, &a.meta.name).cmp(&(b.revision, &b.meta.name)));
    let next = old.last().map_or(1, |newest| newest.revision.saturating_add(1));
    let current = match equal.iter().max_by_key(|revision| revision.revision).cloned() {
        Some(newest) => keep(&newest, equal, next, &mut steps),
        None => create(daemonset, revisions, next, &mut steps),
    };
    History { current, old, steps }
}

/// The old revisions beyond the limit that no pod needs, the oldest first.
pub fn surplus(
    old: &[Arc<ControllerRevision>],
    limit: usize,
    is_live: impl Fn(&str) -> bool,
) -> impl Iterator<Item = &Arc<ControllerRevision>> {
    let needed = move |revision: &&Arc<ControllerRevision>| !revision.hash().is_some_and(&is_live);
    old.iter().filter(needed).take(old.len().saturating_sub(limit))
}

/// The template has a revision, or several of equal data: the newest stays, with the highest number of all.
fn keep(
    newest: &Arc<ControllerRevision>,
    equal: Vec<Arc<ControllerRevision>>,
    next: i64,
    steps: &mut Vec<Step>,
) -> Option<Arc<str>> {
    let hash: Arc<str> = newest.hash()?.into();
    let duplicates: Vec<_> = equal.into_iter().filter(|revision| revision.meta.uid != newest.meta.uid).collect();
    if newest.revision < next {
        steps.push(Step::Renumber { revision: newest.meta.reference(), number: next });
    }
    if duplicates.is_empty() {
        return Some(hash);
    }
    steps.push(Step::Merge { duplicates, into: hash });
    None
}

/// The template has no revision that we own: one is created, unless its name is taken.
fn create<'a>(
    daemonset: &DaemonSet,
    revisions: impl IntoIterator<Item = &'a Arc<ControllerRevision>>,
    next: i64,
    steps: &mut Vec<Step>,
) -> Option<Arc<str>> {
    let collisions = daemonset.status.collision_count;
    let hash: Arc<str> = hash::of(&daemonset.data, collisions).into();
    let name = format!("{}-{hash}", daemonset.meta.name);
    match revisions.into_iter().find(|revision| *revision.meta.name == *name) {
        Some(taken) if taken.data == daemonset.data => return Some(hash),
        Some(_) => steps.push(Step::RaiseCollisionCount { to: collisions.unwrap_or(0).saturating_add(1) }),
        None => steps.push(Step::Create(Arc::new(body(daemonset, name.into(), hash, next)))),
    }
    None
}

fn body(daemonset: &DaemonSet, name: Arc<str>, hash: Arc<str>, revision: i64) -> RevisionBody {
    let labels = daemonset.template.pointer("/metadata/labels");
    let mut labels = backstay_api::meta::string_map(labels);
    labels.insert(HASH_LABEL.into(), hash.to_string());
    RevisionBody {
        name,
        namespace: daemonset.meta.namespace.clone(),
        hash,
        labels,
        annotations: daemonset.annotations.clone(),
        owner: Owner { name: daemonset.meta.name.clone(), uid: daemonset.meta.uid.clone() },
        revision,
        data: daemonset.data.clone(),
    }
}

impl RevisionBody {
    /// The body to POST. `data` is in it to the byte.
    ///
    /// # Panics
    /// If `data` is not JSON; it was written by [`backstay_api::canonical::revision_data`].
    pub fn to_json(&self) -> Vec<u8> {
        let data = std::str::from_utf8(&self.data).expect("canonical data is UTF-8");
        let data: &RawValue = serde_json::from_str(data).expect("canonical data is JSON");
        let body = WireRevision {
            api_version: "apps/v1",
            kind: "ControllerRevision",
            metadata: WireMeta {
                name: &self.name,
                namespace: &self.namespace,
                labels: &self.labels,
                annotations: &self.annotations,
                owner_references: [crate::daemonset::owner_reference(&self.owner.name, &self.owner.uid)],
            },
            data,
            revision: self.revision,
        };
        serde_json::to_vec(&body).expect("strings and numbers only")
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WireRevision<'a> {
    api_version: &'a str,
    kind: &'a str,
    metadata: WireMeta<'a>,
    data: &'a RawValue,
    revision: i64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WireMeta<'a> {
    name: &'a str,
    namespace: &'a str,
    labels: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: &'a BTreeMap<String, String>,
    owner_references: [serde_json::Value; 1],
}
