//! What must be on each node. Names follow `daemon_controller_test.go`.

use backstay_controllers::daemonset::Outcome;
use expect_test::expect;

use crate::world::{self, World};
use crate::{check, check_counts};

#[test]
fn simple_daemonset_launches_pods() {
    assert_eq!(World::fleet("", 5).sync(), (5, 0));
    assert_eq!(World::fleet("on-delete", 5).sync(), (5, 0));
    assert_eq!(World::fleet("surge=1", 5).sync(), (5, 0));
}

#[test]
fn no_nodes_does_nothing() {
    assert_eq!(World::fleet("", 0).sync(), (0, 0));
}

#[test]
fn simple_daemonset_schedules_daemonset_pods_to_every_node() {
    let mut world = World::fleet("", 3);
    world.sync();
    let targets: Vec<String> = world.pods.values().map(|pod| pod.target_node.as_deref().unwrap().into()).collect();
    assert_eq!(targets, ["n000", "n001", "n002"]);
}

#[test]
fn one_node_daemon_launches_pod() {
    assert_eq!(World::fleet("", 1).sync(), (1, 0));
}

/// Writes that have failed are not waited for: the next attempt is planned as if they had never begun.
#[test]
fn daemonset_pod_create_expectations_error() {
    let mut world = World::fleet("", 3);
    world.quota = 0;
    assert_eq!(world.sync(), (0, 0));
    world.quota = 3;
    assert_eq!(world.sync(), (0, 0), "not at once");
    world.pass(1);
    assert_eq!(world.sync(), (3, 0));
}

#[test]
fn a_new_generation_is_tried_at_once() {
    let mut world = World::fleet("", 3);
    world.quota = 0;
    for _ in 0..12 {
        world.sync();
        world.pass(60);
    }
    world.sync();
    world.quota = 3;
    world.set_image("img:2");
    assert_eq!(world.sync(), (3, 0));
}

/// Neither resources nor ports nor other pods of the node are looked at: the planner does not even know of them.
#[test]
fn port_conflicts_and_missing_capacity_do_not_matter() {
    let mut world = World::parse("unavailable=1\nn1: new foreign, new foreign unlabelled\nn2: new ready");
    world.edit(|object| {
        let container = &mut object["spec"]["template"]["spec"]["containers"][0];
        container["ports"] = serde_json::json!([{ "hostPort": 80, "containerPort": 80 }]);
        container["resources"] = serde_json::json!({ "requests": { "memory": "1000Ti" } });
    });
    world.set_image("img:1");
    assert_eq!(world.sync().0, 1);
}

#[test]
fn simple_daemonset_pod_create_errors() {
    let mut world = World::fleet("", 100);
    world.quota = 10;
    assert_eq!(world.sync(), (10, 0));
    // The window was 11 wide when the quota was hit.
    assert!(world.create_calls <= 10 + 11, "{} calls", world.create_calls);
    world.view.set_daemonset(world.view.daemonset().clone());
    let plan = world.plan();
    assert_eq!(world.object["status"]["desiredNumberScheduled"], 100);
    assert_eq!(world.object["status"]["currentNumberScheduled"], 10);
    assert_eq!(world.object["status"]["updatedNumberScheduled"], 10);
    assert!(plan.recheck_at.is_some(), "nobody would try again");
    // Once the pause is over, one call at a time.
    let calls = world.create_calls;
    world.pass(1);
    assert_eq!(world.sync(), (0, 0));
    assert_eq!(world.create_calls - calls, 1);
    world.quota = 90;
    world.pass(1);
    assert_eq!(world.sync(), (90, 0));
}

#[test]
fn simple_daemonset_updates_status_after_launching_pods() {
    let mut world = World::fleet("", 5);
    world.sync();
    assert_eq!(world.object["status"]["updatedNumberScheduled"], 5);
    assert_eq!(world.object["status"]["numberReady"], 0);
    world.ready_all();
    let plan = world.plan();
    assert_eq!(world::status(&plan), "5/5/0 5/5/5/0");
}

