//! Plays the kubelets of a fleet: a pod that is bound to a node runs at once, one that is to end is gone at once.

use std::collections::HashSet;
use std::sync::Mutex;

use anyhow::{Context, Result, bail};
use futures::{StreamExt, TryStreamExt};
use kube::api::{Api, ApiResource, DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::core::{DynamicObject, GroupVersionKind, Object};
use kube::{Client, ResourceExt};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::watching::{self, Happened};

/// Writes underway at a time, of all nodes together.
const WRITES_AT_ONCE: usize = 64;

/// When everything of the fleet began: which moment it was does not matter.
const BEGUN: &str = "2026-01-01T00:00:00Z";

/// A label: this node is none.
const PLAYED: &str = "bench.backstay.dev/played";

/// As much of a pod as a kubelet here must know.
pub type Pod = Object<PodSpec, PodStatus>;

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PodSpec {
    node_name: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct PodStatus {
    phase: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Answer {
    Run,
    Remove,
}

pub fn resource(group: &str, kind: &str) -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1", kind))
}

/// Makes the nodes, and waits until pods may be placed on all of them.
pub async fn register(client: &Client, nodes: usize) -> Result<()> {
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource("", "Node"));
    futures::stream::iter(0..nodes)
        .map(|number| {
            let api = &api;
            async move {
                let node: DynamicObject = serde_json::from_value(node(number))?;
                api.create(&PostParams::default(), &node).await.context("cannot make a node")
            }
        })
        .buffer_unordered(WRITES_AT_ONCE)
        .try_for_each(|_| async { Ok(()) })
        .await?;
    nodes_ready(client, nodes).await
}

/// Removes the nodes that [`register`] made, and no others.
pub async fn unregister(client: &Client) -> Result<()> {
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource("", "Node"));
    let ours = ListParams::default().labels(&format!("{PLAYED}=true"));
    api.delete_collection(&DeleteParams::default(), &ours).await.context("cannot remove the nodes")?;
    Ok(())
}

/// Waits until so many nodes have no taint: a new node has one, until its conditions have been looked at.
pub async fn nodes_ready(client: &Client, nodes: usize) -> Result<()> {
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource("", "Node"));
    let mut ready = HashSet::new();
    let is_it = |happened| {
        match happened {
            Happened::Is(node) if is_open(&node) => ready.insert(node.name_any()),
            Happened::Is(node) | Happened::IsGone(node) => ready.remove(&node.name_any()),
        };
        ready.len() >= nodes
    };
    watching::until(&api, &WatchParams::default(), "0".into(), is_it).await
}

fn is_open(node: &DynamicObject) -> bool {
    node.data["spec"]["taints"].as_array().is_none_or(Vec::is_empty)
}

