//! How many requests are served at once. Others wait their turn, so that a burst is slow and not refused; only a queue
//! that grows without end is. Turns go round among users, and the signs of life of nodes have a room of their own: a
//! busy client costs others time, never their place. Kubernetes has API Priority and Fairness for this.

mod queue;
mod room;
mod streams;

use std::sync::Arc;

use self::room::{Pass, Room};
use self::streams::{Followed, Streams};
use crate::request::{Intent, RequestInfo, Verb};
use crate::server::Limits;
use crate::tunnel;

/// What a request is to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nature {
    Read,
    Write,
    /// A node or a leader says that it is there; whoever is not heard in time is taken for dead.
    Lease,
    /// Lasts as long as the client likes: watches, logs, commands, tunnels.
    Stream,
    /// Must be answered even when the server is busy.
    Health,
}

impl Nature {
    pub fn of(info: &RequestInfo) -> Self {
        match &info.intent {
            Intent::Resource { verb, target } => {
                let follows = matches!(target.subresource.as_deref(), Some("log" | "proxy"));
                match verb {
                    Verb::Watch => Nature::Stream,
                    Verb::Get if follows => Nature::Stream,
                    Verb::Get | Verb::Create if target.is_connection() => Nature::Stream,
                    Verb::Get | Verb::Create | Verb::Update | Verb::Patch if target.resource == "leases" => {
                        Nature::Lease
                    }
                    verb if verb.is_read() => Nature::Read,
                    _ => Nature::Write,
                }
            }
            Intent::NonResource { .. } if tunnel::node_of(&info.path).is_some() => Nature::Stream,
            Intent::NonResource { .. } => match info.path.split('/').nth(1) {
                Some("healthz" | "livez" | "readyz") => Nature::Health,
                _ => Nature::Read,
            },
        }
    }
}

/// Lets requests in as there is room.
pub struct Gate {
    reads: Room,
    writes: Room,
    leases: Room,
    streams: Streams,
}

/// What a request holds while it is served; a stream holds it until its end.
pub enum Held {
    Seat { _pass: Pass },
    Stream { _followed: Followed },
    Nothing,
}

/// The queue is full, or this user follows enough already.
#[derive(Debug)]
pub struct TooMany;

impl Gate {
    pub fn new(limits: &Limits) -> Self {
        let room = |seats| Room::new(seats, limits.waiting_max);
        Self {
            reads: room(limits.reads_max),
            writes: room(limits.writes_max),
            leases: room(limits.leases_max),
            streams: Streams::new(limits.streams_per_user_max),
        }
    }

    /// Waits until there is room for a request of this user.
    ///
    /// # Errors
    /// There will not be any soon.
    pub async fn enter(&self, nature: Nature, user: &str) -> Result<Held, TooMany> {
        let user: Arc<str> = user.into();
        let room = match nature {
            Nature::Read => &self.reads,
            Nature::Write => &self.writes,
            Nature::Lease => &self.leases,
            Nature::Stream => return Ok(Held::Stream { _followed: self.streams.follow(&user)? }),
            Nature::Health => return Ok(Held::Nothing),
        };
        Ok(Held::Seat { _pass: room.enter(&user).await? })
    }

    /// Requests being served, and those that wait.
    pub fn load(&self) -> [(&'static str, usize); 4] {
        let [reads, writes, leases] = [&self.reads, &self.writes, &self.leases].map(Room::load);
        [
            ("readOnly", reads.0),
            ("mutating", writes.0),
            ("leases", leases.0),
            ("waiting", reads.1 + writes.1 + leases.1),
        ]
    }
}
