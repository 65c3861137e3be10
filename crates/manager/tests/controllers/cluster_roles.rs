//! Roles that gather the rules of others.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use serde_json::json;
use tokio::sync::watch;

use crate::world::{Line, World};

const ROLES: &str = "/apis/rbac.authorization.k8s.io/v1/clusterroles";

#[tokio::test(start_paused = true)]
async fn a_labelled_role_reaches_view_edit_and_admin() {
    let world = World::new().await;
    let label = "rbac.authorization.k8s.io/aggregate-to-view";
    let rule = json!({ "apiGroups": ["x.io"], "resources": ["things"], "verbs": ["get"] });
    let role = json!({ "metadata": { "name": "things", "labels": { label: "true" } }, "rules": [rule] });
    world.create(ROLES, role).await;
    for name in ["view", "edit", "admin"] {
        let gathers = |role: &serde_json::Value| role["rules"].as_array().is_some_and(|rules| rules.contains(&rule));
        world.until(&format!("{ROLES}/{name}"), gathers).await;
    }
    world.delete(&format!("{ROLES}/things"), "Background").await;
    let lost = |role: &serde_json::Value| role["rules"].as_array().is_some_and(|rules| !rules.contains(&rule));
    world.until(&format!("{ROLES}/admin"), lost).await;
}

#[tokio::test(start_paused = true)]
async fn one_that_cannot_be_written_keeps_no_other_waiting() {
    let mut world = World::without_manager().await;
    let refused = Some((Method::PATCH, format!("{ROLES}/admin"), 500));
    world.start_manager_on(Arc::new(watch::Sender::new(Line { refused, ..Line::default() })), |_| {});
    let labels = ["admin", "view"].map(|name| (format!("rbac.authorization.k8s.io/aggregate-to-{name}"), "true"));
    let rule = json!({ "apiGroups": ["x.io"], "resources": ["things"], "verbs": ["get"] });
    let metadata = json!({ "name": "things", "labels": serde_json::Map::from_iter(labels.map(|(key, value)| (key, json!(value)))) });
    world.create(ROLES, json!({ "metadata": metadata, "rules": [rule] })).await;
    let gathers = |role: &serde_json::Value| role["rules"].as_array().is_some_and(|rules| rules.contains(&rule));
    world.until(&format!("{ROLES}/view"), gathers).await;
}

/// Roles that change all the time do not keep others waiting until they do not.
#[tokio::test(start_paused = true)]
async fn roles_are_gathered_while_others_change() {
    let world = World::new().await;
    world.create(ROLES, json!({ "metadata": { "name": "busy" }, "rules": [] })).await;
    let labels = json!({ "rbac.authorization.k8s.io/aggregate-to-view": "true" });
    let rule = json!({ "apiGroups": ["x.io"], "resources": ["things"], "verbs": ["get"] });
    world.create(ROLES, json!({ "metadata": { "name": "things", "labels": labels }, "rules": [rule] })).await;
    for change in 0..100 {
        let labels = json!({ "metadata": { "labels": { "change": change.to_string() } } });
        world.patch(&format!("{ROLES}/busy"), labels).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let view = world.get(&format!("{ROLES}/view")).await;
    assert!(view["rules"].as_array().is_some_and(|rules| rules.contains(&rule)));
}
