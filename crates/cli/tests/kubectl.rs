//! Runs the same command lines with kubectl and with our verbs, and compares every byte they print.
//!
//! kubectl is `$BACKSTAY_KUBECTL`, or the newest there is: 1.36, our baseline. Without it the test is skipped, loudly.

#[path = "../../backstay/tests/support/clients.rs"]
mod clients;
mod support;

use std::process::{Command, Stdio};

use clients::Kubectl;
use support::{Outcome, Server};

const DAEMONSET: &str = r#"apiVersion: apps/v1
kind: DaemonSet
metadata:
  name: x
  labels: {app: x, tier: infra}
  annotations: {kubernetes.io/change-cause: "first <v1> & more"}
spec:
  selector: {matchLabels: {app: x}}
  template:
    metadata:
      labels: {app: x}
      annotations: {long: "one\ntwo"}
    spec:
      nodeSelector: {kubernetes.io/os: linux}
      tolerations: [{operator: Exists}, {key: a, value: b, effect: NoExecute, tolerationSeconds: 30}]
      containers:
      - name: main
        image: main:v1
        args: [--flag, "a <b> & c", "multi\nline"]
        env:
        - {name: A, value: "1"}
        - {name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
        resources: {limits: {memory: 64Mi}, requests: {cpu: 100m}}
        livenessProbe: {httpGet: {path: /healthz, port: 8080}}
        volumeMounts: [{name: logs, mountPath: /var/log, readOnly: true}, {name: tmp, mountPath: /tmp}]
      - name: side
        image: side:v1
      volumes:
      - {name: logs, hostPath: {path: /var/log}}
      - {name: tmp, emptyDir: {}}
"#;

const OTHERS: &str = r#"apiVersion: v1
kind: ConfigMap
metadata: {name: c, labels: {app: x}}
data:
  text: "several\nlines\n"
  odd: "yes"
  long: "a sentence that is rather long, so that it has to be folded when it is printed as YAML, because it goes beyond column eighty: twice even"
---
apiVersion: v1
kind: Pod
metadata: {name: p, labels: {app: x}}
spec:
  schedulerName: none
  containers: [{name: main, image: "main:v1"}]
  initContainers: [{name: first, image: "first:v1", command: [sh, -c, "true"]}]
---
apiVersion: v1
kind: Node
metadata: {name: edge, labels: {node-role.kubernetes.io/edge: ""}}
spec: {taints: [{key: k, value: v, effect: NoSchedule}]}
---
apiVersion: v1
kind: Secret
metadata: {name: s}
stringData: {password: secret}
"#;

/// A world that both look at.
fn world() -> Server {
    let server = Server::start();
    for (name, text) in [("ds.yaml", DAEMONSET), ("others.yaml", OTHERS)] {
        let file = server.file(name, text);
        for namespace in ["default", "ns-k", "ns-b"] {
            if namespace != "default" {
                server.backstay(&["create", "namespace", namespace]);
            }
            let made = server.backstay(&["apply", "-f", &file, "-n", namespace]);
            assert_eq!(made.err, "");
            assert_eq!(made.code, 0);
        }
    }
    let revisions = server.file("revisions.json", &revisions(&server));
    assert_eq!(server.backstay(&["create", "-f", &revisions]).err, "");
    server
}

/// Two revisions as the controller would write them: of an older template, and of the present one.
fn revisions(server: &Server) -> String {
    let daemonset: serde_json::Value =
        serde_json::from_str(&server.backstay(&["get", "ds", "x", "-o", "json"]).out).unwrap();
    let revision = |number: i64, change: &dyn Fn(&mut serde_json::Value)| {
        let mut template = daemonset["spec"]["template"].clone();
        change(&mut template);
        template["$patch"] = "replace".into();
        serde_json::json!({
            "apiVersion": "apps/v1", "kind": "ControllerRevision", "revision": number,
            "metadata": {
                "name": format!("x-{number}"), "labels": {"app": "x"},
                "annotations": daemonset["metadata"]["annotations"],
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "x",
                    "uid": daemonset["metadata"]["uid"], "controller": true, "blockOwnerDeletion": true}],
            },
            "data": {"spec": {"template": template}},
        })
    };
    let old = revision(1, &|template| template["spec"]["containers"][0]["image"] = "main:v0".into());
    serde_json::json!({"apiVersion": "v1", "kind": "List", "items": [old, revision(2, &|_| ())]}).to_string()
}

