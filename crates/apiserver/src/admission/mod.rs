//! Admission: what the server adds to objects, and what it refuses, beyond the rules of their own kind.
//!
//! Each plugin is a small function over the object and the state of the store. They run in Kubernetes' order, can be
//! switched off by name, and see objects in the served form, before defaults of the strategy.

mod certificates;
mod namespace_lifecycle;
mod node_restriction;
mod node_taint;
mod priority;
mod runtime_class;
mod service_account;
mod tolerations;

use backstay_api::{Status, meta};
use serde_json::Value;

use crate::call::Call;

/// What is about to happen to the object.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    Create,
    Update { old: &'a Value },
    Delete { name: &'a str },
}

/// A write on its way through admission.
pub struct Admission<'a> {
    pub call: &'a Call,
    pub event: Event<'a>,
    /// The object as it would be written; null for a delete.
    pub object: &'a mut Value,
}

impl<'a> Admission<'a> {
    pub fn new(call: &'a Call, event: Event<'a>, object: &'a mut Value) -> Self {
        Self { call, event, object }
    }

    /// Whether this is a create of the main resource of a kind.
    fn creates(&self, group: &str, plural: &str) -> bool {
        matches!(self.event, Event::Create) && self.is(group, plural)
    }

    fn is(&self, group: &str, plural: &str) -> bool {
        self.call.served.is(group, plural) && self.call.subresource().is_none()
    }
}

/// Refuses a pod, which may have the beginning of a name only.
fn forbidden(pod: &Value, why: &str) -> Status {
    let name = match meta::name(pod) {
        "" => meta::str_at(pod, &["metadata", "generateName"]),
        name => name,
    };
    Status::forbidden("", "pods", name, why)
}

type Plugin = fn(&mut Admission<'_>) -> Result<(), Status>;

/// All plugins, in the order in which they run. Source: `pkg/kubeapiserver/options/plugins.go`.
const PLUGINS: [(&str, Plugin); 10] = [
    ("NamespaceLifecycle", namespace_lifecycle::admit),
    ("ServiceAccount", service_account::admit),
    ("NodeRestriction", node_restriction::admit),
    ("TaintNodesByCondition", node_taint::admit),
    ("Priority", priority::admit),
    ("DefaultTolerationSeconds", tolerations::admit),
    ("RuntimeClass", runtime_class::admit),
    ("CertificateApproval", certificates::approval),
    ("CertificateSigning", certificates::signing),
    ("CertificateSubjectRestriction", certificates::subject),
];

/// Plugins of Kubernetes that this server does without; naming them to switch them off is no mistake.
const ABSENT: [&str; 27] = [
    "AlwaysAdmit",
    "AlwaysDeny",
    "AlwaysPullImages",
    "ClusterTrustBundleAttest",
    "DefaultIngressClass",
    "DefaultStorageClass",
    "DenyServiceExternalIPs",
    "EventRateLimit",
    "ExtendedResourceToleration",
    "ImagePolicyWebhook",
    "LimitPodHardAntiAffinityTopology",
    "LimitRanger",
    "MutatingAdmissionPolicy",
    "MutatingAdmissionWebhook",
    "NamespaceAutoProvision",
    "NamespaceExists",
    "NodeDeclaredFeatureValidator",
    "OwnerReferencesPermissionEnforcement",
    "PersistentVolumeClaimResize",
    "PodNodeSelector",
    "PodSecurity",
    "PodTolerationRestriction",
    "PodTopologyLabels",
    "ResourceQuota",
    "StorageObjectInUseProtection",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionWebhook",
];

/// The plugins that are switched on.
pub struct Plugins(Vec<Plugin>);

impl Plugins {
    /// All but the named ones.
    ///
    /// # Errors
    /// A name that is no plugin's.
    pub fn without(disabled: &[String]) -> Result<Self, UnknownPlugin> {
        let is_known = |name: &str| PLUGINS.iter().any(|(known, _)| *known == name) || ABSENT.contains(&name);
        if let Some(unknown) = disabled.iter().find(|name| !is_known(name)) {
            return Err(UnknownPlugin { name: unknown.clone() });
        }
        let enabled = PLUGINS.iter().filter(|(name, _)| !disabled.iter().any(|disabled| disabled == name));
        Ok(Self(enabled.map(|(_, plugin)| *plugin).collect()))
    }

    pub fn admit(&self, admission: &mut Admission<'_>) -> Result<(), Status> {
        certificates::sign_for_sender(admission);
        self.0.iter().try_for_each(|plugin| plugin(admission))
    }
}

#[derive(Debug, thiserror::Error)]
#[error("there is no admission plugin {name:?}")]
pub struct UnknownPlugin {
    pub name: String,
}
