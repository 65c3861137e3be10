//! Owners go; what becomes of their dependents.

use std::sync::Arc;
use std::time::Duration;

use backstay_api::meta;
use http::Method;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::world::{Line, World};

const SETS: &str = "/apis/apps/v1/namespaces/default/replicasets";
const PODS: &str = "/api/v1/namespaces/default/pods";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// An owner whose controller does not run here, so that nobody else touches its pods.
async fn owner(world: &World, name: &str) -> Value {
    let labels = json!({ "app": name });
    let container = json!({ "name": "c", "image": "i" });
    let template = json!({ "metadata": { "labels": labels }, "spec": { "containers": [container] } });
    let spec = json!({ "selector": { "matchLabels": labels }, "template": template });
    world.create(SETS, json!({ "metadata": { "name": name }, "spec": spec })).await
}

fn reference(owner: &Value) -> Value {
    json!({
        "apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"], "controller": true, "blockOwnerDeletion": true,
    })
}

async fn pods(world: &World, owner: &Value, count: usize) {
    for number in 0..count {
        let metadata = json!({ "name": format!("p{number:04}"), "ownerReferences": [reference(owner)] });
        let spec = json!({ "containers": [{ "name": "c", "image": "i" }] });
        world.create(PODS, json!({ "metadata": metadata, "spec": spec })).await;
    }
}

#[tokio::test(start_paused = true)]
async fn dependents_go_after_their_owner() {
    let world = World::new().await;
    let owner = owner(&world, "d").await;
    pods(&world, &owner, 500).await;
    world.config_map("default", "other", json!({})).await;
    let begun = world.now();
    world.delete(&format!("{SETS}/d"), "Background").await;
    assert!(!world.exists(&format!("{SETS}/d")).await, "in the background: gone at once");
    world.until_count(PODS, 0).await;
    let took = world.now().duration_since(begun);
    assert!(took.as_secs() < 5, "no pause is part of it: {took:#}");
    assert!(world.exists(&format!("{MAPS}/other")).await);
}

/// To find out what is served takes longer here than anything that cannot be listed is waited for. (Had the collector
/// nothing to wait for then, the paused clock would stand still, and this test would never end.)
#[tokio::test(start_paused = true)]
async fn a_slow_server_is_waited_for() {
    let mut world = World::without_manager().await;
    world.start_late_manager(Duration::from_secs(4));
    let owner = owner(&world, "d").await;
    pods(&world, &owner, 3).await;
    world.delete(&format!("{SETS}/d"), "Background").await;
    world.until_count(PODS, 0).await;
}

/// A server that says "conflict" about what nobody has changed is not hurried.
#[tokio::test(start_paused = true)]
async fn a_conflict_with_nobody_is_a_failure() {
    let mut world = World::without_manager().await;
    let refused = Some((Method::DELETE, format!("{MAPS}/m"), 409));
    let line = Line { asks_late: Duration::from_millis(1), refused, ..Line::default() };
    let line = Arc::new(watch::Sender::new(line));
    let mut metrics = Arc::default();
    world.start_manager_on(line.clone(), |config| metrics = config.metrics.clone());
    let owner = owner(&world, "d").await;
    world.config_map("default", "m", json!({ "ownerReferences": [reference(&owner)] })).await;
    world.delete(&format!("{SETS}/d"), "Background").await;
    world.pass(60).await;
    let tries = metrics.garbage_actions.get();
    assert!((5..30).contains(&tries), "{tries} tries");
    line.send_modify(|line| line.refused = None);
    world.until_gone(&format!("{MAPS}/m")).await;
}

#[tokio::test(start_paused = true)]
async fn in_the_foreground_the_owner_goes_last() {
    let world = World::new().await;
    let owner = owner(&world, "d").await;
    pods(&world, &owner, 500).await;
    let hold = json!({ "ownerReferences": [reference(&owner)], "finalizers": ["x.io/hold"] });
    world.config_map("default", "dep", hold).await;
    world.delete(&format!("{SETS}/d"), "Foreground").await;
    world.until_count(PODS, 0).await;
    world.pass(30).await;
    assert!(world.exists(&format!("{SETS}/d")).await, "one dependent still blocks it");
    world.patch(&format!("{MAPS}/dep"), json!({ "metadata": { "finalizers": null } })).await;
    world.until_gone(&format!("{SETS}/d")).await;
    assert!(!world.exists(&format!("{MAPS}/dep")).await);
}

