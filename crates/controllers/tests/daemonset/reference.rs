//! The DaemonSet controller as the specification tells it: every pod and every node is walked each time, nothing is
//! remembered. Only for comparison with the planner that works by difference.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use backstay_controllers::daemonset::placement::{Placement, PlacementRules};
use backstay_controllers::history::{Claim, HASH_LABEL, claim};
use backstay_controllers::model::{DaemonSet, DaemonSetStatus, Node, Phase, Pod, Readiness, UpdateStrategy};
use jiff::{SignedDuration, Timestamp};

/// All that is to be seen.
pub struct Fleet<'a> {
    pub daemonset: &'a DaemonSet,
    pub nodes: &'a BTreeMap<String, Arc<Node>>,
    pub pods: &'a BTreeMap<String, Arc<Pod>>,
    /// Nodes on which a creation is under way.
    pub creating: &'a BTreeSet<String>,
    /// Names of pods whose deletion is under way.
    pub deleting: &'a BTreeSet<String>,
    /// Until when the failed pods of a node stay.
    pub backoff: &'a BTreeMap<String, Timestamp>,
    pub hash: &'a str,
    pub now: Timestamp,
}

#[derive(Debug, Default, PartialEq)]
pub struct Expected {
    pub create: Vec<String>,
    pub delete: BTreeSet<String>,
    pub status: DaemonSetStatus,
}

