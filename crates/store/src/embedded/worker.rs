//! The committer thread: drains the queue, one durable transaction per batch.

use std::sync::Arc;
use std::time::Duration;

use backstay_api::causes::chain;
use tokio::sync::{mpsc, oneshot};

use super::disk::Disk;
use crate::committer::Committer;
use crate::front::Front;
use crate::{Entry, Event, Key, Operation, Snapshot, State, StoreError};

/// Commits in one transaction. More would not make the fsync cheaper per commit, only the first one's wait longer.
const BATCH_MAX: usize = 1_024;

/// Bytes of values in one transaction, beyond which the next one begins: redb holds a transaction in memory.
const BATCH_BYTES_MAX: usize = 8 << 20;

/// A batch of at least so many commits says that many write at once, and that more are on their way: then the next
/// batch waits a moment for them, since a transaction costs the processor as much as several commits in it. Whoever
/// writes alone never waits.
const BUSY_MIN: usize = 4;
/// How long to wait at a time. When nothing comes within it, everybody waits for us.
const GATHER_STEP: Duration = Duration::from_micros(250);
const GATHER_STEPS_MAX: usize = 8;

pub enum Request {
    Commit { key: Key, operation: Operation, answer: Answer },
    Close { answer: oneshot::Sender<()> },
}

type Outcome = Result<Arc<Entry>, StoreError>;
type Answer = oneshot::Sender<Outcome>;

pub struct Worker {
    front: Arc<Front>,
    committer: Committer,
    disk: Disk,
    requests: mpsc::Receiver<Request>,
    /// Commits in the batch before.
    last: usize,
}

/// Operations that become durable together, and what to answer once they are.
#[derive(Default)]
struct Batch {
    events: Vec<Arc<Event>>,
    answers: Vec<(Answer, Outcome)>,
    bytes: usize,
    close: Option<oneshot::Sender<()>>,
}

impl Batch {
    fn is_full(&self) -> bool {
        self.answers.len() >= BATCH_MAX || self.bytes >= BATCH_BYTES_MAX || self.close.is_some()
    }
}

impl Worker {
    pub fn new(front: Arc<Front>, disk: Disk, requests: mpsc::Receiver<Request>) -> Self {
        let committer = Committer::new(State::clone(&front.state()));
        Self { front, committer, disk, requests, last: 0 }
    }

    /// Works until the queue is closed or a `Close` comes.
    pub fn run(mut self) {
        // Also when this thread panics: watchers must not wait for events that cannot come.
        let _stop = StopOnDrop(self.front.clone());
        while let Some(first) = self.requests.blocking_recv() {
            let batch = self.collect(first);
            let close = self.commit(batch);
            if let Some(answer) = close {
                self.requests.close();
                while let Some(late) = self.requests.blocking_recv() {
                    refuse(late);
                }
                drop(self.disk);
                self.front.stop();
                let _ = answer.send(());
                return;
            }
        }
    }

    /// The first request, whatever waits behind it, and in busy times what comes a little later.
    fn collect(&mut self, first: Request) -> Batch {
        let mut batch = Batch::default();
        self.take(&mut batch, first);
        self.drain(&mut batch);
        let steps = if self.last >= BUSY_MIN { GATHER_STEPS_MAX } else { 0 };
        for _ in 0..steps {
            let before = batch.answers.len();
            if batch.is_full() {
                break;
            }
            std::thread::sleep(GATHER_STEP);
            self.drain(&mut batch);
            if batch.answers.len() == before {
                break;
            }
        }
        self.last = batch.answers.len();
        batch
    }

    fn drain(&mut self, batch: &mut Batch) {
        while !batch.is_full()
            && let Ok(request) = self.requests.try_recv()
        {
            self.take(batch, request);
        }
    }

    fn take(&mut self, batch: &mut Batch, request: Request) {
        match request {
            Request::Commit { key, operation, answer } => self.check(batch, key, operation, answer),
            Request::Close { answer } => batch.close = Some(answer),
        }
    }

    /// Even a refusal waits for the batch: what it refers to may be in the same batch, and not durable yet.
    fn check(&mut self, batch: &mut Batch, key: Key, operation: Operation, answer: Answer) {
        let outcome = self.committer.apply(key, operation).map(|event| {
            batch.bytes += event.entry.value.len();
            let entry = event.entry.clone();
            batch.events.push(event);
            entry
        });
        batch.answers.push((answer, outcome));
    }

    /// Makes a batch durable, then visible, then answers. Returns the `Close` that was in it.
    fn commit(&mut self, batch: Batch) -> Option<oneshot::Sender<()>> {
        let published = self.front.state();
        let written = match batch.events.is_empty() {
            true => Ok(()),
            false => self.disk.write(&batch.events, &published),
        };
        match written {
            Ok(()) => {
                if !batch.events.is_empty() {
                    self.front.publish(self.committer.state().clone(), &batch.events);
                }
                // Whoever stopped waiting for an answer has dropped its end.
                batch.answers.into_iter().for_each(|(answer, outcome)| drop(answer.send(outcome)));
            }
            Err(error) => {
                let reason = chain(&error);
                let revision = published.revision();
                tracing::error!(revision, error = %reason, "{} commits not written", batch.answers.len());
                self.committer.take_back(&published);
                for (answer, _) in batch.answers {
                    let _ = answer.send(Err(StoreError::Unavailable { reason: reason.clone() }));
                }
            }
        }
        batch.close
    }
}

fn refuse(request: Request) {
    match request {
        Request::Commit { answer, .. } => {
            let _ = answer.send(Err(super::closed()));
        }
        Request::Close { answer } => {
            let _ = answer.send(());
        }
    }
}

struct StopOnDrop(Arc<Front>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop();
    }
}
