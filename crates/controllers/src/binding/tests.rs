//! A board as text: `node NAME key=value taint=KEY:EFFECT cordoned`, `drop NAME`, `pod NAME on=NODE select=KEY:VALUE
//! scheduler=NAME tolerate=KEY bound=NODE uid=UID gated terminating`, `gone NAME`, `plan`, `ok NAME`, `fails NAME`.

use expect_test::{Expect, expect};
use jiff::Timestamp;

use super::*;
use crate::model::{Phase, Readiness};
use crate::scheduling::affinity::{NodeSelector, Requirement, Term};
use crate::scheduling::taints::Toleration;

fn check(story: &str, expected: Expect) {
    let mut board = Board::default();
    let mut out = String::new();
    for (number, line) in story.lines().map(str::trim).filter(|line| !line.is_empty()).enumerate() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let name = words.get(1).copied().unwrap_or_default();
        match words[0] {
            "node" => board.set_node(Arc::new(node(&words[1..]))),
            "drop" => board.remove_node(&name.into()),
            "pod" => board.set_pod(Arc::new(pod(&words[1..], number as u64))),
            "gone" => board.remove_pod(&"ns".into(), &name.into()),
            "ok" => board.finish(&pod(&words[1..], 0).meta.reference(), true),
            "fails" => {
                board.finish(&pod(&[name], 0).meta.reference(), false);
                board.look_at(&"ns".into(), &name.into());
            }
            "plan" => {
                for decision in board.plan(100) {
                    match decision {
                        Decision::Bind { pod, node } => writeln!(out, "{} -> {node}", pod.name).unwrap(),
                        Decision::Unschedulable { pod, why } => writeln!(out, "{}: {why}", pod.name).unwrap(),
                    }
                }
                out.push_str("--\n");
            }
            other => panic!("what is {other}?"),
        }
    }
    expected.assert_eq(&out);
}

fn node(words: &[&str]) -> Node {
    let mut node = Node::default();
    node.meta.name = words[0].into();
    for word in &words[1..] {
        match word.split_once('=') {
            Some(("taint", taint)) => {
                let (key, effect) = taint.split_once(':').unwrap();
                node.taints.push(Taint { key: key.into(), effect: effect.into(), ..Taint::default() });
            }
            Some((key, value)) => drop(node.meta.labels.insert(key.into(), value.into())),
            None => node.unschedulable = true,
        }
    }
    node
}

fn pod(words: &[&str], version: u64) -> Pod {
    let mut wishes = Scheduling { scheduler_name: SCHEDULER.into(), ..Scheduling::default() };
    let mut pod = Pod {
        meta: Default::default(),
        node_name: None,
        target_node: None,
        phase: Phase::Pending,
        readiness: Readiness::NotReady,
        scheduling: None,
    };
    pod.meta.namespace = "ns".into();
    pod.meta.name = words[0].into();
    pod.meta.uid = words[0].into();
    pod.meta.resource_version = version;
    for word in &words[1..] {
        match word.split_once('=') {
            Some(("on", node)) => {
                pod.target_node = Some(node.into());
                let field =
                    Requirement { key: "metadata.name".into(), operator: "In".into(), values: vec![node.into()] };
                let term = Term { match_fields: vec![field], ..Term::default() };
                wishes.required.affinity = Some(NodeSelector { node_selector_terms: vec![term] });
            }
            Some(("select", pair)) => {
                let (key, value) = pair.split_once(':').unwrap();
                wishes.required.node_selector.insert(key.into(), value.into());
            }
            Some(("scheduler", name)) => wishes.scheduler_name = name.into(),
            Some(("tolerate", key)) => wishes.tolerations.push(Toleration {
                key: key.into(),
                operator: "Exists".into(),
                ..Toleration::default()
            }),
            Some(("bound", node)) => pod.node_name = Some(node.into()),
            Some(("uid", uid)) => pod.meta.uid = uid.into(),
            Some(("says", why)) => wishes.unschedulable = Some(why.replace('_', " ")),
            None if *word == "gated" => wishes.gated = true,
            None if *word == "terminating" => pod.meta.deleted = Some(Timestamp::UNIX_EPOCH),
            _ => panic!("what is {word}?"),
        }
    }
    pod.scheduling = pod.node_name.is_none().then(|| Box::new(wishes));
    pod
}

#[test]
fn a_daemon_pod_goes_to_its_node() {
    check(
        "node n1
        node n2
        pod a on=n2
        pod b on=n1
        plan
        plan",
        expect![[r#"
            a -> n2
            b -> n1
            --
            --
        "#]],
    );
}

#[test]
fn a_pod_waits_for_a_node_that_fits() {
    check(
        "pod a on=n1
        plan
        node n2
        node n1 taint=node.kubernetes.io/not-ready:NoSchedule
        plan
        node n1
        plan",
        expect![[r#"
            a: no nodes available to schedule pods
            --
            a: 0/2 nodes are available: 1 node(s) didn't satisfy plugin(s) [NodeAffinity], 1 node(s) had untolerated taint(s).
            --
            a -> n1
            --
        "#]],
    );
}

#[test]
fn only_our_own_pods_are_bound() {
    check(
        "node n1
        pod a on=n1 scheduler=none
        pod b gated
        pod c terminating
        pod d bound=n1
        plan",
        expect![[r#"
            --
        "#]],
    );
}

#[test]
fn other_pods_go_where_fewest_are() {
    check(
        "node n1
        node n2
        node n3 cordoned
        node n4 taint=k:NoSchedule
        pod x bound=n1
        pod y bound=n1
        pod a
        pod b
        pod c
        plan
        pod d tolerate=k
        pod e tolerate=node.kubernetes.io/unschedulable
        plan",
        expect![[r#"
            a -> n2
            b -> n2
            c -> n1
            --
            d -> n4
            e -> n3
            --
        "#]],
    );
}

#[test]
fn a_pod_that_fits_nowhere_says_why_once() {
    check(
        "node n1 color=green
        node n2 color=blue taint=k:NoExecute
        node n3 color=blue cordoned
        pod a select=color:blue
        plan
        pod a select=color:blue says=0/3_nodes
        plan
        node n1 color=blue
        plan",
        expect![[r#"
            a: 0/3 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, 1 node(s) had untolerated taint(s), 1 node(s) were unschedulable.
            --
            --
            a -> n1
            --
        "#]],
    );
}

#[test]
fn a_failed_binding_is_tried_again_and_a_done_one_is_not() {
    check(
        "node n1
        pod a on=n1
        plan
        fails a
        plan
        ok a
        node n1 changed=yes
        pod a on=n1
        plan
        gone a
        pod b
        plan",
        expect![[r#"
            a -> n1
            --
            a -> n1
            --
            --
            b -> n1
            --
        "#]],
    );
}

#[test]
fn a_pod_made_anew_while_the_old_one_is_bound_is_bound_too() {
    check(
        "node n1
        node n2
        pod a uid=1
        plan
        gone a
        pod a uid=2
        plan
        ok a uid=1
        plan
        ok a uid=2
        plan
        pod b
        plan",
        expect![[r#"
            a -> n1
            --
            a -> n1
            --
            --
            --
            b -> n2
            --
        "#]],
    );
}

#[test]
fn what_the_watch_has_told_outlives_an_answer() {
    check(
        "node n1
        node n2
        pod a
        plan
        gone a
        ok a
        pod b
        pod c
        plan
        pod b bound=n2
        ok b
        pod d
        plan",
        expect![[r#"
            a -> n1
            --
            b -> n1
            c -> n2
            --
            d -> n1
            --
        "#]],
    );
}
