//! Several servers over one etcd: each serves what the others have written, one works, and another takes over.

#[path = "../../store-etcd/tests/support/etcd.rs"]
mod etcd;
mod support;

use std::process::Command;

use etcd::Etcd;
use serde_json::Value;
use support::{Ran, Server, run, wait_for};

/// Twenty nodes, one at a time, each a moment slow: a rollout that takes a while.
const MANIFEST: &str = "apiVersion: apps/v1
kind: DaemonSet
metadata:
  name: agent
spec:
  selector:
    matchLabels:
      app: agent
  template:
    metadata:
      labels:
        app: agent
      annotations:
        sim.backstay.dev/behavior: ready-after=500ms
    spec:
      containers:
      - name: main
        image: agent:v1
";

fn server(etcd: &Etcd, dir: &std::path::Path) -> Server {
    Server::over_etcd(&etcd.endpoint(), dir, &["--simulated-nodes", "20"])
}

fn daemonset(server: &Server) -> Value {
    serde_json::from_str(&server.backstay(&["get", "ds", "agent", "-o", "json"]).ok()).expect("JSON")
}

#[test]
fn another_server_finishes_what_the_first_has_begun() {
    let Some(mut etcd) = Etcd::start("another_server_finishes_what_the_first_has_begun") else { return };
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let mut one = server(&etcd, dirs[0].path());
    let holder = |server: &Server| {
        let lease =
            ["get", "lease", "backstay-controllers", "-n", "kube-system", "-o", "jsonpath={.spec.holderIdentity}"];
        let ran = server.backstay(&lease);
        (ran.code == Some(0) && !ran.stdout.is_empty()).then_some(ran.stdout)
    };
    let first = wait_for("the first server works", || holder(&one));
    let mut two = server(&etcd, dirs[1].path());

    // What one acknowledges, the other shows at once.
    let manifest = dirs[0].path().join("agent.yaml");
    std::fs::write(&manifest, MANIFEST).unwrap();
    one.backstay(&["apply", "-f", manifest.to_str().unwrap()]).ok();
    two.backstay(&["rollout", "status", "ds/agent"]).ok();
    for number in 0..10 {
        let (writer, reader) = if number % 2 == 0 { (&one, &two) } else { (&two, &one) };
        let value = format!("value={number}");
        writer.backstay(&["annotate", "ds/agent", "--overwrite", &value]).ok();
        // By the version that the write was answered with, and by none.
        let version = daemonset(writer)["metadata"]["resourceVersion"].as_str().expect("text").to_string();
        let path = format!("/apis/apps/v1/namespaces/default/daemonsets/agent?resourceVersion={version}");
        let seen = reader.backstay(&["get", "--raw", &path]).ok();
        assert!(seen.contains(&format!("\"value\":\"{number}\"")), "{seen}");
        let path = "jsonpath={.metadata.annotations.value}";
        assert_eq!(reader.backstay(&["get", "ds", "agent", "-o", path]).ok(), number.to_string());
    }

    // Each accepts whom the other vouches for: its certificates, and its tokens.
    let config = std::fs::read_to_string(&one.kubeconfig).unwrap().replace(&one.url, &two.url);
    let crossed = dirs[0].path().join("crossed.kubeconfig");
    std::fs::write(&crossed, config).unwrap();
    let who = |arguments: &[&str]| -> Ran {
        let mut command = Command::new(support::kubectl());
        run(command
            .arg("--kubeconfig")
            .arg(&crossed)
            .args(["auth", "whoami", "-o", "jsonpath={.status.userInfo.username}"])
            .args(arguments))
    };
    assert_eq!(who(&[]).ok(), "backstay-admin");
    let token = one.kubectl(&["create", "token", "default"]).ok();
    let anonymous = dirs[0].path().join("anonymous.kubeconfig");
    let text = std::fs::read_to_string(&crossed).unwrap();
    let without: String =
        text.lines().filter(|line| !line.contains("client-")).map(|line| format!("{line}\n")).collect();
    std::fs::write(&anonymous, without).unwrap();
    let mut command = Command::new(support::kubectl());
    command.arg("--kubeconfig").arg(&anonymous).args(["--token", token.trim(), "auth", "whoami"]);
    let said = run(command.args(["-o", "jsonpath={.status.userInfo.username}"])).ok();
    assert_eq!(said, "system:serviceaccount:default:default");

    // In mid-rollout, the one that works is killed.
    one.backstay(&["set", "image", "ds/agent", "main=agent:v2"]).ok();
    wait_for("the rollout is under way", || {
        let updated = daemonset(&two)["status"]["updatedNumberScheduled"].as_u64();
        updated.filter(|count| (2..20).contains(count))
    });
    one.stop("KILL");
    two.backstay(&["rollout", "status", "ds/agent", "--timeout", "120s"]).ok();
    assert_ne!(holder(&two), Some(first), "another has taken over");
    let set = daemonset(&two);
    assert_eq!((&set["status"]["updatedNumberScheduled"], &set["status"]["numberAvailable"]), (&20.into(), &20.into()));
    let history = two.backstay(&["rollout", "history", "ds/agent"]).ok();
    assert!(history.contains("\n1 ") && history.contains("\n2 "), "{history}");
    two.backstay(&["rollout", "undo", "ds/agent"]).ok();
    two.backstay(&["rollout", "status", "ds/agent", "--timeout", "120s"]).ok();

    // Without etcd it is alive, but not ready; and it goes on when etcd does.
    etcd.kill();
    let asked = |path: &str| two.backstay(&["get", "--raw", path]);
    assert_eq!(asked("/livez").ok(), "ok");
    assert_ne!(asked("/readyz").code, Some(0));
    let refused = two.backstay(&["get", "ds"]).fails();
    assert!(refused.contains("(ServiceUnavailable)") && refused.contains("etcd does not answer"), "{refused}");
    assert!(etcd.resume());
    wait_for("it is ready again", || (asked("/readyz").code == Some(0)).then_some(()));
    two.backstay(&["get", "ds", "agent"]).ok();

    // Whoever stops in order leaves the work to the next at once.
    let three = server(&etcd, dirs[0].path());
    let second = wait_for("the second server works again", || holder(&two));
    assert!(two.stop("TERM").0.success());
    assert_ne!(holder(&three), Some(second));
}

