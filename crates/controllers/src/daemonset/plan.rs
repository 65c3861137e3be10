//! What to do for one DaemonSet now, what it waits for, and what its status should say.

use std::sync::Arc;

use jiff::Timestamp;

use super::action::{Action, ActionKey, RevisionDeleteReason};
use super::classify::{Deletion, Step as NodeStep};
use super::view::View;
use crate::history::{HASH_LABEL, Step, surplus};
use crate::model::{DaemonSetStatus, UpdateStrategy};

/// The order of `actions`: claims of pods, then of revisions and other changes of the history, deletions and creations
/// that must be, those of the update, and last the removal of old revisions; in each group by node or object name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    pub actions: Vec<Action>,
    pub waiting: Vec<WaitingOn>,
    /// What the status should be, if that is not what it is.
    pub status: Option<DaemonSetStatus>,
    /// When to plan again although nothing happens.
    pub recheck_at: Option<Timestamp>,
}

/// Why something that is wanted does not happen yet. Lists of nodes are examples, the first by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WaitingOn {
    /// Its deletion; nothing is done for it any more.
    Deletion,
    /// A selector that does not match every pod.
    Selector,
    /// Adoption of so many pods.
    Adoption { pods: usize },
    /// The history: the revision of this template is not there yet.
    History,
    /// The pods on these nodes: as many are unavailable as may be, and `old` nodes are still to be updated.
    UnavailableBudget { unavailable: u32, max: u32, old: usize, nodes: Vec<Arc<str>> },
    /// As before, with surge: so many nodes run an old and a new pod.
    SurgeBudget { surging: u32, max: u32, old: usize, nodes: Vec<Arc<str>> },
    /// Nodes that should not run the pod, whose available pods are still needed.
    Sunset { nodes: Vec<Arc<str>> },
    /// Time alone: minReadySeconds or the back-off of a failed pod on this node.
    Time { node: Arc<str>, until: Timestamp },
    /// Writes that are under way.
    Writes { creating: usize, deleting: usize },
    /// A pause after a failed write.
    Retry { until: Timestamp },
}

/// How many nodes a [`WaitingOn`] names.
const EXAMPLES_MAX: usize = 5;

/// Plans. The view has been advanced to `now`.
pub fn plan(view: &View, now: Timestamp) -> Plan {
    let mut planner = Planner { view, now, plan: Plan::default() };
    planner.run();
    planner.plan
}

struct Planner<'a> {
    view: &'a View,
    now: Timestamp,
    plan: Plan,
}

