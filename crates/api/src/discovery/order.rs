//! Sorts resources into groups and versions.

use std::cmp::Reverse;

use crate::resources::Resource;

/// Versions of one group, the preferred one first, with their resources by name.
pub type Versions<'a> = Vec<(&'a str, Vec<&'a Resource>)>;

/// All groups (the core group too), in the order in which they are first met.
pub fn groups<'a>(resources: &[&'a Resource]) -> Vec<(&'a str, Versions<'a>)> {
    let mut groups: Vec<(&str, Versions<'_>)> = Vec::new();
    for resource in resources {
        let versions = entry(&mut groups, &resource.group);
        entry(versions, &resource.version).push(resource);
    }
    for (_, versions) in &mut groups {
        versions.sort_by_key(|(version, _)| priority(version));
        for (_, resources) in versions {
            resources.sort_by(|a, b| a.plural.cmp(&b.plural));
        }
    }
    groups
}

fn entry<'m, 'a, T: Default>(list: &'m mut Vec<(&'a str, T)>, name: &'a str) -> &'m mut T {
    let index = list.iter().position(|(other, _)| *other == name).unwrap_or_else(|| {
        list.push((name, T::default()));
        list.len() - 1
    });
    &mut list[index].1
}

/// Stable versions before beta, beta before alpha, newer before older; names of another shape last, by name.
pub fn priority(version: &str) -> (Reverse<(u8, u64, u64)>, &str) {
    (Reverse(parse(version).unwrap_or_default()), version)
}

fn parse(version: &str) -> Option<(u8, u64, u64)> {
    let rest = version.strip_prefix('v')?;
    let split = rest.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(rest.len());
    let (major, stage) = rest.split_at(split);
    let major = major.parse().ok()?;
    if stage.is_empty() {
        return Some((3, major, 0));
    }
    let (level, minor) = match (stage.strip_prefix("beta"), stage.strip_prefix("alpha")) {
        (Some(minor), _) => (2, minor),
        (_, Some(minor)) => (1, minor),
        _ => return None,
    };
    Some((level, major, minor.parse().ok()?))
}
