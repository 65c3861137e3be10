//! One node of one DaemonSet: what counts of it, and what is to be done there.
//!
//! A pure function of the node's own pods; whether there is budget for what it proposes is decided by the plan.
//! Source: `podsShouldBeOnNode`, `rollingUpdate` and `updateDaemonSetStatus` of the DaemonSet controller.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::DeleteReason;
use super::placement::Placement;
use super::template::TEMPLATE_GENERATION_LABEL;
use crate::history::HASH_LABEL;
use crate::model::{DaemonSet, ObjectRef, Phase, Pod, Readiness};

/// A pod becomes available strictly after its minReadySeconds; timers count in milliseconds.
const TICK: SignedDuration = SignedDuration::from_millis(1);

/// What of the DaemonSet matters for classifying a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    pub rolling: bool,
    pub surges: bool,
    pub min_ready: SignedDuration,
    /// The hash of the current revision; none while it is not known.
    pub hash: Option<Arc<str>>,
    pub template_generation: Option<i64>,
}

/// What is seen of one node.
pub struct Seen<'a> {
    /// The node object exists.
    pub exists: bool,
    pub placement: Placement,
    /// The pods grouped to the node, in [`order`]; without terminal ones that are being deleted.
    pub pods: &'a [Arc<Pod>],
    /// The deletion of this pod is under way.
    pub deleting: &'a dyn Fn(&Pod) -> bool,
    /// A creation on this node is under way.
    pub creating: bool,
    /// Until when a failed pod stays.
    pub backoff_until: Option<Timestamp>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeClass {
    pub status: Tally,
    /// A pod is missing here.
    pub create: bool,
    /// Pods that must go whatever the update strategy.
    pub delete: Vec<Deletion>,
    pub rolling: Rolling,
    /// When this must be worked out anew although nothing happens.
    pub recheck_at: Option<Timestamp>,
}

/// What one node adds to the status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub desired: bool,
    pub current: bool,
    pub misscheduled: bool,
    pub ready: bool,
    pub updated: bool,
    pub available: bool,
}

/// What one node means for a rolling update.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rolling {
    /// Takes one of maxUnavailable.
    pub unavailable: bool,
    /// Takes one of maxSurge.
    pub surging: bool,
    /// Counts as served, in an update with surge.
    pub available: bool,
    pub step: Step,
}

/// What a rolling update would do on the node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Step {
    #[default]
    Nothing,
    /// Needs no budget.
    Delete(Deletion),
    /// Needs one of maxUnavailable.
    Replace(Deletion),
    /// A new pod beside the old one; needs no budget.
    SurgeAtOnce,
    /// A new pod beside the old one; needs one of maxSurge.
    Surge,
    /// The node should not run the pod any longer; it goes when more nodes are served than should be.
    Sunset(Deletion),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deletion {
    pub pod: ObjectRef,
    pub why: DeleteReason,
}

impl Rules {
    pub fn of(daemonset: &DaemonSet, hash: Option<Arc<str>>) -> Self {
        Rules {
            rolling: daemonset.strategy.is_rolling(),
            surges: daemonset.strategy.surges(),
            min_ready: SignedDuration::from_secs(daemonset.min_ready_seconds.into()),
            hash,
            template_generation: daemonset.template_generation,
        }
    }

    /// Hash or template generation says so.
    pub fn is_updated(&self, pod: &Pod) -> bool {
        let generation = pod.meta.label(TEMPLATE_GENERATION_LABEL).and_then(|text| text.parse::<i64>().ok());
        self.has_hash(pod) || (generation.is_some() && generation == self.template_generation)
    }

    fn has_hash(&self, pod: &Pod) -> bool {
        self.hash.is_some() && pod.meta.label(HASH_LABEL) == self.hash.as_deref()
    }

    /// When the pod is, or became, available: it must have been ready for longer than minReadySeconds.
    fn available_from(&self, pod: &Pod) -> Option<Timestamp> {
        match pod.readiness {
            Readiness::NotReady => None,
            Readiness::Ready { .. } if self.min_ready.is_zero() => Some(Timestamp::MIN),
            Readiness::Ready { since } => since?.checked_add(self.min_ready).ok()?.checked_add(TICK).ok(),
        }
    }

