//! What a node says about the machine it is.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::lifecycle::words;

/// The version that `kubectl get nodes` shows: the Kubernetes whose behaviour we follow, then ours.
pub const VERSION: &str = concat!("v1.36.2+backstay-", env!("CARGO_PKG_VERSION"));

/// The conditions of a node that is well, in the kubelet's words. `ready`: the message of the Ready condition.
pub(crate) fn conditions(now: Timestamp, ready: &str) -> Value {
    let now = words::time(now);
    let condition = |kind: &str, status: &str, reason: &str, message: &str| {
        json!({
            "type": kind, "status": status, "reason": reason, "message": message,
            "lastHeartbeatTime": now, "lastTransitionTime": now,
        })
    };
    json!([
        condition("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        condition("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        condition("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        condition("Ready", "True", "KubeletReady", ready),
    ])
}
