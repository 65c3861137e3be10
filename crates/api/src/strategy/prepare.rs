//! What a write may not set: taken away from new objects, taken back from the old one in updates.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{is, is_custom, qos};
use crate::meta;
use crate::resources::Resource;

pub(super) fn create(resource: &Resource, object: &mut Value) {
    if let Some(status) = initial_status(resource, object) {
        meta::map_mut(object, &[]).insert("status".into(), status);
    } else if is_custom(resource) && resource.subresource("status").is_some() {
        meta::map_mut(object, &[]).remove("status");
    }
    match (resource.group.as_str(), resource.kind.as_str()) {
        ("", "Namespace") => add_finalizer(object),
        ("", "Service") => start_service(object),
        ("", "ServiceAccount") => keep_names_of_secrets(object),
        ("batch", "Job") => label_job(object),
        _ => {}
    }
}

/// The status of a new object: what Go writes for an empty one. `None` where the client's stays or there is none.
fn initial_status(resource: &Resource, object: &Value) -> Option<Value> {
    Some(match (resource.group.as_str(), resource.kind.as_str()) {
        ("", "Pod") => pod_status(object),
        ("", "Namespace") => json!({"phase": "Active"}),
        ("", "Service") | ("networking.k8s.io", "Ingress") => json!({"loadBalancer": {}}),
        ("", "PersistentVolume" | "PersistentVolumeClaim") => json!({"phase": "Pending"}),
        ("", "ReplicationController") | ("apps", "ReplicaSet") => json!({"replicas": 0}),
        ("apps", "DaemonSet") => json!({
            "currentNumberScheduled": 0, "numberMisscheduled": 0, "desiredNumberScheduled": 0, "numberReady": 0,
        }),
        ("apps", "StatefulSet") => json!({"replicas": 0, "availableReplicas": 0}),
        ("policy", "PodDisruptionBudget") => json!({
            "disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0,
        }),
        ("storage.k8s.io", "VolumeAttachment") => json!({"attached": false}),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => definition_status(object),
        ("", "ResourceQuota")
        | ("apps", "Deployment")
        | ("batch" | "apiregistration.k8s.io" | "flowcontrol.apiserver.k8s.io" | "certificates.k8s.io", _) => json!({}),
        _ => return None,
    })
}

fn pod_status(pod: &Value) -> Value {
    let mut status = json!({"phase": "Pending", "qosClass": qos::qos_class(pod)});
    if !meta::list_at(pod, &["spec", "schedulingGates"]).is_empty() {
        status["conditions"] = json!([{
            "type": "PodScheduled", "status": "False", "reason": "SchedulingGated", "lastProbeTime": null,
            "lastTransitionTime": null, "message": "Scheduling is blocked due to non-empty scheduling gates",
        }]);
    }
    status
}

/// The version that objects are stored in counts as stored from the start; the rest is the controller's to say.
fn definition_status(definition: &Value) -> Value {
    let versions = meta::list_at(definition, &["spec", "versions"]).iter();
    let stored = versions.filter(|version| version.get("storage") == Some(&Value::Bool(true)));
    let stored: Vec<_> = stored.map(|version| meta::str_at(version, &["name"])).collect();
    json!({"conditions": null, "acceptedNames": {"plural": "", "kind": ""}, "storedVersions": stored})
}

fn add_finalizer(namespace: &mut Value) {
    let spec = meta::map_mut(namespace, &["spec"]);
    let finalizers = spec.entry("finalizers").or_insert_with(|| json!([]));
    if let Some(finalizers) = finalizers.as_array_mut()
        && !finalizers.iter().any(|finalizer| finalizer == "kubernetes")
    {
        finalizers.push("kubernetes".into());
    }
}

