//! One simulated pod: the real planner over a runtime that only pretends, in no time.

use std::time::Duration;

use backstay_api::meta;
use jiff::Timestamp;
use serde_json::Value;

use super::behavior::{self, Behavior, Fault};
use crate::lifecycle::observed::Exit;
use crate::lifecycle::{
    Action, ContainerRecord, ContainerState, Handler, Observed, Plan, Pod, PreStop, Probe, ProbeKind, ProbeState,
    Sandbox, StartError, decide,
};

#[derive(Debug)]
pub(super) struct SimulatedPod {
    pub(super) facts: Pod,
    behavior: Behavior,
    node_ip: String,
    seen: Observed,
}

/// What is to be written about a pod.
#[derive(Debug, PartialEq)]
pub(super) enum Write {
    /// `patch` makes `status` of what the server holds.
    Status {
        patch: Value,
        status: Value,
    },
    Delete,
}

impl SimulatedPod {
    pub(super) fn new(object: &Value, node: &str, node_ip: &str) -> Self {
        let annotation = meta::annotation(object, behavior::ANNOTATION).unwrap_or("");
        let behavior = Behavior::read(annotation, node);
        let facts = facts(object, &behavior);
        Self { facts, behavior, node_ip: node_ip.to_string(), seen: Observed::default() }
    }

    /// Takes in a newer state of the object; what "runs" goes on running.
    pub(super) fn update(&mut self, object: &Value) {
        self.facts = facts(object, &self.behavior);
    }

    /// Lives on until nothing more can be done now. Returns what to write, and when to look again.
    pub(super) fn live(&mut self, now: Timestamp) -> (Option<Write>, Option<Timestamp>) {
        loop {
            let decision = decide(&self.facts, &self.seen, now);
            for action in &decision.actions {
                if matches!(action, Action::DeletePod { .. }) {
                    return (Some(Write::Delete), None);
                }
                self.obey(action, now);
            }
            if decision.actions.is_empty() {
                let Plan { status, recheck_at, .. } = decision.with_status(&self.facts, &self.seen, now);
                let write =
                    crate::status::patch(&self.facts.status, &status).map(|patch| Write::Status { patch, status });
                return (write, recheck_at);
            }
        }
    }

    fn obey(&mut self, action: &Action, now: Timestamp) {
        match action {
            Action::PrepareSandbox => self.seen.sandbox = Some(self.sandbox()),
            Action::StartContainer { container, attempt, backoff_seconds } => {
                self.start(container, *attempt, *backoff_seconds, now);
            }
            Action::PreStop { id, .. } => drop(self.seen.told.insert(id.clone(), PreStop::Done)),
            Action::StopContainer { container, .. } => self.exit(container, 0, now),
            Action::Probe { container, id, kind } => self.probe(container, id, *kind, now),
            Action::RemoveSandbox => self.seen = Observed::default(),
            Action::DeletePod { .. } => {}
        }
    }

    fn sandbox(&self) -> Sandbox {
        let host_ips = vec![self.node_ip.clone()];
        let ips = if self.facts.host_network { host_ips.clone() } else { vec![pod_ip(&self.facts.uid)] };
        Sandbox { ips, host_ips }
    }

    fn start(&mut self, name: &str, attempt: u32, backoff_seconds: i64, now: Timestamp) {
        let image = self.facts.container(name).map(|container| container.image.clone()).unwrap_or_default();
        if self.behavior.fault == Some(Fault::PullError) {
            let failures = self.seen.start_errors.get(name).map_or(0, |error| error.failures).saturating_add(1);
            let error = StartError { at: now, failures, ..pull_error(&image, failures) };
            self.seen.start_errors.insert(name.to_string(), error);
            return;
        }
        let id = format!("simulated://{:016x}{attempt:016x}", behavior::hash(&format!("{}/{name}", self.facts.uid)));
        let state = ContainerState::Running { started_at: now };
        let record = ContainerRecord { id, attempt, image_id: image, backoff_seconds, state };
        let records = self.seen.containers.entry(name.to_string()).or_default();
        records.push(record);
        // The newest and the one before it is all that a status shows.
        if records.len() > 2 {
            records.remove(0);
        }
        let init = self.facts.init_containers.iter().find(|container| container.name == name);
        match init {
            Some(init) if !init.sidecar => self.exit(name, 0, now),
            _ if self.behavior.fault == Some(Fault::Crash) => self.exit(name, 1, now),
            _ => {}
        }
    }

    fn exit(&mut self, name: &str, exit_code: i32, now: Timestamp) {
        let Some(record) = self.seen.containers.get_mut(name).and_then(|records| records.last_mut()) else { return };
        let started_at = record.started_at().unwrap_or(now);
        let reason = if exit_code == 0 { "Completed" } else { "Error" }.to_string();
        record.state =
            ContainerState::Exited(Exit { started_at, finished_at: now, exit_code, reason, message: String::new() });
    }

