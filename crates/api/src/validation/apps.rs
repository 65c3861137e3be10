//! Workloads and their history: DaemonSets in full, the kinds without a controller here as far as users rely on it.

use serde_json::Value;

use super::field::{self, Causes, Path, forbidden, invalid, invalids, not_negative, not_supported, required};
use super::{Policy, meta as metadata, names, pod};
use crate::meta;
use crate::selector::LabelSelector;
use crate::strategy::semantically_equal;

const MAX_PERCENT: i64 = 100;

pub(super) fn daemon_set(object: &Value, policy: Policy) -> Causes {
    let mut causes = metadata::object_meta(object, true, names::dns_subdomain, &Path::new("metadata"));
    causes.extend(daemon_set_spec(object, policy));
    causes
}

/// Kubernetes checks the new object by itself and as a successor; both look at the spec.
pub(super) fn daemon_set_update(object: &Value, old: &Value, policy: Policy) -> Causes {
    let mut causes = daemon_set(object, policy);
    causes.extend(metadata::update(object, old));
    causes.extend(daemon_set_spec(object, policy));
    let (selector, before) = (object.pointer("/spec/selector"), old.pointer("/spec/selector"));
    if !semantically_equal(selector, before) {
        let path = Path::new("spec").child("selector");
        causes.push(invalid(&path, selector.cloned().unwrap_or_default(), field::IMMUTABLE));
    }
    causes
}

fn daemon_set_spec(object: &Value, policy: Policy) -> Causes {
    let path = Path::new("spec");
    let spec = object.get("spec").unwrap_or(&Value::Null);
    let selector = meta::value_at(spec, &["selector"]);
    let mut causes = metadata::label_selector(selector, &path.child("selector"));
    causes.extend(selector_matches_template(spec, &path));
    if let Some(selector) = selector.filter(|selector| is_empty_selector(selector)) {
        let what = "empty selector is invalid for daemonset";
        causes.push(invalid(&path.child("selector"), selector.clone(), what));
    }
    let template = spec.get("template").unwrap_or(&Value::Null);
    let at_template = path.child("template");
    causes.extend(pod::pod_template(template, policy, &at_template));
    causes.extend(always_restarted(template, &at_template.child("spec"), "DaemonSet"));
    let number = |field| not_negative(&path.child(field), meta::int_at(spec, &[field]));
    causes.extend(number("minReadySeconds"));
    causes.extend(daemon_set_strategy(spec, &path.child("updateStrategy")));
    causes.extend(number("revisionHistoryLimit"));
    causes
}

fn is_empty_selector(selector: &Value) -> bool {
    meta::string_map(selector.get("matchLabels")).is_empty()
        && meta::list_at(selector, &["matchExpressions"]).is_empty()
}

/// An absent selector matches nothing.
fn selector_matches_template(spec: &Value, path: &Path) -> Option<crate::status::Cause> {
    let labels = spec.pointer("/template/metadata/labels");
    let matches = match meta::value_at(spec, &["selector"]) {
        None => false,
        // What is wrong with the selector itself has been said.
        Some(selector) => LabelSelector::from_object(selector).ok()?.matches(&meta::string_map(labels)),
    };
    let path = path.child("template").child("metadata").child("labels");
    let labels = labels.cloned().unwrap_or_default();
    (!matches).then(|| invalid(&path, labels, "`selector` does not match template `labels`"))
}

/// Pods that a controller keeps going must be restarted always, and without a deadline.
fn always_restarted(template: &Value, path: &Path, kind: &str) -> Causes {
    let mut causes = Causes::new();
    let policy = meta::str_at(template, &["spec", "restartPolicy"]);
    if policy != "Always" {
        causes.push(not_supported(&path.child("restartPolicy"), policy, &["Always"]));
    }
    if meta::value_at(template, &["spec", "activeDeadlineSeconds"]).is_some() {
        let what = format!("activeDeadlineSeconds in {kind} is not Supported");
        causes.push(forbidden(&path.child("activeDeadlineSeconds"), &what));
    }
    causes
}

