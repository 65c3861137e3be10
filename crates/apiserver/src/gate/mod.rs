//! How many requests are served at once. Others wait their turn, so that a burst is slow and not refused; only a queue
//! that grows without end is. Turns go round among users, and the signs of life of nodes have a room of their own: a
//! busy client costs others time, never their place. Kubernetes has API Priority and Fairness for this.

mod queue;
mod room;
mod streams;

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;

use tokio::runtime::Handle;

use self::queue::{Kind, Size};
use self::room::{Pass, Room};
use self::streams::{Followed, Streams};
use crate::request::{Intent, RequestInfo, Verb};
use crate::server::Limits;
use crate::tunnel;

/// One that is worked on, and one that is ready when it ends.
const TURNS_PER_PROCESSOR: usize = 2;

/// Ready tasks beyond those that each processor keeps for itself, which are 256. It passes on half of them at once when
/// they become too many. What a commit of the store has ended comes here as well, but that is not so much.
const CROWD: usize = 128;

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
    requests: Room,
    leases: Room,
    streams: Streams,
    /// Of those let in, who is being worked on.
    turns: Room,
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
        let size = |seats| {
            let size = Size::new(seats, limits.waiting_max);
            Size { waiting_per_user: size.waiting_per_user.min(limits.waiting_per_user_max), ..size }
        };
        let seats_of_kind = [limits.reads_max, limits.writes_max];
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            turns: Room::new(Size::new(TURNS_PER_PROCESSOR * processors, usize::MAX)),
            requests: Room::new(Size { seats_of_kind, ..size(limits.requests_max) }),
            leases: Room::new(size(limits.leases_max)),
            streams: Streams::new(limits.streams_per_user_max),
        }
    }

    /// Waits until there is room for a request of this user.
    ///
    /// # Errors
    /// There will not be any soon.
    pub async fn enter(&self, nature: Nature, user: &str) -> Result<Held, TooMany> {
        let user: Arc<str> = user.into();
        let (room, kind) = match nature {
            Nature::Read => (&self.requests, Kind::Read),
            Nature::Write => (&self.requests, Kind::Write),
            Nature::Lease => (&self.leases, Kind::Write),
            Nature::Stream => return Ok(Held::Stream { _followed: self.streams.follow(&user)? }),
            Nature::Health => return Ok(Held::Nothing),
        };
        Ok(Held::Seat { _pass: room.enter(&user, kind).await? })
    }

    /// Does the work for a request that has been let in; where there is a crowd, when it is its turn.
    ///
    /// Tasks run in the order in which they became ready, and that of a read is done when it has run once. Without
    /// turns, thousands of reads that arrive at once would all be done before the lease that arrives next. A turn lasts
    /// until the work first waits for something.
    pub async fn in_turn<F: Future>(&self, nature: Nature, user: &str, mut work: Pin<Box<F>>) -> F::Output {
        if !matches!(nature, Nature::Read | Nature::Write) || !self.is_crowded() {
            return work.await;
        }
        // There is no end of room to wait in.
        let mut turn = self.turns.enter(&user.into(), Kind::Read).await.ok();
        // Those who arrived together ask for a turn now, before the first of them is worked on.
        tokio::task::yield_now().await;
        poll_fn(|context| {
            let polled = work.as_mut().poll(context);
            turn = None;
            polled
        })
        .await
    }

    /// Whether so many tasks are ready, or some still wait who came when it was so.
    fn is_crowded(&self) -> bool {
        self.turns.waiting() > 0 || Handle::current().metrics().global_queue_depth() >= CROWD
    }

    /// Requests being served, and those that wait.
    pub fn load(&self) -> [(&'static str, usize); 4] {
        [
            ("readOnly", self.requests.taken(Kind::Read)),
            ("mutating", self.requests.taken(Kind::Write)),
            ("leases", self.leases.taken(Kind::Write)),
            ("waiting", self.requests.waiting() + self.leases.waiting()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Of so many reads that arrive at once, with a lease in their midst: how many are done before it?
    fn check(reads: usize, expected: impl Fn(usize) -> bool) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let (gate, done) = (Arc::new(Gate::new(&Limits::default())), Arc::new(AtomicUsize::new(0)));
        let request = |nature: Nature| {
            let (gate, done) = (gate.clone(), done.clone());
            async move {
                let work = Box::pin(async { done.fetch_add(1, Ordering::SeqCst) });
                gate.in_turn(nature, "somebody", work).await
            }
        };
        let mut before: Vec<_> = (0..reads).map(|_| request(Nature::Read)).collect();
        let after = before.split_off(reads / 2);
        let lease = request(Nature::Lease);
        // From a task, so that all of them are there before the only worker comes to the first.
        let ahead = runtime.block_on(async move {
            let arrival = tokio::spawn(async move {
                let before: Vec<_> = before.into_iter().map(tokio::spawn).collect();
                let lease = tokio::spawn(lease);
                let after: Vec<_> = after.into_iter().map(tokio::spawn).collect();
                let ahead = lease.await.unwrap();
                futures::future::join_all(before.into_iter().chain(after)).await;
                ahead
            });
            arrival.await.unwrap()
        });
        assert_eq!(done.load(Ordering::SeqCst), reads + 1);
        assert!(expected(ahead), "{ahead} of {reads}");
    }

    #[test]
    fn a_lease_does_not_wait_for_a_crowd() {
        check(4_000, |ahead| ahead < 1_000);
        // Few are not worth the trouble.
        check(10, |ahead| ahead <= 10);
    }
}