/// Everything about the address but the address itself, for services that have one. IPv4 only.
fn start_service(service: &mut Value) {
    let spec = meta::map_mut(service, &["spec"]);
    if spec.get("type").and_then(Value::as_str) == Some("ExternalName") {
        return;
    }
    let given = spec.get("clusterIP").cloned().filter(|ip| ip.as_str().is_some_and(|ip| !ip.is_empty()));
    if let Some(ip) = given {
        spec.entry("clusterIPs").or_insert_with(|| json!([ip]));
    }
    spec.entry("ipFamilies").or_insert_with(|| json!(["IPv4"]));
    spec.entry("ipFamilyPolicy").or_insert_with(|| json!("SingleStack"));
}

fn keep_names_of_secrets(account: &mut Value) {
    for secret in account.get_mut("secrets").and_then(Value::as_array_mut).into_iter().flatten() {
        *secret = match secret.get("name") {
            Some(name) => json!({"name": name}),
            None => json!({}),
        };
    }
}

/// A job finds its pods by labels with its own uid and name, unless the client chose the selector.
fn label_job(job: &mut Value) {
    if meta::value_at(job, &["spec", "manualSelector"]) == Some(&Value::Bool(true)) {
        return;
    }
    let (uid, name) = (meta::uid(job).to_string(), meta::name(job).to_string());
    let labels = meta::map_mut(job, &["spec", "template", "metadata", "labels"]);
    for prefix in ["", "batch.kubernetes.io/"] {
        labels.insert(format!("{prefix}controller-uid"), uid.as_str().into());
        labels.insert(format!("{prefix}job-name"), name.as_str().into());
    }
    meta::map_mut(job, &["spec", "selector", "matchLabels"])
        .insert("batch.kubernetes.io/controller-uid".into(), uid.into());
}

pub(super) fn update(resource: &Resource, object: &mut Value, old: &Value) {
    if resource.subresource("status").is_some() {
        take_back(object, old, "status");
    }
    match (resource.group.as_str(), resource.kind.as_str()) {
        ("", "Namespace") => {
            let finalizers = meta::value_at(old, &["spec", "finalizers"]).cloned();
            set(meta::map_mut(object, &["spec"]), "finalizers", finalizers);
        }
        ("", "Service") => keep_addresses(object, old),
        ("", "ServiceAccount") => keep_names_of_secrets(object),
        ("certificates.k8s.io", "CertificateSigningRequest") => take_back(object, old, "spec"),
        _ => {}
    }
}

/// Of a request for a certificate, only what has been decided may change.
pub(super) fn update_approval(object: &mut Value, old: &Value) {
    let conditions = object.pointer("/status/conditions").cloned();
    *object = old.clone();
    set(meta::map_mut(object, &["status"]), "conditions", conditions);
}

/// Whether a condition says what has been decided about a request, which is not for its signer to say.
fn is_decision(condition: &Value) -> bool {
    matches!(meta::str_at(condition, &["type"]), "Approved" | "Denied")
}

/// What an update keeps whatever the client sent: creation and deletion times, and the uid where it named none.
pub(super) fn keep_system_fields(object: &mut Value, old: &Value) {
    let metadata = meta::map_mut(object, &["metadata"]);
    let before = |field: &str| meta::value_at(old, &["metadata", field]).cloned();
    for field in ["creationTimestamp", "deletionTimestamp"] {
        if let Some(time) = before(field) {
            metadata.insert(field.into(), time);
        }
    }
    for field in ["uid", "deletionGracePeriodSeconds"] {
        if let (true, Some(value)) =
            (metadata.get(field).is_none_or(|value| value.is_null() || value == ""), before(field))
        {
            metadata.insert(field.into(), value);
        }
    }
}

/// A client that does not name the address of a service, or its node ports, means the ones it has.
fn keep_addresses(service: &mut Value, old: &Value) {
    let has_address = |service: &Value| meta::str_at(service, &["spec", "type"]) != "ExternalName";
    if !has_address(service) || !has_address(old) {
        return;
    }
    let spec = meta::map_mut(service, &["spec"]);
    for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "healthCheckNodePort"] {
        let missing = spec.get(field).is_none_or(|value| value.is_null() || value == "" || value == &json!([]));
        if missing && let Some(value) = meta::value_at(old, &["spec", field]) {
            spec.insert(field.into(), value.clone());
        }
    }
    let identity = |port: &Value| (port["port"].as_i64(), meta::str_at(port, &["protocol"]).to_string());
    let old_ports = meta::list_at(old, &["spec", "ports"]).iter().rev();
    let old_ports: BTreeMap<_, &Value> = old_ports.map(|port| (identity(port), port)).collect();
    for port in spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
        let same = old_ports.get(&identity(port));
        if let (None, Some(number)) = (port.get("nodePort"), same.and_then(|other| other.get("nodePort"))) {
            port["nodePort"] = number.clone();
        }
    }
}

