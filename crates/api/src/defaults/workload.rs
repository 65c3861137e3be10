//! Kinds that make pods from a template.

use serde_json::json;

use crate::strategy::TEMPLATE_GENERATION;

use super::{Fields, always, child, children, pod, text, unset, volume, zero};

pub(super) fn daemon_set(object: &mut Fields) {
    // Shows a count that only the server changes; it is there before anyone asks who owns it.
    unset(always(always(object, "metadata"), "annotations"), TEMPLATE_GENERATION, "0");
    let spec = always(object, "spec");
    pod::template(spec);
    let strategy = always(spec, "updateStrategy");
    zero(strategy, "type", "RollingUpdate");
    if text(strategy, "type") == "RollingUpdate" {
        let rolling = always(strategy, "rollingUpdate");
        unset(rolling, "maxUnavailable", 1);
        unset(rolling, "maxSurge", 0);
    }
    unset(spec, "revisionHistoryLimit", 10);
}

pub(super) fn deployment(object: &mut Fields) {
    let spec = always(object, "spec");
    pod::template(spec);
    unset(spec, "replicas", 1);
    let strategy = always(spec, "strategy");
    zero(strategy, "type", "RollingUpdate");
    if text(strategy, "type") == "RollingUpdate" {
        let rolling = always(strategy, "rollingUpdate");
        unset(rolling, "maxUnavailable", "25%");
        unset(rolling, "maxSurge", "25%");
    }
    unset(spec, "revisionHistoryLimit", 10);
    unset(spec, "progressDeadlineSeconds", 600);
}

pub(super) fn replica_set(object: &mut Fields) {
    let spec = always(object, "spec");
    pod::template(spec);
    unset(spec, "replicas", 1);
}

pub(super) fn stateful_set(object: &mut Fields) {
    let spec = always(object, "spec");
    pod::template(spec);
    for claim in children(spec, "volumeClaimTemplates") {
        volume::persistent_volume_claim(claim);
    }
    zero(spec, "podManagementPolicy", "OrderedReady");
    let strategy = always(spec, "updateStrategy");
    zero(strategy, "type", "RollingUpdate");
    if text(strategy, "type") == "RollingUpdate" {
        unset(always(strategy, "rollingUpdate"), "partition", 0);
    }
    let retention = always(spec, "persistentVolumeClaimRetentionPolicy");
    zero(retention, "whenDeleted", "Retain");
    zero(retention, "whenScaled", "Retain");
    unset(spec, "replicas", 1);
    unset(spec, "revisionHistoryLimit", 10);
}

pub(super) fn replication_controller(object: &mut Fields) {
    let spec = always(object, "spec");
    pod::template(spec);
    unset(spec, "replicas", 1);
    let labels = spec.get("template").and_then(|template| template.pointer("/metadata/labels")).cloned();
    if let Some(labels) = labels {
        unset(spec, "selector", labels.clone());
        unset(always(object, "metadata"), "labels", labels);
    }
}

pub(super) fn job(object: &mut Fields) {
    let spec = always(object, "spec");
    pod::template(spec);
    if spec.get("parallelism").is_none() {
        unset(spec, "completions", 1);
    }
    unset(spec, "parallelism", 1);
    let per_index = spec.contains_key("backoffLimitPerIndex");
    unset(spec, "backoffLimit", if per_index { i32::MAX } else { 6 });
    unset(spec, "completionMode", "NonIndexed");
    unset(spec, "suspend", false);
    unset(spec, "manualSelector", false);
    let has_failure_policy = spec.contains_key("podFailurePolicy");
    unset(spec, "podReplacementPolicy", if has_failure_policy { "Failed" } else { "TerminatingOrFailed" });
    if let Some(policy) = child(spec, "podFailurePolicy") {
        let conditions = children(policy, "rules").flat_map(|rule| children(rule, "onPodConditions"));
        conditions.for_each(|condition| zero(condition, "status", "True"));
    }
    let labels = spec.get("template").and_then(|template| template.pointer("/metadata/labels")).cloned();
    if let Some(labels) = labels {
        unset(always(object, "metadata"), "labels", labels);
    }
}

pub(super) fn cron_job(object: &mut Fields) {
    let spec = always(object, "spec");
    zero(spec, "concurrencyPolicy", "Allow");
    unset(spec, "suspend", false);
    unset(spec, "successfulJobsHistoryLimit", 3);
    unset(spec, "failedJobsHistoryLimit", 1);
    let template = always(spec, "jobTemplate");
    unset(template, "metadata", json!({}));
    pod::template(always(template, "spec"));
}
