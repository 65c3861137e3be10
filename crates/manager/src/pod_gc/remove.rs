//! Removes one pod for good.

use backstay_api::time::seconds;
use backstay_controllers::model::Pod;
use backstay_controllers::pod_gc::Why;
use jiff::Timestamp;
use serde_json::json;

use crate::api::{Api, ApiError, NODES, PODS, Patch};

/// Marks the pod as failed if it has not ended, and deletes it without grace. A pod whose node turns out to exist is
/// left alone.
pub async fn remove(api: &Api, pod: &Pod, why: Why, now: Timestamp) -> Result<(), ApiError> {
    if why == Why::NodeGone && node_exists(api, pod).await? {
        return Ok(());
    }
    let path = PODS.object(&pod.meta.namespace, &pod.meta.name);
    let done = match pod.is_terminal() {
        true => Ok(()),
        false => fail(api, &path, pod, why, now).await,
    };
    let done = match done {
        Ok(()) => {
            let preconditions = json!({ "uid": pod.meta.uid });
            api.delete(&path, &json!({ "gracePeriodSeconds": 0, "preconditions": preconditions })).await.map(drop)
        }
        Err(error) => Err(error),
    };
    match done {
        // Another pod of the same name is no concern of ours either.
        Err(error) if error.is_overtaken() => Ok(()),
        done => done,
    }
}

async fn node_exists(api: &Api, pod: &Pod) -> Result<bool, ApiError> {
    let node = pod.node_name.as_deref().unwrap_or_default();
    match api.metadata_only().get(&NODES.object("", node)).await {
        Ok(_) => Ok(true),
        Err(error) if error.is_not_found() => Ok(false),
        Err(error) => Err(error),
    }
}

async fn fail(api: &Api, path: &str, pod: &Pod, why: Why, now: Timestamp) -> Result<(), ApiError> {
    let mut patch = json!({ "metadata": { "uid": pod.meta.uid }, "status": { "phase": "Failed" } });
    if why == Why::NodeGone {
        patch["status"]["conditions"] = json!([{
            "type": "DisruptionTarget", "status": "True", "reason": "DeletionByPodGC",
            "message": "PodGC: node no longer exists", "lastTransitionTime": seconds(now),
        }]);
    }
    api.patch(&format!("{path}/status"), Patch::Strategic, &patch).await.map(drop)
}
