//! Everything that concerns one DaemonSet, kept classified and counted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::action::{Action, ActionKey, DeleteReason, Outcome};
use super::backoff::FailedPods;
use super::classify::{self, NodeClass, Rules, Seen, classify};
use super::pace::Pace;
use super::placement::{Placement, PlacementRules};
use super::sums::Sums;
use super::template::PodTemplate;
use crate::history::{Claim, HASH_LABEL, History, claim, history};
use crate::model::{ControllerRevision, DaemonSet, Node, Pod};

type Name = Arc<str>;
type Uid = Arc<str>;

/// The view of one DaemonSet. It is told what is observed (`set_*`, `remove_*`), what is being done (`begin`, `finish`)
/// and what time it is (`advance`); [`super::plan`] reads it.
#[derive(Clone, Debug)]
pub struct View {
    pub(super) daemonset: Arc<DaemonSet>,
    pub(super) history: History,
    pub(super) template: Option<Arc<PodTemplate>>,
    pub(super) sums: Sums,
    pub(super) nodes: BTreeMap<Name, Record>,
    pub(super) adopt: BTreeMap<(Name, Uid), Arc<Pod>>,
    pub(super) release: BTreeMap<(Name, Uid), Arc<Pod>>,
    pub(super) pods: BTreeMap<Uid, Arc<Pod>>,
    pub(super) in_flight: BTreeSet<ActionKey>,
    pub(super) creates: Pace,
    pub(super) deletes: Pace,
    pub(super) others: Pace,
    revisions: BTreeMap<Name, Arc<ControllerRevision>>,
    /// How many claimed pods (and creations under way) carry a hash.
    hashes: BTreeMap<Name, u32>,
    creating: BTreeMap<Name, Name>,
    placement: PlacementRules,
    rules: Rules,
    failed: FailedPods,
    now: Timestamp,
    classified: u64,
}

/// One node as one DaemonSet sees it.
#[derive(Clone, Debug, Default)]
pub(super) struct Record {
    node: Option<Arc<Node>>,
    placement: Placement,
    /// In [`classify::order`].
    pods: Vec<Arc<Pod>>,
    pub(super) class: NodeClass,
}

impl View {
    /// A view that has seen nothing but the DaemonSet.
    pub fn new(daemonset: Arc<DaemonSet>, now: Timestamp) -> Self {
        let history = history(&daemonset, []);
        let mut view = View {
            placement: PlacementRules::of(&daemonset.template),
            rules: Rules::of(&daemonset, None),
            daemonset,
            history,
            template: None,
            sums: Sums::default(),
            nodes: BTreeMap::new(),
            adopt: BTreeMap::new(),
            release: BTreeMap::new(),
            pods: BTreeMap::new(),
            in_flight: BTreeSet::new(),
            creates: Pace::slow_start(),
            deletes: Pace::full(),
            others: Pace::full(),
            revisions: BTreeMap::new(),
            hashes: BTreeMap::new(),
            creating: BTreeMap::new(),
            failed: FailedPods::default(),
            now,
            classified: 0,
        };
        view.failed.set_generation(view.daemonset.status.observed_generation);
        view.work_out_history();
        view
    }

    pub fn daemonset(&self) -> &Arc<DaemonSet> {
        &self.daemonset
    }

    pub fn history(&self) -> &History {
        &self.history
    }

    pub fn sums(&self) -> &Sums {
        &self.sums
    }

    /// A newer state of the same DaemonSet (same uid).
    pub fn set_daemonset(&mut self, daemonset: Arc<DaemonSet>) {
        let old = std::mem::replace(&mut self.daemonset, daemonset);
        let claims_change = old.selector != self.daemonset.selector
            || old.meta.deleted.is_some() != self.daemonset.meta.deleted.is_some();
        for node in self.failed.set_generation(self.daemonset.status.observed_generation) {
            self.reclassify(&node);
        }
        if claims_change {
            for pod in self.pods.values().cloned().collect::<Vec<_>>() {
                self.set_pod(pod);
            }
        }
        if old.meta.generation != self.daemonset.meta.generation {
            [&mut self.creates, &mut self.deletes, &mut self.others].into_iter().for_each(Pace::forgive);
        }
        if old.template != self.daemonset.template {
            self.place_anew();
        }
        self.work_out_history();
    }

