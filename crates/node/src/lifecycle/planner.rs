//! The decision: which actions a pod needs now, in a stated order, and what it waits for.
//!
//! Order: stops before starts; ephemeral containers, then init containers in order, sidecars before the containers that follow them; containers
//! in the order of the spec; probes last.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::facts::{Container, Pod};
use super::observed::{ContainerRecord, Observed, PreStop};
use super::probe::{self, ProbeKind};
use super::restart;
use super::status;
use crate::wait;

#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    pub actions: Vec<Action>,
    /// The whole `status` of the pod as this node sees it.
    pub status: Value,
    pub waiting: Vec<WaitingOn>,
    /// When to plan again even if nothing changes.
    pub recheck_at: Option<Timestamp>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Make the pod's directory, volumes and cgroup.
    PrepareSandbox,
    /// Start an attempt. `backoff_seconds` is to be kept in its record.
    StartContainer { container: String, attempt: u32, backoff_seconds: i64 },
    /// The pod ends, and this container after others: run its `preStop` now, until `deadline` at most.
    PreStop { container: String, id: String, deadline: Timestamp },
    /// Run `preStop` unless it has run, send the stop signal, and kill what still runs at `deadline`.
    StopContainer { container: String, id: String, deadline: Timestamp, why: StopReason },
    /// Run a probe and record its result.
    Probe { container: String, id: String, kind: ProbeKind },
    /// Everything has stopped and the pod is to go: drop containers, volumes, cgroup and directory.
    RemoveSandbox,
    /// Nothing of the pod is left here: delete its object, with grace 0, if it still has this uid.
    DeletePod { uid: String },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// The pod is being deleted.
    Deleted,
    /// The pod has reached a final phase; this container has no more to do.
    PodFinished,
    DeadlineExceeded,
    /// It has to go for want of something, or the machine is switched off.
    EndedByNode,
    /// This probe has failed too often.
    Unhealthy(ProbeKind),
    /// Its `postStart` hook has failed. Never planned: the driver knows first.
    HookFailed,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WaitingOn {
    /// The sandbox could not be prepared; tried again at `until`.
    Setup { message: String, until: Timestamp },
    /// The container could not be made; tried again at `until`.
    StartRetry { container: String, until: Timestamp },
    /// `CrashLoopBackOff`.
    BackOff { container: String, delay_seconds: i64, until: Timestamp },
    /// Its image is being fetched.
    Image { container: String },
    /// `ImagePullBackOff`: the image could not be had, and is asked for again at `until`.
    ImageBackOff { container: String, until: Timestamp },
    /// Containers wait for this init container.
    Init { container: String },
    /// Its `preStop` hook, or others have to end before this container; at `until` it is stopped all the same.
    Turn { container: String, until: Timestamp },
    /// A container is being stopped and is killed at `until`.
    Stopping { container: String, until: Timestamp },
}

/// Between the signal and the kill, a container whose turn comes late has so long; as in a kubelet.
const GRACE_MIN: Duration = Duration::from_secs(2);

/// A plan without the status that goes with it.
pub(crate) struct Decision {
    pub(crate) actions: Vec<Action>,
    waiting: Vec<WaitingOn>,
    recheck_at: Option<Timestamp>,
    end: End,
}

/// What to do about the pod now.
pub fn plan(pod: &Pod, seen: &Observed, now: Timestamp) -> Plan {
    decide(pod, seen, now).with_status(pod, seen, now)
}

/// The same for somebody who first does all there is to do, and then reports.
pub(crate) fn decide(pod: &Pod, seen: &Observed, now: Timestamp) -> Decision {
    let mut planner = Planner { pod, seen, now, actions: Vec::new(), waiting: Vec::new(), recheck_at: None };
    let end = planner.decide();
    let Planner { actions, waiting, recheck_at, .. } = planner;
    Decision { actions, waiting, recheck_at, end }
}

impl Decision {
    pub(crate) fn with_status(self, pod: &Pod, seen: &Observed, now: Timestamp) -> Plan {
        let status = status::report(pod, seen, &self.waiting, self.end, now);
        Plan { actions: self.actions, status, waiting: self.waiting, recheck_at: self.recheck_at }
    }
}