impl Fleet<'_> {
    pub fn plan(&self) -> Expected {
        let groups = self.groups();
        let mut expected = Expected { status: self.status(&groups), ..Expected::default() };
        let mut touched = BTreeSet::new();
        for (name, node) in self.nodes {
            let (create, delete) = self.manage(name, self.place(node), groups.get(name).map_or(&[], Vec::as_slice));
            if create || !delete.is_empty() {
                touched.insert(name.clone());
            }
            expected.create.extend(create.then(|| name.clone()));
            expected.delete.extend(delete);
        }
        for (name, pods) in groups.iter().filter(|(name, _)| !self.nodes.contains_key(*name)) {
            for pod in pods.iter().filter(|pod| pod.node_name.is_none() && self.stays(pod)) {
                touched.insert(name.clone());
                expected.delete.insert(pod.meta.name.to_string());
            }
        }
        self.roll(&groups, &touched, &mut expected);
        expected
    }

    /// Claimed pods by target node, the first of each node first.
    fn groups(&self) -> BTreeMap<String, Vec<&Pod>> {
        let mut groups: BTreeMap<String, Vec<&Pod>> = BTreeMap::new();
        for pod in self.pods.values() {
            let ours = claim(self.daemonset, &pod.meta) == Claim::Keep;
            let ended = matches!(pod.phase, Phase::Failed | Phase::Succeeded) && pod.meta.deleted.is_some();
            if let Some(node) = pod.target_node.as_ref().filter(|_| ours && !ended) {
                groups.entry(node.to_string()).or_default().push(pod);
            }
        }
        for pods in groups.values_mut() {
            pods.sort_by_key(|pod| (pod.node_name.is_none(), pod.meta.created, pod.meta.name.clone()));
        }
        groups
    }

    fn place(&self, node: &Node) -> Placement {
        PlacementRules::of(&self.daemonset.template).place(node)
    }

    fn stays(&self, pod: &Pod) -> bool {
        pod.meta.deleted.is_none() && !self.deleting.contains(&*pod.meta.name)
    }

    fn is_available(&self, pod: &Pod) -> bool {
        let min = SignedDuration::from_secs(self.daemonset.min_ready_seconds.into());
        match pod.readiness {
            Readiness::NotReady => false,
            Readiness::Ready { .. } if min.is_zero() => true,
            Readiness::Ready { since } => since.is_some_and(|since| since + min < self.now),
        }
    }

    fn is_updated(&self, pod: &Pod) -> bool {
        let generation = pod.meta.label("pod-template-generation").and_then(|text| text.parse().ok());
        pod.meta.label(HASH_LABEL) == Some(self.hash)
            || (generation.is_some() && generation == self.daemonset.template_generation)
    }

    fn status(&self, groups: &BTreeMap<String, Vec<&Pod>>) -> DaemonSetStatus {
        let mut status = DaemonSetStatus {
            observed_generation: self.daemonset.meta.generation,
            collision_count: self.daemonset.status.collision_count,
            ..DaemonSetStatus::default()
        };
        for (name, node) in self.nodes {
            let first = groups.get(name).and_then(|pods| pods.first());
            if !self.place(node).should_run {
                status.number_misscheduled += u32::from(first.is_some());
                continue;
            }
            status.desired_number_scheduled += 1;
            let Some(first) = first else { continue };
            status.current_number_scheduled += 1;
            status.number_ready += u32::from(matches!(first.readiness, Readiness::Ready { .. }));
            status.number_available += u32::from(self.is_available(first));
            status.updated_number_scheduled += u32::from(self.is_updated(first));
        }
        status.number_unavailable = status.desired_number_scheduled - status.number_available;
        status
    }

    fn manage(&self, name: &str, place: Placement, pods: &[&Pod]) -> (bool, Vec<String>) {
        let creating = self.creating.contains(name);
        let live: Vec<&Pod> = pods.iter().copied().filter(|pod| self.stays(pod)).collect();
        if place.should_run && pods.is_empty() && !creating {
            return (true, Vec::new());
        }
        if !place.should_continue {
            return (false, live.iter().map(|pod| pod.meta.name.to_string()).collect());
        }
        let (mut delete, mut running, mut waits) = (Vec::new(), Vec::new(), false);
        for pod in live {
            match pod.phase {
                Phase::Failed if self.backoff.get(name).is_some_and(|until| *until > self.now) => waits = true,
                Phase::Failed | Phase::Succeeded => delete.push(pod.meta.name.to_string()),
                _ => running.push(pod),
            }
        }
        if !self.daemonset.strategy.surges() {
            delete.extend(running.iter().skip(1).map(|pod| pod.meta.name.to_string()));
            return (false, delete);
        }
        if running.is_empty() {
            return (place.should_run && !creating && !waits, delete);
        }
        let is_new = |pod: &&&Pod| pod.meta.label(HASH_LABEL) == Some(self.hash);
        let new = running.iter().find(is_new);
        let old = running.iter().find(|pod| !is_new(pod));
        for pod in &running {
            let first = [new, old].iter().flatten().any(|first| first.meta.name == pod.meta.name);
            if !first {
                delete.push(pod.meta.name.to_string());
            }
        }
        if let (Some(new), Some(old)) = (new, old)
            && (!old.is_ready() || self.is_available(new))
        {
            delete.push(old.meta.name.to_string());
        }
        (false, delete)
    }

    fn roll(&self, groups: &BTreeMap<String, Vec<&Pod>>, touched: &BTreeSet<String>, expected: &mut Expected) {
        let UpdateStrategy::RollingUpdate { max_unavailable, max_surge } = self.daemonset.strategy else { return };
        let desired = expected.status.desired_number_scheduled;
        let (mut max_unavailable, max_surge) = (max_unavailable.of(desired), max_surge.of(desired));
        if max_unavailable == 0 && max_surge == 0 {
            max_unavailable = 1;
        }
        let should_run = |name: &str| self.nodes.get(name).is_some_and(|node| self.place(node).should_run);
        let names: BTreeSet<&String> = groups.keys().chain(self.creating).collect();
        let names = names.into_iter().chain(self.nodes.keys()).collect::<BTreeSet<&String>>();
        let (mut unavailable, mut surging, mut available) = (0, 0, 0);
        let (mut candidates, mut surge_candidates, mut surge_now, mut sunset) = (vec![], vec![], vec![], vec![]);
        for name in names {
            let pods = groups.get(name).map_or(&[][..], Vec::as_slice);
            let creating = self.creating.contains(name);
            if pods.is_empty() && !creating && !should_run(name) {
                continue;
            }
            let live: Vec<&Pod> = pods.iter().copied().filter(|pod| self.stays(pod)).collect();
            let (new, old): (Vec<&Pod>, Vec<&Pod>) = live.into_iter().partition(|pod| self.is_updated(pod));
            let free = !touched.contains(name) && !creating;
            if !self.daemonset.strategy.surges() {
                match (new.as_slice(), old.as_slice()) {
                    ([new], []) => unavailable += u32::from(!self.is_available(new)),
                    ([], [old]) if !self.is_available(old) => {
                        unavailable += 1;
                        expected.delete.extend(free.then(|| old.meta.name.to_string()));
                    }
                    ([], [old]) if free => candidates.push(old.meta.name.to_string()),
                    ([], [_]) if !creating => {}
                    _ => unavailable += 1,
                }
                continue;
            }
            if !self.nodes.contains_key(name) {
                continue;
            }
            if new.len() > 1 || old.len() > 1 {
                surging += 1;
                continue;
            }
            available += u32::from(old.first().or(new.first()).is_some_and(|pod| self.is_available(pod)));
            let Some(old) = old.first() else { continue };
            let old_name = old.meta.name.to_string();
            match new.first() {
                None if creating => surging += 1,
                None if !free => {}
                None if !should_run(name) && self.is_available(old) => sunset.push(old_name),
                None if !should_run(name) => drop(expected.delete.insert(old_name)),
                None if self.is_available(old) => surge_candidates.push(name.clone()),
                None => surge_now.push(name.clone()),
                Some(new) if !self.is_available(new) => surging += 1,
                Some(_) if free => drop(expected.delete.insert(old_name)),
                Some(_) => {}
            }
        }
        expected.delete.extend(candidates.into_iter().take(max_unavailable.saturating_sub(unavailable) as usize));
        expected.delete.extend(sunset.into_iter().take(available.saturating_sub(desired) as usize));
        expected.create.extend(surge_now);
        expected.create.extend(surge_candidates.into_iter().take(max_surge.saturating_sub(surging) as usize));
    }
}
