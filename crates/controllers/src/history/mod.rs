//! The history of a DaemonSet: which ControllerRevision holds its template, and what must change among the others.

pub mod claim;
pub mod data;
pub mod hash;
mod plan;

pub use claim::{Claim, claim};
pub use plan::{History, RevisionBody, Step, history, surplus};

/// The label by which pods and revisions name a revision.
pub const HASH_LABEL: &str = "controller-revision-hash";
