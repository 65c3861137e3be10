//! What a pod gives back to the machine: when it has ended, and when it goes.

use std::path::Path;
use std::time::Duration;

use backstay_api::causes::chain;
use jiff::Timestamp;

use super::events::Kind;
use super::workers::{RETRY, Worker};
use super::{Context, files, pods_dir};
use crate::lifecycle::{Observed, Pod, SetupError, restart};
use crate::runtime::{ContainerKey, Runtime, RuntimeError};

/// Grace of a pod whose object is gone, so that nobody knows its own: the default of Kubernetes.
const ORPHAN_GRACE: Duration = Duration::from_secs(30);
/// What is left of such a pod is tried to be removed this often at least: as often as a pod's own worker tries.
const ORPHAN_RETRY_MAX: Duration = Duration::from_secs(122);

/// How far a pod that has ended has given back what it had.
#[derive(Default)]
pub(super) struct Release {
    volumes: bool,
    sandbox: bool,
    /// Why the last try failed. It is not only volumes and sandbox that can: the removal of the whole pod as well.
    failure: Option<SetupError>,
}

impl Release {
    /// When a try that failed is to be made again.
    pub(super) fn retry_at(&self, now: Timestamp) -> Option<Timestamp> {
        self.failure.as_ref().map(|failure| restart::retry_setup(failure, now))
    }
}

impl Worker {
    /// The pod has ended, and nothing of it runs any more.
    pub(super) fn is_over(&self, pod: &Pod) -> bool {
        pod.is_terminal() && self.seen.containers.values().flatten().all(|it| !it.is_running())
    }

    /// Of a pod that is over, the volumes go: it may have had to end because of what lies in them. So does what its
    /// containers shared, and others may need: addresses, ports. Its logs stay. Returns whether the sandbox has gone now.
    pub(super) async fn clear(&mut self, pod: &Pod) -> bool {
        if !self.is_over(pod) {
            return false;
        }
        if !std::mem::replace(&mut self.release.volumes, true) {
            // An agent that begins without a server must not begin the pod again.
            self.keep();
            self.inputs.places.clear();
            remove_volumes(&self.context, &pod.uid);
        }
        if self.release.sandbox || !self.may_release() {
            return false;
        }
        let ended = self.runtime.end_sandbox(&pod.uid).await;
        self.release.sandbox = self.released(pod, ended);
        self.release.sandbox
    }

    /// Removes everything of the pod from this machine. Returns whether it has gone.
    pub(super) async fn remove(&mut self, pod: &Pod) -> bool {
        if !self.may_release() {
            return false;
        }
        let removed = remove_pod(&self.context, self.runtime.as_ref(), &pod.uid).await;
        if !self.released(pod, removed) {
            return false;
        }
        self.prepared = false;
        let (termination_began, ended_by_node) = (self.seen.termination_began, self.seen.ended_by_node.take());
        self.seen = Observed { termination_began, ended_by_node, ..Observed::default() };
        true
    }

    fn may_release(&self) -> bool {
        let now = self.now();
        self.release.retry_at(now).is_none_or(|at| at <= now)
    }

    fn released(&mut self, pod: &Pod, result: Result<(), RuntimeError>) -> bool {
        let Err(error) = result else {
            self.release.failure = None;
            return true;
        };
        let message = format!("error killing pod: {}", chain(&error));
        tracing::warn!(pod = pod.name, namespace = pod.namespace, message, "will be tried again");
        self.context.events.note(pod, "", Kind::Warning, "FailedKillPod", message.clone());
        let failures = self.release.failure.as_ref().map_or(0, |failure| failure.failures).saturating_add(1);
        self.release.failure = Some(SetupError { message, at: self.now(), failures });
        false
    }
}

/// Removes the volumes of a pod whose containers have ended.
fn remove_volumes(context: &Context, uid: &str) {
    let dir = pods_dir(&context.config.data_dir).join(uid).join("volumes");
    files::release(&dir);
    remove_directory(&dir);
}

/// Removes everything of a pod from this machine.
///
/// # Errors
/// If its runtime could not: then its directory stays, too, since what is left may be needed to try again.
async fn remove_pod(context: &Context, runtime: &dyn Runtime, uid: &str) -> Result<(), RuntimeError> {
    let dir = pods_dir(&context.config.data_dir).join(uid);
    files::release(&dir.join("volumes"));
    runtime.remove(uid).await?;
    remove_directory(&dir);
    Ok(())
}

/// Removes what is left of a pod that the server does not know, however often that fails.
pub(super) async fn remove_orphan(context: &Context, runtime: &dyn Runtime, uid: &str) {
    let mut pause = RETRY;
    while let Err(error) = try_remove_orphan(context, runtime, uid).await {
        tracing::warn!(%uid, error = chain(&error), "pod not removed from this machine; will retry");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(ORPHAN_RETRY_MAX);
    }
}

async fn try_remove_orphan(context: &Context, runtime: &dyn Runtime, uid: &str) -> Result<(), RuntimeError> {
    let containers = runtime.containers(uid).await?;
    let keys = containers.into_iter().filter_map(|(name, records)| {
        let record = records.last().filter(|record| record.is_running())?;
        Some(ContainerKey { pod_uid: uid.to_string(), name, attempt: record.attempt })
    });
    let keys: Vec<_> = keys.collect();
    futures::future::join_all(keys.iter().map(|key| runtime.stop(key, ORPHAN_GRACE))).await;
    remove_pod(context, runtime, uid).await
}

fn remove_directory(dir: &Path) {
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(dir = %dir.display(), %error, "directory of a pod not removed");
        }
        _ => {}
    }
}
