//! Whose turn it is: a fixed number of seats, shared fairly among users. Pure; [`super::room`] makes people wait by it.
//!
//! A seat that becomes free goes to the user with the fewest seats, among equals to the one who was last given one the
//! longest ago. Nobody gets all seats and nobody fills the whole queue, so that there is room for whoever comes next.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

/// What happens to a request that arrives.
#[derive(Debug, PartialEq, Eq)]
pub enum Arrival {
    Seated,
    /// Under this number.
    Waits(u64),
    Refused,
}

/// `T` is how a waiting request is told that it has a seat.
pub struct Queue<T> {
    seats: usize,
    seats_per_user: usize,
    waiting_max: usize,
    waiting_per_user_max: usize,
    taken: usize,
    waiting: usize,
    users: HashMap<Arc<str>, Own<T>>,
    /// Users who wait: their seats, their turn, their name.
    order: BTreeSet<(usize, u64, Arc<str>)>,
    next: u64,
}

struct Own<T> {
    seats: usize,
    turn: u64,
    waiting: VecDeque<(u64, T)>,
}

impl<T> Default for Own<T> {
    fn default() -> Self {
        Self { seats: 0, turn: 0, waiting: VecDeque::new() }
    }
}

impl<T> Queue<T> {
    /// One user gets three quarters of the seats at most, and never more than half of the queue.
    pub fn new(seats: usize, waiting_max: usize, waiting_per_user_max: usize) -> Self {
        Self {
            seats,
            seats_per_user: seats - seats / 4,
            waiting_max,
            waiting_per_user_max: waiting_per_user_max.min(waiting_max.div_ceil(2)),
            taken: 0,
            waiting: 0,
            users: HashMap::new(),
            order: BTreeSet::new(),
            next: 0,
        }
    }

    /// A request arrives; `ticket` is made only if it has to wait.
    pub fn arrive(&mut self, user: &Arc<str>, ticket: impl FnOnce() -> T) -> Arrival {
        let own = self.users.entry(user.clone()).or_default();
        if self.taken < self.seats && own.seats < self.seats_per_user {
            // Whoever waits although there is room has all the seats of one user.
            own.seats += 1;
            self.taken += 1;
            return Arrival::Seated;
        }
        if self.waiting >= self.waiting_max || own.waiting.len() >= self.waiting_per_user_max {
            self.forget(user);
            return Arrival::Refused;
        }
        self.next += 1;
        if own.waiting.is_empty() {
            own.turn = self.next;
            self.order.insert((own.seats, own.turn, user.clone()));
        }
        own.waiting.push_back((self.next, ticket()));
        self.waiting += 1;
        Arrival::Waits(self.next)
    }

    /// A seat of this user becomes free. Gives the one who is to have it, who counts as seated.
    pub fn leave(&mut self, user: &Arc<str>) -> Option<(Arc<str>, T)> {
        self.next += 1;
        let turn = self.next;
        self.change(user, |own| {
            own.seats = own.seats.saturating_sub(1);
            own.turn = turn;
        });
        self.taken = self.taken.saturating_sub(1);
        self.forget(user);
        let (seats, _, next) = self.order.first()?;
        if *seats >= self.seats_per_user {
            return None;
        }
        let next = next.clone();
        self.next += 1;
        let turn = self.next;
        let ticket = self.change(&next, |own| {
            own.seats += 1;
            own.turn = turn;
            own.waiting.pop_front()
        });
        let (_, ticket) = ticket.flatten()?;
        self.taken += 1;
        self.waiting -= 1;
        Some((next, ticket))
    }

    /// A request has stopped waiting.
    pub fn give_up(&mut self, user: &Arc<str>, number: u64) {
        let given_up = self.change(user, |own| {
            let place = own.waiting.iter().position(|(waiting, _)| *waiting == number);
            place.and_then(|place| own.waiting.remove(place)).is_some()
        });
        self.waiting -= usize::from(given_up == Some(true));
        self.forget(user);
    }

