//! Carries out the actions of a plan.

use std::time::Duration;

use backstay_api::causes::chain;
use backstay_api::meta;
use backstay_api::time::until;
use jiff::Timestamp;

use super::Context;
use super::events::Kind;
use super::images::Wanting;
use super::probes::Target;
use super::workers::{Note, RETRY, Worker};
use crate::admission::{self, Ground, Rejection};
use crate::lifecycle::{Action, Handler, NodeEnd, Pod, PreStop, ProbeKind, ProbeState, SetupError, StopReason};
use crate::pod_inputs::sandbox;
use crate::runtime::{ContainerKey, StartFailure};
use crate::wait;

/// However long a `preStop` hook takes, a container has so long between the signal and the kill; as in a kubelet.
const GRACE_AFTER_HOOK: Duration = Duration::from_secs(2);
/// A hook that nobody limits is given up after this.
const HOOK_TIMEOUT: Duration = Duration::from_secs(3600);
/// A sandbox of a pod that has to go is waited for so long: what is nearly made is better made, and taken back as a whole.
const HANGS_AFTER: Duration = Duration::from_secs(10);
/// A container that has ended and the one before it are kept, for their logs.
const ATTEMPTS_KEPT: usize = 2;

impl Worker {
    /// Returns whether it is worth planning again at once.
    pub(super) async fn act(&mut self, pod: &Pod, action: &Action) -> bool {
        match action {
            Action::PrepareSandbox => self.prepare(pod).await,
            Action::StartContainer { container, attempt, backoff_seconds } => {
                let key = self.key(container, *attempt);
                self.start(pod, &key, *backoff_seconds).await
            }
            Action::PreStop { container, id, deadline } => {
                self.pre_stop(pod, container, id, *deadline);
                false
            }
            Action::StopContainer { container, id, deadline, why } => {
                self.stop(pod, container, id, *deadline, *why);
                false
            }
            Action::Probe { container, id, kind } => {
                self.probe(pod, container, id, *kind);
                false
            }
            Action::RemoveSandbox => self.remove(pod).await,
            Action::DeletePod { .. } => false,
        }
    }

    fn key(&self, container: &str, attempt: u32) -> ContainerKey {
        ContainerKey { pod_uid: meta::uid(&self.object).to_string(), name: container.to_string(), attempt }
    }

    /// Rejects a pod that this node must not run, before anything is made of it.
    pub(super) fn admit(&mut self, pod: &Pod) {
        let is_begun = self.seen.sandbox.is_some() || !self.seen.containers.is_empty();
        let is_ending = self.seen.ended_by_node.is_some() || self.is_over(pod) || meta::is_being_deleted(&self.object);
        if self.admitted || is_begun || is_ending {
            return;
        }
        let (config, state) = (&self.context.config, self.context.state());
        // What has been taken, perhaps by an earlier agent, goes in other ways: see `pressure` and `upkeep`.
        let is_new = pod.start_time().is_none();
        let ground = Ground {
            pressures: if is_new { &state.pressures } else { &[] },
            shutting_down: is_new && state.shutting_down,
            sysctls_allowed: &config.sysctls_allowed,
            // Host processes are not protected from each other anyway.
            has_apparmor: config.machine.has_apparmor || self.runtime.images().is_none(),
        };
        match admission::check(&self.object, &ground) {
            Ok(()) => self.admitted = true,
            Err(Rejection { reason, why }) => {
                self.seen.ended_by_node = Some(NodeEnd::rejection(reason, &why));
                self.context.events.note(pod, "", Kind::Warning, reason, why);
            }
        }
    }

    async fn prepare(&mut self, pod: &Pod) -> bool {
        match self.try_prepare().await {
            Ok(()) => {
                self.seen.setup_error = None;
                self.prepared = true;
                self.keep();
                self.tell_of_dns(pod);
            }
            // What has become of it concerns nobody any more.
            Err(_) if self.has_to_go() => {}
            Err((reason, message)) => {
                self.context.events.note(pod, "", Kind::Warning, reason, message.clone());
                let failures = self.seen.setup_error.as_ref().map_or(0, |error| error.failures).saturating_add(1);
                self.seen.setup_error = Some(SetupError { message, at: self.now(), failures });
            }
        }
        true
    }

