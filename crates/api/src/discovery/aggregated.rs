//! The aggregated form: everything in two documents, one at `/api` and one at `/apis`.

use serde_json::{Value, json};

use super::order::{self, Versions};
use crate::GroupVersionKind;
use crate::resources::{self, Resource, Subresource};

/// The versions of the aggregated form; kubectl before 1.30 knows the first only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aggregated {
    V2Beta1,
    V2,
}

impl Aggregated {
    pub fn version(self) -> &'static str {
        match self {
            Aggregated::V2Beta1 => "v2beta1",
            Aggregated::V2 => "v2",
        }
    }

    /// The parameters of the content type, by which clients recognise the form.
    pub fn parameters(self) -> String {
        format!("g=apidiscovery.k8s.io;v={};as=APIGroupDiscoveryList", self.version())
    }
}

/// `GET /api` (`core`: the core group only) or `GET /apis` (all others).
pub fn aggregated(resources: &[&Resource], form: Aggregated, core: bool) -> Value {
    let groups = order::groups(resources);
    let wanted = groups.iter().filter(|(name, _)| name.is_empty() == core);
    let items: Vec<Value> = wanted.map(|(name, versions)| one_group(name, versions)).collect();
    let api_version = format!("apidiscovery.k8s.io/{}", form.version());
    json!({"kind": "APIGroupDiscoveryList", "apiVersion": api_version, "metadata": {}, "items": items})
}

fn one_group(name: &str, versions: &Versions<'_>) -> Value {
    let versions = versions.iter().map(|(version, resources)| {
        let resources: Vec<Value> = resources.iter().map(|resource| one_resource(resource)).collect();
        json!({"version": version, "resources": resources, "freshness": "Current"})
    });
    let versions: Vec<Value> = versions.collect();
    let metadata = if name.is_empty() { json!({}) } else { json!({"name": name}) };
    json!({"metadata": metadata, "versions": versions})
}

fn one_resource(resource: &Resource) -> Value {
    let subresources: Vec<Value> =
        resource.subresources.iter().map(|subresource| one_subresource(resource, subresource)).collect();
    let mut entry = json!({
        "resource": resource.plural, "responseKind": response_kind(resource, &resource.gvk()),
        "scope": if resource.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": resource.singular, "verbs": resource.verbs,
    });
    let fields = entry.as_object_mut().expect("an object literal");
    for (name, list) in [("shortNames", &resource.short_names), ("categories", &resource.categories)] {
        if !list.is_empty() {
            fields.insert(name.into(), json!(list));
        }
    }
    if !subresources.is_empty() {
        fields.insert("subresources".into(), subresources.into());
    }
    entry
}

fn one_subresource(resource: &Resource, subresource: &Subresource) -> Value {
    json!({
        "subresource": subresource.name, "responseKind": response_kind(resource, &subresource.kind),
        "verbs": subresource.verbs,
    })
}

/// Built-in resources leave group and version empty where they are those of the document; custom ones tell them.
fn response_kind(resource: &Resource, kind: &GroupVersionKind) -> Value {
    let same = kind.group == resource.group && kind.version == resource.version;
    if same && resources::of_kind(&resource.gvk()).is_some() {
        return json!({"group": "", "version": "", "kind": kind.kind});
    }
    json!({"group": kind.group, "version": kind.version, "kind": kind.kind})
}
