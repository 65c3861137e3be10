//! The committer thread: drains the queue, one durable transaction per batch.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::disk::{Disk, chain};
use crate::committer::Committer;
use crate::front::Front;
use crate::{Entry, Event, Key, Operation, Snapshot, State, StoreError};

/// Commits in one transaction. More would not make the fsync cheaper per commit, only the first one's wait longer.
const BATCH_MAX: usize = 1_024;

/// Bytes of values in one transaction, beyond which the next one begins: redb holds a transaction in memory.
const BATCH_BYTES_MAX: usize = 8 << 20;

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
}

/// Operations that become durable together, and what to answer once they are.
#[derive(Default)]
struct Batch {
    events: Vec<Arc<Event>>,
    answers: Vec<(Answer, Outcome)>,
    bytes: usize,
    close: Option<oneshot::Sender<()>>,
}

impl Worker {
    pub fn new(front: Arc<Front>, disk: Disk, requests: mpsc::Receiver<Request>) -> Self {
        let committer = Committer::new(State::clone(&front.state()));
        Self { front, committer, disk, requests }
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

    /// The first request and whatever waits behind it.
    fn collect(&mut self, first: Request) -> Batch {
        let mut batch = Batch::default();
        let mut next = Some(first);
        while let Some(request) = next {
            match request {
                Request::Commit { key, operation, answer } => self.check(&mut batch, key, operation, answer),
                Request::Close { answer } => batch.close = Some(answer),
            }
            let full = batch.answers.len() >= BATCH_MAX || batch.bytes >= BATCH_BYTES_MAX || batch.close.is_some();
            next = if full { None } else { self.requests.try_recv().ok() };
        }
        batch
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