    /// A container without an image has the host's resolver anyway.
    fn tell_of_dns(&self, pod: &Pod) {
        if self.runtime.images().is_some() && sandbox::lacks_cluster_dns(&self.object) {
            let message = "This node has no resolver of the cluster: the pod uses the node's own, as with the DNS \
                           policy \"Default\"";
            self.context.events.note(pod, "", Kind::Warning, "MissingClusterDNS", message.to_string());
        }
    }

    /// Volumes first, then the sandbox. An error comes with the reason of its event.
    async fn try_prepare(&mut self) -> Result<(), (&'static str, String)> {
        let unmounted = |message| ("FailedMount", message);
        self.inputs.fetch(&self.context, &self.object).await.map_err(unmounted)?;
        self.inputs.write_volumes(&self.context, &self.object).map_err(unmounted)?;
        let failed = |why: String| ("FailedCreatePodSandBox", format!("Failed to create pod sandbox: {why}"));
        sandbox::check(&self.object).map_err(failed)?;
        let handler = self.handler().await.map_err(failed)?;
        let runtime = self.context.config.runtimes.of(&handler);
        self.runtime = runtime.map_err(|error| failed(format!("failed to get sandbox runtime: {error}")))?.clone();
        self.make_sandbox(&handler).await.map_err(failed)
    }

    /// Given up when the pod has to go meanwhile: what hangs must not hold that up.
    async fn make_sandbox(&mut self, handler: &str) -> Result<(), String> {
        let (runtime, request) = (self.runtime.clone(), self.sandbox_request(handler));
        let mut making = runtime.prepare(&request);
        loop {
            tokio::select! {
                biased;
                made = &mut making => return made.map_err(|error| chain(&error)),
                Some(note) = self.notes.recv() => self.take_in(note),
            }
            if self.has_to_go() {
                let made = tokio::time::timeout(HANGS_AFTER, making).await;
                return made.map_err(|_| "the pod has to go".to_string())?.map_err(|error| chain(&error));
            }
        }
    }

    fn has_to_go(&self) -> bool {
        meta::is_being_deleted(&self.object) || self.seen.ended_by_node.is_some()
    }

    /// Returns whether it is worth planning again at once.
    async fn start(&mut self, pod: &Pod, key: &ContainerKey, backoff_seconds: i64) -> bool {
        let name = key.name.as_str();
        let Some(spec) = self.container_spec(name).cloned() else { return false };
        // If the server does not answer now, what it said last time will do.
        let fetched = self.inputs.fetch(&self.context, &self.object).await;
        let image = match self.image(pod, name, &spec).await {
            Ok(image) => image,
            // Planned again for the status to say so.
            Err(Wanting::Image) => return true,
            Err(Wanting::Failed(error)) => {
                let message = format!("Error: {}", error.reason);
                self.context.events.note(pod, name, Kind::Warning, "Failed", message);
                self.start_failed(name, error.reason.to_string(), error.message);
                return true;
            }
        };
        let started = match self.request(key, &spec, image, backoff_seconds) {
            Ok(request) => self.runtime.start(key, request).await,
            Err(message) => {
                let message = fetched.err().unwrap_or(message);
                Err(StartFailure { reason: "CreateContainerConfigError".into(), message })
            }
        };
        let events = &self.context.events;
        match started {
            Ok(()) => {
                self.seen.start_errors.remove(name);
                events.note(pod, name, Kind::Normal, "Created", format!("Created container: {name}"));
                self.started(pod, key).await;
            }
            Err(StartFailure { reason, message }) => {
                events.note(pod, name, Kind::Warning, "Failed", format!("Error: {message}"));
                self.start_failed(name, reason, message);
            }
        }
        true
    }

