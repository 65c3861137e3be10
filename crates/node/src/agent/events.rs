//! Events about pods and their node: written in the background, equal ones counted together.

use std::collections::BTreeMap;
use std::time::Duration;

use backstay_api::{Clock, Entropy};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::NodeConfig;
use crate::client::{self, Api};
use crate::lifecycle::{Container, Pod, words};
use crate::wait;

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

/// What it happened to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Subject {
    kind: &'static str,
    /// Empty for a node.
    namespace: String,
    name: String,
    uid: String,
    /// `spec.containers{main}`, or empty for the whole.
    field_path: String,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Happening {
    subject: Subject,
    kind: Kind,
    reason: &'static str,
    message: String,
}

#[derive(Clone)]
pub(super) struct Recorder {
    node: String,
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
        let subject = Subject { kind: "Pod", namespace, name, uid, field_path };
        self.send(Happening { subject, kind, reason, message: message.into() });
    }

    /// Notes something about this node. Never waits.
    pub(super) fn note_node(&self, kind: Kind, reason: &'static str, message: impl Into<String>) {
        let (namespace, name, field_path) = (String::new(), self.node.clone(), String::new());
        // A kubelet's events have the node's name for its uid, and that is what those who look for them know.
        let subject = Subject { kind: "Node", namespace, uid: name.clone(), name, field_path };
        self.send(Happening { subject, kind, reason, message: message.into() });
    }

    fn send(&self, happening: Happening) {
        if let Err(error) = self.sender.try_send(happening) {
            let happening = error.into_inner();
            let (subject, reason) = (happening.subject, happening.reason);
            tracing::debug!(subject.name, reason, "event dropped: too many are waiting");
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
    (Recorder { node: config.name.clone(), sender }, writing)
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
            if !wait::is_over(known.written_at, REPEAT_EVERY, now) {
                return;
            }
            known.written_at = now;
            let path = format!("{}/{}", happening.subject.path(), known.name);
            let patch = json!({ "count": known.count, "lastTimestamp": words::time(now) });
            match self.api.merge_patch(&path, &patch).await {
                // It has expired, or was deleted: written anew below.
                Err(error) if client::code(&error) == Some(404) => {}
                Err(error) => return tracing::debug!(%error, "event not written"),
                Ok(_) => return,
            }
        }
        let name = format!("{}.{:016x}", happening.subject.name, self.entropy.next_u64());
        if let Err(error) = self.api.post(&happening.subject.path(), &self.event(&happening, &name, now)).await {
            return tracing::debug!(%error, "event not written");
        }
        if self.remembered.len() >= REMEMBERED_MAX {
            self.remembered.retain(|_, known| !wait::is_over(known.written_at, 60 * REPEAT_EVERY, now));
        }
        if self.remembered.len() < REMEMBERED_MAX {
            self.remembered.insert(happening, Remembered { name, count: 1, written_at: now });
        }
    }

    fn event(&self, happening: &Happening, name: &str, now: Timestamp) -> Value {
        let (now, subject) = (words::time(now), &happening.subject);
        let mut involved =
            json!({ "apiVersion": "v1", "kind": subject.kind, "name": subject.name, "uid": subject.uid });
        for (field, value) in [("namespace", &subject.namespace), ("fieldPath", &subject.field_path)] {
            if !value.is_empty() {
                involved[field] = value.as_str().into();
            }
        }
        json!({
            "apiVersion": "v1", "kind": "Event",
            "metadata": { "name": name, "namespace": subject.events_namespace() },
            "involvedObject": involved,
            "type": match happening.kind { Kind::Normal => "Normal", Kind::Warning => "Warning" },
            "reason": happening.reason, "message": happening.message,
            "source": { "component": "kubelet", "host": self.node },
            "reportingComponent": "kubelet", "reportingInstance": self.node,
            "firstTimestamp": now, "lastTimestamp": now, "count": 1,
        })
    }
}

impl Subject {
    /// Events lie in a namespace, and those about what lies in none in `default`.
    fn events_namespace(&self) -> &str {
        if self.namespace.is_empty() { "default" } else { &self.namespace }
    }

    fn path(&self) -> String {
        format!("/api/v1/namespaces/{}/events", self.events_namespace())
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::{Arc, Mutex};

    use http::{Request, Response};
    use kube::Client;
    use kube::client::Body;
    use tower::service_fn;

    use super::*;

    /// Happens at each of these seconds. Returns what is written of it, by the second.
    async fn check(seconds: &[i64], expected: &[(i64, &str)]) {
        let (now, seen) = (Arc::new(Mutex::new(0)), Arc::new(Mutex::new(Vec::new())));
        let (clock, asked) = (now.clone(), seen.clone());
        let client = service_fn(move |request: Request<Body>| {
            asked.lock().unwrap().push((*clock.lock().unwrap(), request.method().to_string()));
            async { Ok::<_, Infallible>(Response::new(Body::from(b"{}".to_vec()))) }
        });
        let clock = now.clone();
        let mut writer = Writer {
            api: Api::new(Client::new(client, "default").into()),
            node: "n1".into(),
            clock: Clock::new(move || Timestamp::from_second(*clock.lock().unwrap()).unwrap()),
            entropy: Entropy::new(|| 7),
            remembered: BTreeMap::new(),
        };
        let subject = Subject {
            kind: "Pod",
            namespace: "default".into(),
            name: "p".into(),
            uid: "u".into(),
            field_path: String::new(),
        };
        let happening = Happening { subject, kind: Kind::Normal, reason: "BackOff", message: String::new() };
        for second in seconds {
            *now.lock().unwrap() = *second;
            writer.write(happening.clone()).await;
        }
        let seen = seen.lock().unwrap();
        assert_eq!(seen.iter().map(|(at, method)| (*at, method.as_str())).collect::<Vec<_>>(), expected, "{seconds:?}");
    }

    #[tokio::test]
    async fn repetitions_are_counted_together() {
        check(&[100_000], &[(100_000, "POST")]).await;
        check(&[100_000, 100_004, 100_005], &[(100_000, "POST"), (100_005, "PATCH")]).await;
        // The clock has been set back by hours.
        check(&[100_000, 80_000, 80_004, 80_010], &[(100_000, "POST"), (80_000, "PATCH"), (80_010, "PATCH")]).await;
    }
}
