//! What must hold after every commit, and what must hold at rest.
//!
//! Deliberately plain: it recomputes from raw objects, and shares no code with the planners that it checks.

use std::collections::{BTreeMap, BTreeSet};

use backstay_api::{canonical, meta};
use backstay_store::{Event, EventKind};
use serde_json::Value;

const HASH: &str = "controller-revision-hash";

/// Follows every commit in order, and collects what is wrong.
#[derive(Default)]
pub struct Checker {
    sets: BTreeMap<String, Set>,
    pods: BTreeMap<String, Pod>,
    revisions: BTreeMap<String, Revision>,
    nodes: BTreeSet<String>,
    /// Pods that somebody else deletes on purpose; they are not our hand.
    foreign_deletions: BTreeSet<String>,
    violations: Vec<String>,
}

struct Set {
    object: Value,
    /// Nodes whose available pod was taken down by the controller and has not been replaced yet.
    taken: BTreeSet<String>,
}

struct Pod {
    name: String,
    owner: String,
    node: String,
    hash: String,
    ready: bool,
    running: bool,
    being_deleted: bool,
}

struct Revision {
    name: String,
    owner: String,
    number: i64,
    hash: String,
    data: Value,
}

impl Checker {
    /// Takes in one commit. Events of all resources must come in the order of their revisions.
    pub fn observe(&mut self, event: &Event) {
        let object: Value = serde_json::from_slice(&event.entry.value).expect("the store holds JSON");
        let gone = event.kind == EventKind::Deleted;
        match &*event.entry.key.resource {
            "nodes" => self.node(&object, gone),
            "pods" => self.pod(&object, gone),
            "apps/daemonsets" => self.set(object, gone),
            "apps/controllerrevisions" => self.revision(&object, gone),
            _ => {}
        }
    }

    /// The next deletion of this pod is not the controller's.
    pub fn expect_deletion(&mut self, uid: &str) {
        self.foreign_deletions.insert(uid.to_string());
    }

    /// Everything wrong so far, and everything wrong if the cluster is now meant to be at rest.
    pub fn violations_at_rest(&self) -> Vec<String> {
        let mut violations = self.violations.clone();
        for (uid, set) in self.sets.iter().filter(|(_, set)| !meta::is_being_deleted(&set.object)) {
            self.check_rest(uid, set, &mut violations);
        }
        violations
    }

    pub fn violations(&self) -> &[String] {
        &self.violations
    }

    fn node(&mut self, object: &Value, gone: bool) {
        let name = meta::name(object).to_string();
        if gone {
            for set in self.sets.values_mut() {
                set.taken.remove(&name);
            }
            self.nodes.remove(&name);
        } else {
            self.nodes.insert(name);
        }
    }

    fn set(&mut self, object: Value, gone: bool) {
        let uid = meta::uid(&object).to_string();
        if gone {
            self.sets.remove(&uid);
            return;
        }
        let taken = self.sets.remove(&uid).map(|set| set.taken).unwrap_or_default();
        self.sets.insert(uid, Set { object, taken });
    }

    fn pod(&mut self, object: &Value, gone: bool) {
        let (uid, new) = (meta::uid(object).to_string(), pod(object));
        let old = self.pods.get(&uid);
        let was_up = old.is_some_and(|old| old.ready && !old.being_deleted);
        if was_up && (gone || new.being_deleted) && !self.foreign_deletions.remove(&uid) {
            self.taken_down(&new);
        }
        if gone {
            self.pods.remove(&uid);
            return;
        }
        if new.ready
            && !new.being_deleted
            && let Some(set) = self.sets.get_mut(&new.owner)
        {
            set.taken.remove(&new.node);
        }
        self.pods.insert(uid.clone(), new);
        self.check_crowding(&uid);
    }

    /// An available pod goes by our hand: within the budget, or (with surge) only when its successor is available.
    fn taken_down(&mut self, pod: &Pod) {
        let alive = self.nodes.contains(&pod.node);
        let Some(set) = self.sets.get_mut(&pod.owner).filter(|set| alive && !meta::is_being_deleted(&set.object))
        else {
            return;
        };
        let (unavailable, surge) = budgets(&set.object, self.nodes.len());
        let successor = self.pods.values().any(|other| {
            other.owner == pod.owner
                && other.node == pod.node
                && other.name != pod.name
                && other.ready
                && !other.being_deleted
        });
        if surge > 0 {
            if !successor {
                self.violations
                    .push(format!("{}: taken from {} before its successor was available", pod.name, pod.node));
            }
            return;
        }
        if successor {
            return;
        }
        set.taken.insert(pod.node.clone());
        if set.taken.len() > unavailable {
            let taken = &set.taken;
            self.violations.push(format!(
                "{}: {} pods down by our hand, budget {unavailable}: {taken:?}",
                pod.name,
                taken.len()
            ));
        }
    }

