//! One legal object per kind, small changes to it, and what is then wrong.

use serde_json::{Value, json};

use super::*;
use crate::{GroupVersionKind, defaults, patch, resources};

fn resource(api_version: &str, kind: &str) -> &'static Resource {
    let gvk = GroupVersionKind::from_api_version(api_version, kind).unwrap();
    resources::of_kind(&gvk).expect("a built-in kind")
}

/// A legal object as stored, changed by a merge patch.
fn object(resource: &Resource, change: &Value) -> Value {
    let container = json!({"name": "c", "image": "i:1"});
    let spec = json!({"containers": [container]});
    let workload = json!({"spec": {"selector": {"matchLabels": {"app": "d"}},
        "template": {"metadata": {"labels": {"app": "d"}}, "spec": spec}}});
    let base = match resource.kind.as_str() {
        "Pod" => json!({"spec": spec}),
        "DaemonSet" | "Deployment" | "ReplicaSet" | "StatefulSet" => workload,
        "ControllerRevision" => json!({"data": {}, "revision": 1}),
        "RoleBinding" => json!({"roleRef": {"kind": "Role", "name": "r"}}),
        "Service" => json!({"spec": {"ports": [{"port": 80}]}}),
        _ => json!({}),
    };
    let mut object = patched(&base, &json!({"metadata": {"name": "x", "uid": "u", "resourceVersion": "1"}}));
    if resource.namespaced {
        object["metadata"]["namespace"] = "default".into();
    }
    object = patched(&object, change);
    defaults::apply(&resource.gvk(), &mut object);
    object
}

fn patched(object: &Value, change: &Value) -> Value {
    patch::merge_patch(object, change.to_string().as_bytes()).unwrap()
}

/// `field: message` for everything wrong, where each expected text may leave out the end.
#[track_caller]
fn expect(found: Vec<Cause>, expected: &[&str]) {
    let found: Vec<_> = found.iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect();
    let fits = found.len() == expected.len() && found.iter().zip(expected).all(|(found, text)| found.starts_with(text));
    assert!(fits, "expected {expected:#?}\nfound {found:#?}");
}

#[track_caller]
fn check(api_version: &str, kind: &str, change: Value, expected: &[&str]) {
    let resource = resource(api_version, kind);
    expect(create(resource, &object(resource, &change), Policy::default()), expected);
}

#[test]
fn privileged_containers_can_be_forbidden() {
    let container = json!({"name": "m", "image": "i", "imagePullPolicy": "Always", "securityContext": {"privileged": true},
        "terminationMessagePath": "/x", "terminationMessagePolicy": "File"});
    let daemonsets = resource("apps/v1", "DaemonSet");
    let change = json!({"spec": {"template": {"spec": {"containers": [container]}}}});
    let mut new = object(daemonsets, &change);
    let strict = Policy { allow_privileged: false };
    let said = "spec.template.spec.containers[0].securityContext.privileged: Forbidden: disallowed by cluster policy";
    expect(create(daemonsets, &new, strict), &[said]);
    expect(create(daemonsets, &new, Policy::default()), &[]);
    new["spec"]["template"]["spec"]["containers"][0]["securityContext"]["privileged"] = false.into();
    expect(create(daemonsets, &new, strict), &[]);
}

/// The first change makes the old object, the second the new one out of it.
#[track_caller]
fn check_update(api_version: &str, kind: &str, before: Value, change: Value, expected: &[&str]) {
    let resource = resource(api_version, kind);
    let old = object(resource, &before);
    expect(update(resource, None, &patched(&old, &change), &old, Policy::default()), expected);
}

/// A change to the template's spec of a DaemonSet.
#[track_caller]
fn check_template(spec: Value, expected: &[&str]) {
    let expected: Vec<_> = expected.iter().map(|text| format!("spec.template.spec.{text}")).collect();
    let expected: Vec<_> = expected.iter().map(String::as_str).collect();
    check("apps/v1", "DaemonSet", json!({"spec": {"template": {"spec": spec}}}), &expected);
}

