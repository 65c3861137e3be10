use backstay_store::MemoryStore;

use super::*;
use crate::authz::testing::{clock, encoded, entropy};

fn start(store: &MemoryStore) {
    let (clock, entropy) = (clock(), entropy());
    let encode = |_: &Resource, object: &Value| encoded(object);
    let writer = Writer { encode: &encode, clock: &clock, entropy: &entropy };
    futures::executor::block_on(run(store, &writer)).expect("a memory store");
}

fn find(store: &MemoryStore, kind: &str, name: &str) -> (Value, Revision) {
    let object = all().into_iter().find(|object| object["kind"] == kind && meta::name(object) == name);
    let entry = store.snapshot().get(&key(&object.expect("of every cluster"))).expect("written");
    (serde_json::from_slice(&entry.value).expect("JSON"), entry.revision)
}

fn replace(store: &MemoryStore, object: &Value, expected: Revision) {
    let operation = Operation::Update { value: encoded(object), expected };
    futures::executor::block_on(store.commit(key(object), operation)).expect("the newest");
}

#[test]
fn everything_is_there_after_the_first_start() {
    let store = MemoryStore::new();
    start(&store);
    for wanted in all() {
        let (kind, name) = (wanted["kind"].as_str().unwrap_or_default(), meta::name(&wanted));
        let (stored, _) = find(&store, kind, name);
        assert!(!meta::uid(&stored).is_empty() && stored["metadata"]["creationTimestamp"].is_string(), "{kind} {name}");
    }
    assert_eq!(find(&store, "Namespace", "kube-system").0["status"]["phase"], "Active");
    assert_eq!(find(&store, "Namespace", "default").0["spec"]["finalizers"], json!(["kubernetes"]));
    let class = find(&store, "PriorityClass", "system-node-critical").0;
    assert_eq!((&class["value"], &class["preemptionPolicy"]), (&json!(2_000_001_000), &json!("PreemptLowerPriority")));
}

#[test]
fn a_second_start_writes_nothing() {
    let store = MemoryStore::new();
    start(&store);
    let revision = store.snapshot().revision();
    assert_eq!(plan(&*store.snapshot()), []);
    start(&store);
    assert_eq!(store.snapshot().revision(), revision);
}

#[test]
fn default_rights_come_back_and_others_stay() {
    let store = MemoryStore::new();
    start(&store);
    let (mut role, revision) = find(&store, "ClusterRole", "system:basic-user");
    role["rules"] = json!([{"verbs": ["get"], "nonResourceURLs": ["/own"]}]);
    replace(&store, &role, revision);
    let (mut binding, revision) = find(&store, "ClusterRoleBinding", "cluster-admin");
    meta::map_mut(&mut binding, &[]).remove("subjects");
    replace(&store, &binding, revision);
    let (mut kept, revision) = find(&store, "ClusterRole", "system:discovery");
    kept["rules"] = json!([]);
    meta::map_mut(&mut kept, &["metadata", "annotations"]).insert(roles::AUTOUPDATE.into(), "false".into());
    replace(&store, &kept, revision);

    start(&store);
    assert_eq!(find(&store, "ClusterRole", "system:basic-user").0["rules"].as_array().map(Vec::len), Some(3));
    assert_eq!(find(&store, "ClusterRoleBinding", "cluster-admin").0["subjects"][0]["name"], "system:masters");
    assert_eq!(find(&store, "ClusterRole", "system:discovery").0["rules"], json!([]));
}

#[test]
fn default_roles_get_their_labels_and_bindings_their_role_back() {
    let store = MemoryStore::new();
    start(&store);
    let (mut role, revision) = find(&store, "ClusterRole", "system:aggregate-to-view");
    role["metadata"]["labels"] = json!({"own": "1"});
    replace(&store, &role, revision);
    let (mut binding, revision) = find(&store, "ClusterRoleBinding", "system:discovery");
    binding["roleRef"]["name"] = json!("cluster-admin");
    replace(&store, &binding, revision);
    start(&store);
    let labels = find(&store, "ClusterRole", "system:aggregate-to-view").0["metadata"]["labels"].clone();
    assert_eq!((&labels["rbac.authorization.k8s.io/aggregate-to-view"], &labels["own"]), (&json!("true"), &json!("1")));
    assert_eq!(find(&store, "ClusterRoleBinding", "system:discovery").0["roleRef"]["name"], "system:discovery");
}

#[test]
fn every_binding_has_its_role() {
    let roles: Vec<(String, String)> = all()
        .iter()
        .filter(|object| object.get("roleRef").is_none())
        .map(|role| (role["kind"].as_str().unwrap_or_default().to_string(), meta::name(role).to_string()))
        .collect();
    for binding in all().iter().filter(|object| object.get("roleRef").is_some()) {
        let role = |field| meta::str_at(binding, &["roleRef", field]).to_string();
        assert!(roles.contains(&(role("kind"), role("name"))), "{} has no role", meta::name(binding));
    }
}

#[test]
fn aggregating_roles_show_what_they_hold() {
    let rules = |name: &str| {
        let role = all().into_iter().find(|object| object["kind"] == "ClusterRole" && meta::name(object) == name);
        role.expect("a default role")["rules"].as_array().expect("rules").clone()
    };
    let (admin, edit, view) = (rules("admin"), rules("edit"), rules("view"));
    assert_eq!(view, rules("system:aggregate-to-view"));
    assert!(view.iter().all(|rule| edit.contains(rule)) && edit.len() > view.len());
    assert!(edit.iter().all(|rule| admin.contains(rule)) && admin.len() > edit.len());
}
