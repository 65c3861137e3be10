//! Writes events in the background, one after the other; nobody waits for them.

use std::sync::Arc;

use backstay_api::Clock;
use backstay_api::time::seconds;
use jiff::Timestamp;
use serde_json::json;
use tokio::sync::mpsc;

use super::correlate::{Correlator, Entry};
use super::{Note, Subject};
use crate::api::{Api, ApiError, EVENTS, Patch, chain};
use crate::metrics::Metrics;

/// Notes that may wait to be written; more are dropped, and counted.
const WAITING_MAX: usize = 1000;

/// Takes notes. Cheap to clone.
#[derive(Clone)]
pub struct Recorder {
    notes: mpsc::Sender<(Subject, Note)>,
    metrics: Arc<Metrics>,
}

impl Recorder {
    /// What users hardly miss: dropped already when many notes wait.
    pub fn minor_note(&self, subject: Subject, note: Note) {
        if self.notes.capacity() > WAITING_MAX / 2 {
            self.note(subject, note);
        } else {
            self.metrics.events_dropped.add(1);
        }
    }

    /// Never waits.
    pub fn note(&self, subject: Subject, note: Note) {
        if self.notes.try_send((subject, note)).is_err() {
            self.metrics.events_dropped.add(1);
        }
    }
}

/// A recorder, and the task that writes what it takes until all clones of it are gone.
pub fn recorder(api: Api, clock: Clock, metrics: Arc<Metrics>) -> (Recorder, impl Future<Output = ()>) {
    let (notes, mut waiting) = mpsc::channel(WAITING_MAX);
    let recorder = Recorder { notes, metrics: metrics.clone() };
    let write = async move {
        let mut correlator = Correlator::default();
        while let Some((subject, note)) = waiting.recv().await {
            let now = clock.now();
            let Some(entry) = correlator.take(&subject, &note, now) else {
                metrics.events_dropped.add(1);
                continue;
            };
            match write(&api, &subject, &note, entry, now).await {
                Ok(()) => metrics.events.add(1),
                Err(error) => {
                    metrics.events_dropped.add(1);
                    tracing::debug!(reason = note.reason, error = %chain(&error), "event not written");
                }
            }
        }
    };
    (recorder, write)
}

async fn write(api: &Api, subject: &Subject, note: &Note, entry: Entry, now: Timestamp) -> Result<(), ApiError> {
    // Events about cluster-scoped objects live in `default`.
    let namespace = if subject.namespace.is_empty() { "default" } else { &subject.namespace };
    match entry {
        Entry::Count { name, message, count } => {
            let patch = json!({ "count": count, "lastTimestamp": seconds(now), "message": message });
            let written = api.patch(&EVENTS.object(namespace, &name), Patch::Strategic, &patch).await;
            match written {
                // It has expired: this is the first of a new count.
                Err(error) if error.is_not_found() => create(api, namespace, subject, note, name, message, now).await,
                other => other.map(drop),
            }
        }
        Entry::Create { name, message } => create(api, namespace, subject, note, name, message, now).await,
    }
}

async fn create(
    api: &Api,
    namespace: &str,
    subject: &Subject,
    note: &Note,
    name: String,
    message: String,
    now: Timestamp,
) -> Result<(), ApiError> {
    let mut object = json!({
        "apiVersion": subject.api_version, "kind": subject.kind, "name": subject.name, "uid": subject.uid,
        "resourceVersion": subject.resource_version.to_string(),
    });
    if !subject.namespace.is_empty() {
        object["namespace"] = json!(subject.namespace);
    }
    let event = json!({
        "apiVersion": "v1", "kind": "Event", "metadata": { "name": name, "namespace": namespace },
        "involvedObject": object, "reason": note.reason, "message": message,
        "type": if note.normal { "Normal" } else { "Warning" },
        "count": 1, "firstTimestamp": seconds(now), "lastTimestamp": seconds(now),
        "source": { "component": note.component }, "reportingComponent": note.component, "reportingInstance": "",
    });
    api.post(&EVENTS.in_namespace(namespace), event.to_string()).await.map(drop)
}
