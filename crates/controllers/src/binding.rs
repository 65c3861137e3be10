//! Which node runs a pod that names none: the part of a scheduler that daemon pods need.
//!
//! Looked at are the name of the scheduler, node selector and required node affinity, taints, and cordons; among nodes
//! that fit, the one with the fewest pods. Resources, ports, spreading and affinity between pods are not looked at:
//! daemon pods have a node of their own before all that.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::Arc;

use crate::model::{Node, ObjectRef, Pod, Scheduling};
use crate::scheduling::taints::{self, NO_EXECUTE, NO_SCHEDULE, Taint};

/// The name in `spec.schedulerName` of the pods that are ours.
pub const SCHEDULER: &str = "default-scheduler";

type Name = Arc<str>;
type Key = (Arc<str>, Arc<str>);

/// Nodes, and the pods that wait for one. Told of every change; [`Board::plan`] looks only at pods for which something
/// changed.
#[derive(Clone, Debug, Default)]
pub struct Board {
    nodes: BTreeMap<Name, Arc<Node>>,
    waiting: BTreeMap<Key, Arc<Pod>>,
    /// Waiting pods that can run on one node only, by that node.
    by_node: BTreeMap<Name, BTreeSet<Key>>,
    /// All other waiting pods.
    anywhere: BTreeSet<Key>,
    /// Waiting pods to look at (again).
    look: BTreeSet<Key>,
    /// Pods (by uid) whose binding is under way.
    under_way: BTreeMap<Key, Arc<str>>,
    /// How many pods are bound, or being bound, to each node.
    load: BTreeMap<Name, u32>,
    bound: BTreeMap<Key, Name>,
    /// Pods that we have bound (by uid), although the watch still shows them waiting.
    assumed: BTreeMap<Key, Arc<str>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    Bind {
        pod: ObjectRef,
        node: Name,
    },
    /// No node fits. To be said in the pod's condition `PodScheduled` and in an event.
    Unschedulable {
        pod: ObjectRef,
        why: String,
    },
}

impl Board {
    pub fn set_node(&mut self, node: Arc<Node>) {
        let name = node.meta.name.clone();
        let old = self.nodes.insert(name.clone(), node.clone());
        if !old.is_some_and(|old| old.places_like(&node) && old.unschedulable == node.unschedulable) {
            self.node_changed(&name);
        }
    }

    pub fn remove_node(&mut self, name: &Name) {
        self.nodes.remove(name);
        self.node_changed(name);
    }

    pub fn set_pod(&mut self, pod: Arc<Pod>) {
        let key = (pod.meta.namespace.clone(), pod.meta.name.clone());
        if pod.node_name.is_none() && self.assumed.get(&key) == Some(&pod.meta.uid) && !pod.is_terminating() {
            return;
        }
        self.assumed.remove(&key);
        if let Some(node) = &pod.node_name {
            self.leave(&key);
            self.count(key, Some(node.clone()).filter(|_| !pod.is_terminal()));
            return;
        }
        let ours = pod.scheduling.as_ref().is_some_and(|wishes| wishes.scheduler_name == SCHEDULER && !wishes.gated);
        if !ours || pod.is_terminating() || pod.is_terminal() {
            self.leave(&key);
            self.count(key, None);
            return;
        }
        let known = self.waiting.get(&key);
        if known.is_some_and(|known| known.meta.uid == pod.meta.uid && same_wishes(known, &pod)) {
            self.waiting.insert(key, pod);
            return;
        }
        self.leave(&key);
        match &pod.target_node {
            Some(node) => drop(self.by_node.entry(node.clone()).or_default().insert(key.clone())),
            None => drop(self.anywhere.insert(key.clone())),
        }
        self.look.insert(key.clone());
        self.waiting.insert(key, pod);
    }

    pub fn remove_pod(&mut self, namespace: &Arc<str>, name: &Arc<str>) {
        let key = (namespace.clone(), name.clone());
        self.assumed.remove(&key);
        self.under_way.remove(&key);
        self.leave(&key);
        self.count(key, None);
    }

    /// Decides for up to `max` pods that changed, or whose nodes did, in the order of their namespaces and names.
    pub fn plan(&mut self, max: usize) -> Vec<Decision> {
        let mut decisions = Vec::new();
        while decisions.len() < max
            && let Some(key) = self.look.pop_first()
        {
            if let Some(decision) = self.decide(&key) {
                decisions.push(decision);
            }
        }
        decisions
    }

    /// The binding has ended: the pod is bound, or gone, or it waits on. To have it looked at again, see
    /// [`Board::look_at`].
    pub fn finish(&mut self, pod: &ObjectRef, bound: bool) {
        let key = (pod.namespace.clone(), pod.name.clone());
        if self.under_way.get(&key) != Some(&pod.uid) {
            return;
        }
        self.under_way.remove(&key);
        // Otherwise the watch has told more of it than the answer can.
        if self.waiting.get(&key).is_some_and(|waiting| waiting.meta.uid == pod.uid) {
            match bound {
                // Until the watch shows the pod on its node, it counts there and waits for nothing.
                true => {
                    self.leave(&key);
                    self.assumed.insert(key, pod.uid.clone());
                }
                false => self.count(key, None),
            }
        }
    }

