//! State of another cluster, taken over and given back: nothing is restarted, and nothing written that
//! kube-controller-manager 1.36 would not write.
//!
//! Revisions come in two forms. Until 1.33 Kubernetes wrote `"creationTimestamp":null` into the template's metadata, from
//! 1.34 on it does not, and it compares bytes; so a cluster that was upgraded has both.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use backstay_api::{canonical, meta};
use backstay_controllers::daemonset::placement::PlacementRules;
use backstay_controllers::model::{Node, Object};
use http::Method;
use serde_json::{Value, json};

use crate::world::World;

const LONG_AGO: &str = "2025-12-31T20:00:00Z";
/// Longer than anything a controller waits for before it acts on what it found at its start.
const SETTLED_SECONDS: u64 = 120;

/// How the data of revisions is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Today,
    /// 1.28 to 1.33.
    Older,
    /// The current template has a revision of each: pods are of the older one.
    Both,
}

const FORMS: [Form; 3] = [Form::Today, Form::Older, Form::Both];

/// The objects of one DaemonSet, and the nodes.
#[derive(Clone, Debug)]
struct State {
    nodes: Vec<Value>,
    daemonset: Value,
    revisions: Vec<Value>,
    pods: Vec<Value>,
}

impl State {
    fn namespace(&self) -> &str {
        meta::namespace(&self.daemonset).expect("a namespace")
    }

    fn name(&self) -> &str {
        meta::name(&self.daemonset)
    }

    async fn read(world: &World, namespace: &str, name: &str) -> Self {
        let apps = format!("/apis/apps/v1/namespaces/{namespace}");
        let mut nodes = world.items("/api/v1/nodes").await;
        nodes.iter_mut().for_each(|node| named(node, "v1", "Node"));
        let mut revisions = world.items(&format!("{apps}/controllerrevisions")).await;
        revisions.iter_mut().for_each(|revision| named(revision, "apps/v1", "ControllerRevision"));
        revisions.sort_by_key(|revision| revision["revision"].as_i64());
        let mut pods = world.items(&format!("/api/v1/namespaces/{namespace}/pods")).await;
        pods.iter_mut().for_each(|pod| named(pod, "v1", "Pod"));
        let daemonset = world.get(&format!("{apps}/daemonsets/{name}")).await;
        Self { nodes, daemonset, revisions, pods }
    }

    /// A server that holds this state and nothing else.
    async fn load(&self) -> World {
        let world = World::without_manager().await;
        if !world.exists(&format!("/api/v1/namespaces/{}", self.namespace())).await {
            world.namespace(self.namespace()).await;
        }
        for node in &self.nodes {
            world.lasting_node(node).await;
        }
        for object in std::iter::once(&self.daemonset).chain(&self.revisions).chain(&self.pods) {
            world.load(object).await;
        }
        world
    }

    /// The same state as a cluster of that age would have it.
    fn in_form(mut self, form: Form) -> Self {
        if form == Form::Today {
            return self;
        }
        let current = self.revisions.last().cloned().expect("a revision");
        self.revisions.iter_mut().for_each(|revision| make_older(&mut revision["data"]));
        if form == Form::Both {
            let number = current["revision"].as_i64().expect("a number") + 1;
            let hash = "today5c7f9";
            let mut upgraded = current;
            upgraded["metadata"]["name"] = json!(format!("{}-{hash}", self.name()));
            upgraded["metadata"]["uid"] = json!("uid-of-the-upgrade");
            upgraded["metadata"]["labels"]["controller-revision-hash"] = json!(hash);
            upgraded["revision"] = json!(number);
            self.revisions.push(upgraded);
        }
        self
    }

    /// What a write would change: the resource version of everything by kind and name.
    fn versions(&self) -> BTreeMap<String, String> {
        let all = std::iter::once(&self.daemonset).chain(&self.revisions).chain(&self.pods);
        let key = |object: &Value| format!("{} {}", meta::str_at(object, &["kind"]), meta::name(object));
        all.map(|object| (key(object), meta::resource_version(object).to_string())).collect()
    }

    fn uids(&self) -> Vec<String> {
        let mut uids: Vec<String> = self.pods.iter().map(|pod| meta::uid(pod).to_string()).collect();
        uids.sort();
        uids
    }

