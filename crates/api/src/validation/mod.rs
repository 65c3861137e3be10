//! Which objects are legal, and the words in which Kubernetes says why one is not.

mod apps;
mod cluster;
mod core;
pub mod field;
pub mod format;
pub mod ip;
pub mod meta;
pub mod names;
mod pod;
mod storage;
mod warnings;

use std::collections::BTreeSet;

use serde_json::Value;

use field::{Causes, Path, invalid as invalid_field};

use crate::resources::Resource;
use crate::status::{Cause, Details, Reason, Status};
use crate::strategy;

/// What the operator of a server allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Containers may be privileged.
    pub allow_privileged: bool,
}

impl Default for Policy {
    /// What clusters allow: agents of nodes could not do their work otherwise.
    fn default() -> Self {
        Self { allow_privileged: true }
    }
}

/// Everything wrong with a new object, in the order Kubernetes lists it. Empty: legal.
pub fn create(resource: &Resource, object: &Value, policy: Policy) -> Vec<Cause> {
    let causes = kind_create(resource, object, policy);
    if !causes.is_empty() {
        return causes;
    }
    meta::accessor(object, resource.namespaced, names::path_segment, &Path::new("metadata"))
}

/// Everything wrong with an update (`subresource`: none for the main resource).
pub fn update(
    resource: &Resource,
    subresource: Option<&str>,
    object: &Value,
    old: &Value,
    policy: Policy,
) -> Vec<Cause> {
    let metadata = Path::new("metadata");
    if crate::meta::resource_version(object).is_empty() && !strategy::allows_unconditional_update(resource) {
        return vec![invalid_field(&metadata.child("resourceVersion"), 0, "must be specified for an update")];
    }
    let mut causes = meta::accessor(object, resource.namespaced, names::path_segment, &metadata);
    causes.extend(meta::update(object, old));
    causes.extend(kind_update(resource, subresource, object, old, policy));
    causes
}

/// `Warning` headers that go with an accepted object, such as those for deprecated fields.
pub fn warnings(resource: &Resource, object: &Value, old: Option<&Value>) -> Vec<String> {
    warnings::of(resource, object, old)
}

/// The 422 answer that lists the causes: `DaemonSet.apps "x" is invalid: ...`.
pub fn invalid(resource: &Resource, name: &str, causes: Vec<Cause>) -> Status {
    invalid_kind(&resource.group, &resource.kind, name, causes)
}

/// [`invalid`] for what has no resource; group, kind and name may be empty, as they are for patches.
///
/// The message says everything once, the causes as often as it was found.
pub fn invalid_kind(group: &str, kind: &str, name: &str, causes: Vec<Cause>) -> Status {
    let mut met = BTreeSet::new();
    let texts = causes.iter().map(|cause| format!("{}: {}", cause.field, cause.message));
    let said: Vec<String> = texts.filter(|text| met.insert(text.clone())).collect();
    let what = format!("{} {} is invalid", crate::status::qualified(kind, group), field::quote(name));
    let message = match said.as_slice() {
        [] => what,
        [one] => format!("{what}: {one}"),
        several => format!("{what}: [{}]", several.join(", ")),
    };
    let details = Details { name: name.into(), group: group.into(), kind: kind.into(), causes, ..Details::default() };
    Status::new(Reason::Invalid, message).details(details)
}

