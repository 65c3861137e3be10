//! The pod to create: the template, made a pod of this DaemonSet, this revision and one node.

use std::fmt;
use std::sync::Arc;

use backstay_api::meta::map_mut;
use serde_json::{Value, json};

use crate::history::HASH_LABEL;
use crate::model::DaemonSet;
use crate::scheduling::taints::DAEMON_TOLERATIONS;

/// Set on pods beside the hash, so that a controller that computes other hashes knows them.
pub const TEMPLATE_GENERATION_LABEL: &str = "pod-template-generation";

/// The pods of one DaemonSet at one revision, encoded once; they differ only in the node.
#[derive(Clone, PartialEq, Eq)]
pub struct PodTemplate {
    pub namespace: Arc<str>,
    pub hash: Arc<str>,
    head: Box<[u8]>,
    tail: Box<[u8]>,
}

impl PodTemplate {
    pub fn new(daemonset: &DaemonSet, hash: &Arc<str>) -> Self {
        let placeholder = absent_from(&pod(daemonset, hash, "").to_string());
        let encoded = pod(daemonset, hash, &placeholder).to_string();
        let (head, tail) = encoded.split_once(&format!("\"{placeholder}\"")).expect("the pod names its node");
        PodTemplate {
            namespace: daemonset.meta.namespace.clone(),
            hash: hash.clone(),
            head: head.as_bytes().into(),
            tail: tail.as_bytes().into(),
        }
    }

    /// The body to POST for this node.
    pub fn render(&self, node: &str) -> Vec<u8> {
        let node = Value::from(node).to_string();
        [&self.head, node.as_bytes(), &self.tail].concat()
    }
}

impl fmt::Debug for PodTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PodTemplate({})", self.hash)
    }
}

/// The pod that the DaemonSet wants on the node.
pub fn pod(daemonset: &DaemonSet, hash: &str, node: &str) -> Value {
    let mut pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": {}, "spec": {} });
    let template = &daemonset.template;
    let metadata = map_mut(&mut pod, &["metadata"]);
    for field in ["labels", "annotations", "finalizers"] {
        if let Some(value) = template.pointer(&format!("/metadata/{field}")).filter(|value| !value.is_null()) {
            metadata.insert(field.into(), value.clone());
        }
    }
    metadata.insert("generateName".into(), format!("{}-", daemonset.meta.name).into());
    metadata.insert("namespace".into(), Value::from(&*daemonset.meta.namespace));
    let owner = owner_reference(&daemonset.meta.name, &daemonset.meta.uid);
    metadata.insert("ownerReferences".into(), Value::Array(vec![owner]));
    let labels = map_mut(&mut pod, &["metadata", "labels"]);
    labels.insert(HASH_LABEL.into(), hash.into());
    if let Some(generation) = daemonset.template_generation {
        labels.insert(TEMPLATE_GENERATION_LABEL.into(), generation.to_string().into());
    }
    pod["spec"] = template.get("spec").cloned().unwrap_or_default();
    require_node(&mut pod, node);
    add_tolerations(&mut pod);
    pod
}

/// The controlling owner reference to a DaemonSet.
pub fn owner_reference(name: &str, uid: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet", "name": name, "uid": uid,
        "controller": true, "blockOwnerDeletion": true,
    })
}

/// Replaces the required node affinity; preferences stay.
fn require_node(pod: &mut Value, node: &str) {
    let field = json!({ "key": "metadata.name", "operator": "In", "values": [node] });
    let required = json!({ "nodeSelectorTerms": [{ "matchFields": [field] }] });
    map_mut(pod, &["spec", "affinity", "nodeAffinity"])
        .insert("requiredDuringSchedulingIgnoredDuringExecution".into(), required);
}

fn add_tolerations(pod: &mut Value) {
    let spec = map_mut(pod, &["spec"]);
    let host_network = spec.get("hostNetwork") == Some(&Value::Bool(true));
    let tolerations = spec.entry("tolerations").or_insert(Value::Null);
    if !tolerations.is_array() {
        *tolerations = json!([]);
    }
    let tolerations = tolerations.as_array_mut().expect("made a list just above");
    for (key, effect, _) in DAEMON_TOLERATIONS.iter().filter(|(_, _, host_only)| host_network || !host_only) {
        let automatic = json!({ "key": key, "operator": "Exists", "effect": effect });
        let mut found = false;
        for same in tolerations.iter_mut().filter(|toleration| is_same(toleration, key, effect)) {
            *same = automatic.clone();
            found = true;
        }
        if !found {
            tolerations.push(automatic);
        }
    }
}

/// A string that stands nowhere in the text, to mark the place of the node's name.
fn absent_from(text: &str) -> String {
    let mut placeholder = String::from("node");
    while text.contains(&placeholder) {
        placeholder.push('e');
    }
    placeholder
}

/// Equal but for the seconds.
fn is_same(toleration: &Value, key: &str, effect: &str) -> bool {
    let empty = |field: &str| toleration.get(field).is_none_or(|value| value.is_null() || value == "");
    toleration["key"] == key && toleration["effect"] == effect && toleration["operator"] == "Exists" && empty("value")
}