    /// A revision of the namespace, ours or not.
    pub fn set_revision(&mut self, revision: Arc<ControllerRevision>) {
        self.revisions.insert(revision.meta.name.clone(), revision);
        self.work_out_history();
    }

    pub fn remove_revision(&mut self, name: &str) {
        if self.revisions.remove(name).is_some() {
            self.work_out_history();
        }
    }

    pub fn set_node(&mut self, node: Arc<Node>) {
        let placement = self.placement.place(&node);
        let record = self.nodes.entry(node.meta.name.clone()).or_default();
        let same = record.placement == placement && record.node.is_some();
        record.placement = placement;
        let name = node.meta.name.clone();
        record.node = Some(node);
        if !same {
            self.reclassify(&name);
        }
    }

    pub fn remove_node(&mut self, name: &Name) {
        if let Some(record) = self.nodes.get_mut(name) {
            record.node = None;
            record.placement = Placement::default();
            self.failed.forget_node(name);
            self.reclassify(name);
        }
    }

    /// A pod of the namespace, ours or not.
    pub fn set_pod(&mut self, pod: Arc<Pod>) {
        let left = self.detach(&pod.meta.uid);
        let entered = self.attach(pod);
        if let Some(left) = left.filter(|left| entered.as_ref() != Some(left)) {
            self.reclassify(&left);
        }
        if let Some(entered) = entered {
            self.reclassify(&entered);
        }
    }

    pub fn remove_pod(&mut self, uid: &Uid) {
        if let Some(left) = self.detach(uid) {
            self.reclassify(&left);
        }
    }

    /// The clock has moved on. If it has been put back, no failure is waited for any longer: nobody knows until when.
    pub fn advance(&mut self, now: Timestamp) {
        if std::mem::replace(&mut self.now, now) > now {
            [&mut self.creates, &mut self.deletes, &mut self.others].into_iter().for_each(Pace::forgive);
            for node in self.failed.forget() {
                self.reclassify(&node);
            }
        }
        while let Some(node) = self.sums.due(self.now) {
            self.reclassify(&node);
        }
    }

    /// The action is being carried out from now on: its effect is counted before anybody sees it.
    pub fn begin(&mut self, action: &Action) {
        self.in_flight.insert(action.key());
        self.pace(&action.key()).begin();
        match action {
            Action::CreatePod { node, template } => {
                self.count_hash(Some(&template.hash), 1);
                self.creating.insert(node.clone(), template.hash.clone());
                self.reclassify(node);
            }
            Action::DeletePod { node, why, .. } => {
                if *why == DeleteReason::Failed {
                    self.failed.record(node, self.now);
                }
                self.reclassify(node);
            }
            _ => {}
        }
    }

    /// The action has ended. What it brought about, if anything, has been told by `set_*` and `remove_*` before.
    pub fn finish(&mut self, key: &ActionKey, outcome: Outcome) {
        if !self.in_flight.remove(key) {
            return;
        }
        let now = self.now;
        self.pace(key).finish(outcome, now);
        match key {
            ActionKey::Create(node) => {
                if let Some(hash) = self.creating.remove(node) {
                    self.count_hash(Some(&hash), -1);
                }
                self.reclassify(node);
            }
            ActionKey::Delete(uid) => {
                if let Some(node) = self.pods.get(uid).and_then(|pod| group(pod)) {
                    self.reclassify(&node);
                }
            }
            _ => {}
        }
        if self.sums.create.is_empty() {
            self.creates.rest();
        }
    }

    /// How many times a node has been classified: what this view has cost so far.
    pub fn classified(&self) -> u64 {
        self.classified
    }

    /// How many more creations and deletions may begin.
    pub fn room(&self) -> (usize, usize) {
        (self.creates.room(self.now), self.deletes.room(self.now))
    }

    /// Whether any pod that the DaemonSet claims, or is creating, has this hash.
    pub fn is_live(&self, hash: &str) -> bool {
        self.hashes.contains_key(hash)
    }

    /// The claimed pods, in the order of their uids. Walks all of them.
    pub(super) fn claimed_pods(&self) -> impl Iterator<Item = &Arc<Pod>> {
        self.pods.values().filter(|pod| !self.release.contains_key(&identity(pod)))
    }

