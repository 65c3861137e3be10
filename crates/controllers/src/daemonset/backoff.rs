//! How long a node waits before its failed pod is replaced once more.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

const DELAY_FIRST: SignedDuration = SignedDuration::from_secs(1);
const DELAY_MAX: SignedDuration = SignedDuration::from_mins(15);
/// A node without failures for twice the longest delay starts anew.
const FORGET_AFTER: SignedDuration = SignedDuration::from_mins(30);

/// The failures of one DaemonSet's pods, by node. A new generation of the DaemonSet starts anew everywhere.
#[derive(Clone, Debug, Default)]
pub struct FailedPods {
    generation: i64,
    nodes: BTreeMap<Arc<str>, Failure>,
}

#[derive(Clone, Copy, Debug)]
struct Failure {
    last: Timestamp,
    delay: SignedDuration,
}

impl FailedPods {
    /// Says which generation the DaemonSet's status has observed; returns the nodes that need not wait any longer.
    pub fn set_generation(&mut self, generation: i64) -> Vec<Arc<str>> {
        if self.generation == generation {
            return Vec::new();
        }
        self.generation = generation;
        self.forget()
    }

    /// Returns the nodes that need not wait any longer.
    pub fn forget(&mut self) -> Vec<Arc<str>> {
        std::mem::take(&mut self.nodes).into_keys().collect()
    }

    /// When the next failed pod of the node may be replaced, if that is in the future.
    pub fn until(&self, node: &str, now: Timestamp) -> Option<Timestamp> {
        let failure = self.nodes.get(node)?;
        Some(failure.last + failure.delay).filter(|until| *until > now)
    }

    /// A failed pod of the node is being replaced.
    pub fn record(&mut self, node: &Arc<str>, now: Timestamp) {
        let delay = match self.nodes.get(node) {
            Some(failure) if now.duration_since(failure.last) <= FORGET_AFTER => (failure.delay * 2).min(DELAY_MAX),
            _ => DELAY_FIRST,
        };
        self.nodes.insert(node.clone(), Failure { last: now, delay });
    }

    pub fn forget_node(&mut self, node: &str) {
        self.nodes.remove(node);
    }
}
