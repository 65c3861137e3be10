//! The Node object of this machine, and its lease.

use std::time::Duration;

use backstay_api::meta;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::Context;
use super::events::Kind;
use crate::client;
use crate::machine;
use crate::transitions::{self, Transition};

/// The kubelet's figures.
const LEASE_SECONDS: i64 = 40;
const RENEW_EVERY: Duration = Duration::from_secs(10);
/// Who has not been heard of for longer than two renewals tells again how it is.
const SILENCE_MAX: Duration = Duration::from_secs(25);
/// How many renewals there are to one report of the whole status.
const RENEWALS_PER_STATUS: u32 = 30;
/// As many images as a node tells of: the kubelet's figure.
const IMAGES_MAX: usize = 50;
/// A pause between attempts to register, while the server does not answer.
const RETRY: Duration = Duration::from_secs(1);

/// Registers the node and keeps it alive, for ever.
pub(super) async fn run(context: std::sync::Arc<Context>) {
    let mut uid = loop {
        match register(&context, true).await {
            Ok(uid) => break uid,
            Err(error) => {
                tracing::warn!(
                    node = context.config.name,
                    error = client::told(&error),
                    "node not registered; will retry"
                )
            }
        }
        tokio::time::sleep(RETRY).await;
    };
    tracing::info!(node = context.config.name, "node registered");
    let mut ticks = tokio::time::interval(RENEW_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut restored = context.api.restored();
    let mut heard = tokio::time::Instant::now();
    let mut owing = false;
    for tick in 0_u32.. {
        tokio::select! {
            biased;
            _ = ticks.tick() => {}
            () = context.state_changed.notified() => (owing, ()) = (true, ticks.reset()),
            Ok(()) = restored.changed() => (owing, ()) = (true, ticks.reset()),
        }
        match renew(&context, &uid).await {
            // Who was silent for a while may have been given up: that is not taken back by a lease.
            Ok(()) => owing |= std::mem::replace(&mut heard, tokio::time::Instant::now()).elapsed() > SILENCE_MAX,
            Err(error) => tracing::warn!(node = context.config.name, error = client::told(&error), "lease not renewed"),
        }
        if owing || tick % RENEWALS_PER_STATUS == RENEWALS_PER_STATUS - 1 {
            // Also repairs what somebody else has made of it, and registers a node that was deleted.
            match register(&context, false).await {
                Ok(new) => (uid, owing) = (new, false),
                Err(error) => {
                    owing = true;
                    tracing::warn!(
                        node = context.config.name,
                        error = client::told(&error),
                        "node status not written; will retry"
                    );
                }
            }
        }
    }
}

/// Makes the Node object, or brings an existing one up to date, and tells what that changes. `begins`: the agent has only
/// just begun. Returns the node's uid.
async fn register(context: &Context, begins: bool) -> Result<String, kube::Error> {
    let now = context.config.clock.now();
    let path = format!("/api/v1/nodes/{}", context.config.name);
    let images = &images(context).await;
    let existing = match context.api.get(&path).await {
        Ok(existing) => existing,
        Err(error) if client::code(&error) == Some(404) => {
            let wanted = node(context, &Value::Null, images, now);
            let made = context.api.post("/api/v1/nodes", &wanted).await?;
            if !meta::list_at(&made, &["status", "conditions"]).is_empty() {
                tell(context, begins, &Value::Null, &wanted);
                return Ok(meta::uid(&made).to_string());
            }
            made
        }
        Err(error) => return Err(error),
    };
    let wanted = node(context, &existing, images, now);
    let labels = meta::labels(&existing);
    if meta::labels(&wanted).iter().any(|(key, value)| labels.get(key) != Some(value)) {
        let patch = json!({ "metadata": { "labels": wanted["metadata"]["labels"] } });
        context.api.strategic_patch(&path, &patch).await?;
    }
    context.api.strategic_patch(&format!("{path}/status"), &json!({ "status": wanted["status"] })).await?;
    tell(context, begins, &existing, &wanted);
    Ok(meta::uid(&existing).to_string())
}

/// Once it is written: who can be written to can be told.
fn tell(context: &Context, begins: bool, before: &Value, now: &Value) {
    if begins {
        context.events.note_node(Kind::Normal, "Starting", "Starting kubelet.");
    }
    for Transition { is_warning, reason, message } in transitions::between(&context.config.name, before, now) {
        let kind = if is_warning { Kind::Warning } else { Kind::Normal };
        context.events.note_node(kind, reason, message);
    }
}

fn node(context: &Context, existing: &Value, images: &[Value], now: Timestamp) -> Value {
    let (name, facts) = (&context.config.name, &context.facts);
    let arch = machine::architecture();
    let mut labels = json!({
        "beta.kubernetes.io/arch": arch, "beta.kubernetes.io/os": "linux",
        "kubernetes.io/arch": arch, "kubernetes.io/hostname": name, "kubernetes.io/os": "linux",
    });
    for (key, value) in &context.config.labels {
        labels[key] = value.as_str().into();
    }
    let room = machine::room(facts);
    let addresses = facts.ips.iter().map(|ip| json!({ "type": "InternalIP", "address": ip }));
    let addresses: Vec<Value> = addresses.chain([json!({ "type": "Hostname", "address": name })]).collect();
    let conditions = machine::conditions(now, "kubelet is posting ready status", &context.state());
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": { "name": name, "labels": labels },
        "status": {
            "capacity": room, "allocatable": machine::allocatable(facts, &room), "addresses": addresses,
            "conditions": machine::keep_transitions(conditions, meta::list_at(existing, &["status", "conditions"])),
            "daemonEndpoints": { "kubeletEndpoint": { "Port": 0 } },
            "nodeInfo": machine::info(&context.config.runtimes.usual().version()),
            "images": images,
        },
    })
}

/// The largest images, as `status.images` holds them.
async fn images(context: &Context) -> Vec<Value> {
    let Some(images) = context.config.runtimes.usual().images() else { return Vec::new() };
    let mut stored = images.list().await.unwrap_or_default();
    stored.sort_by(|left, right| right.size_bytes.cmp(&left.size_bytes).then_with(|| left.id.cmp(&right.id)));
    stored.truncate(IMAGES_MAX);
    stored.iter().map(|image| json!({ "names": image.names, "sizeBytes": image.size_bytes })).collect()
}

async fn renew(context: &Context, uid: &str) -> Result<(), kube::Error> {
    client::renew_lease(&context.api, &context.config.name, uid, LEASE_SECONDS, context.config.clock.now()).await
}
