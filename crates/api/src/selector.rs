//! Label selectors (as text and as objects) and field selectors.

use std::collections::BTreeMap;

use serde_json::Value;

/// A parsed label selector: every requirement must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSelector {
    pub requirements: Vec<Requirement>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    pub key: String,
    pub operator: Operator,
    pub values: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
    GreaterThan,
    LessThan,
}

impl LabelSelector {
    /// Reads the text form, `a=b,c in (d,e),!f`.
    ///
    /// # Errors
    /// The message Kubernetes gives, such as `unable to parse requirement: ...`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let _ = text;
        todo!("selector")
    }

    /// Reads the object form (`matchLabels`, `matchExpressions`). Matches everything if both are absent.
    pub fn from_object(selector: &Value) -> Result<Self, String> {
        let _ = selector;
        todo!("selector")
    }

    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let _ = labels;
        todo!("selector")
    }
}

/// A parsed field selector: `(field, equal, value)` terms that must all hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector {
    pub terms: Vec<FieldTerm>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldTerm {
    pub field: String,
    pub equal: bool,
    pub value: String,
}

impl FieldSelector {
    /// Reads `a=b,c!=d` (`==` as well).
    pub fn parse(text: &str) -> Result<Self, String> {
        let _ = text;
        todo!("selector")
    }
}
