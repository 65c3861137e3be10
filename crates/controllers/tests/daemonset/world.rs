//! A fleet as text, and a small API that carries plans out at once.
//!
//! The first line sets options (`unavailable=1 surge=0 min_ready=0 limit=10 on-delete host-network node=n1 select=k:v`
//! `tolerate=KEY:EFFECT`), every other one is a node: `name key=value taint=KEY:EFFECT gone: pod, pod`. A pod is a list of words: `old`, `new`,
//! `other-hash`; `ready`, `ready@SECONDS-AGO`, `pending` (default), `failed`, `succeeded`, `terminating`, `unbound`,
//! `orphan`, `foreign` (owned by somebody else), `unlabelled`, `generation=N`. Earlier pods are older. They are named
//! after their node: `n1.0`, `n1.1`...

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use backstay_controllers::daemonset::{Action, DeleteReason, Outcome, Plan, View, plan};
use backstay_controllers::history::HASH_LABEL;
use backstay_controllers::model::{
    Controller, ControllerRevision, DaemonSet, Meta, Node, Object, Phase, Pod, Readiness,
};
use backstay_controllers::scheduling::taints::Taint;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

pub struct World {
    pub view: View,
    pub now: Timestamp,
    pub object: Value,
    pub nodes: BTreeMap<String, Arc<Node>>,
    pub pods: BTreeMap<String, Arc<Pod>>,
    pub revisions: BTreeMap<String, Arc<ControllerRevision>>,
    /// Messages about pods that ended by themselves.
    pub events: usize,
    /// Creations beyond this many fail.
    pub quota: usize,
    pub create_calls: usize,
    versions: u64,
}

pub const UID: &str = "uid-d";

impl World {
    /// Reads a world; its two revisions have the hashes `old` and `new`.
    pub fn parse(text: &str) -> Self {
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let mut world = World::empty(lines.next().unwrap_or(""));
        for line in lines {
            world.add_line(line);
        }
        world
    }

    /// So many nodes without pods: `n000`, `n001`...
    pub fn fleet(options: &str, nodes: usize) -> Self {
        let mut world = World::empty(options);
        for number in 0..nodes {
            world.add_line(&format!("n{number:03}:"));
        }
        world
    }

    fn empty(options: &str) -> Self {
        let object = daemonset(options);
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let parsed = DaemonSet::from_value(&object).unwrap();
        let mut world = World {
            view: View::new(Arc::new(parsed.clone()), now),
            now,
            object,
            nodes: BTreeMap::new(),
            pods: BTreeMap::new(),
            revisions: BTreeMap::new(),
            events: 0,
            quota: usize::MAX,
            create_calls: 0,
            versions: 100,
        };
        if !options.contains("no-history") {
            world.add_revision("old", 1, b"{}");
            world.add_revision("new", 2, &parsed.data);
        }
        world
    }

    pub fn add_revision(&mut self, hash: &str, revision: i64, data: &[u8]) {
        let mut meta = self.meta(&format!("d-{hash}"));
        meta.labels = [(HASH_LABEL.to_string(), hash.to_string()), ("app".into(), "d".into())].into();
        meta.controller = Some(owner(UID));
        self.put_revision(ControllerRevision { meta, revision, data: data.into(), older_form: false });
    }

    pub fn put_revision(&mut self, revision: ControllerRevision) {
        let revision = Arc::new(revision);
        self.revisions.insert(revision.meta.name.to_string(), revision.clone());
        self.view.set_revision(revision);
    }

    pub fn add_line(&mut self, line: &str) {
        let (head, pods) = line.split_once(": ").unwrap_or((line.trim_end_matches(':'), ""));
        let mut words = head.split_whitespace();
        let name = words.next().unwrap().to_string();
        let mut node = Node { meta: self.meta(&name), ..Node::default() };
        node.meta.namespace = "".into();
        let mut gone = false;
        for word in words {
            match word.split_once('=') {
                Some(("taint", taint)) => node.taints.push(self::taint(taint)),
                Some((key, value)) => drop(node.meta.labels.insert(key.into(), value.into())),
                None => gone = word == "gone",
            }
        }
        if !gone {
            self.put_node(node);
        }
        for (number, pod) in pods.split(',').map(str::trim).filter(|pod| !pod.is_empty()).enumerate() {
            let pod = self.pod(&name, number, pod);
            self.put_pod(pod);
        }
    }