fn daemon_set_strategy(spec: &Value, path: &Path) -> Causes {
    let strategy = spec.get("updateStrategy").unwrap_or(&Value::Null);
    match (meta::str_at(strategy, &["type"]), meta::value_at(strategy, &["rollingUpdate"])) {
        ("OnDelete", _) => Causes::new(),
        ("RollingUpdate", None) => vec![required(&path.child("rollingUpdate"), "")],
        ("RollingUpdate", Some(rolling)) => daemon_set_rolling_update(rolling, &path.child("rollingUpdate")),
        (other, _) => vec![not_supported(&path.child("type"), other, &["RollingUpdate", "OnDelete"])],
    }
}

fn daemon_set_rolling_update(rolling: &Value, path: &Path) -> Causes {
    let mut causes = Causes::new();
    let fields = ["maxUnavailable", "maxSurge"];
    for field in fields {
        causes.extend(int_or_percent(&rolling[field], &path.child(field)));
    }
    for field in fields {
        causes.extend(at_most_all(&rolling[field], &path.child(field)));
    }
    match (amount(&rolling["maxUnavailable"]) != 0, amount(&rolling["maxSurge"]) != 0) {
        (true, true) => {
            let what = "may not be set when maxUnavailable is non-zero";
            causes.push(invalid(&path.child("maxSurge"), rolling["maxSurge"].clone(), what));
        }
        (false, false) => {
            causes.push(required(&path.child("maxUnavailable"), "cannot be 0 when maxSurge is 0"));
        }
        _ => {}
    }
    causes
}

/// A count, or a percentage such as `10%`.
pub(super) fn int_or_percent(value: &Value, path: &Path) -> Causes {
    match value {
        Value::String(text) => invalids(path, text, names::percent(text)).collect(),
        value => not_negative(path, value.as_i64()).into_iter().collect(),
    }
}

pub(super) fn at_most_all(value: &Value, path: &Path) -> Option<crate::status::Cause> {
    let is_percent = value.as_str().is_some_and(|text| names::percent(text).is_empty());
    (is_percent && amount(value) > MAX_PERCENT).then(|| invalid(path, value.clone(), "must not be greater than 100%"))
}

/// The number in a count or percentage; 0 for what is neither.
fn amount(value: &Value) -> i64 {
    match value {
        Value::String(text) => text.strip_suffix('%').unwrap_or(text).parse().unwrap_or(0),
        value => value.as_i64().unwrap_or(0),
    }
}

pub(super) fn daemon_set_status_update(object: &Value, old: &Value) -> Causes {
    let mut causes = metadata::update(object, old);
    let path = Path::new("status");
    let number = |object, field| meta::int_at(object, &["status", field]);
    let fields = [
        "currentNumberScheduled",
        "numberMisscheduled",
        "desiredNumberScheduled",
        "numberReady",
        "observedGeneration",
        "updatedNumberScheduled",
        "numberAvailable",
        "numberUnavailable",
        "collisionCount",
    ];
    causes.extend(fields.into_iter().filter_map(|field| not_negative(&path.child(field), number(object, field))));
    causes.extend(collision_count(object, old));
    causes
}

fn collision_count(object: &Value, old: &Value) -> Option<crate::status::Cause> {
    let count = |object| meta::int_at(object, &["status", "collisionCount"]);
    let (now, before) = (count(object), count(old)?);
    let decremented = now.is_none_or(|now| now < before);
    let path = Path::new("status").child("collisionCount");
    decremented.then(|| invalid(&path, now, "cannot be decremented"))
}

pub(super) fn controller_revision(object: &Value) -> Causes {
    let mut causes = metadata::object_meta(object, true, names::dns_subdomain, &Path::new("metadata"));
    causes.extend(controller_revision_data(object));
    causes.extend(not_negative(&Path::new("revision"), meta::int_at(object, &["revision"])));
    causes
}