    /// Looks at what was started, runs its hook, and forgets attempts of long ago.
    async fn started(&mut self, pod: &Pod, key: &ContainerKey) {
        let runtime = self.runtime.clone();
        let records = runtime.containers(&key.pod_uid).await.unwrap_or_default().remove(&key.name).unwrap_or_default();
        let Some(record) = records.iter().find(|record| record.attempt == key.attempt) else { return };
        match record.exit() {
            Some(exit) if exit.reason == "StartError" => {
                self.context.events.note(pod, &key.name, Kind::Warning, "Failed", format!("Error: {}", exit.message));
            }
            _ => {
                let message = format!("Started container {}", key.name);
                self.context.events.note(pod, &key.name, Kind::Normal, "Started", message);
                self.post_start(pod, key, &record.id);
            }
        }
        for old in records.iter().rev().skip(ATTEMPTS_KEPT).filter(|record| !record.is_running()) {
            if let Err(error) = runtime.remove_container(&self.key(&key.name, old.attempt)).await {
                tracing::warn!(container = key.name, error = chain(&error), "old container not removed");
            }
        }
    }

    fn post_start(&mut self, pod: &Pod, key: &ContainerKey, id: &str) {
        let Some(hook) = pod.container(&key.name).and_then(|container| container.post_start.clone()) else { return };
        let (target, mailbox, key, id) = (self.target(), self.mailbox.clone(), key.clone(), id.to_string());
        self.tasks.spawn(async move {
            if let Err(why) = target.run(&key, &hook, HOOK_TIMEOUT).await {
                let _ = mailbox.send(Note::HookFailed { container: key.name, id, why });
            }
        });
    }

    pub(super) fn hook_failed(&mut self, container: &str, id: &str, why: &str) {
        let pod = self.pod();
        if self.seen.latest(container).is_none_or(|record| record.id != id || !record.is_running()) {
            return;
        }
        let message = format!("PostStartHook failed: {why}");
        self.context.events.note(&pod, container, Kind::Warning, "FailedPostStartHook", message);
        let deadline = wait::after(self.now(), Duration::from_secs(pod.grace_seconds.max(0).unsigned_abs()));
        self.stop(&pod, container, id, deadline, StopReason::HookFailed);
    }

    /// Tells a container whose turn comes later that the pod ends.
    fn pre_stop(&mut self, pod: &Pod, container: &str, id: &str, deadline: Timestamp) {
        let now = self.now();
        let Some(record) = self.seen.latest(container) else { return };
        let key = self.key(container, record.attempt);
        self.seen.termination_began.get_or_insert(now);
        self.context.events.note(pod, container, Kind::Normal, "Killing", format!("Stopping container {container}"));
        let Some(hook) = pod.container(container).and_then(|container| container.pre_stop.clone()) else {
            self.seen.told.insert(id.to_string(), PreStop::Done);
            return;
        };
        self.seen.told.insert(id.to_string(), PreStop::Runs);
        let grace = until(deadline, now);
        let (context, target, mailbox) = (self.context.clone(), self.target(), self.mailbox.clone());
        let (pod, id) = (pod.clone(), id.to_string());
        self.tasks.spawn(async move {
            pre_stop(&context, &target, &pod, &key, &hook, grace).await;
            let _ = mailbox.send(Note::PreStopped { id });
        });
    }