    pub fn put_node(&mut self, node: Node) {
        let node = Arc::new(node);
        self.nodes.insert(node.meta.name.to_string(), node.clone());
        self.view.set_node(node);
    }

    pub fn remove_node(&mut self, name: &str) {
        self.nodes.remove(name);
        self.view.remove_node(&name.into());
    }

    pub fn put_pod(&mut self, pod: Pod) {
        let pod = Arc::new(pod);
        self.pods.insert(pod.meta.name.to_string(), pod.clone());
        self.view.set_pod(pod);
    }

    pub fn remove_pod(&mut self, name: &str) {
        let pod = self.pods.remove(name).unwrap();
        self.view.remove_pod(&pod.meta.uid);
    }

    pub fn change_pod(&mut self, name: &str, change: impl FnOnce(&mut Pod)) {
        if !self.pods.contains_key(name) {
            return;
        }
        let mut pod = (*self.pods[name]).clone();
        change(&mut pod);
        self.versions += 1;
        pod.meta.resource_version = self.versions;
        self.put_pod(pod);
    }

    fn meta(&mut self, name: &str) -> Meta {
        self.versions += 1;
        Meta {
            namespace: "ns".into(),
            name: name.into(),
            uid: format!("uid-{name}-{}", self.versions).into(),
            resource_version: self.versions,
            created: Timestamp::from_second(self.versions as i64).unwrap(),
            ..Meta::default()
        }
    }

    pub fn pod(&mut self, node: &str, number: usize, words: &str) -> Pod {
        let mut meta = self.meta(&format!("{node}.{number}"));
        meta.labels.insert("app".into(), "d".into());
        meta.controller = Some(owner(UID));
        let mut pod = Pod {
            meta,
            node_name: Some(node.into()),
            target_node: Some(node.into()),
            phase: Phase::Pending,
            readiness: Readiness::NotReady,
            scheduling: None,
        };
        for word in words.split_whitespace() {
            self.apply_word(&mut pod, word);
        }
        pod
    }

    fn apply_word(&self, pod: &mut Pod, word: &str) {
        let label = |pod: &mut Pod, key: &str, value: &str| drop(pod.meta.labels.insert(key.into(), value.into()));
        match word {
            "old" | "new" | "other-hash" => label(pod, HASH_LABEL, word),
            "ready" => set_ready(pod, Some(Timestamp::from_second(1).unwrap())),
            "pending" => {}
            "failed" => pod.phase = Phase::Failed,
            "succeeded" => pod.phase = Phase::Succeeded,
            "terminating" => pod.meta.deleted = Some(self.now),
            "unbound" => pod.node_name = None,
            "orphan" => pod.meta.controller = None,
            "foreign" => pod.meta.controller = Some(owner("uid-other")),
            "unlabelled" => drop(pod.meta.labels.remove("app")),
            word => match (word.split_once('@'), word.split_once('=')) {
                (Some((_, ago)), _) => {
                    set_ready(pod, Some(self.now - SignedDuration::from_secs(ago.parse().unwrap())));
                }
                (_, Some(("generation", number))) => label(pod, "pod-template-generation", number),
                _ => panic!("what is {word:?}?"),
            },
        }
    }

    pub fn ready_all(&mut self) {
        for name in self.pods.keys().cloned().collect::<Vec<_>>() {
            let now = self.now;
            if !self.pods[&name].is_ready() && !self.pods[&name].is_terminal() {
                self.change_pod(&name, |pod| set_ready(pod, Some(now)));
            }
        }
    }

    pub fn pass(&mut self, seconds: i64) {
        self.now += SignedDuration::from_secs(seconds);
        self.view.advance(self.now);
    }