/// A change to the only container of a DaemonSet.
#[track_caller]
fn check_container(change: Value, expected: &[&str]) {
    let container = patched(&json!({"name": "c", "image": "i:1"}), &change);
    let volumes = json!([{"name": "v"}, {"name": "claim", "persistentVolumeClaim": {"claimName": "p"}}]);
    let expected: Vec<_> = expected.iter().map(|text| format!("containers[0].{text}")).collect();
    let expected: Vec<_> = expected.iter().map(String::as_str).collect();
    check_template(json!({"containers": [container], "volumes": volumes}), &expected);
}

#[test]
fn legal_objects_are_legal() {
    for kind in ["Pod", "ConfigMap", "Secret", "Namespace", "Node", "Service", "ServiceAccount"] {
        check("v1", kind, json!({}), &[]);
    }
    for kind in ["DaemonSet", "ControllerRevision", "Deployment", "ReplicaSet", "StatefulSet"] {
        check("apps/v1", kind, json!({}), &[]);
    }
    check("coordination.k8s.io/v1", "Lease", json!({}), &[]);
    check("rbac.authorization.k8s.io/v1", "RoleBinding", json!({}), &[]);
}

#[test]
fn metadata() {
    let meta = |fields: Value| json!({"metadata": fields});
    check("v1", "ConfigMap", meta(json!({"name": null})), &["metadata.name: Required value: name or generateName"]);
    check(
        "v1",
        "ConfigMap",
        meta(json!({"name": "A"})),
        &["metadata.name: Invalid value: \"A\": a lowercase RFC 1123"],
    );
    check("v1", "ConfigMap", meta(json!({"generateName": "a-"})), &[]);
    check("v1", "ConfigMap", meta(json!({"generateName": "AB-"})), &["metadata.generateName: Invalid value: \"AB-\""]);
    check("v1", "Node", meta(json!({"namespace": "n"})), &["metadata.namespace: Forbidden: not allowed on this type"]);
    check(
        "v1",
        "ConfigMap",
        meta(json!({"labels": {"-a": "b"}})),
        &["metadata.labels: Invalid value: \"-a\": name part"],
    );
    check("v1", "ConfigMap", meta(json!({"annotations": {"A/b": ""}})), &[]);
    let both = json!({"finalizers": ["orphan", "foregroundDeletion"]});
    check(
        "v1",
        "ConfigMap",
        meta(both),
        &["metadata.finalizers: Invalid value: [\"orphan\",\"foregroundDeletion\"]: fin"],
    );
    let event = json!({"ownerReferences": [{"apiVersion": "v1", "kind": "Event", "name": "e", "uid": "u"}]});
    let expected = "metadata.ownerReferences: Invalid value: {\"apiVersion\":\"v1\",\"kind\":\"Event\",\"name\":\"e\",\
                    \"uid\":\"u\"}: /v1, Kind=Event is disallowed from being an owner";
    check("v1", "ConfigMap", meta(event), &[expected]);
    check(
        "v1",
        "ConfigMap",
        meta(json!({"managedFields": [{"manager": "m", "operation": "Guess", "fieldsType": "V0"}]})),
        &[
            "metadata.managedFields[0].operation: Invalid value: \"Guess\": must be `Apply` or `Update`",
            "metadata.managedFields[0].fieldsType: Invalid value: \"V0\": must be `FieldsV1`",
        ],
    );
}

