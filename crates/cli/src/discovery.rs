//! Which resource a word on the command line, or a kind in a file, means.
//!
//! The kinds that every Kubernetes has are known beforehand, so that the usual commands need no discovery. Whatever
//! else is asked of the server, once, in the aggregated form if it knows that.

use std::cell::OnceCell;
use std::rc::Rc;

use backstay_api::resources::{self, Resource};
use backstay_api::url::escaped;
use backstay_api::{GroupVersionKind, meta};
use serde_json::Value;

use crate::error::{Failure, Outcome, quoted};
use crate::server::{Call, Server};

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";

/// Finds resources; asks the server at most once.
#[derive(Clone)]
pub struct Resolver {
    server: Server,
    discovered: Rc<OnceCell<Vec<Resource>>>,
}

impl Resolver {
    pub fn new(server: Server) -> Self {
        Self { server, discovered: Rc::default() }
    }

    /// The resource of `ds`, `daemonset`, `DaemonSets.apps`, `daemonsets.v1.apps`.
    ///
    /// # Errors
    /// If the server has none of that name.
    pub async fn resource(&self, word: &str) -> Outcome<Resource> {
        let word = Word::parse(word);
        if let Some(known) = resources::builtin().iter().find(|resource| word.names(resource)) {
            return Ok(known.clone());
        }
        self.discovered(&word).await
    }

    /// The same, from the server only: for when a resource that is known here turns out to be unknown there.
    pub async fn on_server(&self, resource: &Resource) -> Outcome<Resource> {
        let word = Word { name: resource.plural.clone(), ..Word::default() };
        self.discovered(&word).await
    }

    async fn discovered(&self, word: &Word) -> Outcome<Resource> {
        let all = self.all().await?;
        all.iter().find(|resource| word.names(resource)).cloned().ok_or_else(|| word.unknown())
    }

    /// The resource of a kind. `None` if the server has none.
    pub async fn kind(&self, gvk: &GroupVersionKind) -> Outcome<Option<Resource>> {
        if let Some(known) = resources::of_kind(gvk) {
            return Ok(Some(known.clone()));
        }
        let all = self.all().await?;
        Ok(all.iter().find(|resource| resource.gvk() == *gvk).cloned())
    }

    /// Resources of a category such as `all`, in discovery order.
    pub async fn category(&self, name: &str) -> Outcome<Vec<Resource>> {
        let all = self.all().await?;
        Ok(all.iter().filter(|resource| resource.categories.iter().any(|category| category == name)).cloned().collect())
    }

    /// Everything the server has, the preferred version of each group first.
    pub async fn all(&self) -> Outcome<&[Resource]> {
        if self.discovered.get().is_none() {
            let mut all = self.fetch("/api").await?;
            all.extend(self.fetch("/apis").await?);
            let _ = self.discovered.set(all);
        }
        Ok(self.discovered.get().map(Vec::as_slice).unwrap_or_default())
    }

    async fn fetch(&self, root: &str) -> Outcome<Vec<Resource>> {
        let answer = self.server.json(&Call::get(root).accept(AGGREGATED)).await?;
        if meta::str_at(&answer, &["kind"]) == "APIGroupDiscoveryList" {
            return Ok(aggregated(&answer));
        }
        let mut all = Vec::new();
        for group_version in group_versions(&answer) {
            let path = format!("{root}/{group_version}");
            let list = self.server.json(&Call::get(path)).await?;
            all.extend(plain(&list));
        }
        Ok(all)
    }
}

/// A word that stands for a resource: `name`, `name.group` or `name.version.group`.
#[derive(Debug, Default, PartialEq)]
struct Word {
    name: String,
    version: String,
    /// Everything after the first dot, with the version if there is one.
    rest: String,
    group: String,
}

