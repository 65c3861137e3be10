//! The engine that keeps everything in one file, on `redb`, and a copy of it all in memory for readers.
//!
//! Commits queue up for one thread, which makes whatever is waiting durable in one transaction (group commit), then
//! publishes it, then answers. A failed transaction shows nothing to anybody; the engine opens its file again, gives the
//! disk once more what was not synced, and goes on when the disk does. Past events are not kept on disk: after a restart, watches begin at the revision loaded.

mod disk;
mod files;
mod record;
mod unsynced;
mod worker;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot};

use self::disk::Disk;
pub use self::disk::{DiskError, Opener};
use self::worker::{Request, Worker};
use crate::front::{Front, LogLimits};
use crate::{Entry, Key, Operation, Range, Revision, Snapshot, Store, StoreError, Watch};

/// Commits that may wait for the committer before callers wait to hand theirs over.
const QUEUE_MAX: usize = 4_096;

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("cannot create the data directory {}", .path.display())]
    CreateDirectory { path: PathBuf, source: std::io::Error },
    #[error("cannot lock {}", .path.display())]
    Lock { path: PathBuf, source: std::io::Error },
    #[error("the data in {} is in use by another process ({holder}); stop it first", .path.display())]
    InUse { path: PathBuf, holder: String },
    #[error("cannot create the data file {}", .path.display())]
    Create { path: PathBuf, source: DiskError },
    #[error("cannot read the data file {}; restore it from a copy, or move it away to begin anew", .path.display())]
    Read { path: PathBuf, source: DiskError },
    #[error("cannot start the committer thread")]
    Thread { source: std::io::Error },
}

/// A durable store in one directory.
pub struct EmbeddedStore {
    front: Arc<Front>,
    /// `None` once dropped; the committer ends when the queue does.
    queue: Option<mpsc::Sender<Request>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl EmbeddedStore {
    /// Opens the store in a directory, making both if they are not there. Reads everything, and checks every page.
    ///
    /// # Errors
    /// `InUse` while another process has it open; `Read` if anything in the file is not as it was written.
    pub fn open(directory: impl AsRef<Path>) -> Result<Self, OpenError> {
        let files = files::Files::prepare(directory.as_ref())?;
        let path = files.data_path();
        Self::start(Box::new(move || files.open()), LogLimits::default(), path)
    }

    /// A store on any kind of storage.
    ///
    /// # Errors
    /// As [`EmbeddedStore::open`].
    pub fn open_with(opener: Opener, limits: LogLimits) -> Result<Self, OpenError> {
        Self::start(opener, limits, PathBuf::new())
    }

    fn start(opener: Opener, limits: LogLimits, path: PathBuf) -> Result<Self, OpenError> {
        let (disk, state) = Disk::open(opener).map_err(|source| OpenError::Read { path, source })?;
        let front = Arc::new(Front::new(state, limits));
        let (queue, requests) = mpsc::channel(QUEUE_MAX);
        let worker = Worker::new(front.clone(), disk, requests);
        let thread = std::thread::Builder::new().name("committer".into()).spawn(move || worker.run());
        let thread = thread.map_err(|source| OpenError::Thread { source })?;
        Ok(Self { front, queue: Some(queue), thread: Mutex::new(Some(thread)) })
    }

    /// Hands a request over and waits for its answer.
    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        let queue = self.queue.as_ref().ok_or_else(closed)?;
        queue.send(request(answer)).await.map_err(|_| closed())?;
        answered.await.map_err(|_| closed())
    }
}

impl Drop for EmbeddedStore {
    /// Waits for the commits underway, so that the file can be opened again at once.
    fn drop(&mut self) {
        self.queue = None;
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the committer thread panicked");
        }
    }
}

#[async_trait]
impl Store for EmbeddedStore {
    /// A caller that stops waiting does not know the outcome: the commit may still happen.
    async fn commit(&self, key: Key, operation: Operation) -> Result<Arc<Entry>, StoreError> {
        self.ask(|answer| Request::Commit { key, operation, answer }).await?
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
        // Closed already, or the committer is gone: either way there is nothing left to end.
        let _ = self.ask(|answer| Request::Close { answer }).await;
    }
}

fn closed() -> StoreError {
    StoreError::Unavailable { reason: "the store is closed".into() }
}
