//! Verbs that take time, an editor, or a server that is not there.

mod support;

use support::{Server, Sink, backstay, run};

const DAEMONSET: &str = r#"apiVersion: apps/v1
kind: DaemonSet
metadata: {name: x}
spec:
  selector: {matchLabels: {app: x}}
  template:
    metadata: {labels: {app: x}}
    spec: {containers: [{name: main, image: "main:v1"}]}
"#;

fn world() -> Server {
    let server = Server::start();
    let file = server.file("ds.yaml", DAEMONSET);
    let made = server.backstay(&["apply", "-f", &file]);
    assert_eq!((made.out.as_str(), made.err.as_str()), ("daemonset.apps/x created\n", ""));
    server
}

fn set_status(server: &Server, observed: i64, desired: i64, updated: i64, available: i64) {
    let patch = format!(
        r#"{{"status":{{"observedGeneration":{observed},"desiredNumberScheduled":{desired},"currentNumberScheduled":0,"numberMisscheduled":0,"numberReady":{available},"updatedNumberScheduled":{updated},"numberAvailable":{available}}}}}"#
    );
    let patched = server.backstay(&["patch", "ds", "x", "--subresource=status", "--type=merge", "-p", &patch]);
    assert_eq!((patched.out.as_str(), patched.err.as_str()), ("daemonset.apps/x patched\n", ""));
}

#[test]
fn rollout_status_follows_the_rollout() {
    let server = world();
    let out = Sink::default();
    let status = {
        let (kubeconfig, out) = (server.kubeconfig(), out.clone());
        std::thread::spawn(move || run(&kubeconfig, &["rollout", "status", "ds/x"], "", "false", &out))
    };
    out.wait_for("to be observed");
    set_status(&server, 1, 2, 1, 0);
    out.wait_for("1 out of 2");
    set_status(&server, 1, 2, 2, 1);
    out.wait_for("1 of 2");
    set_status(&server, 1, 2, 2, 2);
    let ended = status.join().unwrap();
    let expected = "Waiting for daemon set spec update to be observed...
Waiting for daemon set \"x\" rollout to finish: 1 out of 2 new pods have been updated...
Waiting for daemon set \"x\" rollout to finish: 1 of 2 updated pods are available...
daemon set \"x\" successfully rolled out
";
    assert_eq!((ended.out.as_str(), ended.err.as_str(), ended.code), (expected, "", 0));
}

#[test]
fn rollout_status_ends_when_the_set_is_deleted() {
    let server = world();
    let out = Sink::default();
    let status = {
        let (kubeconfig, out) = (server.kubeconfig(), out.clone());
        std::thread::spawn(move || run(&kubeconfig, &["rollout", "status", "ds/x"], "", "false", &out))
    };
    out.wait_for("to be observed");
    assert_eq!(server.backstay(&["delete", "ds", "x"]).code, 0);
    let ended = status.join().unwrap();
    assert_eq!((ended.err.as_str(), ended.code), ("error: object has been deleted\n", 1));
}

#[test]
fn get_watch_goes_on_with_what_changes() {
    let server = world();
    let out = Sink::default();
    let watch = {
        let (kubeconfig, out) = (server.kubeconfig(), out.clone());
        let words = ["get", "ds", "-w", "-o", "name"];
        std::thread::spawn(move || run(&kubeconfig, &words, "", "false", &out))
    };
    out.wait_for("daemonset.apps/x\n");
    let second = server.file("second.yaml", &DAEMONSET.replace("name: x}", "name: z}"));
    assert_eq!(server.backstay(&["create", "-f", &second]).code, 0);
    out.wait_for("daemonset.apps/x\ndaemonset.apps/z\n");
    // The end of the server ends the watch.
    drop(server);
    watch.join().unwrap();
}

#[test]
fn edit_sends_what_the_editor_left() {
    let server = world();
    let edit = |editor: &str| run(&server.kubeconfig(), &["edit", "ds/x"], "", editor, &Sink::default());
    let same = edit("true");
    assert_eq!((same.err.as_str(), same.code), ("Edit cancelled, no changes made.\n", 0));
    let changed = edit("sed -i s/main:v1/main:v2/");
    assert_eq!((changed.out.as_str(), changed.code), ("daemonset.apps/x edited\n", 0));
    let image = ["get", "ds", "x", "-o", "jsonpath={.spec.template.spec.containers[0].image}"];
    assert_eq!(server.backstay(&image).out, "main:v2");
    // The second time the editor leaves what was refused the first time.
    let refused = edit("sed -i s/main:v2/main:v3/\\;s/app:.x/app:\\ y/");
    assert!(refused.err.ends_with("error: Edit cancelled, no valid changes were saved.\n"), "{}", refused.err);
    assert_eq!(server.backstay(&image).out, "main:v2");
}

#[test]
fn a_server_that_is_not_there_is_named() {
    let server = world();
    let kubeconfig = server.directory.path().join("copy");
    std::fs::copy(server.kubeconfig(), &kubeconfig).unwrap();
    let text = std::fs::read_to_string(&kubeconfig).unwrap();
    let address = text.split("https://").nth(1).unwrap().split_whitespace().next().unwrap().to_string();
    let directory = tempfile::tempdir().unwrap();
    let copy = directory.path().join("kubeconfig");
    std::fs::write(&copy, text).unwrap();
    drop(server);
    let refused = backstay(&copy, &["get", "ds"], "");
    let expected =
        format!("The connection to the server {address} was refused - did you specify the right host or port?\n");
    assert_eq!((refused.err, refused.code), (expected, 1));
}
