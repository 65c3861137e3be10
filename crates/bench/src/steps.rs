//! The life of one DaemonSet, step by step, with the time of each.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::{DynamicObject, Object};
use kube::{Client, Config, ResourceExt};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::kubelet::{Pod, resource};
use crate::watching::{self, Happened};

/// No step takes longer, on any machine that is worth measuring on.
const STEP_MAX: Duration = Duration::from_secs(300);

pub const NAMESPACE: &str = "bench";
pub const DAEMONSET: &str = "agent";

/// How often all pods are listed; the median counts.
const LISTS: usize = 5;

type DaemonSet = Object<Unread, DaemonSetStatus>;

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Unread {}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
struct DaemonSetStatus {
    observed_generation: i64,
    desired_number_scheduled: usize,
    updated_number_scheduled: usize,
    number_available: usize,
}

/// How long a step took, and how many writes the server has committed in it.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    pub seconds: f64,
    pub writes: u64,
}

/// A full list of all pods: the time until the last byte of it has come, or until the client has decoded it.
#[derive(Clone, Copy, Debug)]
pub struct Listing {
    pub seconds: f64,
    pub bytes: usize,
    pub is_decoded: bool,
}

#[derive(Clone, Copy, Debug)]
pub struct Steps {
    pub create: Step,
    pub update: Step,
    pub undo: Step,
    pub list: Listing,
    pub delete: Step,
}

pub async fn client(kubeconfig: &Path) -> Result<Client> {
    let read = Kubeconfig::read_from(kubeconfig).with_context(|| format!("cannot read {}", kubeconfig.display()))?;
    let mut config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await?;
    // A watch may have nothing to say for long.
    config.read_timeout = None;
    Client::try_from(config).context("cannot make a client")
}

/// The whole life: create, update, undo, list, delete.
pub async fn life(client: &Client, nodes: usize) -> Result<Steps> {
    let life = Life { client: client.clone(), nodes };
    let create = life.create().await?;
    let image = json!({ "spec": { "template": { "spec": {
        "containers": [{ "name": "agent", "image": "example/agent:v2" }] } } } });
    let update = life.change("update", image).await?;
    let undo = life.change("undo", life.oldest_template().await?).await?;
    let list = life.list().await?;
    let delete = life.delete().await?;
    Ok(Steps { create, update, undo, list, delete })
}

/// Only makes the DaemonSet, and waits until it runs everywhere.
pub async fn create(client: &Client, nodes: usize) -> Result<Step> {
    Life { client: client.clone(), nodes }.create().await
}

/// Removes what [`life`] has left, and waits until it is gone.
pub async fn remove_namespace(client: &Client) -> Result<()> {
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource("", "Namespace"));
    let listed = api.list_metadata(&ListParams::default()).await.context("cannot list namespaces")?;
    let from = listed.metadata.resource_version.context("a list without resourceVersion")?;
    api.delete(NAMESPACE, &DeleteParams::default()).await.context("cannot delete the namespace")?;
    let ours = WatchParams::default().fields(&format!("metadata.name={NAMESPACE}"));
    watching::until(&api, &ours, from, |happened| matches!(happened, Happened::IsGone(_))).await
}

struct Life {
    client: Client,
    nodes: usize,
}

impl Life {
    async fn create(&self) -> Result<Step> {
        let namespaces: Api<DynamicObject> = Api::all_with(self.client.clone(), &resource("", "Namespace"));
        let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": NAMESPACE } });
        let namespace: DynamicObject = serde_json::from_value(namespace)?;
        namespaces.create(&PostParams::default(), &namespace).await.context("cannot make the namespace")?;
        let object: DynamicObject = serde_json::from_value(daemonset())?;
        let api: Api<DynamicObject> = self.api("apps", "DaemonSet");
        self.step("create", async {
            let made = api.create(&PostParams::default(), &object).await.context("cannot make the DaemonSet")?;
            self.rolled_out(&made).await
        })
        .await
    }

    async fn change(&self, name: &str, patch: Value) -> Result<Step> {
        let api: Api<DynamicObject> = self.api("apps", "DaemonSet");
        self.step(name, async {
            let patch = Patch::Strategic(patch);
            let made = api.patch(DAEMONSET, &PatchParams::default(), &patch).await.context("cannot patch")?;
            self.rolled_out(&made).await
        })
        .await
    }

    /// What every client of undo sends: the data of the revision that it goes back to.
    async fn oldest_template(&self) -> Result<Value> {
        let api: Api<DynamicObject> = self.api("apps", "ControllerRevision");
        let revisions = api.list(&ListParams::default()).await.context("cannot list revisions")?.items;
        let oldest = revisions.into_iter().min_by_key(|revision| revision.data["revision"].as_i64());
        Ok(oldest.context("the DaemonSet has no revisions")?.data["data"].take())
    }