#[test]
fn updates_keep_identity_and_say_so_twice() {
    let uid = json!({"metadata": {"uid": "other"}});
    let wrong = "metadata.uid: Invalid value: \"other\": field is immutable";
    check_update("v1", "ConfigMap", json!({}), uid, &[wrong, wrong]);
    let unversioned = json!({"metadata": {"resourceVersion": null}});
    check_update("v1", "ConfigMap", json!({}), unversioned.clone(), &[]);
    let wrong = "metadata.resourceVersion: Invalid value: 0: must be specified for an update";
    check_update("coordination.k8s.io/v1", "Lease", json!({}), unversioned, &[wrong]);
    let deleted = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["x.io/a"]}});
    let more = json!({"metadata": {"finalizers": ["x.io/a", "x.io/b"]}});
    let wrong = "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, \
                 found new finalizers []string{\"x.io/b\"}";
    check_update("v1", "ConfigMap", deleted.clone(), more, &[wrong, wrong]);
    check_update("v1", "ConfigMap", deleted, json!({"metadata": {"finalizers": null}}), &[]);
}

#[test]
fn daemonsets() {
    let spec = |fields: Value| json!({"spec": fields});
    let check = |change: Value, expected: &[&str]| check("apps/v1", "DaemonSet", change, expected);
    let mismatch = "spec.template.metadata.labels: Invalid value: {\"app\":\"d\"}: `selector` does not match template";
    check(spec(json!({"selector": {"matchLabels": {"app": "e"}}})), &[mismatch]);
    check(spec(json!({"selector": null})), &[mismatch]);
    check(spec(json!({"selector": {"matchLabels": null}})), &["spec.selector: Invalid value: {}: empty selector is"]);
    check(spec(json!({"minReadySeconds": -1})), &["spec.minReadySeconds: Invalid value: -1: must be greater than or"]);
    check(spec(json!({"revisionHistoryLimit": -1})), &["spec.revisionHistoryLimit: Invalid value: -1"]);
    check(
        spec(json!({"updateStrategy": {"type": "Magic"}})),
        &["spec.updateStrategy.type: Unsupported value: \"Magic\": supported values: \"RollingUpdate\", \"OnDelete\""],
    );
    let rolling = |fields: Value| spec(json!({"updateStrategy": {"rollingUpdate": fields}}));
    let path = "spec.updateStrategy.rollingUpdate";
    check(rolling(json!({"maxUnavailable": 0, "maxSurge": "10%"})), &[]);
    check(
        rolling(json!({"maxUnavailable": "101%"})),
        &[&format!("{path}.maxUnavailable: Invalid value: \"101%\": must not be greater than 100%")],
    );
    check(
        rolling(json!({"maxUnavailable": 0})),
        &[&format!("{path}.maxUnavailable: Required value: cannot be 0 when maxSurge is 0")],
    );
    check(rolling(json!({"maxSurge": 2})), &[&format!("{path}.maxSurge: Invalid value: 2: may not be set when")]);
    check_template(
        json!({"restartPolicy": "Never"}),
        &["restartPolicy: Unsupported value: \"Never\": supported values"],
    );
    check_template(
        json!({"activeDeadlineSeconds": 1}),
        &["activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in"],
    );
}

#[test]
fn selectors_of_daemonsets_stay() {
    check_update(
        "apps/v1",
        "DaemonSet",
        json!({}),
        json!({"spec": {"selector": {"matchLabels": {"b": "c"}}, "template": {"metadata": {"labels": {"b": "c"}}}}}),
        &["spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"d\",\"b\":\"c\"}}: field is immutable"],
    );
    let daemonsets = resource("apps/v1", "DaemonSet");
    let old = object(daemonsets, &json!({"status": {"collisionCount": 2}}));
    let new = patched(&old, &json!({"status": {"collisionCount": 1, "numberReady": -1}}));
    expect(
        update(daemonsets, Some("status"), &new, &old, Policy::default()),
        &[
            "status.numberReady: Invalid value: -1: must be greater than or equal to 0",
            "status.collisionCount: Invalid value: 1: cannot be decremented",
        ],
    );
}

