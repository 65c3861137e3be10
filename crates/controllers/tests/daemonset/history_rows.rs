//! The history of revisions. Sources: sections 1.5 to 1.9 of the semantics, `update_test.go`, the integration tests.

use backstay_controllers::history::{HASH_LABEL, Step, hash};
use backstay_controllers::model::{ControllerRevision, Object};
use expect_test::expect;

use crate::world::{World, describe, owner};

fn numbers(world: &World) -> Vec<i64> {
    let mut numbers: Vec<i64> = world.revisions.values().map(|revision| revision.revision).collect();
    numbers.sort();
    numbers
}

#[test]
fn the_first_revision_comes_before_everything_else() {
    let mut world = World::parse("no-history\nn1:");
    let plan = world.plan();
    let name = format!("d-{}", hash::of(&world.view.daemonset().data, None));
    assert_eq!(describe(&plan, world.now), format!("create revision {name} = 1\nwait: History\n"));
    assert_eq!(plan.status, None, "the status must not claim a generation whose revision is not there");
}

#[test]
fn numbering_transcript() {
    let mut world = World::fleet("no-history unavailable=10", 1);
    let mut step = |image: &str, expected: &[i64]| {
        world.set_image(image);
        while world.sync() != (0, 0) {
            world.ready_all();
        }
        assert_eq!(numbers(&world), expected, "{image}");
        world.revisions.values().max_by_key(|revision| revision.revision).unwrap().meta.name.clone()
    };
    let a = step("img:1", &[1]);
    let b = step("img:2", &[1, 2]);
    assert_eq!(step("img:1", &[2, 3]), a);
    assert_eq!(step("img:2", &[3, 4]), b);
    assert_eq!(step("img:1", &[4, 5]), a);
    step("img:3", &[4, 5, 6]);
}

#[test]
fn what_is_not_the_template_makes_no_revision() {
    let mut world = World::fleet("no-history", 1);
    world.sync();
    world.edit(|object| {
        object["spec"]["minReadySeconds"] = 5.into();
        object["metadata"]["annotations"]["kubernetes.io/change-cause"] = "why".into();
        object["spec"]["updateStrategy"]["type"] = "OnDelete".into();
    });
    world.sync();
    assert_eq!(numbers(&world), [1]);
}

#[test]
fn a_revision_carries_template_labels_and_all_annotations() {
    let mut world = World::parse("no-history");
    world.edit(|object| {
        object["metadata"]["annotations"]["kubernetes.io/change-cause"] = "why <b>&".into();
        object["metadata"]["labels"] = serde_json::json!({ "of": "the set" });
        object["spec"]["template"]["metadata"]["labels"]["tier"] = "node".into();
    });
    let [Step::Create(body)] = world.view.history().steps.as_slice() else { panic!("no revision is made") };
    let text = String::from_utf8(body.to_json()).unwrap().replace(&*body.hash, "HASH");
    expect![[r#"{"apiVersion":"apps/v1","kind":"ControllerRevision","metadata":{"name":"d-HASH","namespace":"ns","labels":{"app":"d","controller-revision-hash":"HASH","tier":"node"},"annotations":{"deprecated.daemonset.template.generation":"1","kubernetes.io/change-cause":"why <b>&"},"ownerReferences":[{"apiVersion":"apps/v1","blockOwnerDeletion":true,"controller":true,"kind":"DaemonSet","name":"d","uid":"uid-d"}]},"data":{"spec":{"template":{"$patch":"replace","metadata":{"labels":{"app":"d","tier":"node"}},"spec":{"containers":[{"image":"img:1","name":"m"}]}}}},"revision":1}"#]].assert_eq(&text);
}

/// A revision of the present template as Kubernetes before 1.34 wrote it.
fn of_an_older_release(world: &World, hash: &str, number: i64) -> ControllerRevision {
    let data = String::from_utf8(world.view.daemonset().data.to_vec()).unwrap();
    let data = data.replace("\"metadata\":{", "\"metadata\":{\"creationTimestamp\":null,");
    let json = format!(
        r#"{{"metadata":{{"name":"d-{hash}","namespace":"ns","uid":"uid-{hash}",
            "labels":{{"app":"d","{HASH_LABEL}":"{hash}"}},
            "ownerReferences":[{{"kind":"DaemonSet","name":"d","uid":"uid-d","controller":true}}]}},
            "revision":{number},"data": {data}}}"#
    );
    ControllerRevision::from_json(json.as_bytes()).unwrap()
}

