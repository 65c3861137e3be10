//! Checks operations against the newest state, pending ones included, and gives them their revisions. Does no I/O:
//! the engine makes the changes durable, then publishes them, or takes them back.

use std::sync::{Arc, OnceLock};

use crate::{Encoded, Entry, Event, EventKind, Key, Operation, Revision, Snapshot, State, StoreError};

/// The state with all pending operations carried out.
pub struct Committer {
    pending: State,
    /// The newest revision ever given, to operations that were taken back as well: none is given twice.
    given: Revision,
}

impl Committer {
    pub fn new(state: State) -> Self {
        Self { given: state.revision(), pending: state }
    }

    /// The state after all operations so far.
    pub fn state(&self) -> &State {
        &self.pending
    }

    /// Carries out one operation.
    ///
    /// # Errors
    /// `Exists`, `NotFound`, `Conflict`; nothing has changed then.
    pub fn apply(&mut self, key: Key, operation: Operation) -> Result<Arc<Event>, StoreError> {
        let current = self.pending.get(&key);
        match operation {
            Operation::Create { value } => match current {
                Some(current) => Err(StoreError::Exists { key, current }),
                None => Ok(self.put(EventKind::Added, self.pending.intern(key), &value, None)),
            },
            Operation::Update { value, expected } => {
                let previous = expect(key, current, expected)?;
                Ok(self.put(EventKind::Modified, previous.key.clone(), &value, Some(previous)))
            }
            Operation::Delete { last, expected } => {
                let previous = expect(key, current, expected)?;
                Ok(self.put(EventKind::Deleted, previous.key.clone(), &last, Some(previous)))
            }
        }
    }

    /// Takes all pending operations back. Their revisions stay used up.
    pub fn take_back(&mut self, published: &State) {
        self.pending = published.clone();
    }

    fn put(&mut self, kind: EventKind, key: Key, value: &Encoded, previous: Option<Arc<Entry>>) -> Arc<Event> {
        self.given += 1;
        let revision = self.given;
        // Most changes are none to the index: then all states share it.
        let known = previous.as_ref().map(|previous| &previous.index).filter(|known| **known == value.index);
        let (value, index) = (value.at(revision), known.unwrap_or(&value.index).clone());
        let entry = Arc::new(Entry { key, revision, value, index, messages: OnceLock::new() });
        match kind {
            EventKind::Deleted => self.pending.remove(&entry.key),
            EventKind::Added | EventKind::Modified => self.pending.insert(entry.clone()),
        };
        self.pending.set_revision(revision);
        Arc::new(Event { kind, entry, previous })
    }
}

fn expect(key: Key, current: Option<Arc<Entry>>, expected: Revision) -> Result<Arc<Entry>, StoreError> {
    match current {
        None => Err(StoreError::NotFound { key }),
        Some(current) if current.revision != expected => Err(StoreError::Conflict { key, current }),
        Some(current) => Ok(current),
    }
}
