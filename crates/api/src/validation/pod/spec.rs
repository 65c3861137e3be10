//! A pod's spec as a whole.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Owner, container, one_of, required_one_of, resources, scheduling, security, volume};
use crate::meta;
use crate::validation::field::{Causes, Path, duplicate, forbidden, invalid, invalids, required, show_ordered};
use crate::validation::{Policy, ip, meta as metadata, names};

const NAMESERVERS_MAX: usize = 3;
const SEARCHES_MAX: usize = 32;
const SEARCH_TEXT_MAX: usize = 2048;

/// What the rules for one container need to know of the rest of the spec.
pub(super) struct Context<'a> {
    pub spec: &'a Value,
    pub policy: Policy,
    /// The volumes that are right, by name.
    pub volumes: BTreeMap<&'a str, &'a Value>,
    /// The names of resource claims.
    pub claims: BTreeSet<&'a str>,
}

impl Context<'_> {
    pub fn grace_seconds(&self) -> Option<i64> {
        meta::int_at(self.spec, &["terminationGracePeriodSeconds"])
    }

    pub fn host_users(&self) -> bool {
        meta::value_at(self.spec, &["hostUsers"]) != Some(&Value::Bool(false))
    }
}

/// The spec of a pod or of a pod template.
pub(in crate::validation) fn pod_spec(spec: &Value, owner: Owner<'_>, policy: Policy, path: &Path) -> Causes {
    let mut causes = Causes::new();
    if meta::value_at(spec, &["terminationGracePeriodSeconds"]).is_none() {
        causes.push(required(&path.child("terminationGracePeriodSeconds"), ""));
    }
    let (found, volumes) = volume::volumes(spec, owner, &path.child("volumes"));
    causes.extend(found);
    let claims = meta::list_at(spec, &["resourceClaims"]).iter().map(|claim| meta::str_at(claim, &["name"]));
    let claims = claims.filter(|name| !name.is_empty()).collect();
    let context = Context { spec, policy, volumes, claims };
    causes.extend(resource_claims(spec, &path.child("resourceClaims")));
    causes.extend(container::containers(&context, &path.child("containers")));
    causes.extend(container::init_containers(&context, &path.child("initContainers")));
    causes.extend(container::ephemeral_containers(&context, &path.child("ephemeralContainers")));
    if let Some(amounts) = meta::value_at(spec, &["resources"]) {
        causes.extend(resources::requirements(&context, amounts, &path.child("resources")));
    }
    causes.extend(host_network_ports(spec, owner, path));
    causes.extend(required_one_of(spec, "restartPolicy", &["Always", "OnFailure", "Never"], path));
    let policies = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
    causes.extend(required_one_of(spec, "dnsPolicy", &policies, path));
    causes.extend(metadata::labels(spec.get("nodeSelector"), &path.child("nodeSelector")));
    causes.extend(security::pod_context(spec, path));
    causes.extend(scheduling::affinity(spec, &path.child("affinity")));
    causes.extend(dns_config(spec, &path.child("dnsConfig")));
    causes.extend(gates(spec, path));
    causes.extend(scheduling::topology_spread(spec, &path.child("topologySpreadConstraints")));
    causes.extend(host_users(spec, path));
    causes.extend(named_things(spec, path));
    causes.extend(scheduling::tolerations(spec, &path.child("tolerations")));
    causes.extend(host_aliases(spec, &path.child("hostAliases")));
    for field in ["priorityClassName", "runtimeClassName"] {
        let name = meta::str_at(spec, &[field]);
        if !name.is_empty() {
            causes.extend(invalids(&path.child(field), name, names::dns_subdomain(name)));
        }
    }
    causes.extend(one_of(spec, "preemptionPolicy", &["PreemptLowerPriority", "Never"], path));
    causes.extend(resources::overhead(&context, &path.child("overhead")));
    causes.extend(security::operating_system(spec, path));
    causes
}

fn resource_claims(spec: &Value, path: &Path) -> Causes {
    const ORDER: [&str; 3] = ["Name", "ResourceClaimName", "ResourceClaimTemplateName"];
    let mut causes = Causes::new();
    let mut seen = BTreeSet::new();
    for (position, claim) in meta::list_at(spec, &["resourceClaims"]).iter().enumerate() {
        let path = path.index(position);
        let name = meta::str_at(claim, &["name"]);
        if name.is_empty() {
            causes.push(required(&path.child("name"), ""));
        } else if !seen.insert(name) {
            causes.push(duplicate(&path.child("name"), name));
        } else {
            causes.extend(invalids(&path.child("name"), name, names::dns_label(name)));
        }
        let sources = ["resourceClaimName", "resourceClaimTemplateName"];
        let given: Vec<_> = sources.into_iter().filter(|field| meta::value_at(claim, &[field]).is_some()).collect();
        let problem = match given.len() {
            0 => Some("must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"),
            1 => None,
            _ => Some("at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified"),
        };
        if let Some(problem) = problem {
            let shown = serde_json::json!({
                "Name": name,
                "ResourceClaimName": claim.get("resourceClaimName"),
                "ResourceClaimTemplateName": claim.get("resourceClaimTemplateName"),
            });
            let shown = show_ordered(&shown, &ORDER);
            causes.push(crate::validation::field::invalid_shown(&path, &shown, problem));
        }
        for field in given {
            let name = meta::str_at(claim, &[field]);
            causes.extend(invalids(&path.child(field), name, names::dns_subdomain(name)));
        }
    }
    causes
}

