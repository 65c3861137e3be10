//! The worker of one pod: wakes up, looks, plans, acts, reports, sleeps.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use backstay_api::meta;
use backstay_api::time::until;
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::events::Kind;
use super::inputs::Inputs;
use super::probes::Target;
use super::release::Release;
use super::upkeep::Resident;
use super::{Context, pods_dir};
use crate::client;
use crate::lifecycle::{
    Action, NodeEnd, Observed, Plan, Pod, PreStop, ProbeKind, Sandbox, StopReason, WaitingOn, plan, too_early, words,
};
use crate::pressure::EVICTED;
use crate::process::layout::{self, Layout};
use crate::runtime::{Image, ImageError, Runtime};
use crate::status;
use crate::wait;

/// ConfigMaps, Secrets and tokens in volumes are looked at anew this often, as by a kubelet.
const REFRESH_EVERY: Duration = Duration::from_secs(60);
/// When something that failed is tried again: a write, a look, a stop.
pub(super) const RETRY: Duration = Duration::from_secs(1);

/// What wakes a worker.
pub(super) enum Note {
    /// The pod's object as it is now.
    Object(Box<Value>),
    /// The object is gone.
    Gone,
    /// The node has to end it.
    End(NodeEnd),
    /// Something about the containers has changed.
    Look,
    Probed {
        container: String,
        id: String,
        kind: ProbeKind,
        failure: Option<String>,
    },
    Pulled {
        container: String,
        pulled: Result<Image, ImageError>,
    },
    /// The runtime could not stop a container.
    NotStopped {
        container: String,
        id: String,
        why: StopReason,
    },
    /// The `preStop` hook of a container has run before its turn to end.
    PreStopped {
        id: String,
    },
    /// A hook that must succeed has failed.
    HookFailed {
        container: String,
        id: String,
        why: String,
    },
}

pub(super) struct Worker {
    pub(super) context: Arc<Context>,
    /// The object as last seen, with the status that we wrote last if that is newer.
    pub(super) object: Value,
    /// The server has told of the object. One from the disk has a status of long ago, from which nothing is to be
    /// concluded: not when something has become true.
    pub(super) is_current: bool,
    /// The server has no such pod any more.
    pub(super) gone: bool,
    pub(super) seen: Observed,
    pub(super) runtime: Arc<dyn Runtime>,
    /// This node has taken it.
    pub(super) admitted: bool,
    /// Volumes and sandbox have been made, or adopted.
    pub(super) prepared: bool,
    pub(super) release: Release,
    /// By container: images that have been fetched for the next start.
    pub(super) pulled: BTreeMap<String, Image>,
    pub(super) inputs: Inputs,
    pub(super) mailbox: UnboundedSender<Note>,
    pub(super) notes: UnboundedReceiver<Note>,
    /// Stops, probes and hooks under way.
    pub(super) tasks: JoinSet<()>,
    /// The version that our last write made: older objects say nothing about the status.
    written: u64,
    refreshed_at: Timestamp,
    /// Back-offs that an event has told of.
    told: BTreeMap<String, Timestamp>,
    retry: bool,
    repetition: status::Repetition,
    restored: watch::Receiver<u64>,
}

impl Worker {
    pub(super) fn new(
        context: Arc<Context>,
        object: Value,
        mailbox: UnboundedSender<Note>,
        notes: UnboundedReceiver<Note>,
    ) -> Self {
        let refreshed_at = context.config.clock.now();
        let runtime = context.config.runtimes.usual().clone();
        let restored = context.api.restored();
        Self {
            context,
            object,
            is_current: true,
            gone: false,
            seen: Observed::default(),
            runtime,
            admitted: false,
            prepared: false,
            release: Release::default(),
            pulled: BTreeMap::new(),
            inputs: Inputs::default(),
            mailbox,
            notes,
            tasks: JoinSet::new(),
            written: 0,
            refreshed_at,
            told: BTreeMap::new(),
            retry: false,
            repetition: status::Repetition::default(),
            restored,
        }
    }

    pub(super) async fn run(mut self) {
        self.find_runtime().await;
        self.take_in_all();
        loop {
            let Some(recheck_at) = self.settle().await else { return };
            self.wait(recheck_at).await;
        }
    }