#[test]
fn data_of_older_releases_is_recognised() {
    let mut world = World::parse("no-history");
    world.put_revision(of_an_older_release(&world, "x", 4));
    assert_eq!(world.view.history().current.as_deref(), Some("x"));
    assert_eq!(world.view.history().steps, [], "it is ours as it is");
}

#[test]
fn of_both_forms_of_a_template_todays_is_current() {
    // What an upgrade from 1.33 to 1.34 left: Kubernetes compares bytes, and made a second revision.
    let mut world = World::parse("no-history");
    world.put_revision(of_an_older_release(&world, "x", 4));
    let data = world.view.daemonset().data.clone();
    world.add_revision("y", 5, &data);
    let history = world.view.history();
    assert_eq!((history.current.as_deref(), &history.steps), (Some("y"), &vec![]), "nothing is merged");
    assert_eq!(history.old.iter().map(|old| &*old.meta.name).collect::<Vec<_>>(), ["d-x"]);

    let mut world = World::parse("no-history");
    world.add_revision("y", 3, &data);
    world.put_revision(of_an_older_release(&world, "x", 4));
    let history = world.view.history();
    assert_eq!(history.current.as_deref(), Some("y"));
    assert!(matches!(&history.steps[..], [Step::Renumber { number: 5, .. }]), "{:?}", history.steps);
}

#[test]
fn launch_with_hash_collision() {
    let mut world = World::parse("no-history\nn1:");
    let taken = hash::of(&world.view.daemonset().data, None);
    world.add_revision(&taken, 1, b"{\"other\":1}");
    let name = format!("d-{taken}");
    let mut foreign = (*world.revisions[&name]).clone();
    foreign.meta.controller = None;
    foreign.meta.labels.clear();
    world.put_revision(foreign);
    assert_eq!(describe(&world.plan(), world.now), "raise collision count to 1\nwait: History\n");
    assert_eq!(world.sync(), (1, 0));
    assert_eq!(world.object["status"]["collisionCount"], 1);
    assert_eq!(numbers(&world), [1, 1], "the other one is not ours");
}

#[test]
fn a_revision_of_our_name_and_data_is_used_whoever_owns_it() {
    let mut world = World::parse("no-history\nn1:");
    let data = world.view.daemonset().data.clone();
    let hash = hash::of(&data, None);
    world.add_revision(&hash, 1, &data);
    let mut foreign = (*world.revisions[&format!("d-{hash}")]).clone();
    foreign.meta.controller = Some(owner("uid-other"));
    world.put_revision(foreign);
    assert_eq!(world.sync(), (1, 0));
}

