//! Pod garbage collection: pods whose node is gone, deleted pods that no node will ever confirm, and too many
//! finished ones.
//!
//! Source: the pod garbage collector of `kube-controller-manager` (quarantine, threshold, condition).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::model::{Node, Pod};

/// A node must be missing for so long before its pods are taken for lost: a watch may be behind.
pub const QUARANTINE: SignedDuration = SignedDuration::from_secs(40);
/// How many finished pods are kept (`--terminated-pod-gc-threshold`).
pub const FINISHED_MAX: usize = 12_500;
/// How often to look (`gcCheckPeriod`).
pub const PERIOD: SignedDuration = SignedDuration::from_secs(20);

/// Set by hand on a node that was switched off and will not come back as it was: its pods may go without its word.
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

/// Why a pod is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Its node no longer exists. A pod that is not finished is marked `Failed` first, with a `DisruptionTarget`
    /// condition (reason `DeletionByPodGC`, message `PodGC: node no longer exists`).
    NodeGone,
    /// It is being deleted, and its node is not ready and marked as out of service.
    NodeOutOfService,
    /// It is being deleted and was never bound.
    Unscheduled,
    /// There are more than [`FINISHED_MAX`] finished pods, and this is one of the oldest.
    Finished,
}

/// Pods to delete at once (grace period 0), in order, and since when each missing node has been missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    pub remove: Vec<(Arc<Pod>, Why)>,
    pub missing_since: BTreeMap<Arc<str>, Timestamp>,
}

/// Plans for all pods. `node` finds a node by name; `missing_since` is what the last plan returned.
pub fn plan<'a>(
    pods: impl Iterator<Item = &'a Arc<Pod>> + Clone,
    node: impl Fn(&str) -> Option<&'a Node>,
    missing_since: &BTreeMap<Arc<str>, Timestamp>,
    now: Timestamp,
) -> Plan {
    let bound = pods.clone().filter_map(|pod| pod.node_name.as_ref());
    let missing = bound.filter(|name| node(name).is_none());
    let missing_since: BTreeMap<Arc<str>, Timestamp> =
        missing.map(|name| (name.clone(), missing_since.get(name).copied().unwrap_or(now))).collect();
    let is_gone = |name: &str| missing_since.get(name).is_some_and(|since| now >= *since + QUARANTINE);
    let is_out = |name: &str| node(name).is_some_and(is_out_of_service);
    let mut remove = surplus(pods.clone());
    let taken: BTreeSet<Arc<str>> = remove.iter().map(|(pod, _)| pod.meta.uid.clone()).collect();
    let rest = pods.filter(|pod| !taken.contains(&pod.meta.uid)).filter_map(|pod| {
        let why = match pod.node_name.as_deref() {
            Some(name) if is_gone(name) => Why::NodeGone,
            Some(name) if pod.is_terminating() && is_out(name) => Why::NodeOutOfService,
            None if pod.is_terminating() => Why::Unscheduled,
            _ => return None,
        };
        Some((pod.clone(), why))
    });
    remove.extend(rest);
    Plan { remove, missing_since }
}

fn is_out_of_service(node: &Node) -> bool {
    node.ready != Some(true) && node.taints.iter().any(|taint| taint.key == OUT_OF_SERVICE)
}

/// The oldest finished pods beyond the limit; ties by name.
fn surplus<'a>(pods: impl Iterator<Item = &'a Arc<Pod>>) -> Vec<(Arc<Pod>, Why)> {
    let mut finished: Vec<&Arc<Pod>> = pods.filter(|pod| pod.is_terminal() && !pod.is_terminating()).collect();
    let count = finished.len().saturating_sub(FINISHED_MAX);
    if count == 0 {
        return Vec::new();
    }
    finished.sort_by_key(|pod| (pod.meta.created, pod.meta.namespace.clone(), pod.meta.name.clone()));
    finished.into_iter().take(count).map(|pod| (pod.clone(), Why::Finished)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Object;
    use serde_json::json;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    fn pod(name: &str, node: &str, finished: bool, deleted: bool, created: i64) -> Arc<Pod> {
        let pod = json!({
            "metadata": {
                "name": name, "namespace": "ns", "uid": name, "creationTimestamp": at(created).to_string(),
                "deletionTimestamp": deleted.then(|| at(0).to_string()),
            },
            "spec": { "nodeName": node },
            "status": { "phase": if finished { "Succeeded" } else { "Running" } },
        });
        Arc::new(Pod::from_json(pod.to_string().as_bytes()).expect("a pod"))
    }

    /// There are the nodes `here`, and `out`, which is out of service.
    fn run(pods: &[Arc<Pod>], missing: &[(&str, i64)], now: i64) -> Plan {
        let taint = json!({ "key": OUT_OF_SERVICE, "effect": "NoExecute" });
        let node = |taints| json!({ "metadata": { "name": "n" }, "spec": { "taints": taints } }).to_string();
        let here = Node::from_json(node(json!([])).as_bytes()).expect("a node");
        let out = Node::from_json(node(json!([taint])).as_bytes()).expect("a node");
        let missing = missing.iter().map(|(node, since)| (Arc::from(*node), at(*since))).collect();
        let find = |name: &str| match name {
            "here" => Some(&here),
            "out" => Some(&out),
            _ => None,
        };
        plan(pods.iter(), find, &missing, at(now))
    }

    fn check(pods: &[Arc<Pod>], missing: &[(&str, i64)], now: i64, expected: &[(&str, Why)]) {
        let plan = run(pods, missing, now);
        let removed: Vec<(&str, Why)> = plan.remove.iter().map(|(pod, why)| (&*pod.meta.name, *why)).collect();
        assert_eq!(removed, expected);
    }

    #[test]
    fn plans() {
        check(&[pod("a", "here", false, true, 0), pod("b", "", false, false, 0)], &[], 0, &[]);
        check(&[pod("a", "gone", false, false, 0)], &[], 100, &[]);
        check(&[pod("a", "gone", false, false, 0)], &[("gone", 0)], 39, &[]);
        check(&[pod("a", "gone", false, false, 0)], &[("gone", 0)], 40, &[("a", Why::NodeGone)]);
        check(&[pod("a", "", false, true, 0)], &[], 0, &[("a", Why::Unscheduled)]);
        check(&[pod("a", "out", false, false, 0)], &[], 0, &[]);
        check(&[pod("a", "out", false, true, 0)], &[], 0, &[("a", Why::NodeOutOfService)]);
    }

    #[test]
    fn the_oldest_finished_go_first() {
        let each = 0..FINISHED_MAX as i64 + 2;
        let pods: Vec<_> = each.map(|n| pod(&format!("{n:05}"), "here", true, false, 1_000_000 - n)).collect();
        check(&pods, &[], 0, &[("12501", Why::Finished), ("12500", Why::Finished)]);
    }

    #[test]
    fn a_node_that_comes_back_starts_anew() {
        assert!(run(&[pod("a", "here", false, false, 0)], &[("here", 0)], 9).missing_since.is_empty());
    }
}