#[test]
fn revisions() {
    let check = |change: Value, expected: &[&str]| check("apps/v1", "ControllerRevision", change, expected);
    check(json!({"data": null}), &["data: Required value: data is mandatory"]);
    for value in [json!([1]), json!(true), json!(1), json!(1.5), json!("text")] {
        check(json!({"data": value}), &["data: Required value: data must be a valid JSON object"]);
    }
    check(json!({"data": {}}), &[]);
    check_update(
        "apps/v1",
        "ControllerRevision",
        json!({}),
        json!({"revision": 7, "metadata": {"labels": {"a": "b"}}}),
        &[],
    );
    check(json!({"revision": -1}), &["revision: Invalid value: -1"]);
    let change = json!({"data": {"b": 1}, "revision": 7});
    let wrong = ["data: Invalid value: {\"b\":1}: field is immutable"];
    check_update("apps/v1", "ControllerRevision", json!({}), change, &wrong);
}

#[test]
fn containers() {
    check_container(json!({"name": ""}), &["name: Required value"]);
    check_container(json!({"name": "a.b"}), &["name: Invalid value: \"a.b\": must not contain dots"]);
    check_container(json!({"image": ""}), &["image: Required value"]);
    check_container(json!({"imagePullPolicy": "Soon"}), &["imagePullPolicy: Unsupported value: \"Soon\""]);
    check_container(json!({"restartPolicy": "Sometimes"}), &["restartPolicy: Unsupported value: \"Sometimes\""]);
    let rule = json!({"action": "Restart", "exitCodes": {"operator": "In", "values": [1]}});
    check_container(json!({"restartPolicy": "Never", "restartPolicyRules": [rule]}), &[]);
    let alone = "restartPolicy: Required value: must specify restartPolicy when restart rules are used";
    check_container(json!({"restartPolicyRules": [rule]}), &[alone]);
    let rules = |rules: Value| json!({"restartPolicy": "Never", "restartPolicyRules": rules});
    check_container(
        rules(json!([{"action": "RestartAllContainers", "exitCodes": {"operator": "Below"}}, {"action": "Restart"}])),
        &[
            "restartPolicyRules[0].action: Unsupported value: \"RestartAllContainers\": supported values: \"Restart\"",
            "restartPolicyRules[0].exitCodes.operator: Unsupported value: \"Below\": supported values: \"In\", \"NotIn\"",
            "restartPolicyRules[1].exitCodes: Required value: must be specified",
        ],
    );
    let many = vec![rule; 21];
    check_container(rules(many.into()), &["restartPolicyRules: Too many: 21: must have at most 20 items"]);
    let ports = |list: Value| json!({"ports": list});
    check_container(ports(json!([{}])), &["ports[0].containerPort: Required value"]);
    check_container(ports(json!([{"containerPort": 70000}])), &["ports[0].containerPort: Invalid value: 70000: must"]);
    check_container(
        ports(json!([{"containerPort": 1, "hostPort": 9}, {"containerPort": 2, "hostPort": 9, "protocol": "X"}])),
        &["ports[1].protocol: Unsupported value: \"X\": supported values: \"SCTP\", \"TCP\", \"UDP\""],
    );
    check_container(
        ports(json!([{"containerPort": 1, "hostPort": 9}, {"containerPort": 2, "hostPort": 9}])),
        &["ports[1].hostPort: Duplicate value: \"TCP//9\""],
    );
    check_template(json!({"containers": []}), &["containers: Required value"]);
    let twice = json!({"containers": [{"name": "c", "image": "i"}, {"name": "c", "image": "i"}]});
    check_template(twice, &["containers[1].name: Duplicate value: \"c\""]);
    check_template(
        json!({"initContainers": [{"name": "i", "image": "i", "livenessProbe": {"exec": {"command": ["a"]}}}]}),
        &[
            "initContainers[0].livenessProbe: Forbidden: may not be set for init containers without restartPolicy=Always",
        ],
    );
}

