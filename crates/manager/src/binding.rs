//! Drives the binding of pods to nodes: what kube-scheduler is to a cluster, as far as daemon pods need it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use backstay_api::time::{seconds, until};
use backstay_controllers::binding::{Board, Decision, SCHEDULER as COMPONENT};
use backstay_controllers::model::{Node, Object, ObjectRef, Pod};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tokio::task::JoinSet;

use crate::api::{Api, ApiError, PODS, Patch, chain};
use crate::context::Context;
use crate::events::{Note, Subject};
use crate::inform::{Batch, Cache, Effect, Feed};

/// Whom `managedFields` names.
const FIELD_MANAGER: &str = "kube-scheduler";
/// Bindings and conditions being written at a time.
const WRITES_AT_ONCE: usize = 256;
/// A binding that failed is tried again after this.
const RETRY: SignedDuration = SignedDuration::from_secs(1);
const IDLE: Duration = Duration::from_secs(600);

/// Binds pods until it is told to stop.
pub async fn run(context: Context, mut nodes: Feed<Node>, mut pods: Feed<Pod>) {
    let api = context.api.writing_as(FIELD_MANAGER);
    let mut binder = Binder {
        api,
        context,
        board: Board::default(),
        nodes: Cache::default(),
        pods: Cache::default(),
        writes: JoinSet::new(),
        retries: BTreeSet::new(),
    };
    loop {
        let pause = binder.pause();
        tokio::select! {
            biased;
            () = binder.context.shutdown.cancelled() => return,
            Some(ended) = binder.writes.join_next() => binder.ended(ended),
            Some(batch) = nodes.recv() => binder.hear_nodes(&batch),
            Some(batch) = pods.recv() => binder.hear_pods(&batch),
            () = tokio::time::sleep(pause) => {}
        }
        while let Some(ended) = binder.writes.try_join_next() {
            binder.ended(ended);
        }
        while let Ok(batch) = nodes.try_recv() {
            binder.hear_nodes(&batch);
        }
        while let Ok(batch) = pods.try_recv() {
            binder.hear_pods(&batch);
        }
        binder.work();
    }
}

struct Binder {
    context: Context,
    api: Api,
    board: Board,
    nodes: Cache<Node>,
    pods: Cache<Pod>,
    writes: JoinSet<Ended>,
    retries: BTreeSet<(Timestamp, Arc<str>, Arc<str>)>,
}

struct Ended {
    decision: Decision,
    result: Result<(), ApiError>,
}

impl Binder {
    fn pause(&self) -> Duration {
        let Some((at, ..)) = self.retries.first() else { return IDLE };
        until(*at, self.context.steady.now()).min(IDLE)
    }

    fn hear_nodes(&mut self, batch: &Batch<Node>) {
        for effect in batch.iter().flat_map(|change| self.nodes.apply(change)) {
            match effect {
                Effect::Set { new, .. } => self.board.set_node(new),
                Effect::Removed(node) => self.board.remove_node(&node.meta.name),
            }
        }
    }

    fn hear_pods(&mut self, batch: &Batch<Pod>) {
        for effect in batch.iter().flat_map(|change| self.pods.apply(change)) {
            match effect {
                Effect::Set { new, .. } => self.board.set_pod(new),
                Effect::Removed(pod) => self.board.remove_pod(&pod.meta.namespace, &pod.meta.name),
            }
        }
    }

    fn work(&mut self) {
        if !self.nodes.is_listed() || !self.pods.is_listed() {
            return;
        }
        let now = self.context.steady.now();
        while let Some((_, namespace, name)) = self.retries.first().filter(|(at, ..)| *at <= now).cloned() {
            self.retries.pop_first();
            self.board.look_at(&namespace, &name);
        }
        let now = self.context.clock.now();
        let room = WRITES_AT_ONCE.saturating_sub(self.writes.len());
        for decision in self.board.plan(room) {
            let api = self.api.clone();
            self.writes.spawn(async move {
                let result = match &decision {
                    Decision::Bind { pod, node } => bind(&api, pod, node).await,
                    Decision::Unschedulable { pod, why } => complain(&api, pod, why, now).await,
                };
                Ended { decision, result }
            });
        }
    }

    fn ended(&mut self, ended: Result<Ended, tokio::task::JoinError>) {
        let Ended { decision, result } = match ended {
            Ok(ended) => ended,
            Err(error) => return tracing::error!(%error, "a write of the scheduler broke down"),
        };
        match (&decision, result) {
            (Decision::Bind { pod, node }, Ok(())) => {
                self.context.metrics.bindings.add(1);
                self.board.finish(pod, true);
                let message = format!("Successfully assigned {pod} to {node}");
                self.context.recorder.minor_note(subject(pod), note(true, "Scheduled", message));
            }
            // Gone: the watch will tell.
            (Decision::Bind { pod, .. }, Err(error)) if error.is_not_found() => self.board.finish(pod, true),
            (Decision::Bind { pod, .. }, Err(error)) => {
                self.context.metrics.binding_failures.add(1);
                self.board.finish(pod, false);
                self.retry(pod, &error);
            }
            (Decision::Unschedulable { pod, why }, Ok(())) => {
                self.context.recorder.note(subject(pod), note(false, "FailedScheduling", why.clone()));
            }
            (Decision::Unschedulable { .. }, Err(error)) if error.is_overtaken() => {}
            (Decision::Unschedulable { pod, .. }, Err(error)) => self.retry(pod, &error),
        }
    }

    fn retry(&mut self, pod: &ObjectRef, error: &ApiError) {
        tracing::warn!(%pod, error = %chain(error), "not bound; will retry");
        let at = self.context.steady.now() + RETRY;
        self.retries.insert((at, pod.namespace.clone(), pod.name.clone()));
    }
}

async fn bind(api: &Api, pod: &ObjectRef, node: &str) -> Result<(), ApiError> {
    let body = json!({
        "apiVersion": "v1", "kind": "Binding",
        "metadata": { "name": pod.name, "namespace": pod.namespace, "uid": pod.uid },
        "target": { "apiVersion": "v1", "kind": "Node", "name": node },
    });
    let path = PODS.object(&pod.namespace, &pod.name);
    match api.post(&format!("{path}/binding"), body.to_string()).await {
        Err(error) if error.is_conflict() => {
            // Bound by somebody else, or replaced, is as good as bound; the watch will tell.
            let now = Pod::from_json(&api.get(&path).await?)?;
            if now.meta.uid == pod.uid && now.node_name.is_none() { Err(error) } else { Ok(()) }
        }
        other => other.map(drop),
    }
}

async fn complain(api: &Api, pod: &ObjectRef, why: &str, now: Timestamp) -> Result<(), ApiError> {
    let condition = json!({
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": why,
        "lastProbeTime": null, "lastTransitionTime": seconds(now),
    });
    let body = json!({ "metadata": { "uid": pod.uid }, "status": { "conditions": [condition] } });
    let path = format!("{}/status", PODS.object(&pod.namespace, &pod.name));
    api.patch(&path, Patch::Strategic, &body).await.map(drop)
}

fn subject(pod: &ObjectRef) -> Subject {
    Subject {
        api_version: "v1",
        kind: "Pod",
        namespace: pod.namespace.clone(),
        name: pod.name.clone(),
        uid: pod.uid.clone(),
        resource_version: pod.resource_version,
    }
}

fn note(normal: bool, reason: &'static str, message: String) -> Note {
    Note { component: COMPONENT, normal, reason, message }
}
