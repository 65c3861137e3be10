//! What the server fills in: the defaults of every served kind, and what conversion between Kubernetes' versions does
//! to an object on the way (a Secret's `stringData`, the older name of a service account).
//!
//! Idempotent: a stored object comes out unchanged. Source: `SetDefaults_*` of Kubernetes 1.36.

mod cluster;
mod core;
mod image;
mod pod;
mod volume;
mod workload;

use serde_json::{Map, Value};

use crate::GroupVersionKind;

type Fields = Map<String, Value>;

/// Fills in the defaults of an object of this kind; an object of an unknown kind stays as it is.
pub fn apply(gvk: &GroupVersionKind, object: &mut Value) {
    let Some(object) = object.as_object_mut() else { return };
    match (gvk.group.as_str(), gvk.kind.as_str()) {
        ("", "Pod") => pod::pod(object),
        ("", "PodTemplate") => pod::template(object),
        ("", "ReplicationController") => workload::replication_controller(object),
        ("", "Service") => core::service(object),
        ("", "Secret") => core::secret(object),
        ("", "Namespace") => core::namespace(object),
        ("", "Node") => core::node(object),
        ("", "Endpoints") => core::endpoints(object),
        ("", "LimitRange") => core::limit_range(object),
        ("", "ResourceQuota") => core::resource_quota(object),
        ("", "PersistentVolume") => volume::persistent_volume(object),
        ("", "PersistentVolumeClaim") => volume::persistent_volume_claim(object),
        ("apps", "DaemonSet") => workload::daemon_set(object),
        ("apps", "Deployment") => workload::deployment(object),
        ("apps", "ReplicaSet") => workload::replica_set(object),
        ("apps", "StatefulSet") => workload::stateful_set(object),
        ("batch", "Job") => workload::job(object),
        ("batch", "CronJob") => workload::cron_job(object),
        ("discovery.k8s.io", "EndpointSlice") => core::endpoint_slice(object),
        ("networking.k8s.io", "NetworkPolicy") => core::network_policy(object),
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => cluster::role_binding(object),
        ("scheduling.k8s.io", "PriorityClass") => cluster::priority_class(object),
        ("storage.k8s.io", "CSIDriver") => cluster::csi_driver(object),
        ("storage.k8s.io", "StorageClass") => cluster::storage_class(object),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => cluster::custom_resource_definition(object),
        ("apiregistration.k8s.io", "APIService") => cluster::api_service(object),
        ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration") => cluster::webhooks(object, false),
        ("admissionregistration.k8s.io", "MutatingWebhookConfiguration") => cluster::webhooks(object, true),
        _ => {}
    }
}

/// Sets a field that is not there. For what is a pointer in Go: a zero that was given stays.
fn unset(fields: &mut Fields, name: &str, default: impl Into<Value>) {
    if fields.get(name).is_none_or(Value::is_null) {
        fields.insert(name.to_string(), default.into());
    }
}

/// Sets a field that is not there, empty or zero. For what is a plain value in Go.
fn zero(fields: &mut Fields, name: &str, default: impl Into<Value>) {
    if fields.get(name).is_none_or(|value| value.is_null() || value == "" || value == 0) {
        fields.insert(name.to_string(), default.into());
    }
}

/// The text of a field; empty where there is none.
fn text<'a>(fields: &'a Fields, name: &str) -> &'a str {
    fields.get(name).and_then(Value::as_str).unwrap_or("")
}

/// The object in a field, if there is one.
fn child<'a>(fields: &'a mut Fields, name: &str) -> Option<&'a mut Fields> {
    fields.get_mut(name).and_then(Value::as_object_mut)
}

/// The object in a field, made where it is missing: for what Go always writes.
fn always<'a>(fields: &'a mut Fields, name: &str) -> &'a mut Fields {
    let value = fields.entry(name).or_insert(Value::Null);
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    value.as_object_mut().expect("made an object just above")
}

/// The objects of the list in a field.
fn children<'a>(fields: &'a mut Fields, name: &str) -> impl Iterator<Item = &'a mut Fields> {
    let list = fields.get_mut(name).and_then(Value::as_array_mut);
    list.into_iter().flatten().filter_map(Value::as_object_mut)
}

/// Brings the amounts of a list of resources into canonical form, rounded up to thousandths.
fn resource_list(fields: &mut Fields, name: &str) {
    for amount in child(fields, name).into_iter().flat_map(|amounts| amounts.values_mut()) {
        if let Some(mut quantity) = amount.as_str().and_then(|text| crate::quantity::Quantity::parse(text).ok()) {
            quantity.round_up_to_milli();
            *amount = quantity.to_string().into();
        }
    }
}

/// [`resource_list`] for `limits` and `requests` of a field that Go always writes.
fn resources(fields: &mut Fields, name: &str) {
    let resources = always(fields, name);
    resource_list(resources, "limits");
    resource_list(resources, "requests");
}

#[cfg(test)]
mod tests;