#[test]
fn controlled_histories_adopts_and_repairs() {
    let mut world = World::parse("no-history\nn1: old ready");
    let mut change = |hash: &str, change: &dyn Fn(&mut ControllerRevision)| {
        world.add_revision(hash, 4, b"{}");
        let mut revision = (*world.revisions[&format!("d-{hash}")]).clone();
        revision.meta.labels.insert("app".into(), "d".into());
        change(&mut revision);
        world.put_revision(revision);
    };
    change("orphan", &|revision| revision.meta.controller = None);
    change("nolabel", &|revision| drop(revision.meta.labels.remove(HASH_LABEL)));
    change("leaving", &|revision| drop(revision.meta.labels.remove("app")));
    change("foreign", &|revision| revision.meta.controller = Some(owner("uid-other")));
    change("elsewhere", &|revision| {
        revision.meta.controller = None;
        revision.meta.namespace = "other".into();
    });
    expect![[r#"
        release revision d-leaving
        adopt revision d-orphan
        label revision d-nolabel as d-nolabel
        wait: History
    "#]]
    .assert_eq(&describe(&world.plan(), world.now));
}

#[test]
fn dsc_updates_pod_label_after_dedup_cur_histories() {
    let mut world = World::parse("unavailable=1\nn1: new ready\nn2: old ready\nn3: other-hash ready");
    let data = world.view.daemonset().data.clone();
    world.add_revision("other-hash", 7, &data);
    expect![[r#"
        relabel pod n1.0 as other-hash
        wait: History
    "#]]
    .assert_eq(&describe(&world.plan(), world.now));
    world.sync();
    assert_eq!(world.history(), "d-old=1 d-other-hash=7");
}

#[test]
fn a_pod_of_another_template_is_not_relabelled_by_a_merge() {
    let mut world = World::parse("on-delete\nn1: old ready\nn2: new ready");
    let data = world.view.daemonset().data.clone();
    world.add_revision("other-hash", 7, &data);
    world.sync();
    assert_eq!(world.pods["n1.0"].meta.label(HASH_LABEL), Some("old"));
    assert_eq!(world.pods["n2.0"].meta.label(HASH_LABEL), Some("other-hash"));
}

#[test]
fn surplus_revisions_go_the_oldest_first_unless_a_pod_needs_them() {
    let mut world = World::parse("limit=1 on-delete\nn1: old ready\nn2: new ready");
    for (hash, number) in [("c", -3), ("b", -2), ("a", -1)] {
        world.add_revision(hash, number, format!("[{number}]").as_bytes());
    }
    expect![[r#"
        delete revision d-c: Surplus
        delete revision d-b: Surplus
        delete revision d-a: Surplus
    "#]]
    .assert_eq(&describe(&world.plan(), world.now));
    world.sync();
    assert_eq!(world.history(), "d-new=2 d-old=1");
}

#[test]
fn with_limit_zero_only_the_current_one_stays() {
    let mut world = World::parse("limit=0\nn1: new ready");
    world.sync();
    assert_eq!(world.history(), "d-new=2");
}

#[test]
fn a_terminal_pod_being_deleted_still_needs_its_revision() {
    let mut world = World::parse("limit=0 on-delete\nn1: new ready\nn2: old failed terminating");
    assert_eq!(world.sync(), (1, 0));
    assert_eq!(world.history(), "d-new=2 d-old=1");
}

#[test]
fn no_revision_is_removed_while_a_pod_of_it_is_being_created() {
    let mut world = World::parse("limit=0\nn1:");
    let action = world.plan().actions.remove(0);
    world.view.begin(&action);
    world.set_image("img:2");
    let create = world.plan().actions.remove(0);
    world.view.begin(&create);
    let data = world.view.daemonset().data.clone();
    let hash = hash::of(&data, None);
    world.add_revision(&hash, 3, &data);
    world.view.finish(&create.key(), backstay_controllers::daemonset::Outcome::Done);
    let plan = describe(&world.plan(), world.now);
    assert!(!plan.contains("revision d-new"), "{plan}");
}

#[test]
fn of_equal_numbers_the_last_by_name_is_kept() {
    let mut world = World::parse("unavailable=1\nn1: new ready");
    let data = world.view.daemonset().data.clone();
    world.add_revision("zz", 2, &data);
    world.sync();
    assert_eq!(world.history(), "d-old=1 d-zz=2");
}

#[test]
fn an_adopted_revision_of_equal_data_becomes_current_again() {
    let mut world = World::parse("unavailable=1\nn1: new ready orphan");
    for hash in ["new", "old"] {
        let mut orphan = (*world.revisions[&format!("d-{hash}")]).clone();
        orphan.meta.controller = None;
        orphan.meta.labels.insert("app".into(), "d".into());
        world.put_revision(orphan);
    }
    assert_eq!(world.sync(), (0, 0));
    assert_eq!(world.history(), "d-new=2 d-old=1");
    assert!(world.revisions.values().all(|revision| revision.meta.controller.is_some()));
    assert!(world.pods["n1.0"].meta.controller.is_some());
}
