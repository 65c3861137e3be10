//! The loop: hear what is new, plan for what it touched, begin what the plans ask for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use backstay_api::time::until;
use backstay_controllers::daemonset::{Action, Outcome, Plan, WaitingOn, plan};
use backstay_controllers::model::{ControllerRevision, DaemonSet, DaemonSetStatus, Node, Pod};
use futures::StreamExt;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::execute::{Finished, News, execute, may_adopt, write_status};
use super::fleet::{Fleet, Key};
use super::notes;
use crate::api::{Api, ApiError, chain};
use crate::context::Context;
use crate::inform::{Batch, Feed, Hub};

/// The status is written at most this often; one write per pod that becomes ready would cost more than the pods do.
/// Larger fleets wait a little longer: see [`status_pause`].
const STATUS_PAUSE: SignedDuration = SignedDuration::from_millis(20);
/// After a status write that failed.
const STATUS_RETRY: SignedDuration = SignedDuration::from_secs(1);
/// How many adoptions of one DaemonSet run at a time.
const ADOPTIONS_AT_ONCE: usize = 32;
/// When nothing says when to look again.
const IDLE: Duration = Duration::from_secs(600);

/// What the controller listens to.
pub struct Inputs {
    daemonsets: Feed<DaemonSet>,
    revisions: Feed<ControllerRevision>,
    nodes: Feed<Node>,
    pods: Feed<Pod>,
}

impl Inputs {
    pub fn of(hub: &mut Hub) -> Self {
        Self {
            daemonsets: hub.daemon_sets.listen(),
            revisions: hub.controller_revisions.listen(),
            nodes: hub.nodes.listen(),
            pods: hub.pods.listen(),
        }
    }
}

/// Runs the DaemonSet controller until it is told to stop.
pub async fn run(context: Context, mut inputs: Inputs) {
    let mut driver = Driver {
        api: context.api.clone(),
        context,
        fleet: Fleet::default(),
        writes: JoinSet::new(),
        sides: BTreeMap::new(),
        wakes: BTreeSet::new(),
        worked_at: Timestamp::MIN,
    };
    loop {
        let pause = driver.pause();
        tokio::select! {
            biased;
            () = driver.context.shutdown.cancelled() => return,
            Some(ended) = driver.writes.join_next() => driver.ended(ended),
            Some(batch) = inputs.daemonsets.recv() => driver.hear_daemonsets(&batch),
            Some(batch) = inputs.revisions.recv() => driver.fleet.hear_revisions(&batch),
            Some(batch) = inputs.nodes.recv() => driver.fleet.hear_nodes(&batch),
            Some(batch) = inputs.pods.recv() => driver.fleet.hear_pods(&batch),
            () = tokio::time::sleep(pause) => {}
        }
        driver.hear_the_rest(&mut inputs);
        driver.work();
    }
}

struct Driver {
    api: Api,
    context: Context,
    fleet: Fleet,
    writes: JoinSet<Ended>,
    /// By the uid of the DaemonSet: one made anew under its name begins anew.
    sides: BTreeMap<Arc<str>, Side>,
    /// When to look at a DaemonSet although nothing is heard.
    wakes: BTreeSet<(Timestamp, Key)>,
    /// What time it was when this was last asked.
    worked_at: Timestamp,
}

/// What the driver remembers about a DaemonSet beside its view.
#[derive(Default)]
struct Side {
    status_under_way: bool,
    status_not_before: Option<Timestamp>,
    wake_at: Option<Timestamp>,
    /// The generation whose selector was complained about.
    selector_noted: Option<i64>,
}

/// Writes that have ended.
enum Ended {
    Actions { daemonset: Arc<DaemonSet>, finished: Vec<(Action, Finished)> },
    Status { daemonset: Arc<DaemonSet>, written: Result<(Outcome, News), ApiError> },
}

impl Driver {
    fn now(&self) -> Timestamp {
        self.context.clock.now()
    }

    fn pause(&self) -> Duration {
        let Some((at, _)) = self.wakes.first() else { return IDLE };
        until(*at, self.now()).min(IDLE)
    }

    /// Everything that is there already, so that one plan answers it all.
    fn hear_the_rest(&mut self, inputs: &mut Inputs) {
        while let Some(ended) = self.writes.try_join_next() {
            self.ended(ended);
        }
        while let Ok(batch) = inputs.daemonsets.try_recv() {
            self.hear_daemonsets(&batch);
        }
        while let Ok(batch) = inputs.revisions.try_recv() {
            self.fleet.hear_revisions(&batch);
        }
        while let Ok(batch) = inputs.nodes.try_recv() {
            self.fleet.hear_nodes(&batch);
        }
        while let Ok(batch) = inputs.pods.try_recv() {
            self.fleet.hear_pods(&batch);
        }
    }

