//! Where a pod may run: tolerations, affinity, topology spread.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::meta;
use crate::status::Cause;
use crate::validation::field::{Causes, Path, duplicate, forbidden, invalid, invalids, not_supported, required};
use crate::validation::{meta as metadata, names};

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

pub(super) fn tolerations(spec: &Value, path: &Path) -> Causes {
    let mut causes = Causes::new();
    for (position, toleration) in meta::list_at(spec, &["tolerations"]).iter().enumerate() {
        causes.extend(self::toleration(toleration, &path.index(position)));
    }
    causes
}

pub(super) fn toleration(toleration: &Value, path: &Path) -> Causes {
    let text = |field| meta::str_at(toleration, &[field]);
    let (key, operator, value, effect) = (text("key"), text("operator"), text("value"), text("effect"));
    let mut causes = Causes::new();
    if !key.is_empty() {
        causes.extend(invalids(&path.child("key"), key, names::label_key(key)));
    } else if operator != "Exists" {
        let what = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
        causes.push(invalid(&path.child("operator"), operator, what));
    }
    if meta::value_at(toleration, &["tolerationSeconds"]).is_some() && effect != "NoExecute" {
        let what = "effect must be 'NoExecute' when `tolerationSeconds` is set";
        causes.push(invalid(&path.child("effect"), effect, what));
    }
    match operator {
        "" | "Equal" => {
            let problems = names::label_value(value);
            if !problems.is_empty() {
                causes.push(invalid(&path.child("operator"), value, &problems.join(";")));
            }
        }
        "Exists" if !value.is_empty() => {
            let what = "value must be empty when `operator` is 'Exists'";
            causes.push(invalid(&path.child("operator"), value, what));
        }
        "Exists" => {}
        other => causes.push(not_supported(&path.child("operator"), other, &["Equal", "Exists"])),
    }
    if !effect.is_empty() {
        causes.extend(taint_effect(effect, &path.child("effect")));
    }
    causes
}

pub(in crate::validation) fn taint_effect(effect: &str, path: &Path) -> Option<Cause> {
    const SUPPORTED: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
    match effect {
        "" => Some(required(path, "")),
        effect => (!SUPPORTED.contains(&effect)).then(|| not_supported(path, effect, &SUPPORTED)),
    }
}

pub(super) fn affinity(spec: &Value, path: &Path) -> Causes {
    let mut causes = Causes::new();
    if let Some(node) = meta::value_at(spec, &["affinity", "nodeAffinity"]) {
        causes.extend(node_affinity(node, &path.child("nodeAffinity")));
    }
    for field in ["podAffinity", "podAntiAffinity"] {
        let path = path.child(field);
        for (position, term) in meta::list_at(spec, &["affinity", field, REQUIRED]).iter().enumerate() {
            causes.extend(pod_term(term, &path.child(REQUIRED).index(position)));
        }
        for (position, weighted) in meta::list_at(spec, &["affinity", field, PREFERRED]).iter().enumerate() {
            let path = path.child(PREFERRED).index(position);
            causes.extend(weight(weighted, &path));
            let term = weighted.get("podAffinityTerm").unwrap_or(&Value::Null);
            causes.extend(pod_term(term, &path.child("podAffinityTerm")));
        }
    }
    causes
}

fn node_affinity(affinity: &Value, path: &Path) -> Causes {
    let mut causes = Causes::new();
    if let Some(selector) = meta::value_at(affinity, &[REQUIRED]) {
        causes.extend(node_selector(selector, &path.child(REQUIRED)));
    }
    for (position, weighted) in meta::list_at(affinity, &[PREFERRED]).iter().enumerate() {
        let path = path.child(PREFERRED).index(position);
        causes.extend(weight(weighted, &path));
        let term = weighted.get("preference").unwrap_or(&Value::Null);
        // Values that no label can have are tolerated in what is only a wish.
        causes.extend(node_term(term, false, &path.child("preference")));
    }
    causes
}

fn weight(weighted: &Value, path: &Path) -> Option<Cause> {
    let weight = meta::int_at(weighted, &["weight"]).unwrap_or(0);
    (!(1..=100).contains(&weight)).then(|| invalid(&path.child("weight"), weight, "must be in the range 1-100"))
}

