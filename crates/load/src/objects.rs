//! The objects that figures are measured with.

use anyhow::Result;
use futures::{StreamExt, TryStreamExt};
use serde_json::{Value, json};

use crate::client::Connection;

pub const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
pub const PODS: &str = "/api/v1/namespaces/default/pods";
pub const EVENTS: &str = "/api/v1/namespaces/default/events";
pub const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
/// Requests in flight while objects are made.
const AT_ONCE: usize = 64;

/// A config map of about so many bytes.
pub fn config_map(name: &str, bytes: usize) -> String {
    let object = json!({ "metadata": { "name": name }, "data": { "text": "x".repeat(bytes.saturating_sub(400)) } });
    object.to_string()
}

/// A pod that is bound to the node of its number.
pub fn pod(number: usize) -> String {
    json!({
        "metadata": { "name": format!("pod-{number}"), "labels": { "app": "agent" } },
        "spec": { "nodeName": format!("node-{number}"), "containers": [{ "name": "agent", "image": "agent:1" }] },
    })
    .to_string()
}

pub fn lease(name: &str) -> String {
    json!({
        "metadata": { "name": name },
        "spec": { "holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": "2026-01-01T00:00:00.000000Z" },
    })
    .to_string()
}

/// What a node sends every ten seconds.
pub fn renewal(second: usize) -> String {
    let (hours, minutes, seconds) = (second / 3600 % 24, second / 60 % 60, second % 60);
    let time = format!("2026-01-01T{hours:02}:{minutes:02}:{seconds:02}.000000Z");
    json!({ "spec": { "renewTime": time } }).to_string()
}

/// Something that has happened to a pod.
pub fn event(name: &str) -> String {
    let object: Value = json!({
        "metadata": { "name": name, "namespace": "default" },
        "involvedObject": { "kind": "Pod", "namespace": "default", "name": name, "apiVersion": "v1" },
        "reason": "Pulled", "type": "Normal", "count": 1,
        "message": "Container image \"registry.example/agent:v1\" already present on machine",
        "source": { "component": "kubelet", "host": name },
    });
    object.to_string()
}

/// Creates one object per body.
pub async fn create_all(connection: &Connection, path: &str, bodies: impl Iterator<Item = String>) -> Result<()> {
    let creating = bodies.map(|body| {
        let mut connection = connection.clone();
        async move { connection.create(path, body).await.map(drop) }
    });
    futures::stream::iter(creating).buffer_unordered(AT_ONCE).try_collect().await
}
