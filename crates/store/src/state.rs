//! Everything at one revision, as an immutable value: cloning it is a few reference counts, whatever its size.

use std::ops::Bound;
use std::sync::Arc;

use imbl::OrdMap;

use crate::{Entry, Key, Range, Revision, Snapshot};

/// All entries at one revision. A clone shares everything; changing it copies only the paths that change.
#[derive(Clone, Default)]
pub struct State {
    revision: Revision,
    tables: OrdMap<Arc<str>, Table>,
}

/// The entries of one resource.
type Table = OrdMap<Place, Arc<Entry>>;

/// Where an entry stands in its resource. Ordered by namespace, then name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    namespace: Arc<str>,
    name: Arc<str>,
}

impl State {
    pub fn at(revision: Revision) -> Self {
        Self { revision, tables: OrdMap::new() }
    }

    pub fn set_revision(&mut self, revision: Revision) {
        self.revision = revision;
    }

    /// Puts an entry in its place; answers what stood there.
    pub fn insert(&mut self, entry: Arc<Entry>) -> Option<Arc<Entry>> {
        let place = Place::of(&entry.key);
        match self.tables.get_mut(&entry.key.resource) {
            Some(table) => table.insert(place, entry),
            None => {
                self.tables.insert(entry.key.resource.clone(), OrdMap::unit(place, entry));
                None
            }
        }
    }

    pub fn remove(&mut self, key: &Key) -> Option<Arc<Entry>> {
        self.tables.get_mut(&key.resource)?.remove(&Place::of(key))
    }

    /// The same key made of strings that the state holds already, so that entries share them.
    pub fn intern(&self, key: Key) -> Key {
        let Some((resource, table)) = self.tables.get_key_value(&key.resource) else { return key };
        let first = Place { namespace: key.namespace.clone(), name: "".into() };
        let neighbour = table.range(first..).next().map(|(place, _)| &place.namespace);
        let namespace = neighbour.filter(|namespace| **namespace == key.namespace).unwrap_or(&key.namespace);
        Key { resource: resource.clone(), namespace: namespace.clone(), name: key.name }
    }

    /// All entries, by resource, namespace and name.
    pub fn entries(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.tables.values().flat_map(|table| table.values())
    }

    /// The entries of a range that come after `after`, in order.
    fn range(&self, range: &Range, after: Option<&Key>) -> impl Iterator<Item = &Arc<Entry>> {
        let table = self.tables.get(&range.resource);
        let start = start(range, after);
        let rest = table.into_iter().flat_map(move |table| table.range((start.clone(), Bound::Unbounded)));
        rest.map(|(_, entry)| entry).take_while(|entry| !is_past(range, &entry.key))
    }
}

impl Snapshot for State {
    fn revision(&self) -> Revision {
        self.revision
    }

    fn get(&self, key: &Key) -> Option<Arc<Entry>> {
        self.tables.get(&key.resource)?.get(&Place::of(key)).cloned()
    }

    fn list(&self, range: &Range, after: Option<&Key>, limit: usize) -> Vec<Arc<Entry>> {
        let found = self.range(range, after).filter(|entry| range.contains(&entry.key)).cloned();
        match limit {
            0 => found.collect(),
            limit => found.take(limit).collect(),
        }
    }

    fn count(&self, range: &Range) -> usize {
        match (&range.namespace, &range.name) {
            (None, None) => self.tables.get(&range.resource).map_or(0, OrdMap::len),
            _ => self.range(range, None).filter(|entry| range.contains(&entry.key)).count(),
        }
    }

    fn count_after(&self, range: &Range, after: &Key) -> usize {
        self.range(range, Some(after)).filter(|entry| range.contains(&entry.key)).count()
    }
}

impl Place {
    fn of(key: &Key) -> Self {
        Self { namespace: key.namespace.clone(), name: key.name.clone() }
    }
}

/// Where to begin: at the range's first possible place or just after `after`, whichever is later.
fn start(range: &Range, after: Option<&Key>) -> Bound<Place> {
    let namespace = range.namespace.clone().unwrap_or_default();
    let name = range.name.clone().filter(|_| range.namespace.is_some()).unwrap_or_default();
    let first = Place { namespace, name };
    match after.map(Place::of) {
        Some(after) if after >= first => Bound::Excluded(after),
        _ => Bound::Included(first),
    }
}

/// Whether nothing of the range can stand at this key or behind it.
fn is_past(range: &Range, key: &Key) -> bool {
    let Some(namespace) = &range.namespace else { return false };
    match key.namespace.cmp(namespace) {
        std::cmp::Ordering::Less => false,
        std::cmp::Ordering::Greater => true,
        std::cmp::Ordering::Equal => range.name.as_ref().is_some_and(|name| key.name > *name),
    }
}
