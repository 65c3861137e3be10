//! When a pod may be said to be ready. A container without probes counts as ready from its first moment; one that is
//! broken has such a moment, too, and a rollout that believes it goes on to the next node.

use std::time::Duration;

use backstay_api::meta;
use jiff::Timestamp;
use serde_json::Value;

use super::facts::Pod;
use super::observed::{ContainerState, Observed};

/// What ends at once has ended by then. A kubelet, which looks at its containers every second, sees a new one after as
/// long on average.
const FIRST_MOMENT: Duration = Duration::from_millis(500);

/// `Some`: it is too early to say what `wanted` says, namely that the pod has become ready; it is not from then on.
pub fn too_early(pod: &Pod, seen: &Observed, wanted: &Value, now: Timestamp) -> Option<Timestamp> {
    if !is_ready(wanted) || is_ready(&pod.status) {
        return None;
    }
    let latest = pod.all_containers().filter_map(|container| seen.latest(&container.name));
    let begun = latest.filter_map(|record| match record.state {
        // One from the future has begun before the clock was set back.
        ContainerState::Running { started_at } => Some(started_at).filter(|at| *at <= now),
        _ => None,
    });
    begun.max().map(|newest| newest + FIRST_MOMENT).filter(|until| *until > now)
}

fn is_ready(status: &Value) -> bool {
    let mut conditions = meta::list_at(status, &["conditions"]).iter();
    conditions.any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::ContainerRecord;
    use serde_json::json;

    /// `started`: milliseconds ago, of the pod's container.
    fn check(was: &str, is: &str, started: i64, expected_millis: Option<i64>) {
        let status = |ready: &str| json!({ "conditions": [{ "type": "Ready", "status": ready }] });
        let object = json!({ "metadata": { "name": "p" }, "spec": { "containers": [{ "name": "c" }] },
            "status": status(was) });
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let started_at = Timestamp::from_millisecond(now.as_millisecond() - started).unwrap();
        let state = ContainerState::Running { started_at };
        let record = ContainerRecord { id: "i".into(), attempt: 0, image_id: String::new(), backoff_seconds: 0, state };
        let seen = Observed { containers: [("c".to_string(), vec![record])].into(), ..Observed::default() };
        let until = too_early(&Pod::read(&object), &seen, &status(is), now);
        assert_eq!(until.map(|at| at.as_millisecond() - now.as_millisecond()), expected_millis, "{was} {is} {started}");
    }

    #[test]
    fn a_first_moment_is_not_believed() {
        check("False", "True", 0, Some(500));
        check("", "True", 300, Some(200));
        check("False", "True", 500, None);
        // All else is told at once.
        check("True", "True", 0, None);
        check("False", "False", 0, None);
        check("True", "False", 0, None);
        // The clock has been set back.
        check("False", "True", -10_000, None);
    }
}