/// Others word some messages differently.
const BASELINE_MINOR: u32 = 36;

fn find_kubectl() -> Option<Kubectl> {
    if let Some(program) = std::env::var_os("BACKSTAY_KUBECTL") {
        return Some(Kubectl::at(program.into()).expect("BACKSTAY_KUBECTL names a kubectl"));
    }
    let found = clients::kubectls().into_iter().find(|kubectl| kubectl.minor == BASELINE_MINOR);
    if found.is_none() {
        clients::say(&format!("SKIPPED: no kubectl 1.{BASELINE_MINOR} to compare with; run `cargo xtask clients`"));
    }
    found
}

fn run(server: &Server, kubectl: &Kubectl, words: &[&str]) -> Outcome {
    let output = Command::new(&kubectl.program)
        .args(words)
        .env("KUBECONFIG", server.kubeconfig())
        .env("HOME", server.directory.path())
        .env_remove("KUBECTL_KUBERC")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    Outcome {
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
        code: output.status.code().unwrap_or(-1),
    }
}

/// What may differ: who was called, log lines of kubectl's libraries, ages.
fn normalised(outcome: Outcome) -> Outcome {
    let text = |text: &str| {
        let lines = text.lines().filter(|line| !line.contains("memcache.go"));
        lines.map(|line| ages(line).replace("kubectl", "backstay") + "\n").collect::<String>()
    };
    Outcome { out: text(&outcome.out), err: text(&outcome.err), ..outcome }
}

/// `12s` as `0s`, and blanks after it.
fn ages(line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    let is_age = |word: &&str| {
        word.strip_suffix('s').is_some_and(|digits| !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit()))
    };
    if !words.iter().any(is_age) {
        return line.to_string();
    }
    let replaced: Vec<&str> = words.into_iter().map(|word| if is_age(&word) { "0s" } else { word }).collect();
    replaced.join(" ").split("  ").filter(|part| !part.is_empty()).collect::<Vec<_>>().join("  ")
}

/// All lines that differ, instead of the first only.
fn compare(server: &Server, kubectl: &Kubectl, lines: &[&str]) {
    let mut different = String::new();
    for line in lines {
        eprintln!("{line}");
        let words: Vec<&str> = line.split_whitespace().collect();
        let theirs = normalised(run(server, kubectl, &words));
        let ours = normalised(server.backstay(&words));
        if ours != theirs {
            different.push_str(&format!("=== {line}\n--- kubectl\n{theirs:#?}\n--- backstay\n{ours:#?}\n"));
        }
    }
    assert!(different.is_empty(), "{}", different.replace("\\n", "\n"));
}