/// The rules of a kind for new objects.
fn kind_create(resource: &Resource, object: &Value, policy: Policy) -> Causes {
    let namespaced = resource.namespaced;
    let metadata = || meta::object_meta(object, namespaced, name_rule(resource), &Path::new("metadata"));
    let spec = || object.get("spec").unwrap_or(&Value::Null);
    let with_metadata = |causes: Causes| metadata().into_iter().chain(causes).collect();
    match (resource.group.as_str(), resource.kind.as_str()) {
        ("", "Pod") => pod::pod_create(object, policy),
        ("", "PodTemplate") => with_metadata(pod::pod_template(
            object.get("template").unwrap_or(&Value::Null),
            policy,
            &Path::new("template"),
        )),
        ("", "Namespace") => core::namespace(object),
        ("", "Node") => core::node(object),
        ("", "ConfigMap") => core::config_map(object),
        ("", "Secret") => core::secret(object),
        ("", "Service") => core::service(object),
        ("", "Event") => core::event(object, false),
        ("events.k8s.io", "Event") => core::event(object, true),
        ("", "PersistentVolumeClaim") => with_metadata(storage::claim_spec(spec(), &Path::new("spec"))),
        ("", "PersistentVolume") => with_metadata(storage::volume_spec(spec(), &Path::new("spec"))),
        ("apps", "DaemonSet") => apps::daemon_set(object, policy),
        ("apps", "ControllerRevision") => apps::controller_revision(object),
        ("apps", "Deployment") => apps::deployment(object, policy),
        ("apps", "ReplicaSet") => apps::replica_set(object, policy),
        ("apps", "StatefulSet") => apps::stateful_set(object, policy),
        ("batch", "Job") => apps::job(object, policy),
        ("batch", "CronJob") => apps::cron_job(object, policy),
        ("storage.k8s.io", "StorageClass") => with_metadata(storage::storage_class(object)),
        ("rbac.authorization.k8s.io", "Role" | "ClusterRole") => cluster::role(object, namespaced),
        ("rbac.authorization.k8s.io", _) => cluster::role_binding(object, namespaced),
        ("scheduling.k8s.io", "PriorityClass") => cluster::priority_class(object),
        ("coordination.k8s.io", "Lease") => cluster::lease(object),
        ("policy", "PodDisruptionBudget") => cluster::pod_disruption_budget(object),
        ("apiextensions.k8s.io", _) => cluster::custom_resource_definition(object),
        ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration" | "MutatingWebhookConfiguration") => {
            cluster::webhooks(object)
        }
        _ => metadata(),
    }
}

/// The rules of a kind for updates, after the general ones.
fn kind_update(resource: &Resource, subresource: Option<&str>, object: &Value, old: &Value, policy: Policy) -> Causes {
    let namespaced = resource.namespaced;
    let changed_by = |causes: Causes| meta::update(object, old).into_iter().chain(causes).collect();
    match (resource.group.as_str(), resource.kind.as_str(), subresource) {
        ("", "Pod", None) => pod::pod_update(object, old, policy),
        ("", "Pod", Some("status")) => pod::status_update(object, old),
        ("", "Pod", Some("ephemeralcontainers")) => pod::ephemeral_containers_update(object, old, policy),
        ("", "Namespace", subresource) => core::namespace_update(subresource, object, old),
        ("", "Node", _) => core::node_update(object, old),
        ("apps", "DaemonSet", Some("status")) => apps::daemon_set_status_update(object, old),
        ("policy", "PodDisruptionBudget", Some("status")) => changed_by(cluster::pod_disruption_budget_status(object)),
        (_, _, Some(_)) => meta::update(object, old),
        ("", "ConfigMap", None) => core::config_map_update(object, old),
        ("", "Secret", None) => core::secret_update(object, old),
        ("", "Service", None) => core::service_update(object, old),
        ("apps", "DaemonSet", None) => apps::daemon_set_update(object, old, policy),
        ("apps", "ControllerRevision", None) => apps::controller_revision_update(object, old),
        ("apps", "Deployment", None) => apps::workload_update(object, old, policy, apps::deployment),
        ("apps", "ReplicaSet", None) => apps::workload_update(object, old, policy, apps::replica_set),
        ("apps", "StatefulSet", None) => apps::workload_update(object, old, policy, apps::stateful_set),
        ("storage.k8s.io", "StorageClass", None) => changed_by(storage::storage_class_update(object, old)),
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding", None) => {
            cluster::role_binding_update(object, old, namespaced)
        }
        ("scheduling.k8s.io", "PriorityClass", None) => cluster::priority_class_update(object, old),
        ("apiextensions.k8s.io", _, None) => changed_by(crate::crd::validate_update(object, old)),
        // An event may be about anything once it is there.
        ("" | "events.k8s.io", "Event", None) => meta::update(object, old),
        _ => changed_by(kind_create(resource, object, policy)),
    }
}

/// What the name of an object of this kind must look like.
fn name_rule(resource: &Resource) -> meta::NameRule {
    match (resource.group.as_str(), resource.kind.as_str()) {
        ("", "Namespace") => names::dns_label,
        ("", "Service") => names::dns_1035_label,
        ("rbac.authorization.k8s.io", _) => names::path_segment,
        ("apiregistration.k8s.io" | "certificates.k8s.io", _) => names::path_segment,
        ("storage.k8s.io", "CSIDriver") => storage::driver_name,
        _ => names::dns_subdomain,
    }
}

#[cfg(test)]
mod tests;
