//! Namespace termination: empties a namespace that is being deleted, says what is still in it, and lets it go.
//!
//! Source: the namespace controller of `kube-controller-manager` (condition types, reasons and messages).

use std::collections::BTreeMap;

use serde_json::{Value, json};

use backstay_api::meta;

/// The finalizer in `spec.finalizers` that keeps a namespace until it is empty.
pub const KUBERNETES: &str = "kubernetes";

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

/// A namespace and what was found in it.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    pub namespace: &'a Value,
    /// Only resources of which something is left, ordered by name.
    pub remaining: &'a [Remaining],
    /// Groups whose resources are not known, as `GROUP/VERSION: why`.
    pub undiscovered: &'a [String],
    /// What failed when the content was listed or deleted.
    pub failures: &'a [String],
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
    /// Something is still in the way: look again.
    pub waits: bool,
}

/// Plans for one namespace. Nothing is planned for one that is not being deleted.
pub fn plan(seen: Seen<'_>, now: &str) -> Plan {
    let Seen { namespace, remaining, undiscovered, failures } = seen;
    if !meta::is_being_deleted(namespace) || !holds_finalizer(namespace) {
        return Plan::default();
    }
    let left: Vec<&Remaining> = remaining.iter().filter(|one| one.count > 0).collect();
    if left.is_empty() && undiscovered.is_empty() && failures.is_empty() {
        let finalizers = finalizers(namespace).filter(|name| *name != KUBERNETES).map(str::to_string).collect();
        return Plan { finalizers: Some(finalizers), ..Plan::default() };
    }
    let status = status(seen, &left, now);
    let undeleted = left.iter().filter(|one| one.undeleted > 0);
    Plan {
        delete_collections: undeleted.map(|one| one.resource.clone()).collect(),
        status: (namespace.get("status") != Some(&status)).then_some(status),
        finalizers: None,
        waits: true,
    }
}

fn finalizers(namespace: &Value) -> impl Iterator<Item = &str> {
    meta::list_at(namespace, &["spec", "finalizers"]).iter().filter_map(Value::as_str)
}

fn holds_finalizer(namespace: &Value) -> bool {
    finalizers(namespace).any(|name| name == KUBERNETES)
}

fn status(seen: Seen<'_>, left: &[&Remaining], now: &str) -> Value {
    let Seen { namespace, undiscovered, failures, .. } = seen;
    let found = [
        condition(
            "NamespaceDeletionDiscoveryFailure",
            (!undiscovered.is_empty()).then(|| ("DiscoveryFailed", discovery_text(undiscovered))),
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

fn discovery_text(undiscovered: &[String]) -> String {
    format!(
        "Discovery failed for some groups, {} failing: unable to retrieve the complete list of server APIs: {}",
        undiscovered.len(),
        undiscovered.join(", ")
    )
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

    fn check(namespace: &Value, remaining: &[Remaining], undiscovered: &[&str], now: &str) -> Plan {
        let undiscovered: Vec<String> = undiscovered.iter().map(|text| text.to_string()).collect();
        plan(Seen { namespace, remaining, undiscovered: &undiscovered, failures: &[] }, now)
    }

    fn messages(plan: &Plan) -> Vec<String> {
        let status = plan.status.as_ref().expect("a status");
        let conditions = meta::list_at(status, &["conditions"]).iter();
        conditions.map(|one| meta::str_at(one, &["message"]).to_string()).collect()
    }

    #[test]
    fn a_live_namespace_is_left_alone() {
        assert_eq!(check(&namespace(false, &[KUBERNETES]), &[], &[], "t"), Plan::default());
        assert_eq!(check(&namespace(true, &["other"]), &[], &[], "t"), Plan::default());
    }

    #[test]
    fn an_empty_one_is_let_go_but_for_the_finalizers_of_others() {
        let plan = check(&namespace(true, &[KUBERNETES, "x.io/a"]), &[], &[], "t");
        assert_eq!(plan.finalizers, Some(vec!["x.io/a".to_string()]));
        assert!(!plan.waits);
    }

    #[test]
    fn one_whose_content_is_not_known_waits() {
        let plan = check(&namespace(true, &[KUBERNETES]), &[], &["m.io/v1: down"], "t");
        assert_eq!((plan.finalizers.as_ref(), plan.waits), (None, true));
        assert_eq!(
            messages(&plan)[0],
            "Discovery failed for some groups, 1 failing: unable to retrieve the complete list of server APIs: \
             m.io/v1: down"
        );
    }

    #[test]
    fn what_is_left_is_deleted_and_told() {
        let left = [
            remaining("configmaps", 2, 1, &[("x.io/a", 1)]),
            remaining("daemonsets.apps", 1, 0, &[("x.io/a", 1), ("z", 1)]),
        ];
        let mut seen = namespace(true, &[KUBERNETES]);
        let plan = check(&seen, &left, &[], "now");
        assert_eq!(plan.delete_collections, ["configmaps"]);
        assert!(plan.waits);
        assert_eq!(
            messages(&plan)[3..],
            [
                "Some resources are remaining: configmaps. has 2 resource instances, \
                 daemonsets.apps has 1 resource instances",
                "Some content in the namespace has finalizers remaining: \
                 x.io/a in 2 resource instances, z in 1 resource instances",
            ]
        );
        seen["status"] = plan.status.expect("a status");
        assert_eq!(check(&seen, &left, &[], "later").status, None, "times stand still while nothing changes");
    }
}
