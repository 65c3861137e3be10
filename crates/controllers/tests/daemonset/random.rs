//! Random fleets and random events: after each, the planner that works by difference says what the plain recomputation
//! says, and keeps every promise.

use std::collections::{BTreeMap, BTreeSet};

use backstay_controllers::check;
use backstay_controllers::daemonset::{Action, DeleteReason, Outcome};
use backstay_controllers::history::{Claim, claim};
use backstay_controllers::model::{Phase, Readiness};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use crate::reference::{Expected, Fleet};
use crate::world::{World, set_ready};

#[derive(Clone, Debug)]
enum Op {
    AddNode(usize, u8),
    RemoveNode(usize),
    Ready(usize),
    Unready(usize),
    End(usize, bool),
    UserDeletes(usize),
    PodGone(usize),
    Orphan(usize),
    Relabel(usize),
    StrayPod(usize, u8),
    SetTemplate(u8),
    SetStrategy(u8),
    Select(bool),
    Pass(u16),
    Begin,
    Finish(usize, u8),
    WriteStatus,
}

fn op() -> impl Strategy<Value = Op> {
    let node = 0usize..6;
    let pod = 0usize..12;
    prop_oneof![
        3 => (node.clone(), any::<u8>()).prop_map(|(node, kind)| Op::AddNode(node, kind)),
        1 => node.clone().prop_map(Op::RemoveNode),
        6 => pod.clone().prop_map(Op::Ready),
        2 => pod.clone().prop_map(Op::Unready),
        2 => (pod.clone(), any::<bool>()).prop_map(|(pod, failed)| Op::End(pod, failed)),
        1 => pod.clone().prop_map(Op::UserDeletes),
        2 => pod.clone().prop_map(Op::PodGone),
        1 => pod.clone().prop_map(Op::Orphan),
        1 => pod.clone().prop_map(Op::Relabel),
        2 => (node, any::<u8>()).prop_map(|(node, kind)| Op::StrayPod(node, kind)),
        2 => (0u8..3).prop_map(Op::SetTemplate),
        1 => (0u8..6).prop_map(Op::SetStrategy),
        1 => any::<bool>().prop_map(Op::Select),
        3 => (0u16..20_000).prop_map(Op::Pass),
        8 => Just(Op::Begin),
        8 => (0usize..8, 0u8..6).prop_map(|(action, outcome)| Op::Finish(action, outcome)),
        2 => Just(Op::WriteStatus),
    ]
}

/// The world, and what a plain observer remembers of what is under way.
struct Run {
    world: World,
    under_way: Vec<Action>,
    failures: BTreeMap<String, (Timestamp, SignedDuration)>,
    observed: i64,
}

impl Run {
    fn new(min_ready: u8) -> Self {
        let world =
            World::parse(&format!("unavailable=1 min_ready={min_ready}\nn0:\nn1:\nn2: old ready\nn3: new ready"));
        Run { world, under_way: Vec::new(), failures: BTreeMap::new(), observed: 0 }
    }

    fn nth_pod(&self, number: usize) -> Option<String> {
        let count = self.world.pods.len();
        (count > 0).then(|| self.world.pods.keys().nth(number % count).unwrap().clone())
    }

    fn apply(&mut self, op: &Op) {
        let world = &mut self.world;
        match *op {
            Op::AddNode(node, kind) => {
                let text =
                    ["", "color=blue", "taint=k:NoSchedule", "taint=k:NoExecute", "color=blue taint=k:NoSchedule"];
                self.remove_node(node);
                self.world.add_line(&format!("n{node} {}:", text[usize::from(kind) % text.len()]));
            }
            Op::RemoveNode(node) => self.remove_node(node),
            Op::StrayPod(node, kind) => {
                let text =
                    ["old ready", "new", "orphan new", "unbound new", "generation=1", "foreign new", "old failed"];
                let mut pod = world.pod(&format!("n{node}"), 0, text[usize::from(kind) % text.len()]);
                pod.meta.name = format!("stray.{}", pod.meta.resource_version).into();
                world.put_pod(pod);
            }
            Op::SetTemplate(number) => world.set_image(&format!("img:{number}")),
            Op::SetStrategy(number) => world.edit(|object| {
                let rolling = |unavailable: i64, surge: i64| {
                    serde_json::json!({ "type": "RollingUpdate",
                        "rollingUpdate": { "maxUnavailable": unavailable, "maxSurge": surge } })
                };
                object["spec"]["updateStrategy"] = match number {
                    0 => serde_json::json!({ "type": "OnDelete" }),
                    1 => rolling(0, 1),
                    2 => rolling(0, 2),
                    number => rolling(i64::from(number) - 2, 0),
                };
            }),
            Op::Select(blue) => world.edit(|object| {
                let selector = if blue { serde_json::json!({ "color": "blue" }) } else { serde_json::json!({}) };
                object["spec"]["template"]["spec"]["nodeSelector"] = selector;
            }),
            Op::Pass(millis) => {
                world.now += SignedDuration::from_millis(millis.into());
                world.view.advance(world.now);
            }
            Op::Begin => self.begin(),
            Op::Finish(action, outcome) => self.finish(action, outcome),
            Op::WriteStatus => {
                if let Some(status) = world.plan().status {
                    world.object["status"]["observedGeneration"] = status.observed_generation.into();
                    world.edit(|object| {
                        let generation = object["metadata"]["generation"].as_i64().unwrap();
                        object["metadata"]["generation"] = (generation - 1).into();
                    });
                }
            }
            _ => self.change_pod(op),
        }
    }