/// Looks after all pods of all nodes, until something fails.
pub async fn play(client: Client) -> Result<()> {
    let all: Api<Pod> = Api::all_with(client.clone(), &resource("", "Pod"));
    let params = WatchParams::default().fields("spec.nodeName!=");
    let listed = all.list_metadata(&ListParams::default().limit(1)).await.context("cannot list pods")?;
    let from = Mutex::new(listed.metadata.resource_version.unwrap_or_default());
    let answered = Mutex::new(HashSet::new());
    loop {
        let begin = lock(&from).clone();
        let events = all.watch(&params, &begin).await.context("cannot watch pods")?.map_err(anyhow::Error::from);
        let each = events.try_for_each_concurrent(WRITES_AT_ONCE, |event| {
            let answer = note(event, &mut lock(&from), &mut lock(&answered));
            let client = client.clone();
            async move {
                match answer? {
                    // On a task of its own: one alone would be slower than the server on a second core.
                    Some((pod, answer)) => tokio::spawn(carry_out(client, pod, answer)).await?,
                    None => Ok(()),
                }
            }
        });
        each.await.context("the watch of the kubelets broke")?;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// What is to be done about an event, once for each pod.
fn note(
    event: WatchEvent<Pod>,
    from: &mut String,
    answered: &mut HashSet<(String, Answer)>,
) -> Result<Option<(Pod, Answer)>> {
    let (pod, gone) = match event {
        WatchEvent::Added(pod) | WatchEvent::Modified(pod) => (pod, false),
        WatchEvent::Deleted(pod) => (pod, true),
        WatchEvent::Bookmark(bookmark) => {
            *from = bookmark.metadata.resource_version;
            return Ok(None);
        }
        WatchEvent::Error(status) => bail!("{}", status.message),
    };
    *from = pod.resource_version().context("a pod without resourceVersion")?;
    let uid = pod.uid().context("a pod without uid")?;
    if gone {
        answered.remove(&(uid.clone(), Answer::Run));
        answered.remove(&(uid, Answer::Remove));
        return Ok(None);
    }
    Ok(answer(&pod).filter(|answer| answered.insert((uid, *answer))).map(|answer| (pod, answer)))
}

fn answer(pod: &Pod) -> Option<Answer> {
    let runs = pod.status.as_ref().is_some_and(|status| status.phase.as_deref() == Some("Running"));
    match pod.metadata.deletion_timestamp {
        _ if pod.spec.node_name.is_none() => None,
        Some(_) => Some(Answer::Remove),
        None if runs => None,
        None => Some(Answer::Run),
    }
}

async fn carry_out(client: Client, pod: Pod, answer: Answer) -> Result<()> {
    let namespace = pod.namespace().context("a pod without namespace")?;
    let (api, name): (Api<Pod>, _) = (Api::namespaced_with(client, &namespace, &resource("", "Pod")), pod.name_any());
    let result = match answer {
        Answer::Run => api.patch_status(&name, &PatchParams::default(), &Patch::Merge(running())).await.map(|_| ()),
        Answer::Remove => api.delete(&name, &DeleteParams::default().grace_period(0)).await.map(|_| ()),
    };
    match result {
        // Somebody else has removed it.
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        other => other.with_context(|| format!("cannot {answer:?} the pod {name}")),
    }
}

fn node(number: usize) -> Value {
    let name = format!("node-{number:05}");
    let resources = json!({ "cpu": "32", "memory": "256Gi", "pods": "110" });
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": { "name": name, "labels": {
            "kubernetes.io/hostname": name, "kubernetes.io/os": "linux", PLAYED: "true" } },
        "status": {
            "capacity": resources, "allocatable": resources,
            "conditions": [condition("Ready")],
        },
    })
}

fn condition(kind: &str) -> Value {
    json!({ "type": kind, "status": "True", "reason": "Played", "lastTransitionTime": BEGUN })
}

fn running() -> Value {
    json!({ "status": {
        "phase": "Running", "podIP": "10.0.0.1", "hostIP": "10.0.0.1", "startTime": BEGUN,
        "conditions": (["Initialized", "Ready", "ContainersReady"].map(condition)),
        "containerStatuses": [{
            "name": "agent", "image": "example/agent", "imageID": "example/agent", "containerID": "played://1",
            "ready": true, "started": true, "restartCount": 0, "state": { "running": { "startedAt": BEGUN } },
        }],
    } })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(world: Value, expected: Option<Answer>) {
        let mut pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "a" }, "spec": {} });
        json_patch(&mut pod, &world);
        assert_eq!(answer(&serde_json::from_value(pod).expect("a pod")), expected, "{world}");
    }

    fn json_patch(into: &mut Value, from: &Value) {
        for (field, value) in from.as_object().expect("fields") {
            match value {
                Value::Object(_) if into[field].is_object() => json_patch(&mut into[field], value),
                _ => into[field] = value.clone(),
            }
        }
    }

    #[test]
    fn pods_run_once_they_are_bound_and_end_when_told() {
        let bound = json!({ "nodeName": "n" });
        let told = json!({ "deletionTimestamp": BEGUN });
        check(json!({}), None);
        check(json!({ "metadata": told }), None);
        check(json!({ "spec": bound }), Some(Answer::Run));
        check(json!({ "spec": bound, "status": { "phase": "Pending" } }), Some(Answer::Run));
        check(json!({ "spec": bound, "status": { "phase": "Running" } }), None);
        check(json!({ "spec": bound, "status": { "phase": "Running" }, "metadata": told }), Some(Answer::Remove));
    }
}