impl Word {
    fn parse(word: &str) -> Self {
        let (name, rest) = word.split_once('.').unwrap_or((word, ""));
        let (version, group) = rest.split_once('.').unwrap_or(("", rest));
        // `v1` alone is the core group's version.
        let (version, group) = if is_version(rest) { (rest, "") } else { (version, group) };
        let (version, group) = if is_version(version) { (version, group) } else { ("", rest) };
        Self { name: name.to_lowercase(), version: version.into(), rest: rest.into(), group: group.into() }
    }

    fn names(&self, resource: &Resource) -> bool {
        let name = &self.name;
        let named = *name == resource.plural
            || *name == resource.singular
            || *name == resource.kind.to_lowercase()
            || resource.short_names.contains(name);
        let version = self.version.is_empty() || self.version == resource.version;
        // A group may be given by its first labels.
        let group = self.rest.is_empty()
            || self.group == resource.group
            || resource
                .group
                .strip_prefix(&self.group)
                .is_some_and(|rest| rest.starts_with('.') && !self.group.is_empty());
        named && version && group
    }

    fn unknown(&self) -> Failure {
        Failure::plain(format!("the server doesn't have a resource type {}", quoted(&self.name)))
    }
}

/// `v1`, `v2beta1`.
fn is_version(text: &str) -> bool {
    text.strip_prefix('v').is_some_and(|rest| {
        rest.starts_with(|c: char| c.is_ascii_digit()) && rest.chars().all(|c| c.is_ascii_alphanumeric())
    })
}

fn texts(value: &Value, field: &str) -> Vec<String> {
    meta::list_at(value, &[field]).iter().filter_map(Value::as_str).map(str::to_string).collect()
}

fn aggregated(answer: &Value) -> Vec<Resource> {
    let mut all = Vec::new();
    for group in meta::list_at(answer, &["items"]) {
        let group_name = meta::name(group);
        for version in meta::list_at(group, &["versions"]) {
            let version_name = meta::str_at(version, &["version"]);
            for resource in meta::list_at(version, &["resources"]) {
                let kind = meta::value_at(resource, &["responseKind"]).unwrap_or(&Value::Null);
                let or = |field: &str, other: &str| match meta::str_at(kind, &[field]) {
                    "" => other.to_string(),
                    text => text.to_string(),
                };
                all.push(Resource {
                    group: or("group", group_name),
                    version: or("version", version_name),
                    kind: meta::str_at(kind, &["kind"]).into(),
                    plural: meta::str_at(resource, &["resource"]).into(),
                    singular: meta::str_at(resource, &["singularResource"]).into(),
                    namespaced: meta::str_at(resource, &["scope"]) == "Namespaced",
                    verbs: texts(resource, "verbs"),
                    short_names: texts(resource, "shortNames"),
                    categories: texts(resource, "categories"),
                    subresources: Vec::new(),
                    storage: String::new(),
                    stored_as: Default::default(),
                });
            }
        }
    }
    all
}

/// `v1` of APIVersions, `apps/v1` of APIGroupList.
fn group_versions(answer: &Value) -> Vec<String> {
    if meta::str_at(answer, &["kind"]) == "APIVersions" {
        return texts(answer, "versions");
    }
    let groups = meta::list_at(answer, &["groups"]).iter();
    let versions = groups.flat_map(|group| meta::list_at(group, &["versions"]));
    versions.map(|version| meta::str_at(version, &["groupVersion"]).to_string()).collect()
}

fn plain(list: &Value) -> Vec<Resource> {
    let own = meta::str_at(list, &["groupVersion"]);
    let (group, version) = own.split_once('/').unwrap_or(("", own));
    let resource = |resource: &Value| {
        let name = meta::str_at(resource, &["name"]);
        let or = |field: &str, other: &str| match meta::str_at(resource, &[field]) {
            "" => other.to_string(),
            text => text.to_string(),
        };
        (!name.contains('/')).then(|| Resource {
            group: or("group", group),
            version: or("version", version),
            kind: meta::str_at(resource, &["kind"]).into(),
            plural: name.into(),
            singular: or("singularName", &meta::str_at(resource, &["kind"]).to_lowercase()),
            namespaced: resource.get("namespaced") == Some(&Value::Bool(true)),
            verbs: texts(resource, "verbs"),
            short_names: texts(resource, "shortNames"),
            categories: texts(resource, "categories"),
            subresources: Vec::new(),
            storage: String::new(),
            stored_as: Default::default(),
        })
    };
    meta::list_at(list, &["resources"]).iter().filter_map(resource).collect()
}

