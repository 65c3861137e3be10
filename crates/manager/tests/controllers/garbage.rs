//! Owners go; what becomes of their dependents.

use serde_json::{Value, json};

use crate::world::World;

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

#[tokio::test(start_paused = true)]
async fn an_owner_of_an_unknown_kind_proves_nothing() {
    let world = World::new().await;
    let unknown = json!([{ "apiVersion": "x.io/v1", "kind": "Thing", "name": "t", "uid": "u" }]);
    world.config_map("default", "kept", json!({ "ownerReferences": unknown })).await;
    world.pass(300).await;
    assert!(world.exists(&format!("{MAPS}/kept")).await);
}
