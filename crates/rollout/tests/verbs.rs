//! History and undo on small worlds: each revision is a number, an owner and an image.

use backstay_api::meta::LAST_APPLIED;
use backstay_rollout::{History, Revision, describe, history, tabs, undo};
use expect_test::{Expect, expect};
use serde_json::{Value, json};

fn template(image: &str) -> Value {
    json!({"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"image": image, "name": "x", "resources": {}}]}})
}

fn daemonset(image: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet",
        "metadata": {"name": "x", "uid": "ours"},
        "spec": {"template": template(image)},
    })
}

/// `2 ours img:2 why` per line; the cause may be missing.
fn world(lines: &[&str]) -> History {
    let revision = |line: &&str| {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        let mut template = template(words[2]);
        template["$patch"] = "replace".into();
        let mut revision = json!({
            "metadata": {"name": "x-1", "ownerReferences": [{"uid": words[1], "controller": true}]},
            "data": {"spec": {"template": template}},
            "revision": words[0].parse::<i64>().unwrap(),
        });
        if let Some(cause) = words.get(3) {
            revision["metadata"]["annotations"][history::CHANGE_CAUSE] = (*cause).into();
        }
        Revision::read(&revision.to_string()).unwrap()
    };
    History::of(&daemonset("img:1"), lines.iter().map(revision).collect())
}

#[track_caller]
fn check_history(lines: &[&str], revision: i64, expected: Expect) {
    match history::view(&world(lines), revision) {
        Ok(view) => expected.assert_eq(&view),
        Err(error) => expected.assert_eq(&format!("error: {error}")),
    }
}

