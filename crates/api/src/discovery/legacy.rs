//! The documents of old: `/api`, `/apis`, `/apis/GROUP`, `/api/v1`, `/apis/GROUP/VERSION`.

use serde_json::{Map, Value, json};

use super::order::{self, Versions};
use super::storage_version_hash;
use crate::ident::api_version;
use crate::resources::{Resource, Subresource};

/// `GET /api`. `server_address` is host and port as clients reach this server.
pub fn api_versions(resources: &[&Resource], server_address: &str) -> Value {
    let groups = order::groups(resources);
    let core = groups.iter().find(|(group, _)| group.is_empty());
    let versions: Vec<&str> = core.iter().flat_map(|(_, versions)| versions).map(|(version, _)| *version).collect();
    json!({
        "kind": "APIVersions", "versions": versions,
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": server_address}],
    })
}

/// `GET /apis`.
pub fn group_list(resources: &[&Resource]) -> Value {
    let groups = order::groups(resources);
    let named = groups.iter().filter(|(name, _)| !name.is_empty());
    let groups: Vec<Value> = named.map(|(name, versions)| Value::Object(one_group(name, versions))).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// `GET /apis/GROUP`; `None` if nothing of the group is served.
pub fn group(resources: &[&Resource], name: &str) -> Option<Value> {
    let groups = order::groups(resources);
    let (name, versions) = groups.iter().find(|(other, _)| *other == name && !name.is_empty())?;
    let mut group = one_group(name, versions);
    group.insert("kind".into(), "APIGroup".into());
    group.insert("apiVersion".into(), "v1".into());
    Some(Value::Object(group))
}

fn one_group(name: &str, versions: &Versions<'_>) -> Map<String, Value> {
    let versions =
        versions.iter().map(|(version, _)| json!({"groupVersion": api_version(name, version), "version": version}));
    let versions: Vec<Value> = versions.collect();
    let preferred = versions.first().cloned();
    let mut group = Map::new();
    group.insert("name".into(), name.into());
    group.insert("versions".into(), versions.into());
    group.insert("preferredVersion".into(), preferred.into());
    group
}

/// `GET /api/v1` (the empty group) and `GET /apis/GROUP/VERSION`; `None` if nothing of it is served.
pub fn resource_list(resources: &[&Resource], group: &str, version: &str) -> Option<Value> {
    let groups = order::groups(resources);
    let (_, versions) = groups.iter().find(|(name, _)| *name == group)?;
    let (_, resources) = versions.iter().find(|(name, _)| *name == version)?;
    let entries: Vec<Value> = resources.iter().flat_map(|resource| entries(resource)).collect();
    let mut list = json!({
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": api_version(group, version), "resources": entries,
    });
    // The oldest clients of the core group do not want to see the version of this document.
    if group.is_empty() {
        list.as_object_mut().expect("an object literal").remove("apiVersion");
    }
    Some(list)
}

fn entries(resource: &Resource) -> Vec<Value> {
    let mut main = json!({
        "name": resource.plural, "singularName": resource.singular, "namespaced": resource.namespaced,
        "kind": resource.kind, "verbs": resource.verbs,
    });
    let fields = main.as_object_mut().expect("an object literal");
    for (name, list) in [("shortNames", &resource.short_names), ("categories", &resource.categories)] {
        if !list.is_empty() {
            fields.insert(name.into(), json!(list));
        }
    }
    if let Some(stored_as) = &resource.stored_as {
        fields.insert("storageVersionHash".into(), storage_version_hash(stored_as).into());
    }
    let subresources = resource.subresources.iter().map(|subresource| subentry(resource, subresource));
    std::iter::once(main).chain(subresources).collect()
}

fn subentry(resource: &Resource, subresource: &Subresource) -> Value {
    let mut entry = json!({
        "name": format!("{}/{}", resource.plural, subresource.name), "singularName": "",
        "namespaced": resource.namespaced, "kind": subresource.kind.kind, "verbs": subresource.verbs,
    });
    // The group and version are told where they are not those of the list.
    if (&subresource.kind.group, &subresource.kind.version) != (&resource.group, &resource.version) {
        entry["group"] = subresource.kind.group.as_str().into();
        entry["version"] = subresource.kind.version.as_str().into();
    }
    entry
}
