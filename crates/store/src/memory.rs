//! The engine that keeps everything in memory: no threads, no clock, the same answers every time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use crate::committer::Committer;
use crate::front::{Front, LogLimits};
use crate::{Entry, Key, Operation, Range, Revision, Snapshot, State, Store, StoreError, Watch};

/// A store for simulation and tests. A commit is done within the call; "durable" means until it is dropped.
pub struct MemoryStore {
    front: Front,
    committer: Mutex<Committer>,
    closed: AtomicBool,
}

impl MemoryStore {
    pub fn new() -> Self {
        Self::with_limits(LogLimits::default())
    }

    pub fn with_limits(limits: LogLimits) -> Self {
        Self {
            front: Front::new(State::default(), limits),
            committer: Mutex::new(Committer::new(State::default())),
            closed: AtomicBool::new(false),
        }
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn commit(&self, key: Key, operation: Operation) -> Result<Arc<Entry>, StoreError> {
        let mut committer = self.committer.lock().unwrap_or_else(PoisonError::into_inner);
        if self.closed.load(Ordering::Acquire) {
            return Err(StoreError::Unavailable { reason: "the store is closed".into() });
        }
        let event = committer.apply(key, operation)?;
        let entry = event.entry.clone();
        self.front.publish(committer.state().clone(), &[event]);
        Ok(entry)
    }

    fn snapshot(&self) -> Arc<dyn Snapshot> {
        self.front.state()
    }

    fn snapshot_at(&self, revision: Revision) -> Result<Arc<dyn Snapshot>, StoreError> {
        self.front.snapshot_at(revision)
    }

    fn keep(&self, snapshot: Arc<dyn Snapshot>) {
        self.front.keep(snapshot);
    }

    fn watch(&self, range: Range, from: Revision) -> Result<Box<dyn Watch>, StoreError> {
        self.front.watch(range, from)
    }

    fn oldest(&self) -> Revision {
        self.front.oldest()
    }

    async fn compact(&self, revision: Revision) -> Result<(), StoreError> {
        self.front.compact(revision);
        Ok(())
    }

    async fn close(&self) {
        let _no_commit_underway = self.committer.lock().unwrap_or_else(PoisonError::into_inner);
        self.closed.store(true, Ordering::Release);
        self.front.stop();
    }
}
