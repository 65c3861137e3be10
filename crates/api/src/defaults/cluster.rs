//! Access rules, priorities, storage drivers, webhooks and definitions of custom resources.

use serde_json::{Value, json};

use super::{Fields, always, child, children, text, unset, zero};

const RBAC: &str = "rbac.authorization.k8s.io";
const HTTPS_PORT: i64 = 443;

pub(super) fn role_binding(object: &mut Fields) {
    zero(always(object, "roleRef"), "apiGroup", RBAC);
    for subject in children(object, "subjects") {
        if matches!(text(subject, "kind"), "User" | "Group") {
            zero(subject, "apiGroup", RBAC);
        }
    }
}

pub(super) fn priority_class(object: &mut Fields) {
    unset(object, "value", 0);
    unset(object, "preemptionPolicy", "PreemptLowerPriority");
}

pub(super) fn csi_driver(object: &mut Fields) {
    let spec = always(object, "spec");
    unset(spec, "attachRequired", true);
    unset(spec, "podInfoOnMount", false);
    unset(spec, "storageCapacity", false);
    unset(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
    unset(spec, "volumeLifecycleModes", json!(["Persistent"]));
    unset(spec, "requiresRepublish", false);
    unset(spec, "seLinuxMount", false);
}

pub(super) fn storage_class(object: &mut Fields) {
    unset(object, "reclaimPolicy", "Delete");
    unset(object, "volumeBindingMode", "Immediate");
}

pub(super) fn custom_resource_definition(object: &mut Fields) {
    let spec = always(object, "spec");
    let names = always(spec, "names");
    let kind = text(names, "kind").to_string();
    zero(names, "singular", kind.to_lowercase());
    if !kind.is_empty() {
        zero(names, "listKind", format!("{kind}List"));
    }
    zero(always(spec, "conversion"), "strategy", "None");
    let webhook = child(spec, "conversion").and_then(|conversion| child(conversion, "webhook"));
    webhook.into_iter().for_each(service_port);
}

pub(super) fn api_service(object: &mut Fields) {
    if let Some(service) = child(always(object, "spec"), "service") {
        unset(service, "port", HTTPS_PORT);
    }
}

pub(super) fn webhooks(object: &mut Fields, mutating: bool) {
    for webhook in children(object, "webhooks") {
        unset(webhook, "failurePolicy", "Fail");
        unset(webhook, "matchPolicy", "Equivalent");
        unset(webhook, "namespaceSelector", json!({}));
        unset(webhook, "objectSelector", json!({}));
        unset(webhook, "timeoutSeconds", 10);
        if mutating {
            unset(webhook, "reinvocationPolicy", "Never");
        }
        children(webhook, "rules").for_each(|rule| unset(rule, "scope", "*"));
        service_port(webhook);
    }
}

/// `clientConfig.service.port`, where there is a service.
fn service_port(webhook: &mut Fields) {
    let service = webhook.get_mut("clientConfig").and_then(|config| config.get_mut("service"));
    if let Some(service) = service.and_then(Value::as_object_mut) {
        unset(service, "port", HTTPS_PORT);
    }
}