#[test]
fn reading_verbs_print_what_kubectl_prints() {
    let Some(kubectl) = find_kubectl() else { return };
    let server = world();
    compare(
        &server,
        &kubectl,
        &[
            "get ds",
            "get ds -o wide",
            "get ds x -o yaml",
            "get ds x -o json",
            "get ds -o yaml",
            "get ds -o kyaml",
            "get cm c -o kyaml",
            "get pod p -o kyaml --show-managed-fields",
            "get node edge -o kyaml",
            "get ds -o name",
            "get ds/x pod/p",
            "get ds,cm",
            "get ds -A",
            "get ds -A --no-headers",
            "get nodes",
            "get cm c -o yaml",
            "get cm -o jsonpath={.items[*].metadata.name}",
            "get cm -o custom-columns=NAME:.metadata.name,APP:.metadata.labels.app",
            "get ds --show-labels",
            "get ds -L app,tier",
            "get controllerrevisions",
            "get controllerrevisions --sort-by=.revision",
            "get controllerrevisions --sort-by=.metadata.name -o name",
            "get ds nosuch",
            "get ds x nosuch",
            "get nosuchtype",
            "get nosuchtype.example.com x",
            "get ds -l app=nosuch",
            "get nodes -l app=nosuch",
            "get ds x --ignore-not-found",
            "get ds nosuch --ignore-not-found",
            "get ds -o bogus",
            "get ds x -l app=x",
            "get ds x -A",
            "get pods p -n ns-k -o wide",
            "get ns",
            "get all",
            "get ds -f /nosuch.yaml",
            "describe ds x",
            "describe ds",
            "describe pod p",
            "describe controllerrevision x-1",
            "describe node edge",
            "describe secret s",
            "describe ds nosuch",
            "describe ds -l app=nosuch",
            "rollout history ds/x",
            "rollout history ds",
            "rollout history ds x --revision=1",
            "rollout history ds/x --revision=2",
            "rollout history ds/x --revision=1 -o name",
            "rollout history ds/x --revision=1 -o yaml",
            "rollout history ds/x -o yaml",
            "rollout history ds/x -o jsonpath={.spec.template.spec.containers[0].image}",
            "rollout history ds/x --revision=9",
            "rollout history ds/x --revision=-2",
            "rollout history ds/x --revision=abc",
            "rollout history ds/x -o wide",
            "rollout history ds/nosuch",
            "rollout history ds/x ds/nosuch ds/nosuch2",
            "rollout history ds -l app=nosuch",
            "rollout history ds x -l app=x",
            "rollout history pod/p",
            "rollout history",
            "rollout history nosuchtype/x",
            "rollout status ds/x --watch=false",
            "rollout status ds/x --timeout=1s",
            "rollout status ds/x --timeout=5",
            "rollout status ds -l app=nosuch",
            "rollout status pod/p",
            "rollout undo ds/x --to-revision=2 --dry-run=client",
            "rollout undo ds/x --dry-run=client",
            "rollout undo ds/x --to-revision=9",
            "rollout undo ds/x --to-revision=-1",
            "rollout undo ds/x --dry-run=bogus",
            "rollout undo ds/x --dry-run=server",
            "rollout undo pod/p",
            "rollout pause ds/x",
            "rollout resume ds/x",
            "rollout restart pod/p",
            "rollout restart ds -l app=nosuch",
            "rollout restart ds x -l app=x",
            "rollout status ds -l app=x --watch=false",
            "wait ds/x --for=jsonpath={.spec.minReadySeconds} --timeout=0s",
            "wait ds/x --for=jsonpath={.spec.revisionHistoryLimit}=10 --timeout=1s",
            "wait ds/x --for=condition=Ready --timeout=1s",
            "wait ds/nosuch --for=delete --timeout=1s",
            "wait ds/x --for=delete --timeout=1s",
            "wait ds/nosuch --for=condition=Ready",
            "wait ds/x --for=bogus",
            "events",
            "api-resources --api-group=apps",
            "api-resources --api-group=apps -o name",
            "logs nosuch",
            "logs ds/nosuch",
        ],
    );
}