#[test]
fn environment_and_mounts() {
    let env = |variable: Value| json!({"env": [variable]});
    check_container(
        env(json!({"name": "a=b"})),
        &["env[0].name: Invalid value: \"a=b\": a valid environment variable"],
    );
    check_container(
        env(json!({"name": "A", "valueFrom": {}})),
        &["env[0].valueFrom: Invalid value: \"\": must specify"],
    );
    check_container(
        env(json!({"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "spec.nope"}}})),
        &["env[0].valueFrom.fieldRef.fieldPath: Invalid value: \"spec.nope\": error converting fieldPath: field label"],
    );
    check_container(
        env(json!({"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels"}}})),
        &[
            "env[0].valueFrom.fieldRef.fieldPath: Unsupported value: \"metadata.labels\": supported values: \"metadata.nam",
        ],
    );
    check_container(env(json!({"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['a']"}}})), &[]);
    check_container(
        env(json!({"name": "A", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "2"}}})),
        &[
            "env[0].valueFrom.resourceFieldRef.divisor: Invalid value: \"limits.cpu\": only divisor's values 1m and 1 are",
        ],
    );
    let mount = |mount: Value| json!({"volumeMounts": [mount]});
    check_container(mount(json!({"name": "w", "mountPath": "/x"})), &["volumeMounts[0].name: Not found: \"w\""]);
    check_container(mount(json!({"name": "v"})), &["volumeMounts[0].mountPath: Required value"]);
    check_container(
        mount(json!({"name": "v", "mountPath": "/x", "subPath": "../y"})),
        &["volumeMounts.subPath: Invalid value: \"../y\": must not contain '..'"],
    );
    check_container(
        mount(json!({"name": "v", "mountPath": "/x", "mountPropagation": "Bidirectional"})),
        &["volumeMounts.mountPropagation: Forbidden: Bidirectional mount propagation is available only to"],
    );
    check_container(
        json!({"volumeDevices": [{"name": "v", "devicePath": "/d"}]}),
        &["volumeDevices[0].name: Invalid value: \"v\": can only use volume source type of PersistentVolumeClaim or"],
    );
    check_container(json!({"volumeDevices": [{"name": "claim", "devicePath": "/d"}]}), &[]);
}

#[test]
fn probes_and_handlers() {
    let probe = |probe: Value| json!({"livenessProbe": probe});
    check_container(probe(json!({})), &["livenessProbe: Required value: must specify a handler type"]);
    check_container(probe(json!({"exec": {}})), &["livenessProbe.exec.command: Required value"]);
    check_container(
        probe(json!({"tcpSocket": {"port": 1}, "successThreshold": 2})),
        &["livenessProbe.successThreshold: Invalid value: 2: must be 1"],
    );
    check_container(
        probe(json!({"httpGet": {"port": 0, "scheme": "FTP"}})),
        &[
            "livenessProbe.httpGet.port: Invalid value: 0: must be between 1 and 65535, inclusive",
            "livenessProbe.httpGet.scheme: Unsupported value: \"FTP\": supported values: \"HTTP\", \"HTTPS\"",
        ],
    );
    check_container(
        json!({"readinessProbe": {"tcpSocket": {"port": 1}, "terminationGracePeriodSeconds": 3}}),
        &["readinessProbe.terminationGracePeriodSeconds: Invalid value: 3: must not be set for readinessProbes"],
    );
    check_container(
        json!({"lifecycle": {"preStop": {"sleep": {"seconds": 31}}}}),
        &["lifecycle.preStop.sleep: Invalid value: 31: must be non-negative and less than terminationGracePeriodSecon"],
    );
}

#[test]
fn amounts() {
    let resources = |fields: Value| json!({"resources": fields});
    check_container(
        resources(json!({"requests": {"cpu": "2"}, "limits": {"cpu": "1"}})),
        &["resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1"],
    );
    check_container(
        resources(json!({"requests": {"example.com/gpu": "1"}})),
        &["resources.limits: Required value: Limit must be set for non overcommitable resources"],
    );
    check_container(
        resources(json!({"limits": {"example.com/gpu": "500m"}})),
        &["resources.limits[example.com/gpu]: Invalid value: \"500m\": must be an integer"],
    );
    check_container(
        resources(json!({"limits": {"hugepages-2Mi": "2Mi"}})),
        &["resources: Forbidden: HugePages require cpu or memory"],
    );
    check_container(resources(json!({"claims": [{"name": "n"}]})), &["resources.claims[0]: Not found: \"n\""]);
}

