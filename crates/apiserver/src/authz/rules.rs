//! What one rule allows. Source: `k8s.io/kubernetes/pkg/apis/rbac` and `pkg/registry/rbac/validation`.

use std::fmt;

use backstay_api::go;
use serde::{Deserialize, Serialize};

use super::objects::or_default;
use super::{Action, Attributes, Resource};

const ALL: &str = "*";

/// One rule of a role: these verbs on these resources (of these groups, with these names), or on these paths.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyRule {
    #[serde(default, deserialize_with = "or_default")]
    pub verbs: Vec<String>,
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub api_groups: Vec<String>,
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<String>,
    /// Empty: all names, and requests without one.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub resource_names: Vec<String>,
    #[serde(
        default,
        rename = "nonResourceURLs",
        deserialize_with = "or_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub non_resource_urls: Vec<String>,
}

impl PolicyRule {
    pub fn allows(&self, attributes: &Attributes<'_>) -> bool {
        has(&self.verbs, attributes.verb)
            && match &attributes.action {
                Action::Path(path) => self.non_resource_urls.iter().any(|pattern| covers_path(pattern, path)),
                Action::Resource(resource) => self.allows_resource(resource),
            }
    }

    fn allows_resource(&self, resource: &Resource<'_>) -> bool {
        has(&self.api_groups, resource.group)
            && self.resources.iter().any(|pattern| covers_resource(pattern, resource.resource, resource.subresource))
            && (self.resource_names.is_empty() || self.resource_names.iter().any(|name| name == resource.name))
    }

    /// Whether this rule alone allows everything that the other one allows.
    pub fn covers(&self, other: &PolicyRule) -> bool {
        let all = |own: &[String], wanted: &[String]| wanted.iter().all(|wanted| has(own, wanted));
        let resources = other.resources.iter().all(|wanted| {
            let (resource, subresource) = wanted.split_once('/').unwrap_or((wanted, ""));
            self.resources.iter().any(|pattern| covers_resource(pattern, resource, subresource))
        });
        let names = match (self.resource_names.is_empty(), other.resource_names.is_empty()) {
            (true, _) => true,
            (false, true) => false,
            (false, false) => other.resource_names.iter().all(|name| self.resource_names.contains(name)),
        };
        let paths = other.non_resource_urls.iter();
        all(&self.verbs, &other.verbs)
            && all(&self.api_groups, &other.api_groups)
            && resources
            && names
            && paths.into_iter().all(|path| self.non_resource_urls.iter().any(|pattern| covers_path(pattern, path)))
    }

    /// How many rules [`PolicyRule::singles`] would give.
    pub fn count(&self) -> usize {
        let objects = self.api_groups.len().saturating_mul(self.resources.len());
        let objects = objects.saturating_mul(self.resource_names.len().max(1));
        self.verbs.len().saturating_mul(objects.saturating_add(self.non_resource_urls.len()))
    }

    /// The same rights as rules with one verb, group, resource, name or path each.
    pub fn singles(&self) -> Vec<PolicyRule> {
        let one = |text: &String| vec![text.clone()];
        let mut singles = Vec::new();
        for verb in &self.verbs {
            for group in &self.api_groups {
                for resource in &self.resources {
                    let single = PolicyRule {
                        verbs: one(verb),
                        api_groups: one(group),
                        resources: one(resource),
                        ..PolicyRule::default()
                    };
                    match self.resource_names.as_slice() {
                        [] => singles.push(single),
                        names => singles.extend(
                            names.iter().map(|name| PolicyRule { resource_names: one(name), ..single.clone() }),
                        ),
                    }
                }
            }
            singles.extend(self.non_resource_urls.iter().map(|path| PolicyRule {
                verbs: one(verb),
                non_resource_urls: one(path),
                ..PolicyRule::default()
            }));
        }
        singles
    }
}

impl fmt::Display for PolicyRule {
    /// `{APIGroups:["apps"], Resources:["daemonsets"], Verbs:["get"]}`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            ("APIGroups", &self.api_groups),
            ("Resources", &self.resources),
            ("NonResourceURLs", &self.non_resource_urls),
            ("ResourceNames", &self.resource_names),
            ("Verbs", &self.verbs),
        ];
        let parts = parts.iter().filter(|(_, texts)| !texts.is_empty());
        let parts: Vec<String> = parts.map(|(name, texts)| format!("{name}:{}", quoted(texts))).collect();
        write!(f, "{{{}}}", parts.join(", "))
    }
}

