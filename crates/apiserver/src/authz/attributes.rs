//! A request as authorization sees it, and the words of a refusal.

use backstay_api::Status;
use backstay_api::status::{Details, Reason};

use crate::UserInfo;

/// Somebody wants to do something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attributes<'a> {
    pub user: &'a UserInfo,
    /// `get`, `list`, `create`...; the HTTP method in lower case for paths.
    pub verb: &'a str,
    pub action: Action<'a>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action<'a> {
    Resource(Resource<'a>),
    /// Anything that is not a resource: `/version`, `/metrics`.
    Path(&'a str),
}

/// What a request is about; every part may be empty. An empty namespace is the cluster scope.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resource<'a> {
    pub group: &'a str,
    /// Plural: `daemonsets`.
    pub resource: &'a str,
    pub subresource: &'a str,
    pub namespace: &'a str,
    pub name: &'a str,
}

impl Attributes<'_> {
    /// The namespace, or `""` for the cluster scope and for paths.
    pub fn namespace(&self) -> &str {
        match &self.action {
            Action::Resource(resource) => resource.namespace,
            Action::Path(_) => "",
        }
    }

    /// What was refused, in Kubernetes' words: `User "x" cannot list resource "pods" in API group "" in the ...`.
    pub fn refusal(&self) -> String {
        let (user, verb) = (&self.user.name, self.verb);
        let resource = match &self.action {
            Action::Path(path) => return format!("User {user:?} cannot {verb} path {path:?}"),
            Action::Resource(resource) => resource,
        };
        let what = resource.with_subresource();
        let place = match resource.namespace {
            "" => "at the cluster scope".to_string(),
            namespace => format!("in the namespace {namespace:?}"),
        };
        format!("User {user:?} cannot {verb} resource {what:?} in API group {:?} {place}", resource.group)
    }
}

impl Resource<'_> {
    /// `pods` or `pods/log`.
    pub fn with_subresource(&self) -> String {
        match self.subresource {
            "" => self.resource.to_string(),
            subresource => format!("{}/{subresource}", self.resource),
        }
    }
}

/// The 403 for a request that is not allowed; `reason` is what the authorizer adds, mostly nothing.
pub fn forbidden(attributes: &Attributes<'_>, reason: &str) -> Status {
    // Kubernetes escapes the part that the client wrote, and only that.
    let refusal = attributes.refusal().replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let why = if reason.is_empty() { refusal } else { format!("{refusal}: {reason}") };
    match &attributes.action {
        Action::Resource(Resource { group, resource, name, .. }) => Status::forbidden(group, resource, name, &why),
        Action::Path(_) => Status::new(Reason::Forbidden, format!("forbidden: {why}")).details(Details::default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(verb: &str, action: Action<'_>, reason: &str, expected: &str) {
        let user = UserInfo::new("nobody", &[]);
        let status = forbidden(&Attributes { user: &user, verb, action }, reason);
        assert_eq!((status.code(), status.message()), (403, expected));
    }

    #[test]
    fn words_of_a_refusal() {
        let pods = Resource { resource: "pods", namespace: "d", ..Resource::default() };
        check(
            "list",
            Action::Resource(pods.clone()),
            "",
            "pods is forbidden: User \"nobody\" cannot list resource \"pods\" in API group \"\" in the namespace \"d\"",
        );
        check(
            "patch",
            Action::Resource(Resource {
                group: "apps",
                resource: "daemonsets",
                subresource: "status",
                name: "d",
                ..Resource::default()
            }),
            "",
            "daemonsets.apps \"d\" is forbidden: User \"nobody\" cannot patch resource \"daemonsets/status\" in API \
             group \"apps\" at the cluster scope",
        );
        check("get", Action::Path("/a<b"), "", "forbidden: User \"nobody\" cannot get path \"/a&lt;b\"");
        check(
            "get",
            Action::Resource(Resource { name: "p", ..pods }),
            "RBAC: role.rbac.authorization.k8s.io \"r\" not found",
            "pods \"p\" is forbidden: User \"nobody\" cannot get resource \"pods\" in API group \"\" in the namespace \
             \"d\": RBAC: role.rbac.authorization.k8s.io \"r\" not found",
        );
    }
}
