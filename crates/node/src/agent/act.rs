//! Carries out the actions of a plan.

use std::time::Duration;

use backstay_api::meta;
use jiff::Timestamp;
use serde_json::Value;

use super::events::Kind;
use super::workers::{Note, Worker};
use super::{Context, files, pods_dir, probes};
use crate::lifecycle::{Action, Handler, Pod, ProbeKind, ProbeState, SetupError, StartError, StopReason};
use crate::pod_inputs::{env, resources, volumes};
use crate::runtime::{ContainerKey, PodIdentity, StartFailure, StartRequest};

/// What a container finds its programs by, unless it says otherwise.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// However long a `preStop` hook takes, a container has so long between the signal and the kill; as in a kubelet.
const GRACE_AFTER_HOOK: Duration = Duration::from_secs(2);
/// A hook that nobody limits is given up after this.
const HOOK_TIMEOUT: Duration = Duration::from_secs(3600);
/// A container that has ended and the one before it are kept, for their logs.
const ATTEMPTS_KEPT: usize = 2;

impl Worker {
    /// Returns whether it is worth planning again at once.
    pub(super) async fn act(&mut self, pod: &Pod, action: &Action) -> bool {
        match action {
            Action::PrepareSandbox => self.prepare(pod).await,
            Action::StartContainer { container, attempt, backoff_seconds } => {
                let key = self.key(container, *attempt);
                self.start(pod, &key, *backoff_seconds).await;
                true
            }
            Action::StopContainer { container, id, deadline, why } => {
                self.stop(pod, container, id, *deadline, *why);
                false
            }
            Action::Probe { container, id, kind } => {
                self.probe(pod, container, id, *kind);
                false
            }
            Action::RemoveSandbox => {
                remove_sandbox(&self.context, &pod.uid).await;
                let began = self.seen.termination_began;
                self.seen = crate::lifecycle::Observed { termination_began: began, ..Default::default() };
                true
            }
            Action::DeletePod { .. } => false,
        }
    }

    fn key(&self, container: &str, attempt: u32) -> ContainerKey {
        ContainerKey { pod_uid: meta::uid(&self.object).to_string(), name: container.to_string(), attempt }
    }

    async fn prepare(&mut self, pod: &Pod) -> bool {
        match self.try_prepare(pod).await {
            Ok(()) => {
                self.seen.setup_error = None;
                self.seen.sandbox = Some(self.sandbox());
            }
            Err(message) => {
                self.context.events.note(pod, "", Kind::Warning, "FailedMount", message.clone());
                let failures = self.seen.setup_error.as_ref().map_or(0, |error| error.failures).saturating_add(1);
                self.seen.setup_error = Some(SetupError { message, at: self.now(), failures });
            }
        }
        true
    }

    async fn try_prepare(&mut self, pod: &Pod) -> Result<(), String> {
        let identity = PodIdentity { namespace: pod.namespace.clone(), name: pod.name.clone(), uid: pod.uid.clone() };
        self.context.config.runtime.prepare(&identity).await.map_err(|error| chain(&error))?;
        self.inputs.fetch(&self.context, &self.object).await?;
        self.inputs.write_volumes(&self.context, &self.object)
    }

    async fn start(&mut self, pod: &Pod, key: &ContainerKey, backoff_seconds: i64) {
        // If the server does not answer now, what it said last time will do.
        let fetched = self.inputs.fetch(&self.context, &self.object).await;
        let started = match self.request(key, backoff_seconds) {
            Ok(request) => self.context.config.runtime.start(key, request).await,
            Err(message) => {
                let message = fetched.err().unwrap_or(message);
                Err(StartFailure { reason: "CreateContainerConfigError".into(), message })
            }
        };
        let name = &key.name;
        let events = &self.context.events;
        match started {
            Ok(()) => {
                self.seen.start_errors.remove(name);
                events.note(pod, name, Kind::Normal, "Created", format!("Created container: {name}"));
                self.started(pod, key).await;
            }
            Err(StartFailure { reason, message }) => {
                events.note(pod, name, Kind::Warning, "Failed", format!("Error: {message}"));
                let failures = self.seen.start_errors.get(name).map_or(0, |error| error.failures).saturating_add(1);
                let error = StartError { reason, message, at: self.now(), failures };
                self.seen.start_errors.insert(name.clone(), error);
            }
        }
    }

