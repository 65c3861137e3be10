//! Node lifecycle: which conditions, taints and labels a node must have, given when it was last heard of.
//!
//! Source: the node lifecycle controller of `kube-controller-manager` 1.36 (grace periods, reasons, messages, taints).

mod heard;
mod plan;
mod seen;

pub use heard::Heard;
pub use plan::{GRACE, Plan, STARTUP_GRACE, deadline, plan};
pub use seen::{NodeReport, Renewal};

use backstay_api::meta;
use serde_json::Value;

/// The status of the condition `Ready` (`True`, `False`, `Unknown`), if the node has that condition.
pub fn readiness(node: &Value) -> Option<&str> {
    meta::condition(node, "Ready").map(|ready| meta::str_at(ready, &["status"]))
}
