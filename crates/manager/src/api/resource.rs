//! Where objects are found.

use backstay_api::url::escaped_but;

/// One resource of the API.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Resource {
    /// `/api/v1`, `/apis/apps/v1`.
    pub root: std::borrow::Cow<'static, str>,
    pub plural: std::borrow::Cow<'static, str>,
}

pub const PODS: Resource = Resource::of("/api/v1", "pods");
pub const NAMESPACES: Resource = Resource::of("/api/v1", "namespaces");
pub const NODES: Resource = Resource::of("/api/v1", "nodes");
pub const EVENTS: Resource = Resource::of("/api/v1", "events");
pub const DAEMON_SETS: Resource = Resource::of("/apis/apps/v1", "daemonsets");
pub const CLUSTER_ROLES: Resource = Resource::of("/apis/rbac.authorization.k8s.io/v1", "clusterroles");
pub const CONTROLLER_REVISIONS: Resource = Resource::of("/apis/apps/v1", "controllerrevisions");
pub const CERTIFICATE_REQUESTS: Resource = Resource::of("/apis/certificates.k8s.io/v1", "certificatesigningrequests");
pub const SECRETS: Resource = Resource::of("/api/v1", "secrets");
pub const LEASES: Resource = Resource::of("/apis/coordination.k8s.io/v1", "leases");

impl Resource {
    pub const fn of(root: &'static str, plural: &'static str) -> Self {
        use std::borrow::Cow::Borrowed;
        Self { root: Borrowed(root), plural: Borrowed(plural) }
    }

    /// From group (empty for the core group), version and plural.
    pub fn named(group: &str, version: &str, plural: &str) -> Self {
        let root = if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") };
        Self { root: root.into(), plural: plural.to_string().into() }
    }

    /// All objects, of all namespaces.
    pub fn all(&self) -> String {
        format!("{}/{}", self.root, self.plural)
    }

    /// The objects of one namespace; of a cluster-scoped resource if that is empty.
    pub fn in_namespace(&self, namespace: &str) -> String {
        match namespace {
            "" => self.all(),
            namespace => format!("{}/namespaces/{}/{}", self.root, escape(namespace), self.plural),
        }
    }

    pub fn object(&self, namespace: &str, name: &str) -> String {
        format!("{}/{}", self.in_namespace(namespace), escape(name))
    }
}

/// The pods of all namespaces that are on a node.
pub fn pods_of_node(node: &str) -> String {
    format!("{}?fieldSelector={}", PODS.all(), escape(&format!("spec.nodeName={node}")))
}

/// A path segment or query value with everything escaped that could mean something else there.
pub fn escape(text: &str) -> String {
    // Names of roles are full of colons, which mean nothing there.
    escaped_but(text, ":")
}