#[test]
fn history_lists_what_the_set_controls() {
    let lines = &["10 ours img:3", "9 ours img:2 set by hand", "3 theirs img:1", "2 ours img:1 "];
    check_history(
        lines,
        0,
        expect![[r#"

        REVISION  CHANGE-CAUSE
        2         <none>
        9         set by hand
        10        <none>
    "#]],
    );
    check_history(lines, 3, expect!["error: unable to find the specified revision"]);
    check_history(
        &["1 theirs img:1"],
        0,
        expect![[r#"

        No rollout history found."#]],
    );
    check_history(
        &[],
        7,
        expect![[r#"
        with revision #7
        No rollout history found."#]],
    );
    assert_eq!(history::check_number(-2).unwrap_err().to_string(), "revision must be a positive integer: -2");
}

#[test]
fn history_of_one_revision_shows_its_template() {
    check_history(
        &["1 ours img:1", "2 ours img:2"],
        2,
        expect![[r#"
        with revision #2
        Pod Template:
          Labels:	app=x
          Containers:
           x:
            Image:	img:2
            Port:	<none>
            Host Port:	<none>
            Environment:	<none>
            Mounts:	<none>
          Volumes:	<none>
          Node-Selectors:	<none>
          Tolerations:	<none>
    "#]],
    );
}

#[test]
fn objects_carry_the_template_of_each_revision() {
    let history = world(&["5 ours img:5", "2 ours img:2"]);
    let objects = history::objects(&daemonset("img:5"), &history, 0).unwrap();
    assert_eq!(objects, [daemonset("img:2"), daemonset("img:5")]);
    assert_eq!(history::objects(&daemonset("img:5"), &history, 2).unwrap(), [daemonset("img:2")]);
    assert_eq!(history::objects(&daemonset("img:5"), &history, 3), Err(history::HistoryError::NotFound));
}

/// What an undo on a set that runs `image` comes to.
#[track_caller]
fn check_undo(lines: &[&str], image: &str, to_revision: i64, expected: &str) {
    let history = world(lines);
    let got = match undo::target(&history, to_revision) {
        Err(error) => format!("error: {error}"),
        Ok(target) => undo::skipped(&daemonset(image), target, to_revision).unwrap_or_else(|| target.data.to_string()),
    };
    assert_eq!(got, expected);
}

#[test]
fn undo_goes_to_the_second_highest_or_the_one_named() {
    let data = r#"{"spec":{"template":{"$patch":"replace","metadata":{"labels":{"app":"x"}},"spec":{"containers":[{"image":"IMAGE","name":"x","resources":{}}]}}}}"#;
    let lines = &["4 ours img:4", "1 ours img:1", "3 ours img:3"];
    check_undo(lines, "img:4", 0, &data.replace("IMAGE", "img:3"));
    check_undo(lines, "img:4", 1, &data.replace("IMAGE", "img:1"));
    check_undo(lines, "img:4", 4, "skipped rollback (current template already matches revision 4)");
    // The controller has not renumbered yet: the number in the message is the one that was asked for.
    check_undo(lines, "img:3", 0, "skipped rollback (current template already matches revision 0)");
    check_undo(lines, "img:4", 2, "error: unable to find specified revision 2 in history");
    check_undo(lines, "img:4", -1, "error: unable to find specified revision -1 in history");
    check_undo(&["1 ours img:1", "2 theirs img:2"], "img:1", 0, "error: no last revision to roll back to");
}

#[test]
fn the_data_of_a_revision_is_kept_to_the_byte() {
    let json = r#"{"revision":1, "data": { "b" : 1,"a":18446744073709551616 } }"#;
    assert_eq!(&*Revision::read(json).unwrap().data, r#"{ "b" : 1,"a":18446744073709551616 }"#);
    let list = format!("{{\"items\":[{json}]}}");
    assert_eq!(Revision::read_list(&list).unwrap()[0].number(), 1);
}

#[test]
fn undo_warns_where_apply_keeps_notes() {
    let mut daemonset = daemonset("img:1");
    assert_eq!(undo::warning("daemonsets", &daemonset), None);
    daemonset["metadata"]["annotations"][LAST_APPLIED] = "{}".into();
    let warning = undo::warning("daemonsets", &daemonset).unwrap();
    assert!(warning.starts_with("Warning: resource daemonsets/x was previously managed with 'kubectl apply'. "));
}

/// A template with a bit of everything, in columns.
#[test]
fn a_template_in_words() {
    let template = json!({
        "metadata": {
            "labels": {"b": "2", "a": "1"},
            "annotations": {"short": "one", "long": "two\nlines\n", LAST_APPLIED: "{}"},
        },
        "spec": {
            "serviceAccountName": "agent",
            "initContainers": [{"name": "first", "image": "i", "command": ["sh", "-c", "a\nb"]}],
            "containers": [{
                "name": "main", "image": "m",
                "ports": [
                    {"containerPort": 80, "protocol": "TCP"},
                    {"containerPort": 53, "hostPort": 53, "protocol": "UDP", "name": "dns"},
                ],
                "securityContext": {"seccompProfile": {"type": "Localhost", "localhostProfile": "p.json"}},
                "resources": {"limits": {"memory": "1Gi", "cpu": "1"}},
                "livenessProbe": {"exec": {"command": ["true"]}, "timeoutSeconds": 1, "periodSeconds": 10,
                    "successThreshold": 1, "failureThreshold": 3},
                "envFrom": [{"prefix": "P_", "secretRef": {"name": "s", "optional": true}}],
                "env": [
                    {"name": "LINES", "value": "a\nb"}, {"name": "EMPTY"},
                    {"name": "NODE", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "spec.nodeName"}}},
                    {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1m"}}},
                    {"name": "KEY", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}},
                ],
                "volumeMounts": [
                    {"name": "v", "mountPath": "/z", "subPath": "q\"", "readOnly": true},
                    {"name": "v", "mountPath": "/a"},
                ],
                "volumeDevices": [{"name": "d", "devicePath": "/dev/x"}],
            }],
            "volumes": [
                {"name": "host", "hostPath": {"path": "/var", "type": ""}},
                {"name": "empty", "emptyDir": {"sizeLimit": "1Gi"}},
                {"name": "csi", "csi": {"driver": "d", "volumeAttributes": {"a": "b", "c": "d"}}},
                {"name": "mixed", "projected": {"sources": [{"configMap": {"name": "c"}}, {"downwardAPI": {}},
                    {"serviceAccountToken": {"expirationSeconds": 60}}]}},
                {"name": "down", "downwardAPI": {"items": [
                    {"path": "p", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
                {"name": "own", "ephemeral": {"volumeClaimTemplate": {"metadata": {"labels": {"l": "1", "m": "2"}},
                    "spec": {"storageClassName": "fast", "volumeMode": "Filesystem"}}}},
                {"name": "new", "somethingNew": {}},
            ],
            "topologySpreadConstraints": [{"topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "maxSkew": 1,
                "labelSelector": {"matchLabels": {"a": "1"}}}],
            "priorityClassName": "high",
            "nodeSelector": {"os": "linux"},
            "tolerations": [
                {"key": "z", "operator": "Equal", "value": "v", "effect": "NoExecute", "tolerationSeconds": 5},
                {"operator": "Exists"},
                {"operator": "Exists", "effect": "NoSchedule"},
            ],
        },
    });
    expect![[r#"
        Pod Template:
          Labels:           a=1
                            b=2
          Annotations:      long:
                              two
                              lines
                            short: one
          Service Account:  agent
          Init Containers:
           first:
            Image:      i
            Port:       <none>
            Host Port:  <none>
            Command:
              sh
              -c
              a
              b
            Environment:  <none>
            Mounts:       <none>
          Containers:
           main:
            Image:               m
            Ports:               80/TCP, 53/UDP (dns)
            Host Ports:          0/TCP, 53/UDP (dns)
            SeccompProfile:      Localhost
              LocalhostProfile:  p.json
            Limits:
              cpu:     1
              memory:  1Gi
            Liveness:  exec [true] delay=0s timeout=1s period=10s #success=1 #failure=3
            Environment Variables from:
              s  Secret with prefix 'P_'  Optional: true
            Environment:
              LINES:  a
                      b
              EMPTY:  
              NODE:    (v1:spec.nodeName)
              CPU:    1000 (limits.cpu)
              KEY:    <set to the key 'k' of config map 'c'>  Optional: false
            Mounts:
              /a from v (rw)
              /z from v (ro,path="q\"")
            Devices:
              /dev/x from d
          Volumes:
           host:
            Type:          HostPath (bare host directory volume)
            Path:          /var
            HostPathType:  
           empty:
            Type:       EmptyDir (a temporary directory that shares a pod's lifetime)
            Medium:     
            SizeLimit:  1Gi
           csi:
            Type:              CSI (a Container Storage Interface (CSI) volume source)
            Driver:            d
            FSType:            
            ReadOnly:          false
            VolumeAttributes:      a=b
                                   c=d
           mixed:
            Type:                    Projected (a volume that contains injected data from multiple sources)
            ConfigMapName:           c
            Optional:                false
            DownwardAPI:             true
            TokenExpirationSeconds:  60
           down:
            Type:  DownwardAPI (a volume populated by information about the pod)
            Items:
              metadata.labels -> p
           own:
            Type:          EphemeralVolume (an inline specification for a volume that gets created and deleted with the pod)
            StorageClass:  fast
            Volume:        
            Labels:            l=1
                               m=2
            Annotations:   <none>
            Capacity:      
            Access Modes:  
            VolumeMode:    Filesystem
           new:
          <unknown>
          Topology Spread Constraints:  zone:DoNotSchedule when max skew 1 is exceeded for selector a=1
          Priority Class Name:          high
          Node-Selectors:               os=linux
          Tolerations:                  op=Exists
                                        :NoSchedule op=Exists
                                        z=v:NoExecute for 5s
    "#]]
    .assert_eq(&tabs::align(&describe::template(&template), 0, 2));
}
