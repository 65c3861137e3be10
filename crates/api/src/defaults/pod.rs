//! Pods and pod templates. What is filled in for pods only must never appear in a template: it would change the data
//! of every ControllerRevision.

use serde_json::{Value, json};

use super::{Fields, always, child, children, image, resource_list, resources, text, unset, volume, zero};
use crate::pod::CONTAINERS;

pub(super) fn pod(pod: &mut Fields) {
    let spec = always(pod, "spec");
    for list in ["containers", "initContainers"] {
        children(spec, list).for_each(requests_from_limits);
    }
    unset(spec, "enableServiceLinks", true);
    if spec.get("hostNetwork") == Some(&Value::Bool(true)) {
        for list in ["containers", "initContainers"] {
            children(spec, list).flat_map(|container| children(container, "ports")).for_each(|port| {
                let container_port = port.get("containerPort").cloned().unwrap_or_default();
                zero(port, "hostPort", container_port);
            });
        }
    }
    pod_spec(spec);
    if let Some(status) = child(pod, "status") {
        ips(status, "podIP", "podIPs");
    }
}

/// The object whose field `template` is a pod template.
pub(super) fn template(owner: &mut Fields) {
    let template = always(owner, "template");
    always(template, "metadata");
    pod_spec(always(template, "spec"));
}

fn pod_spec(spec: &mut Fields) {
    zero(spec, "dnsPolicy", "ClusterFirst");
    zero(spec, "restartPolicy", "Always");
    unset(spec, "securityContext", json!({}));
    unset(spec, "terminationGracePeriodSeconds", 30);
    zero(spec, "schedulerName", "default-scheduler");
    service_account(spec);
    children(spec, "volumes").for_each(volume::volume);
    for list in CONTAINERS {
        children(spec, list).for_each(container);
    }
    resource_list(spec, "overhead");
    if spec.contains_key("resources") {
        resources(spec, "resources");
    }
}

/// `serviceAccount` is the older name of `serviceAccountName`; both are always written, and the newer one wins.
fn service_account(spec: &mut Fields) {
    let newer = text(spec, "serviceAccountName");
    let name = if newer.is_empty() { text(spec, "serviceAccount") } else { newer }.to_string();
    for field in ["serviceAccountName", "serviceAccount"] {
        match name.as_str() {
            "" => spec.remove(field),
            name => spec.insert(field.into(), name.into()),
        };
    }
}

fn container(container: &mut Fields) {
    let policy = image::pull_policy(text(container, "image"));
    zero(container, "imagePullPolicy", policy);
    zero(container, "terminationMessagePath", "/dev/termination-log");
    zero(container, "terminationMessagePolicy", "File");
    resources(container, "resources");
    children(container, "ports").for_each(|port| zero(port, "protocol", "TCP"));
    children(container, "env").filter_map(|variable| child(variable, "valueFrom")).for_each(field_and_resource_refs);
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        child(container, name).into_iter().for_each(probe);
    }
    if let Some(lifecycle) = child(container, "lifecycle") {
        for name in ["postStart", "preStop"] {
            child(lifecycle, name).into_iter().for_each(http_get);
        }
    }
}

fn probe(probe: &mut Fields) {
    zero(probe, "timeoutSeconds", 1);
    zero(probe, "periodSeconds", 10);
    zero(probe, "successThreshold", 1);
    zero(probe, "failureThreshold", 3);
    http_get(probe);
    if let Some(grpc) = child(probe, "grpc") {
        unset(grpc, "service", "");
    }
}

fn http_get(handler: &mut Fields) {
    if let Some(get) = child(handler, "httpGet") {
        zero(get, "path", "/");
        zero(get, "scheme", "HTTP");
    }
}

/// `fieldRef` and `resourceFieldRef`, of environment variables and of downward API files.
pub(super) fn field_and_resource_refs(source: &mut Fields) {
    if let Some(field) = child(source, "fieldRef") {
        zero(field, "apiVersion", "v1");
    }
    if let Some(resource) = child(source, "resourceFieldRef") {
        zero(resource, "divisor", "0");
    }
}

fn requests_from_limits(container: &mut Fields) {
    let Some(resources) = child(container, "resources") else { return };
    let Some(limits) = resources.get("limits").and_then(Value::as_object).filter(|limits| !limits.is_empty()) else {
        return;
    };
    let limits = limits.clone();
    let requests = always(resources, "requests");
    for (name, amount) in limits {
        requests.entry(name).or_insert(amount);
    }
}

/// `podIP` is the first of `podIPs`; whichever was given makes the other.
fn ips(status: &mut Fields, one: &str, all: &str) {
    let first = status.get(all).and_then(|ips| ips.pointer("/0/ip")).and_then(Value::as_str).unwrap_or("");
    let given = text(status, one);
    match (given.is_empty(), first.is_empty()) {
        (true, true) => {}
        (true, false) => {
            let first = first.to_string();
            status.insert(one.into(), first.into());
        }
        (false, _) if given == first => {}
        (false, _) => {
            let ips = json!([{"ip": given}]);
            status.insert(all.into(), ips);
        }
    }
}
