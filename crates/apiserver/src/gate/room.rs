//! A room with a number of seats, before whose door requests wait.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::TooMany;
use super::queue::{Arrival, Kind, Queue, Size};

#[derive(Clone)]
pub struct Room(Arc<Mutex<Queue<oneshot::Sender<Pass>>>>);

/// A seat, free again when this is dropped.
pub struct Pass {
    room: Room,
    user: Arc<str>,
    kind: Kind,
}

impl Room {
    pub fn new(size: Size) -> Self {
        Self(Arc::new(Mutex::new(Queue::new(size))))
    }

    /// Waits for a seat.
    ///
    /// # Errors
    /// Too many wait already.
    pub async fn enter(&self, user: &Arc<str>, kind: Kind) -> Result<Pass, TooMany> {
        let (ticket, seat) = oneshot::channel();
        let arrival = self.queue().arrive(user, kind, || ticket);
        let number = match arrival {
            Arrival::Seated => return Ok(Pass { room: self.clone(), user: user.clone(), kind }),
            Arrival::Refused => return Err(TooMany),
            Arrival::Waits(number) => number,
        };
        let _waiting = Waiting { room: self, user, kind, number };
        seat.await.map_err(|_| TooMany)
    }

    /// Seats taken by this kind.
    pub fn taken(&self, kind: Kind) -> usize {
        self.queue().taken(kind)
    }

    /// Requests that wait.
    pub fn waiting(&self) -> usize {
        self.queue().waiting()
    }

    fn queue(&self) -> MutexGuard<'_, Queue<oneshot::Sender<Pass>>> {
        // Nothing in there can panic half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.room.queue().leave(&self.user, self.kind);
        loop {
            // Not for as long as the ticket is sent: what cannot be sent comes here as well.
            let seated = self.room.queue().seat();
            let Some((user, kind, ticket)) = seated else { break };
            // Whoever has just gone away gives the seat back: the pass is dropped with what could not be sent.
            let _ = ticket.send(Pass { room: self.room.clone(), user, kind });
        }
    }
}

/// A request before the door; one that goes away leaves the queue.
struct Waiting<'a> {
    room: &'a Room,
    user: &'a Arc<str>,
    kind: Kind,
    number: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.room.queue().give_up(self.user, self.kind, self.number);
    }
}
