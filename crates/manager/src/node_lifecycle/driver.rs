//! The loop: who was heard of, and whom to look at when.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use backstay_controllers::model::Meta;
use backstay_controllers::node_lifecycle::{Heard, NodeReport, Renewal, deadline, plan, readiness};
use jiff::{SignedDuration, Timestamp};

use super::attend::attend;
use super::notes;
use crate::api::{ApiError, chain};
use crate::context::Context;
use crate::inform::{Batch, Change, Feed};
use crate::jobs::Jobs;
use crate::queue::Queue;

/// Nodes attended to at a time: many, for a whole fleet may come or go at once.
const AT_ONCE_MAX: usize = 64;
/// Where the leases of nodes are.
const LEASE_NAMESPACE: &str = "kube-node-lease";

/// Runs the node lifecycle controller until it is told to stop.
pub async fn run(context: Context, mut nodes: Feed<NodeReport>, mut leases: Feed<Renewal>) {
    let jobs = Jobs::new(Queue::default(), AT_ONCE_MAX);
    let mut driver = Driver { context, nodes: BTreeMap::new(), leases: BTreeMap::new(), jobs };
    loop {
        let pause = driver.jobs.pause(driver.context.steady.now());
        tokio::select! {
            biased;
            () = driver.context.shutdown.cancelled() => return,
            Some((name, done)) = driver.jobs.ended() => driver.ended(&name, done),
            Some(batch) = leases.recv() => driver.hear_leases(&batch),
            Some(batch) = nodes.recv() => driver.hear_nodes(&batch),
            () = tokio::time::sleep(pause) => {}
        }
        driver.work();
    }
}

struct Driver {
    context: Context,
    nodes: BTreeMap<Arc<str>, Known>,
    /// Leases of nodes that have not been seen (yet), or are gone.
    leases: BTreeMap<Arc<str>, Arc<Renewal>>,
    /// They find out whether the node is given up.
    jobs: Jobs<bool>,
}

/// What is remembered of a node.
struct Known {
    meta: Meta,
    heard: Heard,
    /// It has said once how it is.
    reported: bool,
    /// In the state last seen, it is not as it should be, and nothing has been begun about it since.
    needs_attention: bool,
    /// It has been given up, and nothing more follows until it is heard of again.
    given_up: bool,
}

impl Driver {
    fn hear_nodes(&mut self, batch: &Batch<NodeReport>) {
        let now = self.context.steady.now();
        for change in batch.iter() {
            match change {
                Change::Set(report) => self.hear_node(report, now),
                Change::Gone(report) => self.forget(&report.meta.name),
                Change::Listed { objects, .. } => {
                    let here: BTreeSet<&str> = objects.iter().map(|report| &*report.meta.name).collect();
                    let lost: Vec<_> = self.nodes.keys().filter(|name| !here.contains(&***name)).cloned().collect();
                    lost.iter().for_each(|name| self.forget(name));
                    objects.iter().for_each(|report| self.hear_node(report, now));
                }
            }
        }
    }

    fn hear_node(&mut self, report: &NodeReport, now: Timestamp) {
        let name = report.meta.name.clone();
        if self.nodes.get(&name).is_some_and(|known| known.meta.uid != report.meta.uid) {
            self.forget(&name);
        }
        let lease = self.leases.remove(&name);
        let known = self.nodes.entry(name.clone()).or_insert_with(|| {
            notes::registered(&self.context.recorder, &report.meta);
            let mut heard = Heard::first(now);
            if let Some(lease) = lease {
                heard.renewal(&lease.renew_time, lease.seconds, now);
            }
            Known::new(slim(&report.meta), heard)
        });
        known.heard.report(&report.node, now);
        known.reported = readiness(&report.node).is_some();
        let plan = plan(&report.node, &known.heard, self.context.node_grace, now);
        known.given_up &= plan.pods_not_ready;
        // One that was given up before we came still has its pods to be looked at, once.
        known.needs_attention = !plan.is_empty() || (plan.pods_not_ready && !known.given_up);
        match known.needs_attention {
            true => self.jobs.queue.add(name),
            false => self.jobs.queue.add_at(name, known.deadline(self.context.node_grace)),
        }
    }

