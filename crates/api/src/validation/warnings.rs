//! What is legal but unwise: texts for `Warning` headers. Source: `pkg/api/pod/warnings.go`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::field::{Path, quote};
use super::names;
use crate::meta;
use crate::pod::CONTAINERS;
use crate::quantity::Quantity;
use crate::resources::Resource;

/// Warnings about a new object, or about one that changed in what counts as its generation.
pub(super) fn of(resource: &Resource, object: &Value, old: Option<&Value>) -> Vec<String> {
    let unchanged = old.is_some_and(|old| meta::generation(old) == meta::generation(object));
    match (resource.group.as_str(), resource.kind.as_str()) {
        // Pods are changed by controllers, who read no warnings.
        ("", "Pod") if old.is_some() => Vec::new(),
        ("", "Pod") => {
            let found = hostname_as("the Pod's hostname", object);
            found.into_iter().chain(pod_spec(object, None)).collect()
        }
        _ if unchanged => Vec::new(),
        ("apps", "DaemonSet" | "StatefulSet") | ("", "ReplicationController") => {
            template(object, &["spec", "template"])
        }
        ("apps", "Deployment" | "ReplicaSet") | ("batch", "Job") => {
            let name = hostname_as("Pod names and hostnames", object);
            name.into_iter().chain(template(object, &["spec", "template"])).collect()
        }
        ("batch", "CronJob") => template(object, &["spec", "jobTemplate", "spec", "template"]),
        _ => Vec::new(),
    }
}

fn hostname_as(used_in: &str, object: &Value) -> Option<String> {
    let problems = names::dns_label(meta::name(object));
    let problems = problems.join(" ");
    let text = "which can result in surprising behavior; a DNS label is recommended";
    (!problems.is_empty()).then(|| format!("metadata.name: this is used in {used_in}, {text}: [{problems}]"))
}

fn template(object: &Value, at: &[&str]) -> Vec<String> {
    let path = at[1..].iter().fold(Path::new(at[0]), |path, field| path.child(field));
    meta::value_at(object, at).map(|template| pod_spec(template, Some(&path))).unwrap_or_default()
}

/// `owner` is a pod (without a path) or a template.
fn pod_spec(owner: &Value, path: Option<&Path>) -> Vec<String> {
    let at = |field: &str| path.map_or(Path::new(field), |path| path.child(field));
    let spec = owner.get("spec").unwrap_or(&Value::Null);
    let mut found = scheduling(spec, &at("spec"));
    found.extend(annotations(owner, &at("metadata").child("annotations")));
    found.extend(volumes(spec, &at("spec").child("volumes")));
    found.extend(duplicates(spec, &at("spec")));
    found.extend(fractions(spec.get("overhead"), &at("spec").child("overhead")));
    let containers = containers(spec, &at("spec"));
    for (container, path) in &containers {
        for kind in ["limits", "requests"] {
            let amounts = container.pointer(&format!("/resources/{kind}"));
            found.extend(fractions(amounts, &path.child("resources").child(kind)));
        }
        found.extend(hidden_variables(container, &path.child("env")));
    }
    found.extend(ports(&containers));
    if meta::int_at(spec, &["terminationGracePeriodSeconds"]).is_some_and(|seconds| seconds < 0) {
        let path = at("spec").child("terminationGracePeriodSeconds");
        found.push(format!("{path}: must be >= 0; negative values are invalid and will be treated as 1"));
    }
    found
}

/// All containers, in the order in which Kubernetes visits them.
fn containers<'a>(spec: &'a Value, path: &Path) -> Vec<(&'a Value, Path)> {
    let all = CONTAINERS.into_iter().flat_map(|list| {
        let containers = meta::list_at(spec, &[list]).iter().enumerate();
        containers.map(move |(position, container)| (container, list, position))
    });
    all.map(|(container, list, position)| (container, path.child(list).index(position))).collect()
}

