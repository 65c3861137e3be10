//! kubectl from 1.32 on speaks protobuf wherever it knows the types, without being asked to. What it then shows, and
//! that it was protobuf.

mod support;

use std::path::{Path, PathBuf};
use std::process::Stdio;

use support::clients::kubectls;
use support::{Ran, Server, run, wait_for};

/// As it stands in the headers of a trace.
const PROTOBUF: &str = "Content-Type: application/vnd.kubernetes.protobuf";

const MANIFEST: &str = "apiVersion: apps/v1
kind: DaemonSet
metadata:
  name: fluentd
  annotations: {kubernetes.io/change-cause: <first>}
spec:
  selector: {matchLabels: {app: fluentd}}
  template:
    metadata:
      labels: {app: fluentd}
    spec:
      containers:
      - name: fluentd
        image: fluentd:v1
        args: [\"a<b>&c\"]
        resources: {limits: {cpu: 0.5}}
        livenessProbe: {httpGet: {path: /, port: web}}
      volumes:
      - name: data
        hostPath: {path: /data}
";

struct Client<'a> {
    server: &'a Server,
    program: PathBuf,
}

impl Client<'_> {
    fn run(&self, arguments: &str) -> Ran {
        run(self.server.client(self.program.to_str().expect("UTF-8")).args(arguments.split(' ')))
    }

    /// What a command printed that must have been answered in protobuf.
    #[track_caller]
    fn in_protobuf(&self, arguments: &str) -> String {
        let ran = self.run(&format!("{arguments} -v=8"));
        assert!(ran.stderr.contains(PROTOBUF), "{arguments}: no answer came in protobuf\n{}", ran.stderr);
        ran.ok()
    }

    /// The last line of the errors of a command that must fail.
    #[track_caller]
    fn fails(&self, arguments: &str) -> String {
        self.run(arguments).fails().lines().last().unwrap_or_default().to_string()
    }
}

#[test]
fn clients_of_protobuf_work_as_they_are() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path(), &["up", "--runtime", "none", "--simulated-nodes", "2"]);
    let mut told = 0;
    for kubectl in kubectls() {
        let program = kubectl.program;
        let client = Client { server: &server, program };
        let probe = client.run("create configmap probe --dry-run=server -v=8");
        if !probe.stderr.contains(PROTOBUF) {
            println!("{} speaks JSON only", client.program.display());
            continue;
        }
        println!("told by {}", client.program.display());
        reviews_and_tokens(&client);
        writing(&client);
        a_rollout(&client, dir.path());
        watching_and_draining(&client, dir.path());
        assert!(client.run("delete ds/fluentd configmap/c deployment/web secret/s").code == Some(0));
        told += 1;
    }
    if told == 0 {
        eprintln!("SKIPPED: no kubectl of 1.32 or newer is installed, and older ones do not speak protobuf");
    }
}

fn reviews_and_tokens(client: &Client<'_>) {
    assert_eq!(client.in_protobuf("auth can-i create pods"), "yes\n");
    assert!(client.in_protobuf("auth can-i --list").contains("*.*"));
    assert!(client.in_protobuf("auth whoami").contains("system:masters"));
    let token = client.in_protobuf("create token default --duration=20m");
    assert_eq!(token.matches('.').count(), 2, "{token}");
    let missing = client.fails("create token nobody");
    assert!(missing.ends_with("serviceaccounts \"nobody\" not found"), "{missing}");
}

fn writing(client: &Client<'_>) {
    assert_eq!(client.in_protobuf("create configmap c --from-literal=a=b"), "configmap/c created\n");
    let again = client.fails("create configmap c");
    assert!(again.contains("configmaps \"c\" already exists"), "{again}");
    assert_eq!(client.in_protobuf("create secret generic s --from-literal=x=y"), "secret/s created\n");
    assert_eq!(client.in_protobuf("create deployment web --image=i --replicas=2"), "deployment.apps/web created\n");
    assert_eq!(client.run("get configmap c -o jsonpath={.data}").ok(), r#"{"a":"b"}"#);
    assert_eq!(client.run("get secret s -o jsonpath={.data}").ok(), r#"{"x":"eQ=="}"#);
    assert!(client.in_protobuf("describe configmap c").contains("a:\n----\nb\n"));
}

fn a_rollout(client: &Client<'_>, dir: &Path) {
    let manifest = dir.join("fluentd.yaml");
    std::fs::write(&manifest, MANIFEST).expect("written");
    let manifest = manifest.to_str().expect("UTF-8");
    client.run(&format!("apply -f {manifest}")).ok();
    client.run("rollout status ds/fluentd --timeout=60s").ok();
    client.run("set image ds/fluentd fluentd=fluentd:v2").ok();
    client.run("rollout status ds/fluentd --timeout=60s").ok();
    let history = client.in_protobuf("rollout history ds/fluentd");
    assert_eq!(history, "daemonset.apps/fluentd \nREVISION  CHANGE-CAUSE\n1         <first>\n2         <first>\n\n");
    let first = client.in_protobuf("rollout history ds/fluentd --revision=1");
    for part in ["Image:\tfluentd:v1", "a<b>&c", "cpu:\t500m", "http-get http://:web/ delay=0s", "Path:\t/data"] {
        assert!(first.contains(part), "{part}\n{first}");
    }
    assert_eq!(client.in_protobuf("rollout undo ds/fluentd"), "daemonset.apps/fluentd rolled back\n");
    client.run("rollout status ds/fluentd --timeout=60s").ok();
    let described = client.in_protobuf("describe ds fluentd");
    for part in ["Desired Number of Nodes Scheduled: 2", "fluentd:v1", "Pods Status:  2 Running", "SuccessfulCreate"] {
        assert!(described.contains(part), "{part}\n{described}");
    }
    let pods = client.in_protobuf("describe pods -l app=fluentd");
    assert!(pods.contains("Controlled By:  DaemonSet/fluentd") && pods.contains("500m"), "{pods}");
    assert!(client.in_protobuf("describe node sim-00000").contains("fluentd-"));
    assert!(client.in_protobuf("logs ds/fluentd").contains("simulated container"));
}

fn watching_and_draining(client: &Client<'_>, dir: &Path) {
    let log = dir.join("events");
    let file = std::fs::File::create(&log).expect("a file");
    let mut command = client.server.client(client.program.to_str().expect("UTF-8"));
    let command = command.args(["events", "--watch", "--types=Normal"]).stdin(Stdio::null()).stdout(file);
    let mut watching = command.spawn().expect("kubectl starts");
    let lines = || std::fs::read_to_string(&log).expect("text").lines().count();
    let before = wait_for("the first events", || Some(lines()).filter(|lines| *lines > 0));
    client.run("rollout restart ds/fluentd").ok();
    wait_for("events of the restart", || (lines() > before + 2).then_some(()));
    watching.kill().expect("it is still running");
    watching.wait().expect("it ends");

    client.run("run naked --image=i --overrides={\"spec\":{\"nodeName\":\"sim-00001\"}}").ok();
    let drained = client.in_protobuf("drain sim-00001 --ignore-daemonsets --force --grace-period=1");
    assert!(drained.contains("evicting pod default/naked") || drained.contains("node/sim-00001 drained"), "{drained}");
    wait_for("the evicted pod to go", || (client.run("get pod naked").code == Some(1)).then_some(()));
    assert!(client.in_protobuf("uncordon sim-00001").contains("uncordoned"));
}
