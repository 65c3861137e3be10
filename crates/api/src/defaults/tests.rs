use serde_json::{Value, json};

use super::apply;
use crate::GroupVersionKind;

/// Defaulting fills in what the second object has more than the first, and doing it again changes nothing.
#[track_caller]
fn check(api_version: &str, kind: &str, mut object: Value, expected: Value) {
    let gvk = GroupVersionKind::from_api_version(api_version, kind).unwrap();
    apply(&gvk, &mut object);
    assert_eq!(object, expected);
    apply(&gvk, &mut object);
    assert_eq!(object, expected, "a second time");
}

#[test]
fn pods_get_more_than_templates() {
    let given = json!({"hostNetwork": true, "containers": [{"name": "c", "image": "i:1", "ports": [{"containerPort": 80}],
        "resources": {"limits": {"cpu": "0.5"}}}]});
    let pod = json!({"hostNetwork": true, "enableServiceLinks": true, "dnsPolicy": "ClusterFirst",
        "restartPolicy": "Always", "schedulerName": "default-scheduler", "securityContext": {},
        "terminationGracePeriodSeconds": 30, "containers": [{"name": "c", "image": "i:1",
            "ports": [{"containerPort": 80, "hostPort": 80, "protocol": "TCP"}],
            "resources": {"limits": {"cpu": "500m"}, "requests": {"cpu": "500m"}},
            "imagePullPolicy": "IfNotPresent", "terminationMessagePath": "/dev/termination-log",
            "terminationMessagePolicy": "File"}]});
    let mut template = pod.clone();
    template.as_object_mut().unwrap().remove("enableServiceLinks");
    template["containers"][0]["ports"][0].as_object_mut().unwrap().remove("hostPort");
    template["containers"][0]["resources"].as_object_mut().unwrap().remove("requests");
    check("v1", "Pod", json!({"spec": given}), json!({"spec": pod}));
    check(
        "apps/v1",
        "DaemonSet",
        json!({"spec": {"template": {"spec": given}}}),
        json!({"metadata": {"annotations": {"deprecated.daemonset.template.generation": "0"}},
            "spec": {"revisionHistoryLimit": 10, "template": {"metadata": {}, "spec": template},
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}}}}),
    );
}

#[test]
fn names_of_the_service_account_agree() {
    let spec = |fields: Value| {
        let mut pod = json!({"spec": fields});
        apply(&GroupVersionKind::new("", "v1", "Pod"), &mut pod);
        (pod["spec"]["serviceAccountName"].clone(), pod["spec"]["serviceAccount"].clone())
    };
    assert_eq!(spec(json!({"serviceAccount": "a"})), (json!("a"), json!("a")));
    assert_eq!(spec(json!({"serviceAccount": "a", "serviceAccountName": "b"})), (json!("b"), json!("b")));
    assert_eq!(spec(json!({})), (Value::Null, Value::Null));
}

#[test]
fn small_kinds() {
    check(
        "v1",
        "Secret",
        json!({"stringData": {"a": "b"}, "data": {"a": "eA==", "c": "ZA=="}}),
        json!({"type": "Opaque", "data": {"a": "Yg==", "c": "ZA=="}}),
    );
    check(
        "v1",
        "Namespace",
        json!({"metadata": {"name": "n", "labels": {"kubernetes.io/metadata.name": "x"}}}),
        json!({"metadata": {"name": "n", "labels": {"kubernetes.io/metadata.name": "n"}}, "spec": {},
            "status": {"phase": "Active"}}),
    );
    check(
        "v1",
        "Service",
        json!({"spec": {"ports": [{"port": 80}]}}),
        json!({"spec": {"ports": [{"port": 80, "targetPort": 80, "protocol": "TCP"}], "sessionAffinity": "None",
            "type": "ClusterIP", "internalTrafficPolicy": "Cluster"}, "status": {"loadBalancer": {}}}),
    );
    check(
        "rbac.authorization.k8s.io/v1",
        "RoleBinding",
        json!({"roleRef": {"kind": "Role", "name": "r"}, "subjects": [{"kind": "User"}, {"kind": "ServiceAccount"}]}),
        json!({"roleRef": {"kind": "Role", "name": "r", "apiGroup": "rbac.authorization.k8s.io"},
            "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io"}, {"kind": "ServiceAccount"}]}),
    );
    check("example.com/v1", "Unknown", json!({"a": 1}), json!({"a": 1}));
}
