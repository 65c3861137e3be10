//! `rollout pause` and `rollout resume`: a DaemonSet can do neither.

/// Why a DaemonSet is not paused. `resource` as in `daemonsets.apps`.
pub fn pause_refusal(resource: &str, name: &str) -> String {
    format!("{resource} \"{name}\" pausing is not supported")
}

/// Why a DaemonSet is not resumed.
pub fn resume_refusal(resource: &str, name: &str) -> String {
    format!("{resource} \"{name}\" resuming is not supported")
}
