//! How many requests are served at once. Others wait their turn, so that a burst is slow and not refused; only a queue
//! that grows without end is.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::request::{Intent, RequestInfo, Verb};
use crate::server::Limits;

/// What a request is to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nature {
    Read,
    Write,
    /// Lasts as long as the client likes: watches, logs.
    Stream,
    /// Must be answered even when the server is busy.
    Health,
}

impl Nature {
    pub fn of(info: &RequestInfo) -> Self {
        match &info.intent {
            Intent::Resource { verb, target } => {
                let streams = ["log", "exec", "attach", "portforward", "proxy"];
                let streams = target.subresource.as_deref().is_some_and(|name| streams.contains(&name));
                match verb {
                    _ if streams || *verb == Verb::Watch => Nature::Stream,
                    verb if verb.is_read() => Nature::Read,
                    _ => Nature::Write,
                }
            }
            Intent::NonResource { .. } => match info.path.split('/').nth(1) {
                Some("healthz" | "livez" | "readyz") => Nature::Health,
                _ => Nature::Read,
            },
        }
    }
}

/// Lets requests in as there is room.
pub struct Gate {
    reads: Semaphore,
    writes: Semaphore,
    limits: Limits,
    waiting: AtomicUsize,
}

impl Gate {
    pub fn new(limits: &Limits) -> Self {
        Self {
            reads: Semaphore::new(limits.reads_max),
            writes: Semaphore::new(limits.writes_max),
            limits: limits.clone(),
            waiting: AtomicUsize::new(0),
        }
    }

    /// Waits until there is room; the permit is to be held while the request is served. `Err`: too many wait already.
    pub async fn enter(&self, nature: Nature) -> Result<Option<SemaphorePermit<'_>>, TooMany> {
        let room = match nature {
            Nature::Read => &self.reads,
            Nature::Write => &self.writes,
            Nature::Stream | Nature::Health => return Ok(None),
        };
        if let Ok(permit) = room.try_acquire() {
            return Ok(Some(permit));
        }
        let waiter = Waiter(&self.waiting);
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= self.limits.waiting_max {
            return Err(TooMany);
        }
        let permit = room.acquire().await.map_err(|_| TooMany)?;
        drop(waiter);
        Ok(Some(permit))
    }

    /// Reads and writes being served, and requests that wait.
    pub fn load(&self) -> [(&'static str, usize); 3] {
        [
            ("readOnly", self.limits.reads_max - self.reads.available_permits()),
            ("mutating", self.limits.writes_max - self.writes.available_permits()),
            ("waiting", self.waiting.load(Ordering::Relaxed)),
        ]
    }
}

/// The queue is full.
#[derive(Debug)]
pub struct TooMany;

/// Somebody in the queue, until they are served or give up.
struct Waiter<'a>(&'a AtomicUsize);

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
