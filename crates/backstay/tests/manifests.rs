//! Real manifests, replayed step by step against a server of ours, and every answer compared with what a real
//! Kubernetes answered: objects by value, ControllerRevision data by byte, what clients print by byte.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use support::kubelet::{Kubelet, client, send};
use support::{Ran, Server, run, shared, wait_for};
use tokio::runtime::Runtime;

/// One line of `steps.txt`.
struct Step {
    words: Vec<String>,
    /// Where the answer stands, by kind (`>` or `2>`).
    files: BTreeMap<String, String>,
    exit: i32,
}

struct Replay<'a> {
    shared: &'a Path,
    folder: PathBuf,
    server: Server,
    runtime: Runtime,
    client: kube::Client,
    state: PathBuf,
    differences: Vec<String>,
}

#[test]
fn every_manifest_is_answered_as_recorded() {
    let Some(shared) = shared() else { return };
    let only = std::env::var("BACKSTAY_MANIFEST").unwrap_or_default();
    let mut folders: Vec<PathBuf> = fs::read_dir(shared.join("data/golden/manifests"))
        .expect("recordings")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.to_string_lossy().contains(&only))
        .collect();
    folders.sort();
    let mut differences = Vec::new();
    for folder in &folders {
        let name = folder.file_name().expect("a name").to_string_lossy().into_owned();
        let found = replay(&shared, folder);
        println!("{name}: {} differences", found.len());
        differences.extend(found.into_iter().map(|difference| format!("{name}: {difference}")));
    }
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
}

fn replay(shared: &Path, folder: &Path) -> Vec<String> {
    let dir = tempfile::tempdir().expect("a directory");
    let server =
        Server::start(dir.path(), &["up", "--runtime", "none", "--disable-admission-plugins", "ServiceAccount"]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let client = runtime.block_on(client(&server.kubeconfig));
    runtime.block_on(make_nodes(shared, &client));
    let _kubelet = Kubelet::play(&server.kubeconfig);
    let state = dir.path().join("state.json");
    let folder = folder.to_path_buf();
    let mut replay = Replay { shared, folder, server, runtime, client, state, differences: Vec::new() };
    let text = fs::read_to_string(replay.folder.join("steps.txt")).expect("steps");
    let mut stage = String::new();
    for step in text.lines().filter(|line| !line.trim().is_empty()).map(parse) {
        let next = step.files.values().next().and_then(|file| file.split('-').next()).unwrap_or_default().to_string();
        if step.words[0] == "GET" || (!stage.is_empty() && next != stage) {
            replay.settle(&stage);
        }
        if !next.is_empty() {
            stage = next;
        }
        replay.take(&step);
    }
    replay.differences
}

/// `COMMAND<TAB>> FILE  2> FILE<TAB>exit N`.
fn parse(line: &str) -> Step {
    let mut parts = line.split('\t');
    let words = parts.next().unwrap_or_default().split_whitespace().map(str::to_string).collect();
    let mut step = Step { words, files: BTreeMap::new(), exit: 0 };
    for part in parts {
        if let Some(code) = part.strip_prefix("exit ") {
            step.exit = code.trim().parse().expect("an exit code");
            continue;
        }
        let words: Vec<&str> = part.split_whitespace().collect();
        for pair in words.chunks(2) {
            step.files.insert(pair[0].to_string(), pair[1].to_string());
        }
    }
    step
}

async fn make_nodes(shared: &Path, client: &kube::Client) {
    let text = fs::read_to_string(shared.join("data/golden/nodes.json")).expect("nodes");
    let nodes: Value = serde_json::from_str(&text).expect("JSON");
    for node in nodes["items"].as_array().expect("items") {
        let name = node["metadata"]["name"].as_str().expect("a name");
        send(client, "POST", "/api/v1/nodes", "application/json", node).await.expect("a node");
        let status = serde_json::json!({ "status": node["status"] });
        let path = format!("/api/v1/nodes/{name}/status");
        send(client, "PATCH", &path, "application/merge-patch+json", &status).await.expect("its status");
        // Nobody renews it: it must last as long as the slowest machine takes.
        let lease = serde_json::json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": { "name": name },
            "spec": { "holderIdentity": name, "leaseDurationSeconds": 3600, "renewTime": now() },
        });
        let leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
        send(client, "POST", leases, "application/json", &lease).await.expect("its lease");
    }
}

fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.000000Z").to_string()
}

