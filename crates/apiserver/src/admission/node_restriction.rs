//! `NodeRestriction`: what a node may write into what it may write. Which objects those are, is said by the node
//! authorizer. Source: `plugin/pkg/admission/noderestriction`.

use backstay_api::{Status, meta};
use serde_json::Value;

use super::{Admission, Event};
use crate::authz::node;

/// Labels of Kubernetes' own that a node may set on itself.
const LABELS: [&str; 12] = [
    "kubernetes.io/hostname",
    "kubernetes.io/arch",
    "kubernetes.io/os",
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/instance-type",
    "beta.kubernetes.io/os",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "node.kubernetes.io/instance-type",
    "node.kubernetes.io/windows-build",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
];
/// Everything below these, too.
const LABEL_PREFIXES: [&str; 2] = ["kubelet.kubernetes.io", "node.kubernetes.io"];

pub fn admit(admission: &mut Admission<'_>) -> Result<(), Status> {
    let Some(name) = node::name_of(&admission.call.user).map(str::to_string) else { return Ok(()) };
    let resource = &admission.call.served.resource;
    let (group, plural) = (resource.group.clone(), resource.plural.clone());
    let old = match admission.event {
        Event::Update { old } => Some(old),
        _ => None,
    };
    let is_create = matches!(admission.event, Event::Create);
    let why = match (group.as_str(), plural.as_str(), admission.call.subresource()) {
        ("", "nodes", None) if is_create || old.is_some() => node_object(&name, admission.object, old),
        ("", "pods", None) if is_create => mirror_pod(&name, admission.object),
        ("", "pods", Some("status")) => old.and_then(|old| {
            let labels = |pod: &Value| meta::labels(pod);
            (labels(old) != labels(admission.object))
                .then(|| format!("node {name:?} cannot update labels through pod status"))
        }),
        ("coordination.k8s.io", "leases", None) | ("storage.k8s.io", "csinodes", None) if is_create => {
            let other = meta::name(admission.object);
            (other != name).then(|| format!("can only access {plural} with the same name as the requesting node"))
        }
        _ => None,
    };
    match why {
        Some(why) => Err(Status::forbidden(&group, &plural, meta::name(admission.object), &why)),
        None => Ok(()),
    }
}

/// Why a node may not write this Node.
fn node_object(own: &str, object: &Value, old: Option<&Value>) -> Option<String> {
    if meta::name(object) != own {
        return Some(format!("node {own:?} is not allowed to modify node {:?}", meta::name(object)));
    }
    if let Some(old) = old
        && meta::list_at(object, &["spec", "taints"]) != meta::list_at(old, &["spec", "taints"])
    {
        return Some(format!("node {own:?} is not allowed to modify taints"));
    }
    let (held, wanted) = (old.map(meta::labels).unwrap_or_default(), meta::labels(object));
    let keys = held.keys().chain(wanted.keys()).filter(|key| held.get(*key) != wanted.get(*key));
    let mut forbidden: Vec<&str> = keys.map(String::as_str).filter(|key| is_reserved(key)).collect();
    forbidden.sort_unstable();
    forbidden.dedup();
    (!forbidden.is_empty()).then(|| format!("is not allowed to modify labels: {}", forbidden.join(", ")))
}

/// Labels that say where secrets may go are not a node's to choose.
fn is_reserved(key: &str) -> bool {
    let domain = key.split_once('/').map_or("", |(domain, _)| domain);
    let below = |parent: &str| domain == parent || domain.ends_with(&format!(".{parent}"));
    if below("node-restriction.kubernetes.io") {
        return true;
    }
    let of_kubernetes = below("kubernetes.io") || below("k8s.io");
    of_kubernetes && !LABELS.contains(&key) && !LABEL_PREFIXES.iter().any(|prefix| below(prefix))
}

