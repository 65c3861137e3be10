//! The resources that a server serves: names, scope, verbs, subresources, short names and categories.

mod facts;

use std::sync::LazyLock;

use crate::GroupVersionKind;

/// One served resource of one group and version, as discovery tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    pub group: String,
    pub version: String,
    pub kind: String,
    /// Plural, as in paths: `daemonsets`.
    pub plural: String,
    /// `daemonset`.
    pub singular: String,
    pub namespaced: bool,
    pub verbs: Vec<String>,
    pub short_names: Vec<String>,
    pub categories: Vec<String>,
    pub subresources: Vec<Subresource>,
    /// Where objects of this resource are kept: the same for all versions of one resource, and for the two groups of
    /// Event. As in `apps/daemonsets`.
    pub storage: String,
    /// What objects are kept as, wherever they came in: the events of both groups are core events, and a custom
    /// resource has one stored version. `None`: never kept (reviews), or computed (component statuses).
    pub stored_as: Option<GroupVersionKind>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subresource {
    /// `status`, `log`, `binding`...
    pub name: String,
    pub kind: GroupVersionKind,
    pub verbs: Vec<String>,
}

impl Resource {
    pub fn gvk(&self) -> GroupVersionKind {
        GroupVersionKind::new(&self.group, &self.version, &self.kind)
    }

    /// `apps/v1`.
    pub fn api_version(&self) -> String {
        crate::ident::api_version(&self.group, &self.version)
    }

    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|subresource| subresource.name == name)
    }
}

/// All built-in resources, in discovery order.
pub fn builtin() -> &'static [Resource] {
    static RESOURCES: LazyLock<Vec<Resource>> = LazyLock::new(facts::read);
    &RESOURCES
}

/// The built-in resource of a kind.
pub fn of_kind(gvk: &GroupVersionKind) -> Option<&'static Resource> {
    builtin()
        .iter()
        .find(|resource| resource.kind == gvk.kind && resource.version == gvk.version && resource.group == gvk.group)
}
