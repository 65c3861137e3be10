//! Watches of one object, or of what has one value in a field: each has a lane of its own, in which its events wait.
//!
//! The agents of a fleet each watch the pods of their own node. If each of them looked at every event, a rollout would
//! cost the number of nodes squared.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::{Entry, Event, Range, Revision};

/// So many events may wait for one watcher: far more than one node's pods make while its agent is away for a moment.
const WAITING_MAX: usize = 1_024;

/// The name of an object, as a field like others.
const NAME: &str = "metadata.name";

/// The lanes of one resource.
#[derive(Default)]
pub struct Lanes {
    /// By the field, then by its value.
    by_field: BTreeMap<String, ByValue>,
    /// Lanes with events that have not been shown yet.
    unshown: Vec<(Revision, Arc<Lane>)>,
}

type ByValue = HashMap<Arc<str>, Vec<Arc<Lane>>>;

/// What waits for one watcher.
pub struct Lane {
    range: Range,
    pub wake: Notify,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    events: VecDeque<Arc<Event>>,
    /// Events up to here are missing.
    lost: Option<Revision>,
}

impl Lanes {
    /// A lane for a range of little: `None` for one that is not, whose watchers look at everything.
    ///
    /// `missed`: the events since the watch's beginning; those after `visible` are yet to be shown.
    pub fn add<'a>(
        &mut self,
        range: &Range,
        missed: impl Iterator<Item = &'a Arc<Event>>,
        visible: Revision,
    ) -> Option<Arc<Lane>> {
        let (field, wanted) = wanted(range)?;
        let lane = Arc::new(Lane { range: range.clone(), wake: Notify::new(), waiting: Mutex::default() });
        for event in missed.filter(|event| range.sees(event)) {
            lane.push(event);
            if event.entry.revision > visible {
                self.unshown.push((event.entry.revision, lane.clone()));
            }
        }
        let lanes = self.by_field.entry(field.to_string()).or_default();
        lanes.entry(wanted.clone()).or_default().push(lane.clone());
        Some(lane)
    }

    pub fn remove(&mut self, lane: &Arc<Lane>) {
        let Some((field, wanted)) = wanted(&lane.range) else { return };
        let Some(values) = self.by_field.get_mut(field) else { return };
        if let Some(lanes) = values.get_mut(wanted) {
            lanes.retain(|other| !Arc::ptr_eq(other, lane));
            if lanes.is_empty() {
                values.remove(wanted);
            }
        }
        if values.is_empty() {
            self.by_field.remove(field);
        }
    }

    /// Puts an event where somebody waits for it, without showing it yet.
    pub fn put(&mut self, event: &Arc<Event>) {
        for (field, lanes) in &self.by_field {
            let now = value(&event.entry, field);
            let before = event.previous.as_deref().map(|entry| value(entry, field)).filter(|before| *before != now);
            let concerned = [Some(now), before].into_iter().flatten().filter_map(|value| lanes.get(value)).flatten();
            for lane in concerned.filter(|lane| lane.range.sees(event)) {
                lane.push(event);
                self.unshown.push((event.entry.revision, lane.clone()));
            }
        }
    }

    /// Wakes those whose events may be seen now that everything up to `revision` is shown.
    pub fn show(&mut self, revision: Revision) {
        let is_shown = |(hidden, _): &mut (Revision, _)| *hidden <= revision;
        self.unshown.extract_if(.., is_shown).for_each(|(_, lane)| lane.wake.notify_waiters());
    }

    /// Everybody has missed something up to `revision`.
    pub fn lose(&mut self, revision: Revision) {
        self.unshown.clear();
        for lane in self.all() {
            lane.lock().lose(revision);
            lane.wake.notify_waiters();
        }
    }

    #[cfg(test)]
    pub fn is_all_shown(&self) -> bool {
        self.unshown.is_empty()
    }

    pub fn wake(&self) {
        self.all().for_each(|lane| lane.wake.notify_waiters());
    }

    fn all(&self) -> impl Iterator<Item = &Arc<Lane>> {
        self.by_field.values().flat_map(|lanes| lanes.values().flatten())
    }
}

/// The field by which the objects of a range are known, and the value that they have in it.
fn wanted(range: &Range) -> Option<(&str, &Arc<str>)> {
    match (&range.field, &range.name) {
        (Some(field), _) => Some((&field.name, &field.value)),
        (None, Some(name)) => Some((NAME, name)),
        (None, None) => None,
    }
}

fn value<'a>(entry: &'a Entry, field: &str) -> &'a str {
    if field == NAME { &entry.key.name } else { entry.field(field) }
}

impl Lane {
    fn push(&self, event: &Arc<Event>) {
        let mut waiting = self.lock();
        if waiting.events.len() >= WAITING_MAX {
            waiting.lose(event.entry.revision);
        }
        if waiting.lost.is_none() {
            waiting.events.push_back(event.clone());
        }
    }

    /// The first that waits and may be seen.
    ///
    /// # Errors
    /// Up to where events are missing.
    pub fn take(&self, visible: Revision) -> Result<Option<Arc<Event>>, Revision> {
        let mut waiting = self.lock();
        match waiting.lost {
            Some(lost) => Err(lost),
            None if waiting.events.front().is_none_or(|event| event.entry.revision > visible) => Ok(None),
            None => Ok(waiting.events.pop_front()),
        }
    }

    /// Whether something that may be seen waits, or is missing.
    pub fn is_behind(&self, visible: Revision) -> bool {
        let waiting = self.lock();
        waiting.lost.is_some() || waiting.events.front().is_some_and(|event| event.entry.revision <= visible)
    }

    /// No code that holds the lock can leave it half-changed by a panic.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn lose(&mut self, revision: Revision) {
        (self.events, self.lost) = (VecDeque::new(), Some(revision));
    }
}
