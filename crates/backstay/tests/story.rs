//! The story that must always work, told by one kubectl of each minor version and by our own command line: create,
//! unchanged apply, update, history, undo in all its forms, dry runs, restart, OnDelete, orphans, server-side apply.

mod support;

use std::path::PathBuf;
use std::process::Command;

use support::clients::{self, Kubectl};
use support::{Ran, Server, run, wait_for};

const MANIFEST: &str = "apiVersion: apps/v1
kind: DaemonSet
metadata:
  name: fluentd
  annotations:
    kubernetes.io/change-cause: initial <v1> & more
spec:
  selector:
    matchLabels:
      app: fluentd
  template:
    metadata:
      labels:
        app: fluentd
    spec:
      containers:
      - name: fluentd
        image: fluentd:v1
        args: [\"a<b>&c\"]
";

/// One client program against one server, in a namespace of its own.
struct Teller<'a> {
    name: String,
    server: &'a Server,
    program: PathBuf,
    manifest: &'a str,
    namespace: String,
}

impl<'a> Teller<'a> {
    fn kubectl(server: &'a Server, manifest: &'a str, Kubectl { minor, program }: Kubectl) -> Self {
        Self { name: format!("kubectl 1.{minor}"), server, program, manifest, namespace: format!("story-{minor}") }
    }

    fn backstay(server: &'a Server, manifest: &'a str) -> Self {
        let program = env!("CARGO_BIN_EXE_backstay").into();
        Self { name: "backstay".into(), server, program, manifest, namespace: "story".into() }
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        let mut command: Command = self.server.client(self.program.to_str().expect("UTF-8"));
        run(command.args(arguments).args(["-n", &self.namespace]))
    }

    #[track_caller]
    fn ok(&self, arguments: &[&str]) -> String {
        self.run(arguments).ok()
    }

    /// The errors of a command that must fail; newer clients warn before.
    #[track_caller]
    fn fails(&self, arguments: &[&str]) -> String {
        let stderr = self.run(arguments).fails();
        stderr.lines().filter(|line| !line.starts_with("Warning: ")).map(|line| format!("{line}\n")).collect()
    }

    #[track_caller]
    fn settle(&self) {
        let last = self.ok(&["rollout", "status", "ds/fluentd", "--timeout=60s"]);
        assert!(last.ends_with("daemon set \"fluentd\" successfully rolled out\n"), "{last}");
    }

    /// Revision numbers with the image of each, as the server has them.
    fn revisions(&self) -> Vec<String> {
        let path = "jsonpath={range .items[*]}{.revision} \
                    {.data.spec.template.spec.containers[0].image}{\"\\n\"}{end}";
        let mut lines: Vec<String> =
            self.ok(&["get", "controllerrevisions", "-o", path]).lines().map(str::to_string).collect();
        lines.sort();
        lines
    }

    #[track_caller]
    fn expect_revisions(&self, expected: &[&str]) {
        wait_for("the revisions", || (self.revisions() == expected).then_some(()));
    }

    fn pods(&self) -> Vec<String> {
        let mut names: Vec<String> = self.ok(&["get", "pods", "-o", "name"]).lines().map(str::to_string).collect();
        names.sort();
        names
    }

    fn image(&self) -> String {
        self.ok(&["get", "ds/fluentd", "-o", "jsonpath={.spec.template.spec.containers[0].image}"])
    }
}

/// How many tell at a time: they wait for the fleet as long as they compute.
const TELLERS_AT_A_TIME: usize = 3;

#[test]
fn every_client_tells_the_whole_story() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path(), &["up", "--runtime", "none", "--simulated-nodes", "3"]);
    let manifest = dir.path().join("fluentd.yaml");
    std::fs::write(&manifest, MANIFEST).expect("written");
    let manifest = manifest.to_str().expect("UTF-8");
    let kubectls = clients::kubectls();
    assert!(!kubectls.is_empty(), "no kubectl is installed; run `cargo xtask clients`");
    let mut tellers: Vec<Teller<'_>> =
        kubectls.into_iter().map(|one| Teller::kubectl(&server, manifest, one)).collect();
    tellers.push(Teller::backstay(&server, manifest));
    for some in tellers.chunks(TELLERS_AT_A_TIME) {
        std::thread::scope(|scope| {
            for teller in some {
                let thread = std::thread::Builder::new().name(teller.name.clone());
                thread.spawn_scoped(scope, || tell(teller)).expect("a thread");
            }
        });
    }
    let told: Vec<&str> = tellers.iter().map(|teller| teller.name.as_str()).collect();
    clients::say(&format!("the story was told by {}", told.join(", ")));
}