#[test]
fn volumes() {
    let volume = |source: Value| json!({"volumes": [patched(&json!({"name": "v"}), &source)]});
    check_template(volume(json!({"name": ""})), &["volumes[0].name: Required value"]);
    check_template(json!({"volumes": [{"name": "v"}, {"name": "v"}]}), &["volumes[1].name: Duplicate value: \"v\""]);
    check_template(
        volume(json!({"emptyDir": {}, "hostPath": {"path": "/x"}})),
        &["volumes[0].hostPath: Forbidden: may not specify more than 1 volume type"],
    );
    check_template(volume(json!({"hostPath": {"path": "/a/../b"}})), &["volumes[0].hostPath.path: Invalid value"]);
    check_template(
        volume(json!({"hostPath": {"path": "/x", "type": "Door"}})),
        &["volumes[0].hostPath.type: Unsupported value: \"Door\": supported values: \"\", \"BlockDevice\""],
    );
    check_template(
        volume(json!({"configMap": {"name": "c", "defaultMode": 512}})),
        &["volumes[0].configMap.defaultMode: Invalid value: 512: must be a number between 0 and 0777 (octal), both"],
    );
    check_template(
        volume(json!({"secret": {"secretName": "s", "items": [{"key": "k", "path": "..a"}]}})),
        &["volumes[0].secret.items[0].path: Invalid value: \"..a\": must not start with '..'"],
    );
    check_template(
        volume(json!({"projected": {"sources": [{"serviceAccountToken": {"path": "t", "expirationSeconds": 5}}]}})),
        &["volumes[0].projected.sources[0].serviceAccountToken.expirationSeconds: Invalid value: 5: may not specify"],
    );
    check_template(
        volume(json!({"nfs": {"server": "s", "path": "x"}})),
        &["volumes[0].nfs.path: Invalid value: \"x\""],
    );
}

#[test]
fn placement() {
    check_template(
        json!({"tolerations": [{"key": "a", "operator": "Like"}]}),
        &["tolerations[0].operator: Unsupported value: \"Like\": supported values: \"Equal\", \"Exists\""],
    );
    let node = |fields: Value| json!({"affinity": {"nodeAffinity": fields}});
    let required = "requiredDuringSchedulingIgnoredDuringExecution";
    check_template(
        node(json!({required: {"nodeSelectorTerms": []}})),
        &[&format!("affinity.nodeAffinity.{required}.nodeSelectorTerms: Required value: must have at least one")],
    );
    let fields = json!({"nodeSelectorTerms": [{"matchFields": [{"key": "kind", "operator": "In", "values": ["a"]}]}]});
    let at = format!("affinity.nodeAffinity.{required}.nodeSelectorTerms[0].matchFields[0]");
    check_template(
        node(json!({required: fields})),
        &[&format!("{at}.key: Invalid value: \"kind\": not a valid field selector key")],
    );
    check_template(
        json!({"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "z", "whenUnsatisfiable": "ScheduleAnyway",
            "minDomains": 2, "labelSelector": {}}]}),
        &["topologySpreadConstraints[0].minDomains: Invalid value: 2: can only use minDomains if whenUnsatisfiable="],
    );
    check_template(
        json!({"hostAliases": [{"ip": "1.2.3"}]}),
        &["hostAliases[0].ip: Invalid value: \"1.2.3\": must be a"],
    );
    check_template(json!({"dnsPolicy": "None"}), &["dnsConfig: Required value: must provide `dnsConfig` when"]);
}

