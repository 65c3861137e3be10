//! The newest known state of every object, from the watch and from the answers to our own writes.
//!
//! An answer is taken in at once, so that nobody decides twice because the watch is behind; what the watch brings later
//! is older or equal, and is ignored by its resource version. That is what "expectations" are for elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use backstay_controllers::model::Object;

use super::Change;

type Key = (Arc<str>, Arc<str>);

#[derive(Debug)]
pub struct Cache<T> {
    objects: BTreeMap<Key, Arc<T>>,
    /// Uids that we know to be gone although the watch has not said so yet.
    gone: BTreeSet<Arc<str>>,
    /// The watch has told everything up to this resource version.
    told: u64,
    listed: bool,
}

/// What a change did to the cache.
#[derive(Debug)]
pub enum Effect<T> {
    Set { old: Option<Arc<T>>, new: Arc<T> },
    Removed(Arc<T>),
}

impl<T> Default for Cache<T> {
    fn default() -> Self {
        Self { objects: BTreeMap::new(), gone: BTreeSet::new(), told: 0, listed: false }
    }
}

impl<T: Object> Cache<T> {
    /// Whether everything that was there at the start is in it.
    pub fn is_listed(&self) -> bool {
        self.listed
    }

    pub fn get(&self, namespace: &str, name: &str) -> Option<&Arc<T>> {
        self.objects.get(&(namespace.into(), name.into()))
    }

