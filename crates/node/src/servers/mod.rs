//! The servers of a node. All of them serve one state; requests go to one of them, and to another when it does not serve.
//! What must be held with each of them, such as tunnels, follows [`Servers::all`].

mod announced;
mod choice;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use backstay_api::Entropy;
use kube::Client;
use tokio::sync::watch;

pub use announced::follow;
use choice::{Choice, Heard, Turn};

/// One server as this node speaks to it.
#[derive(Clone)]
pub struct Server {
    /// `https://HOST:PORT`; becomes `KUBERNETES_SERVICE_HOST` and `KUBERNETES_SERVICE_PORT` in the containers that start
    /// while this one is asked. `None`: they are not told.
    pub url: Option<String>,
    pub client: Client,
}

/// The servers, shared by all that asks them: who notices that one does not serve has noticed it for everybody.
#[derive(Clone)]
pub struct Servers(Arc<Shared>);

struct Shared {
    choice: Mutex<Choice<Server>>,
    /// How often they served again after they had not, or another one did.
    restored: watch::Sender<u64>,
    /// How often there were others.
    changed: watch::Sender<u64>,
}

impl Servers {
    /// At least one; asked in this order.
    pub fn in_order(servers: Vec<Server>) -> Self {
        Self(Arc::new(Shared {
            choice: Mutex::new(Choice::new(servers)),
            restored: watch::Sender::new(0),
            changed: watch::Sender::new(0),
        }))
    }

    /// At least one; in an order of this node's own, so that a fleet is spread over them, and over those that are left
    /// when one is gone.
    pub fn shuffled(servers: Vec<Server>, entropy: &Entropy) -> Self {
        Self::in_order(shuffled(servers, entropy))
    }

    pub fn all(&self) -> Vec<Server> {
        self.choice().all().to_vec()
    }

    /// These are the servers from now on, if there are any. Those that stay keep their place and their clients; others come
    /// in at any place, by chance.
    pub fn replace(&self, servers: Vec<Server>, entropy: &Entropy) {
        let mut choice = self.choice();
        let before = choice.all();
        let stay = |server: &&Server| servers.iter().any(|one| is_same(one, server));
        let mut order: Vec<Server> = before.iter().filter(stay).cloned().collect();
        let (kept, before) = (order.len(), before.len());
        for server in servers {
            if !order.iter().any(|one| is_same(one, &server)) {
                order.insert(below(order.len() + 1, entropy), server);
            }
        }
        if (order.len(), kept) == (kept, before) {
            return;
        }
        choice.replace(order, is_same);
        drop(choice);
        self.0.changed.send_modify(|count| *count += 1);
    }

    /// Changes when there are others.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.0.changed.subscribe()
    }

    /// The address of the one that is asked.
    pub(crate) fn url(&self) -> Option<String> {
        self.choice().current().1.url.clone()
    }

    /// How to ask the one whose turn it is, and what to tell [`Servers::heard`] about it.
    pub(crate) fn client(&self) -> (Ticket, Client) {
        let choice = self.choice();
        let (turn, server) = choice.current();
        (Ticket(turn), server.client.clone())
    }

    /// What became of a request: the code of the answer, if there was one.
    pub(crate) fn heard(&self, ticket: Ticket, code: Option<u16>) {
        let heard = match code {
            None => Heard::Nothing,
            Some(503) => Heard::Unable,
            Some(_) => Heard::Answer,
        };
        let mut choice = self.choice();
        let before = choice.current().1.url.clone();
        let restored = choice.heard(ticket.0, heard);
        let now = &choice.current().1.url;
        if *now != before {
            tracing::info!(server = before, next = now, "a server does not serve; the next is asked");
        }
        drop(choice);
        if restored {
            self.0.restored.send_modify(|count| *count += 1);
        }
    }

    /// Changes when they serve again after they had not, or another one does: what still waits on an old connection waits
    /// in vain.
    pub(crate) fn restored(&self) -> watch::Receiver<u64> {
        self.0.restored.subscribe()
    }

    /// The last request got no answer. The watch and the heartbeat go on asking; others need not wait in vain.
    pub(crate) fn is_cut(&self) -> bool {
        self.choice().is_cut()
    }

    fn choice(&self) -> MutexGuard<'_, Choice<Server>> {
        self.0.choice.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// In whose turn a request was made.
#[derive(Clone, Copy)]
pub(crate) struct Ticket(Turn);

/// A server in this process, or the only one.
impl From<Client> for Servers {
    fn from(client: Client) -> Self {
        Self::in_order(vec![Server { url: None, client }])
    }
}

fn is_same(one: &Server, other: &Server) -> bool {
    one.url == other.url
}

/// By the method of Fisher and Yates.
fn shuffled<T>(mut items: Vec<T>, entropy: &Entropy) -> Vec<T> {
    for last in (1..items.len()).rev() {
        items.swap(last, below(last + 1, entropy));
    }
    items
}

/// Any number less than this one, which is so small that the remainder favours none.
fn below(limit: usize, entropy: &Entropy) -> usize {
    usize::try_from(entropy.next_u64() % limit as u64).expect("it is less than a usize")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn nodes_are_spread_over_the_servers_and_over_those_that_are_left() {
        let seed = AtomicU64::new(1);
        let entropy = Entropy::new(move || {
            // The generator of Marsaglia, `xorshift64`.
            let mut state = seed.load(Ordering::Relaxed);
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            seed.store(state, Ordering::Relaxed);
            state
        });
        let mut orders: BTreeMap<Vec<&str>, u32> = BTreeMap::new();
        for _ in 0..6_000 {
            *orders.entry(shuffled(vec!["a", "b", "c"], &entropy)).or_default() += 1;
        }
        assert_eq!(orders.len(), 6);
        assert!(orders.values().all(|nodes| (850..1150).contains(nodes)), "{orders:?}");
        assert_eq!(shuffled(vec!["a"], &entropy), ["a"]);
    }
}
