//! Who owns whom.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{FOREGROUND, ORPHAN};
use crate::garbage::plan::{self, Action};
use backstay_api::{ObjectKey, meta};

/// Where objects of a kind are found: group, version and plural.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceName {
    pub group: String,
    pub version: String,
    pub plural: String,
}

/// One owner reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    pub uid: String,
    pub api_version: String,
    pub kind: String,
    pub name: String,
    /// `blockOwnerDeletion`: a foreground deletion of the owner waits for this dependent.
    pub blocks: bool,
}

/// What garbage collection knows of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    pub uid: String,
    pub resource: ResourceName,
    pub key: ObjectKey,
    pub resource_version: String,
    pub owners: Vec<Owner>,
    pub finalizers: Vec<String>,
    pub being_deleted: bool,
}

impl Item {
    /// Reads an object's metadata; `None` if it has no uid yet.
    pub fn of(resource: &ResourceName, object: &Value) -> Option<Self> {
        let uid = meta::uid(object);
        if uid.is_empty() {
            return None;
        }
        Some(Self {
            uid: uid.to_string(),
            resource: resource.clone(),
            key: meta::key(object),
            resource_version: meta::resource_version(object).to_string(),
            owners: meta::owner_references(object).iter().map(owner).collect(),
            finalizers: meta::finalizers(object).map(str::to_string).collect(),
            being_deleted: meta::is_being_deleted(object),
        })
    }

    pub fn has_finalizer(&self, name: &str) -> bool {
        self.finalizers.iter().any(|finalizer| finalizer == name)
    }

    /// Waits for its blocking dependents to go.
    pub fn waits_for_dependents(&self) -> bool {
        self.being_deleted && self.has_finalizer(FOREGROUND)
    }

    /// Waits for its dependents to lose their owner reference.
    pub fn orphans_dependents(&self) -> bool {
        self.being_deleted && self.has_finalizer(ORPHAN)
    }
}

fn owner(reference: &Value) -> Owner {
    let text = |field| meta::str_at(reference, &[field]).to_string();
    Owner {
        uid: text("uid"),
        api_version: text("apiVersion"),
        kind: text("kind"),
        name: text("name"),
        blocks: reference.get("blockOwnerDeletion") == Some(&Value::Bool(true)),
    }
}

/// All objects by uid, with the dependents of each uid (also of owners that do not exist).
#[derive(Debug, Default)]
pub struct Graph {
    items: BTreeMap<String, Item>,
    dependents: BTreeMap<String, BTreeSet<String>>,
    /// Owners that were looked for and are not there. A uid is never given twice, so this stays true.
    absent: BTreeSet<String>,
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

    /// Takes in an object's newest state. Returns the uids to plan for: few, or none when nothing that matters changed.
    pub fn upsert(&mut self, item: Item) -> Vec<String> {
        let old = self.items.get(&item.uid);
        let unchanged = old.is_some_and(|old| {
            old.owners == item.owners && old.finalizers == item.finalizers && old.being_deleted == item.being_deleted
        });
        let former: Vec<Owner> = old.map(|old| old.owners.clone()).unwrap_or_default();
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
    pub fn remove(&mut self, uid: &str) -> Vec<String> {
        let Some(item) = self.items.remove(uid) else { return Vec::new() };
        self.unlink(uid, &item.owners);
        let mut wake: BTreeSet<String> = self.dependents.get(uid).cloned().unwrap_or_default();
        if !wake.is_empty() {
            self.absent.insert(uid.to_string());
        }
        wake.extend(item.owners.iter().filter(|owner| self.waits(&owner.uid)).map(|owner| owner.uid.clone()));
        wake.into_iter().collect()
    }

    /// Notes that an owner was looked for and does not exist. Returns its dependents.
    pub fn mark_absent(&mut self, uid: &str) -> Vec<String> {
        let dependents: Vec<String> = self.dependents.get(uid).into_iter().flatten().cloned().collect();
        if !dependents.is_empty() && !self.items.contains_key(uid) {
            self.absent.insert(uid.to_string());
        }
        dependents
    }

    /// What to do about one object now. Nothing for one that is not here, or that is as it should be.
    pub fn plan(&self, uid: &str) -> Vec<Action> {
        self.items.get(uid).map(|item| plan::plan(self, item)).unwrap_or_default()
    }

    /// The objects that name this uid as an owner, by uid.
    pub fn dependents(&self, uid: &str) -> impl Iterator<Item = &Item> {
        self.dependents.get(uid).into_iter().flatten().filter_map(|uid| self.items.get(uid))
    }

    pub(super) fn is_absent(&self, uid: &str) -> bool {
        self.absent.contains(uid)
    }

    fn waits(&self, uid: &str) -> bool {
        self.items.get(uid).is_some_and(|owner| owner.waits_for_dependents() || owner.orphans_dependents())
    }

    fn wake_for_change(&self, item: &Item, former: &[Owner], wake: &mut BTreeSet<String>) {
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

    fn link(&mut self, item: &Item) {
        for owner in &item.owners {
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
