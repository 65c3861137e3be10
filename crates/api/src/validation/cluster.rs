//! Access rules, priorities, leases, budgets, definitions of custom resources.

use serde_json::Value;

use super::field::{self, Causes, Path, forbidden, invalid, invalids, not_negative, not_supported, required};
use super::{apps, meta as metadata, names};
use crate::{crd, meta};

const RBAC: &str = "rbac.authorization.k8s.io";
const PRIORITY_MAX: i64 = 1_000_000_000;

pub(super) fn role(object: &Value, namespaced: bool) -> Causes {
    let mut causes = metadata::object_meta(object, namespaced, names::path_segment, &Path::new("metadata"));
    for (position, rule) in meta::list_at(object, &["rules"]).iter().enumerate() {
        causes.extend(policy_rule(rule, namespaced, &Path::new("rules").index(position)));
    }
    let selectors = meta::list_at(object, &["aggregationRule", "clusterRoleSelectors"]);
    if object.get("aggregationRule").is_some_and(|rule| !rule.is_null()) && selectors.is_empty() {
        let path = Path::new("aggregationRule").child("clusterRoleSelectors");
        causes.push(required(&path, "at least one clusterRoleSelector required if aggregationRule is non-nil"));
    }
    causes
}

fn policy_rule(rule: &Value, namespaced: bool, path: &Path) -> Causes {
    let list = |field| meta::list_at(rule, &[field]);
    let mut causes = Causes::new();
    if list("verbs").is_empty() {
        causes.push(required(&path.child("verbs"), "verbs must contain at least one value"));
    }
    if !list("nonResourceURLs").is_empty() {
        let path = path.child("nonResourceURLs");
        let urls = list("nonResourceURLs").to_vec();
        if namespaced {
            causes.push(invalid(&path, urls.clone(), "namespaced rules cannot apply to non-resource URLs"));
        }
        if ["apiGroups", "resources", "resourceNames"].into_iter().any(|field| !list(field).is_empty()) {
            let what = "rules cannot apply to both regular resources and non-resource URLs";
            causes.push(invalid(&path, urls, what));
        }
        return causes;
    }
    if list("apiGroups").is_empty() {
        causes.push(required(&path.child("apiGroups"), "resource rules must supply at least one api group"));
    }
    if list("resources").is_empty() {
        causes.push(required(&path.child("resources"), "resource rules must supply at least one resource"));
    }
    causes
}

pub(super) fn role_binding(object: &Value, namespaced: bool) -> Causes {
    let mut causes = metadata::object_meta(object, namespaced, names::path_segment, &Path::new("metadata"));
    let path = Path::new("roleRef");
    let reference = |field| meta::str_at(object, &["roleRef", field]);
    if reference("apiGroup") != RBAC {
        causes.push(not_supported(&path.child("apiGroup"), reference("apiGroup"), &[RBAC]));
    }
    let kinds: &[&str] = if namespaced { &["Role", "ClusterRole"] } else { &["ClusterRole"] };
    if !kinds.contains(&reference("kind")) {
        causes.push(not_supported(&path.child("kind"), reference("kind"), kinds));
    }
    match reference("name") {
        "" => causes.push(required(&path.child("name"), "")),
        name => causes.extend(invalids(&path.child("name"), name, names::path_segment(name))),
    }
    for (position, subject) in meta::list_at(object, &["subjects"]).iter().enumerate() {
        causes.extend(role_subject(subject, namespaced, &Path::new("subjects").index(position)));
    }
    causes
}

fn role_subject(subject: &Value, namespaced: bool, path: &Path) -> Causes {
    let text = |field| meta::str_at(subject, &[field]);
    let mut causes = Causes::new();
    if text("name").is_empty() {
        causes.push(required(&path.child("name"), ""));
    }
    match text("kind") {
        "ServiceAccount" => {
            if !text("name").is_empty() {
                causes.extend(invalids(&path.child("name"), text("name"), names::dns_subdomain(text("name"))));
            }
            if !text("apiGroup").is_empty() {
                causes.push(not_supported(&path.child("apiGroup"), text("apiGroup"), &[""]));
            }
            if text("namespace").is_empty() && !namespaced {
                causes.push(required(&path.child("namespace"), ""));
            }
        }
        "User" | "Group" => {
            if text("apiGroup") != RBAC {
                causes.push(not_supported(&path.child("apiGroup"), text("apiGroup"), &[RBAC]));
            }
        }
        other => causes.push(not_supported(&path.child("kind"), other, &["ServiceAccount", "User", "Group"])),
    }
    causes
}

pub(super) fn role_binding_update(object: &Value, old: &Value, namespaced: bool) -> Causes {
    let mut causes = role_binding(object, namespaced);
    causes.extend(metadata::update(object, old));
    if object.get("roleRef") != old.get("roleRef") {
        let shown = field::show_ordered(&object["roleRef"], &["apiGroup", "kind", "name"]);
        causes.push(field::invalid_shown(&Path::new("roleRef"), &shown, "cannot change roleRef"));
    }
    causes
}

