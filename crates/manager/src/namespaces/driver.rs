//! The loop: which namespaces are being deleted, and when to look at them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use backstay_controllers::garbage::Partial;
use jiff::SignedDuration;
use tokio::task::{JoinError, JoinSet};

use super::terminate::{Progress, terminate};
use crate::api::{ApiError, chain};
use crate::context::Context;
use crate::inform::{Batch, Change, Feed};
use crate::queue::Queue;

/// Namespaces worked on at a time.
const AT_ONCE_MAX: usize = 10;
/// A namespace that something holds is looked at this often.
const RECHECK_MAX: SignedDuration = SignedDuration::from_secs(5);

/// Runs the namespace controller until it is told to stop.
pub async fn run(context: Context, mut namespaces: Feed<Partial>) {
    let mut driver =
        Driver { context, queue: Queue::with_backoff_max(RECHECK_MAX), left: BTreeMap::new(), tasks: JoinSet::new() };
    loop {
        let pause = driver.pause();
        tokio::select! {
            biased;
            () = driver.context.shutdown.cancelled() => return,
            Some(ended) = driver.tasks.join_next() => driver.ended(ended),
            Some(batch) = namespaces.recv() => driver.hear(&batch),
            () = tokio::time::sleep(pause) => {}
        }
        driver.work();
    }
}

struct Driver {
    context: Context,
    queue: Queue<Arc<str>>,
    /// The resources of which something was left in a namespace when it was last looked at. Nothing new can come, so
    /// these are looked at first.
    left: BTreeMap<Arc<str>, BTreeSet<String>>,
    tasks: JoinSet<(Arc<str>, Result<Progress, ApiError>)>,
}

impl Driver {
    fn pause(&self) -> std::time::Duration {
        match self.tasks.len() >= AT_ONCE_MAX {
            true => std::time::Duration::MAX,
            false => self.queue.pause(self.context.clock.now()),
        }
    }

    fn hear(&mut self, batch: &Batch<Partial>) {
        for change in batch.iter() {
            match change {
                Change::Set(namespace) => self.consider(namespace),
                Change::Listed { objects, .. } => objects.iter().for_each(|namespace| self.consider(namespace)),
                Change::Gone(namespace) => drop(self.left.remove(&namespace.meta.name)),
            }
        }
    }

    /// Only the beginning of a deletion is news: our own writes of its status wake nobody.
    fn consider(&mut self, namespace: &Partial) {
        if namespace.meta.is_being_deleted() && !self.left.contains_key(&namespace.meta.name) {
            self.left.insert(namespace.meta.name.clone(), BTreeSet::new());
            self.queue.add(namespace.meta.name.clone());
        }
    }

    fn work(&mut self) {
        while self.tasks.len() < AT_ONCE_MAX {
            let Some(name) = self.queue.take(self.context.clock.now()) else { return };
            let left = self.left.get(&name).cloned().unwrap_or_default();
            let (api, clock) = (self.context.api.clone(), self.context.clock.clone());
            self.tasks.spawn(async move {
                let done = terminate(&api, &clock, &name, &left).await;
                (name, done)
            });
        }
    }

    fn ended(&mut self, ended: Result<(Arc<str>, Result<Progress, ApiError>), JoinError>) {
        let (name, done) = match ended {
            Ok(ended) => ended,
            // A request never panics but by a bug; its namespace stays reserved, and nothing worse happens.
            Err(error) => return tracing::error!(%error, "a task of the namespace controller broke down"),
        };
        let now = self.context.clock.now();
        match done {
            Ok(Progress::Over) => self.queue.done(&name),
            Ok(Progress::Waits { left }) => {
                if let Some(known) = self.left.get_mut(&name) {
                    *known = left;
                }
                self.queue.failed(&name, now);
            }
            Err(error) => {
                tracing::warn!(namespace = %name, error = %chain(&error), "namespace not emptied; will retry");
                self.queue.failed(&name, now);
            }
        }
    }
}
