//! What readers and watchers see of an engine: the published state, the event logs, the kept snapshots.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

pub use crate::log::LogLimits;
use crate::log::Logs;
use crate::{Event, Range, Revision, Snapshot, State, StoreError, Watch};

/// Lists that are being paged at the same time. Snapshots share what did not change, so one costs only the past that
/// it holds on to.
const KEPT_SNAPSHOTS_MAX: usize = 64;

/// A snapshot holds on to at most one old entry per commit since: about 130 MB of pods at the very worst.
const KEPT_SNAPSHOT_AGE_MAX: u64 = 32_768;

/// The reading half of an engine. Reads never wait for a commit.
pub struct Front {
    published: RwLock<Arc<State>>,
    logs: Arc<Logs>,
    kept: Mutex<BTreeMap<Revision, Arc<dyn Snapshot>>>,
}

impl Front {
    pub fn new(state: State, limits: LogLimits) -> Self {
        Self {
            logs: Arc::new(Logs::new(state.revision(), limits)),
            published: RwLock::new(Arc::new(state)),
            kept: Mutex::default(),
        }
    }

    /// Shows a newer state, and the events that lead to it, to everyone at once.
    pub fn publish(&self, state: State, events: &[Arc<Event>]) {
        let revision = state.revision();
        self.logs.append(events);
        let old = {
            // Both while nobody can read: otherwise some would read what they cannot watch from, or hear what they
            // cannot read.
            let mut published = self.published.write().unwrap_or_else(PoisonError::into_inner);
            self.logs.show(revision);
            std::mem::replace(&mut *published, Arc::new(state))
        };
        self.logs.wake(revision, events);
        self.forget_kept(revision.saturating_sub(KEPT_SNAPSHOT_AGE_MAX));
        drop(old); // after all locks: it may hold the last reference to many entries
    }

    /// Shows a state that no known events lead to. Watchers that are under way have missed some, and are told.
    pub fn restart(&self, state: State) {
        let revision = state.revision();
        let old = {
            // As above.
            let mut published = self.published.write().unwrap_or_else(PoisonError::into_inner);
            self.logs.restart(revision);
            std::mem::replace(&mut *published, Arc::new(state))
        };
        self.forget_kept(revision);
        drop(old); // as above
    }

    pub fn state(&self) -> Arc<State> {
        self.published.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn snapshot_at(&self, revision: Revision) -> Result<Arc<dyn Snapshot>, StoreError> {
        let newest = self.state();
        if revision == newest.revision() {
            return Ok(newest);
        }
        if revision > newest.revision() {
            return Err(StoreError::Future { asked: revision, newest: newest.revision() });
        }
        let kept = self.kept();
        let oldest = kept.keys().next().copied().unwrap_or(newest.revision());
        kept.get(&revision).cloned().ok_or(StoreError::Compacted { asked: revision, oldest })
    }

    pub fn keep(&self, snapshot: Arc<dyn Snapshot>) {
        let mut kept = self.kept();
        kept.entry(snapshot.revision()).or_insert(snapshot);
        let surplus = if kept.len() > KEPT_SNAPSHOTS_MAX { kept.pop_first() } else { None };
        drop(kept);
        drop(surplus);
    }

    pub fn watch(&self, range: Range, from: Revision) -> Result<Box<dyn Watch>, StoreError> {
        Ok(Box::new(self.logs.watch(range, from)?))
    }

    pub fn oldest(&self) -> Revision {
        self.logs.oldest()
    }

    /// Forgets events up to `revision`, and snapshots before it.
    pub fn compact(&self, revision: Revision) {
        let revision = revision.min(self.logs.visible());
        self.logs.compact(revision);
        self.forget_kept(revision);
    }

    pub fn stop(&self) {
        self.logs.stop();
    }

    fn forget_kept(&self, before: Revision) {
        let mut kept = self.kept();
        if kept.keys().next().is_some_and(|oldest| *oldest < before) {
            let young = kept.split_off(&before);
            let old = std::mem::replace(&mut *kept, young);
            drop(kept);
            drop(old);
        }
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, BTreeMap<Revision, Arc<dyn Snapshot>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;

    use super::*;
    use crate::{Entry, EventKind, Key};

    const COMMITS: Revision = 50_000;

    fn event(revision: Revision, previous: Option<Arc<Entry>>) -> Arc<Event> {
        let key = Key::new("pods", "d", "a");
        let entry = Entry { key, revision, value: "{}".into(), index: Arc::default(), messages: OnceLock::new() };
        let kind = if previous.is_some() { EventKind::Modified } else { EventKind::Added };
        Arc::new(Event { kind, entry: Arc::new(entry), previous })
    }

    /// While somebody commits: a watch can begin at every revision that is read, and what is heard can be read.
    #[test]
    fn reading_and_hearing_are_never_apart() {
        let front = Front::new(State::default(), LogLimits { events_max: COMMITS as usize, bytes_max: usize::MAX });
        std::thread::scope(|threads| {
            threads.spawn(|| {
                let mut last = None;
                for revision in 1..=COMMITS {
                    let event = event(revision, last);
                    last = Some(event.entry.clone());
                    let mut state = State::clone(&front.state());
                    state.insert(event.entry.clone());
                    state.set_revision(revision);
                    front.publish(state, &[event]);
                }
            });
            for mut seen in std::iter::repeat_with(|| front.state().revision()) {
                let mut watch = front.watch(Range::all("pods"), seen).expect("what has been read is not of the future");
                if let Some(event) = watch.try_next().expect("a watch that has just begun has missed nothing") {
                    seen = event.entry.revision;
                }
                assert!(front.state().revision() >= seen, "{seen} was heard of, and cannot be read");
                if seen == COMMITS {
                    break;
                }
            }
        });
    }
}