    /// All objects, by namespace and name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<T>> + Clone {
        self.objects.values()
    }

    /// The objects of a namespace, by name.
    pub fn in_namespace<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = &'a Arc<T>> {
        let from: Key = (namespace.into(), "".into());
        self.objects.range(from..).take_while(move |((other, _), _)| **other == *namespace).map(|(_, object)| object)
    }

    pub fn len(&self) -> usize {
        self.objects.len()
    }

    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// Takes in news from the watch.
    pub fn apply(&mut self, change: &Change<T>) -> Vec<Effect<T>> {
        match change {
            Change::Set(object) => {
                let effects = self.put(object.clone());
                self.told = self.told.max(object.meta().resource_version);
                effects
            }
            Change::Gone(object) => {
                self.told = self.told.max(object.meta().resource_version);
                self.gone.remove(&object.meta().uid);
                self.take(object).into_iter().collect()
            }
            Change::Listed { objects, resource_version } => self.relist(objects, *resource_version),
        }
    }

    /// Takes in the answer to a write. If the watch has told of all that happened since, and does not know the object,
    /// then the object is gone again.
    pub fn set(&mut self, object: Arc<T>) -> Vec<Effect<T>> {
        let meta = object.meta();
        let known = self.get(&meta.namespace, &meta.name).is_some_and(|known| known.meta().uid == meta.uid);
        let outlived = !known && meta.resource_version != 0 && meta.resource_version <= self.told;
        if outlived { Vec::new() } else { self.put(object) }
    }

    fn put(&mut self, object: Arc<T>) -> Vec<Effect<T>> {
        let meta = object.meta();
        let key = (meta.namespace.clone(), meta.name.clone());
        if self.gone.contains(&meta.uid) {
            return Vec::new();
        }
        match self.objects.get(&key) {
            // Versions that are not numbers cannot be compared; the last to come is taken for the newest.
            Some(known) if known.meta().resource_version >= meta.resource_version.max(1) => Vec::new(),
            Some(known) if known.meta().uid != meta.uid => {
                let removed = Effect::Removed(known.clone());
                self.objects.insert(key, object.clone());
                vec![removed, Effect::Set { old: None, new: object }]
            }
            _ => {
                let old = self.objects.insert(key, object.clone());
                vec![Effect::Set { old, new: object }]
            }
        }
    }

    /// The server has said that this object does not exist any more.
    pub fn remove(&mut self, namespace: &str, name: &str, uid: &Arc<str>) -> Option<Effect<T>> {
        let key = (namespace.into(), name.into());
        let known = self.objects.get(&key).filter(|known| known.meta().uid == *uid)?;
        let removed = Effect::Removed(known.clone());
        self.objects.remove(&key);
        self.gone.insert(uid.clone());
        Some(removed)
    }

    /// Objects that are newer than the list were made by us after it was taken; they stay.
    fn relist(&mut self, objects: &[Arc<T>], resource_version: u64) -> Vec<Effect<T>> {
        self.listed = true;
        let uids: BTreeSet<&Arc<str>> = objects.iter().map(|object| &object.meta().uid).collect();
        self.gone.retain(|uid| uids.contains(uid));
        let lost =
            |known: &&Arc<T>| !uids.contains(&known.meta().uid) && known.meta().resource_version <= resource_version;
        let lost: Vec<Arc<T>> = self.objects.values().filter(lost).cloned().collect();
        let mut effects: Vec<Effect<T>> = lost.iter().filter_map(|object| self.take(object)).collect();
        effects.extend(objects.iter().flat_map(|object| self.put(object.clone())));
        self.told = self.told.max(resource_version);
        effects
    }

    fn take(&mut self, object: &Arc<T>) -> Option<Effect<T>> {
        let meta = object.meta();
        let key = (meta.namespace.clone(), meta.name.clone());
        self.objects.get(&key).filter(|known| known.meta().uid == meta.uid)?;
        self.objects.remove(&key).map(Effect::Removed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use backstay_controllers::model::Node;

    fn node(name: &str, uid: &str, version: u64) -> Arc<Node> {
        let mut node = Node::default();
        node.meta.name = name.into();
        node.meta.uid = uid.into();
        node.meta.resource_version = version;
        Arc::new(node)
    }

    /// Applies changes written as `set NAME UID VERSION`, `wrote ...`, `gone ...`, `removed ...`, `list VERSION`
    /// (followed by `+ NAME UID VERSION` lines); the result is what the cache holds.
    fn check(changes: &str, expected: &str) {
        let mut cache = Cache::<Node>::default();
        let lines: Vec<Vec<&str>> = changes.split(';').map(|line| line.split_whitespace().collect()).collect();
        let parse = |words: &[&str]| node(words[0], words[1], words[2].parse().unwrap());
        for line in lines {
            match line[0] {
                "set" => drop(cache.apply(&Change::Set(parse(&line[1..])))),
                "gone" => drop(cache.apply(&Change::Gone(parse(&line[1..])))),
                "wrote" => drop(cache.set(parse(&line[1..]))),
                "removed" => drop(cache.remove("", line[1], &line[2].into())),
                "list" => {
                    let objects = line[2..].chunks(3).map(parse).collect();
                    drop(cache.apply(&Change::Listed { objects, resource_version: line[1].parse().unwrap() }));
                }
                other => panic!("{other}"),
            }
        }
        let text = |node: &Arc<Node>| format!("{} {} {}", node.meta.name, node.meta.uid, node.meta.resource_version);
        assert_eq!(cache.iter().map(text).collect::<Vec<_>>().join("; "), expected, "{changes}");
    }

    #[test]
    fn the_newest_state_stays() {
        check("set a u 3; set a u 2", "a u 3");
        check("wrote a u 5; set a u 4; set a u 5", "a u 5");
        check("wrote a u 5; set a u 6", "a u 6");
        check("set a u 3; gone a u 4", "");
        check("set a u 3; set a v 5; gone a u 4", "a v 5");
    }

    #[test]
    fn what_we_removed_does_not_come_back() {
        check("set a u 3; removed a u; set a u 4; gone a u 5", "");
        check("set a u 3; removed a u; set a u 4; gone a u 5; set a v 6", "a v 6");
        check("set a u 3; removed a u; set a v 6", "a v 6");
        check("set a u 3; removed a u; list 3 a u 3", "");
    }

    #[test]
    fn an_answer_that_the_watch_has_overtaken_is_ignored() {
        check("set a u 3; gone a u 7; wrote a u 6", "");
        check("set a u 3; gone a u 7; wrote a u 7", "");
        check("set a u 3; gone a u 7; wrote a v 8", "a v 8");
        check("set b w 9; set a u 3; wrote a u 6", "a u 6; b w 9");
        check("list 9 b w 9; wrote a u 6", "b w 9");
    }

    #[test]
    fn a_list_replaces_what_is_older() {
        check("set a u 3; set b v 4; list 9 b v 4", "b v 4");
        check("set a u 3; wrote b v 12; list 9 a u 3", "a u 3; b v 12");
        check("set a u 3; list 9 a w 8", "a w 8");
        check("wrote a u 12; list 9 a u 3", "a u 12");
    }
}