/// Both change things, each in a namespace of its own; `NS` stands for it.
#[test]
fn writing_verbs_say_what_kubectl_says() {
    let Some(kubectl) = find_kubectl() else { return };
    let server = world();
    let changed =
        server.file("changed.yaml", &DAEMONSET.replace("main:v1", "main:v2").replace("tier: infra", "tier: top"));
    let broken = server.file("broken.yaml", &DAEMONSET.replace("app: x}}", "app: y}}"));
    let unknown = server.file("unknown.yaml", &DAEMONSET.replace("nodeSelector", "nodeSelectr"));
    let foreign = server.file("foreign.yaml", "apiVersion: e.io/v1\nkind: Foo\nmetadata: {name: x}\n");
    let new = server.file("new.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: new}\n");
    let same = server.directory.path().join("ds.yaml").to_string_lossy().into_owned();
    let lines = [
        format!("apply -f {same} -n NS"),
        format!("apply -f {changed} -n NS --dry-run=client"),
        format!("apply -f {changed} -n NS --dry-run=server"),
        format!("apply -f {changed} -n NS"),
        format!("apply -f {changed} -n NS"),
        format!("apply -f {changed} -n NS -o name"),
        format!("apply -f {broken} -n NS"),
        format!("apply -f {unknown} -n NS"),
        format!("apply -f {foreign} -n NS"),
        format!("apply -f {new} -n NS"),
        format!("apply -f {same} -n NS --server-side"),
        format!("apply -f {same} -n NS --server-side --force-conflicts"),
        "apply -n NS".into(),
        "apply -f /nosuch.yaml -n NS".into(),
        format!("create -f {new} -n NS"),
        format!("create -f {unknown} -n NS"),
        "create cm made --from-literal=a=b -n NS".into(),
        "create cm made --from-literal=a=b -n NS".into(),
        "create cm dry --from-literal=a=b -n NS --dry-run=client -o yaml".into(),
        format!("apply -f {same} -n NS --dry-run=server -o kyaml"),
        "create ns default".into(),
        "label ds x color=red -n NS".into(),
        "label ds x color=red -n NS".into(),
        "label ds x color=blue -n NS".into(),
        "label ds x color=blue --overwrite -n NS".into(),
        "label ds x color- -n NS".into(),
        "label ds x color- -n NS".into(),
        "label ds x -n NS".into(),
        "label ds nosuch a=b -n NS".into(),
        "annotate ds x note=one -n NS".into(),
        "annotate ds x note=two -n NS".into(),
        "annotate ds x note- -n NS".into(),
        "patch ds x -n NS -p {\"spec\":{\"minReadySeconds\":5}}".into(),
        "patch ds x -n NS -p {\"spec\":{\"minReadySeconds\":5}}".into(),
        "patch ds x -n NS --type=json -p [{\"op\":\"remove\",\"path\":\"/spec/nosuch\"}]".into(),
        "patch ds x -n NS --type=merge -p {\"spec\":{\"selector\":{\"matchLabels\":{\"a\":\"b\"}}}}".into(),
        "patch ds x -n NS --type=bogus -p {}".into(),
        "set image ds/x main=main:v3 -n NS".into(),
        "set image ds/x main=main:v3 -n NS".into(),
        "set image ds/x nosuch=main:v3 -n NS".into(),
        "set image ds/x *=all:v4 -n NS --dry-run=server".into(),
        "set env ds/x B=2 A- -n NS".into(),
        "set env ds/x B=2 -n NS".into(),
        "rollout restart ds/x -n NS".into(),
        "rollout restart ds/nosuch -n NS".into(),
        // Whether a second restart comes within the same second would be chance, and is an error if it does.
        "patch ds x -n NS --type=json -p [{\"op\":\"remove\",\"path\":\"/spec/template/metadata/annotations/kubectl.kubernetes.io~1restartedAt\"}]".into(),
        "rollout restart ds -l app=x -n NS".into(),
        "rollout status ds -l app=x --watch=false -n NS".into(),
        "rollout undo ds/x -n NS".into(),
        "delete cm c -n NS".into(),
        "delete cm c -n NS".into(),
        "delete cm c -n NS --ignore-not-found".into(),
        "delete cm -n NS".into(),
        "delete cm -l app=nosuch -n NS".into(),
        "delete ds/x --cascade=orphan -n NS --dry-run=client".into(),
        "delete ds/x --cascade=bogus -n NS".into(),
        "delete pod p --force --grace-period=0 -n NS".into(),
        "delete ds/x --cascade=orphan -n NS --wait=false".into(),
        format!("delete -f {same} -n NS --wait=false"),
        format!("delete -f {new} -n NS --wait=false"),
    ];
    let mut different = String::new();
    for line in &lines {
        eprintln!("{line}");
        let say = |namespace: &str, run: &dyn Fn(&[&str]) -> Outcome| {
            let line = line.replace("NS", namespace);
            let outcome = normalised(run(&line.split_whitespace().collect::<Vec<_>>()));
            // What a broken patch made is different for each.
            let hide = |text: &str| {
                let text = text.replace(namespace, "NS");
                if text.len() > 2000 { text.split(": ").last().unwrap_or_default().to_string() } else { text }
            };
            Outcome { out: hide(&outcome.out), err: hide(&outcome.err), ..outcome }
        };
        let theirs = say("ns-k", &|words| run(&server, &kubectl, words));
        let ours = say("ns-b", &|words| server.backstay(words));
        if ours != theirs {
            different.push_str(&format!("=== {line}\n--- kubectl\n{theirs:#?}\n--- backstay\n{ours:#?}\n"));
        }
    }
    assert!(different.is_empty(), "{}", different.replace("\\n", "\n"));
}
