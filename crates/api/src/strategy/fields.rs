//! Which fields of each kind a field selector may name, and their values.

use serde_json::Value;

use crate::meta;
use crate::resources::Resource;

const NAMESPACED: [&str; 2] = ["metadata.name", "metadata.namespace"];

const EVENT_OBJECT: [&str; 7] = ["kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath"];

/// The selectable fields of a kind besides `metadata.name` and `metadata.namespace`.
fn own_labels(resource: &Resource) -> &'static [&'static str] {
    match (resource.group.as_str(), resource.kind.as_str()) {
        ("", "Pod") => &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.podIPs",
            "status.nominatedNodeName",
        ],
        ("", "Node") => &["spec.unschedulable"],
        ("", "Namespace") => &["status.phase"],
        ("", "Secret") => &["type"],
        ("", "Service") => &["spec.clusterIP", "spec.type"],
        ("", "ReplicationController") | ("apps", "ReplicaSet") => &["status.replicas"],
        ("batch", "Job") => &["status.successful"],
        ("certificates.k8s.io", "CertificateSigningRequest") => &["spec.signerName"],
        ("", "Event") => &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ],
        ("events.k8s.io", "Event") => &[
            "regarding.kind",
            "regarding.namespace",
            "regarding.name",
            "regarding.uid",
            "regarding.apiVersion",
            "regarding.resourceVersion",
            "regarding.fieldPath",
            "reason",
            "reportingController",
            "type",
        ],
        _ => &[],
    }
}

/// Values of the field selectors of this kind besides `metadata.name` and `metadata.namespace`, in a fixed order; a
/// field that is not set is the empty string. Events have theirs under the names of both their groups.
pub fn selectable_fields(resource: &Resource, object: &Value) -> Vec<(String, String)> {
    if resource.kind == "Event" && matches!(resource.group.as_str(), "" | "events.k8s.io") {
        return event_fields(object);
    }
    own_labels(resource).iter().map(|label| (label.to_string(), value_of(resource, object, label))).collect()
}

/// The labels of the field selectors this kind knows, `metadata.name` and `metadata.namespace` included.
pub fn known_field_labels(resource: &Resource) -> Vec<&'static str> {
    let shared = match (resource.group.as_str(), resource.kind.as_str()) {
        ("", "Node" | "Namespace") | ("certificates.k8s.io", "CertificateSigningRequest") => &NAMESPACED[..1],
        _ => &NAMESPACED[..],
    };
    shared.iter().chain(own_labels(resource)).copied().collect()
}

/// The answer to a field selector that names a field this kind does not know.
pub fn unknown_field(resource: &Resource, label: &str) -> String {
    if own_labels(resource).is_empty() {
        format!("{label:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"")
    } else {
        format!("field label not supported: {label}")
    }
}

fn value_of(resource: &Resource, object: &Value, label: &str) -> String {
    let path: Vec<&str> = label.split('.').collect();
    match (resource.kind.as_str(), label) {
        ("Job", "status.successful") => number(object, &["status", "succeeded"]),
        (_, "status.replicas") => number(object, &path),
        (_, "spec.unschedulable" | "spec.hostNetwork") => {
            (meta::value_at(object, &path) == Some(&Value::Bool(true))).to_string()
        }
        (_, "status.podIPs") => {
            let ips = meta::list_at(object, &path).iter().map(|ip| meta::str_at(ip, &["ip"]));
            ips.collect::<Vec<_>>().join(",")
        }
        _ => meta::str_at(object, &path).to_string(),
    }
}

fn number(object: &Value, path: &[&str]) -> String {
    meta::int_at(object, path).unwrap_or(0).to_string()
}

/// An event has one object it is about, and one reporter, under the names of either group.
fn event_fields(event: &Value) -> Vec<(String, String)> {
    let either = |left: &[&str], right: &[&str]| match meta::str_at(event, left) {
        "" => meta::str_at(event, right).to_string(),
        text => text.to_string(),
    };
    let mut fields = Vec::new();
    for name in EVENT_OBJECT {
        let value = either(&["involvedObject", name], &["regarding", name]);
        fields.push((format!("involvedObject.{name}"), value.clone()));
        fields.push((format!("regarding.{name}"), value));
    }
    let controller = either(&["reportingComponent"], &["reportingController"]);
    let source = either(&["source", "component"], &["deprecatedSource", "component"]);
    let source = if source.is_empty() { controller.clone() } else { source };
    fields.extend([
        ("reason".to_string(), meta::str_at(event, &["reason"]).to_string()),
        ("reportingComponent".to_string(), controller.clone()),
        ("reportingController".to_string(), controller),
        ("source".to_string(), source),
        ("type".to_string(), meta::str_at(event, &["type"]).to_string()),
    ]);
    fields
}