fn deprecated_node_label(key: &str) -> Option<&'static str> {
    Some(match key {
        "beta.kubernetes.io/arch" => "deprecated since v1.14; use \"kubernetes.io/arch\" instead",
        "beta.kubernetes.io/os" => "deprecated since v1.14; use \"kubernetes.io/os\" instead",
        "failure-domain.beta.kubernetes.io/region" => {
            "deprecated since v1.17; use \"topology.kubernetes.io/region\" instead"
        }
        "failure-domain.beta.kubernetes.io/zone" => {
            "deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead"
        }
        "beta.kubernetes.io/instance-type" => {
            "deprecated since v1.17; use \"node.kubernetes.io/instance-type\" instead"
        }
        "app.kubernetes.io/created-by" => "deprecated since v1.9",
        "scheduler.alpha.kubernetes.io/preferAvoidPods" => "deprecated since v1.22; use Taints and Tolerations instead",
        "node-role.kubernetes.io/master" => "use \"node-role.kubernetes.io/control-plane\" instead",
        _ => return None,
    })
}

fn scheduling(spec: &Value, path: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for key in meta::string_map(spec.get("nodeSelector")).keys() {
        found.extend(deprecated_node_label(key).map(|why| format!("{}: {why}", path.child("nodeSelector").key(key))));
    }
    let affinity = path.child("affinity").child("nodeAffinity");
    let required = "requiredDuringSchedulingIgnoredDuringExecution";
    let terms = meta::list_at(spec, &["affinity", "nodeAffinity", required, "nodeSelectorTerms"]);
    for (position, term) in terms.iter().enumerate() {
        let path = affinity.child(required).child("nodeSelectorTerms").index(position);
        found.extend(node_term(term, &path));
    }
    let preferred = "preferredDuringSchedulingIgnoredDuringExecution";
    for (position, term) in meta::list_at(spec, &["affinity", "nodeAffinity", preferred]).iter().enumerate() {
        let term = term.get("preference").unwrap_or(&Value::Null);
        let path = affinity.child(preferred).index(position).child("preference");
        found.extend(node_term(term, &path));
        found.extend(unlikely_values(term, &path));
    }
    for (position, constraint) in meta::list_at(spec, &["topologySpreadConstraints"]).iter().enumerate() {
        let path = path.child("topologySpreadConstraints").index(position);
        let key = meta::str_at(constraint, &["topologyKey"]);
        let why = deprecated_node_label(key);
        found.extend(why.map(|why| format!("{}: {key} is {why}", path.child("topologyKey"))));
        if meta::value_at(constraint, &["labelSelector"]).is_none() {
            let path = path.child("labelSelector");
            found.push(format!("{path}: a null labelSelector results in matching no pod"));
        }
    }
    found
}

fn node_term(term: &Value, path: &Path) -> Vec<String> {
    let expressions = meta::list_at(term, &["matchExpressions"]).iter().enumerate();
    let deprecated = expressions.filter_map(|(position, expression)| {
        let key = meta::str_at(expression, &["key"]);
        let path = path.child("matchExpressions").index(position).child("key");
        Some(format!("{path}: {key} is {}", deprecated_node_label(key)?))
    });
    deprecated.collect()
}

/// Values that no label can have.
fn unlikely_values(term: &Value, path: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for (position, expression) in meta::list_at(term, &["matchExpressions"]).iter().enumerate() {
        let path = path.child("matchExpressions").index(position).child("values");
        for (position, value) in meta::list_at(expression, &["values"]).iter().filter_map(Value::as_str).enumerate() {
            let problems = names::label_value(value);
            found.extend(problems.iter().map(|what| format!("{}: {value} is invalid, {what}", path.index(position))));
        }
    }
    found
}

