use serde_json::{Value, json};

use super::*;
use crate::{GroupVersionKind, resources};

const NOW: &str = "2026-01-01T01:00:00Z";

#[track_caller]
fn check(api_version: &str, kind: &str, object: Value, expected: Value) {
    let gvk = GroupVersionKind::from_api_version(api_version, kind).unwrap();
    let resource = resources::of_kind(&gvk).expect("a built-in kind");
    let found = cells(resource, &object, NOW.parse().unwrap());
    assert_eq!(Value::from(found.clone()), expected);
    assert_eq!(found.len(), columns(resource).len());
}

#[test]
fn ages() {
    let minute = 60;
    let (hour, day) = (60 * minute, 24 * 60 * minute);
    let rows = [
        (-5, "<invalid>"),
        (-1, "0s"),
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (200, "3m20s"),
        (10 * minute + 5, "10m"),
        (179 * minute, "179m"),
        (3 * hour, "3h"),
        (3 * hour + 5 * minute, "3h5m"),
        (8 * hour + minute, "8h"),
        (47 * hour, "47h"),
        (48 * hour, "2d"),
        (2 * day + 3 * hour, "2d3h"),
        (8 * day + hour, "8d"),
        (729 * day, "729d"),
        (730 * day, "2y"),
        (731 * day, "2y1d"),
        (9 * 365 * day, "9y"),
    ];
    for (seconds, expected) in rows {
        assert_eq!(human_duration(seconds), expected, "of {seconds}");
    }
}

#[test]
fn columns_are_as_declared() {
    let daemonsets = resources::of_kind(&GroupVersionKind::new("apps", "v1", "DaemonSet")).unwrap();
    let columns = columns(daemonsets);
    let shown: Vec<_> =
        columns.iter().map(|c| (c.name.as_str(), c.kind.as_str(), c.format.as_str(), c.priority)).collect();
    assert_eq!(shown[0], ("Name", "string", "name", 0));
    assert_eq!(shown[1], ("Desired", "integer", "", 0));
    assert_eq!(shown[10], ("Selector", "string", "", 1));
}

#[test]
fn every_kind_fills_its_columns() {
    for resource in resources::builtin() {
        let cells = cells(resource, &json!({"metadata": {"name": "x"}}), NOW.parse().unwrap());
        assert_eq!(cells.len(), columns(resource).len(), "{}", resource.kind);
    }
}

#[test]
fn workloads() {
    let template = json!({"spec": {"nodeSelector": {"b": "2", "a": "1"}, "containers": [{"name": "x", "image": "i:1"}, {"name": "y", "image": "j"}]}});
    check(
        "apps/v1",
        "DaemonSet",
        json!({"metadata": {"name": "d", "creationTimestamp": "2026-01-01T00:58:00Z"},
            "spec": {"selector": {"matchLabels": {"app": "d"}}, "template": template},
            "status": {"desiredNumberScheduled": 3, "currentNumberScheduled": 2, "numberReady": 1}}),
        json!(["d", 3, 2, 1, 0, 0, "a=1,b=2", "2m", "x,y", "i:1,j", "app=d"]),
    );
    check(
        "apps/v1",
        "ControllerRevision",
        json!({"metadata": {"name": "d-1", "ownerReferences": [{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "d",
            "uid": "u", "controller": true}]}, "revision": 3}),
        json!(["d-1", "daemonset.apps/d", 3, "<unknown>"]),
    );
}

