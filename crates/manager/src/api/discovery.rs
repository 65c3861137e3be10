//! Which resources a server serves, by the discovery documents that every version of Kubernetes knows.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{Api, ApiError, Resource};

/// A resource in the version that the server prefers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Served {
    pub resource: Resource,
    pub group: String,
    pub version: String,
    pub kind: String,
    pub namespaced: bool,
    pub verbs: BTreeSet<String>,
}

/// All that could be found out.
#[derive(Clone, Debug, Default)]
pub struct Discovered {
    /// In the server's order, each resource in one version only.
    pub served: Vec<Served>,
    /// Groups whose resources could not be read, with the reason; they are missing in `served`.
    pub failures: Vec<(String, String)>,
}

impl Served {
    pub fn has(&self, verbs: &[&str]) -> bool {
        verbs.iter().all(|verb| self.verbs.contains(*verb))
    }

    /// `configmaps`, `daemonsets.apps`.
    pub fn full_name(&self) -> String {
        match self.group.as_str() {
            "" => self.resource.plural.to_string(),
            group => format!("{}.{group}", self.resource.plural),
        }
    }
}

/// Reads the core group and all others. One group that does not answer does not hide the rest.
///
/// # Errors
/// If not even the groups can be listed.
pub async fn discover(api: &Api) -> Result<Discovered, ApiError> {
    let mut found = Discovered::default();
    let core: CoreVersions = read(api, "/api").await?;
    let groups: GroupList = read(api, "/apis").await?;
    add_group(api, &mut found, "", &core.versions).await;
    for group in groups.groups {
        let preferred = group.preferred_version.unwrap_or_default().version;
        let mut versions: Vec<String> = group.versions.into_iter().map(|version| version.version).collect();
        versions.sort_by_key(|version| *version != preferred);
        add_group(api, &mut found, &group.name, &versions).await;
    }
    Ok(found)
}

/// Versions come with the preferred one first; later ones only add resources that the earlier ones do not have.
async fn add_group(api: &Api, found: &mut Discovered, group: &str, versions: &[String]) {
    let begin = found.served.len();
    for version in versions {
        let root = Resource::named(group, version, "").root.to_string();
        let list: ResourceList = match read(api, &root).await {
            Ok(list) => list,
            Err(error) => {
                let what = root.trim_start_matches("/apis/").trim_start_matches("/api/");
                found.failures.push((group.to_string(), format!("{what}: {error}")));
                continue;
            }
        };
        for entry in list.resources.into_iter().filter(|entry| !entry.name.contains('/')) {
            if !found.served[begin..].iter().any(|known| known.resource.plural == entry.name) {
                found.served.push(Served {
                    resource: Resource::named(group, version, &entry.name),
                    group: group.into(),
                    version: version.clone(),
                    kind: entry.kind,
                    namespaced: entry.namespaced,
                    verbs: entry.verbs,
                });
            }
        }
    }
}

async fn read<T: DeserializeOwned>(api: &Api, path: &str) -> Result<T, ApiError> {
    Ok(serde_json::from_slice(&api.get(path).await?)?)
}

#[derive(Deserialize)]
struct CoreVersions {
    #[serde(default)]
    versions: Vec<String>,
}

#[derive(Deserialize)]
struct GroupList {
    #[serde(default)]
    groups: Vec<Group>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Group {
    name: String,
    #[serde(default)]
    versions: Vec<Version>,
    #[serde(default)]
    preferred_version: Option<Version>,
}

#[derive(Default, Deserialize)]
struct Version {
    version: String,
}

#[derive(Deserialize)]
struct ResourceList {
    #[serde(default)]
    resources: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    name: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    namespaced: bool,
    #[serde(default)]
    verbs: BTreeSet<String>,
}