    fn remove_node(&mut self, node: usize) {
        let name = format!("n{node}");
        if self.world.nodes.contains_key(&name) {
            self.failures.remove(&name);
        }
        self.world.remove_node(&name);
    }

    fn change_pod(&mut self, op: &Op) {
        let (Op::Ready(number)
        | Op::Unready(number)
        | Op::End(number, _)
        | Op::UserDeletes(number)
        | Op::PodGone(number)
        | Op::Orphan(number)
        | Op::Relabel(number)) = *op
        else {
            return;
        };
        let Some(name) = self.nth_pod(number) else { return };
        let now = self.world.now;
        match *op {
            Op::PodGone(_) => self.world.remove_pod(&name),
            ref op => self.world.change_pod(&name, |pod| match *op {
                Op::Ready(_) if !pod.is_terminal() => {
                    pod.node_name = pod.target_node.clone();
                    set_ready(pod, Some(now));
                }
                Op::Unready(_) => pod.readiness = Readiness::NotReady,
                Op::End(_, failed) => {
                    pod.phase = if failed { Phase::Failed } else { Phase::Succeeded };
                    pod.readiness = Readiness::NotReady;
                }
                Op::UserDeletes(_) => pod.meta.deleted = Some(now),
                Op::Orphan(_) => pod.meta.controller = None,
                Op::Relabel(_) => match pod.meta.labels.remove("app") {
                    Some(_) => {}
                    None => drop(pod.meta.labels.insert("app".into(), "d".into())),
                },
                _ => {}
            }),
        }
    }

    fn begin(&mut self) {
        for action in self.world.plan().actions {
            self.world.view.begin(&action);
            if let Action::DeletePod { node, why: DeleteReason::Failed, .. } = &action {
                let delay = match self.failures.get(&**node) {
                    Some((last, delay)) if self.world.now.duration_since(*last) <= SignedDuration::from_mins(30) => {
                        (*delay * 2).min(SignedDuration::from_mins(15))
                    }
                    _ => SignedDuration::from_secs(1),
                };
                self.failures.insert(node.to_string(), (self.world.now, delay));
            }
            self.under_way.push(action);
        }
    }

    fn finish(&mut self, number: usize, outcome: u8) {
        if self.under_way.is_empty() {
            return;
        }
        let action = self.under_way.remove(number % self.under_way.len());
        let outcome = match outcome {
            0 => Outcome::Failed,
            1 => Outcome::Stale,
            _ => Outcome::Done,
        };
        if outcome == Outcome::Done {
            self.world.take_effect(&action);
        }
        self.world.view.finish(&action.key(), outcome);
    }

    fn check(&mut self) {
        let plan = self.world.plan();
        let daemonset = self.world.view.daemonset().clone();
        if daemonset.status.observed_generation != self.observed {
            self.observed = daemonset.status.observed_generation;
            self.failures.clear();
        }
        let create: Vec<String> = plan.actions.iter().filter_map(created_on).collect();
        let delete: BTreeSet<String> = plan.actions.iter().filter_map(deleted).collect();
        let adopts = self.world.pods.values().any(|pod| claim(&daemonset, &pod.meta) == Claim::Adopt);
        let hash = self.world.view.history().current.clone();
        let Some(hash) = hash.filter(|_| !adopts) else {
            assert!(create.is_empty() && delete.is_empty(), "nothing but claims and history: {plan:?}");
            return;
        };
        let expected = self.expected(&hash);
        let (creates, deletes) = self.world.view.room();
        let room: Vec<String> = expected.create.iter().take(creates).cloned().collect();
        assert_eq!(create, room, "creations of {expected:?}");
        if deletes > 0 {
            assert_eq!(delete, expected.delete, "deletions");
        }
        assert_eq!(plan.status.unwrap_or(daemonset.status), expected.status, "status");
        let violations = check::plan(&self.fleet(), &daemonset, &plan.actions, self.world.now);
        assert!(violations.is_empty(), "{violations:?} {plan:?}");
    }

