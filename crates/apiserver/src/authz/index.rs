//! All rights, by who has them. Pure: built from one snapshot.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use backstay_store::{Entry, Snapshot};

use super::objects::{self, Binding, GROUP, Role, RoleRef, Subject};
use super::{Attributes, PolicyRule};
use crate::UserInfo;
use crate::identity::MASTERS;

/// The rights that the RBAC objects of one snapshot give.
#[derive(Default)]
pub struct RuleIndex {
    /// By ClusterRoleBindings.
    cluster: Grants,
    /// By RoleBindings, per namespace.
    namespaces: HashMap<Arc<str>, Grants>,
    roles: Roles,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    pub allowed: bool,
    /// Which binding allowed it, or what stood in the way of deciding. Often empty.
    pub reason: String,
}

/// All rules that hold for a user.
#[derive(Debug, Default)]
pub struct Resolved<'a> {
    pub rules: Vec<&'a PolicyRule>,
    /// Bindings whose role does not exist.
    pub errors: Vec<&'a str>,
}

/// What each user and each group is granted, in the order of the bindings' names.
#[derive(Default)]
struct Grants {
    users: HashMap<String, Vec<Grant>>,
    groups: HashMap<String, Vec<Grant>>,
}

/// A role given to one subject by one binding.
struct Grant {
    /// `ClusterRoleBinding "b" of ClusterRole "r" to User "u"`.
    source: String,
    /// The rules of the role, or the message that there is no such role.
    rules: Result<Rules, String>,
}

type Rules = Arc<[PolicyRule]>;

#[derive(Default)]
struct Roles {
    cluster: HashMap<Arc<str>, Rules>,
    /// By namespace and name.
    namespaced: HashMap<(Arc<str>, Arc<str>), Rules>,
}

impl RuleIndex {
    pub fn build(snapshot: &dyn Snapshot) -> Self {
        let roles = Roles::read(snapshot);
        let mut index = Self { roles, ..Self::default() };
        for (entry, binding) in objects::read::<Binding>(snapshot, "ClusterRoleBinding") {
            let rules = index.roles.find(&binding.role, "");
            let title = format!("ClusterRoleBinding {:?}", entry.key.name);
            index.cluster.add(&title, &binding, "", &rules);
        }
        for (entry, binding) in objects::read::<Binding>(snapshot, "RoleBinding") {
            let namespace = &entry.key.namespace;
            let rules = index.roles.find(&binding.role, namespace);
            let title = format!("RoleBinding \"{}/{namespace}\"", entry.key.name);
            index.namespaces.entry(namespace.clone()).or_default().add(&title, &binding, namespace, &rules);
        }
        index
    }

    /// Decides about one request. Members of `system:masters` may do everything, whatever the objects say.
    pub fn authorize(&self, attributes: &Attributes<'_>) -> Decision {
        if attributes.user.is_in(MASTERS) {
            return Decision { allowed: true, reason: String::new() };
        }
        let mut errors = Vec::new();
        for grant in self.grants(attributes.user, attributes.namespace()) {
            match &grant.rules {
                Ok(rules) if rules.iter().any(|rule| rule.allows(attributes)) => {
                    return Decision { allowed: true, reason: format!("RBAC: allowed by {}", grant.source) };
                }
                Ok(_) => {}
                Err(error) => errors.push(error.as_str()),
            }
        }
        let reason = if errors.is_empty() { String::new() } else { format!("RBAC: {}", aggregate(&errors)) };
        Decision { allowed: false, reason }
    }

    /// All rules that hold for a user in a namespace (and, as always, in the cluster); `""`: in the cluster only.
    pub fn rules_for(&self, user: &UserInfo, namespace: &str) -> Resolved<'_> {
        let mut resolved = Resolved::default();
        for grant in self.grants(user, namespace) {
            match &grant.rules {
                Ok(rules) => resolved.rules.extend(rules.iter()),
                Err(error) => resolved.errors.push(error),
            }
        }
        resolved
    }

    /// The rules of the role that a binding in this namespace (`""`: a ClusterRoleBinding) names.
    ///
    /// # Errors
    /// The message that there is no such role.
    pub fn role(&self, kind: &str, name: &str, namespace: &str) -> Result<Arc<[PolicyRule]>, String> {
        self.roles.find(&RoleRef { kind: kind.into(), name: name.into() }, namespace)
    }

    fn grants(&self, user: &UserInfo, namespace: &str) -> Vec<&Grant> {
        let inside = self.namespaces.get(namespace);
        [Some(&self.cluster), inside].into_iter().flatten().flat_map(|grants| grants.of(user)).collect()
    }
}

impl Resolved<'_> {
    /// What went wrong, in one line; empty if nothing did.
    pub fn error(&self) -> String {
        if self.errors.is_empty() { String::new() } else { aggregate(&self.errors) }
    }
}