    /// Puts a pod where it belongs; returns the node that is to be classified anew.
    fn attach(&mut self, pod: Arc<Pod>) -> Option<Name> {
        let claim = claim(&self.daemonset, &pod.meta);
        let claimants = match claim {
            Claim::Ignore => return None,
            Claim::Keep => None,
            Claim::Adopt => Some(&mut self.adopt),
            Claim::Release => Some(&mut self.release),
        };
        if let Some(claimants) = claimants {
            claimants.insert(identity(&pod), pod.clone());
        }
        self.pods.insert(pod.meta.uid.clone(), pod.clone());
        if claim == Claim::Release {
            return None;
        }
        self.count_hash(pod.meta.label(HASH_LABEL), 1);
        let node = group(&pod)?;
        let pods = &mut self.nodes.entry(node.clone()).or_default().pods;
        let place = pods.partition_point(|other| classify::order(other, &pod).is_lt());
        pods.insert(place, pod);
        Some(node)
    }

    /// Takes a pod out; returns the node that is to be classified anew.
    fn detach(&mut self, uid: &Uid) -> Option<Name> {
        let pod = self.pods.remove(uid)?;
        if self.release.remove(&identity(&pod)).is_some() {
            return None;
        }
        self.adopt.remove(&identity(&pod));
        self.count_hash(pod.meta.label(HASH_LABEL), -1);
        let node = group(&pod)?;
        if let Some(record) = self.nodes.get_mut(&node) {
            record.pods.retain(|other| other.meta.uid != *uid);
        }
        Some(node)
    }

    fn pace(&mut self, key: &ActionKey) -> &mut Pace {
        match key {
            ActionKey::Create(_) => &mut self.creates,
            ActionKey::Delete(_) => &mut self.deletes,
            _ => &mut self.others,
        }
    }

    fn count_hash(&mut self, hash: Option<&str>, difference: i32) {
        let Some(hash) = hash.filter(|hash| !hash.is_empty()) else { return };
        match self.hashes.get_mut(hash) {
            Some(count) => *count = count.saturating_add_signed(difference),
            None => {
                self.hashes.insert(hash.into(), difference.max(0) as u32);
            }
        }
        if self.hashes.get(hash) == Some(&0) {
            self.hashes.remove(hash);
        }
    }

    fn work_out_history(&mut self) {
        self.history = history(&self.daemonset, self.revisions.values());
        // While the history is being mended, nodes keep the class they had: nothing is done about them anyway.
        let Some(hash) = self.history.current.clone() else { return };
        let template = PodTemplate::new(&self.daemonset, &hash);
        if self.template.as_deref() != Some(&template) {
            self.template = Some(Arc::new(template));
        }
        let rules = Rules::of(&self.daemonset, Some(hash));
        if rules != self.rules {
            self.rules = rules;
            self.reclassify_all();
        }
    }

    fn place_anew(&mut self) {
        let placement = PlacementRules::of(&self.daemonset.template);
        if placement == self.placement {
            return;
        }
        self.placement = placement;
        for record in self.nodes.values_mut() {
            record.placement = record.node.as_ref().map(|node| self.placement.place(node)).unwrap_or_default();
        }
        self.reclassify_all();
    }

    fn reclassify_all(&mut self) {
        for name in self.nodes.keys().cloned().collect::<Vec<_>>() {
            self.reclassify(&name);
        }
    }

    fn reclassify(&mut self, name: &Name) {
        self.classified += 1;
        let record = self.nodes.entry(name.clone()).or_default();
        let in_flight = &self.in_flight;
        let seen = Seen {
            exists: record.node.is_some(),
            placement: record.placement,
            pods: &record.pods,
            deleting: &|pod| in_flight.contains(&ActionKey::Delete(pod.meta.uid.clone())),
            creating: self.creating.contains_key(name),
            backoff_until: self.failed.until(name, self.now),
        };
        let class = classify(&self.rules, &seen, self.now);
        if class != record.class {
            self.sums.replace(name, &record.class, &class);
            record.class = class;
        }
        if record.node.is_none() && record.pods.is_empty() && !self.creating.contains_key(name) {
            let record = self.nodes.remove(name).expect("it was there just above");
            self.sums.replace(name, &record.class, &NodeClass::default());
        }
    }
}

fn identity(pod: &Pod) -> (Name, Uid) {
    (pod.meta.name.clone(), pod.meta.uid.clone())
}

/// The node that the pod is counted on.
fn group(pod: &Pod) -> Option<Name> {
    pod.target_node.clone().filter(|_| classify::counts(pod))
}