    pub fn is_available(&self, pod: &Pod, now: Timestamp) -> bool {
        self.available_from(pod).is_some_and(|from| from <= now)
    }
}

/// The order of the pods of a node: bound ones first, then the older, then by name.
pub fn order(a: &Pod, b: &Pod) -> std::cmp::Ordering {
    let key = |pod: &Pod| (pod.node_name.is_none(), pod.meta.created);
    key(a).cmp(&key(b)).then_with(|| a.meta.name.cmp(&b.meta.name))
}

/// Whether the pod counts as standing on its node: not if it has ended and is being deleted.
pub fn counts(pod: &Pod) -> bool {
    !(pod.is_terminal() && pod.is_terminating())
}

pub fn classify(rules: &Rules, seen: &Seen<'_>, now: Timestamp) -> NodeClass {
    let live: Vec<&Pod> = seen.pods.iter().map(|pod| &**pod).filter(|pod| seen.stays(pod)).collect();
    let (create, delete) = manage(rules, seen, &live, now);
    let mut rolling = rolling(rules, seen, &live, now);
    if create || !delete.is_empty() || seen.creating {
        rolling.step = Step::Nothing;
    }
    NodeClass {
        status: tally(rules, seen, now),
        recheck_at: recheck_at(rules, seen, &live, now),
        create,
        delete,
        rolling,
    }
}

impl Seen<'_> {
    fn stays(&self, pod: &Pod) -> bool {
        !pod.is_terminating() && !(self.deleting)(pod)
    }
}

fn tally(rules: &Rules, seen: &Seen<'_>, now: Timestamp) -> Tally {
    let first = seen.pods.first();
    if !seen.exists {
        return Tally::default();
    }
    if !seen.placement.should_run {
        return Tally { misscheduled: first.is_some(), ..Tally::default() };
    }
    Tally {
        desired: true,
        current: first.is_some(),
        misscheduled: false,
        ready: first.is_some_and(|pod| pod.is_ready()),
        updated: first.is_some_and(|pod| rules.is_updated(pod)),
        available: first.is_some_and(|pod| rules.is_available(pod, now)),
    }
}

/// What must be made and removed whatever the update strategy.
fn manage(rules: &Rules, seen: &Seen<'_>, live: &[&Pod], now: Timestamp) -> (bool, Vec<Deletion>) {
    let Placement { should_run, should_continue } = seen.placement;
    if !seen.exists {
        let stranded = live.iter().filter(|pod| pod.node_name.is_none());
        return (false, stranded.map(|pod| deletion(pod, DeleteReason::NodeGone)).collect());
    }
    if should_run && seen.pods.is_empty() {
        return (!seen.creating, Vec::new());
    }
    if !should_continue {
        return (false, live.iter().map(|pod| deletion(pod, DeleteReason::NodeIneligible)).collect());
    }
    let (ended, running): (Vec<&Pod>, Vec<&Pod>) = live.iter().partition(|pod| pod.is_terminal());
    let mut delete: Vec<Deletion> = ended.iter().filter_map(|pod| ended_pod(pod, seen.backoff_until)).collect();
    match rules.surges {
        false => delete.extend(running.iter().skip(1).map(|pod| deletion(pod, DeleteReason::Surplus))),
        true => delete.extend(surplus_with_surge(rules, &running, now)),
    }
    // While a failed pod waits for its back-off, no other takes its place: else every failure would add a pod.
    let waits = ended.len() > delete.len();
    let create = rules.surges && should_run && running.is_empty() && !seen.creating && !waits;
    (create, delete)
}

fn ended_pod(pod: &Pod, backoff_until: Option<Timestamp>) -> Option<Deletion> {
    match pod.phase {
        Phase::Failed if backoff_until.is_some() => None,
        Phase::Failed => Some(deletion(pod, DeleteReason::Failed)),
        _ => Some(deletion(pod, DeleteReason::Succeeded)),
    }
}

