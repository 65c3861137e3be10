//! Node selectors: `nodeSelector` and required node affinity. Source: `core/v1` `NodeSelector`.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::model::Meta;
use crate::model::wire::or_default;

/// Where a pod must run: every pair of `node_selector`, and the affinity if there is one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequiredNodes {
    pub node_selector: BTreeMap<String, String>,
    pub affinity: Option<NodeSelector>,
}

/// `affinity` of a pod's spec, as far as it counts here.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Affinity {
    #[serde(deserialize_with = "or_default")]
    node_affinity: NodeAffinity,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct NodeAffinity {
    required_during_scheduling_ignored_during_execution: Option<NodeSelector>,
}

impl Affinity {
    pub fn required(self) -> Option<NodeSelector> {
        self.node_affinity.required_during_scheduling_ignored_during_execution
    }
}

/// Terms of which one must match.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct NodeSelector {
    #[serde(deserialize_with = "or_default")]
    pub node_selector_terms: Vec<Term>,
}

/// Requirements that must all match. A term without any matches nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Term {
    /// Over the labels of the node.
    #[serde(deserialize_with = "or_default")]
    pub match_expressions: Vec<Requirement>,
    /// Over its fields; only `metadata.name` is known.
    #[serde(deserialize_with = "or_default")]
    pub match_fields: Vec<Requirement>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Requirement {
    pub key: String,
    /// `In`, `NotIn`, `Exists`, `DoesNotExist`, `Gt`, `Lt`.
    pub operator: String,
    #[serde(deserialize_with = "or_default")]
    pub values: Vec<String>,
}

const NAME_FIELD: &str = "metadata.name";

impl RequiredNodes {
    pub fn matches(&self, node: &Meta) -> bool {
        let selected = self.node_selector.iter().all(|(key, value)| node.label(key) == Some(value));
        selected && self.affinity.as_ref().is_none_or(|affinity| affinity.matches(node))
    }
}

impl NodeSelector {
    pub fn matches(&self, node: &Meta) -> bool {
        self.node_selector_terms.iter().any(|term| term.matches(node))
    }

    /// The node that a matchField `metadata.name In [node]` of some term names.
    pub fn only_named_node(&self) -> Option<&str> {
        let fields = self.node_selector_terms.iter().flat_map(|term| &term.match_fields);
        let mut names = fields.filter(|field| field.key == NAME_FIELD && field.operator == "In");
        match names.next()?.values.as_slice() {
            [name] => Some(name),
            _ => None,
        }
    }
}

impl Term {
    fn matches(&self, node: &Meta) -> bool {
        let empty = self.match_expressions.is_empty() && self.match_fields.is_empty();
        let labels = || self.match_expressions.iter().all(|wanted| wanted.matches_label(node.label(&wanted.key)));
        let fields = || self.match_fields.iter().all(|wanted| wanted.matches_field(&node.name));
        !empty && labels() && fields()
    }
}

impl Requirement {
    /// What cannot be read as a requirement matches nothing.
    fn matches_label(&self, label: Option<&str>) -> bool {
        let listed = |label: &str| self.values.iter().any(|value| value == label);
        match (self.operator.as_str(), label) {
            ("In", Some(label)) => listed(label),
            ("NotIn", label) => !self.values.is_empty() && !label.is_some_and(listed),
            ("Exists", label) => self.values.is_empty() && label.is_some(),
            ("DoesNotExist", label) => self.values.is_empty() && label.is_none(),
            ("Gt", Some(label)) => self.compare(label).is_some_and(|(label, bound)| label > bound),
            ("Lt", Some(label)) => self.compare(label).is_some_and(|(label, bound)| label < bound),
            _ => false,
        }
    }

    fn compare(&self, label: &str) -> Option<(i64, i64)> {
        let [bound] = self.values.as_slice() else { return None };
        Some((label.parse().ok()?, bound.parse().ok()?))
    }

    fn matches_field(&self, node_name: &str) -> bool {
        let [name] = self.values.as_slice() else { return false };
        match (self.key.as_str(), self.operator.as_str()) {
            (NAME_FIELD, "In") => name == node_name,
            (NAME_FIELD, "NotIn") => name != node_name,
            _ => false,
        }
    }
}