/// How a pod ends, if it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    No,
    /// Deleted, or said to be final by the server.
    Terminating,
    /// All containers are done and none will be started again.
    Finished,
    DeadlineExceeded,
    /// As [`Observed::ended_by_node`] says.
    ByNode,
}

struct Planner<'a> {
    pod: &'a Pod,
    seen: &'a Observed,
    now: Timestamp,
    actions: Vec<Action>,
    waiting: Vec<WaitingOn>,
    recheck_at: Option<Timestamp>,
}

/// Whether what follows a container may start.
enum Step {
    Done,
    Pending,
    /// An init container has failed and will not be tried again.
    Failed,
}

impl<'a> Planner<'a> {
    fn decide(&mut self) -> End {
        if let Some(grace) = self.pod.deletion_grace_seconds {
            self.terminate(StopReason::Deleted, grace);
            return End::Terminating;
        }
        if self.pod.is_terminal() {
            self.stop_all(StopReason::PodFinished, self.pod.grace_seconds);
            return End::Terminating;
        }
        if let Some(end) = &self.seen.ended_by_node {
            self.stop_all(StopReason::EndedByNode, end.grace_seconds.min(self.pod.grace_seconds));
            return End::ByNode;
        }
        if self.deadline_exceeded() {
            self.stop_all(StopReason::DeadlineExceeded, self.pod.grace_seconds);
            return End::DeadlineExceeded;
        }
        if self.seen.sandbox.is_none() && self.is_over() {
            return self.finish();
        }
        if self.seen.sandbox.is_none() {
            self.prepare();
            return End::No;
        }
        self.run()
    }

    fn prepare(&mut self) {
        match &self.seen.setup_error {
            Some(error) if restart::retry_setup(error, self.now) > self.now => {
                let until = restart::retry_setup(error, self.now);
                self.waiting.push(WaitingOn::Setup { message: error.message.clone(), until });
                self.recheck(until);
            }
            _ => self.actions.push(Action::PrepareSandbox),
        }
    }

    fn run(&mut self) -> End {
        let pod = self.pod;
        if self.is_over() {
            return self.finish();
        }
        self.restart_unhealthy();
        // First, so that what goes wrong with the others can be looked at.
        for container in pod.ephemeral_containers.iter().filter(|it| self.seen.latest(&it.name).is_none()) {
            self.start_first(container);
        }
        match self.init_containers() {
            Step::Pending => {}
            Step::Failed => return self.finish(),
            Step::Done => pod.containers.iter().for_each(|container| self.container(container)),
        }
        self.probes(&ProbeKind::ALL);
        End::No
    }

    /// Everything but sidecars is done: they stop, last started first.
    fn finish(&mut self) -> End {
        self.actions.clear();
        self.stop_all(StopReason::PodFinished, self.pod.grace_seconds);
        End::Finished
    }

    /// All containers are done: there is nothing that a sandbox is needed for.
    fn is_over(&self) -> bool {
        !self.pod.containers.is_empty() && self.pod.containers.iter().all(|container| self.is_done(container))
    }

    /// Has exited and will not be started again.
    fn is_done(&self, container: &Container) -> bool {
        let exit = self.seen.latest(&container.name).and_then(ContainerRecord::exit);
        exit.is_some_and(|exit| !container.restarts.after(exit.exit_code.into()))
    }

    fn restart_unhealthy(&mut self) {
        for container in self.pod.all_containers() {
            let Some((kind, probe)) = probe::fatal(container, self.seen) else { continue };
            let grace = probe.grace_seconds.unwrap_or(self.pod.grace_seconds);
            self.stop(container, StopReason::Unhealthy(kind), wait::after(self.now, seconds(grace)));
        }
    }

