//! The loop: what pods and nodes there are, and when to look over them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use backstay_api::time::until;
use backstay_controllers::model::{Node, Pod};
use backstay_controllers::pod_gc::{PERIOD, Plan, plan};
use futures::StreamExt;
use jiff::Timestamp;
use tokio::task::JoinSet;

use super::remove::remove;
use crate::api::chain;
use crate::context::Context;
use crate::inform::{Cache, Feed};

/// Pods removed at a time.
const AT_ONCE_MAX: usize = 64;

/// Runs the pod garbage collector until it is told to stop.
pub async fn run(context: Context, mut nodes: Feed<Node>, mut pods: Feed<Pod>) {
    let mut driver = Driver {
        look_at: context.steady.now(),
        context,
        nodes: Cache::default(),
        pods: Cache::default(),
        missing_since: BTreeMap::new(),
        has_changed: true,
        removals: JoinSet::new(),
    };
    loop {
        let pause = driver.pause();
        tokio::select! {
            biased;
            () = driver.context.shutdown.cancelled() => return,
            Some(_) = driver.removals.join_next() => driver.has_changed = true,
            Some(batch) = nodes.recv() => driver.hear(|driver| {
                batch.iter().for_each(|change| drop(driver.nodes.apply(change)));
            }),
            Some(batch) = pods.recv() => driver.hear(|driver| {
                batch.iter().for_each(|change| drop(driver.pods.apply(change)));
            }),
            () = tokio::time::sleep(pause) => driver.work(),
        }
    }
}

struct Driver {
    context: Context,
    nodes: Cache<Node>,
    pods: Cache<Pod>,
    /// Since when each node that pods name is missing.
    missing_since: BTreeMap<Arc<str>, Timestamp>,
    /// Anything, since the last look.
    has_changed: bool,
    look_at: Timestamp,
    /// At most one task, which removes what the last look found.
    removals: JoinSet<()>,
}

impl Driver {
    fn pause(&self) -> Duration {
        let is_needed = self.has_changed || !self.missing_since.is_empty();
        if !is_needed || !self.removals.is_empty() {
            return Duration::MAX;
        }
        until(self.look_at, self.context.steady.now())
    }

    fn hear(&mut self, take_in: impl FnOnce(&mut Self)) {
        take_in(self);
        self.has_changed = true;
    }

    fn work(&mut self) {
        let now = self.context.steady.now();
        self.look_at = now.saturating_add(PERIOD).unwrap_or(Timestamp::MAX);
        self.has_changed = false;
        if !self.nodes.is_listed() || !self.pods.is_listed() {
            // The lists are changes too.
            return;
        }
        let node = |name: &str| self.nodes.get("", name).map(|node| &**node);
        let Plan { remove, missing_since } = plan(self.pods.iter(), node, &self.missing_since, now);
        self.missing_since = missing_since;
        if remove.is_empty() {
            return;
        }
        tracing::info!(pods = remove.len(), "removing pods");
        let context = self.context.clone();
        self.removals.spawn(async move {
            let each = remove.into_iter().map(|(pod, why)| {
                let api = &context.api;
                let now = context.clock.now();
                async move { (self::remove(api, &pod, why, now).await, pod) }
            });
            let mut each = futures::stream::iter(each).buffer_unordered(AT_ONCE_MAX);
            while let Some((done, pod)) = each.next().await {
                if let Err(error) = done {
                    tracing::warn!(pod = %pod.meta.reference(), error = %chain(&error), "pod not removed; will retry");
                }
            }
        });
    }
}
