//! Which nodes run the pod. Names follow `daemon_controller_test.go`.

use backstay_controllers::daemonset::placement::PlacementRules;
use backstay_controllers::model::{DaemonSet, Node};
use serde_json::json;

use crate::check_counts;
use crate::world::{World, daemonset, taint};

/// Places the template of these options on a node with these labels and taints: (should run, should continue).
fn check_place(options: &str, node: &str, expected: (bool, bool)) {
    let daemonset = DaemonSet::from_value(&daemonset(options)).unwrap();
    let mut seen = Node::default();
    let mut words = node.split_whitespace();
    seen.meta.name = words.next().unwrap().into();
    for word in words {
        match word.split_once('=').unwrap() {
            ("taint", text) => seen.taints.push(taint(text)),
            (key, value) => drop(seen.meta.labels.insert(key.into(), value.into())),
        }
    }
    let place = PlacementRules::of(&daemonset.template).place(&seen);
    assert_eq!((place.should_run, place.should_continue), expected, "{options} on {node}");
}

#[test]
fn node_should_run_daemon_pod() {
    check_place("", "n1", (true, true));
    check_place("node=n1", "n1", (true, true));
    check_place("node=n1", "n2", (false, false));
    check_place("select=color:blue", "n1", (false, false));
    check_place("select=color:blue", "n1 color=blue", (true, true));
    check_place("select=color:blue", "n1 color=green", (false, false));
    check_place("affinity=color:blue", "n1 color=blue", (true, true));
    check_place("affinity=color:blue", "n1 color=red", (false, false));
    check_place("node=n1 select=color:blue", "n1 color=blue", (true, true));
    check_place("node=n1 select=color:blue", "n2 color=blue", (false, false));
    check_place("node=n1 select=color:blue", "n1", (false, false));
}

#[test]
fn taints_and_tolerations() {
    check_place("", "n1 taint=k:NoSchedule", (false, true));
    check_place("", "n1 taint=k:NoExecute", (false, false));
    check_place("", "n1 taint=k:PreferNoSchedule", (true, true));
    check_place("tolerate=k:NoSchedule", "n1 taint=k:NoSchedule", (true, true));
    check_place("tolerate=k:NoSchedule", "n1 taint=k:NoExecute", (false, false));
    check_place("tolerate=k:NoExecute", "n1 taint=k:NoExecute", (true, true));
}

#[test]
fn daemon_pods_are_there_before_the_node_is_ready() {
    for taint in
        ["not-ready:NoExecute", "unreachable:NoExecute", "disk-pressure:NoSchedule", "memory-pressure:NoSchedule"]
    {
        check_place("", &format!("n1 taint=node.kubernetes.io/{taint}"), (true, true));
    }
    check_place("", "n1 taint=node.kubernetes.io/pid-pressure:NoSchedule", (true, true));
    check_place("", "n1 taint=node.kubernetes.io/unschedulable:NoSchedule", (true, true));
    check_place("", "n1 taint=node.kubernetes.io/network-unavailable:NoSchedule", (false, true));
    check_place("host-network", "n1 taint=node.kubernetes.io/network-unavailable:NoSchedule", (true, true));
}

#[test]
fn no_schedule_tainted_doesnt_evict_running_intolerant_pod() {
    check_counts("unavailable=1\nn1 taint=k:NoSchedule: new ready", (0, 0, 0));
}

#[test]
fn no_execute_tainted_does_evict_running_intolerant_pod() {
    check_counts("unavailable=1\nn1 taint=k:NoExecute: new ready", (0, 1, 0));
}

#[test]
fn tainted_node_daemon_does_not_launch_intolerant_pod() {
    check_counts("unavailable=1\nn1 taint=k:NoSchedule:", (0, 0, 0));
    check_counts("tolerate=k:NoSchedule\nn1 taint=k:NoSchedule:", (1, 0, 0));
}

#[test]
fn selectors_and_names_choose_nodes() {
    let fleet = "n1:\nn2 color=blue:\nn3 color=blue:";
    for (options, created) in [
        ("select=color:blue", 2),
        ("select=color:red", 0),
        ("node=n1", 1),
        ("node=nobody", 0),
        ("node=n2 select=color:blue", 1),
        ("node=n1 select=color:blue", 0),
        ("affinity=color:blue", 2),
    ] {
        check_counts(&format!("{options}\n{fleet}"), (created, 0, 0));
    }
}

#[test]
fn a_node_whose_labels_or_taints_change_is_looked_at_again() {
    let mut world = World::parse("select=color:blue\nn1:\nn2 color=blue:");
    assert_eq!(world.sync(), (1, 0));
    let mut node = (*world.nodes["n1"]).clone();
    node.meta.labels.insert("color".into(), "blue".into());
    world.put_node(node.clone());
    assert_eq!(world.sync(), (1, 0));
    node.taints.push(taint("k:NoExecute"));
    world.put_node(node.clone());
    assert_eq!(world.sync(), (0, 1));
    node.taints.clear();
    world.put_node(node);
    assert_eq!(world.sync(), (1, 0));
}

#[test]
fn a_new_template_moves_the_pods() {
    let mut world = World::parse("select=color:blue\nn1 color=green:\nn2 color=blue:");
    assert_eq!(world.sync(), (1, 0));
    world.edit(|object| object["spec"]["template"]["spec"]["nodeSelector"] = json!({ "color": "green" }));
    assert_eq!(world.sync(), (1, 1));
}

#[test]
fn affinity_terms() {
    let check = |terms: serde_json::Value, expected: bool| {
        let mut object = daemonset("");
        object["spec"]["template"]["spec"]["affinity"] = json!({ "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": terms } } });
        let daemonset = DaemonSet::from_value(&object).unwrap();
        let mut node = Node::default();
        node.meta.name = "n1".into();
        node.meta.labels = [("zone".to_string(), "a".to_string()), ("cores".into(), "8".into())].into();
        let place = PlacementRules::of(&daemonset.template).place(&node);
        assert_eq!(place.should_run, expected, "{terms}");
    };
    let label = |key: &str, operator: &str, values: &[&str]| json!([{ "matchExpressions": [{ "key": key, "operator": operator, "values": values }] }]);
    let field = |key: &str, operator: &str, values: &[&str]| json!([{ "matchFields": [{ "key": key, "operator": operator, "values": values }] }]);
    check(json!([]), false);
    check(json!([{}]), false);
    check(json!([{}, { "matchExpressions": [{ "key": "zone", "operator": "Exists" }] }]), true);
    check(label("zone", "In", &["a", "b"]), true);
    check(label("zone", "In", &["b"]), false);
    check(label("zone", "In", &[]), false);
    check(label("zone", "NotIn", &["b"]), true);
    check(label("zone", "NotIn", &["a"]), false);
    check(label("none", "NotIn", &["a"]), true);
    check(label("none", "DoesNotExist", &[]), true);
    check(label("none", "Exists", &[]), false);
    check(label("cores", "Gt", &["7"]), true);
    check(label("cores", "Gt", &["8"]), false);
    check(label("cores", "Lt", &["9"]), true);
    check(label("zone", "Lt", &["9"]), false);
    check(label("cores", "Lt", &["x"]), false);
    check(label("zone", "Near", &["a"]), false);
    check(field("metadata.name", "In", &["n1"]), true);
    check(field("metadata.name", "In", &["n1", "n2"]), false);
    check(field("metadata.name", "NotIn", &["n2"]), true);
    check(field("metadata.namespace", "In", &["n1"]), false);
}
