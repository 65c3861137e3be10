//! Nobody can grant what they do not have. Source: `k8s.io/kubernetes/pkg/registry/rbac`.
//!
//! Writing a role takes its rules, or the verb `escalate` on it; writing a binding takes the rules of its role, or the
//! verb `bind` on that role.

use std::collections::{BTreeSet, HashMap};

use backstay_api::{Status, meta};
use serde_json::Value;

use super::objects::GROUP;
use super::rules::quoted;
use super::{Action, Attributes, PolicyRule, Resource, RuleIndex};
use crate::UserInfo;
use crate::identity::MASTERS;

/// Rules that are not held as a whole are compared one verb, group, resource and name at a time. A body of 3 MiB could
/// spell out billions of these; the largest role of Kubernetes itself is a few hundred.
const SINGLES_MAX: usize = 20_000;

/// Whether `user` may write this object; only RBAC kinds are refused. `old` is what it replaces.
///
/// # Errors
/// `Forbidden`, with the rights that are missing. `NotFound` if a binding names a role that does not exist.
pub fn check(index: &RuleIndex, user: &UserInfo, object: &Value, old: Option<&Value>) -> Result<(), Status> {
    let group = meta::str_at(object, &["apiVersion"]).split('/').next();
    if group != Some(GROUP) || user.is_in(MASTERS) || old.is_some_and(|old| same_rights(object, old)) {
        return Ok(());
    }
    let writer = Writer { index, user, namespace: meta::namespace(object).unwrap_or_default() };
    match meta::str_at(object, &["kind"]) {
        "Role" => writer.check_role("roles", object, old),
        "ClusterRole" => writer.check_role("clusterroles", object, old),
        "RoleBinding" => writer.check_binding("rolebindings", object),
        "ClusterRoleBinding" => writer.check_binding("clusterrolebindings", object),
        _ => Ok(()),
    }
}

/// The garbage collector must be able to let go of objects whose rights it does not hold.
fn same_rights(object: &Value, old: &Value) -> bool {
    let essence = |object: &Value| {
        let mut object = object.clone();
        for field in ["finalizers", "ownerReferences", "managedFields", "resourceVersion"] {
            meta::remove_meta(&mut object, field);
        }
        object
    };
    essence(object) == essence(old)
}

struct Writer<'a> {
    index: &'a RuleIndex,
    user: &'a UserInfo,
    namespace: &'a str,
}

impl Writer<'_> {
    fn check_role(&self, plural: &str, role: &Value, old: Option<&Value>) -> Result<(), Status> {
        // A new object's name is not in the path, so `escalate` on certain names does not help to create.
        let path_name = if old.is_some() { meta::name(role) } else { "" };
        if self.may("escalate", plural, path_name) {
            return Ok(());
        }
        let name = meta::name(role);
        self.holds(&rules_of(role)).map_err(|why| Status::forbidden(GROUP, plural, name, &why))?;
        if meta::value_at(role, &["aggregationRule"]).is_some() {
            let why = "must have cluster-admin privileges to use an aggregationRule";
            self.holds(&everything()).map_err(|_| Status::forbidden(GROUP, plural, name, why))?;
        }
        Ok(())
    }

    fn check_binding(&self, plural: &str, binding: &Value) -> Result<(), Status> {
        let (kind, role) = (meta::str_at(binding, &["roleRef", "kind"]), meta::str_at(binding, &["roleRef", "name"]));
        if self.may("bind", if kind == "Role" { "roles" } else { "clusterroles" }, role) {
            return Ok(());
        }
        let rules = self.index.role(kind, role, self.namespace);
        let rules = rules.map_err(|_| Status::not_found(GROUP, &kind.to_lowercase(), role))?;
        self.holds(&rules).map_err(|why| Status::forbidden(GROUP, plural, meta::name(binding), &why))
    }

    fn may(&self, verb: &str, resource: &str, name: &str) -> bool {
        let resource = Resource { group: GROUP, resource, namespace: self.namespace, name, ..Resource::default() };
        self.index.authorize(&Attributes { user: self.user, verb, action: Action::Resource(resource) }).allowed
    }

    /// Whether the writer has all these rights; if not, which are missing.
    fn holds(&self, wanted: &[PolicyRule]) -> Result<(), String> {
        let own = self.index.rules_for(self.user, self.namespace);
        // Most rules are covered by one of the writer's as a whole, and need not be taken apart.
        let open: Vec<&PolicyRule> =
            wanted.iter().filter(|rule| !own.rules.iter().any(|own| own.covers(rule))).collect();
        let (name, groups) = (&self.user.name, quoted(&self.user.groups));
        let what = "is attempting to grant RBAC permissions not currently held";
        if open.iter().fold(0, |sum: usize, rule| sum.saturating_add(rule.count())) > SINGLES_MAX {
            return Err(format!(
                "user {name:?} (groups={groups}) {what}: these rules are {SINGLES_MAX} combinations of verb, group, \
                 resource and name and more, too many to compare; write them as several roles"
            ));
        }
        let singles = open.into_iter().flat_map(PolicyRule::singles);
        let missing: Vec<_> = singles.filter(|single| !own.rules.iter().any(|own| own.covers(single))).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let missing: BTreeSet<String> = compact(missing).iter().map(ToString::to_string).collect();
        let missing: Vec<String> = missing.into_iter().collect();
        let mut why = format!("user {name:?} (groups={groups}) {what}:\n{}", missing.join("\n"));
        if !own.errors.is_empty() {
            why.push_str(&format!("; resolution errors: [{}]", own.errors.join(" ")));
        }
        Err(why)
    }
}

/// An aggregating role may come to hold any rule.
fn everything() -> [PolicyRule; 2] {
    let all = || vec!["*".to_string()];
    [
        PolicyRule { verbs: all(), api_groups: all(), resources: all(), ..PolicyRule::default() },
        PolicyRule { verbs: all(), non_resource_urls: all(), ..PolicyRule::default() },
    ]
}

fn rules_of(role: &Value) -> Vec<PolicyRule> {
    let rules = meta::list_at(role, &["rules"]).iter();
    // Decoded against the schema already; what still cannot be read would grant nothing either.
    rules.filter_map(|rule| serde_json::from_value(rule.clone()).ok()).collect()
}

/// Joins the verbs of rules that differ in nothing else; in the order in which they come first.
fn compact(singles: Vec<PolicyRule>) -> Vec<PolicyRule> {
    let mut compacted: Vec<PolicyRule> = Vec::new();
    let mut places: HashMap<PolicyRule, usize> = HashMap::new();
    for single in singles {
        let rest = PolicyRule { verbs: Vec::new(), ..single.clone() };
        match places.get(&rest) {
            Some(place) => {
                let verbs = &mut compacted[*place].verbs;
                verbs.extend(single.verbs.into_iter().filter(|verb| !verbs.contains(verb)).collect::<Vec<_>>());
            }
            None => {
                places.insert(rest, compacted.len());
                compacted.push(single);
            }
        }
    }
    compacted
}
