//! The loop: which namespaces are being deleted, and when to look at them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use backstay_controllers::garbage::Partial;
use backstay_controllers::model::Meta;
use jiff::SignedDuration;

use super::terminate::{Progress, terminate};
use crate::api::{ApiError, chain};
use crate::context::Context;
use crate::inform::{Batch, Change, Feed};
use crate::jobs::Jobs;
use crate::queue::Queue;

/// Namespaces worked on at a time.
const AT_ONCE_MAX: usize = 10;
/// A namespace that something holds is looked at this often.
const RECHECK_MAX: SignedDuration = SignedDuration::from_secs(5);

/// Runs the namespace controller until it is told to stop.
pub async fn run(context: Context, mut namespaces: Feed<Partial>) {
    let jobs = Jobs::new(Queue::with_backoff_max(RECHECK_MAX), AT_ONCE_MAX);
    let mut driver = Driver { context, left: BTreeMap::new(), jobs };
    loop {
        let pause = driver.jobs.pause(driver.context.steady.now());
        tokio::select! {
            biased;
            () = driver.context.shutdown.cancelled() => return,
            Some((name, done)) = driver.jobs.ended() => driver.ended(&name, done),
            Some(batch) = namespaces.recv() => driver.hear(&batch),
            () = tokio::time::sleep(pause) => {}
        }
        driver.work();
    }
}

struct Driver {
    context: Context,
    /// By the name of the namespace.
    left: BTreeMap<Arc<str>, Left>,
    jobs: Jobs<Progress>,
}

/// A namespace that is being deleted.
struct Left {
    /// Another may come under its name.
    uid: Arc<str>,
    /// The resources of which something was left when it was last looked at. Nothing new can come, so these are looked at
    /// first.
    resources: BTreeSet<String>,
}

impl Driver {
    fn hear(&mut self, batch: &Batch<Partial>) {
        for change in batch.iter() {
            match change {
                Change::Set(namespace) => self.consider(namespace),
                Change::Listed { objects, .. } => {
                    let here: BTreeSet<&str> = objects.iter().map(|namespace| &*namespace.meta.uid).collect();
                    self.left.retain(|_, left| here.contains(&*left.uid));
                    objects.iter().for_each(|namespace| self.consider(namespace));
                }
                Change::Gone(namespace) => drop(self.left.remove(&namespace.meta.name)),
            }
        }
    }

    /// Only the beginning of a deletion is news: our own writes of its status wake nobody.
    fn consider(&mut self, namespace: &Partial) {
        let Meta { name, uid, .. } = &namespace.meta;
        if namespace.meta.is_being_deleted() && self.left.get(name).is_none_or(|left| left.uid != *uid) {
            self.left.insert(name.clone(), Left { uid: uid.clone(), resources: BTreeSet::new() });
            self.jobs.queue.add(name.clone());
        }
    }

    fn work(&mut self) {
        while let Some(name) = self.jobs.take(self.context.steady.now()) {
            let left = self.left.get(&name).map(|left| left.resources.clone()).unwrap_or_default();
            let (api, clock) = (self.context.api.clone(), self.context.clock.clone());
            self.jobs.begin(name.clone(), async move { terminate(&api, &clock, &name, &left).await });
        }
    }

    fn ended(&mut self, name: &Arc<str>, done: Result<Progress, ApiError>) {
        let now = self.context.steady.now();
        match done {
            Ok(Progress::Over) => self.jobs.queue.done(name),
            Ok(Progress::Waits { left }) => {
                if let Some(known) = self.left.get_mut(name) {
                    known.resources = left;
                }
                self.jobs.queue.failed(name, now);
            }
            Err(error) => {
                tracing::warn!(namespace = %name, error = %chain(&error), "namespace not emptied; will retry");
                self.jobs.queue.failed(name, now);
            }
        }
    }
}