fn controller_revision_data(object: &Value) -> Option<crate::status::Cause> {
    let path = Path::new("data");
    match object.get("data") {
        None | Some(Value::Null) => Some(required(&path, "data is mandatory")),
        Some(Value::Object(_)) => None,
        Some(_) => Some(required(&path, "data must be a valid JSON object")),
    }
}

pub(super) fn controller_revision_update(object: &Value, old: &Value) -> Causes {
    let mut causes = metadata::update(object, old);
    causes.extend(controller_revision(object));
    if object.get("data") != old.get("data") {
        let data = object.get("data").cloned().unwrap_or_default();
        causes.push(invalid(&Path::new("data"), data, field::IMMUTABLE));
    }
    causes
}

pub(super) fn deployment(object: &Value, policy: Policy) -> Causes {
    let (path, spec) = (Path::new("spec"), object.get("spec").unwrap_or(&Value::Null));
    let mut causes = metadata::object_meta(object, true, names::dns_subdomain, &Path::new("metadata"));
    let number = |field| meta::int_at(spec, &[field]);
    causes.extend(not_negative(&path.child("replicas"), number("replicas")));
    causes.extend(selected_template(spec, policy, &path, "deployment", "Deployment"));
    causes.extend(deployment_strategy(spec, &path.child("strategy")));
    for field in ["minReadySeconds", "revisionHistoryLimit"] {
        causes.extend(not_negative(&path.child(field), number(field)));
    }
    if let Some(deadline) = number("progressDeadlineSeconds") {
        let path = path.child("progressDeadlineSeconds");
        causes.extend(not_negative(&path, Some(deadline)));
        if deadline <= number("minReadySeconds").unwrap_or(0) {
            causes.push(invalid(&path, deadline, "must be greater than minReadySeconds"));
        }
    }
    causes
}

fn deployment_strategy(spec: &Value, path: &Path) -> Causes {
    let strategy = spec.get("strategy").unwrap_or(&Value::Null);
    let rolling = meta::value_at(strategy, &["rollingUpdate"]);
    let at_rolling = path.child("rollingUpdate");
    match (meta::str_at(strategy, &["type"]), rolling) {
        ("Recreate", None) => Causes::new(),
        ("Recreate", Some(_)) => {
            vec![forbidden(&at_rolling, "may not be specified when strategy `type` is 'Recreate'")]
        }
        ("RollingUpdate", None) => vec![required(&at_rolling, "this should be defaulted and never be nil")],
        ("RollingUpdate", Some(rolling)) => {
            let mut causes = Causes::new();
            for field in ["maxUnavailable", "maxSurge"] {
                causes.extend(int_or_percent(&rolling[field], &at_rolling.child(field)));
            }
            if amount(&rolling["maxUnavailable"]) == 0 && amount(&rolling["maxSurge"]) == 0 {
                let what = "may not be 0 when `maxSurge` is 0";
                causes.push(invalid(&at_rolling.child("maxUnavailable"), rolling["maxUnavailable"].clone(), what));
            }
            causes.extend(at_most_all(&rolling["maxUnavailable"], &at_rolling.child("maxUnavailable")));
            causes
        }
        (other, _) => vec![not_supported(&path.child("type"), other, &["Recreate", "RollingUpdate"])],
    }
}

pub(super) fn replica_set(object: &Value, policy: Policy) -> Causes {
    let (path, spec) = (Path::new("spec"), object.get("spec").unwrap_or(&Value::Null));
    let mut causes = metadata::object_meta(object, true, names::dns_subdomain, &Path::new("metadata"));
    for field in ["replicas", "minReadySeconds"] {
        causes.extend(not_negative(&path.child(field), meta::int_at(spec, &[field])));
    }
    causes.extend(selected_template(spec, policy, &path, "deployment", "ReplicaSet"));
    causes
}

