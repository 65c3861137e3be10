//! The promises about DaemonSets, checked against what the API holds. Plain walks over everything, for tests, the
//! simulation and a look at a live cluster; no planner uses them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;

use crate::daemonset::classify::Rules;
use crate::daemonset::placement::PlacementRules;
use crate::daemonset::{Action, DeleteReason};
use crate::model::{ControllerRevision, DaemonSet, Node, Pod, UpdateStrategy};

/// The objects of a cluster at one moment.
#[derive(Clone, Debug, Default)]
pub struct Fleet {
    pub daemonsets: Vec<Arc<DaemonSet>>,
    pub nodes: Vec<Arc<Node>>,
    pub pods: Vec<Arc<Pod>>,
    pub revisions: Vec<Arc<ControllerRevision>>,
}

/// A broken promise: whose, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub daemonset: String,
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.daemonset, self.what)
    }
}

/// What must hold at every moment: no node is crowded, numbers are unique, revisions in use are there.
pub fn always(fleet: &Fleet) -> Vec<Violation> {
    each(fleet, |daemonset, report| {
        crowded_nodes(fleet, daemonset, report);
        unique_numbers(fleet, daemonset, report);
        used_revisions(fleet, daemonset, report);
    })
}

/// What must hold between two moments: numbers only grow.
pub fn step(before: &Fleet, after: &Fleet) -> Vec<Violation> {
    each(after, |daemonset, report| {
        let Some(old) = before.daemonsets.iter().find(|old| old.meta.uid == daemonset.meta.uid) else { return };
        if old.status.collision_count > daemonset.status.collision_count {
            report("the collision count went down".into());
        }
        for revision in after.revisions_of(daemonset) {
            let old = before.revisions.iter().find(|old| old.meta.uid == revision.meta.uid);
            if let Some(old) = old.filter(|old| old.revision > revision.revision) {
                report(format!("revision {} went from {} to {}", revision.meta.name, old.revision, revision.revision));
            }
        }
        let newest = |fleet: &Fleet| fleet.revisions_of(daemonset).map(|revision| revision.revision).max();
        if newest(before) > newest(after) {
            report(format!("the newest number went from {:?} to {:?}", newest(before), newest(after)));
        }
    })
}

/// What must hold of the actions of one plan, made when the fleet was like this.
pub fn plan(fleet: &Fleet, daemonset: &DaemonSet, actions: &[Action], now: Timestamp) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut report = |what: String| violations.push(Violation { daemonset: daemonset.meta.key().to_string(), what });
    budget(fleet, daemonset, actions, now, &mut report);
    let mut nodes = BTreeSet::new();
    for action in actions {
        match action {
            Action::CreatePod { node, .. } if !nodes.insert(node) => report(format!("two pods at once for {node}")),
            Action::DeleteRevision { revision, .. } => {
                let revision = fleet.revisions.iter().find(|seen| seen.meta.uid == revision.uid);
                let hash = revision.and_then(|revision| revision.hash());
                let used = |pod: &&Arc<Pod>| pod.meta.label(crate::history::HASH_LABEL) == hash;
                if let (Some(hash), Some(pod)) = (hash, fleet.pods_of(daemonset).find(used)) {
                    report(format!("deletes revision {hash} that pod {} has", pod.meta.name));
                }
            }
            _ => {}
        }
    }
    violations
}

/// What must hold once nothing happens any more: the newest revision, available, on every node that should run it and
/// on no other; and a status that says so.
pub fn at_rest(fleet: &Fleet, now: Timestamp) -> Vec<Violation> {
    each(fleet, |daemonset, report| {
        let newest = fleet.revisions_of(daemonset).max_by_key(|revision| revision.revision);
        match newest {
            None => return report("has no revision".into()),
            Some(newest) if newest.data != daemonset.data => {
                return report(format!("its newest revision {} holds another template", newest.meta.name));
            }
            Some(newest) => served_nodes(fleet, daemonset, newest, now, report),
        }
        if daemonset.status.observed_generation < daemonset.meta.generation {
            report("the status is of an older generation".into());
        }
    })
}

impl Fleet {
    pub fn pods_of<'a>(&'a self, daemonset: &'a DaemonSet) -> impl Iterator<Item = &'a Arc<Pod>> {
        let owned = |pod: &&Arc<Pod>| pod.meta.controller.as_ref().is_some_and(|owner| owner.uid == daemonset.meta.uid);
        self.pods.iter().filter(owned)
    }

    pub fn revisions_of<'a>(&'a self, daemonset: &'a DaemonSet) -> impl Iterator<Item = &'a Arc<ControllerRevision>> {
        let owner = &daemonset.meta.uid;
        self.revisions.iter().filter(move |revision| {
            revision.meta.controller.as_ref().is_some_and(|controller| controller.uid == *owner)
        })
    }
}

