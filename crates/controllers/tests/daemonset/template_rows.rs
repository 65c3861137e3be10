//! The pod that is created. Names follow `daemonset_util_test.go`.

use backstay_controllers::daemonset::{PodTemplate, template};
use backstay_controllers::model::{DaemonSet, Object, Pod};
use serde_json::{Value, json};

use crate::world::daemonset;

/// The pod for node `n1` and hash `h`, of a DaemonSet changed like this.
fn pod(change: impl FnOnce(&mut Value)) -> Value {
    let mut object = daemonset("");
    change(&mut object);
    let daemonset = DaemonSet::from_value(&object).unwrap();
    let pod = template::pod(&daemonset, "h", "n1");
    let rendered: Value = serde_json::from_slice(&PodTemplate::new(&daemonset, &"h".into()).render("n1")).unwrap();
    assert_eq!(rendered, pod);
    pod
}

#[test]
fn create_pod_template() {
    let labels = |change: fn(&mut Value)| pod(change)["metadata"]["labels"].clone();
    assert_eq!(labels(|_| {}), json!({ "app": "d", "controller-revision-hash": "h", "pod-template-generation": "1" }));
    let annotation = "deprecated.daemonset.template.generation";
    let unreadable =
        labels(|object| object["metadata"]["annotations"]["deprecated.daemonset.template.generation"] = json!("x"));
    assert_eq!(unreadable, json!({ "app": "d", "controller-revision-hash": "h" }), "{annotation}");
}

#[test]
fn metadata_of_the_template_goes_into_the_pod() {
    let pod = pod(|object| {
        object["metadata"]["labels"] = json!({ "of": "the set" });
        let template = &mut object["spec"]["template"]["metadata"];
        template["annotations"] = json!({ "a": "b" });
        template["finalizers"] = json!(["example.com/f"]);
        template["name"] = json!("ignored");
    });
    let expected = json!({
        "generateName": "d-", "namespace": "ns", "annotations": { "a": "b" }, "finalizers": ["example.com/f"],
        "labels": { "app": "d", "controller-revision-hash": "h", "pod-template-generation": "1" },
        "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "DaemonSet", "name": "d", "uid": "uid-d",
            "controller": true, "blockOwnerDeletion": true }],
    });
    assert_eq!(pod["metadata"], expected);
}

#[test]
fn replace_daemonset_pod_node_name_node_affinity() {
    let required = json!({ "nodeSelectorTerms": [{ "matchFields": [
        { "key": "metadata.name", "operator": "In", "values": ["n1"] }] }] });
    let check = |affinity: Value, expected: Value| {
        let made = pod(|object| object["spec"]["template"]["spec"]["affinity"] = affinity.clone());
        assert_eq!(made["spec"]["affinity"], expected, "{affinity}");
        assert_eq!(made["spec"]["nodeName"], Value::Null, "binding is the scheduler's");
    };
    let only = json!({ "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": required } });
    check(Value::Null, only.clone());
    check(json!({}), only.clone());
    check(json!({ "nodeAffinity": null }), only.clone());
    check(json!({ "nodeAffinity": {} }), only.clone());
    let other = json!({ "nodeSelectorTerms": [{ "matchExpressions": [{ "key": "a", "operator": "Exists" }] }, {}] });
    check(json!({ "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": other } }), only);
    let preferred = json!([{ "weight": 1, "preference": {} }]);
    check(
        json!({ "podAffinity": {}, "nodeAffinity": { "preferredDuringSchedulingIgnoredDuringExecution": preferred } }),
        json!({ "podAffinity": {}, "nodeAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": preferred,
            "requiredDuringSchedulingIgnoredDuringExecution": required } }),
    );
}

#[test]
fn get_target_node_name() {
    let check = |spec: Value, expected: Option<&str>| {
        let pod = json!({ "metadata": { "name": "p" }, "spec": spec });
        let pod = Pod::from_json(pod.to_string().as_bytes()).unwrap();
        assert_eq!(pod.target_node.as_deref(), expected, "{spec}");
    };
    let terms = |terms: Value| {
        json!({ "affinity": { "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": terms } } } })
    };
    let field = |values: &[&str]| json!({ "key": "metadata.name", "operator": "In", "values": values });
    check(json!({ "nodeName": "n1" }), Some("n1"));
    check(terms(json!([{ "matchFields": [field(&["n1"])] }])), Some("n1"));
    check(terms(json!([{}, { "matchFields": [field(&["n1"])] }])), Some("n1"));
    check(terms(json!([{ "matchFields": [field(&["n1", "n2"])] }])), None);
    check(terms(json!([{ "matchExpressions": [field(&["n1"])] }])), None);
    check(terms(json!([])), None);
    check(json!({}), None);
    check(json!({ "affinity": null }), None);
}

#[test]
fn tolerations_are_added_or_replaced_in_place() {
    let tolerations = |user: Value, host_network: bool| -> Vec<String> {
        let made = pod(|object| {
            object["spec"]["template"]["spec"]["tolerations"] = user;
            object["spec"]["template"]["spec"]["hostNetwork"] = json!(host_network);
        });
        let text = |toleration: &Value| toleration.to_string();
        made["spec"]["tolerations"].as_array().unwrap().iter().map(text).collect()
    };
    let automatic = |key: &str, effect: &str| {
        json!({ "key": format!("node.kubernetes.io/{key}"), "operator": "Exists", "effect": effect }).to_string()
    };
    let all = [
        automatic("not-ready", "NoExecute"),
        automatic("unreachable", "NoExecute"),
        automatic("disk-pressure", "NoSchedule"),
        automatic("memory-pressure", "NoSchedule"),
        automatic("pid-pressure", "NoSchedule"),
        automatic("unschedulable", "NoSchedule"),
        automatic("network-unavailable", "NoSchedule"),
    ];
    assert_eq!(tolerations(Value::Null, false), all[..6]);
    assert_eq!(tolerations(json!([]), true), all);
    let seconds = json!({ "key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute",
        "tolerationSeconds": 5 });
    let other = json!({ "key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoSchedule" });
    let made = tolerations(json!([seconds, other]), false);
    assert_eq!(made[..3], [all[1].clone(), other.to_string(), all[0].clone()]);
    assert_eq!(made.len(), 7);
}

/// Nothing that a template says can be taken for the place of the node's name.
#[test]
fn the_name_of_the_node_goes_where_it_belongs() {
    for text in ["node", "nodee", "\"node\"", "n1"] {
        let made = pod(|object| {
            object["spec"]["template"]["metadata"]["annotations"] = json!({ text: text });
            object["spec"]["template"]["spec"]["affinity"] = json!({ "a": [text, "nodeeeee"] });
        });
        assert_eq!(made["metadata"]["annotations"][text], text);
    }
}