    /// What kube-controller-manager 1.36 would do about the history and the pods, given this state.
    fn verdict(&self) -> String {
        let wanted = String::from_utf8(canonical::revision_data(&self.daemonset)).expect("UTF-8");
        let data = |revision: &Value| canonical::json_text(&revision["data"]);
        let current: Vec<&Value> = self.revisions.iter().filter(|revision| data(revision) == wanted).collect();
        let newest = self.revisions.iter().map(|revision| revision["revision"].as_i64()).max().flatten();
        let history = match current.as_slice() {
            [] => "a new revision",
            [one] if one["revision"].as_i64() == newest => "known",
            [_] => "a new number",
            _ => "a merge",
        };
        let label = |object: &Value, name: &str| meta::labels(object).get(name).cloned().unwrap_or_default();
        let hash = current.first().map(|current| label(current, "controller-revision-hash")).unwrap_or_default();
        let generation = meta::annotation(&self.daemonset, "deprecated.daemonset.template.generation");
        let is_updated = |pod: &&Value| {
            let by_hash = !hash.is_empty() && label(pod, "controller-revision-hash") == hash;
            by_hash || Some(label(pod, "pod-template-generation").as_str()) == generation
        };
        let restarts = self.pods.len() - self.pods.iter().filter(is_updated).count();
        format!("{history}, {restarts} restarts")
    }

    /// The owner references that are not exactly those of the DaemonSet controller.
    fn foreign(&self) -> Vec<&Value> {
        let owner = json!([{
            "apiVersion": "apps/v1", "kind": "DaemonSet", "name": self.name(), "uid": meta::uid(&self.daemonset),
            "controller": true, "blockOwnerDeletion": true,
        }]);
        let owned = self.revisions.iter().chain(&self.pods);
        owned.map(|object| &object["metadata"]["ownerReferences"]).filter(|owners| **owners != owner).collect()
    }
}

fn named(object: &mut Value, api_version: &str, kind: &str) {
    object["apiVersion"] = json!(api_version);
    object["kind"] = json!(kind);
}

/// As Go wrote it before 1.34.
fn make_older(data: &mut Value) {
    meta::map_mut(data, &["spec", "template", "metadata"]).insert("creationTimestamp".into(), Value::Null);
    for volume in data.pointer_mut("/spec/template/spec/volumes").and_then(Value::as_array_mut).into_iter().flatten() {
        if volume["ephemeral"]["volumeClaimTemplate"].is_object() {
            meta::map_mut(volume, &["ephemeral", "volumeClaimTemplate", "metadata"])
                .insert("creationTimestamp".into(), Value::Null);
        }
    }
}

/// Takes the state over, and holds what is there afterwards against what was there before. Gives the running world.
async fn taken_over(what: &str, state: &State) -> World {
    let mut world = state.load().await;
    let before = State::read(&world, state.namespace(), state.name()).await;
    world.start_manager(|_| {});
    world.pass(SETTLED_SECONDS).await;
    let after = State::read(&world, state.namespace(), state.name()).await;
    assert_eq!(after.versions(), before.versions(), "{what}: something was written");
    world
}

