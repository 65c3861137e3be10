//! Who owns whom.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::item::{Item, Owner, ResourceName, Sought};
use super::plan::{self, Action};

/// All objects by uid, with the dependents of each uid (also of owners that do not exist).
#[derive(Debug, Default)]
pub struct Graph {
    items: BTreeMap<Arc<str>, Item>,
    dependents: BTreeMap<Arc<str>, BTreeSet<Arc<str>>>,
    /// Owners that are not there, by uid, as they were looked for: one that is not found in one namespace, or by one name,
    /// may be found by another. A uid is never given twice, so this stays true.
    absent: BTreeMap<Arc<str>, BTreeSet<Sought>>,
    /// The namespaces that items name, so that they share the text.
    namespaces: BTreeSet<Arc<str>>,
}

impl Graph {
    pub fn get(&self, uid: &str) -> Option<&Item> {
        self.items.get(uid)
    }

    pub fn len(&self) -> usize {
        self.items.len()
    }

    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Takes in an object's state, unless a newer one is known. Returns the uids to plan for: few, or none when nothing
    /// that matters changed.
    pub fn upsert(&mut self, item: Item) -> Vec<Arc<str>> {
        let old = self.items.get(&item.uid);
        if old.is_some_and(|old| old.resource_version > item.resource_version) {
            return Vec::new();
        }
        let unchanged = old.is_some_and(|old| old.is_like(&item));
        let former = old.map(|old| old.owners.clone()).unwrap_or_default();
        let item = self.share(item);
        let mut wake = BTreeSet::new();
        if !unchanged {
            self.unlink(&item.uid, &former);
            self.link(&item);
            self.wake_for_change(&item, &former, &mut wake);
        }
        self.absent.remove(&item.uid);
        self.items.insert(item.uid.clone(), item);
        wake.into_iter().collect()
    }

    /// Forgets an object that is gone. Returns the uids to plan for: its dependents, and owners that waited for it.
    pub fn remove(&mut self, uid: &str) -> Vec<Arc<str>> {
        let Some(item) = self.items.remove(uid) else { return Vec::new() };
        self.unlink(uid, &item.owners);
        let mut wake: BTreeSet<Arc<str>> = self.dependents.get(uid).cloned().unwrap_or_default();
        if !wake.is_empty() {
            let all = self.dependents(uid).flat_map(|dependent| sought(dependent, uid)).collect();
            self.absent.insert(item.uid.clone(), all);
        }
        wake.extend(item.owners.iter().filter(|owner| self.waits(&owner.uid)).map(|owner| owner.uid.clone()));
        // Two: this item and the set itself.
        if Arc::strong_count(&item.namespace) == 2 {
            self.namespaces.remove(&item.namespace);
        }
        wake.into_iter().collect()
    }

    /// The objects of a resource are found there from now on: another version of it is served.
    pub fn rename_resource(&mut self, from: &ResourceName, to: &Arc<ResourceName>) {
        self.items.values_mut().filter(|item| *item.resource == *from).for_each(|item| item.resource = to.clone());
    }

    /// Notes that an owner was looked for and does not exist. Returns the dependents that mean it so.
    pub fn mark_absent(&mut self, owner: &Sought) -> Vec<Arc<str>> {
        let Some((known, _)) = self.dependents.get_key_value(&owner.uid) else { return Vec::new() };
        if !self.items.contains_key(&owner.uid) {
            self.absent.entry(known.clone()).or_default().insert(owner.clone());
        }
        let means_it = |dependent: &&Item| sought(dependent, &owner.uid).any(|one| one == *owner);
        self.dependents(&owner.uid).filter(means_it).map(|dependent| dependent.uid.clone()).collect()
    }

    /// What to do about one object now. Nothing for one that is not here, or that is as it should be.
    pub fn plan(&self, uid: &str) -> Vec<Action> {
        self.items.get(uid).map(|item| plan::plan(self, item)).unwrap_or_default()
    }

    /// The objects that name this uid as an owner, by uid.
    pub fn dependents(&self, uid: &str) -> impl Iterator<Item = &Item> {
        self.dependents.get(uid).into_iter().flatten().filter_map(|uid| self.items.get(uid))
    }

    /// All objects of a resource, by uid. Walks over everything: for a new list, not for single events.
    pub fn of_resource<'a>(&'a self, resource: &'a ResourceName) -> impl Iterator<Item = &'a Item> {
        self.items.values().filter(move |item| *item.resource == *resource)
    }

    pub(super) fn is_absent(&self, owner: &Owner, namespace: &Arc<str>) -> bool {
        self.absent.get(&owner.uid).is_some_and(|all| all.contains(&Sought::new(owner, namespace)))
    }

    fn waits(&self, uid: &str) -> bool {
        self.items.get(uid).is_some_and(|owner| owner.waits_for_dependents() || owner.orphans_dependents())
    }

    fn wake_for_change(&self, item: &Item, former: &[Owner], wake: &mut BTreeSet<Arc<str>>) {
        let waiting = item.waits_for_dependents() || item.orphans_dependents();
        if !item.owners.is_empty() || waiting {
            wake.insert(item.uid.clone());
        }
        if waiting {
            wake.extend(self.dependents.get(&item.uid).into_iter().flatten().cloned());
        }
        let owners = item.owners.iter().chain(former);
        wake.extend(owners.filter(|owner| self.waits(&owner.uid)).map(|owner| owner.uid.clone()));
    }

    /// Ten thousand pods of one owner in one namespace say the same of both: they keep one copy.
    fn share(&mut self, mut item: Item) -> Item {
        match self.namespaces.get(&item.namespace) {
            Some(shared) => item.namespace = shared.clone(),
            None => drop(self.namespaces.insert(item.namespace.clone())),
        }
        let sibling = item.owners.first().and_then(|owner| self.dependents(&owner.uid).next());
        if let Some(sibling) = sibling.filter(|sibling| sibling.owners == item.owners) {
            item.owners = sibling.owners.clone();
        }
        item
    }

    fn link(&mut self, item: &Item) {
        for owner in item.owners.iter() {
            self.dependents.entry(owner.uid.clone()).or_default().insert(item.uid.clone());
        }
    }

    fn unlink(&mut self, uid: &str, owners: &[Owner]) {
        for owner in owners {
            if let Some(dependents) = self.dependents.get_mut(&owner.uid) {
                dependents.remove(uid);
                if dependents.is_empty() {
                    self.dependents.remove(&owner.uid);
                    self.absent.remove(&owner.uid);
                }
            }
        }
    }
}

/// How the item names the owner of this uid.
fn sought<'a>(item: &'a Item, uid: &'a str) -> impl Iterator<Item = Sought> + 'a {
    let references = item.owners.iter().filter(move |owner| *owner.uid == *uid);
    references.map(|owner| Sought::new(owner, &item.namespace))
}
