//! Services and endpoints, secrets, namespaces, nodes, limits and quotas, network policies.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use super::{Fields, always, child, children, resource_list, text, unset, zero};

pub(super) fn service(object: &mut Fields) {
    let spec = always(object, "spec");
    zero(spec, "sessionAffinity", "None");
    match text(spec, "sessionAffinity") {
        "None" => drop(spec.remove("sessionAffinityConfig")),
        "ClientIP" => unset(always(always(spec, "sessionAffinityConfig"), "clientIP"), "timeoutSeconds", 10800),
        _ => {}
    }
    zero(spec, "type", "ClusterIP");
    for port in children(spec, "ports") {
        zero(port, "protocol", "TCP");
        let number = port.get("port").cloned().unwrap_or_default();
        zero(port, "targetPort", number);
    }
    let kind = text(spec, "type").to_string();
    let has_external_ips = spec.get("externalIPs").and_then(Value::as_array).is_some_and(|ips| !ips.is_empty());
    if kind == "LoadBalancer" || kind == "NodePort" || (kind == "ClusterIP" && has_external_ips) {
        zero(spec, "externalTrafficPolicy", "Cluster");
    }
    if matches!(kind.as_str(), "ClusterIP" | "NodePort" | "LoadBalancer") {
        unset(spec, "internalTrafficPolicy", "Cluster");
    }
    if kind == "LoadBalancer" {
        unset(spec, "allocateLoadBalancerNodePorts", true);
    }
    let ingress = child(always(object, "status"), "loadBalancer").into_iter();
    for ingress in ingress.flat_map(|balancer| children(balancer, "ingress")) {
        if kind == "LoadBalancer" && !text(ingress, "ip").is_empty() {
            unset(ingress, "ipMode", "VIP");
        }
    }
    always(always(object, "status"), "loadBalancer");
}

/// Moves `stringData` into `data`: it is never written back.
pub(super) fn secret(object: &mut Fields) {
    zero(object, "type", "Opaque");
    let Some(Value::Object(plain)) = object.remove("stringData") else { return };
    let data = always(object, "data");
    for (key, value) in plain {
        let encoded = BASE64.encode(value.as_str().unwrap_or(""));
        data.insert(key, encoded.into());
    }
    if data.is_empty() {
        object.remove("data");
    }
}

/// The label with the namespace's own name, whatever the client says; a name yet to be generated follows later.
pub(super) fn namespace(object: &mut Fields) {
    let metadata = always(object, "metadata");
    let name = text(metadata, "name").to_string();
    if !name.is_empty() {
        always(metadata, "labels").insert("kubernetes.io/metadata.name".into(), name.into());
    }
    always(object, "spec");
    zero(always(object, "status"), "phase", "Active");
}

const NODE_INFO: [&str; 10] = [
    "architecture",
    "bootID",
    "containerRuntimeVersion",
    "kernelVersion",
    "kubeProxyVersion",
    "kubeletVersion",
    "machineID",
    "operatingSystem",
    "osImage",
    "systemUUID",
];

pub(super) fn node(object: &mut Fields) {
    pod_ranges(always(object, "spec"));
    let status = always(object, "status");
    if let Some(capacity) = status.get("capacity").cloned() {
        unset(status, "allocatable", capacity);
    }
    resource_list(status, "capacity");
    resource_list(status, "allocatable");
    unset(always(always(status, "daemonEndpoints"), "kubeletEndpoint"), "Port", 0);
    let info = always(status, "nodeInfo");
    NODE_INFO.into_iter().for_each(|name| unset(info, name, ""));
}

/// `podCIDR` is the first of `podCIDRs`; whichever was given makes the other.
fn pod_ranges(spec: &mut Fields) {
    let first = spec.get("podCIDRs").and_then(|ranges| ranges.pointer("/0")).and_then(Value::as_str).unwrap_or("");
    match (text(spec, "podCIDR"), first) {
        ("", "") => {}
        ("", first) => {
            let first = first.to_string();
            spec.insert("podCIDR".into(), first.into());
        }
        (given, first) if given == first => {}
        (given, _) => {
            let ranges = json!([given]);
            spec.insert("podCIDRs".into(), ranges);
        }
    }
}

pub(super) fn endpoints(object: &mut Fields) {
    let ports = children(object, "subsets").flat_map(|subset| children(subset, "ports"));
    ports.for_each(|port| zero(port, "protocol", "TCP"));
}

pub(super) fn endpoint_slice(object: &mut Fields) {
    for port in children(object, "ports") {
        unset(port, "name", "");
        unset(port, "protocol", "TCP");
    }
}

pub(super) fn limit_range(object: &mut Fields) {
    for item in children(always(object, "spec"), "limits") {
        if text(item, "type") == "Container" {
            fill_from(item, "default", "max");
            fill_from(item, "defaultRequest", "default");
            fill_from(item, "defaultRequest", "min");
        }
        for name in ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"] {
            resource_list(item, name);
        }
    }
}

/// Copies the entries of one list of resources that another lacks.
fn fill_from(item: &mut Fields, target: &str, source: &str) {
    let Some(Value::Object(source)) = item.get(source).cloned() else { return };
    let target = always(item, target);
    for (name, amount) in source {
        target.entry(name).or_insert(amount);
    }
}

pub(super) fn resource_quota(object: &mut Fields) {
    resource_list(always(object, "spec"), "hard");
    let status = always(object, "status");
    resource_list(status, "hard");
    resource_list(status, "used");
}

pub(super) fn network_policy(object: &mut Fields) {
    let spec = always(object, "spec");
    for direction in ["ingress", "egress"] {
        let ports = children(spec, direction).flat_map(|rule| children(rule, "ports"));
        ports.for_each(|port| unset(port, "protocol", "TCP"));
    }
    let has_egress = spec.get("egress").and_then(Value::as_array).is_some_and(|rules| !rules.is_empty());
    unset(spec, "policyTypes", if has_egress { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) });
}
