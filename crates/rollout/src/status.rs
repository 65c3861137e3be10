//! `rollout status`: how far a rolling update has come, from the DaemonSet alone.

use backstay_api::meta;
use serde_json::Value;

/// One line of progress, with its line break.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    pub line: String,
    /// Nothing is left to wait for.
    pub done: bool,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum StatusError {
    #[error("rollout status is only available for RollingUpdate strategy type")]
    NotRolling,
}

/// What to say about this state of the DaemonSet.
pub fn progress(daemonset: &Value) -> Result<Progress, StatusError> {
    if meta::str_at(daemonset, &["spec", "updateStrategy", "type"]) != "RollingUpdate" {
        return Err(StatusError::NotRolling);
    }
    let name = meta::name(daemonset);
    let status = |field: &str| meta::int_at(daemonset, &["status", field]).unwrap_or(0);
    let desired = status("desiredNumberScheduled");
    let updated = status("updatedNumberScheduled");
    let available = status("numberAvailable");
    let waiting = |line: String| Ok(Progress { line, done: false });
    if meta::generation(daemonset) > status("observedGeneration") {
        return waiting("Waiting for daemon set spec update to be observed...\n".into());
    }
    if updated < desired {
        return waiting(format!(
            "Waiting for daemon set \"{name}\" rollout to finish: {updated} out of {desired} new pods have been updated...\n"
        ));
    }
    if available < desired {
        return waiting(format!(
            "Waiting for daemon set \"{name}\" rollout to finish: {available} of {desired} updated pods are available...\n"
        ));
    }
    Ok(Progress { line: format!("daemon set \"{name}\" successfully rolled out\n"), done: true })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// generation, observed generation, desired, updated, available.
    #[track_caller]
    fn check(numbers: [i64; 5], line: &str, done: bool) {
        let [generation, observed, desired, updated, available] = numbers;
        let daemonset = json!({
            "metadata": {"name": "x", "generation": generation},
            "spec": {"updateStrategy": {"type": "RollingUpdate"}},
            "status": {
                "observedGeneration": observed,
                "desiredNumberScheduled": desired,
                "updatedNumberScheduled": updated,
                "numberAvailable": available,
            },
        });
        assert_eq!(progress(&daemonset), Ok(Progress { line: format!("{line}\n"), done }));
    }

    #[test]
    fn the_first_thing_to_wait_for_is_named() {
        check([2, 1, 3, 3, 3], "Waiting for daemon set spec update to be observed...", false);
        let updating = "Waiting for daemon set \"x\" rollout to finish: 1 out of 3 new pods have been updated...";
        check([2, 2, 3, 1, 3], updating, false);
        let starting = "Waiting for daemon set \"x\" rollout to finish: 2 of 3 updated pods are available...";
        check([2, 2, 3, 3, 2], starting, false);
        check([2, 2, 3, 3, 3], "daemon set \"x\" successfully rolled out", true);
        check([1, 1, 0, 0, 0], "daemon set \"x\" successfully rolled out", true);
    }

    #[test]
    fn on_delete_has_no_status() {
        let daemonset = json!({"spec": {"updateStrategy": {"type": "OnDelete"}}});
        assert_eq!(progress(&daemonset), Err(StatusError::NotRolling));
    }
}
