//! Requests and limits.

use std::collections::BTreeSet;

use serde_json::Value;

use super::spec::Context;
use crate::meta;
use crate::quantity::Quantity;
use crate::validation::field::{Causes, Path, duplicate, forbidden, invalid, invalids, not_found, required};
use crate::validation::names;

/// Names without a prefix that mean something somewhere; more than containers may use.
const STANDARD: [&str; 21] = [
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "storage",
    "requests.storage",
    "services.nodeports",
    "services.loadbalancers",
    "hugepages",
];

/// `limits`, `requests` and `claims` of a container or a pod.
pub(super) fn requirements(context: &Context<'_>, amounts: &Value, path: &Path) -> Causes {
    let mut causes = Causes::new();
    let list = |kind: &str| meta::string_map(amounts.get(kind));
    let (limits, requests) = (list("limits"), list("requests"));
    for (name, amount) in &limits {
        causes.extend(container_resource(name, amount, &path.child("limits").key(name)));
    }
    let request_path = path.child("requests");
    for (name, amount) in &requests {
        causes.extend(container_resource(name, amount, &request_path.key(name)));
        let Some(limit) = limits.get(name) else {
            if !may_overcommit(name) {
                let what = "Limit must be set for non overcommitable resources";
                causes.push(required(&path.child("limits"), what));
            }
            continue;
        };
        let (Ok(wanted), Ok(most)) = (Quantity::parse(amount), Quantity::parse(limit)) else { continue };
        if wanted != most && !may_overcommit(name) {
            let what = format!("must be equal to {name} limit of {limit}");
            causes.push(invalid(&request_path, amount.as_str(), &what));
        } else if wanted > most {
            let what = format!("must be less than or equal to {name} limit of {limit}");
            causes.push(invalid(&request_path, amount.as_str(), &what));
        }
    }
    let named: BTreeSet<&str> = limits.keys().chain(requests.keys()).map(String::as_str).collect();
    if named.iter().any(|name| is_hugepages(name)) && !named.contains("cpu") && !named.contains("memory") {
        causes.push(forbidden(path, "HugePages require cpu or memory"));
    }
    causes.extend(claims(context, amounts, &path.child("claims")));
    causes
}

fn claims(context: &Context<'_>, amounts: &Value, path: &Path) -> Causes {
    let mut causes = Causes::new();
    let mut seen = BTreeSet::new();
    for (position, claim) in meta::list_at(amounts, &["claims"]).iter().enumerate() {
        let (name, request) = (meta::str_at(claim, &["name"]), meta::str_at(claim, &["request"]));
        let path = path.index(position);
        if name.is_empty() {
            causes.push(required(&path, ""));
        } else if !seen.insert((name, request)) {
            causes.push(duplicate(&path, name));
        } else if !context.claims.contains(name) {
            causes.push(not_found(&path, name));
        }
    }
    causes
}

pub(super) fn overhead(context: &Context<'_>, path: &Path) -> Causes {
    let amounts = meta::string_map(context.spec.get("overhead"));
    amounts.iter().flat_map(|(name, amount)| container_resource(name, amount, &path.key(name))).collect()
}

/// The amounts of a list of resources that are not a container's: of a node, for example.
pub(in crate::validation) fn resource_list(amounts: Option<&Value>, path: &Path) -> Causes {
    let amounts = meta::string_map(amounts);
    let all = amounts.iter().flat_map(|(name, amount)| {
        let path = path.key(name);
        let mut causes = resource_name(name, &path);
        causes.extend(resource_amount(name, amount, &path));
        causes
    });
    all.collect()
}

fn container_resource(name: &str, amount: &str, path: &Path) -> Causes {
    let mut causes = resource_name(name, path);
    let standard = matches!(name, "cpu" | "memory" | "ephemeral-storage") || is_hugepages(name);
    if !name.contains('/') {
        if !standard {
            causes.push(invalid(path, name, "must be a standard resource for containers"));
        }
    } else if !is_native(name) && !is_extended(name) {
        causes.push(invalid(path, name, "doesn't follow extended resource name standard"));
    }
    causes.extend(resource_amount(name, amount, path));
    causes
}

fn resource_name(name: &str, path: &Path) -> Causes {
    let causes: Causes = invalids(path, name, names::label_key(name)).collect();
    let known = STANDARD.contains(&name) || is_hugepages(name.strip_prefix("requests.").unwrap_or(name));
    if causes.is_empty() && !name.contains('/') && !known {
        return vec![invalid(path, name, "must be a standard resource type or fully qualified")];
    }
    causes
}

/// An amount must not be negative, and whole for what can only be counted.
pub(in crate::validation) fn resource_amount(name: &str, amount: &str, path: &Path) -> Causes {
    let Ok(quantity) = Quantity::parse(amount) else { return Causes::new() };
    let mut causes = Causes::new();
    if quantity.is_negative() {
        causes.push(invalid(path, amount, "must be greater than or equal to 0"));
    }
    let counted = matches!(name, "pods" | "services" | "secrets" | "configmaps" | "persistentvolumeclaims");
    if (counted || is_extended(name)) && !quantity.is_integer() {
        causes.push(invalid(path, amount, "must be an integer"));
    }
    causes
}

fn is_hugepages(name: &str) -> bool {
    name.starts_with("hugepages-")
}

fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

fn is_extended(name: &str) -> bool {
    !is_native(name) && !name.starts_with("requests.") && names::label_key(&format!("requests.{name}")).is_empty()
}

fn may_overcommit(name: &str) -> bool {
    is_native(name) && !is_hugepages(name)
}