    fn init_containers(&mut self) -> Step {
        let pod = self.pod;
        let begun = pod.containers.iter().any(|container| self.seen.latest(&container.name).is_some());
        for container in &pod.init_containers {
            let step = if container.sidecar {
                self.sidecar(container)
            } else if begun {
                Step::Done
            } else {
                self.init_container(container)
            };
            match step {
                // Once the containers run, a sidecar that has fallen over comes back beside them.
                Step::Pending if container.sidecar && begun => {}
                Step::Pending => {
                    self.waiting.push(WaitingOn::Init { container: container.name.clone() });
                    return Step::Pending;
                }
                Step::Failed => return Step::Failed,
                Step::Done => {}
            }
        }
        Step::Done
    }

    fn init_container(&mut self, container: &Container) -> Step {
        let Some(record) = self.seen.latest(&container.name) else { return self.start_first(container) };
        match record.exit() {
            None => Step::Pending,
            Some(exit) if exit.exit_code == 0 => Step::Done,
            Some(exit) if !container.restarts.after(exit.exit_code.into()) => Step::Failed,
            Some(_) => self.start_again(container),
        }
    }

    fn sidecar(&mut self, container: &Container) -> Step {
        match self.seen.latest(&container.name) {
            None => self.start_first(container),
            Some(record) if record.exit().is_some() => self.start_again(container),
            Some(_) if probe::is_started(container, self.seen) => Step::Done,
            Some(_) => Step::Pending,
        }
    }

    fn container(&mut self, container: &Container) {
        match self.seen.latest(&container.name) {
            None => self.start_first(container),
            Some(record) if record.exit().is_some() && !self.is_done(container) => self.start_again(container),
            Some(_) => Step::Pending,
        };
    }

    fn start_first(&mut self, container: &Container) -> Step {
        if !self.retry_later(container) {
            self.start(container, 0, 0);
        }
        Step::Pending
    }

    fn start_again(&mut self, container: &Container) -> Step {
        let Some(record) = self.seen.latest(&container.name) else { return Step::Pending };
        let Some(exit) = record.exit() else { return Step::Pending };
        let backoff = restart::backoff(record, exit);
        let until = restart::due(exit, backoff, self.now);
        if until > self.now {
            let (container, delay_seconds) = (container.name.clone(), backoff.delay_seconds);
            self.waiting.push(WaitingOn::BackOff { container, delay_seconds, until });
            self.recheck(until);
        } else if !self.retry_later(container) {
            self.start(container, record.attempt.saturating_add(1), backoff.next_delay_seconds);
        }
        Step::Pending
    }

    /// The last attempt made no container, and it is too early to try again.
    fn retry_later(&mut self, container: &Container) -> bool {
        let Some(error) = self.seen.start_errors.get(&container.name) else { return false };
        let until = restart::retry_start(error, self.now);
        if until <= self.now {
            return false;
        }
        let container = container.name.clone();
        let shown = restart::pull_error_shown(error, self.now);
        if error.is_of_pulling() && self.now < shown {
            self.recheck(shown);
            self.waiting.push(WaitingOn::StartRetry { container, until });
        } else if error.is_of_pulling() {
            self.waiting.push(WaitingOn::ImageBackOff { container, until });
        } else {
            self.waiting.push(WaitingOn::StartRetry { container, until });
        }
        self.recheck(until);
        true
    }

    fn start(&mut self, container: &Container, attempt: u32, backoff_seconds: i64) {
        if self.seen.pulling.contains(&container.name) {
            return self.waiting.push(WaitingOn::Image { container: container.name.clone() });
        }
        self.actions.push(Action::StartContainer { container: container.name.clone(), attempt, backoff_seconds });
    }

    fn terminate(&mut self, why: StopReason, grace: i64) {
        if self.stop_all(why, grace) {
            self.probes(&[ProbeKind::Readiness]);
        } else if self.seen.sandbox.is_some() || !self.seen.containers.is_empty() {
            self.actions.push(Action::RemoveSandbox);
        } else {
            self.actions.push(Action::DeletePod { uid: self.pod.uid.clone() });
        }
    }