fn tell(teller: &Teller<'_>) {
    println!("told by {}: {}", teller.name, teller.program.display());
    let namespace = &teller.namespace;
    assert_eq!(teller.ok(&["create", "namespace", namespace]), format!("namespace/{namespace} created\n"));
    creating(teller);
    updating(teller);
    undoing(teller);
    refusals_and_dry_runs(teller);
    orphans(teller);
    restarting_and_on_delete(teller);
    let deleted = teller.ok(&["delete", "namespace", namespace]);
    assert!(deleted.starts_with(&format!("namespace \"{namespace}\" deleted")), "{deleted}");
}

fn creating(teller: &Teller<'_>) {
    assert_eq!(teller.ok(&["apply", "-f", teller.manifest]), "daemonset.apps/fluentd created\n");
    teller.settle();
    assert_eq!(teller.ok(&["apply", "-f", teller.manifest]), "daemonset.apps/fluentd unchanged\n");
    assert_eq!(teller.pods().len(), 3);
    teller.expect_revisions(&["1 fluentd:v1"]);
    assert_eq!(
        teller.ok(&["rollout", "history", "ds/fluentd"]),
        "daemonset.apps/fluentd \nREVISION  CHANGE-CAUSE\n1         initial <v1> & more\n\n"
    );
    assert_eq!(teller.fails(&["rollout", "undo", "ds/fluentd"]), "error: no last revision to roll back to\n");
}

fn updating(teller: &Teller<'_>) {
    let change = r#"{"metadata":{"annotations":{"kubernetes.io/change-cause":"v2"}},"spec":{"template":{"spec":
        {"containers":[{"name":"fluentd","image":"fluentd:v2"}]}}}}"#;
    assert_eq!(teller.ok(&["patch", "ds/fluentd", "-p", change]), "daemonset.apps/fluentd patched\n");
    teller.settle();
    teller.expect_revisions(&["1 fluentd:v1", "2 fluentd:v2"]);
    assert_eq!(
        teller.ok(&["rollout", "history", "ds/fluentd"]),
        "daemonset.apps/fluentd \nREVISION  CHANGE-CAUSE\n1         initial <v1> & more\n2         v2\n\n"
    );
    let detail = teller.ok(&["rollout", "history", "ds/fluentd", "--revision=1"]);
    assert!(detail.starts_with("daemonset.apps/fluentd with revision #1\nPod Template:\n  Labels:\tapp=fluentd\n"));
    assert!(detail.contains("    Image:\tfluentd:v1\n") && detail.contains("      a<b>&c\n"), "{detail}");
}

fn undoing(teller: &Teller<'_>) {
    let before = teller.pods();
    assert_eq!(teller.ok(&["rollout", "undo", "ds/fluentd"]), "daemonset.apps/fluentd rolled back\n");
    teller.settle();
    assert_eq!(teller.image(), "fluentd:v1");
    assert!(teller.pods().iter().all(|pod| !before.contains(pod)));
    teller.expect_revisions(&["2 fluentd:v2", "3 fluentd:v1"]);
    assert_eq!(
        teller.ok(&["rollout", "history", "ds/fluentd"]),
        "daemonset.apps/fluentd \nREVISION  CHANGE-CAUSE\n2         v2\n3         initial <v1> & more\n\n"
    );
    assert_eq!(teller.ok(&["rollout", "undo", "ds/fluentd"]), "daemonset.apps/fluentd rolled back\n");
    teller.settle();
    teller.expect_revisions(&["3 fluentd:v1", "4 fluentd:v2"]);
    let given = teller.ok(&["rollout", "undo", "ds/fluentd", "--to-revision=3"]);
    assert_eq!(given, "daemonset.apps/fluentd rolled back\n");
    teller.settle();
    teller.expect_revisions(&["4 fluentd:v2", "5 fluentd:v1"]);
}

