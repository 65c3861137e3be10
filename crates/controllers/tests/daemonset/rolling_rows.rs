//! Rolling updates. Names follow `update_test.go`.

use backstay_controllers::model::{Count, UpdateStrategy};
use expect_test::expect;

use crate::check;
use crate::world::{World, set_ready};

/// A fleet whose pods all run and are ready.
fn running(options: &str, nodes: usize) -> World {
    let mut world = World::fleet(options, nodes);
    assert_eq!(world.sync(), (nodes, 0));
    world.ready_all();
    assert_eq!(world.sync(), (0, 0));
    world
}

/// Syncs again and again, with all pods ready in between if `ready`.
fn check_syncs(world: &mut World, ready: bool, expected: &[(usize, usize)]) {
    for (number, expected) in expected.iter().enumerate() {
        assert_eq!(world.sync(), *expected, "sync {number}");
        if ready {
            world.ready_all();
        }
    }
}

#[test]
fn daemonset_updates_pods() {
    let mut world = running("unavailable=2", 5);
    world.set_image("img:2");
    check_syncs(&mut world, true, &[(0, 2), (2, 0), (0, 2), (2, 0), (0, 1), (1, 0), (0, 0)]);
    assert_eq!(world.object["status"]["updatedNumberScheduled"], 5);
}

#[test]
fn daemonset_updates_pods_with_max_surge() {
    let mut world = running("surge=2", 5);
    world.set_image("img:2");
    check_syncs(&mut world, true, &[(2, 0), (2, 2), (1, 2), (0, 1), (0, 0)]);
}

