//! Pod garbage collection: pods whose node is gone, deleted pods that no node will ever confirm, and too many
//! finished ones.
//!
//! Source: the pod garbage collector of `kube-controller-manager` (quarantine, threshold, condition).

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use backstay_api::ObjectKey;

/// A node must be missing for so long before its pods are taken for lost: a watch may be behind.
pub const QUARANTINE: SignedDuration = SignedDuration::from_secs(40);
/// How many finished pods are kept (`--terminated-pod-gc-threshold`).
pub const FINISHED_MAX: usize = 12_500;
/// How often to look (`gcCheckPeriod`).
pub const PERIOD: SignedDuration = SignedDuration::from_secs(20);

/// What matters of one pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    pub key: ObjectKey,
    pub uid: String,
    /// `""`: not bound to a node.
    pub node: String,
    /// Phase `Succeeded` or `Failed`.
    pub finished: bool,
    pub being_deleted: bool,
    pub created: Timestamp,
}

/// Why a pod is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Its node no longer exists. A pod that is not finished is marked `Failed` first, with a `DisruptionTarget`
    /// condition (reason `DeletionByPodGC`, message `PodGC: node no longer exists`).
    NodeGone,
    /// It is being deleted and was never bound.
    Unscheduled,
    /// There are more than [`FINISHED_MAX`] finished pods, and this is one of the oldest.
    Finished,
}

/// Pods to delete at once (grace period 0), in order, and since when each missing node has been missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    pub remove: Vec<(Pod, Why)>,
    pub missing_since: BTreeMap<String, Timestamp>,
}

/// Plans for all pods. `missing_since` is what the last plan returned.
pub fn plan(
    pods: &[Pod],
    nodes: &BTreeSet<String>,
    missing_since: &BTreeMap<String, Timestamp>,
    now: Timestamp,
) -> Plan {
    let missing = pods.iter().map(|pod| &pod.node).filter(|node| !node.is_empty() && !nodes.contains(*node));
    let missing_since: BTreeMap<String, Timestamp> =
        missing.map(|node| (node.clone(), missing_since.get(node).copied().unwrap_or(now))).collect();
    let gone = |node: &str| missing_since.get(node).is_some_and(|since| now >= *since + QUARANTINE);
    let mut remove = surplus(pods);
    let taken: BTreeSet<&str> = remove.iter().map(|(pod, _)| pod.uid.as_str()).collect();
    let rest = pods.iter().filter(|pod| !taken.contains(pod.uid.as_str())).filter_map(|pod| {
        let why = match () {
            () if gone(&pod.node) => Why::NodeGone,
            () if pod.being_deleted && pod.node.is_empty() => Why::Unscheduled,
            () => return None,
        };
        Some((pod.clone(), why))
    });
    let rest: Vec<(Pod, Why)> = rest.collect();
    remove.extend(rest);
    Plan { remove, missing_since }
}

/// The oldest finished pods beyond the limit; ties by name.
fn surplus(pods: &[Pod]) -> Vec<(Pod, Why)> {
    let mut finished: Vec<&Pod> = pods.iter().filter(|pod| pod.finished && !pod.being_deleted).collect();
    let count = finished.len().saturating_sub(FINISHED_MAX);
    finished.sort_by(|a, b| (a.created, &a.key).cmp(&(b.created, &b.key)));
    finished.into_iter().take(count).map(|pod| (pod.clone(), Why::Finished)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    fn pod(name: &str, node: &str, finished: bool, being_deleted: bool) -> Pod {
        let key = ObjectKey::namespaced("ns", name);
        Pod { key, uid: name.into(), node: node.into(), finished, being_deleted, created: at(0) }
    }

    fn check(pods: &[Pod], missing: &[(&str, i64)], now: i64, expected: &[(&str, Why)]) {
        let nodes = BTreeSet::from(["here".to_string()]);
        let missing = missing.iter().map(|(node, since)| (node.to_string(), at(*since))).collect();
        let plan = plan(pods, &nodes, &missing, at(now));
        let removed: Vec<(&str, Why)> = plan.remove.iter().map(|(pod, why)| (pod.key.name.as_str(), *why)).collect();
        assert_eq!(removed, expected);
    }

    #[test]
    fn plans() {
        check(&[pod("a", "here", false, true), pod("b", "", false, false)], &[], 0, &[]);
        check(&[pod("a", "gone", false, false)], &[], 100, &[]);
        check(&[pod("a", "gone", false, false)], &[("gone", 0)], 39, &[]);
        check(&[pod("a", "gone", false, false)], &[("gone", 0)], 40, &[("a", Why::NodeGone)]);
        check(&[pod("a", "", false, true)], &[], 0, &[("a", Why::Unscheduled)]);
    }

    #[test]
    fn the_oldest_finished_go_first() {
        let mut pods: Vec<Pod> = (0..FINISHED_MAX + 2).map(|n| pod(&format!("{n:05}"), "here", true, false)).collect();
        for (n, pod) in pods.iter_mut().enumerate() {
            pod.created = at(1_000_000 - n as i64);
        }
        check(&pods, &[], 0, &[("12501", Why::Finished), ("12500", Why::Finished)]);
    }

    #[test]
    fn a_node_that_comes_back_starts_anew() {
        let plan = plan(
            &[pod("a", "here", false, false)],
            &BTreeSet::from(["here".into()]),
            &BTreeMap::from([("here".into(), at(0))]),
            at(9),
        );
        assert!(plan.missing_since.is_empty());
    }
}