fn node_selector(selector: &Value, path: &Path) -> Causes {
    let path = path.child("nodeSelectorTerms");
    let terms = meta::list_at(selector, &["nodeSelectorTerms"]);
    if terms.is_empty() {
        return vec![required(&path, "must have at least one node selector term")];
    }
    let terms = terms.iter().enumerate();
    terms.flat_map(|(position, term)| node_term(term, true, &path.index(position))).collect()
}

fn node_term(term: &Value, check_values: bool, path: &Path) -> Causes {
    let mut causes = Causes::new();
    for (position, requirement) in meta::list_at(term, &["matchExpressions"]).iter().enumerate() {
        causes.extend(node_requirement(requirement, check_values, &path.child("matchExpressions").index(position)));
    }
    for (position, requirement) in meta::list_at(term, &["matchFields"]).iter().enumerate() {
        causes.extend(node_field_requirement(requirement, &path.child("matchFields").index(position)));
    }
    causes
}

fn node_requirement(requirement: &Value, check_values: bool, path: &Path) -> Causes {
    let mut causes = Causes::new();
    let values = meta::list_at(requirement, &["values"]);
    let at_values = path.child("values");
    match meta::str_at(requirement, &["operator"]) {
        "In" | "NotIn" if values.is_empty() => {
            causes.push(required(&at_values, "must be specified when `operator` is 'In' or 'NotIn'"));
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            causes.push(forbidden(&at_values, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"));
        }
        "Gt" | "Lt" if values.len() != 1 => {
            causes.push(required(&at_values, "must be specified single value when `operator` is 'Lt' or 'Gt'"));
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
        other => causes.push(invalid(&path.child("operator"), other, "not a valid selector operator")),
    }
    let key = meta::str_at(requirement, &["key"]);
    causes.extend(invalids(&path.child("key"), key, names::label_key(key)));
    if check_values {
        for (position, value) in values.iter().filter_map(Value::as_str).enumerate() {
            causes.extend(invalids(&at_values.index(position), value, names::label_value(value)));
        }
    }
    causes
}

fn node_field_requirement(requirement: &Value, path: &Path) -> Causes {
    let mut causes = Causes::new();
    let values = meta::list_at(requirement, &["values"]);
    match meta::str_at(requirement, &["operator"]) {
        "In" | "NotIn" if values.len() != 1 => {
            let what = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
            causes.push(required(&path.child("values"), what));
        }
        "In" | "NotIn" => {}
        other => causes.push(invalid(&path.child("operator"), other, "not a valid selector operator")),
    }
    match meta::str_at(requirement, &["key"]) {
        "metadata.name" => {
            for (position, name) in values.iter().filter_map(Value::as_str).enumerate() {
                causes.extend(invalids(&path.child("values").index(position), name, names::dns_subdomain(name)));
            }
        }
        other => causes.push(invalid(&path.child("key"), other, "not a valid field selector key")),
    }
    causes
}

fn pod_term(term: &Value, path: &Path) -> Causes {
    let mut causes = metadata::label_selector(term.get("labelSelector"), &path.child("labelSelector"));
    causes.extend(metadata::label_selector(term.get("namespaceSelector"), &path.child("namespaceSelector")));
    for name in meta::list_at(term, &["namespaces"]).iter().filter_map(Value::as_str) {
        causes.extend(invalids(&path.child("namespace"), name, names::dns_label(name)));
    }
    let has_selector = meta::value_at(term, &["labelSelector"]).is_some();
    let mismatched = strings(term, "mismatchLabelKeys");
    for field in ["matchLabelKeys", "mismatchLabelKeys"] {
        causes.extend(label_keys(&strings(term, field), has_selector, &path.child(field)));
    }
    for (position, key) in strings(term, "matchLabelKeys").into_iter().enumerate() {
        if mismatched.contains(&key) {
            let what = "exists in both matchLabelKeys and mismatchLabelKeys";
            causes.push(invalid(&path.child("matchLabelKeys").index(position), key, what));
        }
    }
    let topology = meta::str_at(term, &["topologyKey"]);
    if topology.is_empty() {
        causes.push(required(&path.child("topologyKey"), "can not be empty"));
    }
    causes.extend(invalids(&path.child("topologyKey"), topology, names::label_key(topology)));
    causes
}

fn label_keys(keys: &[&str], has_selector: bool, path: &Path) -> Causes {
    if !keys.is_empty() && !has_selector {
        return vec![forbidden(path, "must not be specified when labelSelector is not set")];
    }
    let keys = keys.iter().enumerate();
    keys.flat_map(|(position, key)| invalids(&path.index(position), key, names::label_key(key)).collect::<Causes>())
        .collect()
}

fn strings<'a>(object: &'a Value, field: &str) -> Vec<&'a str> {
    meta::list_at(object, &[field]).iter().filter_map(Value::as_str).collect()
}

pub(super) fn topology_spread(spec: &Value, path: &Path) -> Causes {
    let constraints = meta::list_at(spec, &["topologySpreadConstraints"]);
    let mut causes = Causes::new();
    // Each pair counts where it stands for the last time; before, it is repeated later.
    let mut last = BTreeMap::new();
    for (position, constraint) in constraints.iter().enumerate() {
        last.insert(spread_pair(constraint), position);
    }
    for (position, constraint) in constraints.iter().enumerate() {
        let is_repeated = last[&spread_pair(constraint)] != position;
        causes.extend(spread_constraint(constraint, is_repeated, &path.index(position)));
    }
    causes
}

fn spread_pair(constraint: &Value) -> (&str, &str) {
    (meta::str_at(constraint, &["topologyKey"]), meta::str_at(constraint, &["whenUnsatisfiable"]))
}

fn spread_constraint(constraint: &Value, is_repeated: bool, path: &Path) -> Causes {
    let (topology, action) = spread_pair(constraint);
    let mut causes = Causes::new();
    let skew = meta::int_at(constraint, &["maxSkew"]).unwrap_or(0);
    if skew <= 0 {
        causes.push(invalid(&path.child("maxSkew"), skew, "must be greater than zero"));
    }
    if topology.is_empty() {
        causes.push(required(&path.child("topologyKey"), "can not be empty"));
    }
    let actions = ["DoNotSchedule", "ScheduleAnyway"];
    if !actions.contains(&action) {
        causes.push(not_supported(&path.child("whenUnsatisfiable"), action, &actions));
    }
    if is_repeated {
        let path = path.child("{topologyKey, whenUnsatisfiable}");
        causes.push(duplicate(&path, format!("{{{topology}, {action}}}")));
    }
    if let Some(domains) = meta::int_at(constraint, &["minDomains"]) {
        let path = path.child("minDomains");
        if domains <= 0 {
            causes.push(invalid(&path, domains, "must be greater than zero"));
        }
        if action != "DoNotSchedule" {
            let what = format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}");
            causes.push(invalid(&path, domains, &what));
        }
    }
    for field in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
        causes.extend(super::one_of(constraint, field, &["Honor", "Ignore"], path));
    }
    causes.extend(spread_label_keys(constraint, &path.child("matchLabelKeys")));
    causes.extend(metadata::label_selector(constraint.get("labelSelector"), &path.child("labelSelector")));
    causes
}

fn spread_label_keys(constraint: &Value, path: &Path) -> Causes {
    let keys = strings(constraint, "matchLabelKeys");
    let mut causes = Causes::new();
    if keys.is_empty() {
        return causes;
    }
    let selector = meta::value_at(constraint, &["labelSelector"]);
    if selector.is_none() {
        causes.push(forbidden(path, "must not be specified when labelSelector is not set"));
    }
    let labels = meta::string_map(selector.and_then(|selector| selector.get("matchLabels")));
    let expressions = selector.map(|selector| meta::list_at(selector, &["matchExpressions"])).unwrap_or_default();
    let expressions = expressions.iter().map(|expression| meta::str_at(expression, &["key"]));
    let selected: BTreeSet<&str> = labels.keys().map(String::as_str).chain(expressions).collect();
    for (position, key) in keys.into_iter().enumerate() {
        let path = path.index(position);
        causes.extend(invalids(&path, key, names::label_key(key)));
        if selected.contains(key) {
            causes.push(invalid(&path, key, "exists in both matchLabelKeys and labelSelector"));
        }
    }
    causes
}
