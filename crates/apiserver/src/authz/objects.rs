//! The RBAC objects as far as decisions need them.

use std::sync::Arc;

use backstay_api::selector::LabelSelector;
use backstay_api::{GroupVersionKind, Pairs, resources};
use backstay_store::{Entry, Range, Snapshot};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::rules::PolicyRule;

pub const GROUP: &str = "rbac.authorization.k8s.io";

/// A Role or a ClusterRole.
#[derive(Deserialize)]
pub struct Role {
    #[serde(default, deserialize_with = "or_default")]
    pub rules: Vec<PolicyRule>,
    #[serde(default, rename = "aggregationRule")]
    pub aggregation: Option<Aggregation>,
}

/// A ClusterRole with this holds the rules of all ClusterRoles that one of the selectors matches, and no others.
#[derive(Deserialize)]
pub struct Aggregation {
    #[serde(default, rename = "clusterRoleSelectors", deserialize_with = "or_default")]
    selectors: Vec<Value>,
}

/// A RoleBinding or a ClusterRoleBinding.
#[derive(Deserialize)]
pub struct Binding {
    #[serde(rename = "roleRef")]
    pub role: RoleRef,
    #[serde(default, deserialize_with = "or_default")]
    pub subjects: Vec<Subject>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct RoleRef {
    pub kind: String,
    pub name: String,
}

#[derive(Debug, Deserialize)]
pub struct Subject {
    pub kind: String,
    pub name: String,
    #[serde(default, deserialize_with = "or_default")]
    pub namespace: String,
}

impl Aggregation {
    pub fn matches(&self, labels: &Pairs) -> bool {
        self.selectors.iter().any(|selector| {
            // A selector that cannot be read selects nothing: rights are never given by mistake.
            LabelSelector::from_object(selector).is_ok_and(|selector| selector.matches(labels))
        })
    }
}

/// The store range of one RBAC kind.
pub fn range(kind: &str) -> Range {
    let resource = resources::of_kind(&GroupVersionKind::new(GROUP, "v1", kind));
    Range::all(&resource.expect("the RBAC kinds are built in").storage)
}

/// All objects of one kind that can be read, in order. One that cannot grants nothing.
pub fn read<T: for<'a> Deserialize<'a>>(snapshot: &dyn Snapshot, kind: &str) -> Vec<(Arc<Entry>, T)> {
    let entries = snapshot.list(&range(kind), None, 0).into_iter();
    let parsed = entries.filter_map(|entry| match serde_json::from_slice(&entry.value) {
        Ok(object) => Some((entry, object)),
        Err(error) => {
            tracing::warn!(kind, name = %entry.key.name, namespace = %entry.key.namespace, %error, "object ignored");
            None
        }
    });
    parsed.collect()
}

/// `null` is as good as absent.
pub fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
