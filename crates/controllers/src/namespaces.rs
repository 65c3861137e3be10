//! Namespace termination: empties a namespace that is being deleted, says what is still in it, and lets it go.
//!
//! Source: the namespace controller of `kube-controller-manager` (condition types, reasons and messages).

use std::collections::BTreeMap;

use serde_json::{Value, json};

use backstay_api::meta;

/// The finalizer in `spec.finalizers` that keeps a namespace until it is empty.
pub const KUBERNETES: &str = "kubernetes";

/// How often a namespace that is not empty yet is looked at again.
pub const RECHECK_SECONDS: u32 = 1;

/// What is left of one resource in the namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remaining {
    /// `pods`, `daemonsets.apps`.
    pub resource: String,
    pub count: usize,
    /// Objects that are not being deleted yet.
    pub undeleted: usize,
    /// How many of them carry each finalizer.
    pub finalizers: BTreeMap<String, usize>,
}

/// What to do about a namespace that is being deleted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Resources (as in [`Remaining::resource`]) whose collection is to be deleted.
    pub delete_collections: Vec<String>,
    /// A new `status`, if it differs from the one seen.
    pub status: Option<Value>,
    /// The new `spec.finalizers`, to be written through the `finalize` subresource.
    pub finalizers: Option<Vec<String>>,
    /// Look again after so many seconds.
    pub recheck_after_seconds: Option<u32>,
}

/// Plans for one namespace. `remaining` lists only resources of which something is left, ordered by name; `failures`
/// are errors of deletions that were tried. Nothing is planned for a namespace that is not being deleted.
pub fn plan(namespace: &Value, remaining: &[Remaining], failures: &[String], now: &str) -> Plan {
    if !meta::is_being_deleted(namespace) || !holds_finalizer(namespace) {
        return Plan::default();
    }
    let left: Vec<&Remaining> = remaining.iter().filter(|one| one.count > 0).collect();
    let status = status(namespace, &left, failures, now);
    if left.is_empty() && failures.is_empty() {
        let finalizers = finalizers(namespace).filter(|name| *name != KUBERNETES).map(str::to_string).collect();
        return Plan { finalizers: Some(finalizers), ..Plan::default() };
    }
    let undeleted = left.iter().filter(|one| one.undeleted > 0);
    Plan {
        delete_collections: undeleted.map(|one| one.resource.clone()).collect(),
        status: (namespace.get("status") != Some(&status)).then_some(status),
        finalizers: None,
        recheck_after_seconds: Some(RECHECK_SECONDS),
    }
}

fn finalizers(namespace: &Value) -> impl Iterator<Item = &str> {
    meta::list_at(namespace, &["spec", "finalizers"]).iter().filter_map(Value::as_str)
}

fn holds_finalizer(namespace: &Value) -> bool {
    finalizers(namespace).any(|name| name == KUBERNETES)
}

fn status(namespace: &Value, left: &[&Remaining], failures: &[String], now: &str) -> Value {
    let found = [
        condition(
            "NamespaceDeletionDiscoveryFailure",
            None,
            ("ResourcesDiscovered", "All resources successfully discovered"),
        ),
        condition(
            "NamespaceDeletionGroupVersionParsingFailure",
            None,
            ("ParsedGroupVersions", "All legacy kube types successfully parsed"),
        ),
        condition(
            "NamespaceDeletionContentFailure",
            (!failures.is_empty()).then(|| ("ContentDeletionFailed", failure_text(failures))),
            ("ContentDeleted", "All content successfully deleted, may be waiting on finalization"),
        ),
        condition(
            "NamespaceContentRemaining",
            content_text(left).map(|text| ("SomeResourcesRemain", text)),
            ("ContentRemoved", "All content successfully removed"),
        ),
        condition(
            "NamespaceFinalizersRemaining",
            finalizer_text(left).map(|text| ("SomeFinalizersRemain", text)),
            ("ContentHasNoFinalizers", "All content-preserving finalizers finished"),
        ),
    ];
    let old = meta::list_at(namespace, &["status", "conditions"]);
    let others = old.iter().filter(|one| !found.iter().any(|new| new["type"] == one["type"])).cloned();
    let conditions: Vec<Value> = others.chain(found.iter().map(|new| dated(new, old, now))).collect();
    json!({ "phase": "Terminating", "conditions": conditions })
}