/// `/apis/apps/v1/namespaces/x/daemonsets`; of all namespaces, or of a cluster-scoped resource, without the namespace.
pub fn collection_path(resource: &Resource, namespace: Option<&str>) -> String {
    let root = if resource.group.is_empty() { "/api" } else { "/apis" };
    let api_version = resource.api_version();
    match namespace.filter(|_| resource.namespaced) {
        Some(namespace) => format!("{root}/{api_version}/namespaces/{namespace}/{}", resource.plural),
        None => format!("{root}/{api_version}/{}", resource.plural),
    }
}

pub fn object_path(resource: &Resource, namespace: Option<&str>, name: &str) -> String {
    format!("{}/{}", collection_path(resource, namespace), escaped(name))
}

/// `daemonset.apps`, `pod`.
pub fn kind_name(resource: &Resource) -> String {
    backstay_api::status::qualified(&resource.kind.to_lowercase(), &resource.group)
}

/// `daemonsets.apps`, `pods`.
pub fn resource_name(resource: &Resource) -> String {
    backstay_api::status::qualified(&resource.plural, &resource.group)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn words_name_resources() {
        let check = |word: &str, expected: Option<&str>| {
            let word = Word::parse(word);
            let found = resources::builtin().iter().find(|resource| word.names(resource));
            assert_eq!(found.map(resource_name).as_deref(), expected, "{word:?}");
        };
        for word in ["ds", "daemonset", "daemonsets", "DaemonSet", "ds.apps", "daemonsets.v1.apps"] {
            check(word, Some("daemonsets.apps"));
        }
        check("po", Some("pods"));
        check("pods.v1.", Some("pods"));
        check("pods.v1", Some("pods"));
        check("ev", Some("events"));
        check("events.events.k8s.io", Some("events.events.k8s.io"));
        check("role.rbac", Some("roles.rbac.authorization.k8s.io"));
        check("ds.v2.apps", None);
        check("nosuchtype", None);
    }

    #[test]
    fn unknown_types_are_named_without_their_group() {
        let expected = "error: the server doesn't have a resource type \"foos\"";
        assert_eq!(Word::parse("foos.v1.x.y").unknown().to_string(), expected);
    }

    #[test]
    fn both_forms_of_discovery_are_read() {
        let new = aggregated(&json!({"kind": "APIGroupDiscoveryList", "items": [{
            "metadata": {"name": "e.io"},
            "versions": [{"version": "v1", "resources": [{
                "resource": "foos", "responseKind": {"group": "e.io", "version": "v1", "kind": "Foo"},
                "scope": "Namespaced", "singularResource": "foo", "verbs": ["get"], "shortNames": ["fo"],
            }]}],
        }]}));
        let old = plain(&json!({"kind": "APIResourceList", "groupVersion": "e.io/v1", "resources": [
            {"name": "foos", "singularName": "foo", "namespaced": true, "kind": "Foo", "verbs": ["get"],
             "shortNames": ["fo"]},
            {"name": "foos/status", "namespaced": true, "kind": "Foo", "verbs": ["get"]},
        ]}));
        assert_eq!(new, old);
        assert_eq!(collection_path(&new[0], Some("a")), "/apis/e.io/v1/namespaces/a/foos");
        assert_eq!(object_path(&new[0], None, "x"), "/apis/e.io/v1/foos/x");
        let groups = json!({"kind": "APIGroupList", "groups": [{"versions": [{"groupVersion": "apps/v1"}]}]});
        assert_eq!(group_versions(&groups), ["apps/v1"]);
    }
}