    fn stop(&mut self, pod: &Pod, container: &str, id: &str, deadline: Timestamp, why: StopReason) {
        let now = self.now();
        let Some(record) = self.seen.latest(container) else { return };
        let key = self.key(container, record.attempt);
        let first = !self.seen.stopping.contains_key(id) && !self.seen.told.contains_key(id);
        if !matches!(why, StopReason::Unhealthy(_) | StopReason::HookFailed) {
            self.seen.termination_began.get_or_insert(now);
        }
        self.seen.stopping.insert(id.to_string(), deadline);
        let hook = pod.container(container).and_then(|container| container.pre_stop.clone()).filter(|_| first);
        if first {
            let message = match why {
                StopReason::Unhealthy(kind) => {
                    let kind = kind.title().to_lowercase();
                    format!("Container {container} failed {kind} probe, will be restarted")
                }
                StopReason::HookFailed => "FailedPostStartHook".to_string(),
                _ => format!("Stopping container {container}"),
            };
            self.context.events.note(pod, container, Kind::Normal, "Killing", message);
        }
        let grace = until(deadline, now);
        let (context, target, mailbox) = (self.context.clone(), self.target(), self.mailbox.clone());
        let (pod, id) = (pod.clone(), id.to_string());
        self.tasks.spawn(async move {
            let grace = match hook.filter(|_| !grace.is_zero()) {
                Some(hook) => pre_stop(&context, &target, &pod, &key, &hook, grace).await,
                None => grace,
            };
            if let Err(error) = target.runtime.stop(&key, grace).await {
                tracing::warn!(container = key.name, error = chain(&error), "container not stopped; will retry");
                tokio::time::sleep(RETRY).await;
                let _ = mailbox.send(Note::NotStopped { container: key.name, id, why });
                return;
            }
            let _ = mailbox.send(Note::Look);
        });
    }

    /// Tries again what nobody else would: it counts as being stopped for as long as it runs.
    pub(super) fn not_stopped(&mut self, container: &str, id: &str, why: StopReason) {
        let Some(deadline) = self.seen.stopping.get(id).copied() else { return };
        self.stop(&self.pod(), container, id, deadline, why);
    }

    fn probe(&mut self, pod: &Pod, container: &str, id: &str, kind: ProbeKind) {
        let Some(probe) = pod.container(container).and_then(|container| kind.of(container)) else { return };
        let Some(record) = self.seen.latest(container) else { return };
        let key = self.key(container, record.attempt);
        let state = self.seen.probes.entry((container.to_string(), kind)).or_default();
        if state.container_id != id {
            *state = ProbeState::new(id);
        }
        state.in_flight = true;
        let (target, mailbox, id) = (self.target(), self.mailbox.clone(), id.to_string());
        let (handler, timeout) =
            (probe.handler.clone(), Duration::from_secs(probe.timeout_seconds.max(1).unsigned_abs()));
        self.tasks.spawn(async move {
            let failure = target.run(&key, &handler, timeout).await.err();
            let _ = mailbox.send(Note::Probed { container: key.name, id, kind, failure });
        });
    }

    pub(super) fn probed(&mut self, container: &str, id: &str, kind: ProbeKind, failure: Option<String>) {
        let (pod, now) = (self.pod(), self.now());
        let Some(probe) = pod.container(container).and_then(|container| kind.of(container)) else { return };
        let state = self.seen.probes.get_mut(&(container.to_string(), kind));
        let Some(state) = state.filter(|state| state.container_id == id) else { return };
        state.record(probe, failure.is_none(), now);
        if let Some(why) = failure {
            let message = format!("{} probe failed: {}", kind.title(), why.trim_end());
            self.context.events.note(&pod, container, Kind::Warning, "Unhealthy", message);
        }
    }
}

/// Runs the hook, at most as long as there is grace. Returns the grace that is left.
async fn pre_stop(
    context: &Context,
    target: &Target,
    pod: &Pod,
    key: &ContainerKey,
    hook: &Handler,
    grace: Duration,
) -> Duration {
    let begun = tokio::time::Instant::now();
    let ran = tokio::time::timeout(grace, target.run(key, hook, grace)).await;
    if let Err(why) = ran.unwrap_or_else(|_| Err("the grace period is over".into())) {
        let message = format!("PreStopHook failed: {why}");
        context.events.note(pod, &key.name, Kind::Warning, "FailedPreStopHook", message);
    }
    grace.saturating_sub(begun.elapsed()).max(GRACE_AFTER_HOOK)
}
