//! Versions of the protocol, and which one is spoken with the plugins of a network.

use std::fmt;
use std::str::FromStr;

/// Ordered by age.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version(u32, u32, u32);

/// The newest that we speak.
pub(super) const NEWEST: Version = Version(1, 1, 0);
/// From here on, plugins read what was made when they are to take it back. Source: the specification.
const TAKES_RESULT_BACK: Version = Version(0, 4, 0);

impl FromStr for Version {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.split('.').map(|part| part.parse::<u32>().map_err(drop));
        let version = Self(parts.next().ok_or(())??, parts.next().ok_or(())??, parts.next().unwrap_or(Ok(0))?);
        if parts.next().is_some() { Err(()) } else { Ok(version) }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// Whether a plugin that is to take back what it made gets the result of it.
pub(super) fn takes_result_back(version: &str) -> bool {
    version.parse().is_ok_and(|version: Version| version >= TAKES_RESULT_BACK)
}

/// Those of a list that we speak, the newest first.
pub(super) fn spoken<'a>(listed: impl Iterator<Item = &'a str>) -> Vec<String> {
    let known = listed.filter_map(|text| Some((text.parse::<Version>().ok()?, text)));
    let mut known: Vec<(Version, &str)> = known.filter(|(version, _)| *version <= NEWEST).collect();
    known.sort();
    known.dedup();
    known.into_iter().rev().map(|(_, text)| text.to_string()).collect()
}

/// The first of these that each plugin says it speaks; a plugin that says nothing (`None`) speaks all of them. If there is
/// none, the first: the plugins will say what is wrong with it.
pub(super) fn agreed<'a>(offered: &'a [String], plugins: &[Option<Vec<String>>]) -> Option<&'a String> {
    let speak_all = |version: &&String| plugins.iter().flatten().all(|known| known.contains(version));
    offered.iter().find(speak_all).or(offered.first())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_taken_back_since_0_4() {
        for (version, expected) in
            [("0.3.1", false), ("0.4.0", true), ("1.0.0", true), ("1.1.0", true), ("0.10.0", true), ("", false)]
        {
            assert_eq!(takes_result_back(version), expected, "{version}");
        }
    }

    #[test]
    fn the_newest_that_all_speak() {
        let words = |text: &str| text.split_whitespace().map(String::from).collect::<Vec<_>>();
        let check = |listed: &str, plugins: &[&str], expected: Option<&str>| {
            let offered = spoken(listed.split_whitespace());
            let plugins: Vec<_> = plugins.iter().map(|known| (*known != "?").then(|| words(known))).collect();
            assert_eq!(agreed(&offered, &plugins).map(String::as_str), expected, "{listed} {plugins:?}");
        };
        check("0.4.0 1.1.0 1.0.0", &[], Some("1.1.0"));
        check("0.4.0 1.1.0 1.0.0", &["0.4.0 1.0.0 1.1.0", "0.4.0 1.0.0"], Some("1.0.0"));
        check("0.4.0 1.1.0 1.0.0", &["?", "0.4.0"], Some("0.4.0"));
        check("1.0.0 1.1.0", &["0.4.0"], Some("1.1.0"));
        check("2.0.0 1.0.0 nonsense 1.0 1.0.0.0", &[], Some("1.0.0"));
        check("2.0.0", &[], None);
        check("0.3.1 0.10.0 0.9.0", &[], Some("0.10.0"));
    }
}
