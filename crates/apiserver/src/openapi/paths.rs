//! The paths of a document, with their operations.

use backstay_api::resources::{Resource, Subresource};
use serde_json::{Map, Value};

use super::operations::{self, Target};
use super::{Kind, names, parameters};

/// `paths`.
pub fn all(kinds: &[Kind<'_>]) -> Map<String, Value> {
    let mut paths = Map::new();
    for kind in kinds {
        add(&mut paths, kind);
    }
    paths
}

fn add(paths: &mut Map<String, Value>, kind: &Kind<'_>) {
    let Resource { group, version, plural, namespaced, subresources, .. } = kind.resource;
    let root = format!("/{}", names::root(group, version));
    let main = Target { kind, subresource: None, all_namespaces: false };
    let collection =
        if *namespaced { format!("{root}/namespaces/{{namespace}}/{plural}") } else { format!("{root}/{plural}") };
    let can = |verb: &str| kind.resource.verbs.iter().any(|other| other == verb);
    let on_collection = [("list", "list"), ("create", "post"), ("deletecollection", "deletecollection")];
    add_path(paths, &collection, main, chosen(&on_collection, can));
    if *namespaced && can("list") {
        let everywhere = Target { all_namespaces: true, ..main };
        add_path(paths, &format!("{root}/{plural}"), everywhere, vec!["list"]);
    }
    let one = format!("{collection}/{{name}}");
    let on_one = [("get", "get"), ("update", "put"), ("patch", "patch"), ("delete", "delete")];
    add_path(paths, &one, main, chosen(&on_one, can));
    for subresource in subresources {
        let target = Target { subresource: Some(subresource), ..main };
        add_path(paths, &format!("{one}/{}", subresource.name), target, subresource_actions(subresource));
    }
}

fn subresource_actions(subresource: &Subresource) -> Vec<&'static str> {
    let can = |verb: &str| subresource.verbs.iter().any(|other| other == verb);
    let all = [("get", "get"), ("create", "post"), ("update", "put"), ("patch", "patch"), ("delete", "delete")];
    chosen(&all, can)
}

fn chosen(actions: &[(&str, &'static str)], can: impl Fn(&str) -> bool) -> Vec<&'static str> {
    actions.iter().filter(|(verb, _)| can(verb)).map(|(_, action)| *action).collect()
}

fn add_path(paths: &mut Map<String, Value>, path: &str, target: Target<'_>, actions: Vec<&str>) {
    if actions.is_empty() {
        return;
    }
    let mut item: Map<String, Value> =
        actions.into_iter().map(|action| operations::operation(target, action)).collect();
    item.insert("parameters".into(), parameters::of_path(path).into());
    paths.insert(path.to_string(), item.into());
}