#[tokio::test(start_paused = true)]
async fn orphans_stay() {
    let world = World::new().await;
    let owner = owner(&world, "d").await;
    pods(&world, &owner, 500).await;
    world.delete(&format!("{SETS}/d"), "Orphan").await;
    world.until_gone(&format!("{SETS}/d")).await;
    world.pass(10).await;
    let pods = world.items(PODS).await;
    assert_eq!(pods.len(), 500);
    assert!(pods.iter().all(|pod| pod["metadata"]["ownerReferences"].is_null()));
}

#[tokio::test(start_paused = true)]
async fn an_owner_in_another_namespace_is_none() {
    let world = World::new().await;
    world.namespace("far").await;
    let owner = owner(&world, "d").await;
    let owned = json!({ "ownerReferences": [reference(&owner)] });
    world.config_map("far", "lost", owned.clone()).await;
    world.config_map("default", "kept", owned).await;
    world.until_gone("/api/v1/namespaces/far/configmaps/lost").await;
    world.pass(10).await;
    assert!(world.exists(&format!("{MAPS}/kept")).await);
    assert!(world.exists(&format!("{SETS}/d")).await);
}

#[tokio::test(start_paused = true)]
async fn what_went_while_nobody_watched_is_found() {
    let mut world = World::without_manager().await;
    let owner = owner(&world, "d").await;
    let other = self::owner(&world, "e").await;
    let map =
        |name: &'static str, owners: Value| world.config_map("default", name, json!({ "ownerReferences": owners }));
    map("lost", json!([reference(&owner)])).await;
    let mut second = reference(&other);
    second["controller"] = json!(false);
    map("kept", json!([reference(&owner), second])).await;
    world.delete(&format!("{SETS}/d"), "Background").await;
    world.start_manager(|_| {});
    world.until_gone(&format!("{MAPS}/lost")).await;
    let one_left = |map: &Value| map["metadata"]["ownerReferences"].as_array().is_some_and(|owners| owners.len() == 1);
    world.until(&format!("{MAPS}/kept"), one_left).await;
}

/// A reference with a wrong name proves nothing about the owner that others name by the same uid.
#[tokio::test(start_paused = true)]
async fn a_wrong_reference_is_no_proof_against_an_owner() {
    let mut world = World::without_manager().await;
    // The owner cannot be seen, only looked for.
    let refused = Some((Method::GET, "/apis/apps/v1/replicasets".to_string(), 503));
    let line = Line { refused, ..Line::default() };
    world.start_manager_on(Arc::new(watch::Sender::new(line)), |_| {});
    let owner = owner(&world, "d").await;
    let mut wrong = reference(&owner);
    wrong["name"] = json!("e");
    for number in 0..10 {
        for (name, owner) in [("bad", wrong.clone()), ("good", reference(&owner))] {
            world.config_map("default", &format!("{name}-{number}"), json!({ "ownerReferences": [owner] })).await;
        }
    }
    world.pass(120).await;
    let maps = world.items(MAPS).await;
    let good = maps.iter().filter(|map| meta::name(map).starts_with("good")).count();
    assert_eq!(good, 10, "of {} that are left", maps.len());
}

#[tokio::test(start_paused = true)]
async fn an_owner_of_an_unknown_kind_proves_nothing() {
    let world = World::new().await;
    let unknown = json!([{ "apiVersion": "x.io/v1", "kind": "Thing", "name": "t", "uid": "u" }]);
    world.config_map("default", "kept", json!({ "ownerReferences": unknown })).await;
    world.pass(300).await;
    assert!(world.exists(&format!("{MAPS}/kept")).await);
}

const THINGS: &str = "/apis/x.io/v1/namespaces/default/things";

async fn define_things(world: &World) {
    let schema = json!({ "openAPIV3Schema": { "type": "object", "x-kubernetes-preserve-unknown-fields": true } });
    let version = json!({ "name": "v1", "served": true, "storage": true, "schema": schema });
    let names = json!({ "plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList" });
    let spec = json!({ "group": "x.io", "scope": "Namespaced", "names": names, "versions": [version] });
    let definition = json!({ "metadata": { "name": "things.x.io" }, "spec": spec });
    world.create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition).await;
    world.until("/apis/x.io/v1", |resources| !resources.is_null()).await;
}

