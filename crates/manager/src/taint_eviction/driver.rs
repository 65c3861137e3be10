//! The loop: which nodes have `NoExecute` taints, and when their next pod is due.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use backstay_controllers::model::{Meta, Node, Pod};
use backstay_controllers::scheduling::taints::{NO_EXECUTE, Taint};
use backstay_controllers::taint_eviction::evict_at;
use futures::StreamExt;
use jiff::Timestamp;

use super::evict::{Bearer, evict, pods_of};
use crate::api::{ApiError, chain};
use crate::context::Context;
use crate::events::{Note, Recorder, Subject};
use crate::inform::{Batch, Change, Feed};
use crate::jobs::Jobs;
use crate::queue::Queue;

/// Nodes looked at at a time.
const AT_ONCE_MAX: usize = 16;
/// Pods of one node evicted at a time.
const EVICTIONS_AT_ONCE: usize = 16;

/// Runs the taint eviction controller until it is told to stop.
pub async fn run(context: Context, mut nodes: Feed<Node>, mut pods: Feed<Pod>) {
    let jobs = Jobs::new(Queue::default(), AT_ONCE_MAX);
    let mut driver = Driver { context, tainted: BTreeMap::new(), taintings: 0, jobs };
    loop {
        let pause = driver.jobs.pause(driver.context.steady.now());
        tokio::select! {
            biased;
            () = driver.context.shutdown.cancelled() => return,
            Some((name, looked)) = driver.jobs.ended() => driver.ended(&name, looked),
            Some(batch) = nodes.recv() => driver.hear_nodes(&batch),
            Some(batch) = pods.recv() => driver.hear_pods(&batch),
            () = tokio::time::sleep(pause) => {}
        }
        driver.work();
    }
}

struct Driver {
    context: Context,
    /// Nodes with `NoExecute` taints.
    tainted: BTreeMap<Arc<str>, Tainted>,
    /// How many have been tainted so far.
    taintings: u64,
    jobs: Jobs<Looked>,
}

#[derive(Clone, Default)]
struct Tainted {
    /// Which of all taintings this is: it ends when the node has no such taint any more.
    tainting: u64,
    taints: Vec<Taint>,
    /// Since when each pod, by uid, is known to be here under these taints, or others before them.
    pods: BTreeMap<Arc<str>, Waiting>,
}

#[derive(Clone)]
struct Waiting {
    meta: Arc<Meta>,
    since: Timestamp,
    /// When it must go; `None`: it may stay.
    due: Option<Timestamp>,
}

/// What a look at a node found out.
struct Looked {
    tainting: u64,
    pods: BTreeMap<Arc<str>, Waiting>,
    /// When the next of them is due that was not yet.
    next: Option<Timestamp>,
    /// The first eviction that failed; it is tried again.
    failure: Option<ApiError>,
}

impl Driver {
    fn hear_nodes(&mut self, batch: &Batch<Node>) {
        for change in batch.iter() {
            match change {
                Change::Set(node) => self.hear_node(node),
                Change::Gone(node) => drop(self.tainted.remove(&node.meta.name)),
                Change::Listed { objects, .. } => {
                    let here: BTreeSet<&str> = objects.iter().map(|node| &*node.meta.name).collect();
                    self.tainted.retain(|name, _| here.contains(&**name));
                    objects.iter().for_each(|node| self.hear_node(node));
                }
            }
        }
    }

    fn hear_node(&mut self, node: &Node) {
        let taints: Vec<Taint> = node.taints.iter().filter(|taint| taint.effect == NO_EXECUTE).cloned().collect();
        let name = &node.meta.name;
        if taints.is_empty() {
            if let Some(tainted) = self.tainted.remove(name) {
                let spared = tainted.pods.values().filter(|pod| pod.due.is_some());
                spared.for_each(|pod| note(&self.context.recorder, &pod.meta, "Cancelling deletion of Pod"));
            }
            return;
        }
        let known = self.tainted.get(name).map(|tainted| &tainted.taints);
        if known != Some(&taints) {
            let taintings = &mut self.taintings;
            let tainted = self.tainted.entry(name.clone()).or_insert_with(|| {
                *taintings += 1;
                Tainted { tainting: *taintings, ..Tainted::default() }
            });
            tainted.taints = taints;
            self.jobs.queue.add(name.clone());
        }
    }