    pub fn taken(&self) -> usize {
        self.taken
    }

    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Changes what is known of a user, and keeps the order true.
    fn change<R>(&mut self, user: &Arc<str>, change: impl FnOnce(&mut Own<T>) -> R) -> Option<R> {
        let own = self.users.get_mut(user)?;
        self.order.remove(&(own.seats, own.turn, user.clone()));
        let result = change(own);
        if !own.waiting.is_empty() {
            self.order.insert((own.seats, own.turn, user.clone()));
        }
        Some(result)
    }

    /// Names of users who have left would fill the memory.
    fn forget(&mut self, user: &Arc<str>) {
        if self.users.get(user).is_some_and(|own| own.seats == 0 && own.waiting.is_empty()) {
            self.users.remove(user);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs `+user` (arrive), `-user` (leave) and `xuser:number` (give up); tells what came of each.
    fn check(seats: usize, waiting: usize, script: &str, expected: &str) {
        check_limited(seats, (waiting, waiting), script, expected);
    }

    /// The same, where so many may wait, and so many of one user.
    fn check_limited(seats: usize, (waiting, per_user): (usize, usize), script: &str, expected: &str) {
        let mut queue = Queue::new(seats, waiting, per_user);
        let mut seen = Vec::new();
        for word in script.split(' ') {
            let (what, user) = word.split_at(1);
            match what {
                "+" => seen.push(match queue.arrive(&user.into(), || ()) {
                    Arrival::Seated => "in".to_string(),
                    Arrival::Waits(number) => number.to_string(),
                    Arrival::Refused => "no".to_string(),
                }),
                "-" => seen.push(queue.leave(&user.into()).map_or("-".to_string(), |(next, ())| next.to_string())),
                _ => {
                    let (user, number) = user.split_once(':').expect("user:number");
                    queue.give_up(&user.into(), number.parse().expect("a number"));
                }
            }
        }
        assert_eq!(seen.join(" "), expected, "{script}");
        assert!(queue.taken <= seats && queue.order.len() <= queue.users.len());
    }

    #[test]
    fn seats_are_shared() {
        check(4, 9, "+a +a +a +b", "in in in in");
        check(4, 9, "+a +a +a +a +b +b", "in in in 1 in 2");
        // b has one seat, a has three: the next one is b's, whoever came first.
        check(4, 9, "+a +a +a +a +b +b -a -b", "in in in 1 in 2 b a");
        check(1, 9, "+a +a +a +b -a -b -a", "in 1 2 3 b a a");
        check(1, 9, "+a +b +c +b +c -a -b -c -b -c", "in 1 2 3 4 b c b c -");
        check(4, 9, "+a +a +a +a +a -a", "in in in 1 2 a");
    }

    #[test]
    fn the_queue_has_an_end_and_no_owner() {
        check(1, 4, "+a +a +a +a +b +c +d", "in 1 2 no 3 4 no");
        check(0, 0, "+a", "no");
        check(1, 1, "+a +b +c -a -b", "in 1 no b -");
        check_limited(1, (9, 2), "+a +a +a +a +b +b +b +c", "in 1 2 no 3 4 no 5");
        check_limited(1, (9, 0), "+a +a +b", "in no no");
    }

    #[test]
    fn who_gives_up_gets_no_seat() {
        check(1, 9, "+a +b +c xb:1 -a -c", "in 1 2 c -");
        check(1, 9, "+a +b xb:1 xb:1 -a +c", "in 1 - in");
    }

    #[test]
    fn nobody_is_remembered() {
        let mut queue = Queue::new(1, 1, 1);
        for user in ["a", "b", "c"].map(Arc::from) {
            queue.arrive(&user, || ());
        }
        for user in ["a", "b", "c"].map(Arc::from) {
            queue.leave(&user);
        }
        assert!(queue.users.is_empty() && queue.order.is_empty() && queue.taken == 0 && queue.waiting == 0);
    }
}
