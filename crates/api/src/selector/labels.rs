//! Label selectors and what they match.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

use crate::validation::names;
use crate::{Pairs, meta};

/// A label selector: every requirement must hold. Requirements are sorted by key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSelector {
    pub requirements: Vec<Requirement>,
}

/// What one label must be like. The values are sorted and unique, as many as the operator takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    pub key: String,
    pub operator: Operator,
    pub values: Vec<String>,
}

/// `Equals` and `In` (and their opposites) match alike, but are written differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    Equals,
    NotEquals,
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
        super::parse::selector(text)
    }

    /// Reads the object form (`matchLabels`, `matchExpressions`). Matches everything if both are absent.
    ///
    /// # Errors
    /// The message Kubernetes gives, such as `"Is" is not a valid label selector operator`.
    pub fn from_object(selector: &Value) -> Result<Self, String> {
        let labels = meta::string_map(selector.get("matchLabels"));
        let equal = labels.into_iter().map(|(key, value)| Requirement::new(&key, Operator::Equals, vec![value]));
        let expressions = meta::list_at(selector, &["matchExpressions"]).iter().map(|expression| {
            let values = meta::list_at(expression, &["values"]).iter().filter_map(Value::as_str);
            let operator = match meta::str_at(expression, &["operator"]) {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                other => return Err(format!("{other:?} is not a valid label selector operator")),
            };
            Requirement::new(meta::str_at(expression, &["key"]), operator, values.map(str::to_string).collect())
        });
        equal.chain(expressions).collect::<Result<_, _>>().map(Self::sorted)
    }

    pub fn matches(&self, labels: &impl Labels) -> bool {
        self.requirements.iter().all(|requirement| requirement.matches(labels.value(&requirement.key)))
    }

    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }

    pub(super) fn sorted(mut requirements: Vec<Requirement>) -> Self {
        requirements.sort_by(|left, right| left.key.cmp(&right.key));
        Self { requirements }
    }
}

/// Labels, however they are kept.
pub trait Labels {
    fn value(&self, name: &str) -> Option<&str>;
}

impl Labels for BTreeMap<String, String> {
    fn value(&self, name: &str) -> Option<&str> {
        self.get(name).map(String::as_str)
    }
}

impl Labels for Pairs {
    fn value(&self, name: &str) -> Option<&str> {
        self.get(name)
    }
}

/// A selector object as `kubectl` shows it: in text form, `<none>` if it is empty, `<error>` if it is not legal.
pub fn object_text(selector: &Value) -> String {
    match LabelSelector::from_object(selector) {
        Err(_) => "<error>".to_string(),
        Ok(selector) if selector.is_empty() => "<none>".to_string(),
        Ok(selector) => selector.to_string(),
    }
}

impl Requirement {
    /// # Errors
    /// All that is wrong with it, in Kubernetes' words.
    pub(super) fn new(key: &str, operator: Operator, mut values: Vec<String>) -> Result<Self, String> {
        let problems = problems(key, operator, &values);
        match problems.as_slice() {
            [] => {
                values.sort_unstable();
                values.dedup();
                Ok(Self { key: key.to_string(), operator, values })
            }
            [one] => Err(one.clone()),
            several => Err(format!("[{}]", several.join(", "))),
        }
    }

    fn matches(&self, label: Option<&str>) -> bool {
        let listed = |label: &str| self.values.iter().any(|value| value == label);
        match self.operator {
            Operator::Equals | Operator::In => label.is_some_and(listed),
            Operator::NotEquals | Operator::NotIn => !label.is_some_and(listed),
            Operator::Exists => label.is_some(),
            Operator::DoesNotExist => label.is_none(),
            Operator::GreaterThan => self.compare(label).is_some_and(|(label, bound)| label > bound),
            Operator::LessThan => self.compare(label).is_some_and(|(label, bound)| label < bound),
        }
    }

    /// The label and the bound as integers.
    fn compare(&self, label: Option<&str>) -> Option<(i64, i64)> {
        Some((label?.parse().ok()?, self.values.first()?.parse().ok()?))
    }
}

