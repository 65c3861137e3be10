//! The little that a server needs to find an object without parsing it.

use std::collections::BTreeMap;
use std::fmt;

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

/// Names and values in one piece of memory, each text behind its length. A store keeps some for every state of every
/// object that it remembers, and as trees or vectors of strings they would take a third of an object's size again. A few,
/// in the order in which they were given: looking through all is as quick as any order would be.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Pairs(Box<[u8]>);

/// In place of a length: it takes the next four bytes. Others are one.
const LONG: u8 = u8::MAX;

impl Pairs {
    pub fn of<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let mut all = Vec::new();
        for text in pairs.flat_map(|(name, value)| [name, value]) {
            match u8::try_from(text.len()) {
                Ok(length) if length < LONG => all.push(length),
                _ => {
                    // What does not fit in there fits in no request.
                    let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
                    all.push(LONG);
                    all.extend(length.to_le_bytes());
                }
            }
            all.extend(text.as_bytes());
        }
        Self(all.into())
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut rest = &*self.0;
        let mut next = move || str::from_utf8(text(&mut rest)?).ok();
        std::iter::from_fn(move || Some((next()?, next()?)))
    }

    /// The value of the first that has this name.
    pub fn get(&self, name: &str) -> Option<&str> {
        let mut rest = &*self.0;
        loop {
            let (other, value) = (text(&mut rest)?, text(&mut rest)?);
            if other == name.as_bytes() {
                return str::from_utf8(value).ok();
            }
        }
    }
}

fn text<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, after) = match rest.split_first()? {
        (&LONG, after) => {
            let (length, after) = after.split_first_chunk()?;
            (u32::from_le_bytes(*length) as usize, after)
        }
        (length, after) => (usize::from(*length), after),
    };
    let (text, after) = after.split_at_checked(length)?;
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
        for length in [253, 254, 255, 256, 70_000] {
            let long = "x".repeat(length);
            check(&[(&long, "1"), ("a", &long), ("b", "2")], &format!(r#"{{"{long}": "1", "a": "{long}", "b": "2"}}"#));
        }
    }

    #[test]
    fn found_by_name() {
        let pairs = Pairs::of([("a", "1"), ("b", ""), ("a", "2")].into_iter());
        assert_eq!([pairs.get("a"), pairs.get("b"), pairs.get("1"), pairs.get("")], [Some("1"), Some(""), None, None]);
    }
}