impl Replay<'_> {
    fn take(&mut self, step: &Step) {
        if step.words[0] == "GET" {
            let path = self.path_of(&step.words[1..].join(" "));
            let file = step.files.get(">").expect("a file for the answer");
            return match self.get(&path) {
                Ok(answer) => self.compare_json(file, &answer),
                Err(error) => self.differences.push(format!("GET {path}: {error}")),
            };
        }
        let ran = self.run(&step.words);
        if ran.code != Some(step.exit) {
            self.differences.push(format!(
                "{}: exit {:?}, not {}: {}",
                step.words.join(" "),
                ran.code,
                step.exit,
                ran.stderr.trim()
            ));
            return;
        }
        for (kind, text) in [(">", &ran.stdout), ("2>", &ran.stderr)] {
            if let Some(file) = step.files.get(kind) {
                self.compare_text(file, text);
            }
        }
    }

    /// The body of the answer to a GET, as it came.
    fn get(&self, path: &str) -> Result<String, kube::Error> {
        let request = http::Request::get(path).body(Vec::new()).expect("a request");
        self.runtime.block_on(self.client.request_text(request))
    }

    fn items(&self, path: &str) -> Vec<Value> {
        let list = self.get(path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let list: Value = serde_json::from_str(&list).expect("JSON");
        list["items"].as_array().cloned().unwrap_or_default()
    }

    /// Our own command line tells the rollout verbs (its messages are those of 1.36); kubectl the rest.
    fn run(&self, words: &[String]) -> Ran {
        let ours = ["rollout", "describe"].contains(&words[1].as_str());
        let program = if ours { env!("CARGO_BIN_EXE_backstay") } else { support::kubectl() };
        run(self.server.client(program).args(&words[1..]).current_dir(self.shared.join("data/manifests")))
    }

    /// Fills in `{the pod of NAME on NODE}`.
    fn path_of(&self, path: &str) -> String {
        let Some((head, rest)) = path.split_once('{') else { return path.to_string() };
        let words: Vec<&str> = rest.trim_end_matches('}').split_whitespace().collect();
        let ["the", "pod", "of", name, "on", node] = words[..] else { panic!("not a pod: {path}") };
        let pods = self.items(head.trim_end_matches('/'));
        let of_it = |pod: &&Value| {
            pod["metadata"]["ownerReferences"][0]["name"] == name
                && pod["spec"]["nodeName"] == node
                && pod["metadata"]["deletionTimestamp"].is_null()
        };
        let pod = pods.iter().find(of_it).map(|pod| pod["metadata"]["name"].as_str().expect("a name"));
        format!("{head}{}", pod.unwrap_or("none"))
    }

    /// Waits until every DaemonSet has come to rest and its newest revision is that of the stage.
    fn settle(&mut self, stage: &str) {
        let revision: i64 = stage.parse().unwrap_or(1);
        wait_for("the DaemonSets to settle", || {
            let revisions = self.items("/apis/apps/v1/controllerrevisions");
            self.items("/apis/apps/v1/daemonsets").iter().all(|set| is_settled(set, &revisions, revision)).then_some(())
        });
    }

    fn normalise(&self, mode: &str, text: &str) -> String {
        let mut command = Command::new("python3");
        command.arg(self.shared.join("data/golden/normalise.py")).arg(mode);
        if mode != "canon" {
            command.arg("--state").arg(&self.state);
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python3 runs");
        child.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("written");
        String::from_utf8(child.wait_with_output().expect("an output").stdout).expect("UTF-8")
    }

    fn compare_text(&mut self, file: &str, text: &str) {
        let expected = fs::read_to_string(self.folder.join(file)).expect("a recording");
        let found = self.normalise("text", text);
        if expected != found {
            let line = expected.lines().zip(found.lines()).find(|(a, b)| a != b);
            self.differences.push(format!(
                "{file}: {}",
                match line {
                    Some((expected, found)) => format!("expected {expected:?}, got {found:?}"),
                    None => format!("{} lines expected, got {}", expected.lines().count(), found.lines().count()),
                }
            ));
        }
    }

    fn compare_json(&mut self, file: &str, text: &str) {
        let found = self.normalise("json", text);
        let expected = fs::read_to_string(self.folder.join(file)).expect("a recording");
        let [mut expected, mut found] = [expected, found].map(|text| {
            let canon = self.normalise("canon", &text);
            serde_json::from_str::<Value>(&canon).expect("JSON")
        });
        for value in [&mut expected, &mut found] {
            leave_out(file, value);
        }
        let mut differences = Vec::new();
        differ("", &expected, &found, &mut differences);
        self.differences.extend(differences.into_iter().map(|difference| format!("{file}: {difference}")));
    }
}

/// What is the stand-in's (the status of pods), or of controllers that are absent here on purpose.
fn leave_out(file: &str, value: &mut Value) {
    let Some(object) = value.as_object_mut() else { return };
    if file.contains("-pod_") {
        let qos = object.get("status").and_then(|status| status.get("qosClass")).cloned();
        object.insert("status".into(), qos.unwrap_or_default());
    }
    let absent = ["object_customresourcedefinitions", "object_apiservices", "object_deployments"];
    if absent.iter().any(|kind| file.contains(kind)) {
        object.remove("status");
    }
}

fn is_settled(set: &Value, revisions: &[Value], revision: i64) -> bool {
    let status = |field: &str| set["status"][field].as_i64().unwrap_or(0);
    let desired = status("desiredNumberScheduled");
    let updated = set["spec"]["updateStrategy"]["type"] == "OnDelete" || status("updatedNumberScheduled") == desired;
    let newest = revisions
        .iter()
        .filter(|one| one["metadata"]["ownerReferences"][0]["uid"] == set["metadata"]["uid"])
        .filter_map(|one| one["revision"].as_i64())
        .max();
    status("observedGeneration") == set["metadata"]["generation"].as_i64().unwrap_or(0)
        && ["currentNumberScheduled", "numberReady", "numberAvailable"].iter().all(|field| status(field) == desired)
        && updated
        && newest == Some(revision)
}

/// Every place where two values differ.
fn differ(path: &str, expected: &Value, found: &Value, differences: &mut Vec<String>) {
    match (expected, found) {
        (Value::Object(expected), Value::Object(found)) => {
            let keys: std::collections::BTreeSet<&String> = expected.keys().chain(found.keys()).collect();
            for key in keys {
                let [expected, found] = [expected, found].map(|side| side.get(key).unwrap_or(&Value::Null));
                differ(&format!("{path}.{key}"), expected, found, differences);
            }
        }
        (Value::Array(expected), Value::Array(found)) if expected.len() == found.len() => {
            for (n, (expected, found)) in expected.iter().zip(found).enumerate() {
                differ(&format!("{path}[{n}]"), expected, found, differences);
            }
        }
        _ if expected == found => {}
        _ => {
            let short = |value: &Value| value.to_string().chars().take(300).collect::<String>();
            differences.push(format!("{path}: expected {}, got {}", short(expected), short(found)));
        }
    }
}