#[test]
fn daemonset_updates_when_new_pods_are_not_ready() {
    let mut world = running("unavailable=3", 5);
    world.set_image("img:2");
    check_syncs(&mut world, false, &[(0, 3), (3, 0), (0, 0)]);
    let plan = world.plan();
    let waiting = format!("{:?}", plan.waiting);
    expect![[r#"[UnavailableBudget { unavailable: 3, max: 3, old: 2, nodes: ["n000", "n001", "n002"] }]"#]]
        .assert_eq(&waiting);
}

#[test]
fn daemonset_updates_some_old_pods_not_ready() {
    let mut world = running("unavailable=2", 5);
    world.set_image("img:2");
    check_syncs(&mut world, false, &[(0, 2), (2, 0), (0, 0)]);
    world.set_image("img:3");
    check_syncs(&mut world, false, &[(0, 2), (2, 0), (0, 0)]);
    assert_eq!(world.pods.values().filter(|pod| pod.is_ready()).count(), 3);
}

#[test]
fn daemonset_updates_save_old_healthy_pods() {
    for (max, deleted) in [(1, 10), (5, 10), (9, 10), (10, 10), (11, 11)] {
        let mut world = running(&format!("unavailable={max}"), 20);
        for name in world.pods.keys().take(10).cloned().collect::<Vec<_>>() {
            world.change_pod(&name, |pod| pod.readiness = backstay_controllers::model::Readiness::NotReady);
        }
        world.set_image("img:2");
        assert_eq!(world.sync(), (0, deleted), "max {max}");
    }
}

#[test]
fn daemonset_updates_all_old_not_ready_pods_and_new_not_ready_pods() {
    let mut text = String::from("unavailable=10");
    for node in 0..100 {
        let pod = if node < 88 {
            "new pending"
        } else if node < 90 {
            "old pending"
        } else {
            "old ready"
        };
        text.push_str(&format!("\nn{node:03}: {pod}"));
    }
    assert_eq!(World::parse(&text).sync(), (0, 2));
}

#[test]
fn daemonset_updates_all_old_pods_not_ready() {
    let mut world = World::fleet("unavailable=3", 5);
    world.sync();
    world.set_image("img:2");
    check_syncs(&mut world, false, &[(0, 5), (5, 0), (0, 0)]);
}

#[test]
fn daemonset_updates_all_old_pods_not_ready_max_surge() {
    let mut world = running("surge=3 min_ready=30", 5);
    // 31 seconds later all are available; then they break, at once.
    world.pass(31);
    for name in world.pods.keys().cloned().collect::<Vec<_>>() {
        world.change_pod(&name, |pod| pod.readiness = backstay_controllers::model::Readiness::NotReady);
    }
    world.set_image("img:2");
    // All old pods are unavailable: all nodes get a new pod at once. The old ones, not ready, go.
    assert_eq!(world.sync(), (5, 5));
    world.ready_all();
    assert_eq!(world.sync(), (0, 0));
    world.pass(31);
    // In the next update three may surge; each must have been ready for 30 s before its predecessor goes.
    world.set_image("img:3");
    check_syncs(&mut world, true, &[(3, 0), (0, 0)]);
    world.pass(30);
    assert_eq!(world.sync(), (0, 0));
    world.pass(1);
    check_syncs(&mut world, true, &[(2, 3), (0, 0)]);
    world.pass(31);
    check_syncs(&mut world, true, &[(0, 2), (0, 0)]);
}

#[test]
fn daemonset_updates_no_template_changed() {
    let mut world = running("unavailable=3", 5);
    world.edit(|object| object["spec"]["updateStrategy"]["rollingUpdate"]["maxUnavailable"] = 2.into());
    assert_eq!(world.sync(), (0, 0));
}

#[test]
fn on_delete_keeps_old_pods() {
    let mut world = running("on-delete", 3);
    world.set_image("img:2");
    assert_eq!(world.sync(), (0, 0));
    let pod = world.pods.keys().next().unwrap().clone();
    world.remove_pod(&pod);
    assert_eq!(world.sync(), (1, 0));
    assert_eq!(world.object["status"]["updatedNumberScheduled"], 1);
}

#[test]
fn get_unavailable_numbers() {
    let check = |max_unavailable, max_surge, desired, expected: (u32, u32)| {
        let UpdateStrategy::RollingUpdate { max_unavailable, max_surge } =
            (UpdateStrategy::RollingUpdate { max_unavailable, max_surge })
        else {
            unreachable!()
        };
        assert_eq!((max_surge.of(desired), max_unavailable.of(desired)), expected);
    };
    check(Count::Number(1), Count::Number(0), 2, (0, 1));
    check(Count::Percent(50), Count::Number(0), 2, (0, 1));
    check(Count::Number(0), Count::Percent(50), 2, (1, 0));
    check(Count::Number(0), Count::Percent(100), 2, (2, 0));
    check(Count::Percent(50), Count::Number(0), 3, (0, 2));
    check(Count::Percent(10), Count::Number(0), 0, (0, 0));
    check(Count::Percent(1), Count::Number(0), 1, (0, 1));
}

#[test]
fn a_budget_of_nothing_is_one() {
    let mut world = running("unavailable=0", 2);
    world.set_image("img:2");
    assert_eq!(world.sync(), (0, 1));
}

#[test]
fn is_pod_updated_by_hash_or_generation() {
    check(
        "unavailable=9
        n1: new ready
        n2: new generation=7 ready
        n3: old generation=1 ready
        n4: generation=1 ready
        n5: old generation=7 ready
        n6: ready",
        expect![[r#"
            delete n5.0: OldRevision
            delete n6.0: OldRevision
        "#]],
    );
}

#[test]
fn an_update_takes_the_nodes_by_name_within_its_budget() {
    check(
        "unavailable=3
        n1: old ready
        n2: old pending
        n3: new pending
        n4: old ready
        n5: old ready terminating
        n6: old ready",
        expect![[r#"
            delete n2.0: OldUnavailable
            wait: UnavailableBudget { unavailable: 3, max: 3, old: 3, nodes: ["n2", "n3", "n5"] }
        "#]],
    );
    check(
        "unavailable=2
        n1: old ready
        n2: old ready
        n3: old ready",
        expect![[r#"
            delete n1.0: OldRevision
            delete n2.0: OldRevision
            wait: UnavailableBudget { unavailable: 0, max: 2, old: 3, nodes: [] }
        "#]],
    );
}

#[test]
fn an_update_waits_for_a_node_without_pod() {
    let mut world = World::parse("unavailable=1\nn1: old ready\nn2:");
    assert_eq!(world.sync(), (1, 0));
    assert_eq!(world.sync(), (0, 0));
    world.ready_all();
    assert_eq!(world.sync(), (0, 1));
}

#[test]
fn surge_goes_beyond_its_budget_only_for_nodes_that_serve_nobody() {
    check(
        "surge=1
        n1: old ready
        n2: old ready
        n3: old pending",
        expect![[r#"
            create on n3
            wait: SurgeBudget { surging: 0, max: 1, old: 2, nodes: [] }
        "#]],
    );
}

#[test]
fn sunset_nodes_give_their_pods_up_only_when_enough_serve() {
    // n3 should not run the pod any more. Two are desired; three serve: it may go.
    check(
        "surge=1
        n1: new ready
        n2: new ready
        n3 taint=k:NoSchedule: old ready",
        expect![[r#"
            delete n3.0: NodeIneligible
        "#]],
    );
    check(
        "surge=1
        n1: new ready
        n2: new pending
        n3 taint=k:NoSchedule: old ready",
        expect![[r#"
            wait: Sunset { nodes: ["n3"] }
        "#]],
    );
    check(
        "surge=1
        n1: new ready
        n3 taint=k:NoSchedule: old pending",
        expect![[r#"
            delete n3.0: NodeIneligible
        "#]],
    );
}

#[test]
fn an_undo_in_mid_rollout_touches_only_what_was_updated() {
    let mut world = running("unavailable=1", 4);
    let names = |world: &World| world.pods.keys().cloned().collect::<Vec<_>>();
    let before = names(&world);
    world.set_image("img:broken");
    check_syncs(&mut world, false, &[(0, 1), (1, 0), (0, 0)]);
    world.set_image("img:1");
    check_syncs(&mut world, true, &[(0, 1), (1, 0), (0, 0)]);
    let kept = names(&world).iter().filter(|name| before.contains(name)).count();
    assert_eq!(kept, 3);
    assert_eq!(world.object["status"]["updatedNumberScheduled"], 4);
}

#[test]
fn the_first_pod_of_a_node_speaks_for_it_in_the_status() {
    let mut world = World::parse("surge=1\nn1: old ready, new pending\nn2: old ready terminating, new ready");
    let plan = world.plan();
    assert_eq!(crate::world::status(&plan), "2/2/0 2/0/2/0");
    let name = "n1.1";
    world.change_pod(name, |pod| set_ready(pod, None));
}
