//! Pods as Kubernetes made them for the DaemonSets of real projects, compared with ours.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use backstay_api::GroupVersionKind;
use backstay_controllers::daemonset::placement::PlacementRules;
use backstay_controllers::daemonset::{PodTemplate, template};
use backstay_controllers::model::{ControllerRevision, DaemonSet, Node, Object, Pod};
use serde_json::{Value, json};

/// The recordings, if they are there.
fn recordings() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let shared = std::env::var_os("BACKSTAY_SHARED").map_or_else(|| root.join("../shared"), PathBuf::from);
    let manifests = shared.join("data/golden/manifests");
    if !manifests.is_dir() {
        eprintln!("SKIPPED: no recordings at {} (set BACKSTAY_SHARED)", manifests.display());
        return None;
    }
    Some(manifests)
}

fn read(path: &Path) -> Option<Value> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

/// The recordings have placeholders where times and versions stood.
fn with_values(mut object: Value) -> Value {
    object["metadata"]["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
    object["metadata"]["resourceVersion"] = json!("1");
    if let Some(conditions) = object["status"]["conditions"].as_array_mut() {
        for condition in conditions {
            condition["lastTransitionTime"] = json!("2026-01-01T00:00:00Z");
        }
    }
    object
}

/// Every DaemonSet of the recordings at every stage: `(what it is, the DaemonSet, its pod)`.
fn each_stage(manifests: &Path, mut check: impl FnMut(&str, DaemonSet, Value)) -> usize {
    let mut count = 0;
    let mut directories: Vec<PathBuf> =
        std::fs::read_dir(manifests).unwrap().map(|entry| entry.unwrap().path()).collect();
    directories.sort();
    for directory in directories {
        for entry in std::fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            let file = path.file_name().unwrap().to_string_lossy().into_owned();
            let Some((stage, name)) = file.strip_suffix(".json").and_then(|name| name.split_once("-daemonset_")) else {
                continue;
            };
            let Some(pod) = read(&directory.join(format!("{stage}-pod_{name}.json"))) else { continue };
            let daemonset = DaemonSet::from_value(&with_values(read(&path).unwrap())).unwrap();
            check(&path.display().to_string(), daemonset, pod);
            count += 1;
        }
    }
    count
}

#[test]
fn pods_are_made_as_kubernetes_makes_them() {
    let Some(manifests) = recordings() else { return };
    let count = each_stage(&manifests, |what, daemonset, recorded| {
        // With OnDelete the recorded pod may be of an older template.
        let generation = recorded["metadata"]["labels"]["pod-template-generation"].as_str().map(str::to_string);
        if generation != daemonset.template_generation.map(|generation| generation.to_string()) {
            return;
        }
        let hash = recorded["metadata"]["labels"]["controller-revision-hash"].as_str().unwrap();
        let node = recorded["spec"]["nodeName"].as_str().unwrap();
        let ours = template::pod(&daemonset, hash, node);
        let mut defaulted = ours.clone();
        backstay_api::defaults::apply(&GroupVersionKind::new("", "v1", "Pod"), &mut defaulted);
        for (field, value) in spec_of_controller(&recorded, &defaulted).as_object().unwrap() {
            assert_eq!(*value, defaulted["spec"][field], "{what}: spec.{field}");
        }
        assert_eq!(metadata_of_controller(&recorded), metadata_of_controller(&ours), "{what}: metadata");
        let rendered: Value = serde_json::from_slice(&PodTemplate::new(&daemonset, &hash.into()).render(node)).unwrap();
        assert_eq!(rendered, ours, "{what}: rendered");
    });
    assert!(count > 60, "only {count} recordings");
}

/// The recorded spec without what the server adds to pods. Tokens and the like: see the README of the recordings.
fn spec_of_controller(recorded: &Value, ours: &Value) -> Value {
    let mut spec = recorded["spec"].clone();
    let fields: BTreeSet<&String> = ours["spec"].as_object().unwrap().keys().collect();
    spec.as_object_mut().unwrap().retain(|field, _| fields.contains(field));
    assert_eq!(spec.as_object().unwrap().len(), fields.len(), "fields of ours are missing there");
    spec
}