fn refusals_and_dry_runs(teller: &Teller<'_>) {
    assert_eq!(
        teller.fails(&["rollout", "undo", "ds/fluentd", "--to-revision=1000000"]),
        "error: unable to find specified revision 1000000 in history\n"
    );
    assert_eq!(
        teller.ok(&["rollout", "undo", "ds/fluentd", "--dry-run=server"]),
        "daemonset.apps/fluentd rolled back (server dry run)\n"
    );
    let client = teller.ok(&["rollout", "undo", "ds/fluentd", "--dry-run=client"]);
    assert!(client.starts_with("daemonset.apps/fluentd will roll back to Pod Template:\n"), "{client}");
    assert_eq!(teller.image(), "fluentd:v1", "dry runs change nothing");
    assert_eq!(
        teller.fails(&["rollout", "undo", "ds/nosuch"]),
        "Error from server (NotFound): daemonsets.apps \"nosuch\" not found\n"
    );
    assert_eq!(
        teller.fails(&["rollout", "pause", "ds/fluentd"]),
        "error: daemonsets.apps \"fluentd\" pausing is not supported\n"
    );
}

fn restarting_and_on_delete(teller: &Teller<'_>) {
    let before = teller.pods();
    assert_eq!(teller.ok(&["rollout", "restart", "ds/fluentd"]), "daemonset.apps/fluentd restarted\n");
    teller.settle();
    assert!(teller.pods().iter().all(|pod| !before.contains(pod)));
    teller.expect_revisions(&["4 fluentd:v2", "5 fluentd:v1", "6 fluentd:v1"]);

    let on_delete = r#"{"spec":{"updateStrategy":{"type":"OnDelete","rollingUpdate":null}}}"#;
    teller.ok(&["patch", "ds/fluentd", "-p", on_delete]);
    assert_eq!(
        teller.ok(&["set", "image", "ds/fluentd", "fluentd=fluentd:v3"]),
        "daemonset.apps/fluentd image updated\n"
    );
    teller.expect_revisions(&["4 fluentd:v2", "5 fluentd:v1", "6 fluentd:v1", "7 fluentd:v3"]);
    assert_eq!(
        teller.fails(&["rollout", "status", "ds/fluentd"]),
        "error: rollout status is only available for RollingUpdate strategy type\n"
    );
    let images = || teller.ok(&["get", "pods", "-o", "jsonpath={.items[*].spec.containers[0].image}"]);
    assert_eq!(images(), "fluentd:v1 fluentd:v1 fluentd:v1", "pods stay until somebody deletes them");
    let first = teller.pods()[0].clone();
    teller.ok(&["delete", &first]);
    wait_for("the new pod", || {
        let mut images: Vec<String> = images().split(' ').map(str::to_string).collect();
        images.sort();
        (images == ["fluentd:v1", "fluentd:v1", "fluentd:v3"]).then_some(())
    });
    teller.ok(&["patch", "ds/fluentd", "-p", r#"{"spec":{"updateStrategy":{"type":"RollingUpdate"}}}"#]);
    teller.settle();
    assert_eq!(teller.ok(&["delete", "ds/fluentd"]).lines().count(), 1);
    wait_for("no pods", || teller.pods().is_empty().then_some(()));
}

fn orphans(teller: &Teller<'_>) {
    let before = teller.pods();
    teller.ok(&["delete", "ds/fluentd", "--cascade=orphan"]);
    let owners = "jsonpath={.items[*].metadata.ownerReferences}";
    wait_for("pods without owner", || teller.ok(&["get", "pods", "-o", owners]).is_empty().then_some(()));
    assert_eq!(teller.pods(), before);
    // The template that the pods run, with server-side apply this time.
    let applied = teller.ok(&["apply", "--server-side", "-f", teller.manifest]);
    assert_eq!(applied, "daemonset.apps/fluentd serverside-applied\n");
    teller.settle();
    assert_eq!(teller.pods(), before, "adopted, not restarted");
    teller.expect_revisions(&["4 fluentd:v2", "5 fluentd:v1"]);
}