async fn thing(world: &World, name: &str, owner: Option<&Value>) -> Value {
    let owners: Vec<Value> = owner.map(reference).into_iter().collect();
    let metadata = json!({ "name": name, "ownerReferences": owners });
    world.create(THINGS, json!({ "apiVersion": "x.io/v1", "kind": "Thing", "metadata": metadata })).await
}

#[tokio::test(start_paused = true)]
async fn custom_resources_own_and_are_owned() {
    let world = World::new().await;
    world.pass(10).await;
    define_things(&world).await;
    let top = thing(&world, "top", None).await;
    let middle = thing(&world, "middle", Some(&top)).await;
    world.config_map("default", "leaf", json!({ "ownerReferences": [reference(&middle)] })).await;
    world.delete(&format!("{THINGS}/top"), "Foreground").await;
    world.until_gone(&format!("{THINGS}/top")).await;
    world.until_gone(&format!("{MAPS}/leaf")).await;
    assert!(!world.exists(&format!("{THINGS}/middle")).await);
}

/// Another version is preferred from now on: the objects are the same ones.
#[tokio::test(start_paused = true)]
async fn a_new_version_of_a_custom_resource_takes_nothing_away() {
    let world = World::new().await;
    define_things(&world).await;
    let top = thing(&world, "top", None).await;
    for number in 0..10 {
        let metadata = json!({ "ownerReferences": [reference(&top)] });
        world.config_map("default", &format!("leaf-{number}"), metadata).await;
    }
    world.pass(5).await;
    let definition = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/things.x.io";
    let mut versions = world.get(definition).await["spec"]["versions"].clone();
    let mut second = versions[0].clone();
    (second["name"], second["storage"]) = (json!("v2"), json!(false));
    versions.as_array_mut().expect("versions").push(second);
    world.patch(definition, json!({ "spec": { "versions": versions } })).await;
    world.until("/apis/x.io/v2", |resources| !resources.is_null()).await;
    world.pass(120).await;
    world.until_count(MAPS, 10).await;
    world.delete(&format!("{THINGS}/top"), "Background").await;
    world.until_count(MAPS, 0).await;
}

/// What is defined while the collector still finds out what is served is not left for its next look, a minute later.
#[tokio::test(start_paused = true)]
async fn a_definition_is_not_overlooked_whenever_it_comes() {
    for moment in 0..8 {
        let mut world = World::without_manager().await;
        world.start_late_manager(Duration::from_millis(100));
        world.pass(moment).await;
        define_things(&world).await;
        let defined = world.now();
        let top = thing(&world, "top", None).await;
        thing(&world, "leaf", Some(&top)).await;
        world.delete(&format!("{THINGS}/top"), "Background").await;
        world.until_gone(&format!("{THINGS}/leaf")).await;
        let took = world.now().duration_since(defined).as_secs();
        assert!(took < 30, "defined after {moment} s, collected {took} s later");
    }
}

#[tokio::test(start_paused = true)]
async fn custom_resources_are_orphaned_too() {
    let world = World::new().await;
    define_things(&world).await;
    let owner = owner(&world, "d").await;
    thing(&world, "kept", Some(&owner)).await;
    world.pass(5).await;
    world.delete(&format!("{SETS}/d"), "Orphan").await;
    world.until_gone(&format!("{SETS}/d")).await;
    let kept = world.get(&format!("{THINGS}/kept")).await;
    assert!(kept["metadata"]["ownerReferences"].as_array().is_none_or(Vec::is_empty), "{kept:#}");
}

#[tokio::test(start_paused = true)]
async fn a_circle_keeps_itself_but_nobody_else() {
    let world = World::new().await;
    let top = world.config_map("default", "top", json!({})).await;
    let first = world.config_map("default", "a", json!({ "ownerReferences": [reference(&top)] })).await;
    let second = world.config_map("default", "b", json!({ "ownerReferences": [reference(&first)] })).await;
    let mut back = reference(&second);
    back["controller"] = json!(false);
    let owners = json!({ "metadata": { "ownerReferences": [reference(&top), back] } });
    world.patch(&format!("{MAPS}/a"), owners).await;
    world.pass(5).await;
    world.delete(&format!("{MAPS}/top"), "Foreground").await;
    world.until_gone(&format!("{MAPS}/top")).await;
    world.until_count(MAPS, 2).await;
}