/// A condition that is `True` with the reason and message of `problem`, or `False` with those of `fine`.
fn condition(kind: &str, problem: Option<(&str, String)>, fine: (&str, &str)) -> Value {
    let (status, reason, message) = match problem {
        Some((reason, message)) => ("True", reason, message),
        None => ("False", fine.0, fine.1.to_string()),
    };
    json!({ "type": kind, "status": status, "reason": reason, "message": message })
}

/// Keeps the time of the last change of status, or sets it to now.
fn dated(new: &Value, old: &[Value], now: &str) -> Value {
    let same = old.iter().find(|old| old["type"] == new["type"] && old["status"] == new["status"]);
    let time = same.and_then(|old| old["lastTransitionTime"].as_str()).unwrap_or(now);
    let mut dated = new.clone();
    dated["lastTransitionTime"] = json!(time);
    dated
}

fn failure_text(failures: &[String]) -> String {
    format!("Failed to delete all resource types, {} remaining: {}", failures.len(), failures.join(", "))
}

fn content_text(left: &[&Remaining]) -> Option<String> {
    let parts: Vec<String> =
        left.iter().map(|one| format!("{} has {} resource instances", dotted(&one.resource), one.count)).collect();
    (!parts.is_empty()).then(|| format!("Some resources are remaining: {}", parts.join(", ")))
}

/// Kubernetes names a core resource with a dot at its end here: `configmaps.`.
fn dotted(resource: &str) -> String {
    if resource.contains('.') { resource.to_string() } else { format!("{resource}.") }
}

fn finalizer_text(left: &[&Remaining]) -> Option<String> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for (name, count) in left.iter().flat_map(|one| &one.finalizers) {
        *counts.entry(name).or_default() += count;
    }
    let parts: Vec<String> =
        counts.iter().map(|(name, count)| format!("{name} in {count} resource instances")).collect();
    (!parts.is_empty()).then(|| format!("Some content in the namespace has finalizers remaining: {}", parts.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn namespace(deleting: bool, finalizers: &[&str]) -> Value {
        let mut object = json!({ "metadata": { "name": "x" }, "spec": { "finalizers": finalizers } });
        if deleting {
            object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        object
    }

    fn remaining(resource: &str, count: usize, undeleted: usize, finalizers: &[(&str, usize)]) -> Remaining {
        let finalizers = finalizers.iter().map(|(name, count)| (name.to_string(), *count)).collect();
        Remaining { resource: resource.into(), count, undeleted, finalizers }
    }

    #[test]
    fn a_live_namespace_is_left_alone() {
        assert_eq!(plan(&namespace(false, &[KUBERNETES]), &[], &[], "t"), Plan::default());
        assert_eq!(plan(&namespace(true, &["other"]), &[], &[], "t"), Plan::default());
    }

    #[test]
    fn an_empty_one_is_let_go_but_for_the_finalizers_of_others() {
        let plan = plan(&namespace(true, &[KUBERNETES, "x.io/a"]), &[], &[], "t");
        assert_eq!(plan.finalizers, Some(vec!["x.io/a".to_string()]));
    }

    #[test]
    fn what_is_left_is_deleted_and_told() {
        let left = [
            remaining("configmaps", 2, 1, &[("x.io/a", 1)]),
            remaining("daemonsets.apps", 1, 0, &[("x.io/a", 1), ("z", 1)]),
        ];
        let seen = namespace(true, &[KUBERNETES]);
        let plan = plan(&seen, &left, &[], "now");
        assert_eq!(plan.delete_collections, ["configmaps"]);
        assert_eq!(plan.recheck_after_seconds, Some(RECHECK_SECONDS));
        let status = plan.status.expect("a status");
        let messages: Vec<&str> =
            meta::list_at(&status, &["conditions"]).iter().filter_map(|one| one["message"].as_str()).collect();
        assert_eq!(
            messages[3..],
            [
                "Some resources are remaining: configmaps. has 2 resource instances, \
                 daemonsets.apps has 1 resource instances",
                "Some content in the namespace has finalizers remaining: \
                 x.io/a in 2 resource instances, z in 1 resource instances",
            ]
        );
        let mut seen = seen;
        seen["status"] = status;
        assert_eq!(super::plan(&seen, &left, &[], "later").status, None, "times stand still while nothing changes");
    }
}