    fn probe(&mut self, name: &str, id: &str, kind: ProbeKind, now: Timestamp) {
        let Some(probe) = self.facts.container(name).and_then(|container| kind.of(container)) else { return };
        let state = self.seen.probes.entry((name.to_string(), kind)).or_default();
        if state.container_id != id {
            *state = ProbeState::new(id);
        }
        state.record(probe, true, now);
    }
}

/// The pod as its object says, with the probes of its annotation instead of its own: nothing runs that could answer.
fn facts(object: &Value, behavior: &Behavior) -> Pod {
    let mut pod = Pod::read(object);
    let wait = match behavior.fault {
        Some(Fault::NeverReady) => Some(Duration::MAX),
        _ => Some(behavior.ready_after).filter(|wait| !wait.is_zero()),
    };
    for container in pod.init_containers.iter_mut().chain(&mut pod.containers) {
        container.startup = None;
        container.liveness = None;
        container.pre_stop = None;
        container.post_start = None;
        container.readiness = wait.map(readiness);
    }
    pod
}

/// Succeeds once, after the wait, and is never asked again.
fn readiness(wait: Duration) -> Probe {
    Probe {
        handler: Handler::Always,
        initial_delay: wait,
        period_seconds: i64::MAX,
        timeout_seconds: 1,
        success_threshold: 1,
        failure_threshold: 1,
        grace_seconds: None,
    }
}

/// First the error itself, then, while waiting, that one waits.
fn pull_error(image: &str, failures: u32) -> StartError {
    let why = format!("failed to pull and unpack image \"{image}\": simulated by {}", behavior::ANNOTATION);
    let (reason, message) = match failures {
        1 => ("ErrImagePull", why),
        _ => ("ImagePullBackOff", format!("Back-off pulling image \"{image}\": ErrImagePull: {why}")),
    };
    StartError { reason: reason.into(), message, at: Timestamp::UNIX_EPOCH, failures }
}

/// An address for a pod that has none: the same for the same pod.
fn pod_ip(uid: &str) -> String {
    let [a, b, c, ..] = behavior::hash(uid).to_be_bytes();
    format!("10.{}.{b}.{}", 128 | a, c.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    fn object(annotation: &str) -> Value {
        let annotations = json!({ behavior::ANNOTATION: annotation });
        json!({ "metadata": { "name": "p", "namespace": "default", "uid": "u", "annotations": annotations },
            "spec": { "containers": [{ "name": "main", "image": "app:v1" }] }, "status": { "phase": "Pending" } })
    }

    /// Lets the pod live at each of the seconds; a `w` stands for a write.
    fn check(annotation: &str, seconds: &[i64], expected: &[&str]) {
        let object = object(annotation);
        let mut pod = SimulatedPod::new(&object, "sim-00000", "10.0.0.1");
        let mut seen = Vec::new();
        for second in seconds {
            let (write, recheck_at) = pod.live(at(*second));
            if let Some(Write::Status { status, .. }) = write {
                seen.push(format!("{second}: {}", summary(&status)));
                pod.facts.status = status;
            }
            let _ = recheck_at;
        }
        assert_eq!(seen, expected, "{annotation}");
    }

    fn summary(status: &Value) -> String {
        let container = &status["containerStatuses"][0];
        let reason = meta::str_at(container, &["state", "waiting", "reason"]);
        let ready = container["ready"].as_bool().unwrap();
        format!("{} {ready} {} {reason}", meta::str_at(status, &["phase"]), container["restartCount"])
            .trim()
            .to_string()
    }

    #[test]
    fn behaviours_need_as_few_writes_as_they_can() {
        check("", &[0, 1, 100, 100_000], &["0: Running true 0"]);
        check("ready-after=2s", &[0, 1, 2, 3], &["0: Running false 0", "2: Running true 0"]);
        check("never-ready", &[0, 100, 1_000_000], &["0: Running false 0"]);
        let crashes = ["0: Running false 1 CrashLoopBackOff", "10: Running false 2 CrashLoopBackOff"];
        check("crash", &[0, 5, 10, 15], &crashes);
        let pulls = ["0: Pending false 0 ErrImagePull", "5: Pending false 0 ImagePullBackOff"];
        check("pull-error", &[0, 5, 10, 30, 70], &pulls);
    }

    #[test]
    fn a_deleted_pod_goes_at_once() {
        let mut object = object("");
        let mut pod = SimulatedPod::new(&object, "sim-00000", "10.0.0.1");
        pod.live(at(0));
        object["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        object["metadata"]["deletionGracePeriodSeconds"] = 30.into();
        pod.update(&object);
        assert_eq!(pod.live(at(1)).0, Some(Write::Delete));
    }
}
