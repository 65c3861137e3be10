//! The Node objects of a simulated fleet and their leases.
//!
//! A kubelet renews its lease every 10 seconds; for 10,000 nodes in one process that would be 1,000 writes a second that
//! say nothing. So the leases of simulated nodes are good for an hour and renewed three times in it: 10,000 nodes cost
//! about 8 writes a second. Our node lifecycle controller believes a lease that outlasts its grace period.

use std::collections::BTreeMap;
use std::time::Duration;

use backstay_api::meta;
use futures::StreamExt;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use super::{FleetConfig, LABEL, node_index, node_name};
use crate::client::{self, Api};
use crate::lifecycle::words;
use crate::watch::{self, Change, Selection};

const LEASE_SECONDS: i64 = 3600;
/// All leases are renewed once in this time, in so many equal slices.
const RENEW_EVERY: Duration = Duration::from_secs(1200);
const RENEW_SLICES: usize = 120;
/// Writes in flight at once: enough to fill the store's group commits.
const WRITES_MAX: usize = 64;
/// As much room as the watch may run ahead of us.
const CHANGES_MAX: usize = 1024;
/// How often a write that failed is tried again before the next slice does it.
const RETRIES: u32 = 8;

/// Keeps the nodes; ends only if there are none to keep.
pub(super) async fn run(api: Api, config: FleetConfig) {
    let (sender, mut changes) = mpsc::channel(CHANGES_MAX);
    let selection = Selection { path: "/api/v1/nodes", query: String::new() };
    let watch = watch::run(api.clone(), selection, config.entropy.clone(), sender);
    // Takes the receiver with it: the watch ends when this does.
    let keep = async move {
        let mut nodes = Nodes { api, config, present: BTreeMap::new(), registered: false };
        let mut renewals = tokio::time::interval(RENEW_EVERY / RENEW_SLICES as u32);
        renewals.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for slice in 0.. {
            tokio::select! {
                biased;
                Some(change) = changes.recv() => nodes.take_in(change).await,
                _ = renewals.tick() => nodes.renew(slice).await,
            }
            if nodes.registered && nodes.config.nodes == 0 {
                return;
            }
        }
    };
    tokio::join!(watch, keep);
}

struct Nodes {
    api: Api,
    config: FleetConfig,
    /// Our nodes that exist, by number, with their uid.
    present: BTreeMap<usize, String>,
    registered: bool,
}

impl Nodes {
    async fn take_in(&mut self, change: Change) {
        match change {
            Change::Listed(objects) => self.listed(&objects).await,
            Change::Applied(object) => {
                let Some(index) = self.ours(&object) else { return };
                if self.present.insert(index, meta::uid(&object).to_string()).is_none()
                    || !meta::is_true(&object, "Ready")
                {
                    self.revive(vec![index]).await;
                }
            }
            // Whoever deletes a node means it: it does not come back by itself.
            Change::Deleted(object) => {
                if let Some(index) = self.ours(&object) {
                    self.present.remove(&index);
                }
            }
        }
    }

    async fn listed(&mut self, objects: &[Value]) {
        let ours: Vec<(usize, &Value)> =
            objects.iter().filter_map(|object| Some((self.ours(object)?, object))).collect();
        // At the start all have been silent, whatever they say.
        let stale = ours.iter().filter(|(_, object)| !self.registered || !meta::is_true(object, "Ready"));
        let stale: Vec<usize> = stale.map(|(index, _)| *index).collect();
        self.present = ours.iter().map(|(index, object)| (*index, meta::uid(object).to_string())).collect();
        self.revive(stale).await;
        if !std::mem::replace(&mut self.registered, true) {
            self.remove_left_over(objects).await;
            self.register().await;
        }
    }

    /// The number of a node that this fleet runs.
    fn ours(&self, object: &Value) -> Option<usize> {
        node_index(meta::name(object)).filter(|index| *index < self.config.nodes)
    }

    async fn register(&mut self) {
        let missing: Vec<usize> = (0..self.config.nodes).filter(|index| !self.present.contains_key(index)).collect();
        let now = self.config.clock.now();
        let writes: Vec<_> = missing.into_iter().map(|index| register(self.api.clone(), index, now)).collect();
        self.present.extend(all(writes).await.into_iter().flatten());
        tracing::info!(nodes = self.present.len(), "simulated nodes registered");
    }

    /// Nodes of an earlier, larger fleet: nobody speaks for them any more.
    async fn remove_left_over(&self, objects: &[Value]) {
        let left_over = objects.iter().filter(|object| {
            meta::label(object, LABEL) == Some("true")
                && node_index(meta::name(object)).is_some_and(|index| index >= self.config.nodes)
        });
        let removals = left_over.map(|object| {
            let (name, uid) = (meta::name(object).to_string(), meta::uid(object).to_string());
            remove(self.api.clone(), name, uid)
        });
        all(removals.collect()).await;
    }

