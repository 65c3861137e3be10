//! Namespaces that are being deleted.

use std::collections::BTreeSet;
use std::sync::Arc;

use http::Method;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::world::{Line, World};

const SPACE: &str = "/api/v1/namespaces/x";
const MAPS: &str = "/api/v1/namespaces/x/configmaps";

fn condition<'a>(namespace: &'a Value, kind: &str) -> &'a Value {
    let conditions = namespace["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    conditions.iter().find(|one| one["type"] == kind).unwrap_or(&Value::Null)
}

#[tokio::test(start_paused = true)]
async fn an_empty_one_goes() {
    let world = World::new().await;
    world.namespace("x").await;
    world.delete(SPACE, "Background").await;
    world.until_gone(SPACE).await;
}

#[tokio::test(start_paused = true)]
async fn content_goes_first() {
    let world = World::new().await;
    world.namespace("x").await;
    for number in 0..700 {
        world.config_map("x", &format!("m{number}"), json!({})).await;
    }
    let account = json!({ "metadata": { "name": "a" } });
    world.create("/api/v1/namespaces/x/serviceaccounts", account).await;
    world.delete(SPACE, "Background").await;
    world.until_gone(SPACE).await;
    world.until_count("/api/v1/configmaps", 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_finalizer_holds_it_and_lets_it_go() {
    let world = World::new().await;
    world.namespace("x").await;
    world.config_map("x", "hold", json!({ "finalizers": ["x.io/a"] })).await;
    world.config_map("x", "other", json!({})).await;
    world.delete(SPACE, "Background").await;
    let remains = |namespace: &Value| condition(namespace, "NamespaceContentRemaining")["status"] == "True";
    let namespace = world.until(SPACE, remains).await;
    assert_eq!(namespace["spec"]["finalizers"], json!(["kubernetes"]));
    let held = condition(&namespace, "NamespaceFinalizersRemaining");
    assert_eq!((&held["status"], &held["reason"]), (&json!("True"), &json!("SomeFinalizersRemain")));
    assert_eq!(
        held["message"],
        "Some content in the namespace has finalizers remaining: x.io/a in 1 resource instances"
    );
    assert_eq!(
        condition(&namespace, "NamespaceContentRemaining")["message"],
        "Some resources are remaining: configmaps. has 1 resource instances"
    );
    world.pass(600).await;
    let version = world.get(SPACE).await["metadata"]["resourceVersion"].clone();
    world.pass(600).await;
    assert_eq!(world.get(SPACE).await["metadata"]["resourceVersion"], version, "nothing new, nothing written");
    let begun = world.now();
    world.patch(&format!("{MAPS}/hold"), json!({ "metadata": { "finalizers": null } })).await;
    world.until_gone(SPACE).await;
    assert!(world.now().duration_since(begun).as_secs() < 15);
}

#[tokio::test(start_paused = true)]
async fn one_that_was_being_deleted_before_we_started() {
    let mut world = World::without_manager().await;
    world.namespace("x").await;
    world.config_map("x", "m", json!({})).await;
    world.delete(SPACE, "Background").await;
    world.start_manager(|_| {});
    world.until_gone(SPACE).await;
}

/// One goes while nobody can watch, and another of its name comes; it is deleted now, or has been already.
async fn check_another_of_the_name(is_deleted_unseen: bool) {
    let mut world = World::without_manager().await;
    let line = Arc::new(watch::Sender::new(Line::default()));
    world.start_manager_on(line.clone(), |_| {});
    world.namespace("x").await;
    world.config_map("x", "hold", json!({ "finalizers": ["x.io/a"] })).await;
    world.delete(SPACE, "Background").await;
    world.pass(60).await;
    line.send_modify(|line| line.is_cut = true);
    world.pass(1).await;
    world.patch(&format!("{MAPS}/hold"), json!({ "metadata": { "finalizers": null } })).await;
    let mut namespace = world.get(SPACE).await;
    namespace["spec"]["finalizers"] = json!([]);
    world.send(Method::PUT, &format!("{SPACE}/finalize"), "application/json", &namespace).await;
    world.until_gone(SPACE).await;
    if is_deleted_unseen {
        world.namespace("x").await;
        world.delete(SPACE, "Background").await;
    }
    line.send_modify(|line| (line.is_cut, line.forgotten) = (false, Some(BTreeSet::new())));
    world.pass(60).await;
    if !is_deleted_unseen {
        world.namespace("x").await;
        world.delete(SPACE, "Background").await;
    }
    world.until_gone(SPACE).await;
}

#[tokio::test(start_paused = true)]
async fn another_of_the_name_of_one_that_went_unseen_goes_too() {
    check_another_of_the_name(false).await;
    check_another_of_the_name(true).await;
}