#[test]
fn leases_are_for_several() {
    let leases = |arguments: &[&str]| {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::start(dir.path(), &[&["server", "--simulated-nodes", "1"], arguments].concat());
        wait_for("the node is there", || {
            (server.backstay(&["get", "node", "sim-00000"]).code == Some(0)).then_some(())
        });
        server.backstay(&["get", "leases", "-n", "kube-system", "-o", "name"]).ok()
    };
    assert_eq!(leases(&[]), "");
    let held = leases(&["--leader-elect"]);
    assert!(held.contains("lease.coordination.k8s.io/backstay-simulated-nodes"), "{held}");
    assert_eq!(leases(&["--leader-elect=false"]), "");
}

#[test]
fn what_does_not_go_together() {
    let check = |arguments: &[&str], expected: &str| {
        let dir = tempfile::tempdir().unwrap();
        let mut command = support::backstay();
        command.args(["server", "--listen", "127.0.0.1:0", "--data-dir"]).arg(dir.path()).args(arguments);
        let ran = run(&mut command);
        assert!(ran.code == Some(1) && ran.stderr.contains(expected), "{arguments:?}: {ran:?}");
    };
    check(&["--store", "etcd"], "--store etcd needs --etcd-endpoints");
    check(&["--etcd-endpoints", "http://127.0.0.1:1"], "add --store etcd");
    check(
        &["--store", "etcd", "--etcd-endpoints", "http://127.0.0.1:1"],
        "cannot read from etcd at http://127.0.0.1:1: etcd does not answer (tcp connect error: Connection refused",
    );
    check(&["--store", "etcd", "--etcd-endpoints", "https://h:1", "--etcd-ca", "/nowhere"], "cannot read /nowhere");
    check(&["--etcd-cert", "/nowhere"], "--etcd-key");
    check(&["--etcd-ca", "/nowhere"], "add --store etcd");
    check(&["--store", "etcd", "--etcd-endpoints", "https://127.0.0.1:1"], "--etcd-ca");
    check(&["--store", "etcd", "--etcd-endpoints", "http://127.0.0.1:1", "--etcd-ca", "/dev/null"], "https://");
}