    /// No more pods run on a node than the strategy allows.
    fn check_crowding(&mut self, uid: &str) {
        let Some(pod) = self.pods.get(uid).filter(|pod| pod.running && !pod.being_deleted) else { return };
        let Some(set) = self.sets.get(&pod.owner) else { return };
        let allowed = if budgets(&set.object, self.nodes.len()).1 > 0 { 2 } else { 1 };
        let same =
            |other: &&Pod| other.owner == pod.owner && other.node == pod.node && other.running && !other.being_deleted;
        let running = self.pods.values().filter(same).count();
        if running > allowed {
            let violation = format!("{}: {running} pods run on {}, allowed {allowed}", pod.name, pod.node);
            self.violations.push(violation);
        }
    }

    fn revision(&mut self, object: &Value, gone: bool) {
        let (uid, new) = (meta::uid(object).to_string(), revision(object));
        if gone {
            self.check_collected(&new);
            self.revisions.remove(&uid);
            return;
        }
        let old = self.revisions.get(&uid);
        if old.is_some_and(|old| old.data != new.data) {
            self.violations.push(format!("{}: its data changed", new.name));
        }
        if old.is_none_or(|old| old.number != new.number) {
            let others = self.revisions.iter().filter(|(other, one)| **other != uid && one.owner == new.owner);
            let highest = others.map(|(_, one)| one.number).max().unwrap_or(0);
            if new.number <= highest || old.is_some_and(|old| new.number < old.number) {
                self.violations.push(format!("{}: number {} after {highest}", new.name, new.number));
            }
        }
        self.revisions.insert(uid, new);
    }

    /// A revision that a pod still runs must not go while its DaemonSet lives.
    fn check_collected(&mut self, revision: &Revision) {
        let alive = self.sets.get(&revision.owner).is_some_and(|set| !meta::is_being_deleted(&set.object));
        let user = self.pods.values().find(|pod| pod.owner == revision.owner && pod.hash == revision.hash);
        if let Some(pod) = user.filter(|_| alive) {
            self.violations.push(format!("{}: collected while {} runs it", revision.name, pod.name));
        }
    }

    fn check_rest(&self, uid: &str, set: &Set, violations: &mut Vec<String>) {
        let name = meta::name(&set.object);
        let of_set = self.revisions.values().filter(|revision| revision.owner == uid);
        let Some(newest) = of_set.max_by_key(|revision| revision.number) else {
            violations.push(format!("{name}: no revision at rest"));
            return;
        };
        if canonical::json(&newest.data) != canonical::revision_data(&set.object) {
            violations.push(format!("{name}: the newest revision {} is not its template", newest.name));
        }
        for node in &self.nodes {
            let pods: Vec<&Pod> = self.pods.values().filter(|pod| pod.owner == uid && pod.node == *node).collect();
            match pods.as_slice() {
                [pod] if pod.ready && !pod.being_deleted && pod.hash == newest.hash => {}
                pods => {
                    let shown: Vec<String> = pods
                        .iter()
                        .map(|pod| {
                            format!("{} {} ready={} deleting={}", pod.name, pod.hash, pod.ready, pod.being_deleted)
                        })
                        .collect();
                    violations.push(format!("{name} on {node} at rest: {shown:?}, newest {}", newest.hash));
                }
            }
        }
    }
}

fn pod(object: &Value) -> Pod {
    Pod {
        name: meta::name(object).to_string(),
        owner: owner(object),
        node: target(object),
        hash: meta::label(object, HASH).unwrap_or_default().to_string(),
        ready: meta::is_true(object, "Ready"),
        running: meta::str_at(object, &["status", "phase"]) == "Running",
        being_deleted: meta::is_being_deleted(object),
    }
}

fn revision(object: &Value) -> Revision {
    Revision {
        name: meta::name(object).to_string(),
        owner: owner(object),
        number: meta::int_at(object, &["revision"]).unwrap_or(0),
        hash: meta::label(object, HASH).unwrap_or_default().to_string(),
        data: object["data"].clone(),
    }
}

fn owner(object: &Value) -> String {
    meta::controller_of(object).map(|owner| meta::str_at(owner, &["uid"]).to_string()).unwrap_or_default()
}

/// Where a pod runs or will run: its binding, or the node that its required affinity names.
fn target(pod: &Value) -> String {
    let bound = meta::str_at(pod, &["spec", "nodeName"]);
    let wanted = pod.pointer(
        "/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms/0/matchFields/0/values/0",
    );
    match bound {
        "" => wanted.and_then(Value::as_str).unwrap_or_default().to_string(),
        bound => bound.to_string(),
    }
}

/// maxUnavailable and maxSurge as numbers; both percentages round up, and both zero means one unavailable.
fn budgets(set: &Value, nodes: usize) -> (usize, usize) {
    let resolve = |field: &str| match set.pointer(&format!("/spec/updateStrategy/rollingUpdate/{field}")) {
        Some(Value::Number(number)) => number.as_u64().unwrap_or(0) as usize,
        Some(Value::String(text)) => {
            let percent: usize = text.trim_end_matches('%').parse().unwrap_or(0);
            (percent * nodes).div_ceil(100)
        }
        _ => 0,
    };
    match (resolve("maxUnavailable"), resolve("maxSurge")) {
        (0, 0) => (1, 0),
        budgets => budgets,
    }
}