fn metadata_of_controller(pod: &Value) -> Value {
    let metadata = &pod["metadata"];
    let mut labels = metadata["labels"].clone();
    // The server copies these from the node when the pod is bound.
    for topology in ["topology.kubernetes.io/zone", "topology.kubernetes.io/region"] {
        labels.as_object_mut().unwrap().remove(topology);
    }
    json!({
        "generateName": metadata["generateName"], "namespace": metadata["namespace"], "labels": labels,
        "annotations": metadata["annotations"], "ownerReferences": metadata["ownerReferences"],
    })
}

#[test]
fn recorded_objects_are_read_as_what_they_are() {
    let Some(manifests) = recordings() else { return };
    each_stage(&manifests, |what, daemonset, recorded| {
        let pod = Pod::from_json(with_values(recorded.clone()).to_string().as_bytes()).unwrap();
        assert!(daemonset.matches(&pod.meta.labels), "{what}: the selector matches");
        assert!(pod.is_ready(), "{what}: the pod is ready");
        assert_eq!(pod.target_node.as_deref(), recorded["spec"]["nodeName"].as_str(), "{what}: its node");
        let mut unbound = with_values(recorded);
        let bound = unbound["spec"].as_object_mut().unwrap().remove("nodeName");
        let unbound = Pod::from_json(unbound.to_string().as_bytes()).unwrap();
        assert_eq!(unbound.target_node.as_deref(), bound.as_ref().and_then(Value::as_str), "{what}: meant for it");
    });
}

#[test]
fn pods_stand_on_the_nodes_that_kubernetes_chose() {
    let Some(manifests) = recordings() else { return };
    let nodes = read(&manifests.join("../nodes.json")).expect("nodes.json");
    let nodes: Vec<Node> = node_objects(&nodes).into_iter().map(node).collect();
    assert_eq!(nodes.len(), 3);
    each_stage(&manifests, |what, daemonset, recorded| {
        let rules = PlacementRules::of(&daemonset.template);
        let chosen: Vec<&str> =
            nodes.iter().filter(|node| rules.place(node).should_run).map(|node| &*node.meta.name).collect();
        assert_eq!(chosen.len() as u32, daemonset.status.desired_number_scheduled, "{what}: {chosen:?}");
        assert_eq!(chosen.first().copied(), recorded["spec"]["nodeName"].as_str(), "{what}");
    });
}

fn node_objects(value: &Value) -> Vec<Value> {
    match value {
        Value::Array(nodes) => nodes.clone(),
        value => value["items"].as_array().expect("a list of nodes").clone(),
    }
}

/// The node lifecycle controller adds these two labels.
fn node(mut node: Value) -> Node {
    for field in ["os", "arch"] {
        let label = node["metadata"]["labels"][format!("kubernetes.io/{field}")].clone();
        node["metadata"]["labels"][format!("beta.kubernetes.io/{field}")] = label;
    }
    let mut node = Node::from_json(with_values(node).to_string().as_bytes()).unwrap();
    node.taints.clear();
    node
}

#[test]
fn recorded_revisions_hold_the_recorded_templates() {
    let Some(manifests) = recordings() else { return };
    each_stage(&manifests, |what, daemonset, _| {
        let path = Path::new(what);
        let stage = path.file_name().unwrap().to_str().unwrap().split('-').next().unwrap();
        let list = path.with_file_name(format!("{stage}-controllerrevisions_{}.json", daemonset.meta.namespace));
        let list = read(&list).unwrap();
        let items = list["items"].as_array().unwrap().iter();
        let revisions: Vec<ControllerRevision> = items
            .map(|item| ControllerRevision::from_json(with_values(item.clone()).to_string().as_bytes()).unwrap())
            .collect();
        let current = revisions.iter().filter(|revision| revision.data == daemonset.data);
        assert_eq!(current.count(), 1, "{what}: one revision holds its template");
    });
}