    fn hear_daemonsets(&mut self, batch: &Batch<DaemonSet>) {
        let now = self.now();
        self.fleet.hear_daemonsets(batch, now);
        self.sides.retain(|uid, _| self.fleet.key_of(uid).is_some());
    }

    fn work(&mut self) {
        if !self.fleet.is_listed() {
            return;
        }
        let now = self.now();
        if std::mem::replace(&mut self.worked_at, now) > now {
            self.hear_of_clock_put_back();
        }
        while let Some((at, key)) = self.wakes.first().cloned().filter(|(at, _)| *at <= now) {
            self.wakes.remove(&(at, key.clone()));
            self.fleet.dirty.insert(key);
        }
        while let Some(key) = self.fleet.dirty.pop_first() {
            self.plan_for(&key, now);
        }
    }

    /// The times that anything waits for are further off than was meant.
    fn hear_of_clock_put_back(&mut self) {
        self.sides.values_mut().for_each(|side| side.status_not_before = None);
        self.fleet.dirty.extend(self.fleet.views.keys().cloned());
    }

    fn plan_for(&mut self, key: &Key, now: Timestamp) {
        let Some(view) = self.fleet.views.get_mut(key) else { return };
        view.advance(now);
        let daemonset = view.daemonset().clone();
        let Plan { actions, waiting, status, recheck_at } = plan(view, now);
        self.context.metrics.daemonset_plans.add(1);
        self.context.metrics.daemonset_actions.add(actions.len() as u64);
        for action in &actions {
            view.begin(action);
        }
        tracing::trace!(daemonset = %daemonset.meta.key(), actions = actions.len(), ?waiting, "planned");
        self.begin(&daemonset, actions);
        if waiting.contains(&WaitingOn::Selector) {
            self.complain_about_selector(&daemonset);
        }
        let status_at = status.and_then(|status| self.write_status(&daemonset, status, now));
        self.wake(key, &daemonset, recheck_at.into_iter().chain(status_at).min());
    }

    fn begin(&mut self, daemonset: &Arc<DaemonSet>, actions: Vec<Action>) {
        let is_adoption = |action: &Action| matches!(action, Action::AdoptPod(_) | Action::AdoptRevision(_));
        let (adoptions, others): (Vec<Action>, Vec<Action>) = actions.into_iter().partition(is_adoption);
        if !adoptions.is_empty() {
            let (api, daemonset) = (self.api.clone(), daemonset.clone());
            self.writes.spawn(async move {
                let finished = adopt(&api, &daemonset, adoptions).await;
                Ended::Actions { daemonset, finished }
            });
        }
        for action in others {
            notes::begun(&self.context.recorder, daemonset, &action);
            let (api, daemonset) = (self.api.clone(), daemonset.clone());
            self.writes.spawn(async move {
                let finished = execute(&api, &daemonset, &action).await;
                Ended::Actions { daemonset, finished: vec![(action, finished)] }
            });
        }
    }

    /// Writes the status, or says when it may be written.
    fn write_status(
        &mut self,
        daemonset: &Arc<DaemonSet>,
        status: DaemonSetStatus,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let side = self.sides.entry(daemonset.meta.uid.clone()).or_default();
        if side.status_under_way {
            return None;
        }
        if let Some(at) = side.status_not_before.filter(|at| *at > now) {
            return Some(at);
        }
        side.status_under_way = true;
        side.status_not_before = Some(now + status_pause(&status));
        self.context.metrics.daemonset_status_writes.add(1);
        let (api, daemonset) = (self.api.clone(), daemonset.clone());
        self.writes.spawn(async move {
            let written = write_status(&api, &daemonset.meta.reference(), status_fields(&status)).await;
            Ended::Status { daemonset, written }
        });
        None
    }

    fn complain_about_selector(&mut self, daemonset: &DaemonSet) {
        let side = self.sides.entry(daemonset.meta.uid.clone()).or_default();
        if side.selector_noted.replace(daemonset.meta.generation) != Some(daemonset.meta.generation) {
            notes::selects_all(&self.context.recorder, daemonset);
        }
    }

    fn wake(&mut self, key: &Key, daemonset: &DaemonSet, at: Option<Timestamp>) {
        let side = self.sides.entry(daemonset.meta.uid.clone()).or_default();
        if let Some(old) = std::mem::replace(&mut side.wake_at, at) {
            self.wakes.remove(&(old, key.clone()));
        }
        self.wakes.extend(at.map(|at| (at, key.clone())));
    }