pub(super) fn stateful_set(object: &Value, policy: Policy) -> Causes {
    let (path, spec) = (Path::new("spec"), object.get("spec").unwrap_or(&Value::Null));
    let mut causes = metadata::object_meta(object, true, names::dns_subdomain, &Path::new("metadata"));
    let policies = ["OrderedReady", "Parallel"];
    let management = meta::str_at(spec, &["podManagementPolicy"]);
    if !policies.contains(&management) {
        let what = "must be 'OrderedReady' or 'Parallel'";
        causes.push(invalid(&path.child("podManagementPolicy"), management, what));
    }
    for field in ["replicas", "minReadySeconds"] {
        causes.extend(not_negative(&path.child(field), meta::int_at(spec, &[field])));
    }
    causes.extend(selected_template(spec, policy, &path, "statefulset", "StatefulSet"));
    causes
}

/// A selector that is needed, says something, and fits the template.
fn selected_template(spec: &Value, policy: Policy, path: &Path, noun: &str, kind: &str) -> Causes {
    let mut causes = Causes::new();
    let at_selector = path.child("selector");
    match meta::value_at(spec, &["selector"]) {
        None => causes.push(required(&at_selector, "")),
        Some(selector) => {
            causes.extend(metadata::label_selector(Some(selector), &at_selector));
            if is_empty_selector(selector) {
                let what = format!("empty selector is invalid for {noun}");
                causes.push(invalid(&at_selector, selector.clone(), &what));
            } else {
                causes.extend(selector_matches_template(spec, path));
            }
        }
    }
    let template = spec.get("template").unwrap_or(&Value::Null);
    causes.extend(pod::pod_template(template, policy, &path.child("template")));
    causes.extend(always_restarted(template, &path.child("template").child("spec"), kind));
    causes
}

/// The update of a workload whose selector may not change.
pub(super) fn workload_update(
    object: &Value,
    old: &Value,
    policy: Policy,
    rules: fn(&Value, Policy) -> Causes,
) -> Causes {
    let mut causes = metadata::update(object, old);
    causes.extend(rules(object, policy));
    let (selector, before) = (object.pointer("/spec/selector"), old.pointer("/spec/selector"));
    if !semantically_equal(selector, before) {
        let path = Path::new("spec").child("selector");
        causes.push(invalid(&path, selector.cloned().unwrap_or_default(), field::IMMUTABLE));
    }
    causes
}

pub(super) fn job(object: &Value, policy: Policy) -> Causes {
    let mut causes = metadata::object_meta(object, true, names::dns_subdomain, &Path::new("metadata"));
    causes.extend(job_spec(object.get("spec").unwrap_or(&Value::Null), policy, &Path::new("spec")));
    causes
}

fn job_spec(spec: &Value, policy: Policy, path: &Path) -> Causes {
    let mut causes = Causes::new();
    for field in ["parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished"] {
        causes.extend(not_negative(&path.child(field), meta::int_at(spec, &[field])));
    }
    let template = spec.get("template").unwrap_or(&Value::Null);
    causes.extend(pod::pod_template(template, policy, &path.child("template")));
    if !matches!(meta::str_at(template, &["spec", "restartPolicy"]), "OnFailure" | "Never") {
        let path = path.child("template").child("spec").child("restartPolicy");
        causes.push(required(&path, "valid values: \"OnFailure\", \"Never\""));
    }
    causes
}

pub(super) fn cron_job(object: &Value, policy: Policy) -> Causes {
    let path = Path::new("spec");
    let mut causes = metadata::object_meta(object, true, names::dns_subdomain, &Path::new("metadata"));
    let spec = object.get("spec").unwrap_or(&Value::Null);
    if meta::str_at(spec, &["schedule"]).is_empty() {
        causes.push(required(&path.child("schedule"), ""));
    }
    let policies = ["Allow", "Forbid", "Replace"];
    let concurrency = meta::str_at(spec, &["concurrencyPolicy"]);
    if !policies.contains(&concurrency) {
        causes.push(not_supported(&path.child("concurrencyPolicy"), concurrency, &policies));
    }
    let job = spec.pointer("/jobTemplate/spec").unwrap_or(&Value::Null);
    causes.extend(job_spec(job, policy, &path.child("jobTemplate").child("spec")));
    causes
}