    /// Pods of tainted nodes only: this is one look-up for every other pod.
    fn hear_pods(&mut self, batch: &Batch<Pod>) {
        if self.tainted.is_empty() {
            return;
        }
        for change in batch.iter() {
            match change {
                Change::Set(pod) => self.hear_pod(pod),
                Change::Gone(pod) => self.forget_pod(pod),
                Change::Listed { .. } => self.tainted.keys().for_each(|node| self.jobs.queue.add(node.clone())),
            }
        }
    }

    fn hear_pod(&mut self, pod: &Pod) {
        let Some(node) = &pod.node_name else { return };
        let is_new = |tainted: &Tainted| !tainted.pods.contains_key(&pod.meta.uid);
        if !pod.is_terminating() && self.tainted.get(node).is_some_and(is_new) {
            self.jobs.queue.add(node.clone());
        }
    }

    fn forget_pod(&mut self, pod: &Pod) {
        if let Some(tainted) = pod.node_name.as_ref().and_then(|node| self.tainted.get_mut(node)) {
            tainted.pods.remove(&pod.meta.uid);
        }
    }

    fn work(&mut self) {
        let now = self.context.steady.now();
        while let Some(name) = self.jobs.take(now) {
            let Some(tainted) = self.tainted.get(&name).cloned() else {
                self.jobs.queue.done(&name);
                continue;
            };
            let context = self.context.clone();
            self.jobs.begin(name.clone(), async move { look(&context, &name, tainted).await });
        }
    }

    fn ended(&mut self, name: &Arc<str>, looked: Result<Looked, ApiError>) {
        let failure = match looked {
            Ok(Looked { tainting, pods, next, failure }) => {
                // What was found out under taints that have gone since says nothing about those of now.
                if let Some(tainted) = self.tainted.get_mut(name).filter(|tainted| tainted.tainting == tainting) {
                    tainted.pods = pods;
                }
                match failure {
                    None => self.jobs.queue.done(name),
                    Some(_) => self.jobs.queue.failed(name, self.context.steady.now()),
                }
                next.into_iter().for_each(|at| self.jobs.queue.add_at(name.clone(), at));
                failure
            }
            Err(error) => {
                self.jobs.queue.failed(name, self.context.steady.now());
                Some(error)
            }
        };
        if let Some(error) = failure {
            tracing::warn!(node = %name, error = %chain(&error), "pods not evicted; will retry");
        }
    }
}

/// Finds out who is on the node, and evicts whoever is due. Pods that are not yet stay in the answer.
async fn look(context: &Context, node: &str, tainted: Tainted) -> Result<Looked, ApiError> {
    let now = context.steady.now();
    let mut pods = BTreeMap::new();
    for Bearer { meta, spec } in pods_of(&context.api, node).await? {
        let since = tainted.pods.get(&meta.uid).map_or(now, |known| known.since);
        let due = evict_at(&tainted.taints, &spec.tolerations.unwrap_or_default(), since);
        pods.insert(meta.uid.clone(), Waiting { meta: Arc::new(meta), since, due });
    }
    let due: Vec<Waiting> = pods.values().filter(|pod| pod.due.is_some_and(|at| at <= now)).cloned().collect();
    let evictions = due.into_iter().map(|pod| async move {
        note(&context.recorder, &pod.meta, "Marking for deletion Pod");
        let done = evict(&context.api, &pod.meta.reference(), context.clock.now()).await;
        (pod.meta.uid.clone(), done)
    });
    let mut failure = None;
    let ended: Vec<_> = futures::stream::iter(evictions).buffered(EVICTIONS_AT_ONCE).collect().await;
    for (uid, done) in ended {
        match done {
            Ok(()) => drop(pods.remove(&uid)),
            Err(error) => failure = Some(error),
        }
    }
    let next = pods.values().filter_map(|pod| pod.due).filter(|at| *at > now).min();
    Ok(Looked { tainting: tainted.tainting, pods, next, failure })
}

fn note(recorder: &Recorder, pod: &Meta, what: &str) {
    let message = format!("{what} {}/{}", pod.namespace, pod.name);
    let note = Note { component: "taint-eviction-controller", normal: true, reason: "TaintManagerEviction", message };
    recorder.note(Subject::of("v1", "Pod", pod), note);
}