/// A list of strings as Go prints it with `%q`: `["a" "b"]`.
pub fn quoted(texts: &[String]) -> String {
    let texts: Vec<String> = texts.iter().map(|text| go::quote(text)).collect();
    format!("[{}]", texts.join(" "))
}

fn has(own: &[String], wanted: &str) -> bool {
    own.iter().any(|own| own == ALL || own == wanted)
}

/// `*` is everything, `*/status` that subresource of everything; `pods` does not include `pods/log`.
fn covers_resource(pattern: &str, resource: &str, subresource: &str) -> bool {
    match pattern.split_once('/') {
        None => pattern == ALL || (subresource.is_empty() && pattern == resource),
        Some((of, sub)) => !subresource.is_empty() && sub == subresource && (of == ALL || of == resource),
    }
}

fn covers_path(pattern: &str, path: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => path.starts_with(prefix),
        None => pattern == path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::UserInfo;

    fn rule(text: &str) -> PolicyRule {
        serde_json::from_str(text).expect("a rule")
    }

    /// `verb group resource[/subresource] [name]` or `verb /path`.
    fn check(rule: &PolicyRule, request: &str, expected: bool) {
        let words: Vec<&str> = request.split(' ').collect();
        let user = UserInfo::new("u", &[]);
        let action = match words[1..] {
            [path] => Action::Path(path),
            [group, resource, ..] => {
                let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
                let group = if group == "core" { "" } else { group };
                let name = words.get(3).copied().unwrap_or_default();
                Action::Resource(Resource { group, resource, subresource, namespace: "d", name })
            }
            [] => panic!("no action in {request}"),
        };
        let allowed = rule.allows(&Attributes { user: &user, verb: words[0], action });
        assert_eq!(allowed, expected, "{request} by {rule}");
    }

    #[test]
    fn resources() {
        let pods = rule(r#"{"verbs":["get","list"],"apiGroups":[""],"resources":["pods","pods/log"]}"#);
        check(&pods, "get core pods", true);
        check(&pods, "get core pods/log p", true);
        check(&pods, "get core pods/status", false);
        check(&pods, "delete core pods", false);
        check(&pods, "get apps pods", false);
        check(&pods, "get /pods", false);
        let named = rule(r#"{"verbs":["*"],"apiGroups":["*"],"resources":["*/scale"],"resourceNames":["a"]}"#);
        check(&named, "update apps daemonsets/scale a", true);
        check(&named, "update apps daemonsets/scale b", false);
        check(&named, "create apps daemonsets/scale", false);
        check(&named, "update apps daemonsets a", false);
        let all = rule(r#"{"verbs":["*"],"apiGroups":["*"],"resources":["*"]}"#);
        check(&all, "delete core pods/status x", true);
        check(&all, "get /metrics", false);
        let nothing = rule(r#"{"verbs":["*"],"apiGroups":null}"#);
        check(&nothing, "get core pods", false);
    }

    #[test]
    fn paths() {
        let some = rule(r#"{"verbs":["get"],"nonResourceURLs":["/healthz","/api/*"]}"#);
        check(&some, "get /healthz", true);
        check(&some, "get /healthz/", false);
        check(&some, "get /api", false);
        check(&some, "get /api/", true);
        check(&some, "get /api/v1/x", true);
        check(&some, "post /healthz", false);
        check(&rule(r#"{"verbs":["*"],"nonResourceURLs":["*"]}"#), "post /x", true);
    }

    #[test]
    fn covering() {
        let own = rule(r#"{"verbs":["get","list"],"apiGroups":["apps"],"resources":["daemonsets","*/status"]}"#);
        let covered = |wanted: &str| rule(wanted).singles().iter().all(|single| own.covers(single));
        assert!(covered(r#"{"verbs":["get"],"apiGroups":["apps"],"resources":["daemonsets","deployments/status"]}"#));
        assert!(covered(r#"{"verbs":["get"],"apiGroups":["apps"],"resources":["daemonsets"],"resourceNames":["a"]}"#));
        assert!(!covered(r#"{"verbs":["*"],"apiGroups":["apps"],"resources":["daemonsets"]}"#));
        assert!(!covered(r#"{"verbs":["get"],"apiGroups":["apps"],"resources":["*"]}"#));
        assert!(!covered(r#"{"verbs":["get"],"nonResourceURLs":["/x"]}"#));
        let text = own.to_string();
        assert_eq!(text, r#"{APIGroups:["apps"], Resources:["daemonsets" "*/status"], Verbs:["get" "list"]}"#);
    }
}
