//! Everything at one revision, as an immutable value: cloning it is a few reference counts, whatever its size.

use std::ops::Bound;
use std::sync::Arc;

use imbl::{OrdMap, OrdSet};

use crate::{Entry, Key, Range, Revision, Snapshot};

/// The field by which objects of a resource are found without looking at others. Each agent asks for the pods of its node.
/// Source: `NodeNameIndexFunc` of kube-apiserver, which has the same one.
const INDEXED: (&str, &str) = ("pods", "spec.nodeName");

/// All entries at one revision. A clone shares everything; changing it copies only the paths that change.
#[derive(Clone, Default)]
pub struct State {
    revision: Revision,
    tables: OrdMap<Arc<str>, Table>,
}

/// The entries of one resource.
#[derive(Clone, Default)]
struct Table {
    entries: OrdMap<Place, Arc<Entry>>,
    /// Where the entries with each value of the indexed field are, if the resource has one.
    places: OrdSet<(Arc<str>, Place)>,
}

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
        match self.tables.get_mut(&entry.key.resource) {
            Some(table) => table.insert(entry),
            None => {
                let (resource, mut table) = (entry.key.resource.clone(), Table::default());
                table.insert(entry);
                self.tables.insert(resource, table);
                None
            }
        }
    }

    pub fn remove(&mut self, key: &Key) -> Option<Arc<Entry>> {
        self.tables.get_mut(&key.resource)?.remove(key)
    }

    /// The same key made of strings that the state holds already, so that entries share them.
    pub fn intern(&self, key: Key) -> Key {
        let Some((resource, table)) = self.tables.get_key_value(&key.resource) else { return key };
        let first = Place { namespace: key.namespace.clone(), name: "".into() };
        let neighbour = table.entries.range(first..).next().map(|(place, _)| &place.namespace);
        let namespace = neighbour.filter(|namespace| **namespace == key.namespace).unwrap_or(&key.namespace);
        Key { resource: resource.clone(), namespace: namespace.clone(), name: key.name }
    }

    /// All entries, by resource, namespace and name.
    pub fn entries(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.tables.values().flat_map(|table| table.entries.values())
    }

    /// The entries of a range that come after `after`, in order.
    fn range<'a>(&'a self, range: &'a Range, after: Option<&Key>) -> impl Iterator<Item = &'a Arc<Entry>> {
        let table = self.tables.get(&range.resource);
        let start = start(range, after);
        let indexed = indexed(&range.resource).zip(range.field.as_ref()).filter(|(name, field)| **name == *field.name);
        let found: Box<dyn Iterator<Item = &'a Arc<Entry>> + 'a> = match (table, indexed) {
            (None, _) => Box::new(std::iter::empty()),
            (Some(table), Some((_, field))) => Box::new(table.with_value(&field.value, start)),
            (Some(table), None) => Box::new(table.entries.range((start, Bound::Unbounded)).map(|(_, entry)| entry)),
        };
        found.take_while(|entry| !is_past(range, &entry.key)).filter(|entry| range.holds(entry))
    }
}

impl Table {
    fn insert(&mut self, entry: Arc<Entry>) -> Option<Arc<Entry>> {
        let place = Place::of(&entry.key);
        let before = self.entries.insert(place.clone(), entry.clone());
        let (old, new) = (before.as_deref().and_then(indexed_value), indexed_value(&entry));
        if old != new {
            self.places.extend(new.map(|new| (new.into(), place.clone())));
            old.map(|old| self.places.remove(&(old.into(), place)));
        }
        before
    }

    fn remove(&mut self, key: &Key) -> Option<Arc<Entry>> {
        let removed = self.entries.remove(&Place::of(key))?;
        if let Some(value) = indexed_value(&removed) {
            self.places.remove(&(value.into(), Place::of(key)));
        }
        Some(removed)
    }

    /// The entries with a value in the indexed field, from a place on.
    fn with_value<'a>(&'a self, value: &'a Arc<str>, start: Bound<Place>) -> impl Iterator<Item = &'a Arc<Entry>> {
        let start = match start {
            Bound::Included(place) => Bound::Included((value.clone(), place)),
            Bound::Excluded(place) => Bound::Excluded((value.clone(), place)),
            Bound::Unbounded => Bound::Unbounded,
        };
        let places = self.places.range((start, Bound::Unbounded)).take_while(move |(other, _)| other == value);
        places.filter_map(|(_, place)| self.entries.get(place))
    }
}

fn indexed_value(entry: &Entry) -> Option<&str> {
    indexed(&entry.key.resource).map(|field| entry.field(field))
}

fn indexed(resource: &str) -> Option<&'static str> {
    (resource == INDEXED.0).then_some(INDEXED.1)
}

impl Snapshot for State {
    fn revision(&self) -> Revision {
        self.revision
    }

    fn get(&self, key: &Key) -> Option<Arc<Entry>> {
        self.tables.get(&key.resource)?.entries.get(&Place::of(key)).cloned()
    }

    fn select(
        &self,
        range: &Range,
        after: Option<&Key>,
        limit: usize,
        is_wanted: &dyn Fn(&Entry) -> bool,
    ) -> Vec<Arc<Entry>> {
        // What nobody wants is not counted as held, either: that would be a write to each.
        let found = self.range(range, after).filter(|entry| is_wanted(entry)).cloned();
        match limit {
            0 => found.collect(),
            limit => found.take(limit).collect(),
        }
    }

    fn count(&self, range: &Range) -> usize {
        match (&range.namespace, &range.name) {
            (None, None) if range.field.is_none() => {
                self.tables.get(&range.resource).map_or(0, |table| table.entries.len())
            }
            _ => self.range(range, None).count(),
        }
    }

    fn count_after(&self, range: &Range, after: &Key) -> usize {
        self.range(range, Some(after)).count()
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