    fn forget(&mut self, name: &str) {
        if let Some(known) = self.nodes.remove(name) {
            notes::removed(&self.context.recorder, &known.meta);
            // The lease may outlive the node, and be that of another of its name.
            if let Some((renew_time, seconds)) = known.heard.lease() {
                let renewal = Renewal { meta: Meta::default(), renew_time: renew_time.into(), seconds };
                self.leases.insert(name.into(), Arc::new(renewal));
            }
        }
    }

    fn hear_leases(&mut self, batch: &Batch<Renewal>) {
        let now = self.context.steady.now();
        for change in batch.iter() {
            match change {
                Change::Set(renewal) => self.hear_lease(renewal, now),
                Change::Listed { objects, .. } => objects.iter().for_each(|renewal| self.hear_lease(renewal, now)),
                Change::Gone(renewal) => self.lose_lease(renewal),
            }
        }
    }

    /// The time to look at the node does not move with each renewal: it is found out then that it is too early.
    fn hear_lease(&mut self, renewal: &Arc<Renewal>, now: Timestamp) {
        if *renewal.meta.namespace != *LEASE_NAMESPACE {
            return;
        }
        match self.nodes.get_mut(&renewal.meta.name) {
            Some(known) => known.heard.renewal(&renewal.renew_time, renewal.seconds, now),
            None => drop(self.leases.insert(renewal.meta.name.clone(), renewal.clone())),
        }
    }

    fn lose_lease(&mut self, renewal: &Renewal) {
        if *renewal.meta.namespace != *LEASE_NAMESPACE {
            return;
        }
        match self.nodes.get_mut(&renewal.meta.name) {
            Some(known) => known.heard.lost_lease(),
            None => drop(self.leases.remove(&renewal.meta.name)),
        }
    }

    fn work(&mut self) {
        let now = self.context.steady.now();
        while let Some(name) = self.jobs.take(now) {
            self.look_at(name, now);
        }
    }

    fn look_at(&mut self, name: Arc<str>, now: Timestamp) {
        let Some(known) = self.nodes.get_mut(&name) else { return self.jobs.queue.done(&name) };
        let deadline = known.deadline(self.context.node_grace);
        if !known.needs_attention && (now < deadline || known.given_up) {
            self.jobs.queue.done(&name);
            if now < deadline {
                self.jobs.queue.add_at(name, deadline);
            }
            return;
        }
        // Not when it has ended: what is seen meanwhile may be newer than what is being attended to.
        known.needs_attention = false;
        let (context, meta, heard) = (self.context.clone(), known.meta.clone(), known.heard.clone());
        self.jobs.begin(name, async move { attend(&context, &meta, &heard).await });
    }

    fn ended(&mut self, name: &Arc<str>, done: Result<bool, ApiError>) {
        let now = self.context.steady.now();
        match done {
            Ok(given_up) => {
                self.jobs.queue.done(name);
                let Some(known) = self.nodes.get_mut(name) else { return };
                // Not if its time came only after it had been looked at, or if it has been heard of since.
                known.given_up = given_up && now >= known.deadline(self.context.node_grace);
                if !known.given_up {
                    self.jobs.queue.add_at(name.clone(), known.deadline(self.context.node_grace));
                }
            }
            Err(error) => {
                if !error.is_conflict() {
                    tracing::warn!(node = %name, error = %chain(&error), "node not attended to; will retry");
                }
                if let Some(known) = self.nodes.get_mut(name) {
                    known.needs_attention = true;
                }
                self.jobs.queue.failed(name, now);
            }
        }
    }
}

impl Known {
    fn new(meta: Meta, heard: Heard) -> Self {
        Self { meta, heard, reported: false, needs_attention: false, given_up: false }
    }

    fn deadline(&self, grace: SignedDuration) -> Timestamp {
        deadline(&self.heard, self.reported, grace)
    }
}

/// Enough to name the node: there are many, with many labels.
fn slim(meta: &Meta) -> Meta {
    Meta { name: meta.name.clone(), uid: meta.uid.clone(), resource_version: meta.resource_version, ..Meta::default() }
}
