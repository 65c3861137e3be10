//! One look at one node, and what follows from it.

use backstay_api::time::seconds;
use backstay_controllers::model::{Meta, Object, Pod};
use backstay_controllers::node_lifecycle::{Heard, NodeReport, Plan, plan, readiness};
use serde_json::json;
use serde_json::value::RawValue;

use super::notes;
use crate::api::{ApiError, NODES, PODS, Patch, exactly, pods_of_node};
use crate::context::Context;

/// Reads the node and writes what must be different. Nothing happens to a node that is gone. Returns whether it is given
/// up, or gone: nothing more follows for it until it is heard of again.
pub async fn attend(context: &Context, known: &Meta, heard: &Heard) -> Result<bool, ApiError> {
    let path = NODES.object("", &known.name);
    let body = match context.api.get(&path).await {
        Ok(body) => body,
        Err(error) if error.is_not_found() => return Ok(true),
        Err(error) => return Err(error),
    };
    let NodeReport { mut meta, node } = NodeReport::from_json(&body)?;
    if meta.uid != known.uid {
        return Ok(true);
    }
    let was_ready = readiness(&node) == Some("True");
    let now = context.clock.now();
    let heard = heard.on_another_clock(now.duration_since(context.steady.now()));
    let Plan { taints, conditions, labels, pods_not_ready, .. } = plan(&node, &heard, context.node_grace, now);
    let gave_up = conditions.is_some();
    if let Some(conditions) = conditions {
        let patch = json!({ "metadata": exactly(&meta.reference()), "status": { "conditions": conditions } });
        let written = context.api.patch(&format!("{path}/status"), Patch::Merge, &patch).await?;
        meta = NodeReport::from_json(&written)?.meta;
    }
    if gave_up && was_ready {
        notes::not_ready(&context.recorder, &meta);
    }
    if taints.is_some() || !labels.is_empty() {
        let mut patch = json!({ "metadata": exactly(&meta.reference()) });
        if let Some(taints) = taints {
            patch["spec"]["taints"] = json!(taints);
        }
        for (label, value) in labels {
            patch["metadata"]["labels"][label] = json!(value);
        }
        context.api.patch(&path, Patch::Merge, &patch).await?;
    }
    if pods_not_ready {
        mark_pods(context, &meta.name).await?;
    }
    Ok(pods_not_ready)
}

/// The pods of a node that is given up are not ready any more, as far as anybody can know.
async fn mark_pods(context: &Context, node: &str) -> Result<(), ApiError> {
    for item in context.api.items::<Box<RawValue>>(&pods_of_node(node)).await? {
        let pod = Pod::from_json(item.get().as_bytes())?;
        if pod.is_ready() {
            mark(context, &pod).await?;
        }
    }
    Ok(())
}

async fn mark(context: &Context, pod: &Pod) -> Result<(), ApiError> {
    let now = seconds(context.clock.now());
    let ready = json!({ "type": "Ready", "status": "False", "lastTransitionTime": now });
    let patch = json!({ "metadata": exactly(&pod.meta.reference()), "status": { "conditions": [ready] } });
    let path = format!("{}/status", PODS.object(&pod.meta.namespace, &pod.meta.name));
    match context.api.patch(&path, Patch::Strategic, &patch).await {
        Ok(_) => notes::pod_not_ready(&context.recorder, &pod.meta),
        Err(error) if error.is_not_found() => {}
        Err(error) => return Err(error),
    }
    Ok(())
}
