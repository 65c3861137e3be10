//! Roles that gather the rules of others.

use serde_json::json;

use crate::world::World;

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
