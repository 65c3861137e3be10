//! What Kubernetes tries on DaemonSets with its command line, tried with kubectl against ours.

mod support;

use std::path::Path;

use support::clients::{self, Kubectl};
use support::{Ran, Server, run, wait_for};

/// `run_daemonset_tests` and `run_daemonset_history_tests` of Kubernetes' `test/cmd/apps.sh`.
#[test]
fn the_command_line_tests_of_kubernetes() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path(), &["up", "--runtime", "none", "--simulated-nodes", "2"]);
    let mut kubectls = clients::kubectls();
    assert!(!kubectls.is_empty(), "no kubectl is installed; run `cargo xtask clients`");
    // What lies between the oldest and the newest, the story tells.
    let newest = kubectls.len() - 1;
    kubectls =
        kubectls.into_iter().enumerate().filter(|(at, _)| [0, newest].contains(at)).map(|(_, one)| one).collect();
    for Kubectl { program, minor } in kubectls {
        println!("run by kubectl 1.{minor}");
        let client = |arguments: &[&str]| run(server.client(program.to_str().expect("UTF-8")).args(arguments));
        generations(&client, dir.path());
        bind_history(&client, dir.path());
    }
}

type Client<'a> = dyn Fn(&[&str]) -> Ran + 'a;

fn bind(image: &str, more: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {{name: bind}}\nspec:\n  selector: {{matchLabels: {{service: \
         bind}}}}\n  updateStrategy: {{type: RollingUpdate, rollingUpdate: {{maxUnavailable: 10%}}}}\n  template:\n    \
         metadata: {{labels: {{service: bind}}}}\n    spec:\n      containers:\n      - {{name: main, image: '{image}'}}\n{more}"
    )
}

fn generations(client: &Client<'_>, dir: &Path) {
    let (file, kind) = (dir.join("bind.yaml"), "ds/bind");
    std::fs::write(&file, bind("pause:2.0", "")).expect("written");
    let file = file.to_str().expect("UTF-8");
    let get = |path: &str| client(&["get", kind, "-o", &format!("jsonpath={path}")]).ok();
    assert_eq!(client(&["get", "ds", "-o", "name"]).ok(), "");
    let changes: [(&[&str], &str); 6] = [
        (&["apply", "-f", file], "1"),
        (&["apply", "-f", file], "1"),
        (&["set", "image", kind, "*=pause:test-cmd"], "2"),
        (&["set", "env", kind, "foo=bar"], "3"),
        (&["set", "resources", kind, "--limits=cpu=200m,memory=512Mi"], "4"),
        (&["rollout", "restart", kind], "5"),
    ];
    for (change, generation) in changes {
        client(change).ok();
        assert_eq!(get("{.metadata.generation}"), generation, "{change:?}");
    }
    assert!(get("{.metadata.managedFields[*].manager}").contains("kubectl-set"));
    let described = client(&["describe", kind, "--chunk-size=1"]).ok();
    assert!(described.starts_with("Name:"), "{described}");
    let all = client(&["get", "all", "--v=6"]);
    assert!(all.stderr.contains("/apis/apps/v1/namespaces/default/daemonsets"), "{}", all.stderr);
    client(&["delete", "-f", file]).ok();
}

fn bind_history(client: &Client<'_>, dir: &Path) {
    let write = |name: &str, text: String| {
        let file = dir.join(name);
        std::fs::write(&file, text).expect("written");
        file.to_str().expect("UTF-8").to_string()
    };
    let first = write("rv1.yaml", bind("pause:2.0", ""));
    let second = write("rv2.yaml", bind("pause:latest", "      - {name: app, image: 'nginx:test-cmd'}\n"));
    let images = || client(&["get", "ds/bind", "-o", "jsonpath={.spec.template.spec.containers[*].image}"]).ok();
    let history = || client(&["rollout", "history", "ds/bind"]).ok();
    let settle = || drop(client(&["rollout", "status", "ds/bind", "--timeout=60s"]).ok());
    let cause = |text: &str| {
        client(&["annotate", "ds/bind", &format!("kubernetes.io/change-cause={text}"), "--overwrite"]).ok();
    };
    client(&["apply", "-f", &first]).ok();
    cause("kubectl apply one");
    settle();
    client(&["rollout", "undo", "ds/bind", "--to-revision=1"]).ok();
    assert_eq!(images(), "pause:2.0", "the present revision is no change");
    client(&["apply", "-f", &second]).ok();
    settle();
    assert_eq!(images(), "pause:latest nginx:test-cmd");
    let shown = history();
    assert!(shown.starts_with("daemonset.apps/bind \nREVISION  CHANGE-CAUSE\n1         "), "{shown}");
    let detail = client(&["rollout", "history", "ds/bind", "--revision=1"]).ok();
    assert!(detail.starts_with("daemonset.apps/bind with revision #1\nPod Template:\n"), "{detail}");
    assert!(detail.contains("pause:2.0"), "{detail}");
    let detail = client(&["rollout", "history", "ds/bind", "--revision=2"]).ok();
    assert!(detail.contains("pause:latest") && detail.contains("nginx:test-cmd"), "{detail}");
    for dry in ["--dry-run=client", "--dry-run=server"] {
        client(&["rollout", "undo", "ds/bind", dry]).ok();
        assert_eq!(images(), "pause:latest nginx:test-cmd");
    }
    client(&["rollout", "undo", "ds/bind", "--to-revision=1"]).ok();
    settle();
    assert_eq!(images(), "pause:2.0");
    wait_for("revisions 2 and 3", || revisions_are(&history(), &["2", "3"]));
    let refused = client(&["rollout", "undo", "ds/bind", "--to-revision=1000000"]).fails();
    assert!(refused.contains("unable to find specified revision"), "{refused}");
    assert_eq!(images(), "pause:2.0");
    client(&["rollout", "undo", "ds/bind"]).ok();
    settle();
    assert_eq!(images(), "pause:latest nginx:test-cmd");
    wait_for("revisions 3 and 4", || revisions_are(&history(), &["3", "4"]));
    client(&["delete", "-f", &first]).ok();
    wait_for("no pods", || client(&["get", "pods", "-o", "name"]).ok().is_empty().then_some(()));
}

fn revisions_are(history: &str, expected: &[&str]) -> Option<()> {
    let numbers: Vec<&str> = history.lines().skip(2).filter_map(|line| line.split_whitespace().next()).collect();
    (numbers == expected).then_some(())
}