/// With surge one old and one new pod may stand together, as long as the old one serves and the new one does not yet.
fn surplus_with_surge(rules: &Rules, running: &[&Pod], now: Timestamp) -> Vec<Deletion> {
    if running.len() < 2 {
        return Vec::new();
    }
    let (new, old): (Vec<&Pod>, Vec<&Pod>) = running.iter().partition(|pod| rules.has_hash(pod));
    let rest = new.iter().skip(1).chain(old.iter().skip(1));
    let mut delete: Vec<Deletion> = rest.map(|pod| deletion(pod, DeleteReason::Surplus)).collect();
    if let (Some(new), Some(old)) = (new.first(), old.first()) {
        if !old.is_ready() {
            delete.push(deletion(old, DeleteReason::OldUnavailable));
        } else if rules.is_available(new, now) {
            delete.push(deletion(old, DeleteReason::Superseded));
        }
    }
    delete
}

fn rolling(rules: &Rules, seen: &Seen<'_>, live: &[&Pod], now: Timestamp) -> Rolling {
    let concerned = seen.placement.should_run || !seen.pods.is_empty() || seen.creating;
    if !rules.rolling || rules.hash.is_none() || !concerned {
        return Rolling::default();
    }
    let (new, old): (Vec<&Pod>, Vec<&Pod>) = live.iter().partition(|pod| rules.is_updated(pod));
    let crowded = new.len() > 1 || old.len() > 1;
    let (new, old) = (new.first().copied(), old.first().copied());
    match rules.surges {
        false if crowded => Rolling { unavailable: true, ..Rolling::default() },
        false => replacing(rules, seen, new, old, now),
        // Pods of a node that is gone are the pod garbage collector's.
        true if !seen.exists => Rolling::default(),
        true if crowded => Rolling { surging: true, ..Rolling::default() },
        true => surging(rules, seen, new, old, now),
    }
}

/// Without surge: the old pod makes room for the new one.
fn replacing(rules: &Rules, seen: &Seen<'_>, new: Option<&Pod>, old: Option<&Pod>, now: Timestamp) -> Rolling {
    let available = |pod| rules.is_available(pod, now);
    let (unavailable, step) = match (new, old) {
        (None, None) | (Some(_), Some(_)) => (true, Step::Nothing),
        (Some(new), None) => (!available(new), Step::Nothing),
        (None, Some(old)) if !available(old) => (true, Step::Delete(deletion(old, DeleteReason::OldUnavailable))),
        (None, Some(old)) => (seen.creating, Step::Replace(deletion(old, DeleteReason::OldRevision))),
    };
    Rolling { unavailable, step, ..Rolling::default() }
}

/// With surge: the new pod comes first.
fn surging(rules: &Rules, seen: &Seen<'_>, new: Option<&Pod>, old: Option<&Pod>, now: Timestamp) -> Rolling {
    let is_available = |pod| rules.is_available(pod, now);
    let available = old.or(new).is_some_and(is_available);
    let (surging, step) = match (new, old) {
        (_, None) => (false, Step::Nothing),
        // A new pod is on its way.
        (None, Some(_)) if seen.creating => (true, Step::Nothing),
        (None, Some(old)) if !seen.placement.should_run => match is_available(old) {
            true => (false, Step::Sunset(deletion(old, DeleteReason::NodeIneligible))),
            false => (false, Step::Delete(deletion(old, DeleteReason::NodeIneligible))),
        },
        (None, Some(old)) if is_available(old) => (false, Step::Surge),
        (None, Some(_)) => (false, Step::SurgeAtOnce),
        (Some(new), Some(_)) if !is_available(new) => (true, Step::Nothing),
        (Some(_), Some(old)) => (false, Step::Delete(deletion(old, DeleteReason::Superseded))),
    };
    Rolling { unavailable: false, surging, available, step }
}

/// The next moment at which time alone changes the node's class.
fn recheck_at(rules: &Rules, seen: &Seen<'_>, live: &[&Pod], now: Timestamp) -> Option<Timestamp> {
    let pods = live.iter().copied().chain(seen.pods.first().map(|pod| &**pod));
    let available = pods.filter_map(|pod| rules.available_from(pod)).filter(|from| *from > now).min();
    let failed = live.iter().any(|pod| pod.phase == Phase::Failed);
    let retry = seen.backoff_until.filter(|until| failed && *until > now);
    available.into_iter().chain(retry).min()
}

fn deletion(pod: &Pod, why: DeleteReason) -> Deletion {
    Deletion { pod: pod.meta.reference(), why }
}
