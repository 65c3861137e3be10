//! The rollout verbs as pure functions over a DaemonSet and its ControllerRevisions: what to say, what to send.
//!
//! Words, patches and refusals are those of kubectl 1.36. No requests, no clock: the caller fetches, prints and sends.

pub mod describe;
pub mod go;
pub mod history;
pub mod pause;
pub mod restart;
pub mod revisions;
pub mod status;
pub mod tabs;
pub mod undo;

pub use revisions::{History, Revision};
