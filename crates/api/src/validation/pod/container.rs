//! The containers of a pod.

use std::collections::BTreeSet;

use serde_json::Value;

use super::spec::Context;
use super::{environment, lifecycle, mounts, one_of, required_one_of, required_text, resources, security};
use crate::meta;
use crate::validation::field::{
    Causes, Path, duplicate, forbidden, invalid, invalids, not_found, not_supported, required, too_many,
};
use crate::validation::names;

const PROBES: [&str; 3] = ["livenessProbe", "readinessProbe", "startupProbe"];

pub(super) fn containers(context: &Context<'_>, path: &Path) -> Causes {
    let containers = meta::list_at(context.spec, &["containers"]);
    if containers.is_empty() {
        return vec![required(path, "")];
    }
    let mut causes = Causes::new();
    let mut seen = BTreeSet::new();
    for (position, container) in containers.iter().enumerate() {
        let path = path.index(position);
        causes.extend(any_container(context, container, &path));
        let name = meta::str_at(container, &["name"]);
        if !seen.insert(name) {
            causes.push(duplicate(&path.child("name"), name));
        }
        causes.extend(lifecycle_and_probes(context, container, &path));
        causes.extend(restarts(container, &path));
    }
    causes.extend(host_port_conflicts(containers, path));
    causes
}

pub(super) fn init_containers(context: &Context<'_>, path: &Path) -> Causes {
    let mut causes = Causes::new();
    let mut seen = names_of(context.spec, &["containers"]);
    for (position, container) in meta::list_at(context.spec, &["initContainers"]).iter().enumerate() {
        let list = path;
        let path = path.index(position);
        causes.extend(any_container(context, container, &path));
        causes.extend(restarts(container, &path));
        let name = meta::str_at(container, &["name"]);
        if !name.is_empty() && !seen.insert(name) {
            causes.push(duplicate(&path.child("name"), name));
        }
        causes.extend(host_port_conflicts(std::slice::from_ref(container), list));
        if meta::str_at(container, &["restartPolicy"]) == "Always" {
            causes.extend(lifecycle_and_probes(context, container, &path));
        } else {
            let given = ["lifecycle"].into_iter().chain(PROBES);
            for field in given.filter(|field| meta::value_at(container, &[field]).is_some()) {
                let what = "may not be set for init containers without restartPolicy=Always";
                causes.push(forbidden(&path.child(field), what));
            }
        }
    }
    causes
}

/// When a container is started again, other than the pod says.
fn restarts(container: &Value, path: &Path) -> Causes {
    /// As in Kubernetes.
    const RULES_MAX: usize = 20;
    const EXIT_CODES_MAX: usize = 255;
    let rules = meta::list_at(container, &["restartPolicyRules"]);
    if meta::value_at(container, &["restartPolicy"]).is_none() {
        let what = "must specify restartPolicy when restart rules are used";
        return if rules.is_empty() { Vec::new() } else { vec![required(&path.child("restartPolicy"), what)] };
    }
    let mut causes: Causes =
        one_of(container, "restartPolicy", &["Always", "OnFailure", "Never"], path).into_iter().collect();
    let path = path.child("restartPolicyRules");
    if rules.len() > RULES_MAX {
        causes.push(too_many(&path, rules.len(), RULES_MAX));
    }
    for (position, rule) in rules.iter().enumerate() {
        let path = path.index(position);
        causes.extend(required_one_of(rule, "action", &["Restart"], &path));
        let Some(codes) = meta::value_at(rule, &["exitCodes"]) else {
            causes.push(required(&path.child("exitCodes"), "must be specified"));
            continue;
        };
        let path = path.child("exitCodes");
        causes.extend(required_one_of(codes, "operator", &["In", "NotIn"], &path));
        let count = meta::list_at(codes, &["values"]).len();
        if count > EXIT_CODES_MAX {
            causes.push(too_many(&path.child("values"), count, EXIT_CODES_MAX));
        }
    }
    causes
}

pub(super) fn ephemeral_containers(context: &Context<'_>, path: &Path) -> Causes {
    const FORBIDDEN: [&str; 7] =
        ["ports", "resources", "livenessProbe", "readinessProbe", "startupProbe", "lifecycle", "resizePolicy"];
    const WHAT: &str = "cannot be set for an Ephemeral Container";
    let mut causes = Causes::new();
    let others = names_of(context.spec, &["containers", "initContainers"]);
    let mut seen = others.clone();
    for (position, container) in meta::list_at(context.spec, &["ephemeralContainers"]).iter().enumerate() {
        let path = path.index(position);
        causes.extend(any_container(context, container, &path));
        let name = meta::str_at(container, &["name"]);
        if !seen.insert(name) {
            causes.push(duplicate(&path.child("name"), name));
        }
        let target = meta::str_at(container, &["targetContainerName"]);
        if !target.is_empty() && !others.contains(target) {
            causes.push(not_found(&path.child("targetContainerName"), target));
        }
        let is_set = |field: &&str| match meta::value_at(container, &[field]) {
            Some(Value::Object(fields)) => *field != "resources" || !fields.is_empty(),
            Some(Value::Array(elements)) => !elements.is_empty(),
            _ => false,
        };
        causes.extend(FORBIDDEN.iter().filter(|field| is_set(field)).map(|field| forbidden(&path.child(field), WHAT)));
        for (position, mount) in meta::list_at(container, &["volumeMounts"]).iter().enumerate() {
            let path = path.child("volumeMounts").index(position);
            let given = ["subPath", "subPathExpr"].into_iter();
            let given = given.filter(|field| !meta::str_at(mount, &[field]).is_empty());
            causes.extend(given.map(|field| forbidden(&path.child(field), WHAT)));
        }
    }
    causes
}