    /// Looks at what was started, runs its hook, and forgets attempts of long ago.
    async fn started(&mut self, pod: &Pod, key: &ContainerKey) {
        let runtime = self.context.config.runtime.clone();
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
        let (context, mailbox, key, id) = (self.context.clone(), self.mailbox.clone(), key.clone(), id.to_string());
        self.tasks.spawn(async move {
            if let Err(why) = probes::run(&context, &key, &hook, HOOK_TIMEOUT).await {
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
        let deadline = self.now() + Duration::from_secs(pod.grace_seconds.max(0).unsigned_abs());
        self.stop(&pod, container, id, deadline, StopReason::HookFailed);
    }

    /// Everything the runtime needs, or why the container cannot be made.
    fn request(&self, key: &ContainerKey, backoff_seconds: i64) -> Result<StartRequest, String> {
        let object = &self.object;
        let all =
            ["initContainers", "containers"].into_iter().flat_map(|field| meta::list_at(object, &["spec", field]));
        let spec = all.into_iter().find(|spec| meta::str_at(spec, &["name"]) == key.name);
        let spec = spec.ok_or_else(|| format!("there is no container {:?} in the pod", key.name))?;
        let own = env::resolve(object, spec, &self.context.facts, &self.inputs.objects)?;
        let mounts = volumes::mounts(spec, &own, &self.inputs.places)?;
        for mount in &mounts {
            make_sub_path(&mount.source)?;
        }
        let mut all = self.standard_env();
        own.iter().for_each(|(name, value)| env::set(&mut all, name, value.clone()));
        let words = |field: &str| -> Vec<String> {
            let words = meta::list_at(spec, &[field]).iter().filter_map(Value::as_str);
            words.map(|word| env::expand(word, &own)).collect()
        };
        let (run_as_user, run_as_group) = identity(object, spec)?;
        Ok(StartRequest {
            image: meta::str_at(spec, &["image"]).to_string(),
            command: words("command"),
            args: words("args"),
            env: all,
            working_dir: Some(meta::str_at(spec, &["workingDir"]).to_string()).filter(|dir| !dir.is_empty()),
            mounts,
            limits: resources::limits(spec),
            run_as_user,
            run_as_group,
            message_from_log: meta::str_at(spec, &["terminationMessagePolicy"]) == "FallbackToLogsOnError",
            backoff_seconds,
        })
    }

    fn standard_env(&self) -> Vec<(String, String)> {
        let volumes = pods_dir(&self.context.config.data_dir).join(meta::uid(&self.object)).join("volumes");
        let hostname = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let mut env = vec![
            ("PATH", PATH.to_string()),
            ("HOME", "/".to_string()),
            ("HOSTNAME", hostname),
            ("BACKSTAY_VOLUME_DIR", volumes.display().to_string()),
        ];
        if let Some((host, port)) = self.context.config.server_url.as_deref().and_then(host_and_port) {
            env.extend([("KUBERNETES_SERVICE_HOST", host), ("KUBERNETES_SERVICE_PORT", port)]);
        }
        env.into_iter().map(|(name, value)| (name.to_string(), value)).collect()
    }

    fn stop(&mut self, pod: &Pod, container: &str, id: &str, deadline: Timestamp, why: StopReason) {
        let now = self.now();
        let Some(record) = self.seen.latest(container) else { return };
        let key = self.key(container, record.attempt);
        let first = !self.seen.stopping.contains_key(id);
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
        let grace = Duration::try_from(deadline.duration_since(now)).unwrap_or_default();
        let (context, mailbox, pod) = (self.context.clone(), self.mailbox.clone(), pod.clone());
        self.tasks.spawn(async move {
            let grace = match hook.filter(|_| !grace.is_zero()) {
                Some(hook) => pre_stop(&context, &pod, &key, &hook, grace).await,
                None => grace,
            };
            if let Err(error) = context.config.runtime.stop(&key, grace).await {
                tracing::warn!(container = key.name, error = chain(&error), "container not stopped");
            }
            let _ = mailbox.send(Note::Look);
        });
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
        let (context, mailbox, id) = (self.context.clone(), self.mailbox.clone(), id.to_string());
        let (handler, timeout) =
            (probe.handler.clone(), Duration::from_secs(probe.timeout_seconds.max(1).unsigned_abs()));
        self.tasks.spawn(async move {
            let failure = probes::run(&context, &key, &handler, timeout).await.err();
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
async fn pre_stop(context: &Context, pod: &Pod, key: &ContainerKey, hook: &Handler, grace: Duration) -> Duration {
    let begun = tokio::time::Instant::now();
    let ran = tokio::time::timeout(grace, probes::run(context, key, hook, grace)).await;
    if let Err(why) = ran.unwrap_or_else(|_| Err("the grace period is over".into())) {
        let message = format!("PreStopHook failed: {why}");
        context.events.note(pod, &key.name, Kind::Warning, "FailedPreStopHook", message);
    }
    grace.saturating_sub(begun.elapsed()).max(GRACE_AFTER_HOOK)
}

/// Removes everything of a pod from this machine.
pub(super) async fn remove_sandbox(context: &Context, uid: &str) {
    files::release(&pods_dir(&context.config.data_dir).join(uid).join("volumes"));
    if let Err(error) = context.config.runtime.remove(uid).await {
        tracing::warn!(%uid, error = chain(&error), "pod not removed from this machine");
    }
}

/// The user and group that the security context asks for.
fn identity(pod: &Value, container: &Value) -> Result<(Option<u32>, Option<u32>), String> {
    let asked = |field: &str| {
        let own = meta::value_at(container, &["securityContext", field]);
        own.or_else(|| meta::value_at(pod, &["spec", "securityContext", field]))
    };
    let id = |field: &str| asked(field).and_then(Value::as_u64).and_then(|id| u32::try_from(id).ok());
    let user = id("runAsUser");
    let non_root = asked("runAsNonRoot") == Some(&Value::Bool(true));
    if non_root && user.map_or(rustix::process::geteuid().is_root(), |user| user == 0) {
        return Err("container has runAsNonRoot and would run as root: set securityContext.runAsUser".to_string());
    }
    Ok((user, id("runAsGroup")))
}

/// The parts of `https://HOST:PORT`; an IPv6 address loses its brackets.
fn host_and_port(url: &str) -> Option<(String, String)> {
    let address: http::Uri = url.parse().ok()?;
    let port = address.port_u16().unwrap_or(443);
    Some((address.host()?.trim_matches(['[', ']']).to_string(), port.to_string()))
}

/// A `subPath` that is not there yet is made, as a directory.
fn make_sub_path(source: &std::path::Path) -> Result<(), String> {
    if source.exists() {
        return Ok(());
    }
    std::fs::create_dir_all(source).map_err(|error| format!("cannot make {}: {error}", source.display()))
}

/// An error with all its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text += &format!(": {next}");
        cause = next.source();
    }
    text
}