#[test]
fn security() {
    let pod = |fields: Value| json!({"securityContext": fields});
    check_template(pod(json!({"fsGroup": -1})), &["securityContext.fsGroup: Invalid value: -1: must be between 0 and"]);
    check_template(
        pod(json!({"seccompProfile": {"type": "Localhost"}})),
        &[
            "securityContext.seccompProfile.localhostProfile: Required value: must be set when seccomp type is Localhost",
        ],
    );
    check_template(
        pod(json!({"sysctls": [{"name": "a..b", "value": "1"}]})),
        &["securityContext.sysctls[0].name: Invalid value: \"a..b\": must have at most 253 characters and match regex"],
    );
    check_template(
        json!({"hostNetwork": true, "securityContext": {"sysctls": [{"name": "net.core.somaxconn", "value": "1"}]}}),
        &["securityContext.sysctls[0].name: Invalid value: \"net.core.somaxconn\": may not be specified when 'hostNet"],
    );
    check_container(
        json!({"securityContext": {"procMount": "Unmasked"}}),
        &["securityContext.procMount: Invalid value"],
    );
    check_template(
        json!({"os": {"name": "beos"}}),
        &["os.name: Unsupported value: \"beos\": supported values: \"linux\""],
    );
    check_template(
        json!({"os": {"name": "linux"}, "securityContext": {"windowsOptions": {}}}),
        &["securityContext.windowsOptions: Forbidden: windows options cannot be set for a linux pod"],
    );
}

#[test]
fn pods() {
    let spec = |fields: Value| json!({"spec": fields});
    check(
        "v1",
        "Pod",
        spec(json!({"containers": [{"name": "c", "image": " i"}]})),
        &["spec.containers[0].image: Invalid"],
    );
    let ephemeral = json!([{"name": "e", "image": "i"}]);
    check(
        "v1",
        "Pod",
        spec(json!({"ephemeralContainers": ephemeral})),
        &["spec.ephemeralContainers: Forbidden: cannot be"],
    );
    let update = |change: Value, expected: &[&str]| check_update("v1", "Pod", json!({}), spec(change), expected);
    update(
        json!({"containers": [{"name": "c", "image": "i:2", "imagePullPolicy": "IfNotPresent",
        "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File", "resources": {}}]}),
        &[],
    );
    update(json!({"nodeSelector": {"a": "b"}}), &["spec: Forbidden: pod updates may not change fields other than"]);
    update(json!({"tolerations": [{"key": "a", "operator": "Exists"}]}), &[]);
    update(json!({"activeDeadlineSeconds": 5}), &[]);
    check_update(
        "v1",
        "Pod",
        spec(json!({"tolerations": [{"key": "a", "operator": "Exists"}], "activeDeadlineSeconds": 5})),
        spec(json!({"tolerations": [], "activeDeadlineSeconds": 4})),
        &["spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds"],
    );
}

