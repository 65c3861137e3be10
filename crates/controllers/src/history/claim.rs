//! Whose an object is: the rule by which a DaemonSet takes, keeps and lets go of pods and revisions.

use crate::model::{DaemonSet, Meta};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// Somebody else's, or nobody's that we could want.
    Ignore,
    /// Ours already.
    Keep,
    /// Nobody's, and the selector matches: to be made ours.
    Adopt,
    /// Ours, but the selector does not match any longer: to be let go.
    Release,
}

/// Decides for one pod or revision.
pub fn claim(daemonset: &DaemonSet, object: &Meta) -> Claim {
    let matches = || daemonset.matches(&object.labels);
    let deleting = daemonset.meta.is_being_deleted();
    match &object.controller {
        Some(owner) if owner.uid != daemonset.meta.uid => Claim::Ignore,
        Some(_) if matches() => Claim::Keep,
        Some(_) if deleting => Claim::Ignore,
        Some(_) => Claim::Release,
        None if deleting || object.is_being_deleted() => Claim::Ignore,
        None if object.namespace != daemonset.meta.namespace || !matches() => Claim::Ignore,
        None => Claim::Adopt,
    }
}
