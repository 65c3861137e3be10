//! Pure planners: each takes what was seen and a time, and returns what to do and what it waits for.
//!
//! Nothing here does I/O, reads a clock or draws a random number. [`model`] holds the slim objects that the planners of
//! large fleets need, decoded once at the border; [`scheduling`] the rules about nodes that several of them share.

pub mod binding;
pub mod certificates;
pub mod check;
pub mod cluster_roles;
pub mod daemonset;
pub mod garbage;
pub mod history;
pub mod model;
pub mod namespaces;
pub mod node_lifecycle;
pub mod pod_gc;
pub mod scheduling;
pub mod taint_eviction;
