//! The little that a server needs to find an object without parsing it.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

/// Stands beside an object's bytes in the store; selectors and the garbage collector read it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Index {
    pub uid: String,
    pub labels: Pairs,
    /// Values of the field selectors this kind knows besides `metadata.name` and `metadata.namespace`,
    /// such as `spec.nodeName`; a field that is not set is the empty string.
    pub fields: Pairs,
    /// UIDs of all owner references.
    pub owners: Vec<String>,
}

/// Names and values in one piece of memory: `3:app5:agent`, each text behind its length. A store keeps some for every
/// state of every object that it remembers, and as trees or vectors of strings they would take a third of an object's
/// size again. A few, in the order in which they were given: looking through all is as quick as any order would be.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Pairs(Box<str>);

impl Pairs {
    pub fn of<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let mut all = String::new();
        for text in pairs.flat_map(|(name, value)| [name, value]) {
            // Writing into a string cannot fail.
            let _ = write!(all, "{}:{text}", text.len());
        }
        Self(all.into())
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut rest = &*self.0;
        std::iter::from_fn(move || Some((text(&mut rest)?, text(&mut rest)?)))
    }

    /// The value of the first that has this name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(other, _)| *other == name).map(|(_, value)| value)
    }
}

fn text<'a>(rest: &mut &'a str) -> Option<&'a str> {
    let (length, after) = rest.split_once(':')?;
    let (text, after) = after.split_at_checked(length.parse().ok()?)?;
    *rest = after;
    Some(text)
}

impl From<&BTreeMap<String, String>> for Pairs {
    fn from(map: &BTreeMap<String, String>) -> Self {
        Self::of(map.iter().map(|(name, value)| (name.as_str(), value.as_str())))
    }
}

impl From<&[(String, String)]> for Pairs {
    fn from(pairs: &[(String, String)]) -> Self {
        Self::of(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())))
    }
}

impl fmt::Debug for Pairs {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pairs: &[(&str, &str)], expected: &str) {
        let pairs = Pairs::of(pairs.iter().copied());
        assert_eq!(format!("{pairs:?}"), expected);
    }

    #[test]
    fn pairs_are_read_as_given() {
        check(&[], "{}");
        check(&[("", "")], r#"{"": ""}"#);
        check(&[("b", ""), ("a", "é"), ("", "x")], r#"{"b": "", "a": "é", "": "x"}"#);
        check(&[("a", "1:x"), (":", "0:")], r#"{"a": "1:x", ":": "0:"}"#);
    }

    #[test]
    fn found_by_name() {
        let pairs = Pairs::of([("a", "1"), ("b", ""), ("a", "2")].into_iter());
        assert_eq!([pairs.get("a"), pairs.get("b"), pairs.get("1"), pairs.get("")], [Some("1"), Some(""), None, None]);
    }
}