fn problems(key: &str, operator: Operator, values: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    found.extend(label_key_problem("key", key));
    let shown = || serde_json::to_string(values).expect("strings are always JSON");
    let invalid = |what: &str| format!("values: Invalid value: {}: {what}", shown());
    match operator {
        Operator::In | Operator::NotIn if values.is_empty() => {
            found.push(invalid("for 'in', 'notin' operators, values set can't be empty"));
        }
        Operator::Equals | Operator::NotEquals if values.len() != 1 => {
            found.push(invalid("exact-match compatibility requires one single value"));
        }
        Operator::Exists | Operator::DoesNotExist if !values.is_empty() => {
            found.push(invalid("values set must be empty for exists and does not exist"));
        }
        Operator::GreaterThan | Operator::LessThan => {
            if values.len() != 1 {
                found.push(invalid("for 'Gt', 'Lt' operators, exactly one value is required"));
            }
            let no_integers = values.iter().enumerate().filter(|(_, value)| value.parse::<i64>().is_err());
            found.extend(no_integers.map(|(position, value)| {
                let what = "for 'Gt', 'Lt' operators, the value must be an integer";
                format!("values[{position}]: Invalid value: {value:?}: {what}")
            }));
        }
        _ => {}
    }
    for (position, value) in values.iter().enumerate() {
        let problems = names::label_value(value);
        if !problems.is_empty() {
            found.push(format!("values[{position}][{key}]: Invalid value: {value:?}: {}", problems.join("; ")));
        }
    }
    found
}

/// What is wrong with a label key, as a message about the field `path`.
pub(super) fn label_key_problem(path: &str, key: &str) -> Option<String> {
    let problems = names::label_key(key);
    (!problems.is_empty()).then(|| format!("{path}: Invalid value: {key:?}: {}", problems.join("; ")))
}

impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, requirement) in self.requirements.iter().enumerate() {
            let comma = if position > 0 { "," } else { "" };
            write!(f, "{comma}{requirement}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (key, values) = (&self.key, self.values.join(","));
        match self.operator {
            Operator::Equals => write!(f, "{key}={values}"),
            Operator::NotEquals => write!(f, "{key}!={values}"),
            Operator::In => write!(f, "{key} in ({values})"),
            Operator::NotIn => write!(f, "{key} notin ({values})"),
            Operator::Exists => write!(f, "{key}"),
            Operator::DoesNotExist => write!(f, "!{key}"),
            Operator::GreaterThan => write!(f, "{key}>{values}"),
            Operator::LessThan => write!(f, "{key}<{values}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn matches_labels() {
        #[track_caller]
        fn check(text: &str, matching: &[&str]) {
            let sets = ["", "a=1", "a=2", "a=1,b=x", "b=5"];
            let labels = |set: &str| -> BTreeMap<String, String> {
                let pairs = set.split(',').filter_map(|pair| pair.split_once('='));
                pairs.map(|(key, value)| (key.to_string(), value.to_string())).collect()
            };
            let selector = LabelSelector::parse(text).unwrap();
            let found: Vec<_> = sets.into_iter().filter(|set| selector.matches(&labels(set))).collect();
            assert_eq!(found, matching, "by {text}");
        }
        check("", &["", "a=1", "a=2", "a=1,b=x", "b=5"]);
        check("a=1", &["a=1", "a=1,b=x"]);
        check("a!=1", &["", "a=2", "b=5"]);
        check("a in (1,2),!b", &["a=1", "a=2"]);
        check("a notin (2)", &["", "a=1", "a=1,b=x", "b=5"]);
        check("b", &["a=1,b=x", "b=5"]);
        check("!a", &["", "b=5"]);
        check("b>4", &["b=5"]);
        check("b<5", &[]);
    }

    #[test]
    fn shows_selector_objects_as_text() {
        #[track_caller]
        fn check(selector: Value, expected: &str) {
            assert_eq!(object_text(&selector), expected);
        }
        check(json!({}), "<none>");
        check(json!({"matchLabels": {"b": "2", "a": "1"}}), "a=1,b=2");
        check(
            json!({"matchLabels": {"m": "1"}, "matchExpressions": [
                {"key": "z", "operator": "In", "values": ["y", "x"]}, {"key": "a", "operator": "NotIn", "values": ["q"]},
                {"key": "e", "operator": "Exists"}, {"key": "f", "operator": "DoesNotExist"}]}),
            "a notin (q),e,!f,m=1,z in (x,y)",
        );
        check(json!({"matchExpressions": [{"key": "z", "operator": "Is"}]}), "<error>");
    }
}
