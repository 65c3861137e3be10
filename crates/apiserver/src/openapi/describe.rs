//! The descriptions of types and fields, from the schemas of `k8s-openapi`.

use std::collections::BTreeMap;

use k8s_openapi::api;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions;
use k8s_openapi::apimachinery::pkg::apis::meta;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::Value;

/// By full type name.
#[derive(Debug, Default)]
pub struct Descriptions(BTreeMap<String, Value>);

impl Descriptions {
    /// Descriptions of all types that kinds of this group and version use.
    pub fn of(group: &str, version: &str) -> Self {
        let mut generator = SchemaGenerator::default();
        add::<meta::v1::DeleteOptions>(&mut generator);
        add::<meta::v1::Status>(&mut generator);
        add::<meta::v1::ListMeta>(&mut generator);
        add_kinds(&mut generator, group, version);
        Self(generator.take_definitions(false).into_iter().collect())
    }

    pub fn of_type(&self, full_name: &str) -> Option<&str> {
        self.0.get(full_name)?["description"].as_str()
    }

    pub fn of_field(&self, full_name: &str, field: &str) -> Option<&str> {
        self.0.get(full_name)?["properties"][field]["description"].as_str()
    }
}

fn add<T: JsonSchema>(generator: &mut SchemaGenerator) {
    generator.subschema_for::<T>();
}

macro_rules! kinds {
    ($generator:ident, $module:path: $($kind:ident)*) => {{
        use $module::*;
        $(add::<$kind>($generator);)*
    }};
}

fn add_kinds(generator: &mut SchemaGenerator, group: &str, version: &str) {
    match (group, version) {
        ("", "v1") => {
            kinds!(generator, api::core::v1: Binding ComponentStatus ConfigMap Endpoints Event LimitRange Namespace Node
                PersistentVolume PersistentVolumeClaim Pod PodTemplate ReplicationController ResourceQuota Secret Service
                ServiceAccount);
            kinds!(generator, api::policy::v1: Eviction);
            kinds!(generator, api::autoscaling::v1: Scale);
            kinds!(generator, api::authentication::v1: TokenRequest);
        }
        ("apps", "v1") => {
            kinds!(generator, api::apps::v1: ControllerRevision DaemonSet Deployment ReplicaSet StatefulSet);
            kinds!(generator, api::autoscaling::v1: Scale);
        }
        ("admissionregistration.k8s.io", "v1") => kinds!(generator, api::admissionregistration::v1:
            MutatingAdmissionPolicy MutatingAdmissionPolicyBinding MutatingWebhookConfiguration ValidatingAdmissionPolicy
            ValidatingAdmissionPolicyBinding ValidatingWebhookConfiguration),
        ("apiextensions.k8s.io", "v1") => kinds!(generator, apiextensions::v1: CustomResourceDefinition),
        ("apiregistration.k8s.io", "v1") => kinds!(generator, apiregistration::v1: APIService),
        ("authentication.k8s.io", "v1") => kinds!(generator, api::authentication::v1: SelfSubjectReview TokenReview),
        ("authorization.k8s.io", "v1") => kinds!(generator, api::authorization::v1: LocalSubjectAccessReview
            SelfSubjectAccessReview SelfSubjectRulesReview SubjectAccessReview),
        ("autoscaling", "v1") => kinds!(generator, api::autoscaling::v1: HorizontalPodAutoscaler),
        ("autoscaling", "v2") => kinds!(generator, api::autoscaling::v2: HorizontalPodAutoscaler),
        ("batch", "v1") => kinds!(generator, api::batch::v1: CronJob Job),
        ("certificates.k8s.io", "v1") => kinds!(generator, api::certificates::v1: CertificateSigningRequest),
        ("coordination.k8s.io", "v1") => kinds!(generator, api::coordination::v1: Lease),
        ("discovery.k8s.io", "v1") => kinds!(generator, api::discovery::v1: EndpointSlice),
        ("events.k8s.io", "v1") => kinds!(generator, api::events::v1: Event),
        ("flowcontrol.apiserver.k8s.io", "v1") => {
            kinds!(generator, api::flowcontrol::v1: FlowSchema PriorityLevelConfiguration);
        }
        ("networking.k8s.io", "v1") => {
            kinds!(generator, api::networking::v1: IPAddress Ingress IngressClass NetworkPolicy ServiceCIDR);
        }
        ("node.k8s.io", "v1") => kinds!(generator, api::node::v1: RuntimeClass),
        ("policy", "v1") => kinds!(generator, api::policy::v1: PodDisruptionBudget),
        ("rbac.authorization.k8s.io", "v1") => {
            kinds!(generator, api::rbac::v1: ClusterRole ClusterRoleBinding Role RoleBinding);
        }
        ("resource.k8s.io", "v1") => {
            kinds!(generator, api::resource::v1: DeviceClass ResourceClaim ResourceClaimTemplate ResourceSlice);
        }
        ("scheduling.k8s.io", "v1") => kinds!(generator, api::scheduling::v1: PriorityClass),
        ("storage.k8s.io", "v1") => {
            kinds!(generator, api::storage::v1: CSIDriver CSINode CSIStorageCapacity StorageClass
            VolumeAttachment VolumeAttributesClass)
        }
        // Custom resources bring their descriptions along.
        _ => {}
    }
}
