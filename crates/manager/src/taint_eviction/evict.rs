//! Which pods are on a node and what they bear; and how one is made to leave.

use std::sync::Arc;

use backstay_api::time::seconds;
use backstay_controllers::model::{Meta, ObjectRef};
use backstay_controllers::scheduling::taints::Toleration;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;

use crate::api::{Api, ApiError, PODS, Patch, pods_of_node};

/// A pod and what it bears.
#[derive(Clone, Debug, Deserialize)]
pub struct Bearer {
    #[serde(rename = "metadata")]
    pub meta: Meta,
    #[serde(default)]
    pub spec: Bears,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub struct Bears {
    #[serde(default)]
    pub tolerations: Option<Vec<Toleration>>,
}

/// The pods of a node that are not on their way already.
pub async fn pods_of(api: &Api, node: &str) -> Result<Vec<Bearer>, ApiError> {
    let mut pods: Vec<Bearer> = api.items(&pods_of_node(node)).await?;
    pods.retain(|pod| !pod.meta.is_being_deleted());
    Ok(pods)
}

/// Says in the pod's status why it goes, and deletes it. A pod that is gone is fine.
pub async fn evict(api: &Api, pod: &ObjectRef, now: Timestamp) -> Result<(), ApiError> {
    let path = PODS.object(&pod.namespace, &pod.name);
    let condition = json!({
        "type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager",
        "message": "Taint manager: deleting due to NoExecute taint", "lastTransitionTime": seconds(now),
    });
    let uid: &Arc<str> = &pod.uid;
    let patch = json!({ "metadata": { "uid": uid }, "status": { "conditions": [condition] } });
    let done = match api.patch(&format!("{path}/status"), Patch::Strategic, &patch).await {
        Ok(_) => api.delete(&path, &json!({ "preconditions": { "uid": uid } })).await.map(drop),
        Err(error) => Err(error),
    };
    match done {
        // Another pod of the same name is no concern of ours either.
        Err(error) if error.is_overtaken() => Ok(()),
        done => done,
    }
}