fn each(fleet: &Fleet, mut check: impl FnMut(&DaemonSet, &mut dyn FnMut(String))) -> Vec<Violation> {
    let mut violations = Vec::new();
    for daemonset in fleet.daemonsets.iter().filter(|daemonset| !daemonset.meta.is_being_deleted()) {
        let key = daemonset.meta.key().to_string();
        check(daemonset, &mut |what| violations.push(Violation { daemonset: key.clone(), what }));
    }
    violations
}

fn crowded_nodes(fleet: &Fleet, daemonset: &DaemonSet, report: &mut dyn FnMut(String)) {
    let mut running: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for pod in fleet.pods_of(daemonset).filter(|pod| !pod.is_terminating() && !pod.is_terminal()) {
        if let Some(node) = &pod.target_node {
            running.entry(node).or_default().push(&pod.meta.name);
        }
    }
    let max = if daemonset.strategy.surges() { 2 } else { 1 };
    for (node, pods) in running.iter().filter(|(_, pods)| pods.len() > max) {
        report(format!("{} pods on {node}: {}", pods.len(), pods.join(", ")));
    }
}

fn unique_numbers(fleet: &Fleet, daemonset: &DaemonSet, report: &mut dyn FnMut(String)) {
    let mut seen: BTreeMap<i64, &str> = BTreeMap::new();
    for revision in fleet.revisions_of(daemonset) {
        if let Some(other) = seen.insert(revision.revision, &revision.meta.name) {
            report(format!("{other} and {} are both revision {}", revision.meta.name, revision.revision));
        }
    }
}

fn used_revisions(fleet: &Fleet, daemonset: &DaemonSet, report: &mut dyn FnMut(String)) {
    let known: BTreeSet<&str> = fleet.revisions_of(daemonset).filter_map(|revision| revision.hash()).collect();
    for pod in fleet.pods_of(daemonset) {
        let hash = pod.meta.label(crate::history::HASH_LABEL);
        if let Some(hash) = hash.filter(|hash| !known.contains(hash)) {
            report(format!("pod {} is of revision {hash}, which is gone", pod.meta.name));
        }
    }
}

fn served_nodes(
    fleet: &Fleet,
    daemonset: &DaemonSet,
    newest: &ControllerRevision,
    now: Timestamp,
    report: &mut dyn FnMut(String),
) {
    let rules = Rules::of(daemonset, newest.hash().map(Arc::from));
    let placement = PlacementRules::of(&daemonset.template);
    for node in &fleet.nodes {
        let here = |pod: &&Arc<Pod>| pod.target_node.as_ref() == Some(&node.meta.name);
        let pods: Vec<&Arc<Pod>> = fleet.pods_of(daemonset).filter(here).collect();
        let place = placement.place(node);
        match pods.as_slice() {
            [] if place.should_run => report(format!("no pod on {}", node.meta.name)),
            [pod] if place.should_run && !rules.is_available(pod, now) => {
                report(format!("pod {} is not available", pod.meta.name));
            }
            [pod] if place.should_run && daemonset.strategy.is_rolling() && !rules.is_updated(pod) => {
                report(format!("pod {} is of an old revision", pod.meta.name));
            }
            [pod, ..] if !place.should_continue => report(format!("pod {} should not be there", pod.meta.name)),
            [] | [_] => {}
            pods => report(format!("{} pods on {}", pods.len(), node.meta.name)),
        }
    }
}

/// Available pods may be taken for the update's sake only as long as the budget lasts.
fn budget(fleet: &Fleet, daemonset: &DaemonSet, actions: &[Action], now: Timestamp, report: &mut dyn FnMut(String)) {
    let UpdateStrategy::RollingUpdate { max_unavailable, .. } = daemonset.strategy else { return };
    let rules = Rules::of(daemonset, None);
    let placement = PlacementRules::of(&daemonset.template);
    let should_run = fleet.nodes.iter().filter(|node| placement.place(node).should_run);
    let should_run: BTreeSet<&str> = should_run.map(|node| &*node.meta.name).collect();
    let taken: BTreeSet<&str> = actions
        .iter()
        .filter_map(|action| match action {
            Action::DeletePod { pod, why: DeleteReason::OldRevision | DeleteReason::OldUnavailable, .. } => {
                Some(&*pod.uid)
            }
            _ => None,
        })
        .collect();
    let serving = |without: &BTreeSet<&str>| -> BTreeSet<&str> {
        let pods = fleet.pods_of(daemonset).filter(|pod| !pod.is_terminating() && rules.is_available(pod, now));
        let pods = pods.filter(|pod| !without.contains(&*pod.meta.uid));
        pods.filter_map(|pod| pod.target_node.as_deref()).filter(|node| should_run.contains(node)).collect()
    };
    let (before, after) = (serving(&BTreeSet::new()).len(), serving(&taken).len());
    let max = max_unavailable.of(should_run.len() as u32).max(u32::from(!daemonset.strategy.surges())) as usize;
    if after < before && should_run.len() - after > max {
        report(format!("takes {} available pods; {} of {} nodes are left", before - after, after, should_run.len()));
    }
}