    /// Changes the DaemonSet as a user would: a new generation.
    pub fn edit(&mut self, change: impl FnOnce(&mut Value)) {
        change(&mut self.object);
        let generation = self.object["metadata"]["generation"].as_i64().unwrap() + 1;
        self.object["metadata"]["generation"] = json!(generation);
        self.tell();
    }

    /// Changes the template.
    pub fn set_image(&mut self, image: &str) {
        self.edit(|object| {
            object["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image);
            let generation = &mut object["metadata"]["annotations"]["deprecated.daemonset.template.generation"];
            *generation = json!((generation.as_str().unwrap().parse::<i64>().unwrap() + 1).to_string());
        });
    }

    fn tell(&mut self) {
        self.versions += 1;
        self.object["metadata"]["resourceVersion"] = json!(self.versions.to_string());
        self.view.set_daemonset(Arc::new(DaemonSet::from_value(&self.object).unwrap()));
    }

    pub fn plan(&mut self) -> Plan {
        self.view.advance(self.now);
        plan(&self.view, self.now)
    }

    /// Plans and carries out until nothing more is to be done; then what was deleted is gone. Returns how many pods
    /// were created and deleted.
    pub fn sync(&mut self) -> (usize, usize) {
        let (mut created, mut deleted) = (0, Vec::new());
        loop {
            let plan = self.plan();
            if plan.actions.is_empty() {
                self.finish(&deleted);
                return (created, deleted.len());
            }
            for action in plan.actions {
                self.view.begin(&action);
                created += usize::from(self.carry_out(&action, &mut deleted));
            }
        }
    }

    fn finish(&mut self, deleted: &[Action]) {
        for action in deleted {
            let Action::DeletePod { pod, .. } = action else { unreachable!() };
            self.remove_pod(&pod.name);
            self.view.finish(&action.key(), Outcome::Done);
        }
        if let Some(status) = self.plan().status {
            self.object["status"] = json!({
                "currentNumberScheduled": status.current_number_scheduled,
                "numberMisscheduled": status.number_misscheduled,
                "desiredNumberScheduled": status.desired_number_scheduled,
                "numberReady": status.number_ready,
                "updatedNumberScheduled": status.updated_number_scheduled,
                "numberAvailable": status.number_available,
                "numberUnavailable": status.number_unavailable,
                "observedGeneration": status.observed_generation,
                "collisionCount": status.collision_count,
            });
            self.tell();
        }
    }

    /// What the action does to the objects, a deletion included.
    pub fn take_effect(&mut self, action: &Action) {
        match action {
            Action::DeletePod { pod, .. } => {
                if self.pods.contains_key(&*pod.name) {
                    self.remove_pod(&pod.name);
                }
            }
            action => drop(self.carry_out(action, &mut Vec::new())),
        }
    }

    /// What kubelets and pod garbage collection do: pods that terminate, or whose node is gone, go.
    pub fn collect_garbage(&mut self) {
        let gone = |pod: &Pod| pod.node_name.as_ref().is_some_and(|node| !self.nodes.contains_key(&**node));
        let going = self.pods.values().filter(|pod| pod.is_terminating() || gone(pod));
        for name in going.map(|pod| pod.meta.name.to_string()).collect::<Vec<_>>() {
            self.remove_pod(&name);
        }
    }

    pub fn set_strategy_rolling(&mut self) {
        self.edit(|object| {
            object["spec"]["updateStrategy"] =
                json!({ "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": 1, "maxSurge": 0 } });
        });
    }

