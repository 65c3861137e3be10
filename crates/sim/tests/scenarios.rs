//! Rollouts and rollbacks on a rough network, each from many seeds. A failing seed prints itself; run it alone with
//! `BACKSTAY_SEED=N`.

use std::time::Duration;

use backstay_sim::{Cluster, Faults, run};
use jiff::SignedDuration;
use serde_json::{Value, json};

/// How many seeds each scenario gets; `BACKSTAY_SEEDS` for more.
const SEEDS: u64 = 8;

fn seeds() -> Vec<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    match number("BACKSTAY_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("BACKSTAY_SEEDS").unwrap_or(SEEDS)).collect(),
    }
}

fn check<S: Future<Output = ()>>(nodes: usize, scenario: impl Fn(Cluster) -> S) {
    for seed in seeds() {
        run(seed, nodes, Faults::ROUGH, &scenario);
    }
}

fn one() -> Value {
    json!({ "maxUnavailable": 1, "maxSurge": 0 })
}

fn numbers(revisions: &[Value]) -> Vec<i64> {
    revisions.iter().filter_map(|revision| revision["revision"].as_i64()).collect()
}

#[test]
fn a_rollout_and_its_undo() {
    check(4, |cluster| async move {
        cluster.create("a", "a:v1", one()).await;
        cluster.settle().await;
        cluster.set_image("a", "a:v2", "ready-after=3s").await;
        cluster.settle().await;
        cluster.undo("a").await;
        cluster.settle().await;
        assert_eq!(numbers(&cluster.revisions("a").await), [2, 3]);
    });
}

#[test]
fn an_undo_in_mid_rollout_spares_the_pods_that_were_not_touched() {
    check(4, |cluster| async move {
        cluster.create("a", "a:v1", one()).await;
        cluster.settle().await;
        let before = names(&cluster).await;
        cluster.set_image("a", "a:v2", "never-ready").await;
        cluster.run_for(Duration::from_secs(120)).await;
        let stuck = names(&cluster).await;
        let kept = before.iter().filter(|name| stuck.contains(name)).count();
        assert_eq!(kept, 3, "one node may suffer, no more");
        cluster.undo("a").await;
        cluster.settle().await;
        let after = names(&cluster).await;
        assert_eq!(before.iter().filter(|name| after.contains(name)).count(), 3, "restarted without need");
    });
}

#[test]
fn an_undo_of_the_undo() {
    check(3, |cluster| async move {
        cluster.create("a", "a:v1", json!({ "maxUnavailable": "50%" })).await;
        cluster.settle().await;
        cluster.set_image("a", "a:v2", "ready-after=1s").await;
        cluster.settle().await;
        cluster.undo("a").await;
        cluster.settle().await;
        cluster.undo("a").await;
        cluster.settle().await;
        let revisions = cluster.revisions("a").await;
        assert_eq!(numbers(&revisions), [3, 4]);
        let image = "/data/spec/template/spec/containers/0/image";
        assert_eq!(revisions[1].pointer(image), Some(&json!("a:v2")));
    });
}

#[test]
fn nodes_join_and_leave_during_a_rollout() {
    check(5, |mut cluster| async move {
        cluster.create("a", "a:v1", one()).await;
        cluster.settle().await;
        cluster.set_image("a", "a:v2", "ready-after=2s").await;
        cluster.run_for(Duration::from_secs(3)).await;
        cluster.resize(8).await;
        cluster.run_for(Duration::from_secs(5)).await;
        cluster.resize(3).await;
        cluster.settle().await;
    });
}

#[test]
fn two_quick_updates_in_a_row() {
    check(4, |cluster| async move {
        cluster.create("a", "a:v1", one()).await;
        cluster.settle().await;
        cluster.set_image("a", "a:v2", "ready-after=5s").await;
        cluster.run_for(Duration::from_millis(300)).await;
        cluster.set_image("a", "a:v3", "ready-after=1s").await;
        cluster.settle().await;
        assert_eq!(*numbers(&cluster.revisions("a").await).last().expect("revisions"), 3);
    });
}

#[test]
fn surge_replaces_only_what_has_a_successor() {
    check(4, |cluster| async move {
        cluster.create("a", "a:v1", json!({ "maxUnavailable": 0, "maxSurge": 2 })).await;
        cluster.settle().await;
        cluster.set_image("a", "a:v2", "ready-after=4s").await;
        cluster.settle().await;
        cluster.set_image("a", "a:v3", "never-ready").await;
        cluster.run_for(Duration::from_secs(60)).await;
        cluster.undo("a").await;
        cluster.settle().await;
    });
}

#[test]
fn controllers_that_crash_all_the_time_still_get_there() {
    check(5, |mut cluster| async move {
        cluster.create("a", "a:v1", one()).await;
        cluster.settle().await;
        cluster.set_image("a", "a:v2", "ready-after=1s").await;
        for pause in [10, 200, 900, 40, 1500, 700, 90] {
            cluster.run_for(Duration::from_millis(pause)).await;
            cluster.crash_controllers();
        }
        cluster.settle().await;
    });
}

#[test]
fn pods_deleted_by_hand_come_back() {
    check(3, |cluster| async move {
        cluster.create("a", "a:v1", one()).await;
        cluster.settle().await;
        cluster.set_image("a", "a:v2", "ready-after=2s").await;
        cluster.run_for(Duration::from_secs(1)).await;
        for name in names(&cluster).await {
            cluster.delete_pod(&name).await;
        }
        cluster.settle().await;
    });
}

/// Nodes that do not know what time it is: they live, and their pods are rolled out and taken back as ever.
#[test]
fn clocks_that_differ_by_ten_minutes() {
    for minutes in [-10, 10] {
        check(3, |mut cluster| async move {
            cluster.create("a", "a:v1", one()).await;
            cluster.settle().await;
            cluster.skew(SignedDuration::from_mins(minutes)).await;
            let before = names(&cluster).await;
            for _ in 0..3 {
                cluster.run_for(Duration::from_secs(20)).await;
                assert_eq!(cluster.ready_nodes().await, 3, "clocks ahead by {minutes} min");
            }
            assert_eq!(names(&cluster).await, before, "nothing was restarted");
            cluster.set_image("a", "a:v2", "ready-after=3s").await;
            cluster.settle().await;
            cluster.set_image("a", "a:v3", "crash").await;
            cluster.run_for(Duration::from_secs(30)).await;
            // Set right, in the middle of it.
            cluster.skew(SignedDuration::ZERO).await;
            cluster.undo("a").await;
            cluster.settle().await;
            assert_eq!(numbers(&cluster.revisions("a").await), [1, 3, 4]);
        });
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let trace = |seed| {
        run(seed, 3, Faults::ROUGH, |cluster| async move {
            cluster.create("a", "a:v1", one()).await;
            cluster.settle().await;
            cluster.set_image("a", "a:v2", "ready-after=2s").await;
            cluster.settle().await;
        })
    };
    let first = trace(7);
    assert_eq!(first, trace(7), "the same seed");
    assert_ne!(first, trace(8), "another seed");
}

async fn names(cluster: &Cluster) -> Vec<String> {
    let pods = cluster.pods().await;
    pods.iter().filter_map(|pod| pod["metadata"]["name"].as_str()).map(str::to_string).collect()
}