    /// Stops what runs: sidecars after the containers, last started first, all others at once. Those whose turn has not
    /// come run their `preStop` hooks all the same; and once the grace is used up, nobody waits for others.
    /// Returns whether anything still runs. Source: a kubelet's `killContainersWithSyncResult`.
    fn stop_all(&mut self, why: StopReason, grace: i64) -> bool {
        let pod = self.pod;
        let deadline = self.deadline(grace);
        let (sidecars, plain): (Vec<&Container>, Vec<&Container>) =
            pod.all_containers().filter(|it| self.seen.is_running(&it.name)).partition(|it| it.sidecar);
        for container in &plain {
            self.stop(container, why, deadline);
        }
        let mut must_wait = pod.containers.iter().any(|container| self.seen.is_running(&container.name));
        for container in sidecars.iter().rev() {
            self.stop_sidecar(container, why, grace, must_wait);
            must_wait = true;
        }
        !plain.is_empty() || !sidecars.is_empty()
    }

    /// `must_wait`: there are others that have to end before.
    fn stop_sidecar(&mut self, container: &Container, why: StopReason, grace: i64, must_wait: bool) {
        let Some(id) = self.seen.latest(&container.name).map(|record| record.id.clone()) else { return };
        let (deadline, told) = (self.deadline(grace), self.seen.told.get(&id).copied());
        let name = container.name.clone();
        if deadline <= self.now || (!must_wait && told != Some(PreStop::Runs)) {
            // Those before may have used all of the grace up.
            let at_least = if grace > 0 { GRACE_MIN } else { Duration::ZERO };
            return self.stop(container, why, deadline.max(self.now + at_least));
        }
        if told.is_none() {
            self.actions.push(Action::PreStop { container: name.clone(), id, deadline });
        }
        self.waiting.push(WaitingOn::Turn { container: name, until: deadline });
        self.recheck(deadline);
    }

    /// The grace counts from when this node began to end the pod; from now, if the clock has been set back since.
    fn deadline(&self, grace: i64) -> Timestamp {
        let began = self.seen.termination_began.unwrap_or(self.now).min(self.now);
        wait::after(began, seconds(grace)).max(self.now)
    }

    /// Asks for a stop, unless one is under way that ends no later.
    fn stop(&mut self, container: &Container, why: StopReason, deadline: Timestamp) {
        let Some(record) = self.seen.latest(&container.name).filter(|record| record.is_running()) else { return };
        let until = self.seen.stopping.get(&record.id).copied();
        match until {
            Some(until) if until <= deadline => {
                self.waiting.push(WaitingOn::Stopping { container: container.name.clone(), until });
            }
            _ => {
                let (container, id) = (container.name.clone(), record.id.clone());
                self.actions.push(Action::StopContainer { container, id, deadline, why });
            }
        }
    }

    fn probes(&mut self, kinds: &[ProbeKind]) {
        for container in self.pod.all_containers() {
            let Some(record) = self.seen.latest(&container.name) else { continue };
            for kind in kinds {
                match probe::due(container, *kind, self.seen, self.now) {
                    Some(at) if at <= self.now => {
                        let (container, id) = (container.name.clone(), record.id.clone());
                        self.actions.push(Action::Probe { container, id, kind: *kind });
                    }
                    Some(at) => self.recheck(at),
                    None => {}
                }
            }
        }
    }

    fn deadline_exceeded(&mut self) -> bool {
        let (Some(limit), Some(start)) = (self.pod.active_deadline_seconds, self.pod.start_time()) else {
            return false;
        };
        let until = wait::after(start, seconds(limit));
        if until > self.now {
            self.recheck(until);
        }
        until <= self.now
    }

    fn recheck(&mut self, at: Timestamp) {
        self.recheck_at = Some(self.recheck_at.map_or(at, |earlier| earlier.min(at)));
    }
}

/// Any container of the pod still runs.
pub fn any_running(pod: &Pod, seen: &Observed) -> bool {
    pod.all_containers().any(|container| seen.is_running(&container.name))
}

fn seconds(count: i64) -> Duration {
    Duration::from_secs(count.max(0).unsigned_abs())
}
