//! The classes of all nodes, added up and sorted by what is to be done.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;

use super::classify::{NodeClass, Step};

type Nodes = BTreeSet<Arc<str>>;

/// Kept up to date by difference: a node's old class is taken out, its new one put in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    pub desired: u32,
    pub current: u32,
    pub misscheduled: u32,
    pub ready: u32,
    pub updated: u32,
    pub available: u32,
    /// Nodes that take one of maxUnavailable, of maxSurge; nodes that count as served in an update with surge.
    pub rolling_unavailable: Nodes,
    pub rolling_surging: Nodes,
    pub rolling_available: u32,
    pub create: Nodes,
    pub delete: Nodes,
    /// One set for each kind of [`Step`].
    pub step_delete: Nodes,
    pub step_replace: Nodes,
    pub step_surge_at_once: Nodes,
    pub step_surge: Nodes,
    pub step_sunset: Nodes,
    pub recheck: BTreeSet<(Timestamp, Arc<str>)>,
}

impl Sums {
    pub fn replace(&mut self, node: &Arc<str>, old: &NodeClass, new: &NodeClass) {
        self.count(old, |sum| *sum -= 1);
        self.count(new, |sum| *sum += 1);
        self.sort(node, old, |set, node| {
            set.remove(node);
        });
        self.sort(node, new, |set, node| {
            set.insert(node.clone());
        });
        if let Some(at) = old.recheck_at {
            self.recheck.remove(&(at, node.clone()));
        }
        if let Some(at) = new.recheck_at {
            self.recheck.insert((at, node.clone()));
        }
    }

    /// The next node that time alone has changed by `now`.
    pub fn due(&self, now: Timestamp) -> Option<Arc<str>> {
        self.recheck.first().filter(|(at, _)| *at <= now).map(|(_, node)| node.clone())
    }

    fn count(&mut self, class: &NodeClass, add: impl Fn(&mut u32)) {
        let tally = &class.status;
        let counted = [
            (tally.desired, &mut self.desired),
            (tally.current, &mut self.current),
            (tally.misscheduled, &mut self.misscheduled),
            (tally.ready, &mut self.ready),
            (tally.updated, &mut self.updated),
            (tally.available, &mut self.available),
            (class.rolling.available, &mut self.rolling_available),
        ];
        counted.into_iter().filter(|(counts, _)| *counts).for_each(|(_, sum)| add(sum));
    }

    fn sort(&mut self, node: &Arc<str>, class: &NodeClass, put: impl Fn(&mut Nodes, &Arc<str>)) {
        let sorted = [
            (class.rolling.unavailable, &mut self.rolling_unavailable),
            (class.rolling.surging, &mut self.rolling_surging),
            (class.create, &mut self.create),
            (!class.delete.is_empty(), &mut self.delete),
        ];
        sorted.into_iter().filter(|(belongs, _)| *belongs).for_each(|(_, set)| put(set, node));
        let step = match &class.rolling.step {
            Step::Nothing => return,
            Step::Delete(_) => &mut self.step_delete,
            Step::Replace(_) => &mut self.step_replace,
            Step::SurgeAtOnce => &mut self.step_surge_at_once,
            Step::Surge => &mut self.step_surge,
            Step::Sunset(_) => &mut self.step_sunset,
        };
        put(step, node);
    }
}