    async fn list(&self) -> Result<Listing> {
        let mut listings = Vec::new();
        for _ in 0..LISTS {
            let request = http::Request::get(format!("/api/v1/namespaces/{NAMESPACE}/pods")).body(Vec::new())?;
            let begun = Instant::now();
            let text = self.client.request_text(request).await.context("cannot list pods")?;
            listings.push(Listing { seconds: begun.elapsed().as_secs_f64(), bytes: text.len(), is_decoded: false });
            let list: Items = serde_json::from_str(&text).context("the list of pods is no list")?;
            if list.items.len() != self.nodes {
                bail!("{} pods are listed, and not {}", list.items.len(), self.nodes);
            }
        }
        listings.sort_by(|one, other| one.seconds.total_cmp(&other.seconds));
        Ok(listings[LISTS / 2])
    }

    async fn delete(&self) -> Result<Step> {
        let pods: Api<Pod> = self.api("", "Pod");
        let from = self.revision().await?.to_string();
        let daemonsets: Api<DynamicObject> = self.api("apps", "DaemonSet");
        self.step("delete", async {
            daemonsets.delete(DAEMONSET, &DeleteParams::background()).await.context("cannot delete")?;
            let mut left = self.nodes;
            let is_it = |happened| {
                left -= usize::from(matches!(happened, Happened::IsGone(_)));
                left == 0
            };
            watching::until(&pods, &WatchParams::default(), from, is_it).await
        })
        .await
    }

    async fn rolled_out(&self, made: &DynamicObject) -> Result<()> {
        let api: Api<DaemonSet> = self.api("apps", "DaemonSet");
        let params = WatchParams::default().fields(&format!("metadata.name={DAEMONSET}"));
        let from = made.resource_version().context("a DaemonSet without resourceVersion")?;
        let is_it = |happened| matches!(happened, Happened::Is(daemonset) if is_rolled_out(&daemonset, self.nodes));
        watching::until(&api, &params, from, is_it).await
    }

    async fn step(&self, name: &str, work: impl Future<Output = Result<()>>) -> Result<Step> {
        let before = self.revision().await?;
        let begun = Instant::now();
        let ended = tokio::time::timeout(STEP_MAX, work).await;
        let seconds = begun.elapsed().as_secs_f64();
        ended
            .map_err(|_| anyhow::anyhow!("not done after {} s", STEP_MAX.as_secs()))
            .flatten()
            .context(name.to_string())?;
        Ok(Step { seconds, writes: self.revision().await?.saturating_sub(before) })
    }

    /// The store's revision: it counts what has been written.
    async fn revision(&self) -> Result<u64> {
        let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &resource("", "Namespace"));
        let listed = api.list_metadata(&ListParams::default()).await.context("cannot list namespaces")?;
        let revision = listed.metadata.resource_version.context("a list without resourceVersion")?;
        revision.parse().with_context(|| format!("the resourceVersion {revision} is no number"))
    }

    fn api<K>(&self, group: &str, kind: &str) -> Api<K>
    where
        K: kube::Resource<DynamicType = kube::core::ApiResource, Scope = kube::core::DynamicResourceScope>,
    {
        Api::namespaced_with(self.client.clone(), NAMESPACE, &resource(group, kind))
    }
}

#[derive(Deserialize)]
struct Items {
    items: Vec<serde::de::IgnoredAny>,
}

fn is_rolled_out(daemonset: &DaemonSet, nodes: usize) -> bool {
    let Some(status) = &daemonset.status else { return false };
    let counts = [status.desired_number_scheduled, status.updated_number_scheduled, status.number_available];
    daemonset.metadata.generation.is_some_and(|generation| status.observed_generation >= generation)
        && counts.iter().all(|count| *count == nodes)
}

fn daemonset() -> Value {
    let variable = json!({ "name": "NODE", "valueFrom": { "fieldRef": { "fieldPath": "spec.nodeName" } } });
    json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet",
        "metadata": { "name": DAEMONSET, "labels": { "app": "agent" } },
        "spec": {
            "selector": { "matchLabels": { "app": "agent" } },
            "updateStrategy": { "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": "100%" } },
            "template": {
                "metadata": { "labels": { "app": "agent" } },
                "spec": {
                    "terminationGracePeriodSeconds": 1,
                    "containers": [{
                        "name": "agent", "image": "example/agent:v1", "env": [variable],
                        "resources": { "requests": { "cpu": "10m", "memory": "16Mi" } },
                    }],
                },
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(generation: i64, status: Value, expected: bool) {
        let object = json!({
            "apiVersion": "apps/v1", "kind": "DaemonSet",
            "metadata": { "name": "a", "generation": generation }, "spec": { "x": 1 }, "status": status,
        });
        assert_eq!(is_rolled_out(&serde_json::from_value(object).expect("a DaemonSet"), 2), expected, "{status}");
    }

    #[test]
    fn a_daemonset_is_rolled_out_when_all_counts_say_so() {
        let status = |observed: i64, desired: u32, updated: u32, available: u32| {
            json!({ "observedGeneration": observed, "desiredNumberScheduled": desired,
                "updatedNumberScheduled": updated, "numberAvailable": available, "numberReady": 2 })
        };
        check(3, status(3, 2, 2, 2), true);
        check(3, status(2, 2, 2, 2), false);
        check(3, status(3, 1, 1, 1), false);
        check(3, status(3, 2, 1, 2), false);
        check(3, status(3, 2, 2, 1), false);
        check(3, json!({}), false);
        check(3, Value::Null, false);
    }
}