impl Grants {
    fn add(&mut self, title: &str, binding: &Binding, namespace: &str, rules: &Result<Rules, String>) {
        for subject in &binding.subjects {
            let Some((whose, name)) = self.whose(subject, namespace) else { continue };
            let role = format!("{} {:?}", binding.role.kind, binding.role.name);
            let source = format!("{title} of {role} to {}", describe(subject, namespace));
            whose.entry(name).or_default().push(Grant { source, rules: rules.clone() });
        }
    }

    /// Where to note what a subject is granted; nowhere for kinds that do not exist.
    fn whose(&mut self, subject: &Subject, namespace: &str) -> Option<(&mut HashMap<String, Vec<Grant>>, String)> {
        match subject.kind.as_str() {
            "User" => Some((&mut self.users, subject.name.clone())),
            "Group" => Some((&mut self.groups, subject.name.clone())),
            "ServiceAccount" => {
                let namespace = home(subject, namespace);
                let name = format!("system:serviceaccount:{namespace}:{}", subject.name);
                (!namespace.is_empty()).then_some((&mut self.users, name))
            }
            _ => None,
        }
    }

    fn of(&self, user: &UserInfo) -> Vec<&Grant> {
        let own = self.users.get(&user.name).into_iter();
        let shared = user.groups.iter().filter_map(|group| self.groups.get(group));
        own.chain(shared).flatten().collect()
    }
}

impl Roles {
    fn read(snapshot: &dyn Snapshot) -> Self {
        let namespaced = objects::read::<Role>(snapshot, "Role").into_iter();
        let place = |entry: &Entry| (entry.key.namespace.clone(), entry.key.name.clone());
        let namespaced = namespaced.map(|(entry, role)| (place(&entry), role.rules.into())).collect();
        Self { cluster: aggregated(objects::read(snapshot, "ClusterRole")), namespaced }
    }

    fn find(&self, role: &RoleRef, namespace: &str) -> Result<Rules, String> {
        let found = match role.kind.as_str() {
            "ClusterRole" => self.cluster.get(role.name.as_str()),
            "Role" => self.namespaced.get(&(namespace.into(), role.name.as_str().into())),
            other => return Err(format!("unsupported role reference kind: {other:?}")),
        };
        let missing = || format!("{}.{GROUP} {:?} not found", role.kind.to_lowercase(), role.name);
        found.cloned().ok_or_else(missing)
    }
}

/// The rules of all ClusterRoles, those of aggregating ones gathered from the ones that they select.
fn aggregated(roles: Vec<(Arc<Entry>, Role)>) -> HashMap<Arc<str>, Rules> {
    let roles: BTreeMap<Arc<str>, (Arc<Entry>, Role)> =
        roles.into_iter().map(|(entry, role)| (entry.key.name.clone(), (entry, role))).collect();
    let gather = |name: &Arc<str>| {
        let mut rules = Vec::new();
        gather_rules(&roles, name, &mut BTreeSet::new(), &mut rules);
        (name.clone(), rules.into())
    };
    roles.keys().map(gather).collect()
}

/// Selected roles may aggregate in turn; each counts once, so that a circle ends.
fn gather_rules(
    roles: &BTreeMap<Arc<str>, (Arc<Entry>, Role)>,
    name: &Arc<str>,
    seen: &mut BTreeSet<Arc<str>>,
    rules: &mut Vec<PolicyRule>,
) {
    let Some((_, role)) = roles.get(name).filter(|_| seen.insert(name.clone())) else { return };
    let Some(aggregation) = &role.aggregation else {
        rules.extend(role.rules.iter().cloned());
        return;
    };
    let selected = roles.iter().filter(|(_, (entry, _))| aggregation.matches(&entry.index.labels));
    selected.for_each(|(name, _)| gather_rules(roles, name, seen, rules));
}

/// The namespace of a service account: its own, or that of the binding that names it.
fn home<'a>(subject: &'a Subject, namespace: &'a str) -> &'a str {
    if subject.namespace.is_empty() { namespace } else { &subject.namespace }
}

fn describe(subject: &Subject, namespace: &str) -> String {
    match subject.kind.as_str() {
        "ServiceAccount" => format!("ServiceAccount \"{}/{}\"", subject.name, home(subject, namespace)),
        kind => format!("{kind} {:?}", subject.name),
    }
}

/// Several messages as one, each once. As Go's `errors.Aggregate`.
fn aggregate(errors: &[&str]) -> String {
    let mut seen = BTreeSet::new();
    let errors: Vec<&str> = errors.iter().copied().filter(|error| seen.insert(*error)).collect();
    match errors.as_slice() {
        [one] => one.to_string(),
        many => format!("[{}]", many.join(", ")),
    }
}