    /// A pod that an earlier agent has begun stays with its runtime, whatever has become of its RuntimeClass.
    async fn find_runtime(&mut self) {
        if meta::str_at(&self.object, &["spec", "runtimeClassName"]).is_empty() {
            return;
        }
        loop {
            let (held, all) = self.context.config.runtimes.pods().await;
            if let Some((_, runtime)) = held.into_iter().find(|(pod, _)| pod.uid == meta::uid(&self.object)) {
                self.runtime = runtime;
                return;
            }
            if all {
                return;
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    pub(super) fn pod(&self) -> Pod {
        Pod::read(&self.object)
    }

    pub(super) fn now(&self) -> Timestamp {
        self.context.config.clock.now()
    }

    /// Plans and acts until there is nothing more to do now. `None`: the pod is done with; otherwise when to look again.
    async fn settle(&mut self) -> Option<Option<Timestamp>> {
        self.retry = false;
        loop {
            if !self.observe().await {
                // What was seen before may be over, and what has never been seen may run: nothing follows from either.
                return Some(Some(self.now() + RETRY));
            }
            let (pod, now) = (self.pod(), self.now());
            self.admit(&pod);
            self.reside(&pod);
            if self.clear(&pod).await {
                continue;
            }
            let plan = plan(&pod, &self.seen, now);
            self.tell_of_backoffs(&pod, &plan);
            // Preparing may take long, and after removal there is nothing left to report from.
            if plan.actions.iter().any(|action| matches!(action, Action::PrepareSandbox | Action::RemoveSandbox)) {
                self.report(&pod, &plan.status).await;
            }
            let mut again = false;
            for action in &plan.actions {
                if matches!(action, Action::DeletePod { .. }) {
                    if self.delete().await {
                        return None;
                    }
                    self.retry = true;
                    continue;
                }
                again |= self.act(&pod, action).await;
            }
            if !again {
                self.tasks_done();
                let too_early = too_early(&pod, &self.seen, &plan.status, now);
                if too_early.is_none() {
                    self.report(&pod, &plan.status).await;
                }
                return Some([self.recheck_at(&plan), too_early].into_iter().flatten().min());
            }
        }
    }

    /// Keeps the object on disk, for an agent that begins without a server.
    pub(super) fn keep(&self) {
        // Before it is prepared, there is nothing to look after yet.
        if !self.prepared {
            return;
        }
        let layout = Layout { pods: pods_dir(&self.context.config.data_dir) };
        let (dir, file) = (layout.pod(meta::uid(&self.object)), layout.object(meta::uid(&self.object)));
        let written = std::fs::create_dir_all(&dir).and_then(|()| layout::write(&file, &self.object));
        if let Err(error) = written {
            tracing::warn!(file = %file.display(), %error, "pod not kept on disk");
        }
    }

    /// Keeps the node's list of what runs here true.
    fn reside(&self, pod: &Pod) {
        let ids = self.seen.containers.values().flatten().map(|record| record.image_id.clone());
        let resident = (!self.is_over(pod)).then(|| Resident::of(&self.object, &self.runtime, ids));
        self.context.set_resident(&pod.uid, resident);
    }

    /// Returns whether the runtime could be asked: whether nothing of the pod is there, or is only not seen.
    async fn observe(&mut self) -> bool {
        let uid = meta::uid(&self.object).to_string();
        match self.runtime.containers(&uid).await {
            Ok(containers) => self.seen.containers = containers,
            Err(error) => {
                tracing::warn!(%uid, %error, "cannot look at the containers of a pod");
                return false;
            }
        }
        let running: BTreeSet<&str> = self
            .seen
            .containers
            .values()
            .flatten()
            .filter(|record| record.is_running())
            .map(|record| record.id.as_str())
            .collect();
        self.seen.stopping.retain(|id, _| running.contains(id.as_str()));
        self.seen.told.retain(|id, _| running.contains(id.as_str()));
        let sandbox = match self.runtime.sandbox(&uid).await {
            Ok(sandbox) => sandbox,
            Err(error) => {
                tracing::warn!(%uid, %error, "cannot look at the sandbox of a pod");
                return false;
            }
        };
        // Adopted: what runs has its sandbox, whatever has become of the objects its volumes were made from.
        if !self.prepared && sandbox.is_some() && !self.seen.containers.is_empty() {
            self.prepared = true;
            self.keep();
            if !self.is_over(&self.pod()) {
                self.refresh().await;
            }
        }
        let host_ips = &self.context.facts.ips;
        let sandbox = sandbox.filter(|_| self.prepared);
        self.seen.sandbox = sandbox.map(|sandbox| Sandbox::new(sandbox.ips, host_ips.clone()));
        true
    }

    pub(super) fn target(&self) -> Target {
        let own = self.seen.sandbox.as_ref().and_then(|sandbox| sandbox.ips.first());
        let ip = own.or(self.context.facts.ips.first()).map_or("127.0.0.1", String::as_str).to_string();
        Target { runtime: self.runtime.clone(), ip }
    }

    /// Brings volumes up to date; faults are waited out, what is there stays.
    async fn refresh(&mut self) {
        self.refreshed_at = self.now();
        let written = match self.inputs.fetch(&self.context, &self.object).await {
            Ok(()) => self.inputs.write_volumes(&self.context, &self.object),
            Err(error) => Err(error),
        };
        if let Err(error) = written {
            tracing::warn!(pod = meta::name(&self.object), error, "volumes not brought up to date");
        }
    }

    async fn report(&mut self, pod: &Pod, wanted: &Value) {
        if self.gone || !self.is_current {
            return;
        }
        let Some(patch) = status::patch(&pod.status, wanted) else { return };
        // Told when the server is reached again.
        if self.context.api.is_cut() {
            return;
        }
        if !self.repetition.allows(&patch, self.now()) {
            self.retry = true;
            return;
        }
        let written = client::patch_pod_status(&self.context.api, &pod.namespace, &pod.name, &pod.uid, &patch).await;
        match written {
            Ok(written) => {
                self.written = version(written.resource_version());
                self.object["status"] = wanted.clone();
            }
            // It is gone: the watch will say so. (A conflict may also be an overtaken write, so it is tried again.)
            Err(error) if client::code(&error) == Some(404) => {}
            Err(error) => {
                tracing::warn!(
                    pod = pod.name,
                    namespace = pod.namespace,
                    error = client::told(&error),
                    "pod status not written; will retry"
                );
                self.repetition = status::Repetition::default();
                self.retry = true;
            }
        }
    }

    /// Returns whether the object is gone.
    async fn delete(&mut self) -> bool {
        let pod = self.pod();
        // Nothing of it runs, but what was made before something failed may still lie here.
        if !self.remove(&pod).await {
            return false;
        }
        if self.gone {
            return true;
        }
        match client::delete_pod(&self.context.api, &pod.namespace, &pod.name, &pod.uid).await {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(
                    pod = pod.name,
                    namespace = pod.namespace,
                    error = client::told(&error),
                    "pod not deleted; will retry"
                );
                false
            }
        }
    }

    fn tell_of_backoffs(&mut self, pod: &Pod, plan: &Plan) {
        for waiting in &plan.waiting {
            let (WaitingOn::BackOff { container, until, .. } | WaitingOn::ImageBackOff { container, until }) = waiting
            else {
                continue;
            };
            if self.told.insert(container.clone(), *until) == Some(*until) {
                continue;
            }
            let note = |kind, reason, message| self.context.events.note(pod, container, kind, reason, message);
            if matches!(waiting, WaitingOn::BackOff { .. }) {
                let pod = pod.long_name();
                let message = format!("Back-off restarting failed container {container} in pod {pod}");
                note(Kind::Warning, "BackOff", message);
            } else {
                let image = pod.container(container).map(|it| it.image.as_str()).unwrap_or_default();
                note(Kind::Normal, "BackOff", format!("Back-off pulling image {image:?}"));
                note(Kind::Warning, "Failed", "Error: ImagePullBackOff".to_string());
            }
        }
    }

    fn recheck_at(&self, plan: &Plan) -> Option<Timestamp> {
        let retry = self.retry.then(|| self.now() + RETRY);
        let refresh = self.has_written_volumes().then(|| self.refreshed_at + REFRESH_EVERY);
        let release = self.release.retry_at(self.now());
        [plan.recheck_at, retry, refresh, release].into_iter().flatten().min()
    }

    fn has_written_volumes(&self) -> bool {
        self.inputs.places.values().any(|(_, written_by_us)| *written_by_us)
    }

    fn tasks_done(&mut self) {
        while self.tasks.try_join_next().is_some() {}
    }

    async fn wait(&mut self, recheck_at: Option<Timestamp>) {
        let left = recheck_at.map(|at| until(at, self.now()));
        let timer = async {
            match left {
                Some(left) => tokio::time::sleep(left + Duration::from_millis(1)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            Some(note) = self.notes.recv() => self.take_in(note),
            Ok(()) = self.restored.changed() => {}
            () = timer => {}
        }
        self.take_in_all();
        if self.has_written_volumes() && wait::is_over(self.refreshed_at, REFRESH_EVERY, self.now()) {
            self.refresh().await;
        }
    }

    fn take_in_all(&mut self) {
        while let Ok(note) = self.notes.try_recv() {
            self.take_in(note);
        }
    }

    pub(super) fn take_in(&mut self, note: Note) {
        match note {
            Note::Look => {}
            Note::End(why) => {
                if why.reason == EVICTED && self.seen.ended_by_node.is_none() {
                    self.context.events.note(&self.pod(), "", Kind::Warning, EVICTED, why.message.clone());
                }
                self.seen.ended_by_node.get_or_insert(why);
            }
            Note::Object(object) => {
                self.is_current = true;
                let held = std::mem::replace(&mut self.object, *object);
                if version(meta::resource_version(&self.object)) < self.written {
                    self.object["status"] = held["status"].clone();
                }
                if meta::is_being_deleted(&self.object) && !meta::is_being_deleted(&held) {
                    self.keep();
                }
            }
            Note::Gone => {
                // The same as a deletion, but there is nobody to report to.
                self.gone = true;
                if !meta::is_being_deleted(&self.object) {
                    let (grace, now) = (self.pod().grace_seconds, words::time(self.now()));
                    meta::set_meta(&mut self.object, "deletionTimestamp", now);
                    meta::set_meta(&mut self.object, "deletionGracePeriodSeconds", grace);
                    self.keep();
                }
            }
            Note::Probed { container, id, kind, failure } => self.probed(&container, &id, kind, failure),
            Note::Pulled { container, pulled } => self.pulled(&container, pulled),
            Note::NotStopped { container, id, why } => self.not_stopped(&container, &id, why),
            Note::PreStopped { id } => {
                self.seen.told.entry(id).and_modify(|hook| *hook = PreStop::Done);
            }
            Note::HookFailed { container, id, why } => self.hook_failed(&container, &id, &why),
        }
    }
}

/// A resource version as the number that it is; 0 for what is none.
fn version(text: &str) -> u64 {
    text.parse().unwrap_or(0)
}
