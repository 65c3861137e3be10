//! What to write to one node.

use backstay_api::meta;
use backstay_api::time::seconds;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::Heard;

/// A node that was heard of is given up after so long without a sign of life, unless another time is asked for
/// (`--node-monitor-grace-period`).
pub const GRACE: SignedDuration = SignedDuration::from_secs(50);
/// A node that never reported is given up after so long (`--node-startup-grace-period`).
pub const STARTUP_GRACE: SignedDuration = SignedDuration::from_secs(60);

/// Conditions that a silent node loses, in the order in which they are written.
const REPORTED: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
/// The taints this planner owns, with the condition status that brings each of them.
const CONDITION_TAINTS: [(&str, &str, &str); 6] = [
    ("Ready", "False", NOT_READY),
    ("Ready", "Unknown", UNREACHABLE),
    ("MemoryPressure", "True", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "True", "node.kubernetes.io/disk-pressure"),
    ("NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable"),
    ("PIDPressure", "True", "node.kubernetes.io/pid-pressure"),
];
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

/// What to write to a node; `None` where it is as it should be.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// The whole new `spec.taints`.
    pub taints: Option<Vec<Value>>,
    /// The whole new `status.conditions`.
    pub conditions: Option<Vec<Value>>,
    /// Labels to add.
    pub labels: Vec<(&'static str, String)>,
    /// The node is given up: the `Ready` condition of its pods must become `False`.
    pub pods_not_ready: bool,
    /// When the node is given up if nothing is heard until then.
    pub recheck_at: Option<Timestamp>,
}

impl Plan {
    /// Whether there is anything to write to the node.
    pub fn is_empty(&self) -> bool {
        self.taints.is_none() && self.conditions.is_none() && self.labels.is_empty()
    }
}

/// When a node is given up if nothing is heard of it until then. `reported`: it has said once how it is.
/// `grace`: as [`GRACE`].
pub fn deadline(heard: &Heard, reported: bool, grace: SignedDuration) -> Timestamp {
    let grace = if reported { grace } else { STARTUP_GRACE };
    heard.at.saturating_add(grace.max(heard.lease)).unwrap_or(Timestamp::MAX)
}

/// Plans for one node. `grace`: as [`GRACE`].
pub fn plan(node: &Value, heard: &Heard, grace: SignedDuration, now: Timestamp) -> Plan {
    let deadline = deadline(heard, meta::condition(node, "Ready").is_some(), grace);
    let silent = now >= deadline;
    let old = meta::list_at(node, &["status", "conditions"]);
    let conditions = if silent { unknown(node, old, now) } else { old.to_vec() };
    let taints = taints(node, &conditions, now);
    let ready = status_of(&conditions, "Ready");
    Plan {
        // A node that says itself that it is not ready looks after its pods; only one that is silent does not.
        pods_not_ready: ready == Some("Unknown"),
        taints: (taints != meta::list_at(node, &["spec", "taints"])).then_some(taints),
        conditions: (conditions != old).then_some(conditions),
        labels: labels(node),
        recheck_at: (!silent).then_some(deadline),
    }
}

fn status_of<'a>(conditions: &'a [Value], kind: &str) -> Option<&'a str> {
    conditions.iter().find(|one| one["type"] == kind).and_then(|one| one["status"].as_str())
}

/// The conditions of a node that is not heard of any more.
fn unknown(node: &Value, old: &[Value], now: Timestamp) -> Vec<Value> {
    let created = meta::str_at(node, &["metadata", "creationTimestamp"]);
    let mut conditions = old.to_vec();
    for kind in REPORTED {
        match conditions.iter_mut().find(|one| one["type"] == kind) {
            Some(one) if one["status"] != "Unknown" => {
                one["status"] = json!("Unknown");
                one["reason"] = json!("NodeStatusUnknown");
                one["message"] = json!("Kubelet stopped posting node status.");
                one["lastTransitionTime"] = json!(seconds(now));
            }
            Some(_) => {}
            None => conditions.push(json!({
                "type": kind,
                "status": "Unknown",
                "reason": "NodeStatusNeverUpdated",
                "message": "Kubelet never posted node status.",
                "lastHeartbeatTime": created,
                "lastTransitionTime": seconds(now),
            })),
        }
    }
    conditions
}