#[test]
fn the_status_word_of_a_pod() {
    #[track_caller]
    fn check_pod(pod: Value, expected: [&str; 3]) {
        let resource = resources::of_kind(&GroupVersionKind::new("", "v1", "Pod")).unwrap();
        let found = cells(resource, &pod, NOW.parse().unwrap());
        assert_eq!([&found[1], &found[2], &found[3]], expected);
    }
    let spec = json!({"containers": [{"name": "a"}, {"name": "b"}], "initContainers": [{"name": "i"}]});
    let running = json!({"name": "a", "ready": true, "restartCount": 2, "state": {"running": {}},
        "lastState": {"terminated": {"finishedAt": "2026-01-01T00:55:00Z"}}});
    let waiting = json!({"name": "b", "restartCount": 1, "state": {"waiting": {"reason": "CrashLoopBackOff"}}});
    let completed = json!({"name": "b", "restartCount": 0, "state": {"terminated": {"reason": "Completed"}}});
    let init = |state: Value| json!([{"name": "i", "restartCount": 4, "state": state}]);
    let pod = |status: Value| json!({"spec": spec, "status": status});

    check_pod(pod(json!({"phase": "Pending"})), ["0/2", "Pending", "0"]);
    check_pod(pod(json!({"phase": "Failed", "reason": "Evicted"})), ["0/2", "Evicted", "0"]);
    check_pod(
        pod(json!({"phase": "Running", "containerStatuses": [running, waiting]})),
        ["1/2", "CrashLoopBackOff", "3 (5m ago)"],
    );
    check_pod(
        pod(json!({"phase": "Running", "containerStatuses": [running, completed]})),
        ["1/2", "NotReady", "2 (5m ago)"],
    );
    check_pod(
        pod(json!({"phase": "Pending", "initContainerStatuses": init(json!({"running": {}}))})),
        ["0/2", "Init:0/1", "4"],
    );
    check_pod(
        pod(json!({"phase": "Pending", "initContainerStatuses": init(json!({"terminated": {"exitCode": 3}}))})),
        ["0/2", "Init:ExitCode:3", "4"],
    );
    check_pod(
        pod(
            json!({"phase": "Running", "initContainerStatuses": init(json!({"terminated": {"exitCode": 0}})), "containerStatuses": [running]}),
        ),
        ["1/2", "Running", "2 (5m ago)"],
    );
    let mut deleted = pod(json!({"phase": "Running"}));
    deleted["metadata"] = json!({"deletionTimestamp": NOW});
    check_pod(deleted, ["0/2", "Terminating", "0"]);
}

#[test]
fn nodes_and_events() {
    check(
        "v1",
        "Node",
        json!({"metadata": {"name": "n", "labels": {"node-role.kubernetes.io/worker": "", "kubernetes.io/role": "a"}},
            "spec": {"unschedulable": true}, "status": {"conditions": [{"type": "Ready", "status": "Unknown"}],
                "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}], "nodeInfo": {"kubeletVersion": "v1"}}}),
        json!([
            "n",
            "NotReady,SchedulingDisabled",
            "a,worker",
            "<unknown>",
            "v1",
            "10.0.0.1",
            "<none>",
            "<unknown>",
            "<unknown>",
            "<unknown>"
        ]),
    );
    check(
        "v1",
        "Event",
        json!({"metadata": {"name": "e"}, "type": "Normal", "reason": "R", "message": " m\n", "count": 2,
            "involvedObject": {"kind": "DaemonSet", "name": "d"}, "source": {"component": "c", "host": "h"},
            "firstTimestamp": "2026-01-01T00:00:00Z", "lastTimestamp": "2026-01-01T00:59:00Z"}),
        json!(["60s", "Normal", "R", "daemonset/d", "", "c, h", "m", "60m", 2, "e"]),
    );
    check(
        "v1",
        "Service",
        json!({"metadata": {"name": "s"}, "spec": {"type": "NodePort", "clusterIPs": ["10.0.0.1"],
            "ports": [{"port": 80, "nodePort": 30080, "protocol": "TCP"}]}}),
        json!(["s", "NodePort", "10.0.0.1", "<none>", "80:30080/TCP", "<unknown>", "<none>"]),
    );
}

#[test]
fn custom_resources_choose_their_columns() {
    let version = json!({"additionalPrinterColumns": [
        {"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].status"},
        {"name": "Size", "type": "integer", "jsonPath": ".spec['size']", "priority": 1},
        {"name": "First", "type": "string", "jsonPath": ".spec.list[0]"},
        {"name": "Last", "type": "string", "jsonPath": ".spec.list[-1:].name"},
        {"name": "Label", "type": "string", "jsonPath": ".metadata.labels.example\\.com/a"},
        {"name": "Port", "type": "integer", "jsonPath": ".spec.list[?(@.ref.kind!='None')].port"},
        {"name": "Deep", "type": "string", "jsonPath": "..reason"},
        {"name": "Beyond", "type": "string", "jsonPath": ".spec.list[7]"},
        {"name": "Broken", "type": "string", "jsonPath": ".spec.list["},
        {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}]});
    let object = json!({
        "metadata": {"name": "c", "creationTimestamp": "2026-01-01T00:00:00Z", "labels": {"example.com/a": "l"}},
        "spec": {"size": 3, "list": [{"a": 1}, {"name": "z", "port": 80, "ref": {"kind": "Some"}}]},
        "status": {"conditions": [{"type": "X"}, {"type": "Ready", "status": "True", "reason": "Because"}]}});
    let found = custom_cells(&custom_printers(&version), &object, NOW.parse().unwrap());
    assert_eq!(Value::from(found), json!(["c", "True", 3, "{\"a\":1}", "z", "l", 80, "Because", null, null, "60m"]));
    assert_eq!(custom_columns(&version)[2].priority, 1);
    assert_eq!(custom_cells(&[], &object, NOW.parse().unwrap()), [json!("c"), json!("60m")]);
}