fn annotations(owner: &Value, path: &Path) -> Vec<String> {
    const DEPRECATED: [(&str, &str); 3] = [
        (
            "scheduler.alpha.kubernetes.io/critical-pod",
            "non-functional in v1.16+; use the \"priorityClassName\" field instead",
        ),
        ("security.alpha.kubernetes.io/sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
        ("security.alpha.kubernetes.io/unsafe-sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
    ];
    let given = DEPRECATED.iter().filter(|(key, _)| meta::annotation(owner, key).is_some());
    let mut found: Vec<_> = given.map(|(key, why)| format!("{}: {why}", path.key(key))).collect();
    let seccomp = "seccomp.security.alpha.kubernetes.io/pod";
    let has_field = meta::value_at(owner, &["spec", "securityContext", "seccompProfile"]).is_some();
    if meta::annotation(owner, seccomp).is_some() && !has_field {
        let why = "non-functional in v1.27+; use the \"seccompProfile\" field instead";
        found.push(format!("{}: {why}", path.key(seccomp)));
    }
    found
}

fn volumes(spec: &Value, path: &Path) -> Vec<String> {
    const DEPRECATED: [(&str, &str, &str); 9] = [
        ("photonPersistentDisk", "photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
        ("gitRepo", "gitRepo", "deprecated in v1.11, and disabled by default in v1.33+"),
        ("scaleIO", "scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
        ("flocker", "flocker", "deprecated in v1.22, non-functional in v1.25+"),
        ("storageos", "storageOS", "deprecated in v1.22, non-functional in v1.25+"),
        ("quobyte", "quobyte", "deprecated in v1.22, non-functional in v1.25+"),
        ("glusterfs", "glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
        ("cephfs", "cephfs", "deprecated in v1.28, non-functional in v1.31+"),
        ("rbd", "rbd", "deprecated in v1.28, non-functional in v1.31+"),
    ];
    let mut found = Vec::new();
    for (position, volume) in meta::list_at(spec, &["volumes"]).iter().enumerate() {
        let given = DEPRECATED.iter().filter(|(field, ..)| meta::value_at(volume, &[field]).is_some());
        found.extend(given.map(|(_, shown, why)| format!("{}: {why}", path.index(position).child(shown))));
    }
    found
}

/// The same host alias or pull secret twice, and pull secrets without a name.
fn duplicates(spec: &Value, path: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for (list, field, what) in [("hostAliases", "ip", "ip"), ("imagePullSecrets", "name", "name")] {
        let mut seen = BTreeSet::new();
        for (position, element) in meta::list_at(spec, &[list]).iter().enumerate() {
            let value = meta::str_at(element, &[field]);
            if !seen.insert(value) {
                let path = path.child(list).index(position).child(field);
                found.push(format!("{path}: duplicate {what} {}", quote(value)));
            }
        }
    }
    for (position, secret) in meta::list_at(spec, &["imagePullSecrets"]).iter().enumerate() {
        if meta::str_at(secret, &["name"]).is_empty() {
            let path = path.child("imagePullSecrets").index(position).child("name");
            found.push(format!("{path}: invalid empty name \"\""));
        }
    }
    found
}

/// Bytes cannot be split.
fn fractions(amounts: Option<&Value>, path: &Path) -> Vec<String> {
    let amounts = meta::string_map(amounts);
    let bytes = ["memory", "ephemeral-storage"].into_iter().filter_map(|name| Some((name, amounts.get(name)?)));
    let fractions = bytes.filter(|(_, amount)| Quantity::parse(amount).is_ok_and(|amount| !amount.is_integer()));
    let texts = fractions.map(|(name, amount)| {
        let path = path.key(name);
        format!("{path}: fractional byte value {} is invalid, must be an integer", quote(amount))
    });
    texts.collect()
}

/// A variable that is set again may only build on what it was.
fn hidden_variables(container: &Value, path: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    for (position, variable) in meta::list_at(container, &["env"]).iter().enumerate() {
        let (name, value) = (meta::str_at(variable, &["name"]), meta::str_at(variable, &["value"]));
        let reference = format!("$({name})");
        let builds_on = value.contains(&reference) && value != reference;
        if !seen.insert(name) && (!builds_on || meta::value_at(variable, &["valueFrom"]).is_some()) {
            let what = "which may be dropped when using apply";
            found.push(format!("{}: hides previous definition of {}, {what}", path.index(position), quote(name)));
        }
    }
    found
}

/// Ports that are declared more than once.
fn ports(containers: &[(&Value, Path)]) -> Vec<String> {
    let mut found = Vec::new();
    let mut seen: BTreeMap<(i64, &str), Vec<(&Value, Path)>> = BTreeMap::new();
    for (container, path) in containers {
        for (position, port) in meta::list_at(container, &["ports"]).iter().enumerate() {
            let path = path.child("ports").index(position);
            let number = meta::int_at(port, &["containerPort"]).unwrap_or(0);
            let others = seen.entry((number, meta::str_at(port, &["protocol"]))).or_default();
            for (other, other_path) in others.iter() {
                let how = overlap(port, other);
                found.extend(how.map(|how| format!("{path}: {how} port definition with {other_path}")));
            }
            others.push((port, path));
        }
    }
    found
}

fn overlap(port: &Value, other: &Value) -> Option<&'static str> {
    let host_port = |port| meta::int_at(port, &["hostPort"]).unwrap_or(0);
    let host_ip = |port| meta::str_at(port, &["hostIP"]);
    if (host_port(port), host_ip(port)) == (host_port(other), host_ip(other)) {
        Some("duplicate")
    } else if host_port(port) == 0 || host_port(other) == 0 {
        Some("overlapping")
    } else if host_port(port) == host_port(other) && (host_ip(port).is_empty() != host_ip(other).is_empty()) {
        Some("dangerously ambiguous")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{GroupVersionKind, resources};

    #[track_caller]
    fn check(spec: Value, expected: &[&str]) {
        let daemonsets = resources::of_kind(&GroupVersionKind::new("apps", "v1", "DaemonSet")).unwrap();
        let object = json!({"metadata": {"name": "d"}, "spec": {"template": {"spec": spec}}});
        let expected: Vec<_> = expected.iter().map(|text| format!("spec.template.spec.{text}")).collect();
        assert_eq!(of(daemonsets, &object, None), expected);
        assert_eq!(of(daemonsets, &object, Some(&object)), Vec::<String>::new());
    }

    #[test]
    fn warns_of_what_is_unwise() {
        check(json!({"nodeSelector": {"kubernetes.io/os": "linux"}, "containers": [{"name": "c"}]}), &[]);
        check(
            json!({"nodeSelector": {"beta.kubernetes.io/os": "linux"}}),
            &["nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use \"kubernetes.io/os\" instead"],
        );
        check(json!({"imagePullSecrets": [{}]}), &["imagePullSecrets[0].name: invalid empty name \"\""]);
        check(
            json!({"containers": [{"resources": {"requests": {"memory": "100m", "cpu": "100m"}}}]}),
            &[
                "containers[0].resources.requests[memory]: fractional byte value \"100m\" is invalid, must be an integer",
            ],
        );
        check(
            json!({"containers": [{"env": [{"name": "A", "value": "1"}, {"name": "A", "value": "$(A)2"}, {"name": "A"}]}]}),
            &["containers[0].env[2]: hides previous definition of \"A\", which may be dropped when using apply"],
        );
        check(
            json!({"containers": [{"ports": [{"containerPort": 1, "protocol": "TCP"}]},
                {"ports": [{"containerPort": 1, "protocol": "TCP"}, {"containerPort": 1, "protocol": "UDP"}]}]}),
            &["containers[1].ports[0]: duplicate port definition with spec.template.spec.containers[0].ports[0]"],
        );
        check(
            json!({"volumes": [{"name": "v", "rbd": {}}], "topologySpreadConstraints": [{"topologyKey": "z"}]}),
            &[
                "topologySpreadConstraints[0].labelSelector: a null labelSelector results in matching no pod",
                "volumes[0].rbd: deprecated in v1.28, non-functional in v1.31+",
            ],
        );
    }

    #[test]
    fn warns_of_names_that_make_bad_hostnames() {
        let pods = resources::of_kind(&GroupVersionKind::new("", "v1", "Pod")).unwrap();
        let found = of(pods, &json!({"metadata": {"name": "a.b"}, "spec": {}}), None);
        let expected = "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; \
                        a DNS label is recommended: [must not contain dots]";
        assert_eq!(found, [expected]);
    }
}