    /// Returns whether a pod was created.
    fn carry_out(&mut self, action: &Action, deleted: &mut Vec<Action>) -> bool {
        let mut outcome = Outcome::Done;
        match action {
            Action::CreatePod { node, template } => {
                self.create_calls += 1;
                if self.quota == 0 {
                    outcome = Outcome::Failed;
                } else {
                    self.quota -= 1;
                    self.create_pod(node, &template.render(node));
                }
            }
            Action::DeletePod { why, .. } => {
                self.events += usize::from(matches!(why, DeleteReason::Failed | DeleteReason::Succeeded));
                deleted.push(action.clone());
                return false;
            }
            Action::AdoptPod(pod) => self.change_pod(&pod.name.clone(), |pod| pod.meta.controller = Some(owner(UID))),
            Action::ReleasePod(pod) => self.change_pod(&pod.name.clone(), |pod| pod.meta.controller = None),
            Action::RelabelPod { pod, hash } => self.change_pod(&pod.name.clone(), |pod| {
                pod.meta.labels.insert(HASH_LABEL.into(), hash.to_string());
            }),
            Action::CreateRevision(body) => {
                let mut revision = ControllerRevision::from_json(&body.to_json()).unwrap();
                revision.meta.uid = self.meta("revision").uid;
                self.put_revision(revision);
            }
            Action::AdoptRevision(revision) => {
                self.change_revision(&revision.name, |revision| revision.meta.controller = Some(owner(UID)));
            }
            Action::ReleaseRevision(revision) => {
                self.change_revision(&revision.name, |revision| revision.meta.controller = None);
            }
            Action::LabelRevision { revision, hash } => self.change_revision(&revision.name, |revision| {
                revision.meta.labels.insert(HASH_LABEL.into(), hash.to_string());
            }),
            Action::RenumberRevision { revision, number } => {
                self.change_revision(&revision.name, |revision| revision.revision = *number);
            }
            Action::DeleteRevision { revision, .. } => {
                self.revisions.remove(&*revision.name);
                self.view.remove_revision(&revision.name);
            }
            Action::RaiseCollisionCount { to, .. } => {
                self.object["status"]["collisionCount"] = json!(to);
                self.tell();
            }
        }
        self.view.finish(&action.key(), outcome);
        matches!(action, Action::CreatePod { .. }) && outcome == Outcome::Done
    }

    fn create_pod(&mut self, node: &str, body: &[u8]) {
        let mut body: Value = serde_json::from_slice(body).unwrap();
        let meta = self.meta(&format!("{node}.v{}", self.versions));
        body["metadata"]["name"] = json!(meta.name);
        body["metadata"]["uid"] = json!(meta.uid);
        body["metadata"]["resourceVersion"] = json!(meta.resource_version.to_string());
        body["metadata"]["creationTimestamp"] = json!(meta.created.to_string());
        body["spec"]["nodeName"] = json!(node);
        self.put_pod(Pod::from_json(body.to_string().as_bytes()).unwrap());
    }

    fn change_revision(&mut self, name: &str, change: impl FnOnce(&mut ControllerRevision)) {
        if !self.revisions.contains_key(name) {
            return;
        }
        let mut revision = (*self.revisions[name]).clone();
        change(&mut revision);
        self.put_revision(revision);
    }

    /// `name=revision` of every revision, by name.
    pub fn history(&self) -> String {
        let all = self.revisions.values().map(|revision| format!("{}={}", revision.meta.name, revision.revision));
        all.collect::<Vec<_>>().join(" ")
    }
}

pub fn set_ready(pod: &mut Pod, since: Option<Timestamp>) {
    pod.phase = Phase::Running;
    pod.readiness = Readiness::Ready { since };
}

pub fn owner(uid: &str) -> Controller {
    Controller { kind: "DaemonSet".into(), name: "d".into(), uid: uid.into() }
}

pub fn taint(text: &str) -> Taint {
    let (key, effect) = text.split_once(':').unwrap();
    Taint { key: key.into(), effect: effect.into(), ..Taint::default() }
}

/// A DaemonSet `ns/d` with selector `app=d` and the options of the first line.
pub fn daemonset(options: &str) -> Value {
    let mut object = json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet",
        "metadata": {
            "name": "d", "namespace": "ns", "uid": UID, "generation": 1, "resourceVersion": "1",
            "annotations": { "deprecated.daemonset.template.generation": "1" },
        },
        "spec": {
            "selector": { "matchLabels": { "app": "d" } },
            "template": {
                "metadata": { "labels": { "app": "d" } },
                "spec": { "containers": [{ "name": "m", "image": "img:1" }] },
            },
            "updateStrategy": { "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": 1, "maxSurge": 0 } },
            "revisionHistoryLimit": 10,
        },
    });
    for option in options.split_whitespace() {
        set_option(&mut object, option);
    }
    object
}

