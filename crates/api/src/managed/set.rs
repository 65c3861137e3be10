//! Sets of paths into an object: who owns what.

use std::collections::{BTreeMap, btree_map};

use super::path::PathElement;

/// A set of paths, as a tree. A path may be in it without the paths below it, and the other way round.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSet {
    entries: BTreeMap<PathElement, Entry>,
}

/// What a set holds at one element: the element itself, and what is below it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    pub member: bool,
    pub below: FieldSet,
}

impl Entry {
    pub fn is_empty(&self) -> bool {
        !self.member && self.below.is_empty()
    }
}

impl FieldSet {
    /// A set of paths of field names.
    pub fn of_fields(paths: &[&[&str]]) -> Self {
        let mut set = Self::default();
        for path in paths {
            set.insert(&path.iter().map(|name| PathElement::field(name)).collect::<Vec<_>>());
        }
        set
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn entries(&self) -> impl Iterator<Item = (&PathElement, &Entry)> {
        self.entries.iter()
    }

    /// Adds a path. The empty path is no path.
    pub fn insert(&mut self, path: &[PathElement]) {
        let Some((last, above)) = path.split_last() else { return };
        let mut set = self;
        for element in above {
            set = &mut set.entries.entry(element.clone()).or_default().below;
        }
        set.entries.entry(last.clone()).or_default().member = true;
    }

    /// Adds what belongs at a path.
    pub fn put_at(&mut self, path: &[PathElement], entry: Entry) {
        let Some((last, above)) = path.split_last() else { return };
        let mut set = self;
        for element in above {
            set = &mut set.entries.entry(element.clone()).or_default().below;
        }
        set.put(last.clone(), entry);
    }

    /// Adds what belongs at one element.
    pub fn put(&mut self, element: PathElement, entry: Entry) {
        if entry.is_empty() {
            return;
        }
        match self.entries.entry(element) {
            btree_map::Entry::Vacant(place) => {
                place.insert(entry);
            }
            btree_map::Entry::Occupied(mut place) => {
                place.get_mut().member |= entry.member;
                place.get_mut().below.absorb(entry.below);
            }
        }
    }

    /// Adds all paths of `other`.
    pub fn absorb(&mut self, other: Self) {
        if self.is_empty() {
            *self = other;
        } else {
            other.entries.into_iter().for_each(|(element, entry)| self.put(element, entry));
        }
    }

    /// Takes the paths of `other` away; what is below them stays.
    pub fn subtract(&mut self, other: &Self) {
        self.shrink(other, |entry, theirs| {
            entry.member &= !theirs.member;
            entry.below.subtract(&theirs.below);
        });
    }

    /// Takes the paths of `other` away, and everything below them.
    pub fn cut(&mut self, other: &Self) {
        self.shrink(other, |entry, theirs| match theirs.member {
            true => *entry = Entry::default(),
            false => entry.below.cut(&theirs.below),
        });
    }

    fn shrink(&mut self, other: &Self, take: impl Fn(&mut Entry, &Entry)) {
        if self.is_empty() {
            return;
        }
        for (element, theirs) in &other.entries {
            if let Some(entry) = self.entries.get_mut(element) {
                take(entry, theirs);
                if entry.is_empty() {
                    self.entries.remove(element);
                }
            }
        }
    }

    /// Puts an entry in place of what the set has there.
    pub fn replace(&mut self, element: PathElement, entry: Entry) {
        self.entries.insert(element, entry);
    }

    pub fn at(&self, element: &PathElement) -> Option<&Entry> {
        self.entries.get(element)
    }

    pub fn has(&self, path: &[PathElement]) -> bool {
        let Some((last, above)) = path.split_last() else { return false };
        let above = above.iter().try_fold(self, |set, element| set.at(element).map(|entry| &entry.below));
        above.and_then(|set| set.at(last)).is_some_and(|entry| entry.member)
    }

    /// Every path of the set, in order.
    pub fn paths(&self) -> Vec<Vec<PathElement>> {
        let mut paths = Vec::new();
        self.collect_paths(&mut Vec::new(), &mut paths);
        paths
    }

    fn collect_paths(&self, prefix: &mut Vec<PathElement>, paths: &mut Vec<Vec<PathElement>>) {
        for (element, entry) in &self.entries {
            prefix.push(element.clone());
            if entry.member {
                paths.push(prefix.clone());
            }
            entry.below.collect_paths(prefix, paths);
            prefix.pop();
        }
    }

    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let mut union = self.clone();
        union.absorb(other.clone());
        union
    }

    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        self.combine(|element, entry| {
            let theirs = other.at(element)?;
            Some(Entry { member: entry.member && theirs.member, below: entry.below.intersection(&theirs.below) })
        })
    }

    /// Without the paths of `other`; what is below them stays.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        let mut difference = self.clone();
        difference.subtract(other);
        difference
    }

    /// Without the paths of `other` and everything below them.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        let mut rest = self.clone();
        rest.cut(other);
        rest
    }

    /// A set with what `entry_of` makes of each entry.
    pub fn combine(&self, entry_of: impl Fn(&PathElement, &Entry) -> Option<Entry>) -> Self {
        let entries = self.entries.iter().filter_map(|(element, entry)| {
            let entry = entry_of(element, entry).filter(|entry| !entry.is_empty())?;
            Some((element.clone(), entry))
        });
        Self { entries: entries.collect() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_set() -> impl Strategy<Value = FieldSet> {
        let path = proptest::collection::vec("[a-c]".prop_map(|name| PathElement::field(&name)), 1..4);
        proptest::collection::vec(path, 0..8).prop_map(|paths| {
            let mut set = FieldSet::default();
            paths.iter().for_each(|path| set.insert(path));
            set
        })
    }

    #[test]
    fn taking_a_path_away_may_leave_what_is_below_it() {
        let set = FieldSet::of_fields(&[&["a"], &["a", "b"], &["a", "b", "c"], &["d"]]);
        let gone = FieldSet::of_fields(&[&["a", "b"]]);
        assert_eq!(set.difference(&gone), FieldSet::of_fields(&[&["a"], &["a", "b", "c"], &["d"]]));
        assert_eq!(set.without(&gone), FieldSet::of_fields(&[&["a"], &["d"]]));
    }

    proptest! {
        #[test]
        fn sets_behave_like_sets_of_paths(a in any_set(), b in any_set()) {
            let (pa, pb) = (a.paths(), b.paths());
            let union = a.union(&b).paths();
            prop_assert!(pa.iter().chain(&pb).all(|path| union.contains(path)));
            prop_assert!(union.iter().all(|path| a.has(path) || b.has(path)));
            let both: Vec<_> = pa.iter().filter(|path| b.has(path)).cloned().collect();
            prop_assert_eq!(a.intersection(&b).paths(), both);
            let left: Vec<_> = pa.iter().filter(|path| !b.has(path)).cloned().collect();
            prop_assert_eq!(a.difference(&b).paths(), left);
            prop_assert_eq!(a.difference(&b).union(&a.intersection(&b)), a);
        }
    }
}