    fn ended(&mut self, ended: Result<Ended, tokio::task::JoinError>) {
        match ended {
            Ok(Ended::Actions { daemonset, finished }) => {
                for (action, finished) in finished {
                    self.action_ended(&daemonset, &action, finished);
                }
            }
            Ok(Ended::Status { daemonset, written }) => self.status_ended(&daemonset, written),
            // A write never panics but by a bug; its key stays reserved, and nothing worse happens.
            Err(error) => tracing::error!(%error, "a write of the daemonset controller broke down"),
        }
    }

    fn action_ended(&mut self, daemonset: &Arc<DaemonSet>, action: &Action, finished: Finished) {
        let Finished { outcome, news, error } = finished;
        notes::ended(&self.context.recorder, daemonset, action, outcome, &news, error.as_ref());
        match outcome {
            Outcome::Done => {}
            Outcome::Stale => self.context.metrics.daemonset_stale.add(1),
            Outcome::Failed => self.context.metrics.daemonset_failures.add(1),
        }
        if let Some(error) = error {
            let daemonset = daemonset.meta.key();
            tracing::warn!(%daemonset, action = ?action.key(), error = %chain(&error), "not done; will retry");
        }
        self.take_in(news);
        if let Some(key) = self.fleet.key_of(&daemonset.meta.uid).cloned()
            && let Some(view) = self.fleet.views.get_mut(&key)
        {
            view.advance(self.context.clock.now());
            view.finish(&action.key(), outcome);
            self.fleet.dirty.insert(key);
        }
    }

    fn status_ended(&mut self, daemonset: &Arc<DaemonSet>, written: Result<(Outcome, News), ApiError>) {
        let Some(key) = self.fleet.key_of(&daemonset.meta.uid).cloned() else { return };
        let not_before = self.now() + STATUS_RETRY;
        let side = self.sides.entry(daemonset.meta.uid.clone()).or_default();
        side.status_under_way = false;
        // A DaemonSet that is gone has no status, though the watch may be slow to tell.
        if !matches!(written, Ok((_, News::DaemonSet(_)))) {
            side.status_not_before = Some(not_before);
        }
        self.fleet.dirty.insert(key);
        match written {
            Ok((_, news)) => self.take_in(news),
            Err(error) => {
                let daemonset = daemonset.meta.key();
                tracing::warn!(%daemonset, error = %chain(&error), "status not written; will retry");
            }
        }
    }

    fn take_in(&mut self, news: News) {
        let now = self.now();
        match news {
            News::Nothing => {}
            News::Pod(pod) => self.fleet.wrote_pod(pod),
            News::PodGone(pod) => self.fleet.lost_pod(&pod.namespace, &pod.name, &pod.uid),
            News::Revision(revision) => self.fleet.wrote_revision(revision),
            News::RevisionGone(revision) => {
                self.fleet.lost_revision(&revision.namespace, &revision.name, &revision.uid);
            }
            News::DaemonSet(daemonset) => self.fleet.wrote_daemonset(daemonset, now),
        }
    }
}

/// Adopts after a fresh look at the DaemonSet.
async fn adopt(api: &Api, daemonset: &Arc<DaemonSet>, actions: Vec<Action>) -> Vec<(Action, Finished)> {
    let refused = |error| Finished { outcome: Outcome::Failed, news: News::Nothing, error };
    match may_adopt(api, daemonset).await {
        Ok(true) => {}
        Ok(false) => return actions.into_iter().map(|action| (action, refused(None))).collect(),
        Err(error) => {
            let mut error = Some(error);
            return actions.into_iter().map(|action| (action, refused(error.take()))).collect();
        }
    }
    let each = actions.into_iter().map(|action| async {
        let finished = execute(api, daemonset, &action).await;
        (action, finished)
    });
    futures::stream::iter(each).buffered(ADOPTIONS_AT_ONCE).collect().await
}

/// A millisecond more for every hundred nodes.
fn status_pause(status: &DaemonSetStatus) -> SignedDuration {
    STATUS_PAUSE + SignedDuration::from_millis(i64::from(status.desired_number_scheduled) / 100)
}

/// The fields of `status` as a merge patch: what is omitted when it is zero is null.
fn status_fields(status: &DaemonSetStatus) -> Value {
    let omit_zero = |number: u32| if number == 0 { Value::Null } else { json!(number) };
    json!({
        "currentNumberScheduled": status.current_number_scheduled,
        "numberMisscheduled": status.number_misscheduled,
        "desiredNumberScheduled": status.desired_number_scheduled,
        "numberReady": status.number_ready,
        "updatedNumberScheduled": omit_zero(status.updated_number_scheduled),
        "numberAvailable": omit_zero(status.number_available),
        "numberUnavailable": omit_zero(status.number_unavailable),
        "observedGeneration": status.observed_generation,
    })
}
