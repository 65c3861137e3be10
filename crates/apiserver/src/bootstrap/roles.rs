//! Reads the table of default roles and bindings.

use backstay_api::meta;
use serde_json::{Value, json};

const TABLE: &str = include_str!("roles.txt");

const GROUP: &str = "rbac.authorization.k8s.io";
const VERSION: &str = "rbac.authorization.k8s.io/v1";

/// Marks what the server made, and brings up to date when it starts. Source: Kubernetes' RBAC documentation.
const LABEL: &str = "kubernetes.io/bootstrapping";
pub const AUTOUPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";

/// All default roles and bindings, each after what it refers to.
pub fn all() -> Vec<Value> {
    let mut objects: Vec<Value> = Vec::new();
    let lines = TABLE.lines().map(|line| line.split('#').next().unwrap_or_default());
    for line in lines.filter(|line| !line.trim().is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["role", name, labels @ ..] => objects.push(role(name, labels)),
            ["bind", name, subjects @ ..] => objects.push(binding(name, subjects)),
            ["aggregate", label] => aggregate(last(&mut objects), label),
            rule => add_rule(last(&mut objects), policy_rule(rule)),
        }
    }
    // From the lowest to the highest, so that one pass reaches through all levels.
    (0..objects.len()).rev().for_each(|at| gather(&mut objects, at));
    objects
}

/// Writes the rules into an aggregating role that it will be found to hold. Decisions do not depend on this; readers
/// of the role do.
fn gather(objects: &mut [Value], at: usize) {
    let selector = meta::list_at(&objects[at], &["aggregationRule", "clusterRoleSelectors"]);
    let Some(label) = selector.first().and_then(|selector| selector["matchLabels"].as_object()?.keys().next()) else {
        return;
    };
    let selected = objects.iter().filter(|object| meta::label(object, label).is_some());
    let mut rules: Vec<Value> = Vec::new();
    for rule in selected.flat_map(|role| meta::list_at(role, &["rules"])) {
        if !rules.contains(rule) {
            rules.push(rule.clone());
        }
    }
    objects[at]["rules"] = rules.into();
}

fn last(objects: &mut [Value]) -> &mut Value {
    objects.last_mut().expect("the table begins with a role")
}

fn role(name: &str, labels: &[&str]) -> Value {
    let mut role = object("Role", name);
    for label in labels {
        let (label, value) = label.split_once('=').expect("labels of the table have values");
        meta::map_mut(&mut role, &["metadata", "labels"]).insert(label.into(), value.into());
    }
    role["rules"] = json!([]);
    role
}

fn binding(name: &str, subjects: &[&str]) -> Value {
    let (name, role) = name.split_once('=').unwrap_or((name, name.split_once('/').map_or(name, |(_, name)| name)));
    let mut binding = object("RoleBinding", name);
    let role_kind = if name.contains('/') { "Role" } else { "ClusterRole" };
    binding["roleRef"] = json!({"apiGroup": GROUP, "kind": role_kind, "name": role});
    if !subjects.is_empty() {
        binding["subjects"] = subjects.iter().map(|text| subject(text)).collect();
    }
    binding
}

/// `NAMESPACE/NAME` is an object of the kind, `NAME` one of the kind's cluster-scoped twin.
fn object(kind: &str, name: &str) -> Value {
    let (namespace, name) = name.split_once('/').unwrap_or(("", name));
    let kind = if namespace.is_empty() { format!("Cluster{kind}") } else { kind.to_string() };
    let mut object = json!({
        "kind": kind, "apiVersion": VERSION,
        "metadata": {"name": name, "labels": {LABEL: "rbac-defaults"}, "annotations": {AUTOUPDATE: "true"}},
    });
    if !namespace.is_empty() {
        meta::set_meta(&mut object, "namespace", namespace);
    }
    object
}

fn subject(text: &str) -> Value {
    let (kind, name) = text.split_once(':').expect("subjects of the table have a kind");
    match kind {
        "group" => json!({"kind": "Group", "apiGroup": GROUP, "name": name}),
        "user" => json!({"kind": "User", "apiGroup": GROUP, "name": name}),
        _ => {
            let (namespace, name) = name.split_once('/').expect("accounts of the table have a namespace");
            json!({"kind": "ServiceAccount", "namespace": namespace, "name": name})
        }
    }
}

fn aggregate(role: &mut Value, label: &str) {
    role["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": {label: "true"}}]});
}

fn add_rule(role: &mut Value, rule: Value) {
    role["rules"].as_array_mut().expect("roles of the table have rules").push(rule);
}

fn policy_rule(words: &[&str]) -> Value {
    match words {
        ["EVENTS"] => policy_rule(&["create,patch,update", "core,events.k8s.io", "events"]),
        [verbs, "path", paths] => json!({"verbs": list(verbs), "nonResourceURLs": list(paths)}),
        [verbs, groups, resources] => {
            json!({"verbs": list(verbs), "apiGroups": list(groups), "resources": list(resources)})
        }
        [verbs, groups, resources, names] => {
            let mut rule = policy_rule(&[verbs, groups, resources]);
            rule["resourceNames"] = list(names).into();
            rule
        }
        other => panic!("no rule of the table: {other:?}"),
    }
}

/// A list in order, its short words written out.
fn list(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    for word in text.split(',') {
        match word {
            "READ" => words.extend(["get", "list", "watch"]),
            "WRITE" => words.extend(["create", "delete", "deletecollection", "patch", "update"]),
            "core" => words.push(""),
            word => words.push(word),
        }
    }
    words.sort_unstable();
    words.into_iter().map(String::from).collect()
}