pub(super) fn priority_class(object: &Value) -> Causes {
    let path = Path::new("metadata");
    let mut causes = metadata::object_meta(object, false, names::dns_subdomain, &path);
    let name = meta::name(object);
    let value = meta::int_at(object, &["value"]).unwrap_or(0);
    if name.starts_with("system-") {
        if !matches!(name, "system-node-critical" | "system-cluster-critical") {
            let what = "priority class names with 'system-' prefix are reserved for system use only";
            causes.push(forbidden(
                &path.child("name"),
                &format!("{what}. error: {name} is not a known system priority class"),
            ));
        }
    } else if value > PRIORITY_MAX {
        let what = format!("maximum allowed value of a user defined priority is {PRIORITY_MAX}");
        causes.push(forbidden(&Path::new("value"), &what));
    }
    let policy = meta::str_at(object, &["preemptionPolicy"]);
    let policies = ["PreemptLowerPriority", "Never"];
    if !policy.is_empty() && !policies.contains(&policy) {
        causes.push(not_supported(&Path::new("preemptionPolicy"), policy, &policies));
    }
    causes
}

pub(super) fn priority_class_update(object: &Value, old: &Value) -> Causes {
    let mut causes = metadata::update(object, old);
    let value = |object| meta::int_at(object, &["value"]).unwrap_or(0);
    if value(object) != value(old) {
        causes.push(forbidden(&Path::new("Value"), "may not be changed in an update."));
    }
    if object.get("preemptionPolicy") != old.get("preemptionPolicy") {
        let policy = object.get("preemptionPolicy").cloned().unwrap_or_default();
        causes.push(invalid(&Path::new("preemptionPolicy"), policy, field::IMMUTABLE));
    }
    causes
}

pub(super) fn lease(object: &Value) -> Causes {
    let path = Path::new("spec");
    let mut causes = metadata::object_meta(object, true, names::dns_subdomain, &Path::new("metadata"));
    let number = |field| meta::int_at(object, &["spec", field]);
    if let Some(seconds) = number("leaseDurationSeconds").filter(|seconds| *seconds <= 0) {
        causes.push(invalid(&path.child("leaseDurationSeconds"), seconds, "must be greater than 0"));
    }
    let transitions = number("leaseTransitions").filter(|transitions| *transitions < 0);
    let what = "must be greater than or equal to 0";
    causes.extend(transitions.map(|number| invalid(&path.child("leaseTransitions"), number, what)));
    causes
}

pub(super) fn pod_disruption_budget(object: &Value) -> Causes {
    let path = Path::new("spec");
    let mut causes = metadata::object_meta(object, true, names::dns_subdomain, &Path::new("metadata"));
    let bound = |field| meta::value_at(object, &["spec", field]);
    if bound("minAvailable").is_some() && bound("maxUnavailable").is_some() {
        let spec = object.get("spec").cloned().unwrap_or_default();
        causes.push(invalid(&path, spec, "minAvailable and maxUnavailable cannot be both set"));
    }
    for field in ["minAvailable", "maxUnavailable"] {
        if let Some(value) = bound(field) {
            causes.extend(apps::int_or_percent(value, &path.child(field)));
            causes.extend(apps::at_most_all(value, &path.child(field)));
        }
    }
    causes.extend(metadata::label_selector(bound("selector"), &path.child("selector")));
    let policy = meta::str_at(object, &["spec", "unhealthyPodEvictionPolicy"]);
    let policies = ["AlwaysAllow", "IfHealthyBudget"];
    if !policy.is_empty() && !policies.contains(&policy) {
        causes.push(not_supported(&path.child("unhealthyPodEvictionPolicy"), policy, &policies));
    }
    causes
}

pub(super) fn pod_disruption_budget_status(object: &Value) -> Causes {
    let path = Path::new("status");
    let fields = ["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"].into_iter();
    fields.filter_map(|field| not_negative(&path.child(field), meta::int_at(object, &["status", field]))).collect()
}

pub(super) fn custom_resource_definition(object: &Value) -> Causes {
    let metadata = metadata::object_meta(object, false, names::dns_subdomain, &Path::new("metadata"));
    metadata.into_iter().chain(crd::validate_create(object)).collect()
}

pub(super) fn webhooks(object: &Value) -> Causes {
    let mut causes = metadata::object_meta(object, false, names::dns_subdomain, &Path::new("metadata"));
    for (position, webhook) in meta::list_at(object, &["webhooks"]).iter().enumerate() {
        let path = Path::new("webhooks").index(position);
        let name = meta::str_at(webhook, &["name"]);
        match name {
            "" => causes.push(required(&path.child("name"), "")),
            name if name.split('.').count() < 3 => {
                let what = "should be a domain with at least three segments separated by dots";
                causes.push(invalid(&path.child("name"), name, what));
            }
            name => causes.extend(invalids(&path.child("name"), name, names::dns_subdomain(name))),
        }
        if meta::list_at(webhook, &["admissionReviewVersions"]).is_empty() {
            let what = "must specify one of v1, v1beta1";
            causes.push(required(&path.child("admissionReviewVersions"), what));
        }
        match meta::str_at(webhook, &["sideEffects"]) {
            "None" | "NoneOnDryRun" => {}
            "" => causes.push(required(&path.child("sideEffects"), "must specify one of None, NoneOnDryRun")),
            other => causes.push(not_supported(&path.child("sideEffects"), other, &["None", "NoneOnDryRun"])),
        }
        let timeout = meta::int_at(webhook, &["timeoutSeconds"]).unwrap_or(10);
        if !(1..=30).contains(&timeout) {
            let what = "the timeout value must be between 1 and 30 seconds";
            causes.push(invalid(&path.child("timeoutSeconds"), timeout, what));
        }
    }
    causes
}