/// Only the status may change; metadata as well, for kinds where Kubernetes lets it.
pub(super) fn update_status(resource: &Resource, object: &mut Value, old: &Value) {
    let written = object.take();
    *object = old.clone();
    set(meta::map_mut(object, &[]), "status", written.get("status").cloned());
    let mut metadata = written.get("metadata").cloned().unwrap_or_default();
    match (resource.group.as_str(), resource.kind.as_str()) {
        ("", "Pod") => {
            for field in ["deletionTimestamp", "ownerReferences"] {
                take_back(&mut metadata, &old["metadata"], field);
            }
            if meta::str_at(object, &["status", "qosClass"]).is_empty() {
                let qos = old.pointer("/status/qosClass").cloned();
                set(meta::map_mut(object, &["status"]), "qosClass", qos);
            }
        }
        ("certificates.k8s.io", "CertificateSigningRequest") => {
            let decided = meta::list_at(old, &["status", "conditions"]).iter().filter(|it| is_decision(it));
            let written = meta::list_at(object, &["status", "conditions"]).iter().filter(|it| !is_decision(it));
            let conditions: Vec<Value> = decided.chain(written).cloned().collect();
            let conditions = Some(Value::from(conditions)).filter(|it| it.as_array().is_some_and(|it| !it.is_empty()));
            set(meta::map_mut(object, &["status"]), "conditions", conditions);
        }
        ("apps", "Deployment") => take_back(&mut metadata, &old["metadata"], "labels"),
        _ if resets_metadata(resource) => {
            for field in ["annotations", "deletionTimestamp", "finalizers", "labels", "ownerReferences"] {
                take_back(&mut metadata, &old["metadata"], field);
            }
        }
        _ => {}
    }
    object["metadata"] = metadata;
}

/// Kinds whose status writes leave all of metadata alone.
fn resets_metadata(resource: &Resource) -> bool {
    is_custom(resource)
        || is(resource, "networking.k8s.io", "ServiceCIDR")
        || matches!(
            resource.group.as_str(),
            "apiextensions.k8s.io"
                | "apiregistration.k8s.io"
                | "admissionregistration.k8s.io"
                | "flowcontrol.apiserver.k8s.io"
                | "resource.k8s.io"
        )
}

/// `namespaces/finalize`: the finalizers of the spec.
pub(super) fn update_finalizers(object: &mut Value, old: &Value) {
    take_back(object, old, "status");
}

/// `pods/ephemeralcontainers`: nothing else changes.
pub(super) fn update_ephemeral_containers(object: &mut Value, old: &Value) {
    let written = object.take();
    *object = old.clone();
    let containers = meta::value_at(&written, &["spec", "ephemeralContainers"]).cloned();
    set(meta::map_mut(object, &["spec"]), "ephemeralContainers", containers);
    for field in ["name", "namespace", "resourceVersion", "uid", "managedFields"] {
        let value = meta::value_at(&written, &["metadata", field]).cloned();
        set(meta::map_mut(object, &["metadata"]), field, value);
    }
}

/// Makes a field of `object` what it is in `old`.
fn take_back(object: &mut Value, old: &Value, field: &str) {
    set(meta::map_mut(object, &[]), field, old.get(field).cloned());
}

fn set(fields: &mut Map<String, Value>, field: &str, value: Option<Value>) {
    match value {
        Some(value) => drop(fields.insert(field.to_string(), value)),
        None => drop(fields.remove(field)),
    }
}