    /// Decide about this pod again, if it still waits.
    pub fn look_at(&mut self, namespace: &Arc<str>, name: &Arc<str>) {
        let key = (namespace.clone(), name.clone());
        if self.waiting.contains_key(&key) {
            self.look.insert(key);
        }
    }

    fn decide(&mut self, key: &Key) -> Option<Decision> {
        let pod = self.waiting.get(key).filter(|_| !self.under_way.contains_key(key))?.clone();
        let wishes = pod.scheduling.as_deref()?;
        let mut reasons = BTreeMap::new();
        let candidates = self.candidates(&pod);
        let refused = |node: &&Arc<Node>| match refusal(node, wishes) {
            None => true,
            Some(reason) => {
                *reasons.entry(reason).or_insert(0_usize) += 1;
                false
            }
        };
        let fitting = candidates.into_iter().filter(refused);
        let load = |node: &Name| self.load.get(node).copied().unwrap_or(0);
        let best = fitting.map(|node| node.meta.name.clone()).min_by_key(|node| (load(node), node.clone()));
        if let Some(node) = best {
            self.under_way.insert(key.clone(), pod.meta.uid.clone());
            self.count(key.clone(), Some(node.clone()));
            return Some(Decision::Bind { pod: pod.meta.reference(), node });
        }
        let why = explain(self.nodes.len(), reasons);
        let known = wishes.unschedulable.as_deref() == Some(&why);
        (!known).then(|| Decision::Unschedulable { pod: pod.meta.reference(), why })
    }

    fn candidates(&self, pod: &Pod) -> Vec<&Arc<Node>> {
        match &pod.target_node {
            Some(node) => self.nodes.get(node).into_iter().collect(),
            None => self.nodes.values().collect(),
        }
    }

    fn node_changed(&mut self, name: &Name) {
        self.look.extend(self.by_node.get(name).into_iter().flatten().cloned());
        self.look.extend(self.anywhere.iter().cloned());
    }

    fn leave(&mut self, key: &Key) {
        self.look.remove(key);
        self.anywhere.remove(key);
        let Some(node) = self.waiting.remove(key).and_then(|pod| pod.target_node.clone()) else { return };
        if let Some(pods) = self.by_node.get_mut(&node) {
            pods.remove(key);
            if pods.is_empty() {
                self.by_node.remove(&node);
            }
        }
    }

    /// Counts the pod on this node, and on no other.
    fn count(&mut self, key: Key, node: Option<Name>) {
        let old = match &node {
            Some(node) => self.bound.insert(key, node.clone()),
            None => self.bound.remove(&key),
        };
        if let Some(count) = old.and_then(|old| self.load.get_mut(&old)) {
            *count -= 1;
        }
        if let Some(node) = node {
            *self.load.entry(node).or_default() += 1;
        }
    }
}

/// Nothing changed that decides where the pod may run; the scheduler's own complaint does not count.
fn same_wishes(a: &Pod, b: &Pod) -> bool {
    let wishes =
        |pod: &Pod| pod.scheduling.as_deref().map(|wishes| Scheduling { unschedulable: None, ..wishes.clone() });
    a.target_node == b.target_node && wishes(a) == wishes(b)
}

/// Why the node does not take the pod, in the scheduler's words.
fn refusal(node: &Node, wishes: &Scheduling) -> Option<&'static str> {
    let cordon =
        Taint { key: "node.kubernetes.io/unschedulable".into(), effect: NO_SCHEDULE.into(), ..Taint::default() };
    if node.unschedulable && !wishes.tolerations.iter().any(|toleration| toleration.tolerates(&cordon)) {
        return Some("node(s) were unschedulable");
    }
    if taints::untolerated(&node.taints, &wishes.tolerations, &[NO_SCHEDULE, NO_EXECUTE]).is_some() {
        return Some("node(s) had untolerated taint(s)");
    }
    (!wishes.required.matches(&node.meta)).then_some("node(s) didn't match Pod's node affinity/selector")
}

/// `0/3 nodes are available: 1 node(s) were unschedulable, 2 node(s) had untolerated taint(s).`
fn explain(nodes: usize, reasons: BTreeMap<&'static str, usize>) -> String {
    if nodes == 0 {
        return "no nodes available to schedule pods".into();
    }
    let mut text = format!("0/{nodes} nodes are available: ");
    let others = nodes - reasons.values().sum::<usize>();
    let narrowed = (others > 0).then_some(("node(s) didn't satisfy plugin(s) [NodeAffinity]", others));
    let mut all: Vec<String> =
        reasons.into_iter().chain(narrowed).map(|(reason, count)| format!("{count} {reason}")).collect();
    all.sort();
    write!(text, "{}.", all.join(", ")).expect("a String takes everything");
    text
}

#[cfg(test)]
mod tests;