/// What all kinds of containers keep to.
fn any_container(context: &Context<'_>, container: &Value, path: &Path) -> Causes {
    let mut causes = Causes::new();
    match meta::str_at(container, &["name"]) {
        "" => causes.push(required(&path.child("name"), "")),
        name => causes.extend(invalids(&path.child("name"), name, names::dns_label(name))),
    }
    causes.extend(required_text(container, "image", path));
    let policies = ["File", "FallbackToLogsOnError"];
    causes.extend(required_one_of(container, "terminationMessagePolicy", &policies, path));
    causes.extend(ports(container, &path.child("ports")));
    causes.extend(environment::variables(container, &path.child("env")));
    causes.extend(environment::sources(container, &path.child("envFrom")));
    causes.extend(mounts::mounts(context, container, &path.child("volumeMounts")));
    causes.extend(mounts::devices(context, container, &path.child("volumeDevices")));
    causes.extend(required_one_of(container, "imagePullPolicy", &["Always", "IfNotPresent", "Never"], path));
    if let Some(amounts) = meta::value_at(container, &["resources"]) {
        causes.extend(resources::requirements(context, amounts, &path.child("resources")));
    }
    causes.extend(resize_policy(context, container, &path.child("resizePolicy")));
    causes.extend(security::container_context(context, container, &path.child("securityContext")));
    causes
}

fn ports(container: &Value, path: &Path) -> Causes {
    let mut causes = Causes::new();
    let mut seen = BTreeSet::new();
    for (position, port) in meta::list_at(container, &["ports"]).iter().enumerate() {
        let path = path.index(position);
        let name = meta::str_at(port, &["name"]);
        let problems = if name.is_empty() { Vec::new() } else { names::port_name(name) };
        if problems.is_empty() && !name.is_empty() && !seen.insert(name) {
            causes.push(duplicate(&path.child("name"), name));
        }
        causes.extend(invalids(&path.child("name"), name, problems));
        let number = |field| meta::int_at(port, &[field]).unwrap_or(0);
        let check =
            |field, number: i64| names::port_number(number).into_iter().map(move |problem| (field, number, problem));
        let mut wrong = Vec::new();
        match number("containerPort") {
            0 => causes.push(required(&path.child("containerPort"), "")),
            number => wrong.extend(check("containerPort", number)),
        }
        if number("hostPort") != 0 {
            wrong.extend(check("hostPort", number("hostPort")));
        }
        causes.extend(wrong.into_iter().map(|(field, number, problem)| invalid(&path.child(field), number, &problem)));
        causes.extend(required_one_of(port, "protocol", &["SCTP", "TCP", "UDP"], &path));
    }
    causes
}

/// The host can give each of its ports only once.
fn host_port_conflicts(containers: &[Value], path: &Path) -> Causes {
    let mut causes = Causes::new();
    let mut seen = BTreeSet::new();
    for (container_position, container) in containers.iter().enumerate() {
        for (position, port) in meta::list_at(container, &["ports"]).iter().enumerate() {
            let text = |field| meta::str_at(port, &[field]);
            let number = meta::int_at(port, &["hostPort"]).unwrap_or(0);
            let taken = format!("{}/{}/{number}", text("protocol"), text("hostIP"));
            if number != 0 && !seen.insert(taken.clone()) {
                let path = path.index(container_position).child("ports").index(position);
                causes.push(duplicate(&path.child("hostPort"), taken));
            }
        }
    }
    causes
}

fn lifecycle_and_probes(context: &Context<'_>, container: &Value, path: &Path) -> Causes {
    let mut causes = Causes::new();
    if let Some(lifecycle) = meta::value_at(container, &["lifecycle"]) {
        causes.extend(lifecycle::lifecycle(context, lifecycle, &path.child("lifecycle")));
    }
    for field in PROBES {
        if let Some(probe) = meta::value_at(container, &[field]) {
            causes.extend(lifecycle::probe(context, probe, field, &path.child(field)));
        }
    }
    causes
}

fn resize_policy(context: &Context<'_>, container: &Value, path: &Path) -> Causes {
    let mut causes = Causes::new();
    let mut seen = BTreeSet::new();
    let never = meta::str_at(context.spec, &["restartPolicy"]) == "Never";
    for (position, policy) in meta::list_at(container, &["resizePolicy"]).iter().enumerate() {
        let text = |field| meta::str_at(policy, &[field]);
        let (resource, restart) = (text("resourceName"), text("restartPolicy"));
        if !seen.insert(resource) {
            causes.push(duplicate(&path.index(position), resource));
        }
        let choices = [(resource, ["cpu", "memory"]), (restart, ["NotRequired", "RestartContainer"])];
        for (value, supported) in choices {
            match value {
                "" => causes.push(required(path, "")),
                value if supported.contains(&value) => {}
                value => causes.push(not_supported(path, value, &supported)),
            }
        }
        if never && restart != "NotRequired" {
            causes.push(invalid(path, restart, "must be 'NotRequired' when `restartPolicy` is 'Never'"));
        }
    }
    causes
}

fn names_of<'a>(spec: &'a Value, lists: &[&str]) -> BTreeSet<&'a str> {
    lists.iter().flat_map(|list| meta::list_at(spec, &[list])).map(|c| meta::str_at(c, &["name"])).collect()
}
