//! The pod's `status` as this node reports it, and the phase.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use backstay_api::meta;

use super::conditions;
use super::container_status;
use super::facts::{Container, Pod};
use super::observed::{ContainerRecord, ContainerState, NodeEnd, Observed};
use super::planner::{End, WaitingOn, any_running};
use super::words;

/// The whole status: what the server holds, with everything a node owns written anew.
pub fn report(pod: &Pod, seen: &Observed, waiting: &[WaitingOn], end: End, now: Timestamp) -> Value {
    let gone = seen.sandbox.is_none() && seen.containers.is_empty();
    if end == End::Terminating && gone {
        return pod.status.clone();
    }
    if let Some(why) = seen.ended_by_node.as_ref().filter(|why| why.is_rejection && end == End::ByNode && gone) {
        return rejected(pod, why, now);
    }
    let phase = phase(pod, seen, end);
    let mut status = pod.status.as_object().cloned().unwrap_or_default();
    let statuses = |containers: &[Container]| -> Vec<Value> {
        containers.iter().map(|container| container_status::of(pod, container, seen, waiting)).collect()
    };
    status.insert("phase".into(), phase.into());
    status.insert("conditions".into(), conditions::all(pod, seen, phase, now).into());
    status.insert("containerStatuses".into(), statuses(&pod.containers).into());
    if !pod.init_containers.is_empty() {
        status.insert("initContainerStatuses".into(), statuses(&pod.init_containers).into());
    }
    if !pod.ephemeral_containers.is_empty() {
        status.insert("ephemeralContainerStatuses".into(), statuses(&pod.ephemeral_containers).into());
    }
    status.entry("startTime").or_insert_with(|| words::time(now).into());
    if let Some(generation) = pod.generation {
        status.insert("observedGeneration".into(), generation.into());
    }
    addresses(&mut status, seen);
    if end == End::DeadlineExceeded {
        status.insert("reason".into(), "DeadlineExceeded".into());
        status.insert("message".into(), "Pod was active on the node longer than the specified deadline".into());
    }
    if let Some(why) = seen.ended_by_node.as_ref().filter(|_| end == End::ByNode) {
        status.insert("reason".into(), why.reason.into());
        status.insert("message".into(), why.message.as_str().into());
        let target = conditions::disruption_target(pod, &why.message, now);
        if let Some(conditions) = status.get_mut("conditions").and_then(Value::as_array_mut) {
            conditions.retain(|condition| condition["type"] != target["type"]);
            conditions.push(target);
        }
    }
    drop_nulls(&mut status);
    Value::Object(status)
}

/// As a kubelet has it: who placed the pod has had a say, containers and conditions of ours there are none.
fn rejected(pod: &Pod, why: &NodeEnd, now: Timestamp) -> Value {
    let mut status = pod.status.as_object().cloned().unwrap_or_default();
    status.insert("phase".into(), "Failed".into());
    status.insert("reason".into(), why.reason.into());
    status.insert("message".into(), why.message.as_str().into());
    status.entry("startTime").or_insert_with(|| words::time(now).into());
    if let Some(generation) = pod.generation {
        status.insert("observedGeneration".into(), generation.into());
    }
    Value::Object(status)
}

fn addresses(status: &mut Map<String, Value>, seen: &Observed) {
    let Some(sandbox) = &seen.sandbox else { return };
    for (one, all, ips) in [("podIP", "podIPs", &sandbox.ips), ("hostIP", "hostIPs", &sandbox.host_ips)] {
        let Some(first) = ips.first() else { continue };
        status.insert(one.into(), first.as_str().into());
        status.insert(all.into(), ips.iter().map(|ip| json!({ "ip": ip })).collect());
    }
}

/// A container that was never made has no `containerID`.
fn drop_nulls(status: &mut Map<String, Value>) {
    for field in ["containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"] {
        for container in status.get_mut(field).and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(container) = container.as_object_mut() {
                container.retain(|_, value| !value.is_null());
            }
        }
    }
}

/// The phase, by the kubelet's rules; a final phase that the server holds stays.
fn phase(pod: &Pod, seen: &Observed, end: End) -> &'static str {
    match meta::str_at(&pod.status, &["phase"]) {
        "Failed" => return "Failed",
        "Succeeded" => return "Succeeded",
        _ => {}
    }
    let ended = !any_running(pod, seen);
    if matches!(end, End::DeadlineExceeded | End::ByNode) {
        return if ended { "Failed" } else { unfinished(pod, seen) };
    }
    let begun = seen.containers.values().any(|records| !records.is_empty());
    match end {
        End::Finished if ended => outcome(pod, seen),
        End::Terminating if ended && begun => outcome(pod, seen),
        _ => unfinished(pod, seen),
    }
}

/// Of a pod none of whose containers will run again. One that never ran counts as failed.
fn outcome(pod: &Pod, seen: &Observed) -> &'static str {
    let succeeded = |container: &Container| {
        seen.latest(&container.name).and_then(ContainerRecord::exit).is_some_and(|exit| exit.exit_code == 0)
    };
    if pod.containers.iter().all(succeeded) { "Succeeded" } else { "Failed" }
}

fn unfinished(pod: &Pod, seen: &Observed) -> &'static str {
    if !conditions::incomplete(pod, seen).is_empty() {
        return "Pending";
    }
    let begun = |container: &Container| match seen.latest(&container.name).map(|record| &record.state) {
        None | Some(ContainerState::Created) => false,
        Some(ContainerState::Running { .. } | ContainerState::Exited(_)) => true,
    };
    if pod.containers.iter().all(begun) { "Running" } else { "Pending" }
}
