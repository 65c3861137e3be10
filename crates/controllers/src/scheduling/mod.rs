//! Which nodes may run a pod: the rules that daemon placement and binding share.

pub mod affinity;
pub mod taints;
