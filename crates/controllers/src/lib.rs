//! Pure planners: each takes what was seen and a time, and returns what to do and what it waits for.

pub mod garbage;
pub mod namespaces;
pub mod node_lifecycle;
pub mod pod_gc;