    /// Nodes that have been silent, or were made anew by somebody: they say that they are ready.
    async fn revive(&self, indices: Vec<usize>) {
        let now = self.config.clock.now();
        let uid = |index: &usize| self.present.get(index).cloned().unwrap_or_default();
        let writes = indices.iter().map(|index| revive(self.api.clone(), *index, uid(index), now));
        all(writes.collect()).await;
    }

    async fn renew(&self, slice: usize) {
        let now = self.config.clock.now();
        let due = self.present.iter().filter(|(index, _)| **index % RENEW_SLICES == slice % RENEW_SLICES);
        let writes = due.map(|(index, uid)| renew(self.api.clone(), *index, uid.clone(), now));
        all(writes.collect()).await;
    }
}

/// Carries out writes, a limited number at a time.
async fn all<T: Send + 'static>(writes: Vec<impl Future<Output = T> + Send + 'static>) -> Vec<T> {
    futures::stream::iter(writes).buffer_unordered(WRITES_MAX).collect().await
}

/// Makes a node and its lease. Returns its number and uid.
async fn register(api: Api, index: usize, now: Timestamp) -> Option<(usize, String)> {
    let create = || async {
        match api.post("/api/v1/nodes", &node(index, now)).await {
            Err(error) if client::code(&error) == Some(409) => {
                api.get(&format!("/api/v1/nodes/{}", node_name(index))).await
            }
            other => other,
        }
    };
    let created = retried(create).await?;
    let uid = meta::uid(&created).to_string();
    if !meta::is_true(&created, "Ready") {
        write_status(&api, index, now).await;
    }
    let name = node_name(index);
    retried(|| client::create_lease(&api, &name, &uid, LEASE_SECONDS, now)).await;
    Some((index, uid))
}

async fn revive(api: Api, index: usize, uid: String, now: Timestamp) {
    write_status(&api, index, now).await;
    renew(api, index, uid, now).await;
}

async fn remove(api: Api, name: String, uid: String) {
    let options = json!({ "kind": "DeleteOptions", "apiVersion": "v1", "preconditions": { "uid": uid } });
    let path = format!("/api/v1/nodes/{name}");
    let removed = retried(|| async {
        match api.delete(&path, &options).await {
            Err(error) if matches!(client::code(&error), Some(404 | 409)) => Ok(()),
            other => other,
        }
    });
    if removed.await.is_none() {
        tracing::warn!(node = name, "simulated node of an earlier fleet not removed");
    }
}

async fn write_status(api: &Api, index: usize, now: Timestamp) {
    let path = format!("/api/v1/nodes/{}/status", node_name(index));
    let status = json!({ "status": node(index, now)["status"] });
    retried(|| api.strategic_patch(&path, &status)).await;
}

async fn renew(api: Api, index: usize, uid: String, now: Timestamp) {
    let name = node_name(index);
    retried(|| client::renew_lease(&api, &name, &uid, LEASE_SECONDS, now)).await;
}

/// Tries a write again after ever longer pauses; `None`, and a line in the log, if it still fails.
async fn retried<T, F>(write: impl Fn() -> F) -> Option<T>
where
    F: Future<Output = Result<T, kube::Error>>,
{
    let mut pause = Duration::from_millis(100);
    for _ in 0..RETRIES {
        match write().await {
            Ok(value) => return Some(value),
            Err(error) => tracing::debug!(%error, "write of a simulated node failed; will retry"),
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
    match write().await {
        Ok(value) => Some(value),
        Err(error) => {
            tracing::warn!(%error, "write of a simulated node given up for now");
            None
        }
    }
}

/// The node as it registers itself.
fn node(index: usize, now: Timestamp) -> Value {
    let name = node_name(index);
    let labels = json!({
        "beta.kubernetes.io/arch": "amd64", "beta.kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64", "kubernetes.io/hostname": name, "kubernetes.io/os": "linux", LABEL: "true",
    });
    let room = json!({ "cpu": "32", "memory": "256Gi", "ephemeral-storage": "1Ti", "pods": "250" });
    let addresses =
        json!([{ "type": "InternalIP", "address": node_ip(index) }, { "type": "Hostname", "address": name }]);
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": { "name": name, "labels": labels },
        "status": {
            "capacity": room, "allocatable": room, "addresses": addresses,
            "conditions": crate::machine::conditions(now, "simulated node is always ready", &crate::agent::NodeState::default()),
            "daemonEndpoints": { "kubeletEndpoint": { "Port": 0 } },
            "nodeInfo": {
                "architecture": "amd64", "operatingSystem": "linux", "osImage": "Backstay simulation",
                "kernelVersion": "simulated", "containerRuntimeVersion": "simulated://0",
                "kubeletVersion": crate::machine::VERSION, "kubeProxyVersion": "",
                "machineID": name, "systemUUID": name, "bootID": words::time(now),
            },
        },
    })
}

/// An address of its own for each of the nodes.
pub(super) fn node_ip(index: usize) -> String {
    let [_, b, c, d] = (index as u32 + 1).to_be_bytes();
    format!("10.{}.{c}.{d}", 64 + (b & 63))
}
