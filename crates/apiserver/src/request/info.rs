//! From method and path to what is wanted, by the rules of Kubernetes' `RequestInfo`.

use backstay_api::selector::FieldSelector;
use http::Method;

use super::query::{Query, percent};

/// A request as authorization and routing see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestInfo {
    /// The path, decoded.
    pub path: String,
    pub intent: Intent,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Intent {
    /// Something below `/api/{version}` or `/apis/{group}/{version}`.
    Resource { verb: Verb, target: Target },
    /// Discovery, health, version...; the verb is the method in lower case.
    NonResource { verb: String },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    Get,
    List,
    Watch,
    Create,
    Update,
    Patch,
    Delete,
    DeleteCollection,
}

/// Which resource, and which object of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    pub group: String,
    pub version: String,
    /// Plural, as in the path.
    pub resource: String,
    pub namespace: Option<String>,
    pub name: Option<String>,
    pub subresource: Option<String>,
    /// The one object that a list or a watch selects by `metadata.name`: rights to it are enough.
    pub selected: Option<String>,
    /// What follows the subresource (proxy paths).
    pub rest: Vec<String>,
}

impl Verb {
    pub fn as_str(self) -> &'static str {
        match self {
            Verb::Get => "get",
            Verb::List => "list",
            Verb::Watch => "watch",
            Verb::Create => "create",
            Verb::Update => "update",
            Verb::Patch => "patch",
            Verb::Delete => "delete",
            Verb::DeleteCollection => "deletecollection",
        }
    }

    pub fn is_read(self) -> bool {
        matches!(self, Verb::Get | Verb::List | Verb::Watch)
    }
}

impl Target {
    /// What is asked for lives on as a connection to a container.
    pub fn is_connection(&self) -> bool {
        matches!(self.subresource.as_deref(), Some("exec" | "attach" | "portforward"))
    }
}

impl RequestInfo {
    pub fn parse(method: &Method, path: &str, query: &Query) -> Self {
        let path = percent(path);
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let intent = match resource(method, &parts, query) {
            Some((verb, target)) => Intent::Resource { verb, target },
            None => Intent::NonResource { verb: method.as_str().to_ascii_lowercase() },
        };
        Self { path, intent }
    }
}

fn resource(method: &Method, parts: &[&str], query: &Query) -> Option<(Verb, Target)> {
    let (group, version, mut rest) = match parts {
        ["api", version, rest @ ..] if !rest.is_empty() => ("", *version, rest),
        ["apis", group, version, rest @ ..] if !rest.is_empty() => (*group, *version, rest),
        _ => return None,
    };
    let verb = match *method {
        Method::POST => Verb::Create,
        Method::GET | Method::HEAD => Verb::Get,
        Method::PUT => Verb::Update,
        Method::PATCH => Verb::Patch,
        Method::DELETE => Verb::Delete,
        _ => return None,
    };
    let legacy_watch = verb == Verb::Get && rest[0] == "watch" && rest.len() > 1;
    if legacy_watch {
        rest = &rest[1..];
    }
    let mut target = target(rest);
    (target.group, target.version) = (group.to_string(), version.to_string());
    let verb = refine(verb, legacy_watch, &mut target, query);
    Some((verb, target))
}

fn target(parts: &[&str]) -> Target {
    let (namespace, parts) = match parts {
        // `namespaces/x/status` is a subresource of the namespace, not a resource inside it.
        ["namespaces", name, inside @ ..] => match inside {
            [] => (Some(*name), parts),
            ["status" | "finalize", ..] => (Some(*name), parts),
            _ => (Some(*name), inside),
        },
        _ => (None, parts),
    };
    let own = |part: Option<&&str>| part.map(|part| part.to_string());
    Target {
        resource: own(parts.first()).unwrap_or_default(),
        namespace: own(namespace.as_ref()),
        name: own(parts.get(1)),
        subresource: own(parts.get(2)),
        rest: parts.iter().skip(3).map(|part| part.to_string()).collect(),
        ..Target::default()
    }
}

/// A GET without a name is a list or a watch; a DELETE without a name means the collection.
fn refine(verb: Verb, legacy_watch: bool, target: &mut Target, query: &Query) -> Verb {
    let collection = target.name.is_none();
    if collection && verb == Verb::Get {
        target.selected = selected(query);
    }
    match verb {
        Verb::Get if legacy_watch || (collection && query.flag("watch")) => Verb::Watch,
        Verb::Get if collection => Verb::List,
        Verb::Delete if collection => Verb::DeleteCollection,
        verb => verb,
    }
}

fn selected(query: &Query) -> Option<String> {
    let selector = FieldSelector::parse(query.text("fieldSelector")).ok()?;
    let term = selector.terms.into_iter().find(|term| term.equal && term.field == "metadata.name")?;
    Some(term.value).filter(|name| !name.is_empty() && !name.contains('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `METHOD path` on the left; verb, group/version, namespace, resource, name, subresource on the right.
    fn check(method: Method, path: &str, expected: &str) {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let info = RequestInfo::parse(&method, path, &Query::parse(query));
        let seen = match info.intent {
            Intent::NonResource { verb } => format!("{verb} {}", info.path),
            Intent::Resource { verb, target } => {
                let show = |part: Option<String>| part.unwrap_or_else(|| "-".into());
                let names = [show(target.namespace), target.resource, show(target.name), show(target.subresource)];
                format!("{} {}/{} {}", verb.as_str(), target.group, target.version, names.join(" "))
            }
        };
        assert_eq!(seen, expected, "{method} {path}?{query}");
    }

    #[test]
    fn paths_are_understood() {
        check(Method::GET, "/api", "get /api");
        check(Method::GET, "/apis/apps/v1", "get /apis/apps/v1");
        check(Method::GET, "/api/v1/pods", "list /v1 - pods - -");
        check(Method::GET, "/api/v1/pods?watch=1", "watch /v1 - pods - -");
        check(Method::GET, "/api/v1/watch/namespaces/a/pods/p", "watch /v1 a pods p -");
        check(Method::GET, "/api/v1/namespaces/a", "get /v1 a namespaces a -");
        check(Method::PUT, "/api/v1/namespaces/a/finalize", "update /v1 a namespaces a finalize");
        check(Method::GET, "/api/v1/namespaces/a/pods", "list /v1 a pods - -");
        check(Method::PATCH, "/apis/apps/v1/namespaces/a/daemonsets/d/status", "patch apps/v1 a daemonsets d status");
        check(Method::DELETE, "/api/v1/namespaces/a/pods", "deletecollection /v1 a pods - -");
        check(Method::GET, "/api/v1/namespaces/a/pods/p%20q/log", "get /v1 a pods p q log");
        let name = |path: &str, method: Method| {
            let (path, query) = path.split_once('?').unwrap_or((path, ""));
            match RequestInfo::parse(&method, path, &Query::parse(query)).intent {
                Intent::Resource { target, .. } => target.selected,
                Intent::NonResource { .. } => None,
            }
        };
        let path = "/api/v1/namespaces/a/pods?fieldSelector=metadata.name%3Dp";
        assert_eq!(name(path, Method::GET).as_deref(), Some("p"));
        assert_eq!(name(path, Method::DELETE), None, "a collection is deleted as a whole");
        check(Method::OPTIONS, "/api/v1/pods", "options /api/v1/pods");
    }
}