/// A DaemonSet with two revisions on three nodes, as our own controllers make it.
async fn of_our_own() -> State {
    let mut world = World::without_manager().await;
    for name in ["n1", "n2", "n3"] {
        let condition = json!({ "type": "Ready", "status": "True", "lastTransitionTime": LONG_AGO });
        let labels = json!({ "kubernetes.io/os": "linux", "kubernetes.io/hostname": name });
        let metadata = json!({ "name": name, "uid": format!("uid-{name}"), "labels": labels });
        let status = json!({ "conditions": [condition], "allocatable": {"pods": "110"}, "capacity": {"pods": "110"} });
        let node = json!({ "apiVersion": "v1", "kind": "Node", "metadata": metadata, "spec": {}, "status": status });
        world.lasting_node(&node).await;
    }
    world.start_manager(|_| {});
    let claim = json!({ "spec": { "accessModes": ["ReadWriteOnce"],
        "resources": { "requests": { "storage": "1Gi" } } } });
    let daemonset = json!({
        "metadata": { "name": "d", "annotations": { "kubernetes.io/change-cause": "a <b> & c" } },
        "spec": {
            "selector": { "matchLabels": { "app": "d" } },
            "updateStrategy": { "rollingUpdate": { "maxUnavailable": "100%" } },
            "template": {
                "metadata": { "labels": { "app": "d" } },
                "spec": {
                    "containers": [{ "name": "m", "image": "img:1", "args": ["a<b>&c"] }],
                    "volumes": [{ "name": "v", "ephemeral": { "volumeClaimTemplate": claim } }],
                },
            },
        },
    });
    world.create("/apis/apps/v1/namespaces/default/daemonsets", daemonset).await;
    world.roll_out("default", "d").await;
    let change = json!([{ "op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "img:2" }]);
    let path = "/apis/apps/v1/namespaces/default/daemonsets/d";
    let (code, body) = world.send(Method::PATCH, path, "application/json-patch+json", &change).await;
    assert_eq!(code, 200, "{body}");
    world.roll_out("default", "d").await;
    State::read(&world, "default", "d").await
}

#[tokio::test(start_paused = true)]
async fn what_we_write_kubernetes_takes_for_its_own() {
    let state = of_our_own().await;
    assert_eq!(state.verdict(), "known, 0 restarts");
    assert_eq!(state.foreign(), Vec::<&Value>::new());
    let numbers: Vec<&Value> = state.revisions.iter().map(|revision| &revision["revision"]).collect();
    assert_eq!(numbers, [1, 2]);
    for revision in &state.revisions {
        let (name, labels) = (meta::name(revision), meta::labels(revision));
        let hash = &labels["controller-revision-hash"];
        assert_eq!(name, format!("d-{hash}"));
        assert!(hash.bytes().all(|byte| b"bcdfghjklmnpqrstvwxz2456789".contains(&byte)), "{hash}");
        assert_eq!(labels.keys().collect::<Vec<_>>(), ["app", "controller-revision-hash"]);
        let data = canonical::json_text(&revision["data"]);
        assert!(
            data.starts_with(r#"{"spec":{"template":{"$patch":"replace","metadata":{"labels":{"app":"d"}},"#),
            "{data}"
        );
        assert!(!data.contains("creationTimestamp"), "{data}");
    }
    assert_eq!(state.daemonset["status"]["collisionCount"], Value::Null);
}

#[tokio::test(start_paused = true)]
async fn state_in_every_form_is_taken_over_as_it_is() {
    let state = of_our_own().await;
    let strategies = [
        json!({ "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": "100%", "maxSurge": 0 } }),
        json!({ "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": 0, "maxSurge": "100%" } }),
        json!({ "type": "OnDelete" }),
    ];
    for strategy in strategies {
        let mut state = state.clone();
        state.daemonset["spec"]["updateStrategy"] = strategy.clone();
        // A server of those days also shows the null in the DaemonSet itself.
        let mut of_then = state.clone();
        of_then.daemonset["spec"]["template"]["metadata"]["creationTimestamp"] = Value::Null;
        for form in FORMS {
            taken_over(&format!("{form:?} {strategy}"), &state.clone().in_form(form)).await;
            taken_over(&format!("{form:?} {strategy}, of then"), &of_then.clone().in_form(form)).await;
        }
    }
}

/// Undoes to the oldest revision, as kubectl does; what became of the revisions as `number image`.
async fn undone(form: Form) -> (State, Vec<String>) {
    let before = of_our_own().await.in_form(form);
    let world = taken_over(&format!("{form:?}"), &before).await;
    let target = &before.revisions[0];
    let path = "/apis/apps/v1/namespaces/default/daemonsets/d";
    let (code, body) = world.send(Method::PATCH, path, "application/strategic-merge-patch+json", &target["data"]).await;
    assert_eq!(code, 200, "{body}");
    assert_eq!(body["spec"]["template"]["metadata"], json!({ "labels": { "app": "d" } }), "nulls do not stay");
    world.roll_out("default", "d").await;
    world.pass(SETTLED_SECONDS).await;
    let after = State::read(&world, "default", "d").await;

    let kept = after.revisions.iter().find(|revision| meta::uid(revision) == meta::uid(target)).expect("it is kept");
    assert_eq!(kept["data"], target["data"], "{form:?}: its data is as it was");
    assert!(after.uids().iter().all(|uid| !before.uids().contains(uid)), "{form:?}: every pod is of the new template");
    assert_eq!(after.pods.len(), 3);
    let hash = &meta::labels(target)["controller-revision-hash"];
    let of_target = |pod: &Value| meta::labels(pod).get("controller-revision-hash") == Some(hash);
    assert!(after.pods.iter().all(of_target), "{form:?}: pods carry the hash of the revision that came back");
    let image = |revision: &Value| revision["data"]["spec"]["template"]["spec"]["containers"][0]["image"].clone();
    let line = |revision: &Value| format!("{} {}", revision["revision"], image(revision).as_str().unwrap_or_default());
    let lines = after.revisions.iter().map(line).collect();
    (after, lines)
}

#[tokio::test(start_paused = true)]
async fn an_undo_returns_to_a_revision_of_either_form() {
    let (after, revisions) = undone(Form::Today).await;
    assert_eq!(revisions, ["2 img:2", "3 img:1"]);
    assert_eq!(after.verdict(), "known, 0 restarts");

    // Kubernetes 1.36 does not know the older bytes again: given back, it adds one revision, as it would have done at
    // the undo, and leaves the pods alone because of their template generation.
    let (after, revisions) = undone(Form::Older).await;
    assert_eq!(revisions, ["2 img:2", "3 img:1"]);
    assert_eq!(after.verdict(), "a new revision, 0 restarts");

    let (after, revisions) = undone(Form::Both).await;
    assert_eq!(revisions, ["2 img:2", "3 img:2", "4 img:1"]);
    assert_eq!(after.verdict(), "a new revision, 0 restarts");
}

/// The recordings, if they are there.
fn recordings() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let shared = std::env::var_os("BACKSTAY_SHARED").map_or_else(|| root.join("../shared"), PathBuf::from);
    let golden = shared.join("data/golden");
    if !golden.join("manifests").is_dir() {
        eprintln!("SKIPPED: no recordings at {} (set BACKSTAY_SHARED): only state of our own", golden.display());
        return None;
    }
    Some(golden)
}

/// One recorded DaemonSet at one stage, with values in the place of the placeholders, and a pod on each of its nodes.
fn recorded(golden: &Path, directory: &Path, stage: u8) -> State {
    let text =
        |path: &Path| std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let read = |path: &Path| -> Value {
        let text =
            text(path).replace("<time>", LONG_AGO).replace("<hash-1>", "5d67c8f9b4").replace("<hash-2>", "7b9c5f6d88");
        let text = text.replace("<ip>", "10.0.0.1").replace("<uid>", "uid-daemonset").replace("<resourceVersion>", "7");
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    let find = |part: &str| {
        let mut files = std::fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("a file").path());
        let name = |path: &Path| path.file_name().expect("a name").to_string_lossy().into_owned();
        files.find(|path| name(path).starts_with(&format!("{stage}-{part}_"))).expect("a recording")
    };
    let daemonset = read(&find("daemonset"));
    let namespace = meta::namespace(&daemonset).expect("a namespace").to_string();
    let revisions = read(&directory.join(format!("{stage}-controllerrevisions_{namespace}.json")));
    let mut revisions = revisions["items"].as_array().cloned().expect("a list");
    for revision in &mut revisions {
        named(revision, "apps/v1", "ControllerRevision");
        revision["metadata"]["uid"] = json!(format!("uid-{}", meta::name(revision)));
    }
    revisions.sort_by_key(|revision| revision["revision"].as_i64());
    let nodes = nodes(&read(&golden.join("nodes.json")));
    let rules = PlacementRules::of(&daemonset["spec"]["template"]);
    let place = |node: &&Value| rules.place(&Node::from_json(node.to_string().as_bytes()).expect("a node")).should_run;
    let pod = read(&find("pod"));
    let pods: Vec<Value> = nodes.iter().filter(place).map(|node| on_node(&pod, meta::name(node))).collect();
    assert_eq!(daemonset["status"]["desiredNumberScheduled"], json!(pods.len()), "{}", directory.display());
    State { nodes, daemonset, revisions, pods }
}

fn nodes(recorded: &Value) -> Vec<Value> {
    let mut nodes = recorded.as_array().or(recorded["items"].as_array()).expect("a list of nodes").clone();
    for node in &mut nodes {
        node["metadata"]["uid"] = json!(format!("uid-{}", meta::name(node)));
        node["metadata"]["creationTimestamp"] = json!(LONG_AGO);
        node["spec"] = json!({});
        for field in ["os", "arch"] {
            let label = node["metadata"]["labels"][format!("kubernetes.io/{field}")].clone();
            node["metadata"]["labels"][format!("beta.kubernetes.io/{field}")] = label;
        }
    }
    nodes
}

fn on_node(pod: &Value, node: &str) -> Value {
    let recorded_on = pod["spec"]["nodeName"].as_str().expect("a node");
    let text = pod.to_string().replace(&format!("\"{recorded_on}\""), &format!("\"{node}\"")).replace("<suffix>", node);
    let mut pod: Value = serde_json::from_str(&text).expect("JSON");
    pod["metadata"]["uid"] = json!(format!("uid-{}", meta::name(&pod)));
    pod
}

#[tokio::test(start_paused = true)]
async fn recorded_clusters_are_taken_over_as_they_are() {
    let Some(golden) = recordings() else { return };
    let manifests = std::fs::read_dir(golden.join("manifests")).expect("a directory");
    let mut directories: Vec<PathBuf> = manifests.map(|entry| entry.expect("a directory").path()).collect();
    directories.sort();
    assert!(directories.len() >= 28, "only {} recordings", directories.len());
    for directory in directories {
        let name = directory.file_name().expect("a name").to_string_lossy().into_owned();
        for stage in [1, 2, 3] {
            let state = recorded(&golden, &directory, stage);
            assert_eq!(state.verdict(), "known, 0 restarts", "{name} {stage}: the recording is of Kubernetes itself");
            assert_eq!(state.foreign(), Vec::<&Value>::new(), "{name} {stage}");
            taken_over(&format!("{name} {stage}"), &state).await;
            // With the nulls of older releases, at the stage that has two revisions.
            for form in [Form::Older, Form::Both].into_iter().filter(|_| stage == 2) {
                taken_over(&format!("{name} {stage} {form:?}"), &state.clone().in_form(form)).await;
            }
        }
    }
}
