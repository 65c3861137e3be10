//! The DaemonSet controller: one pod on every node that should have it, and updates within a budget.
//!
//! A [`View`] holds what concerns one DaemonSet and keeps it counted: every node is classified by a pure function
//! ([`classify`]), and what changes is the difference between a node's old and new class. [`plan`] reads only the
//! counts and the sets of nodes where something is to be done, so that its work follows what changed and not the size
//! of the fleet.

pub mod action;
pub mod backoff;
pub mod classify;
pub mod pace;
pub mod placement;
mod plan;
mod sums;
pub mod template;
mod view;

pub use action::{Action, ActionKey, DeleteReason, Outcome, RevisionDeleteReason};
pub use plan::{Plan, WaitingOn, plan};
pub use sums::Sums;
pub use template::{PodTemplate, owner_reference};
pub use view::View;

/// At most so many creations, and as many deletions, are under way at a time. Source: `BurstReplicas`.
pub const BURST: usize = 250;