/// Why a node may not make this pod: all it may make are pictures of those that it runs by itself.
fn mirror_pod(own: &str, pod: &Value) -> Option<String> {
    if meta::annotation(pod, "kubernetes.io/config.mirror").is_none() {
        return Some(format!(
            "pod does not have \"kubernetes.io/config.mirror\" annotation, node {own:?} can only create mirror pods"
        ));
    }
    if meta::str_at(pod, &["spec", "nodeName"]) != own {
        return Some(format!("node {own:?} can only create pods with spec.nodeName set to itself"));
    }
    // What a pod refers to, its node may read: whoever could choose that could read everything.
    let kinds = ["secret", "configMap", "persistentVolumeClaim", "ephemeral", "projected"];
    let refers = node::refers_to_objects(pod)
        || meta::list_at(pod, &["spec", "volumes"])
            .iter()
            .any(|volume| kinds.iter().any(|kind| volume.get(kind).is_some()));
    refers.then(|| format!("node {own:?} can not create pods that reference other API objects"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(object: Value, old: Option<Value>, refused: Option<&str>) {
        let why = node_object("n1", &object, old.as_ref());
        match refused {
            None => assert_eq!(why, None, "{object}"),
            Some(text) => assert!(why.as_ref().is_some_and(|why| why.contains(text)), "{object}: {why:?}"),
        }
    }

    fn node(labels: Value) -> Value {
        json!({ "metadata": { "name": "n1", "labels": labels } })
    }

    #[test]
    fn a_node_writes_its_own_and_not_all_of_it() {
        check(node(json!({ "kubernetes.io/hostname": "n1", "team": "a", "node.kubernetes.io/x": "y" })), None, None);
        check(json!({ "metadata": { "name": "n2" } }), None, Some("modify node \"n2\""));
        check(node(json!({ "node-restriction.kubernetes.io/secret": "yes" })), None, Some("node-restriction"));
        check(node(json!({ "node-role.kubernetes.io/master": "" })), None, Some("node-role.kubernetes.io/master"));
        check(node(json!({ "x.k8s.io/y": "" })), None, Some("x.k8s.io/y"));
        let reserved = json!({ "node-restriction.kubernetes.io/a": "1" });
        check(node(reserved.clone()), Some(node(reserved.clone())), None);
        check(node(json!({})), Some(node(reserved)), Some("is not allowed to modify labels"));
        let tainted =
            json!({ "metadata": { "name": "n1" }, "spec": { "taints": [{ "key": "k", "effect": "NoSchedule" }] } });
        check(tainted.clone(), None, None);
        check(node(json!({})), Some(tainted), Some("modify taints"));
    }

    #[test]
    fn only_mirror_pods_of_its_own() {
        let check = |pod: Value, refused: Option<&str>| {
            let why = mirror_pod("n1", &pod);
            assert_eq!(why.is_some(), refused.is_some(), "{why:?}");
            assert!(refused.is_none_or(|text| why.unwrap_or_default().contains(text)));
        };
        let mirror = json!({ "annotations": { "kubernetes.io/config.mirror": "x" } });
        check(json!({ "metadata": mirror, "spec": { "nodeName": "n1" } }), None);
        check(json!({ "metadata": {}, "spec": { "nodeName": "n1" } }), Some("only create mirror pods"));
        check(json!({ "metadata": mirror, "spec": { "nodeName": "n2" } }), Some("set to itself"));
        let volumes = json!([{ "name": "v", "secret": { "secretName": "s" } }]);
        check(json!({ "metadata": mirror, "spec": { "nodeName": "n1", "volumes": volumes } }), Some("reference other"));
        let from =
            |container: Value| json!({ "metadata": mirror, "spec": { "nodeName": "n1", "containers": [container] } });
        let variable =
            |kind: &str| json!({ "env": [{ "name": "A", "valueFrom": { kind: { "name": "s", "key": "k" } } }] });
        for container in [
            json!({ "envFrom": [{ "secretRef": { "name": "s" } }] }),
            json!({ "envFrom": [{ "configMapRef": { "name": "c" } }] }),
            variable("secretKeyRef"),
            variable("configMapKeyRef"),
        ] {
            check(from(container), Some("reference other"));
        }
        check(from(variable("fieldRef")), None);
        let hidden = json!([{ "name": "v", "rbd": { "secretRef": { "name": "s" } } }]);
        for (field, value) in [
            ("imagePullSecrets", json!([{ "name": "s" }])),
            ("volumes", hidden),
            ("resourceClaims", json!([{ "name": "r", "resourceClaimName": "r" }])),
        ] {
            check(json!({ "metadata": mirror, "spec": { "nodeName": "n1", field: value } }), Some("reference other"));
        }
    }
}