    fn expected(&self, hash: &str) -> Expected {
        let creating = self.under_way.iter().filter_map(created_on).collect();
        let deleting = self.under_way.iter().filter_map(deleted).collect();
        let backoff = self.failures.iter().map(|(node, (last, delay))| (node.clone(), *last + *delay)).collect();
        let fleet = Fleet {
            daemonset: self.world.view.daemonset(),
            nodes: &self.world.nodes,
            pods: &self.world.pods,
            creating: &creating,
            deleting: &deleting,
            backoff: &backoff,
            hash,
            now: self.world.now,
        };
        fleet.plan()
    }

    fn fleet(&self) -> check::Fleet {
        check::Fleet {
            daemonsets: vec![self.world.view.daemonset().clone()],
            nodes: self.world.nodes.values().cloned().collect(),
            pods: self.world.pods.values().cloned().collect(),
            revisions: self.world.revisions.values().cloned().collect(),
        }
    }
}

fn created_on(action: &Action) -> Option<String> {
    match action {
        Action::CreatePod { node, .. } => Some(node.to_string()),
        _ => None,
    }
}

fn deleted(action: &Action) -> Option<String> {
    match action {
        Action::DeletePod { pod, .. } => Some(pod.name.to_string()),
        _ => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_planner_says_what_a_plain_recomputation_says(min_ready in 0u8..4, ops in prop::collection::vec(op(), 1..80)) {
        let mut run = Run::new(min_ready);
        run.check();
        for op in &ops {
            run.apply(op);
            run.check();
        }
    }

    /// However the story went: left alone, with pods becoming ready, it ends with the newest revision everywhere.
    #[test]
    fn every_story_comes_to_rest(ops in prop::collection::vec(op(), 1..60)) {
        let mut run = Run::new(0);
        for op in &ops {
            run.apply(op);
        }
        while !run.under_way.is_empty() {
            run.finish(0, 2);
        }
        run.world.set_strategy_rolling();
        for _ in 0..60 {
            run.world.pass(2);
            run.world.collect_garbage();
            run.world.sync();
            run.world.ready_all();
        }
        let violations = check::at_rest(&run.fleet(), run.world.now);
        prop_assert!(violations.is_empty(), "{violations:?} {:?}", run.world.plan());
    }
}

#[test]
fn the_checker_bites() {
    let mut world =
        World::parse("unavailable=1\nn1: old ready\nn2: old ready\nn3: new ready, new ready\nn4: other-hash");
    let fleet = |world: &World| check::Fleet {
        daemonsets: vec![world.view.daemonset().clone()],
        nodes: world.nodes.values().cloned().collect(),
        pods: world.pods.values().cloned().collect(),
        revisions: world.revisions.values().cloned().collect(),
    };
    let before = fleet(&world);
    let says = |violations: Vec<check::Violation>, expected: &[&str]| {
        let text: Vec<String> = violations.iter().map(|violation| violation.what.clone()).collect();
        assert_eq!(text, expected);
    };
    says(check::always(&before), &["2 pods on n3: n3.0, n3.1", "pod n4.0 is of revision other-hash, which is gone"]);
    let delete = |name: &str| Action::DeletePod {
        pod: world.pods[name].meta.reference(),
        node: "n".into(),
        why: DeleteReason::OldRevision,
    };
    let actions = [delete("n1.0"), delete("n2.0")];
    says(
        check::plan(&before, world.view.daemonset(), &actions, world.now),
        &["takes 2 available pods; 1 of 4 nodes are left"],
    );
    world.add_revision("twin", 2, b"{}");
    says(
        check::always(&fleet(&world)),
        &[
            "2 pods on n3: n3.0, n3.1",
            "d-new and d-twin are both revision 2",
            "pod n4.0 is of revision other-hash, which is gone",
        ],
    );
    let mut lower = (*world.revisions["d-new"]).clone();
    lower.revision = 0;
    world.put_revision(lower);
    says(check::step(&before, &fleet(&world)), &["revision d-new went from 2 to 0"]);
    assert!(!check::at_rest(&fleet(&world), world.now).is_empty());
}
