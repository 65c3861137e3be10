//! What a plan asks for. Every action is complete: who carries it out has no choices left.

use std::sync::Arc;

use super::template::PodTemplate;
use crate::history::RevisionBody;
use crate::model::ObjectRef;

/// One write. Writes to existing objects hold only if uid and resource version are still the same.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Take a pod that nobody owns; only after a fresh look has shown that the DaemonSet still exists.
    AdoptPod(ObjectRef),
    ReleasePod(ObjectRef),
    /// As for pods.
    AdoptRevision(ObjectRef),
    ReleaseRevision(ObjectRef),
    LabelRevision {
        revision: ObjectRef,
        hash: Arc<str>,
    },
    CreateRevision(Arc<RevisionBody>),
    RenumberRevision {
        revision: ObjectRef,
        number: i64,
    },
    DeleteRevision {
        revision: ObjectRef,
        why: RevisionDeleteReason,
    },
    RelabelPod {
        pod: ObjectRef,
        hash: Arc<str>,
    },
    /// Write `status.collisionCount`, if the DaemonSet is still at this resource version.
    RaiseCollisionCount {
        daemonset: ObjectRef,
        to: u32,
    },
    DeletePod {
        pod: ObjectRef,
        node: Arc<str>,
        why: DeleteReason,
    },
    CreatePod {
        node: Arc<str>,
        template: Arc<PodTemplate>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DeleteReason {
    /// Another pod of the DaemonSet runs on the node.
    Surplus,
    Failed,
    Succeeded,
    /// The node may not run it (any longer).
    NodeIneligible,
    /// It waits for a node that does not exist.
    NodeGone,
    /// It is of an old revision, and not available: nothing is lost.
    OldUnavailable,
    /// It is of an old revision, and the budget pays for it.
    OldRevision,
    /// Its successor beside it is available.
    Superseded,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RevisionDeleteReason {
    Duplicate,
    Surplus,
}

/// What an action is about; no two actions with one key are under way at a time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ActionKey {
    /// Creation on a node.
    Create(Arc<str>),
    /// Deletion of a pod, by uid.
    Delete(Arc<str>),
    /// Another change of a pod, by uid.
    Pod(Arc<str>),
    /// Any change of a revision, by name.
    Revision(Arc<str>),
    CollisionCount,
}

/// How an action ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done, or found done.
    Done,
    /// The object is not what the decision was based on any more; nothing was done. Not an error.
    Stale,
    /// Refused or lost; worth trying again, but not at once.
    Failed,
}

impl Action {
    pub fn key(&self) -> ActionKey {
        match self {
            Action::AdoptPod(pod) | Action::ReleasePod(pod) | Action::RelabelPod { pod, .. } => {
                ActionKey::Pod(pod.uid.clone())
            }
            Action::AdoptRevision(revision)
            | Action::ReleaseRevision(revision)
            | Action::LabelRevision { revision, .. }
            | Action::RenumberRevision { revision, .. }
            | Action::DeleteRevision { revision, .. } => ActionKey::Revision(revision.name.clone()),
            Action::CreateRevision(body) => ActionKey::Revision(body.name.clone()),
            Action::RaiseCollisionCount { .. } => ActionKey::CollisionCount,
            Action::DeletePod { pod, .. } => ActionKey::Delete(pod.uid.clone()),
            Action::CreatePod { node, .. } => ActionKey::Create(node.clone()),
        }
    }
}