#[test]
fn dont_do_anything_if_being_deleted() {
    check(
        "deleting
        n1:
        n2: old ready, old ready",
        expect![[r#"
            wait: Deletion
        "#]],
    );
}

#[test]
fn dont_adopt_anything_if_being_deleted() {
    check(
        "deleting
        n1: old ready orphan",
        expect![[r#"
            wait: Deletion
        "#]],
    );
}

#[test]
fn pod_is_not_deleted_by_daemonset_with_empty_label_selector() {
    check(
        "select-all
        n1: new ready foreign
        n2: old ready, old ready",
        expect![[r#"
            wait: Selector
        "#]],
    );
}

#[test]
fn deals_with_existing_pods() {
    let own = |count: usize| vec!["new ready"; count].join(", ");
    let foreign = ["unlabelled orphan ready"; 10].join(", ");
    let world = format!("\nn0: {foreign}\nn1: {}\nn2: {}\nn3: {}\nn4:", own(1), own(2), own(5));
    let mut world = World::parse(&format!("unavailable=1{world}"));
    assert_eq!(world.sync(), (2, 5));
}

#[test]
fn surge_deals_with_existing_pods() {
    let own = |count: usize| vec!["new ready"; count].join(", ");
    let mut world = World::parse(&format!("surge=1\nn0:\nn1: {}\nn2: {}\nn3: {}\nn4:", own(1), own(2), own(5)));
    assert_eq!(world.sync(), (2, 5));
}

#[test]
fn selector_daemon_deletes_unselected_pods() {
    let text = "select=color:blue
        n0: new ready
        n1: new ready
        n2: new ready
        n3: new ready
        m0 color=blue:
        m1 color=blue:
        m2 color=blue:
        m3 color=blue:
        m4 color=blue:";
    check_counts(text, (5, 4, 0));
}

#[test]
fn selector_daemon_deals_with_existing_pods() {
    let own = |count: usize| vec!["new ready"; count].join(", ");
    let text = format!(
        "select=color:blue
        n0: {}
        n1: {}
        n2: {}
        n3:
        n4:
        m0 color=blue:
        m1 color=blue: {}
        m2 color=blue: {}
        m3 color=blue:
        m4 color=blue:",
        own(1),
        own(3),
        own(11),
        own(1),
        own(6)
    );
    check_counts(&text, (3, 20, 0));
}

#[test]
fn daemon_kill_failed_pods() {
    for (failed, normal, expected) in [(0, 1, (0, 0, 0)), (0, 0, (1, 0, 0)), (1, 0, (0, 1, 1)), (1, 3, (0, 3, 1))] {
        let mut pods = vec!["new failed"; failed];
        pods.extend(vec!["new ready"; normal]);
        for options in ["unavailable=1", "on-delete"] {
            check_counts(&format!("{options}\nn1: {}", pods.join(", ")), expected);
        }
    }
}

#[test]
fn daemon_kill_failed_pods_backoff() {
    let mut world = World::parse("unavailable=1 observed\nn1: new failed");
    assert_eq!(world.sync(), (0, 1));
    assert_eq!(world.sync(), (1, 0));
    world.sync();
    let fail = |world: &mut World| {
        let name = world.pods.keys().next().unwrap().clone();
        world.change_pod(&name, |pod| pod.phase = backstay_controllers::model::Phase::Failed);
    };
    // The first failure was just now: the next failed pod stays for a second, however often one looks.
    fail(&mut world);
    assert_eq!(world.sync(), (0, 0));
    assert_eq!(world.sync(), (0, 0));
    let plan = world.plan();
    assert_eq!(plan.recheck_at.unwrap().duration_since(world.now).as_secs(), 1);
    world.pass(1);
    assert_eq!(world.sync(), (0, 1));
    // The second one for two seconds.
    assert_eq!(world.sync(), (1, 0));
    fail(&mut world);
    world.pass(1);
    assert_eq!(world.sync(), (0, 0));
    world.pass(1);
    assert_eq!(world.sync(), (0, 1));
    // After half an hour without failures it begins anew.
    world.sync();
    world.pass(31 * 60);
    fail(&mut world);
    assert_eq!(world.sync(), (0, 1));
    world.sync();
    fail(&mut world);
    world.pass(1);
    assert_eq!(world.sync(), (0, 1));
}

#[test]
fn a_failed_pod_in_backoff_gets_no_second_one_beside_it_with_surge() {
    let mut world = World::parse("surge=1 observed\nn1: new failed");
    assert_eq!(world.sync(), (1, 1));
    let name = world.pods.keys().next().unwrap().clone();
    world.change_pod(&name, |pod| pod.phase = backstay_controllers::model::Phase::Failed);
    assert_eq!(world.sync(), (0, 0));
    world.pass(1);
    assert_eq!(world.sync(), (1, 1));
}

#[test]
fn succeeded_pods_are_replaced_at_once() {
    check_counts("unavailable=1\nn1: new succeeded", (0, 1, 1));
}

#[test]
fn daemonset_respects_termination() {
    check_counts("unavailable=1\nn1: new ready terminating", (0, 0, 0));
    check_counts("surge=1\nn1: new ready terminating", (1, 0, 0));
}

#[test]
fn a_terminal_pod_that_is_being_deleted_does_not_hold_its_node() {
    check_counts("unavailable=1\nn1: new failed terminating", (1, 0, 0));
}

#[test]
fn delete_unscheduled_pod_for_not_existing_node() {
    check(
        "unavailable=1
        n1: new ready
        n2 gone: new ready
        n3 gone: new unbound",
        expect![[r#"
            delete n3.0: NodeGone
        "#]],
    );
}

#[test]
fn the_oldest_bound_pod_stays() {
    check(
        "unavailable=1
        n1: new unbound, new pending, new ready",
        expect![[r#"
            delete n1.2: Surplus
            delete n1.0: Surplus
        "#]],
    );
}

#[test]
fn get_nodes_to_daemon_pods_adopts_and_ignores() {
    check(
        "unavailable=1
        n1: new orphan
        n2: new foreign
        n3: new orphan unlabelled
        n4: new unlabelled
        n5: new orphan terminating",
        expect![[r#"
            adopt pod n1.0
            release pod n4.0
            wait: Adoption { pods: 1 }
        "#]],
    );
}

#[test]
fn a_released_pod_is_replaced() {
    check_counts("unavailable=1\nn1: new ready unlabelled", (1, 0, 0));
}

/// One crowded node, one that is fine, three empty ones.
fn check_surge(options: &str, crowded: &str, deleted: usize) {
    let mut world = World::parse(&format!("surge=1 {options}\nn0:\nn1: {crowded}\nn2: new ready\nn3:\nn4:"));
    assert_eq!(world.sync(), (3, deleted), "{options}: {crowded}");
}

#[test]
fn surge_preserves_ready_old_pods() {
    check_surge("", "old ready, old ready, new pending", 1);
}

#[test]
fn surge_deletes_unready_old_pods() {
    check_surge("", "old pending, old ready, new pending", 2);
}

#[test]
fn surge_preserves_old_ready_with_unsatisfied_min_ready() {
    check_surge("min_ready=15", "old ready, old ready, new ready@15", 1);
}

#[test]
fn surge_deletes_old_ready_with_satisfied_min_ready() {
    check_surge("min_ready=15", "old ready, old ready, new ready@16", 2);
}

#[test]
fn surge_creates_new_pod_when_at_max_surge_and_old_pod_deleted() {
    let mut world = World::parse("surge=1\nn1: old ready\nn2: old ready");
    assert_eq!(world.sync(), (1, 0));
    world.remove_pod("n2.0");
    assert_eq!(world.sync(), (1, 0));
}

#[test]
fn number_ready_status() {
    let mut world =
        World::parse("unavailable=1\nn1: new pending\nn2: new ready\nn3: old ready\nn4 taint=x:NoSchedule: new ready");
    let plan = world.plan();
    assert_eq!(world::status(&plan), "3/3/1 2/2/2/1");
}

#[test]
fn observed_generation() {
    let mut world = World::fleet("", 1);
    assert_eq!(world.plan().status.unwrap().observed_generation, 1);
    world.sync();
    assert_eq!(world.plan().status, None);
    world.edit(|object| object["spec"]["minReadySeconds"] = 1.into());
    assert_eq!(world.plan().status.unwrap().observed_generation, 2);
}

#[test]
fn writes_under_way_count_at_once() {
    let mut world = World::fleet("", 3);
    let actions = world.plan().actions;
    assert_eq!(actions.len(), 1, "slow start: {actions:?}");
    world.view.begin(&actions[0]);
    assert_eq!(world.plan().actions, [], "one at a time until the first has succeeded");
}

#[test]
fn not_yet_available_pods_are_looked_at_again() {
    check(
        "unavailable=1 min_ready=10
        n1: new ready@4
        n2: new ready@10
        n3: new ready@11",
        expect![[r#"
            wait: Time { node: "n2", until: 2027-01-15T08:00:00.001Z }
            again in 1ms
        "#]],
    );
}

/// The cost of one pod that becomes ready is one node, however many there are.
#[test]
fn work_follows_what_changed_and_not_the_fleet() {
    for nodes in [10, 1000] {
        let mut world = World::fleet("min_ready=1", nodes);
        world.sync();
        let name = world.pods.keys().next().unwrap().clone();
        let now = world.now;
        let before = world.view.classified();
        world.change_pod(&name, |pod| world::set_ready(pod, Some(now)));
        world.plan();
        world.pass(2);
        world.plan();
        assert_eq!(
            world.view.classified() - before,
            2,
            "{nodes} nodes: one is looked at when it is ready, and available"
        );
    }
}

/// Of a failure an hour ahead of the clock nobody knows how long ago it was.
#[test]
fn a_clock_that_is_put_back_holds_nothing_up() {
    let mut world = World::fleet("", 1);
    for _ in 0..5 {
        world.pass(60);
        let plan = world.plan();
        assert_eq!(plan.actions.len(), 1, "{plan:?}");
        world.view.begin(&plan.actions[0]);
        world.view.finish(&plan.actions[0].key(), Outcome::Failed);
    }
    assert!(world.plan().actions.is_empty(), "after a failure there is a pause");
    world.pass(-3600);
    assert_eq!(world.plan().actions.len(), 1);
    let mut world = World::parse("min_ready=0\nn1: new failed");
    let plan = world.plan();
    world.view.begin(&plan.actions[0]);
    world.view.finish(&plan.actions[0].key(), Outcome::Stale);
    assert!(world.plan().actions.is_empty(), "a node that has had one failed pod waits before the next");
    world.pass(-3600);
    assert_eq!(world.plan().actions.len(), 1);
}