/// On the host's network a port is the host's port; a template may leave it out.
fn host_network_ports(spec: &Value, owner: Owner<'_>, path: &Path) -> Causes {
    if meta::value_at(spec, &["hostNetwork"]) != Some(&Value::Bool(true)) {
        return Causes::new();
    }
    let mut causes = Causes::new();
    for (position, container) in meta::list_at(spec, &["containers"]).iter().enumerate() {
        let path = path.child("containers").index(position).child("ports");
        for (position, port) in meta::list_at(container, &["ports"]).iter().enumerate() {
            let number = |field| meta::int_at(port, &[field]).unwrap_or(0);
            let (host, own) = (number("hostPort"), number("containerPort"));
            if host != own && (host != 0 || owner != Owner::Template) {
                let what = "must match `containerPort` when `hostNetwork` is true";
                causes.push(invalid(&path.index(position).child("hostPort"), host, what));
            }
        }
    }
    causes
}

fn dns_config(spec: &Value, path: &Path) -> Causes {
    let config = meta::value_at(spec, &["dnsConfig"]);
    let list = |field| config.map(|config| meta::list_at(config, &[field])).unwrap_or_default();
    let servers = list("nameservers");
    if meta::str_at(spec, &["dnsPolicy"]) == "None" {
        if config.is_none() {
            return vec![required(path, "must provide `dnsConfig` when `dnsPolicy` is None")];
        }
        if servers.is_empty() {
            let what = "must provide at least one DNS nameserver when `dnsPolicy` is None";
            return vec![required(&path.child("nameservers"), what)];
        }
    }
    let mut causes = Causes::new();
    if servers.len() > NAMESERVERS_MAX {
        let what = format!("must not have more than {NAMESERVERS_MAX} nameservers");
        causes.push(invalid(&path.child("nameservers"), servers.to_vec(), &what));
    }
    for (position, server) in servers.iter().enumerate() {
        causes.extend(ip::address(server.as_str().unwrap_or(""), &path.child("nameservers").index(position)));
    }
    let searches = list("searches");
    if searches.len() > SEARCHES_MAX {
        let what = format!("must not have more than {SEARCHES_MAX} search paths");
        causes.push(invalid(&path.child("searches"), searches.to_vec(), &what));
    }
    let texts: Vec<_> = searches.iter().filter_map(Value::as_str).collect();
    if texts.join(" ").len() > SEARCH_TEXT_MAX {
        let what =
            format!("must not have more than {SEARCH_TEXT_MAX} characters (including spaces) in the search list");
        causes.push(invalid(&path.child("searches"), searches.to_vec(), &what));
    }
    for (position, search) in texts.iter().enumerate().filter(|(_, search)| **search != ".") {
        let search = search.strip_suffix('.').unwrap_or(search);
        let problems = names::dns_subdomain_with_underscores(search);
        causes.extend(invalids(&path.child("searches").index(position), search, problems));
    }
    for (position, option) in list("options").iter().enumerate() {
        if meta::str_at(option, &["name"]).is_empty() {
            causes.push(required(&path.child("options").index(position), "must not be empty"));
        }
    }
    causes
}

/// Readiness gates and scheduling gates.
fn gates(spec: &Value, path: &Path) -> Causes {
    let mut causes = Causes::new();
    for (position, gate) in meta::list_at(spec, &["readinessGates"]).iter().enumerate() {
        let name = meta::str_at(gate, &["conditionType"]);
        let path = path.child("readinessGates").index(position).child("conditionType");
        causes.extend(invalids(&path, name, names::label_key(name)));
    }
    let mut seen = BTreeSet::new();
    for (position, gate) in meta::list_at(spec, &["schedulingGates"]).iter().enumerate() {
        let name = meta::str_at(gate, &["name"]);
        let path = path.child("schedulingGates").index(position);
        causes.extend(invalids(&path, name, names::label_key(name)));
        if !seen.insert(name) {
            causes.push(duplicate(&path, name));
        }
    }
    causes
}

fn host_users(spec: &Value, path: &Path) -> Causes {
    if meta::value_at(spec, &["hostUsers"]) != Some(&Value::Bool(false)) {
        return Causes::new();
    }
    let shared = [("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")].into_iter();
    let shared = shared.filter(|(field, _)| meta::value_at(spec, &[field]) == Some(&Value::Bool(true)));
    shared.map(|(_, shown)| forbidden(&path.child(shown), "when `pod.Spec.HostUsers` is false")).collect()
}

/// Names of the account, the node, the host; and the deadline between them, as Kubernetes has it.
fn named_things(spec: &Value, path: &Path) -> Causes {
    let mut causes = Causes::new();
    let name = |field: &str, rule: fn(&str) -> Vec<String>, causes: &mut Causes| {
        let name = meta::str_at(spec, &[field]);
        if !name.is_empty() {
            causes.extend(invalids(&path.child(field), name, rule(name)));
        }
    };
    name("serviceAccountName", names::dns_subdomain, &mut causes);
    name("nodeName", names::dns_subdomain, &mut causes);
    if let Some(seconds) = meta::int_at(spec, &["activeDeadlineSeconds"]) {
        for problem in names::in_range(seconds, 1, i32::MAX.into()) {
            causes.push(invalid(&path.child("activeDeadlineSeconds"), seconds, &problem));
        }
    }
    name("hostname", names::dns_label, &mut causes);
    name("subdomain", names::dns_label, &mut causes);
    causes
}

fn host_aliases(spec: &Value, path: &Path) -> Causes {
    let mut causes = Causes::new();
    for (position, alias) in meta::list_at(spec, &["hostAliases"]).iter().enumerate() {
        let path = path.index(position);
        causes.extend(ip::address(meta::str_at(alias, &["ip"]), &path.child("ip")));
        for (position, name) in meta::list_at(alias, &["hostnames"]).iter().filter_map(Value::as_str).enumerate() {
            causes.extend(invalids(&path.child("hostnames").index(position), name, names::dns_subdomain(name)));
        }
    }
    causes
}
