//! A pod: where it runs, its containers and their states, its volumes.

use backstay_api::meta;
use backstay_rollout::describe::{
    self, Containers, Writer, annotations, labels, rfc1123, tolerations, topology_spread, volumes,
};
use jiff::tz::TimeZone;
use serde_json::Value;

use crate::age;

pub fn text(pod: &Value) -> String {
    let mut out = Writer::default();
    let zone = TimeZone::system();
    head(&mut out, pod, &zone);
    body(&mut out, pod, &zone);
    let list = |path: &[&str]| meta::list_at(pod, path);
    conditions(&mut out, pod);
    volumes(&mut out, list(&["spec", "volumes"]), "");
    out.write(0, &format!("QoS Class:\t{}\n", meta::str_at(pod, &["status", "qosClass"])));
    labels(&mut out, "Node-Selectors", &meta::string_map(meta::value_at(pod, &["spec", "nodeSelector"])));
    tolerations(&mut out, "Tolerations", list(&["spec", "tolerations"]));
    topology_spread(&mut out, list(&["spec", "topologySpreadConstraints"]), "");
    out.into_text()
}

fn head(out: &mut Writer, pod: &Value, zone: &TimeZone) {
    let text = |path: &[&str]| meta::str_at(pod, path);
    out.write(0, &format!("Name:\t{}\n", meta::name(pod)));
    out.write(0, &format!("Namespace:\t{}\n", meta::namespace(pod).unwrap_or("")));
    if let Some(priority) = meta::int_at(pod, &["spec", "priority"]) {
        out.write(0, &format!("Priority:\t{priority}\n"));
    }
    for (title, field) in [
        ("Priority Class Name", "priorityClassName"),
        ("Runtime Class Name", "runtimeClassName"),
        ("Service Account", "serviceAccountName"),
    ] {
        line(out, title, text(&["spec", field]));
    }
    match text(&["spec", "nodeName"]) {
        "" => out.write(0, "Node:\t<none>\n"),
        node => out.write(0, &format!("Node:\t{node}/{}\n", text(&["status", "hostIP"]))),
    }
    if !text(&["status", "startTime"]).is_empty() {
        out.write(0, &format!("Start Time:\t{}\n", rfc1123(text(&["status", "startTime"]), zone)));
    }
    labels(out, "Labels", &meta::labels(pod));
    annotations(out, "Annotations", &meta::annotations(pod));
    let phase = text(&["status", "phase"]);
    if meta::is_being_deleted(pod) && !["Failed", "Succeeded"].contains(&phase) {
        let lasts = age::of(text(&["metadata", "deletionTimestamp"]));
        let grace = meta::int_at(pod, &["metadata", "deletionGracePeriodSeconds"]).unwrap_or(0);
        out.write(0, &format!("Status:\tTerminating (lasts {lasts})\nTermination Grace Period:\t{grace}s\n"));
    } else {
        out.write(0, &format!("Status:\t{phase}\n"));
    }
    line(out, "Reason", text(&["status", "reason"]));
    line(out, "Message", text(&["status", "message"]));
    let seccomp = &["spec", "securityContext", "seccompProfile"];
    line(out, "SeccompProfile", text(&[seccomp[0], seccomp[1], seccomp[2], "type"]));
    line(out, "LocalhostProfile", text(&[seccomp[0], seccomp[1], seccomp[2], "localhostProfile"]));
    out.write(0, &format!("IP:\t{}\n", text(&["status", "podIP"])));
    addresses(out, pod);
    if let Some(owner) = meta::controller_of(pod) {
        let (kind, name) = (meta::str_at(owner, &["kind"]), meta::str_at(owner, &["name"]));
        out.write(0, &format!("Controlled By:\t{kind}/{name}\n"));
    }
    line(out, "NominatedNodeName", text(&["status", "nominatedNodeName"]));
    if let Some(resources) = meta::value_at(pod, &["spec", "resources"]) {
        out.write(0, "Resources:\n");
        describe::resources(out, resources, 1);
    }
}

/// The line, if there is something to say.
fn line(out: &mut Writer, title: &str, text: &str) {
    if !text.is_empty() {
        out.write(0, &format!("{title}:\t{text}\n"));
    }
}

fn addresses(out: &mut Writer, pod: &Value) {
    let addresses = meta::list_at(pod, &["status", "podIPs"]);
    out.write(0, if addresses.is_empty() { "IPs:\t<none>\n" } else { "IPs:\n" });
    for address in addresses {
        out.write(1, &format!("IP:\t{}\n", meta::str_at(address, &["ip"])));
    }
}

fn body(out: &mut Writer, pod: &Value, zone: &TimeZone) {
    let resolve = |path: &str| field_of(pod, path);
    for (title, list, statuses) in [
        ("Init Containers", "initContainers", "initContainerStatuses"),
        ("Containers", "containers", "containerStatuses"),
        ("Ephemeral Containers", "ephemeralContainers", "ephemeralContainerStatuses"),
    ] {
        let containers = meta::list_at(pod, &["spec", list]);
        if containers.is_empty() && list != "containers" {
            continue;
        }
        let what = Containers {
            title,
            containers,
            statuses: meta::list_at(pod, &["status", statuses]),
            resolve: Some(&resolve),
            space: "",
            zone: zone.clone(),
        };
        describe::containers(out, &what);
    }
}

/// What a `fieldRef` of this pod comes to.
fn field_of(pod: &Value, path: &str) -> String {
    if let Some((map, key)) = path.strip_suffix("']").and_then(|path| path.split_once("['")) {
        let map = map.strip_prefix("metadata.").unwrap_or(map);
        return meta::str_at(pod, &["metadata", map, key]).to_string();
    }
    let path: Vec<&str> = path.split('.').collect();
    match path[..] {
        ["metadata", "labels" | "annotations"] => {
            let map = meta::string_map(meta::value_at(pod, &path));
            let lines: Vec<String> =
                map.iter().map(|(key, value)| format!("{key}={}", crate::error::quoted(value))).collect();
            lines.join("\n")
        }
        _ => meta::str_at(pod, &path).to_string(),
    }
}

fn conditions(out: &mut Writer, pod: &Value) {
    let conditions = meta::list_at(pod, &["status", "conditions"]);
    let status_of = |kind: &str| {
        let condition = conditions.iter().find(|condition| meta::str_at(condition, &["type"]) == kind);
        condition.map_or("<none>", |condition| meta::str_at(condition, &["status"]))
    };
    let gates = meta::list_at(pod, &["spec", "readinessGates"]);
    if !gates.is_empty() {
        out.write(0, "Readiness Gates:\n  Type\tStatus\n");
    }
    for gate in gates {
        let kind = meta::str_at(gate, &["conditionType"]);
        out.write(1, &format!("{kind} \t{} \n", status_of(kind)));
    }
    if !conditions.is_empty() {
        out.write(0, "Conditions:\n  Type\tStatus\n");
    }
    for condition in conditions {
        let (kind, status) = (meta::str_at(condition, &["type"]), meta::str_at(condition, &["status"]));
        out.write(1, &format!("{kind} \t{status} \n"));
    }
}