/// The node's own taints as they stand, then those that follow from its conditions.
fn taints(node: &Value, conditions: &[Value], now: Timestamp) -> Vec<Value> {
    let old = meta::list_at(node, &["spec", "taints"]);
    // A node without conditions has not reported yet: it keeps the taints it was admitted with.
    let wanted = match conditions.is_empty() {
        true => return with_unschedulable(node, old.to_vec(), now),
        false => wanted_taints(conditions),
    };
    let mut taints: Vec<Value> = old
        .iter()
        .filter(|taint| !is_ours(taint) || wanted.iter().any(|(key, effect)| matches(taint, key, effect)))
        .cloned()
        .collect();
    for (key, effect) in wanted {
        if !taints.iter().any(|taint| matches(taint, key, effect)) {
            taints.push(json!({ "key": key, "effect": effect, "timeAdded": seconds(now) }));
        }
    }
    with_unschedulable(node, taints, now)
}

fn with_unschedulable(node: &Value, mut taints: Vec<Value>, now: Timestamp) -> Vec<Value> {
    let unschedulable = node["spec"]["unschedulable"] == true;
    let position = taints.iter().position(|taint| matches(taint, UNSCHEDULABLE, "NoSchedule"));
    match (unschedulable, position) {
        (true, None) => {
            taints.push(json!({ "key": UNSCHEDULABLE, "effect": "NoSchedule", "timeAdded": seconds(now) }));
        }
        (false, Some(position)) => {
            taints.remove(position);
        }
        _ => {}
    }
    taints
}

fn wanted_taints(conditions: &[Value]) -> Vec<(&'static str, &'static str)> {
    let holds = |kind: &str, status: &str| status_of(conditions, kind) == Some(status);
    let scheduling = CONDITION_TAINTS.iter().filter(|(kind, status, _)| holds(kind, status));
    let mut wanted: Vec<(&str, &str)> = scheduling.map(|(_, _, key)| (*key, "NoSchedule")).collect();
    let executing = CONDITION_TAINTS.iter().filter(|(kind, status, _)| *kind == "Ready" && holds(kind, status));
    wanted.extend(executing.map(|(_, _, key)| (*key, "NoExecute")));
    wanted
}

fn is_ours(taint: &Value) -> bool {
    let key = taint["key"].as_str().unwrap_or_default();
    CONDITION_TAINTS.iter().any(|(_, _, ours)| *ours == key)
}

fn matches(taint: &Value, key: &str, effect: &str) -> bool {
    taint["key"] == key && taint["effect"] == effect
}

