//! Events about pods: written in the background, equal ones counted together.

use std::collections::BTreeMap;
use std::time::Duration;

use backstay_api::{Clock, Entropy};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::NodeConfig;
use crate::client::{self, Api};
use crate::lifecycle::{Container, Pod, words};

/// More than this waiting to be written: new ones are dropped. Events are hints, not records.
const WAITING_MAX: usize = 256;
/// So many recent events are remembered to be counted together with their like.
const REMEMBERED_MAX: usize = 1024;
/// Equal events are written at most this often; those in between only count.
const REPEAT_EVERY: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Normal,
    Warning,
}

/// Something that happened to a pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Happening {
    namespace: String,
    pod: String,
    uid: String,
    /// `spec.containers{main}`, or empty for the pod as a whole.
    field_path: String,
    kind: Kind,
    reason: &'static str,
    message: String,
}

#[derive(Clone)]
pub(super) struct Recorder {
    sender: mpsc::Sender<Happening>,
}

impl Recorder {
    /// Notes something about a pod, or one of its containers. Never waits.
    pub(super) fn note(
        &self,
        pod: &Pod,
        container: &str,
        kind: Kind,
        reason: &'static str,
        message: impl Into<String>,
    ) {
        let is_in = |containers: &[Container]| containers.iter().any(|it| it.name == container);
        let list = match (is_in(&pod.init_containers), is_in(&pod.ephemeral_containers)) {
            (true, _) => "initContainers",
            (_, true) => "ephemeralContainers",
            _ => "containers",
        };
        let field_path = if container.is_empty() { String::new() } else { format!("spec.{list}{{{container}}}") };
        let (namespace, name, uid) = (pod.namespace.clone(), pod.name.clone(), pod.uid.clone());
        let happening = Happening { namespace, pod: name, uid, field_path, kind, reason, message: message.into() };
        if self.sender.try_send(happening).is_err() {
            tracing::debug!(pod = pod.name, reason, "event dropped: too many are waiting");
        }
    }
}

/// A recorder, and what must run for its events to be written.
pub(super) fn recorder(api: Api, config: &NodeConfig) -> (Recorder, impl Future<Output = ()> + use<>) {
    let (sender, mut receiver) = mpsc::channel(WAITING_MAX);
    let (node, clock, entropy) = (config.name.clone(), config.clock.clone(), config.entropy.clone());
    let writing = async move {
        let mut writer = Writer { api, node, clock, entropy, remembered: BTreeMap::new() };
        while let Some(happening) = receiver.recv().await {
            writer.write(happening).await;
        }
        std::future::pending().await
    };
    (Recorder { sender }, writing)
}

struct Writer {
    api: Api,
    node: String,
    clock: Clock,
    entropy: Entropy,
    remembered: BTreeMap<Happening, Remembered>,
}

struct Remembered {
    name: String,
    count: u64,
    written_at: Timestamp,
}

impl Writer {
    async fn write(&mut self, happening: Happening) {
        let now = self.clock.now();
        if let Some(known) = self.remembered.get_mut(&happening) {
            known.count += 1;
            if now < known.written_at + REPEAT_EVERY {
                return;
            }
            known.written_at = now;
            let path = format!("/api/v1/namespaces/{}/events/{}", happening.namespace, known.name);
            let patch = json!({ "count": known.count, "lastTimestamp": words::time(now) });
            match self.api.merge_patch(&path, &patch).await {
                // It has expired, or was deleted: written anew below.
                Err(error) if client::code(&error) == Some(404) => {}
                Err(error) => return tracing::debug!(%error, "event not written"),
                Ok(_) => return,
            }
        }
        let name = format!("{}.{:016x}", happening.pod, self.entropy.next_u64());
        let path = format!("/api/v1/namespaces/{}/events", happening.namespace);
        if let Err(error) = self.api.post(&path, &self.event(&happening, &name, now)).await {
            return tracing::debug!(%error, "event not written");
        }
        if self.remembered.len() >= REMEMBERED_MAX {
            self.remembered.retain(|_, known| now < known.written_at + 60 * REPEAT_EVERY);
        }
        if self.remembered.len() < REMEMBERED_MAX {
            self.remembered.insert(happening, Remembered { name, count: 1, written_at: now });
        }
    }

    fn event(&self, happening: &Happening, name: &str, now: Timestamp) -> Value {
        let now = words::time(now);
        let mut involved = json!({
            "apiVersion": "v1", "kind": "Pod",
            "namespace": happening.namespace, "name": happening.pod, "uid": happening.uid,
        });
        if !happening.field_path.is_empty() {
            involved["fieldPath"] = happening.field_path.as_str().into();
        }
        json!({
            "apiVersion": "v1", "kind": "Event",
            "metadata": { "name": name, "namespace": happening.namespace },
            "involvedObject": involved,
            "type": match happening.kind { Kind::Normal => "Normal", Kind::Warning => "Warning" },
            "reason": happening.reason, "message": happening.message,
            "source": { "component": "kubelet", "host": self.node },
            "reportingComponent": "kubelet", "reportingInstance": self.node,
            "firstTimestamp": now, "lastTimestamp": now, "count": 1,
        })
    }
}