#[test]
fn small_kinds() {
    check("v1", "ConfigMap", json!({"data": {"a/b": ""}}), &["data[a/b]: Invalid value: \"a/b\": a valid config key"]);
    check(
        "v1",
        "Secret",
        json!({"type": "kubernetes.io/tls"}),
        &["data[tls.crt]: Required", "data[tls.key]: Required"],
    );
    check_update("v1", "Secret", json!({}), json!({"type": "x"}), &["type: Invalid value: \"x\": field is immutable"]);
    check_update(
        "v1",
        "ConfigMap",
        json!({"immutable": true, "data": {"a": "b"}}),
        json!({"data": {"a": "c"}}),
        &["data: Forbidden: field is immutable when `immutable` is set"],
    );
    check(
        "v1",
        "Node",
        json!({"spec": {"taints": [{"key": "a"}], "podCIDR": "x"}}),
        &["metadata.taints[0].effect: Required value", "spec.podCIDRs[0]: Invalid value: \"x\": must be a valid CIDR"],
    );
    check("v1", "Service", json!({"spec": {"ports": null}}), &["spec.ports: Required value"]);
    check(
        "v1",
        "Service",
        json!({"metadata": {"name": "1"}}),
        &["metadata.name: Invalid value: \"1\": a DNS-1035 label"],
    );
    check(
        "rbac.authorization.k8s.io/v1",
        "Role",
        json!({"rules": [{"nonResourceURLs": ["/x"]}]}),
        &[
            "rules[0].verbs: Required value: verbs must contain at least one value",
            "rules[0].nonResourceURLs: Invalid value: [\"/x\"]: namespaced rules cannot apply to non-resource URLs",
        ],
    );
    check_update(
        "rbac.authorization.k8s.io/v1",
        "RoleBinding",
        json!({}),
        json!({"roleRef": {"name": "s"}}),
        &[
            "roleRef: Invalid value: {\"apiGroup\":\"rbac.authorization.k8s.io\",\"kind\":\"Role\",\"name\":\"s\"}: cannot",
        ],
    );
    check(
        "policy/v1",
        "PodDisruptionBudget",
        json!({"spec": {"minAvailable": 1, "maxUnavailable": 1}}),
        &["spec: Invalid value: {\"maxUnavailable\":1,\"minAvailable\":1}: minAvailable and maxUnavailable cannot be"],
    );
    check(
        "scheduling.k8s.io/v1",
        "PriorityClass",
        json!({"value": 2_000_000_000}),
        &["value: Forbidden: maximum allowed value of a user defined priority is 1000000000"],
    );
}

#[test]
fn the_answer_says_everything_once() {
    let causes = |fields: &[&str]| fields.iter().map(|f| field::required(&Path::new(f), "")).collect::<Vec<_>>();
    let status = |fields: &[&str]| invalid(resource("apps/v1", "DaemonSet"), "x", causes(fields));
    assert_eq!(status(&["a"]).message(), "DaemonSet.apps \"x\" is invalid: a: Required value");
    assert_eq!(status(&["a", "a"]).message(), "DaemonSet.apps \"x\" is invalid: a: Required value");
    let both = "DaemonSet.apps \"x\" is invalid: [a: Required value, b: Required value]";
    assert_eq!(status(&["a", "b"]).message(), both);
    assert_eq!(status(&["a", "a"]).get_details().unwrap().causes.len(), 2);
    assert_eq!(invalid_kind("", "", "", causes(&["patch"])).message(), " \"\" is invalid: patch: Required value");
}

/// Of a pod whose container has ended with 42, and is said to run again.
#[test]
fn containers_that_have_ended() {
    let check = |pod: &str, container: Value, may_run_again: bool| {
        let mut object = json!({ "metadata": { "name": "p", "namespace": "n", "uid": "u", "resourceVersion": "1" },
            "spec": { "restartPolicy": pod, "containers": [container] }, "status": {} });
        object["spec"]["containers"][0]["name"] = "c".into();
        let with = |object: &Value, state: Value| {
            let mut object = object.clone();
            object["status"]["containerStatuses"] = json!([{ "name": "c", "state": state }]);
            object
        };
        let old = with(&object, json!({ "terminated": { "exitCode": 42 } }));
        let new = with(&object, json!({ "running": {} }));
        let causes = super::pod::status_update(&new, &old);
        let refused = causes.iter().any(|cause| cause.message.contains("non-terminated"));
        assert_eq!(refused, !may_run_again, "{pod} {object}: {causes:?}");
    };
    check("Always", json!({}), true);
    check("OnFailure", json!({}), true);
    check("Never", json!({}), false);
    check("Always", json!({"restartPolicy": "Never"}), false);
    check("Never", json!({"restartPolicy": "OnFailure"}), true);
    let rule = |operator: &str| {
        json!({"restartPolicy": "Never", "restartPolicyRules": [
            {"action": "Restart", "exitCodes": {"operator": operator, "values": [42]}}]})
    };
    check("Never", rule("In"), true);
    check("Never", rule("NotIn"), false);
}