fn set_option(object: &mut Value, option: &str) {
    let count = |text: &str| text.parse::<i64>().map_or(json!(text), |number| json!(number));
    let spec = &mut object["spec"];
    match option.split_once('=') {
        Some(("unavailable", value)) => spec["updateStrategy"]["rollingUpdate"]["maxUnavailable"] = count(value),
        Some(("surge", value)) => {
            spec["updateStrategy"]["rollingUpdate"] = json!({ "maxSurge": count(value), "maxUnavailable": 0 });
        }
        Some(("min_ready", value)) => spec["minReadySeconds"] = count(value),
        Some(("limit", value)) => spec["revisionHistoryLimit"] = count(value),
        Some(("node", value)) => spec["template"]["spec"]["nodeName"] = json!(value),
        Some(("select", value)) => {
            let (key, value) = value.split_once(':').unwrap();
            spec["template"]["spec"]["nodeSelector"][key] = json!(value);
        }
        Some(("affinity", value)) => {
            let (key, value) = value.split_once(':').unwrap();
            spec["template"]["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"] = json!({
                "nodeSelectorTerms": [{ "matchExpressions": [{ "key": key, "operator": "In", "values": [value] }] }]
            });
        }
        Some(("tolerate", value)) => {
            let (key, effect) = value.split_once(':').unwrap();
            spec["template"]["spec"]["tolerations"] = json!([{ "key": key, "operator": "Exists", "effect": effect }]);
        }
        Some(("collisions", value)) => object["status"] = json!({ "collisionCount": count(value) }),
        None if option == "on-delete" => spec["updateStrategy"] = json!({ "type": "OnDelete" }),
        None if option == "host-network" => spec["template"]["spec"]["hostNetwork"] = json!(true),
        None if option == "deleting" => object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z"),
        None if option == "select-all" => spec["selector"] = json!({}),
        None if option == "observed" => object["status"] = json!({ "observedGeneration": 1 }),
        None if option == "no-history" => {}
        _ => panic!("what is {option:?}?"),
    }
}

/// A plan as text: its actions, then what it waits for, then when to look again.
pub fn describe(plan: &Plan, now: Timestamp) -> String {
    let mut text = String::new();
    for action in &plan.actions {
        let line = match action {
            Action::CreatePod { node, .. } => format!("create on {node}"),
            Action::DeletePod { pod, why, .. } => format!("delete {}: {why:?}", pod.name),
            Action::AdoptPod(pod) => format!("adopt pod {}", pod.name),
            Action::ReleasePod(pod) => format!("release pod {}", pod.name),
            Action::RelabelPod { pod, hash } => format!("relabel pod {} as {hash}", pod.name),
            Action::AdoptRevision(revision) => format!("adopt revision {}", revision.name),
            Action::ReleaseRevision(revision) => format!("release revision {}", revision.name),
            Action::LabelRevision { revision, hash } => format!("label revision {} as {hash}", revision.name),
            Action::CreateRevision(body) => format!("create revision {} = {}", body.name, body.revision),
            Action::RenumberRevision { revision, number } => format!("renumber {} = {number}", revision.name),
            Action::DeleteRevision { revision, why } => format!("delete revision {}: {why:?}", revision.name),
            Action::RaiseCollisionCount { to, .. } => format!("raise collision count to {to}"),
        };
        writeln!(text, "{line}").unwrap();
    }
    for reason in &plan.waiting {
        writeln!(text, "wait: {reason:?}").unwrap();
    }
    if let Some(at) = plan.recheck_at {
        writeln!(text, "again in {:#}", at.duration_since(now)).unwrap();
    }
    text
}

/// `desired/current/misscheduled ready/updated/available/unavailable`.
pub fn status(plan: &Plan) -> String {
    let Some(status) = &plan.status else { return "unchanged".into() };
    format!(
        "{}/{}/{} {}/{}/{}/{}",
        status.desired_number_scheduled,
        status.current_number_scheduled,
        status.number_misscheduled,
        status.number_ready,
        status.updated_number_scheduled,
        status.number_available,
        status.number_unavailable
    )
}
