//! Pods: the one word that sums up what all their containers are doing.

use jiff::Timestamp;
use serde_json::Value;

use super::{Layout, age, created, name, text_or};
use crate::meta;

pub(super) const POD: Layout = Layout {
    columns: "Name, Ready, Status, Restarts, Age, IP*, Node*, Nominated Node*, Readiness Gates*",
    cells: |pod, now| {
        let summary = Summary::of(pod);
        let ip = match meta::value_at(pod, &["status", "podIPs"]).and_then(|ips| ips.pointer("/0/ip")) {
            Some(Value::String(ip)) => ip.as_str().into(),
            _ => text_or(pod, &["status", "podIP"], "<none>"),
        };
        vec![
            name(pod),
            format!("{}/{}", summary.ready, summary.total).into(),
            summary.reason.clone().into(),
            summary.restarts(now).into(),
            created(pod, now),
            ip,
            text_or(pod, &["spec", "nodeName"], "<none>"),
            text_or(pod, &["status", "nominatedNodeName"], "<none>"),
            readiness_gates(pod).into(),
        ]
    },
};

#[derive(Default)]
struct Summary {
    reason: String,
    ready: usize,
    total: usize,
    restarts: Restarts,
}

/// How often containers were started again, and when one last ended before that.
#[derive(Clone, Copy, Default)]
struct Restarts {
    count: i64,
    last: Option<Timestamp>,
}

impl Restarts {
    fn add(&mut self, container: &Value) {
        self.count += meta::int_at(container, &["restartCount"]).unwrap_or(0);
        let ended = meta::str_at(container, &["lastState", "terminated", "finishedAt"]).parse().ok();
        self.last = self.last.max(ended);
    }
}

impl Summary {
    fn of(pod: &Value) -> Self {
        let sidecars: Vec<_> = meta::list_at(pod, &["spec", "initContainers"])
            .iter()
            .filter(|container| meta::str_at(container, &["restartPolicy"]) == "Always")
            .map(|container| meta::str_at(container, &["name"]))
            .collect();
        let total = meta::list_at(pod, &["spec", "containers"]).len() + sidecars.len();
        let mut summary = Self { reason: starting_reason(pod), total, ..Self::default() };
        let (initializing, sidecar_restarts) = summary.init_containers(pod, &sidecars);
        if !initializing || meta::is_true(pod, "Initialized") {
            summary.restarts = sidecar_restarts;
            summary.main_containers(pod);
        }
        if meta::is_being_deleted(pod) {
            let phase = meta::str_at(pod, &["status", "phase"]);
            if meta::str_at(pod, &["status", "reason"]) == "NodeLost" {
                summary.reason = "Unknown".to_string();
            } else if !matches!(phase, "Succeeded" | "Failed") {
                summary.reason = "Terminating".to_string();
            }
        }
        summary
    }

    /// Whether an init container still has to finish, and how often the sidecars among them were restarted.
    fn init_containers(&mut self, pod: &Value, sidecars: &[&str]) -> (bool, Restarts) {
        let mut sidecar_restarts = Restarts::default();
        let total = meta::list_at(pod, &["spec", "initContainers"]).len();
        for (position, container) in meta::list_at(pod, &["status", "initContainerStatuses"]).iter().enumerate() {
            self.restarts.add(container);
            let is_sidecar = sidecars.contains(&meta::str_at(container, &["name"]));
            if is_sidecar {
                sidecar_restarts.add(container);
            }
            let terminated = meta::value_at(container, &["state", "terminated"]);
            if terminated.is_some_and(|state| state["exitCode"] == 0) {
                continue;
            }
            if is_sidecar && container["started"] == true {
                self.ready += usize::from(container["ready"] == true);
                continue;
            }
            let waiting = meta::str_at(container, &["state", "waiting", "reason"]);
            self.reason = match terminated {
                Some(state) => format!("Init:{}", end_reason(state)),
                None if !matches!(waiting, "" | "PodInitializing") => format!("Init:{waiting}"),
                None => format!("Init:{position}/{total}"),
            };
            return (true, sidecar_restarts);
        }
        (false, sidecar_restarts)
    }

    /// From last to first, so that the first container that has something to say has the last word.
    fn main_containers(&mut self, pod: &Value) {
        let mut running = false;
        for container in meta::list_at(pod, &["status", "containerStatuses"]).iter().rev() {
            self.restarts.add(container);
            let waiting = meta::str_at(container, &["state", "waiting", "reason"]);
            if !waiting.is_empty() {
                self.reason = waiting.to_string();
            } else if let Some(state) = meta::value_at(container, &["state", "terminated"]) {
                self.reason = end_reason(state);
            } else if container["ready"] == true && meta::value_at(container, &["state", "running"]).is_some() {
                running = true;
                self.ready += 1;
            }
        }
        if self.reason == "Completed" && running {
            self.reason = if meta::is_true(pod, "Ready") { "Running" } else { "NotReady" }.to_string();
        }
    }

    fn restarts(&self, now: Timestamp) -> String {
        match self.restarts {
            Restarts { count, last: Some(last) } if count != 0 => {
                format!("{count} ({} ago)", age(&last.to_string(), now))
            }
            Restarts { count, .. } => count.to_string(),
        }
    }
}

fn starting_reason(pod: &Value) -> String {
    let gated = meta::condition(pod, "PodScheduled").is_some_and(|condition| condition["reason"] == "SchedulingGated");
    match meta::str_at(pod, &["status", "reason"]) {
        _ if gated => "SchedulingGated",
        "" => meta::str_at(pod, &["status", "phase"]),
        reason => reason,
    }
    .to_string()
}

/// Why a container ended: its reason, else the signal, else the exit code.
fn end_reason(terminated: &Value) -> String {
    let number = |field| meta::int_at(terminated, &[field]).unwrap_or(0);
    match (meta::str_at(terminated, &["reason"]), number("signal")) {
        ("", 0) => format!("ExitCode:{}", number("exitCode")),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_string(),
    }
}

/// `true gates/gates`, or `<none>`.
fn readiness_gates(pod: &Value) -> String {
    let gates = meta::list_at(pod, &["spec", "readinessGates"]);
    if gates.is_empty() {
        return "<none>".to_string();
    }
    let open = gates.iter().filter(|gate| meta::is_true(pod, meta::str_at(gate, &["conditionType"]))).count();
    format!("{open}/{}", gates.len())
}
