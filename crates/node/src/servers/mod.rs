//! The servers of a node. All of them serve one state; requests go to one of them, and to another when it does not serve.
//! What must be held with each of them, such as tunnels, follows [`Servers::all`].

mod announced;
mod choice;
mod home;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use backstay_api::Entropy;
use kube::Client;
use tokio::sync::watch;

pub(crate) use announced::follow;
use choice::{Choice, Heard, Turn};
pub(crate) use home::go_home;

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
    /// So many of them come first, and stay.
    first: usize,
    /// How often they served again after they had not, or another one did.
    restored: watch::Sender<u64>,
    /// How often there were others.
    changed: watch::Sender<u64>,
}

impl Servers {
    /// At least one; asked in this order.
    pub fn in_order(servers: Vec<Server>) -> Self {
        Self(Arc::new(Shared {
            first: servers.len(),
            choice: Mutex::new(Choice::new(servers)),
            restored: watch::Sender::new(0),
            changed: watch::Sender::new(0),
        }))
    }

    /// At least one that this node was told of, and others that servers have told it of, in an order of this node's own:
    /// so a fleet is spread over them, and over those that are left when one is gone. Those that it was told of come first,
    /// for others may be where servers reach each other, and nobody else.
    pub fn shuffled(told: Vec<Server>, announced: Vec<Server>, entropy: &Entropy) -> Self {
        let servers = Self::in_order(shuffled(told, entropy));
        servers.announce(announced, entropy);
        servers
    }

    /// These are the others from now on. Those that stay keep their place and their clients.
    pub fn announce(&self, announced: Vec<Server>, entropy: &Entropy) {
        let mut choice = self.choice();
        let before = choice.all();
        let (told, others) = before.split_at(self.0.first.min(before.len()));
        let stay = |server: &&Server| announced.iter().any(|one| is_same(one, server));
        let mut order: Vec<Server> = told.iter().chain(others.iter().filter(stay)).cloned().collect();
        let (kept, had) = (order.len(), before.len());
        for server in announced {
            if !order.iter().any(|one| is_same(one, &server)) {
                let place = self.0.first + below(order.len() - self.0.first + 1, entropy);
                order.insert(place, server);
            }
        }
        if order.len() == kept && kept == had {
            return;
        }
        choice.replace(order, is_same);
        drop(choice);
        self.0.changed.send_modify(|count| *count += 1);
    }

    pub fn all(&self) -> Vec<Server> {
        self.choice().all().to_vec()
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

    /// Those that come before the one that is asked.
    fn before(&self) -> Vec<Server> {
        self.choice().before().to_vec()
    }

    /// They were looked at, and these are well: goes back to one that was so often enough.
    fn looked(&self, well: &[Server], enough: u32) -> bool {
        let mut choice = self.choice();
        let went = choice.looked(|server| well.iter().any(|one| is_same(one, server)), enough);
        if went {
            let server = choice.current().1.url.clone();
            tracing::info!(
                server,
                "a server is well again, and comes before the one that was asked: it is asked again"
            );
        }
        went
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

    /// In a world of its own, since clients want one.
    #[tokio::test]
    async fn announced_servers_come_after_those_that_one_was_told_of() {
        let server = |name: &str| {
            let client = kube::Config::new(format!("https://{name}").parse().unwrap()).try_into().unwrap();
            Server { url: Some(name.to_string()), client }
        };
        let list = |names: &str| names.split_whitespace().map(server).collect::<Vec<_>>();
        let first = Entropy::new(|| 0);
        let servers = Servers::shuffled(list("a"), list("b"), &first);
        let (order, mut changed) = (
            || servers.all().into_iter().map(|server| server.url.unwrap()).collect::<Vec<_>>().join(" "),
            servers.changed(),
        );
        let mut check = |announced: &str, expected: &str, changes: bool| {
            servers.announce(list(announced), &first);
            assert_eq!((order(), changed.has_changed().unwrap()), (expected.to_string(), changes), "{announced}");
            changed.mark_unchanged();
        };
        check("b", "a b", false);
        check("c b", "a c b", true);
        check("b c a", "a c b", false);
        check("c d", "a d c", true);
        check("", "a", true);
        check("", "a", false);
    }
}
