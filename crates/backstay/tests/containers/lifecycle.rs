//! Containers in order, ends and their reasons, probes, hooks and signals.

use serde_json::{Value, json};

use crate::daemon::IMAGE;
use crate::support::{needs, wait_for};
use crate::world::{World, is_ready};

/// A container that runs a script, with what else it has.
fn container(name: &str, script: &str, more: Value) -> Value {
    let mut all = json!({ "name": name, "image": IMAGE, "imagePullPolicy": "Never", "command": ["sh", "-c", script] });
    all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    all
}

fn pod(name: &str, more: Value) -> Value {
    let mut spec = json!({ "terminationGracePeriodSeconds": 5 });
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name }, "spec": spec })
}

const FOREVER: &str = "trap 'exit 0' TERM; while :; do sleep 0.1; done";

#[test]
fn init_containers_and_sidecars() {
    let Some(world) = World::start("init_containers_and_sidecars") else { return };
    let shared = json!({ "volumeMounts": [{ "name": "v", "mountPath": "/v" }] });
    let mut sidecar = shared.clone();
    sidecar["restartPolicy"] = json!("Always");
    sidecar["startupProbe"] = json!({ "exec": { "command": ["cat", "/v/sidecar"] }, "periodSeconds": 1 });
    let side = format!("cat /v/first && echo side > /v/sidecar; {FOREVER}");
    world.apply(&pod(
        "p",
        json!({
            "volumes": [{ "name": "v", "emptyDir": {} }],
            "initContainers": [
                container("first", "echo one > /v/first; echo first done", shared.clone()),
                container("side", &side, sidecar),
                container("second", "cat /v/sidecar && echo two > /v/second", shared.clone()),
            ],
            "containers": [container("main", &format!("cat /v/first /v/sidecar /v/second; {FOREVER}"), shared)],
        }),
    ));
    let seen = world.ready("p");
    assert_eq!(world.log_with("p", "main", "two"), "one\nside\ntwo\n");
    assert_eq!(world.log_with("p", "first", "done"), "first done\n");
    let states = seen["status"]["initContainerStatuses"].as_array().unwrap();
    let ended = |index: usize| states[index]["state"]["terminated"]["reason"].as_str();
    assert_eq!((ended(0), ended(1), ended(2)), (Some("Completed"), None, Some("Completed")));
    assert!(states[1]["state"]["running"].is_object() && states[1]["ready"] == true, "{}", states[1]);
    world.backstay(&["delete", "pod", "p", "--timeout=60s"]).ok();

    world.apply(&pod(
        "broken",
        json!({
            "restartPolicy": "Never",
            "initContainers": [container("first", "echo no; exit 4", json!({}))],
            "containers": [container("main", FOREVER, json!({}))],
        }),
    ));
    let seen = world.pod_that("broken", "failure", |pod| pod["status"]["phase"] == "Failed");
    assert_eq!(seen["status"]["initContainerStatuses"][0]["state"]["terminated"]["exitCode"], 4);
}

#[test]
fn ends_and_their_reasons() {
    let Some(world) = World::start("ends_and_their_reasons") else { return };
    let rows = [
        ("done", "true", json!({}), "Completed", 0, ""),
        ("failed", "echo why; exit 42", json!({}), "Error", 42, ""),
        ("told", "echo -n farewell > /dev/termination-log; exit 3", json!({}), "Error", 3, "farewell"),
        (
            "elsewhere",
            "echo -n here > /tmp/last",
            json!({ "terminationMessagePath": "/tmp/last" }),
            "Completed",
            0,
            "here",
        ),
        (
            "logged",
            "echo from the log; exit 1",
            json!({ "terminationMessagePolicy": "FallbackToLogsOnError" }),
            "Error",
            1,
            "from the log\n",
        ),
        ("hungry", "tail /dev/zero", json!({ "resources": { "limits": { "memory": "24Mi" } } }), "OOMKilled", 137, ""),
    ];
    for (name, script, more, ..) in &rows {
        let spec = json!({ "restartPolicy": "Never", "containers": [container("main", script, more.clone())] });
        world.apply(&pod(name, spec));
    }
    for (name, _, _, reason, code, message) in &rows {
        let end = |pod: &Value| pod["status"]["containerStatuses"][0]["state"]["terminated"].clone();
        let seen = end(&world.pod_that(name, "an end", |pod| end(pod).is_object()));
        assert_eq!((&seen["reason"], &seen["exitCode"]), (&json!(reason), &json!(code)), "{name}: {seen}");
        assert_eq!(seen["message"].as_str().unwrap_or_default(), *message, "{name}");
    }
    // A program that is not there: the runtime says it.
    let mut missing = container("main", "", json!({}));
    missing["command"] = json!(["/no/such"]);
    world.apply(&pod("missing", json!({ "containers": [missing] })));
    world.wait_event("missing", "/no/such");
    let state = |pod: &Value| pod["status"]["containerStatuses"][0].to_string();
    world.pod_that("missing", "a start error", |pod| state(pod).contains("StartError"));
    world.pod_that("missing", "a back-off", |pod| state(pod).contains("CrashLoopBackOff"));
}

