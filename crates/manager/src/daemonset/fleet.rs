//! All DaemonSets and what concerns them: which view is told of which change.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use backstay_controllers::daemonset::View;
use backstay_controllers::model::{ControllerRevision, DaemonSet, Meta, Node, Object, Pod};
use jiff::Timestamp;

use crate::inform::{Cache, Change, Effect};

/// Namespace and name of a DaemonSet.
pub type Key = (Arc<str>, Arc<str>);

/// The caches, a view per DaemonSet, and which views have changed since they were last planned for.
#[derive(Default)]
pub struct Fleet {
    pub daemonsets: Cache<DaemonSet>,
    pub revisions: Cache<ControllerRevision>,
    pub nodes: Cache<Node>,
    pub pods: Cache<Pod>,
    pub views: BTreeMap<Key, View>,
    pub dirty: BTreeSet<Key>,
    by_uid: BTreeMap<Arc<str>, Key>,
}

/// An object that concerns some DaemonSets of its namespace: its owner, or if it has none, all whose selector might match.
trait Owned: Object {
    /// The DaemonSet of the namespace that it also concerns, whoever owns it: it has a name that this one may need.
    fn in_the_way_of(&self) -> Option<&str> {
        None
    }

    fn enter(self: Arc<Self>, view: &mut View);
    fn leave(&self, view: &mut View);
}

impl Owned for Pod {
    fn enter(self: Arc<Self>, view: &mut View) {
        view.set_pod(self);
    }

    fn leave(&self, view: &mut View) {
        view.remove_pod(&self.meta.uid);
    }
}

impl Owned for ControllerRevision {
    fn in_the_way_of(&self) -> Option<&str> {
        self.meta.name.rsplit_once('-').map(|(daemonset, _)| daemonset)
    }

    fn enter(self: Arc<Self>, view: &mut View) {
        view.set_revision(self);
    }

    fn leave(&self, view: &mut View) {
        view.remove_revision(&self.meta.name);
    }
}

impl Fleet {
    /// Whether everything has been listed; before that nothing may be decided.
    pub fn is_listed(&self) -> bool {
        self.daemonsets.is_listed() && self.revisions.is_listed() && self.nodes.is_listed() && self.pods.is_listed()
    }

    pub fn key_of(&self, uid: &str) -> Option<&Key> {
        self.by_uid.get(uid)
    }

    pub fn hear_daemonsets(&mut self, changes: &[Change<DaemonSet>], now: Timestamp) {
        for effect in changes.iter().flat_map(|change| self.daemonsets.apply(change)).collect::<Vec<_>>() {
            self.daemonset(effect, now);
        }
    }

    pub fn hear_nodes(&mut self, changes: &[Change<Node>]) {
        for change in changes {
            for effect in self.nodes.apply(change) {
                self.node(effect);
            }
        }
    }

    pub fn hear_pods(&mut self, changes: &[Change<Pod>]) {
        for change in changes {
            for effect in self.pods.apply(change) {
                self.owned(effect);
            }
        }
    }

    pub fn hear_revisions(&mut self, changes: &[Change<ControllerRevision>]) {
        for change in changes {
            for effect in self.revisions.apply(change) {
                self.owned(effect);
            }
        }
    }

    /// The answer to a write of a DaemonSet.
    pub fn wrote_daemonset(&mut self, daemonset: Arc<DaemonSet>, now: Timestamp) {
        for effect in self.daemonsets.set(daemonset) {
            self.daemonset(effect, now);
        }
    }

    pub fn wrote_pod(&mut self, pod: Arc<Pod>) {
        for effect in self.pods.set(pod) {
            self.owned(effect);
        }
    }

    pub fn wrote_revision(&mut self, revision: Arc<ControllerRevision>) {
        for effect in self.revisions.set(revision) {
            self.owned(effect);
        }
    }

    /// The server says that the pod is gone.
    pub fn lost_pod(&mut self, namespace: &str, name: &str, uid: &Arc<str>) {
        if let Some(effect) = self.pods.remove(namespace, name, uid) {
            self.owned(effect);
        }
    }

