//! A room with a number of seats, before whose door requests wait.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::TooMany;
use super::queue::{Arrival, Queue};

#[derive(Clone)]
pub struct Room(Arc<Mutex<Queue<oneshot::Sender<Pass>>>>);

/// A seat, free again when this is dropped.
pub struct Pass {
    room: Room,
    user: Arc<str>,
}

impl Room {
    pub fn new(seats: usize, waiting_max: usize, waiting_per_user_max: usize) -> Self {
        Self(Arc::new(Mutex::new(Queue::new(seats, waiting_max, waiting_per_user_max))))
    }

    /// Waits for a seat.
    ///
    /// # Errors
    /// Too many wait already.
    pub async fn enter(&self, user: &Arc<str>) -> Result<Pass, TooMany> {
        let (ticket, seat) = oneshot::channel();
        let arrival = self.queue().arrive(user, || ticket);
        let number = match arrival {
            Arrival::Seated => return Ok(Pass { room: self.clone(), user: user.clone() }),
            Arrival::Refused => return Err(TooMany),
            Arrival::Waits(number) => number,
        };
        let _waiting = Waiting { room: self, user, number };
        seat.await.map_err(|_| TooMany)
    }

    /// Seats taken, and requests that wait.
    pub fn load(&self) -> (usize, usize) {
        let queue = self.queue();
        (queue.taken(), queue.waiting())
    }

    fn queue(&self) -> MutexGuard<'_, Queue<oneshot::Sender<Pass>>> {
        // Nothing in there can panic half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let next = self.room.queue().leave(&self.user);
        if let Some((user, ticket)) = next {
            // Whoever has just gone away gives the seat back: the pass is dropped with what could not be sent.
            let _ = ticket.send(Pass { room: self.room.clone(), user });
        }
    }
}

/// A request before the door; one that goes away leaves the queue.
struct Waiting<'a> {
    room: &'a Room,
    user: &'a Arc<str>,
    number: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.room.queue().give_up(self.user, self.number);
    }
}
