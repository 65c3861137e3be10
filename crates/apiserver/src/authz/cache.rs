//! Keeps the rule index up to date: built again when an RBAC object has changed, and only then.

use std::sync::{Arc, Mutex, PoisonError};

use backstay_store::{Range, Store, Watch};

use super::node::{NodeAuthorizer, Selected};
use super::objects::range;
use super::{Attributes, Decision, RuleIndex};

const KINDS: [&str; 4] = ["Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"];

/// Answers from the newest RBAC objects: whoever has been told that a binding is written can rely on it.
pub struct Authorizer {
    store: Arc<dyn Store>,
    ranges: [Range; 4],
    nodes: NodeAuthorizer,
    current: Mutex<Option<Current>>,
}

/// An index, and the watches that tell when it is out of date.
struct Current {
    index: Arc<RuleIndex>,
    watches: Vec<Box<dyn Watch>>,
}

impl Authorizer {
    pub fn new(store: Arc<dyn Store>) -> Self {
        let nodes = NodeAuthorizer::new(store.clone());
        Self { store, ranges: KINDS.map(range), nodes, current: Mutex::new(None) }
    }

    pub fn authorize(&self, attributes: &Attributes<'_>) -> Decision {
        self.authorize_selecting(attributes, Selected::default())
    }

    /// As [`Authorizer::authorize`], for a list or watch of a part that nodes may see.
    pub fn authorize_selecting(&self, attributes: &Attributes<'_>, selected: Selected<'_>) -> Decision {
        if self.nodes.allows(attributes, selected) {
            return Decision { allowed: true, reason: String::new() };
        }
        self.rules().authorize(attributes)
    }

    /// The index of the newest RBAC objects.
    pub fn rules(&self) -> Arc<RuleIndex> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(current) = current.as_mut()
            && current.is_fresh()
        {
            return current.index.clone();
        }
        let (index, watches) = self.build();
        *current = watches.map(|watches| Current { index: index.clone(), watches });
        index
    }

    /// No watches if the store does not give them just now; the index is then built again next time.
    fn build(&self) -> (Arc<RuleIndex>, Option<Vec<Box<dyn Watch>>>) {
        let snapshot = self.store.snapshot();
        let watch = |range: &Range| self.store.watch(range.clone(), snapshot.revision()).ok();
        (Arc::new(RuleIndex::build(&*snapshot)), self.ranges.iter().map(watch).collect())
    }
}

impl Current {
    fn is_fresh(&mut self) -> bool {
        self.watches.iter_mut().all(|watch| matches!(watch.try_next(), Ok(None)))
    }
}