    pub fn lost_revision(&mut self, namespace: &str, name: &str, uid: &Arc<str>) {
        if let Some(effect) = self.revisions.remove(namespace, name, uid) {
            self.owned(effect);
        }
    }

    fn daemonset(&mut self, effect: Effect<DaemonSet>, now: Timestamp) {
        match effect {
            Effect::Removed(daemonset) => {
                let key = key(&daemonset.meta);
                self.by_uid.remove(&daemonset.meta.uid);
                self.views.remove(&key);
                self.dirty.remove(&key);
            }
            Effect::Set { new, .. } => {
                let key = key(&new.meta);
                self.by_uid.insert(new.meta.uid.clone(), key.clone());
                match self.views.get_mut(&key) {
                    Some(view) => view.set_daemonset(new),
                    None => {
                        let view = self.new_view(new, now);
                        self.views.insert(key.clone(), view);
                    }
                }
                self.dirty.insert(key);
            }
        }
    }

    /// A view of a DaemonSet that has just appeared, told of everything there is.
    fn new_view(&self, daemonset: Arc<DaemonSet>, now: Timestamp) -> View {
        let namespace = daemonset.meta.namespace.clone();
        let uid = daemonset.meta.uid.clone();
        let mut view = View::new(daemonset, now);
        for node in self.nodes.iter() {
            view.set_node(node.clone());
        }
        for pod in self.pods.in_namespace(&namespace) {
            if pod.meta.controller.as_ref().is_none_or(|owner| owner.uid == uid) {
                view.set_pod(pod.clone());
            }
        }
        for revision in self.revisions.in_namespace(&namespace) {
            view.set_revision(revision.clone());
        }
        view
    }

    fn node(&mut self, effect: Effect<Node>) {
        match effect {
            Effect::Set { old: Some(old), new } if old.places_like(&new) => {}
            Effect::Set { new, .. } => {
                for (key, view) in &mut self.views {
                    view.set_node(new.clone());
                    self.dirty.insert(key.clone());
                }
            }
            Effect::Removed(node) => {
                for (key, view) in &mut self.views {
                    view.remove_node(&node.meta.name);
                    self.dirty.insert(key.clone());
                }
            }
        }
    }

    fn owned<T: Owned>(&mut self, effect: Effect<T>) {
        match effect {
            Effect::Set { old, new } => {
                let mut keys = self.concerned(&*new);
                if let Some(old) = old.filter(|old| old.meta().controller != new.meta().controller) {
                    keys.extend(self.concerned(&*old));
                }
                for key in keys {
                    if let Some(view) = self.views.get_mut(&key) {
                        new.clone().enter(view);
                        self.dirty.insert(key);
                    }
                }
            }
            Effect::Removed(object) => {
                for key in self.concerned(&*object) {
                    if let Some(view) = self.views.get_mut(&key) {
                        object.leave(view);
                        self.dirty.insert(key);
                    }
                }
            }
        }
    }

    fn concerned<T: Owned>(&self, object: &T) -> BTreeSet<Key> {
        let meta = object.meta();
        let Some(owner) = &meta.controller else {
            let from: Key = (meta.namespace.clone(), "".into());
            let here = self.views.range(from..).take_while(|((namespace, _), _)| *namespace == meta.namespace);
            return here.map(|(key, _)| key.clone()).collect();
        };
        let hindered = object.in_the_way_of().map(|name| (meta.namespace.clone(), name.into()));
        let hindered = hindered.filter(|key| self.views.contains_key(key));
        // Of its own namespace: whoever can make objects in another has no say here.
        let owner = self.by_uid.get(&owner.uid).filter(|(namespace, _)| *namespace == meta.namespace);
        owner.cloned().into_iter().chain(hindered).collect()
    }
}

fn key(meta: &Meta) -> Key {
    (meta.namespace.clone(), meta.name.clone())
}

#[cfg(test)]
mod tests;