impl Planner<'_> {
    fn run(&mut self) {
        if self.view.daemonset.meta.is_being_deleted() {
            return self.plan.waiting.push(WaitingOn::Deletion);
        }
        if self.view.daemonset.selects_everything() {
            return self.plan.waiting.push(WaitingOn::Selector);
        }
        self.claims();
        self.history();
        if !self.view.adopt.is_empty() {
            self.plan.waiting.push(WaitingOn::Adoption { pods: self.view.adopt.len() });
        } else if self.view.history.current.is_none() {
            self.plan.waiting.push(WaitingOn::History);
        } else {
            self.manage();
            self.roll();
            self.clean_up();
            self.status();
        }
        self.times();
    }

    fn claims(&mut self) {
        let view = self.view;
        let room = view.others.room(self.now);
        let adopt = view.adopt.values().map(|pod| Action::AdoptPod(pod.meta.reference()));
        let release = view.release.values().map(|pod| Action::ReleasePod(pod.meta.reference()));
        let new = adopt.chain(release).filter(|action| !self.is_under_way(action));
        let actions: Vec<Action> = new.take(room).collect();
        self.plan.actions.extend(actions);
    }

    fn history(&mut self) {
        if self.view.others.held_until(self.now).is_some() {
            return;
        }
        let actions: Vec<Action> = self.view.history.steps.iter().flat_map(|step| self.history_actions(step)).collect();
        let new: Vec<Action> = actions.into_iter().filter(|action| !self.is_under_way(action)).collect();
        self.plan.actions.extend(new);
    }

    fn history_actions(&self, step: &Step) -> Vec<Action> {
        match step.clone() {
            Step::Adopt(revision) => vec![Action::AdoptRevision(revision)],
            Step::Release(revision) => vec![Action::ReleaseRevision(revision)],
            Step::Label { revision, hash } => vec![Action::LabelRevision { revision, hash }],
            Step::Create(body) => vec![Action::CreateRevision(body)],
            Step::Renumber { revision, number } => vec![Action::RenumberRevision { revision, number }],
            Step::RaiseCollisionCount { to } => {
                vec![Action::RaiseCollisionCount { daemonset: self.view.daemonset.meta.reference(), to }]
            }
            Step::Merge { duplicates, into } => {
                let relabel: Vec<Action> = self
                    .view
                    .claimed_pods()
                    .filter(|pod| {
                        let hash = pod.meta.label(HASH_LABEL);
                        hash != Some(&into) && duplicates.iter().any(|duplicate| duplicate.hash() == hash)
                    })
                    .take(super::BURST)
                    .map(|pod| Action::RelabelPod { pod: pod.meta.reference(), hash: into.clone() })
                    .collect();
                if !relabel.is_empty() {
                    return relabel;
                }
                let why = RevisionDeleteReason::Duplicate;
                let references = duplicates.iter().map(|duplicate| duplicate.meta.reference());
                references.map(|revision| Action::DeleteRevision { revision, why }).collect()
            }
        }
    }

    /// What must be on each node whatever the update strategy.
    fn manage(&mut self) {
        let view = self.view;
        let deletions = view
            .sums
            .delete
            .iter()
            .flat_map(|node| view.nodes[node].class.delete.iter().map(move |deletion| delete(node, deletion)));
        self.delete(deletions);
        self.create(view.sums.create.iter());
    }

    /// The update, as far as its budget goes.
    fn roll(&mut self) {
        let UpdateStrategy::RollingUpdate { max_unavailable, max_surge } = self.view.daemonset.strategy else { return };
        let view = self.view;
        let desired = view.sums.desired;
        let (unavailable, surge) = (max_unavailable.of(desired), max_surge.of(desired));
        match view.daemonset.strategy.surges() {
            true => self.roll_with_surge(surge),
            false => self.roll_within(if unavailable == 0 && surge == 0 { 1 } else { unavailable }),
        }
    }

    fn roll_within(&mut self, max: u32) {
        let view = self.view;
        let unavailable = view.sums.rolling_unavailable.len() as u32;
        let budget = max.saturating_sub(unavailable) as usize;
        let at_once = view.sums.step_delete.iter();
        let in_budget = view.sums.step_replace.iter().take(budget);
        self.delete(at_once.chain(in_budget).filter_map(|node| step_deletion(view, node)));
        let old = view.sums.step_replace.len();
        if old > budget {
            let nodes = examples(&view.sums.rolling_unavailable);
            self.plan.waiting.push(WaitingOn::UnavailableBudget { unavailable, max, old, nodes });
        }
    }

    fn roll_with_surge(&mut self, max: u32) {
        let view = self.view;
        let surging = view.sums.rolling_surging.len() as u32;
        let budget = max.saturating_sub(surging) as usize;
        let served_beyond = view.sums.rolling_available.saturating_sub(view.sums.desired) as usize;
        let at_once = view.sums.step_delete.iter();
        let sunset = view.sums.step_sunset.iter().take(served_beyond);
        self.delete(at_once.chain(sunset).filter_map(|node| step_deletion(view, node)));
        let in_budget = view.sums.step_surge.iter().take(budget);
        self.create(view.sums.step_surge_at_once.iter().chain(in_budget));
        let old = view.sums.step_surge.len();
        if old > budget {
            let nodes = examples(&view.sums.rolling_surging);
            self.plan.waiting.push(WaitingOn::SurgeBudget { surging, max, old, nodes });
        }
        if view.sums.step_sunset.len() > served_beyond {
            self.plan.waiting.push(WaitingOn::Sunset { nodes: examples(&view.sums.step_sunset) });
        }
    }

    fn clean_up(&mut self) {
        let view = self.view;
        if view.history.steps.iter().any(|step| !matches!(step, Step::Release(_))) || self.held(&[&view.others]) {
            return;
        }
        let limit = view.daemonset.revision_history_limit;
        let surplus = surplus(&view.history.old, limit, |hash| view.is_live(hash));
        let actions = surplus.map(|revision| Action::DeleteRevision {
            revision: revision.meta.reference(),
            why: RevisionDeleteReason::Surplus,
        });
        let new: Vec<Action> = actions.filter(|action| !self.is_under_way(action)).collect();
        self.plan.actions.extend(new);
    }

    fn status(&mut self) {
        let sums = &self.view.sums;
        let stands = self.view.daemonset.status;
        let generation = self.view.daemonset.meta.generation;
        let status = DaemonSetStatus {
            current_number_scheduled: sums.current,
            number_misscheduled: sums.misscheduled,
            desired_number_scheduled: sums.desired,
            number_ready: sums.ready,
            updated_number_scheduled: sums.updated,
            number_available: sums.available,
            number_unavailable: sums.desired.saturating_sub(sums.available),
            observed_generation: generation.max(stands.observed_generation),
            collision_count: stands.collision_count,
        };
        self.plan.status = Some(status).filter(|status| *status != stands);
    }

    fn times(&mut self) {
        let view = self.view;
        let (creating, deleting) = (view.creates.under_way(), view.deletes.under_way());
        if creating + deleting > 0 {
            self.plan.waiting.push(WaitingOn::Writes { creating, deleting });
        }
        let retry =
            [&view.creates, &view.deletes, &view.others].into_iter().filter_map(|pace| pace.held_until(self.now));
        let retry = retry.min();
        self.plan.waiting.extend(retry.map(|until| WaitingOn::Retry { until }));
        let time = view.sums.recheck.first().cloned();
        self.plan.recheck_at = retry.into_iter().chain(time.iter().map(|(at, _)| *at)).min();
        self.plan.waiting.extend(time.map(|(until, node)| WaitingOn::Time { node, until }));
    }

    fn delete(&mut self, deletions: impl Iterator<Item = Action>) {
        let planned = self.plan.actions.iter().filter(|action| matches!(action, Action::DeletePod { .. })).count();
        let room = self.view.deletes.room(self.now).saturating_sub(planned);
        self.plan.actions.extend(deletions.take(room));
    }

    fn create<'a>(&mut self, nodes: impl Iterator<Item = &'a Arc<str>>) {
        let Some(template) = &self.view.template else { return };
        let planned = self.plan.actions.iter().filter(|action| matches!(action, Action::CreatePod { .. })).count();
        let room = self.view.creates.room(self.now).saturating_sub(planned);
        let create = |node: &Arc<str>| Action::CreatePod { node: node.clone(), template: template.clone() };
        self.plan.actions.extend(nodes.take(room).map(create));
    }

    fn held(&self, paces: &[&super::pace::Pace]) -> bool {
        paces.iter().any(|pace| pace.held_until(self.now).is_some())
    }

    fn is_under_way(&self, action: &Action) -> bool {
        self.view.in_flight.contains::<ActionKey>(&action.key())
    }
}

fn delete(node: &Arc<str>, deletion: &Deletion) -> Action {
    Action::DeletePod { pod: deletion.pod.clone(), node: node.clone(), why: deletion.why }
}

fn step_deletion(view: &View, node: &Arc<str>) -> Option<Action> {
    match &view.nodes[node].class.rolling.step {
        NodeStep::Delete(deletion) | NodeStep::Replace(deletion) | NodeStep::Sunset(deletion) => {
            Some(delete(node, deletion))
        }
        NodeStep::Nothing | NodeStep::SurgeAtOnce | NodeStep::Surge => None,
    }
}

fn examples(nodes: &std::collections::BTreeSet<Arc<str>>) -> Vec<Arc<str>> {
    nodes.iter().take(EXAMPLES_MAX).cloned().collect()
}
