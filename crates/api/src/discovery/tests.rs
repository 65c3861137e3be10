use serde_json::{Value, json};

use super::*;
use crate::resources::builtin;

fn served() -> Vec<&'static Resource> {
    builtin().iter().collect()
}

fn find<'v>(list: &'v Value, field: &str, name: &str) -> &'v Value {
    let found = list.as_array().and_then(|list| list.iter().find(|entry| entry[field] == name));
    found.unwrap_or_else(|| panic!("no {field} {name}"))
}

#[test]
fn groups_and_versions() {
    let list = group_list(&served());
    let names: Vec<&str> =
        list["groups"].as_array().expect("a list").iter().filter_map(|group| group["name"].as_str()).collect();
    assert_eq!(names[..3], ["apiregistration.k8s.io", "apps", "events.k8s.io"]);
    assert!(!names.contains(&""));
    let scaling = group(&served(), "autoscaling").expect("a group");
    assert_eq!(scaling["preferredVersion"], json!({"groupVersion": "autoscaling/v2", "version": "v2"}));
    assert_eq!(scaling["versions"][1]["version"], "v1");
    assert_eq!(group(&served(), "nosuch"), None);
    assert_eq!(group(&served(), ""), None);
    assert_eq!(api_versions(&served(), "127.0.0.1:6443")["versions"], json!(["v1"]));
}

#[test]
fn resources_of_a_version() {
    let apps = resource_list(&served(), "apps", "v1").expect("served");
    let daemonsets = find(&apps["resources"], "name", "daemonsets");
    let all = json!(["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]);
    assert_eq!(
        *daemonsets,
        json!({
            "name": "daemonsets", "singularName": "daemonset", "namespaced": true, "kind": "DaemonSet", "verbs": all,
            "shortNames": ["ds"], "categories": ["all"], "storageVersionHash": "dd7pWHUlMKQ=",
        })
    );
    let status = json!({
        "name": "daemonsets/status", "singularName": "", "namespaced": true, "kind": "DaemonSet",
        "verbs": ["get", "patch", "update"],
    });
    assert_eq!(*find(&apps["resources"], "name", "daemonsets/status"), status);
    let scale = find(&apps["resources"], "name", "deployments/scale");
    assert_eq!((&scale["group"], &scale["version"]), (&json!("autoscaling"), &json!("v1")));
    assert_eq!(apps["apiVersion"], "v1");
    let core = resource_list(&served(), "", "v1").expect("served");
    assert_eq!(core.get("apiVersion"), None);
    assert_eq!(find(&core["resources"], "name", "bindings").get("storageVersionHash"), None);
    assert_eq!(resource_list(&served(), "apps", "v2"), None);
}

#[test]
fn everything_at_once() {
    let core = aggregated(&served(), Aggregated::V2, true);
    assert_eq!(core["items"].as_array().map(Vec::len), Some(1));
    let version = &core["items"][0]["versions"][0];
    let accounts = find(&version["resources"], "resource", "serviceaccounts");
    let token = json!({
        "subresource": "token", "verbs": ["create"],
        "responseKind": {"group": "authentication.k8s.io", "version": "v1", "kind": "TokenRequest"},
    });
    assert_eq!(accounts["subresources"], json!([token]));
    assert_eq!(accounts["responseKind"], json!({"group": "", "version": "", "kind": "ServiceAccount"}));
    let others = aggregated(&served(), Aggregated::V2Beta1, false);
    assert_eq!(others["apiVersion"], "apidiscovery.k8s.io/v2beta1");
    assert_eq!(others["items"][1]["metadata"]["name"], "apps");
}

#[test]
fn custom_resources_join_in() {
    let mut custom = builtin().iter().find(|resource| resource.plural == "leases").expect("leases").clone();
    (custom.group, custom.version, custom.kind) = ("example.com".into(), "v1beta1".into(), "Thing".into());
    let newer = Resource { version: "v1".into(), ..custom.clone() };
    let mut all = served();
    all.extend([&custom, &newer]);
    let group = group(&all, "example.com").expect("a group");
    assert_eq!(group["preferredVersion"]["version"], "v1");
    let document = aggregated(&all, Aggregated::V2, false);
    let item = document["items"].as_array().and_then(|items| items.last()).expect("groups");
    let kind = &item["versions"][1]["resources"][0]["responseKind"];
    assert_eq!(*kind, json!({"group": "example.com", "version": "v1beta1", "kind": "Thing"}));
    assert!(paths(&all).contains(&"/apis/example.com/v1".to_string()));
}

#[test]
fn versions_by_stability_and_age() {
    let mut versions = vec!["v1alpha1", "foo", "v1", "v1beta2", "v10", "v1beta1", "v2alpha1", "v2"];
    versions.sort_by_key(|version| order::priority(version));
    assert_eq!(versions, ["v10", "v2", "v1", "v1beta2", "v1beta1", "v2alpha1", "v1alpha1", "foo"]);
}
