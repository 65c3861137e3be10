//! The pod conditions a kubelet writes, with the time of the last change kept.

use jiff::Timestamp;
use serde_json::{Value, json};

use backstay_api::meta;

use super::facts::{Container, Pod};
use super::observed::{ContainerRecord, Observed};
use super::probe;
use super::words;

/// The condition types that this node writes; all others are left as they stand.
pub const OWNED: [&str; 5] = ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"];

/// A condition before its times are known.
struct Finding {
    kind: &'static str,
    holds: bool,
    reason: &'static str,
    message: String,
}

/// The conditions of the pod, owned ones first and in the kubelet's order, foreign ones after them as they were.
pub fn all(pod: &Pod, seen: &Observed, phase: &str, now: Timestamp) -> Vec<Value> {
    let containers_ready = containers_ready(pod, seen, phase);
    let findings = [
        Finding::new("PodReadyToStartContainers", seen.sandbox.is_some()),
        initialized(pod, seen, phase),
        ready(pod, &containers_ready),
        containers_ready,
        Finding::new("PodScheduled", true),
    ];
    let foreign = meta::list_at(&pod.status, &["conditions"]).iter();
    let foreign = foreign.filter(|condition| !OWNED.contains(&meta::str_at(condition, &["type"])));
    findings.iter().map(|finding| finding.to_value(pod, now)).chain(foreign.cloned()).collect()
}

/// That the node ends the pod, for whoever counts disruptions.
pub fn disruption_target(pod: &Pod, message: &str, now: Timestamp) -> Value {
    let finding =
        Finding { kind: "DisruptionTarget", holds: true, reason: "TerminationByKubelet", message: message.to_string() };
    finding.to_value(pod, now)
}

/// Init containers that are not done: plain ones that have not exited with 0, sidecars that have not started.
pub fn incomplete<'a>(pod: &'a Pod, seen: &Observed) -> Vec<&'a str> {
    let begun = pod.containers.iter().any(|container| seen.latest(&container.name).is_some());
    if begun {
        return Vec::new();
    }
    let incomplete = pod.init_containers.iter().filter(|container| !is_complete(container, seen));
    incomplete.map(|container| container.name.as_str()).collect()
}

fn is_complete(container: &Container, seen: &Observed) -> bool {
    if container.sidecar {
        return probe::is_started(container, seen);
    }
    seen.latest(&container.name).and_then(ContainerRecord::exit).is_some_and(|exit| exit.exit_code == 0)
}

fn initialized(pod: &Pod, seen: &Observed, phase: &str) -> Finding {
    let incomplete = incomplete(pod, seen);
    if phase == "Succeeded" {
        return Finding { reason: "PodCompleted", ..Finding::new("Initialized", true) };
    }
    if incomplete.is_empty() {
        return Finding::new("Initialized", true);
    }
    let message = format!("containers with incomplete status: [{}]", incomplete.join(" "));
    Finding { kind: "Initialized", holds: false, reason: "ContainersNotInitialized", message }
}

fn containers_ready(pod: &Pod, seen: &Observed, phase: &str) -> Finding {
    let none = Finding::new("ContainersReady", false);
    match phase {
        "Succeeded" => return Finding { reason: "PodCompleted", ..none },
        "Failed" => return Finding { reason: "PodFailed", ..none },
        _ => {}
    }
    let sidecars = pod.init_containers.iter().filter(|container| container.sidecar);
    let counted = sidecars.chain(&pod.containers);
    let unready: Vec<&str> = counted.filter(|it| !probe::is_ready(it, seen)).map(|it| it.name.as_str()).collect();
    if unready.is_empty() {
        return Finding::new("ContainersReady", true);
    }
    let message = format!("containers with unready status: [{}]", unready.join(" "));
    Finding { reason: "ContainersNotReady", message, ..none }
}

fn ready(pod: &Pod, containers_ready: &Finding) -> Finding {
    let copied = Finding { kind: "Ready", message: containers_ready.message.clone(), ..*containers_ready };
    if !containers_ready.holds {
        return copied;
    }
    let missing: Vec<String> = pod.readiness_gates.iter().filter_map(|gate| unmet_gate(pod, gate)).collect();
    if missing.is_empty() {
        return copied;
    }
    Finding { kind: "Ready", holds: false, reason: "ReadinessGatesNotReady", message: missing.join(", ") }
}

fn unmet_gate(pod: &Pod, gate: &str) -> Option<String> {
    match held(pod, gate).map(|condition| meta::str_at(condition, &["status"])) {
        Some("True") => None,
        Some(_) => Some(format!("the status of pod readiness gate \"{gate}\" is not \"True\", but False")),
        None => Some(format!("corresponding condition of pod readiness gate \"{gate}\" does not exist.")),
    }
}

fn held<'a>(pod: &'a Pod, kind: &str) -> Option<&'a Value> {
    meta::list_at(&pod.status, &["conditions"]).iter().find(|condition| meta::str_at(condition, &["type"]) == kind)
}

impl Finding {
    fn new(kind: &'static str, holds: bool) -> Self {
        Self { kind, holds, reason: "", message: String::new() }
    }

    fn to_value(&self, pod: &Pod, now: Timestamp) -> Value {
        let status = if self.holds { "True" } else { "False" };
        let held = held(pod, self.kind);
        let kept = held.filter(|condition| meta::str_at(condition, &["status"]) == status);
        let since = kept.map(|condition| meta::str_at(condition, &["lastTransitionTime"]).to_string());
        let mut condition = json!({
            "type": self.kind,
            "status": status,
            "lastProbeTime": null,
            "lastTransitionTime": since.filter(|since| !since.is_empty()).unwrap_or_else(|| words::time(now)),
        });
        if let Some(generation) = pod.generation {
            condition["observedGeneration"] = generation.into();
        }
        if !self.reason.is_empty() {
            condition["reason"] = self.reason.into();
        }
        if !self.message.is_empty() {
            condition["message"] = self.message.as_str().into();
        }
        condition
    }
}
