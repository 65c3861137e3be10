//! Reads `facts/resources.tsv`; the file's own head says what its columns are.

use super::{Resource, Subresource};
use crate::GroupVersionKind;

const RESOURCES: &str = include_str!("../facts/resources.tsv");

const ALL_VERBS: &str = "create,delete,deletecollection,get,list,patch,update,watch";

/// Verbs of a subresource that is read and written like the object itself.
const SUBRESOURCE_VERBS: &str = "get,patch,update";

/// The facts are ours: a row that cannot be read is a bug, and a test reads them all.
pub fn read() -> Vec<Resource> {
    RESOURCES.lines().filter(|line| !line.starts_with('#')).map(resource).collect()
}

fn resource(line: &str) -> Resource {
    let mut columns = line.split('\t');
    let mut next = || columns.next().unwrap_or_default();
    let (group_version, plural, kind, scope, verbs) = (next(), next(), next(), next(), next());
    let (short_names, categories, stored_as, subresources) = (next(), next(), next(), next());
    let own = GroupVersionKind::from_api_version(group_version, kind).expect("a group and a version");
    let stored_as = match stored_as {
        "." => Some(own.clone()),
        "-" => None,
        other => Some(gvk(other)),
    };
    Resource {
        plural: plural.into(),
        singular: kind.to_lowercase(),
        namespaced: scope == "namespaced",
        verbs: list(if verbs == "all" { ALL_VERBS } else { verbs }),
        short_names: list(short_names),
        categories: list(categories),
        subresources: subresources.split_terminator(' ').map(|text| subresource(&own, text)).collect(),
        storage: storage(stored_as.as_ref().unwrap_or(&own), plural),
        stored_as,
        group: own.group,
        version: own.version,
        kind: own.kind,
    }
}

fn storage(stored_as: &GroupVersionKind, plural: &str) -> String {
    if stored_as.group.is_empty() { plural.to_string() } else { format!("{}/{plural}", stored_as.group) }
}

fn subresource(own: &GroupVersionKind, text: &str) -> Subresource {
    let Some((name, rest)) = text.split_once('=') else {
        return Subresource { name: text.into(), kind: own.clone(), verbs: list(SUBRESOURCE_VERBS) };
    };
    let (kind, verbs) = rest.split_once(':').expect("a subresource has kind and verbs");
    Subresource { name: name.into(), kind: gvk(kind), verbs: list(verbs) }
}

/// From `apps/v1/DaemonSet` or `v1/Pod`.
fn gvk(text: &str) -> GroupVersionKind {
    let parsed =
        text.rsplit_once('/').and_then(|(group_version, kind)| GroupVersionKind::from_api_version(group_version, kind));
    parsed.expect("group, version and kind")
}

fn list(text: &str) -> Vec<String> {
    if text == "." { Vec::new() } else { text.split(',').map(str::to_string).collect() }
}

#[cfg(test)]
mod tests {
    use crate::resources::builtin;
    use crate::schema;

    #[test]
    fn every_resource_has_a_type() {
        for resource in builtin() {
            assert!(schema::type_of(&resource.gvk()).is_some(), "{:?}", resource.gvk());
        }
    }

    #[test]
    fn every_stored_kind_in_the_schema_is_served() {
        let schema = schema::builtin();
        let unserved = |name: &&str| {
            let gvk = schema.find(name).and_then(|id| schema.get(id).gvk.as_ref());
            gvk.and_then(crate::resources::of_kind).is_none()
        };
        let missing: Vec<&str> = schema.kinds().filter(unserved).collect();
        // These are taken and given by subresources and in answers only.
        let elsewhere = "apidiscovery.v2.APIGroupDiscoveryList apidiscovery.v2beta1.APIGroupDiscoveryList \
            authentication.v1.TokenRequest autoscaling.v1.Scale meta.v1.APIGroup meta.v1.APIGroupList \
            meta.v1.APIResourceList meta.v1.APIVersions meta.v1.DeleteOptions meta.v1.Status policy.v1.Eviction";
        assert_eq!(missing.join(" "), elsewhere);
    }

    #[test]
    fn events_of_both_groups_share_one_storage() {
        let events: Vec<_> = builtin().iter().filter(|resource| resource.plural == "events").collect();
        assert_eq!(events.len(), 2);
        for resource in events {
            assert_eq!(resource.storage, "events");
            assert_eq!(resource.stored_as.as_ref().map(|gvk| gvk.api_version()).as_deref(), Some("v1"));
        }
    }

    #[test]
    fn subresources_of_pods_and_daemonsets() {
        let names = |plural: &str| {
            let resource = builtin().iter().find(|resource| resource.plural == plural).expect("a built-in resource");
            resource.subresources.iter().map(|subresource| subresource.name.as_str()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(
            names("pods"),
            "attach binding ephemeralcontainers eviction exec log portforward proxy resize status"
        );
        assert_eq!(names("daemonsets"), "status");
        assert_eq!(names("namespaces"), "finalize status");
    }
}