/// The labels that older manifests select by follow the ones of today.
fn labels(node: &Value) -> Vec<(&'static str, String)> {
    [("kubernetes.io/os", "beta.kubernetes.io/os"), ("kubernetes.io/arch", "beta.kubernetes.io/arch")]
        .into_iter()
        .filter_map(|(from, to)| {
            let value = meta::label(node, from)?;
            (meta::label(node, to) != Some(value)).then(|| (to, value.to_string()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    fn node(conditions: &[(&str, &str)], taints: &[(&str, &str)]) -> Value {
        let conditions: Vec<Value> =
            conditions.iter().map(|(kind, status)| json!({ "type": kind, "status": status })).collect();
        let taints: Vec<Value> = taints.iter().map(|(key, effect)| json!({ "key": key, "effect": effect })).collect();
        json!({ "metadata": { "name": "n" }, "spec": { "taints": taints }, "status": { "conditions": conditions } })
    }

    fn show(plan: &Plan) -> String {
        let taints = plan.taints.as_ref().map(|taints| {
            let texts = taints.iter().map(|taint| {
                let key = taint["key"].as_str().unwrap_or_default();
                format!("{}:{}", key.trim_start_matches("node.kubernetes.io/"), taint["effect"].as_str().unwrap_or("?"))
            });
            format!("taints [{}]", texts.collect::<Vec<_>>().join(" "))
        });
        let conditions = plan.conditions.as_ref().map(|conditions| {
            let texts = conditions.iter().map(|one| format!("{}={}", one["type"], one["status"]).replace('"', ""));
            format!("conditions [{}]", texts.collect::<Vec<_>>().join(" "))
        });
        [taints, conditions].into_iter().flatten().collect::<Vec<_>>().join("; ")
    }

    fn check(node: Value, silent_for: i64, expected: &str) {
        let heard = Heard::first(at(0));
        assert_eq!(show(&plan(&node, &heard, GRACE, at(silent_for))), expected, "{node}");
    }

    #[test]
    fn conditions_bring_and_take_taints() {
        check(node(&[("Ready", "True")], &[]), 1, "");
        check(node(&[], &[("node.kubernetes.io/not-ready", "NoSchedule")]), 1, "");
        check(
            node(&[("Ready", "True")], &[("node.kubernetes.io/not-ready", "NoSchedule"), ("x", "NoExecute")]),
            1,
            "taints [x:NoExecute]",
        );
        check(node(&[("Ready", "False")], &[]), 1, "taints [not-ready:NoSchedule not-ready:NoExecute]");
        check(
            node(&[("Ready", "True"), ("DiskPressure", "True")], &[("x", "NoSchedule")]),
            1,
            "taints [x:NoSchedule disk-pressure:NoSchedule]",
        );
    }

    #[test]
    fn a_silent_node_is_given_up() {
        check(node(&[("Ready", "True")], &[]), 49, "");
        check(
            node(&[("Ready", "True"), ("Custom", "True")], &[]),
            50,
            "taints [unreachable:NoSchedule unreachable:NoExecute]; conditions [Ready=Unknown Custom=True \
             MemoryPressure=Unknown DiskPressure=Unknown PIDPressure=Unknown]",
        );
        check(node(&[], &[]), 59, "");
        check(
            node(&[], &[]),
            60,
            "taints [unreachable:NoSchedule unreachable:NoExecute]; conditions [Ready=Unknown MemoryPressure=Unknown \
             DiskPressure=Unknown PIDPressure=Unknown]",
        );
    }

    #[test]
    fn the_grace_can_be_another() {
        let (seen, heard) = (node(&[("Ready", "True")], &[]), Heard::first(at(0)));
        let given_up = |second: i64| plan(&seen, &heard, SignedDuration::from_secs(5), at(second)).pods_not_ready;
        assert_eq!([given_up(4), given_up(5)], [false, true]);
    }

    #[test]
    fn a_lease_that_lasts_longer_than_the_grace_period_is_believed() {
        let seen = node(&[("Ready", "True")], &[]);
        let mut heard = Heard::first(at(0));
        heard.renewal("a", 3600, at(0));
        assert_eq!(plan(&seen, &heard, GRACE, at(3599)).conditions, None);
        assert!(plan(&seen, &heard, GRACE, at(3600)).conditions.is_some());
    }

    #[test]
    fn cordoned_nodes_and_old_labels() {
        let mut seen = node(&[("Ready", "True")], &[]);
        seen["spec"]["unschedulable"] = json!(true);
        seen["metadata"]["labels"] = json!({ "kubernetes.io/os": "linux" });
        let heard = Heard::first(at(0));
        let plan = plan(&seen, &heard, GRACE, at(1));
        assert_eq!(show(&plan), "taints [unschedulable:NoSchedule]");
        assert_eq!(plan.labels, [("beta.kubernetes.io/os", "linux".to_string())]);
    }
}