#[test]
fn probes_hooks_and_signals() {
    let Some(world) = World::start("probes_hooks_and_signals") else { return };
    let probe = |handler: Value| {
        let mut probe = handler;
        probe["periodSeconds"] = json!(1);
        probe
    };
    let serve = "touch /tmp/ok; exec busybox httpd -f -p 8080 -h /tmp";
    let rows = [
        ("exec", serve, probe(json!({ "exec": { "command": ["cat", "/tmp/ok"] } }))),
        ("http", serve, probe(json!({ "httpGet": { "path": "/ok", "port": 8080 } }))),
        ("tcp", serve, probe(json!({ "tcpSocket": { "port": 8080 } }))),
    ];
    for (name, script, probe) in &rows {
        let more = json!({ "readinessProbe": probe, "livenessProbe": probe });
        world.apply(&pod(name, json!({ "containers": [container("main", script, more)] })));
    }
    for (name, ..) in &rows {
        world.ready(name);
    }
    asked_by_grpc(&world);
    // Not ready any more, and restarted: the file is gone.
    world.exec("http", "busybox rm /tmp/ok");
    world.wait_event("http", "Unhealthy Readiness probe failed: HTTP probe failed with statuscode: 404");
    world.wait_event("http", "Killing Container main failed liveness probe, will be restarted");

    let hooks = json!({ "lifecycle": {
        "postStart": { "exec": { "command": ["sh", "-c", "echo started > /v/begin"] } },
        "preStop": { "exec": { "command": ["sh", "-c", "echo stopping > /v/end"] } } },
        "volumeMounts": [{ "name": "v", "mountPath": "/v" }] });
    let host = world.path("hooks");
    let volumes = json!([{ "name": "v", "hostPath": { "path": host, "type": "DirectoryOrCreate" } }]);
    world.apply(&pod("hooks", json!({ "volumes": volumes, "containers": [container("main", FOREVER, hooks)] })));
    world.ready("hooks");
    let read = |name: &str| std::fs::read_to_string(host.join(name)).unwrap_or_default();
    wait_for("the hook after the start", || (read("begin") == "started\n").then_some(()));
    world.backstay(&["delete", "pod", "hooks", "--timeout=60s"]).ok();
    assert_eq!(read("end"), "stopping\n");

    let script = "trap 'echo by USR1 > /v/signal; exit 0' USR1; trap 'echo by TERM > /v/signal; exit 1' TERM; \
                  echo up; while :; do sleep 0.1; done";
    let more =
        json!({ "lifecycle": { "stopSignal": "SIGUSR1" }, "volumeMounts": [{ "name": "v", "mountPath": "/v" }] });
    let spec =
        json!({ "os": { "name": "linux" }, "volumes": volumes, "containers": [container("main", script, more)] });
    world.apply(&pod("signal", spec));
    world.log_with("signal", "main", "up");
    world.backstay(&["delete", "pod", "signal", "--timeout=60s"]).ok();
    assert_eq!(read("signal"), "by USR1\n");

    let http = world.pod_that("http", "a restart", |pod| {
        pod["status"]["containerStatuses"][0]["restartCount"].as_i64() > Some(0) && is_ready(pod)
    });
    assert_eq!(http["status"]["containerStatuses"][0]["lastState"]["terminated"]["reason"], "Error");
}

/// etcd answers gRPC's questions about health; what it needs of the machine is lent to the container.
fn asked_by_grpc(world: &World) {
    if !needs::are_met("probes_hooks_and_signals (gRPC)", true, &[("/usr/bin/etcd", "etcd-server")]) {
        return;
    }
    let lent = [("/usr", "/usr"), ("/usr/lib", "/lib"), ("/usr/lib64", "/lib64")];
    let volumes: Vec<Value> = lent
        .iter()
        .enumerate()
        .map(|(number, (host, _))| json!({ "name": format!("v{number}"), "hostPath": { "path": host } }))
        .collect();
    let mounts: Vec<Value> = lent
        .iter()
        .enumerate()
        .map(|(number, (_, at))| json!({ "name": format!("v{number}"), "mountPath": at, "readOnly": true }))
        .collect();
    let script = "exec /usr/bin/etcd --data-dir /tmp/etcd --listen-peer-urls http://127.0.0.1:0 \
        --listen-client-urls http://0.0.0.0:2379 --advertise-client-urls http://127.0.0.1:2379";
    let probe = json!({ "grpc": { "port": 2379 }, "periodSeconds": 1 });
    let more = json!({ "volumeMounts": mounts, "readinessProbe": probe });
    world.apply(&pod("grpc", json!({ "volumes": volumes, "containers": [container("main", script, more)] })));
    world.ready("grpc");
    let wrong = json!({ "readinessProbe": { "grpc": { "port": 2379 }, "periodSeconds": 1 } });
    world.apply(&pod("no-grpc", json!({ "containers": [container("main", FOREVER, wrong)] })));
    world.wait_event("no-grpc", "Unhealthy Readiness probe failed: ");
}
