//! Whose turn it is: a fixed number of seats, shared fairly among users. Pure; [`super::room`] makes people wait by it.
//!
//! A seat that becomes free goes to the user with the fewest seats, among equals to the one who was last given one the
//! longest ago; a user's requests come in their order, whatever they are. Nobody gets all seats, nor all for reads or
//! for writes, and nobody fills the whole queue, so that there is room for whoever comes next; nor do reads or writes get
//! all seats: if all writes hang, because the disk does, there is still room to read. What has to wait for that is passed
//! by.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

/// What has an own limit among the seats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Read,
    Write,
}

const KINDS: [Kind; 2] = [Kind::Read, Kind::Write];

/// How many there may be.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub seats: usize,
    /// Of these, for reads and for writes.
    pub seats_of_kind: [usize; KINDS.len()],
    pub seats_per_user: usize,
    pub waiting: usize,
    pub waiting_per_user: usize,
}

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
    size: Size,
    taken: [usize; KINDS.len()],
    waiting: usize,
    users: HashMap<Arc<str>, Own<T>>,
    /// Users who wait, for each kind: their seats, their turn, their name.
    orders: [BTreeSet<(usize, u64, Arc<str>)>; KINDS.len()],
    next: u64,
}

struct Own<T> {
    seats: usize,
    seats_of_kind: [usize; KINDS.len()],
    turn: u64,
    waiting: [VecDeque<(u64, T)>; KINDS.len()],
}

impl<T> Default for Own<T> {
    fn default() -> Self {
        Self { seats: 0, seats_of_kind: [0; KINDS.len()], turn: 0, waiting: Default::default() }
    }
}

impl<T> Own<T> {
    fn waits(&self) -> usize {
        self.waiting.iter().map(VecDeque::len).sum()
    }

    /// Whether one more seat of this kind would not be too many for one user.
    fn may_sit(&self, size: &Size, kind: Kind) -> bool {
        self.seats < size.seats_per_user && self.seats_of_kind[kind as usize] < share(size.seats_of_kind[kind as usize])
    }
}

/// What one user gets of so many seats: three quarters at most.
fn share(seats: usize) -> usize {
    seats - seats / 4
}

impl Size {
    /// One user gets three quarters of the seats at most, and half of the queue.
    pub fn new(seats: usize, waiting: usize) -> Self {
        Self {
            seats,
            seats_of_kind: [seats; KINDS.len()],
            seats_per_user: share(seats),
            waiting,
            waiting_per_user: waiting.div_ceil(2),
        }
    }
}

impl<T> Queue<T> {
    pub fn new(size: Size) -> Self {
        Self { size, taken: [0; KINDS.len()], waiting: 0, users: HashMap::new(), orders: Default::default(), next: 0 }
    }

    /// A request arrives; `ticket` is made only if it has to wait.
    pub fn arrive(&mut self, user: &Arc<str>, kind: Kind, ticket: impl FnOnce() -> T) -> Arrival {
        let has_room = self.has_room(kind);
        let own = self.users.entry(user.clone()).or_default();
        if has_room && own.may_sit(&self.size, kind) {
            // Whoever waits although there is room has all the seats of one user, or waits for one of the other kind.
            self.change(user, |own| {
                own.seats += 1;
                own.seats_of_kind[kind as usize] += 1;
            });
            self.taken[kind as usize] += 1;
            return Arrival::Seated;
        }
        if self.waiting >= self.size.waiting || own.waits() >= self.size.waiting_per_user {
            self.forget(user);
            return Arrival::Refused;
        }
        self.next += 1;
        let number = self.next;
        let ticket = ticket();
        self.change(user, |own| {
            if own.waits() == 0 {
                own.turn = number;
            }
            own.waiting[kind as usize].push_back((number, ticket));
        });
        self.waiting += 1;
        Arrival::Waits(number)
    }

    /// A seat of this user becomes free. To be followed by [`Queue::seat`] until that gives nobody: one who leaves can
    /// make room for two, of whom one waited for a seat of the kind and the other one for a seat of the user.
    pub fn leave(&mut self, user: &Arc<str>, kind: Kind) {
        self.next += 1;
        let turn = self.next;
        self.change(user, |own| {
            own.seats = own.seats.saturating_sub(1);
            let of_kind = &mut own.seats_of_kind[kind as usize];
            *of_kind = of_kind.saturating_sub(1);
            own.turn = turn;
        });
        self.taken[kind as usize] = self.taken[kind as usize].saturating_sub(1);
        self.forget(user);
    }

    /// Gives the one who is to have the next free seat, who counts as seated.
    pub fn seat(&mut self) -> Option<(Arc<str>, Kind, T)> {
        let first = |kind: Kind| {
            let mut order = self.orders[kind as usize].iter().filter(|_| self.has_room(kind));
            // Hardly anybody is passed by: few can have so many seats that they may have no more.
            order.find_map(|(seats, turn, user)| {
                let own = self.users.get(user).filter(|own| own.may_sit(&self.size, kind))?;
                let (number, _) = own.waiting[kind as usize].front()?;
                Some((*seats, *turn, *number, kind, user))
            })
        };
        let (_, _, _, kind, user) =
            KINDS.into_iter().filter_map(first).min_by_key(|&(seats, turn, number, ..)| (seats, turn, number))?;
        let user = user.clone();
        self.next += 1;
        let turn = self.next;
        let ticket = self.change(&user, |own| {
            own.seats += 1;
            own.seats_of_kind[kind as usize] += 1;
            own.turn = turn;
            own.waiting[kind as usize].pop_front()
        });
        let (_, ticket) = ticket.flatten()?;
        self.taken[kind as usize] += 1;
        self.waiting -= 1;
        Some((user, kind, ticket))
    }

    /// A request has stopped waiting.
    pub fn give_up(&mut self, user: &Arc<str>, kind: Kind, number: u64) {
        let given_up = self.change(user, |own| {
            let waiting = &mut own.waiting[kind as usize];
            let place = waiting.binary_search_by_key(&number, |(waiting, _)| *waiting).ok();
            place.and_then(|place| waiting.remove(place)).is_some()
        });
        self.waiting -= usize::from(given_up == Some(true));
        self.forget(user);
    }

    pub fn taken(&self, kind: Kind) -> usize {
        self.taken[kind as usize]
    }

    pub fn waiting(&self) -> usize {
        self.waiting
    }

    fn has_room(&self, kind: Kind) -> bool {
        let taken: usize = self.taken.iter().sum();
        taken < self.size.seats && self.taken[kind as usize] < self.size.seats_of_kind[kind as usize]
    }

    /// Changes what is known of a user, and keeps the orders true.
    fn change<R>(&mut self, user: &Arc<str>, change: impl FnOnce(&mut Own<T>) -> R) -> Option<R> {
        let own = self.users.get_mut(user)?;
        let place = |own: &Own<T>| (own.seats, own.turn, user.clone());
        let waited = own.waiting.each_ref().map(|waiting| !waiting.is_empty());
        let before = place(own);
        let result = change(own);
        let after = place(own);
        for ((order, waited), waiting) in self.orders.iter_mut().zip(waited).zip(&own.waiting) {
            if waited {
                order.remove(&before);
            }
            if !waiting.is_empty() {
                order.insert(after.clone());
            }
        }
        Some(result)
    }

    /// Names of users who have left would fill the memory.
    fn forget(&mut self, user: &Arc<str>) {
        if self.users.get(user).is_some_and(|own| own.seats == 0 && own.waits() == 0) {
            self.users.remove(user);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs `+user` (arrive), `-user` (leave) and `xuser:number` (give up), each of a write if the user is in capitals;
    /// tells what came of each.
    fn check(size: Size, script: &str, expected: &str) {
        let mut queue = Queue::new(size);
        let mut seen = Vec::new();
        for word in script.split(' ') {
            let (what, user) = word.split_at(1);
            let kind = if user.starts_with(char::is_uppercase) { Kind::Write } else { Kind::Read };
            let user = user.to_lowercase();
            match what {
                "+" => seen.push(match queue.arrive(&user.into(), kind, || ()) {
                    Arrival::Seated => "in".to_string(),
                    Arrival::Waits(number) => number.to_string(),
                    Arrival::Refused => "no".to_string(),
                }),
                "-" => {
                    queue.leave(&user.into(), kind);
                    let seated = std::iter::from_fn(|| queue.seat()).map(|(user, kind, ())| match kind {
                        Kind::Read => user.to_string(),
                        Kind::Write => user.to_uppercase(),
                    });
                    let seated: Vec<String> = seated.collect();
                    seen.push(if seated.is_empty() { "-".into() } else { seated.join("+") });
                }
                _ => {
                    let (user, number) = user.split_once(':').expect("user:number");
                    queue.give_up(&user.into(), kind, number.parse().expect("a number"));
                }
            }
        }
        assert_eq!(seen.join(" "), expected, "{script}");
        assert!(queue.taken.iter().sum::<usize>() <= size.seats);
        assert!(queue.orders.iter().all(|order| order.len() <= queue.users.len()), "{script} {:?}", queue.orders);
    }

    #[test]
    fn seats_are_shared() {
        let size = |seats| Size::new(seats, 18);
        check(size(4), "+a +a +a +b", "in in in in");
        check(size(4), "+a +a +a +a +b +b", "in in in 1 in 2");
        // b has one seat, a has three: the next one is b's, whoever came first.
        check(size(4), "+a +a +a +a +b +b -a -b", "in in in 1 in 2 b a");
        check(size(1), "+a +a +a +b -a -b -a", "in 1 2 3 b a a");
        check(size(1), "+a +b +c +b +c -a -b -c -b -c", "in 1 2 3 4 b c b c -");
        check(size(4), "+a +a +a +a +a -a", "in in in 1 2 a");
    }

    #[test]
    fn the_queue_has_an_end_and_no_owner() {
        check(Size::new(1, 4), "+a +a +a +a +b +c +d", "in 1 2 no 3 4 no");
        check(Size::new(0, 0), "+a", "no");
        check(Size::new(1, 1), "+a +b +c -a -b", "in 1 no b -");
        let size = Size { waiting_per_user: 2, ..Size::new(1, 9) };
        check(size, "+a +a +A +a +b +B +b +c", "in 1 2 no 3 4 no 5");
        check(Size { waiting_per_user: 0, ..size }, "+a +a +b", "in no no");
    }

    #[test]
    fn reads_and_writes_come_in_their_order_and_leave_room_for_each_other() {
        let size = Size::new(4, 18);
        // Of one user, in order.
        check(Size::new(1, 18), "+a +a +A +a +A -a -a -A -a", "in 1 2 3 4 a A a A");
        let size = Size { seats_of_kind: [3, 3], seats_per_user: 4, ..size };
        // Three writes hang; reads pass those that wait for them to end.
        check(size, "+A +A +A +A +a -a +a -A", "in in in 1 in - in A");
        check(size, "+A +A +A +B +b +c -b -c", "in in in 1 in 2 c -");
        // One leaves, two may come: one of the kind, one of the user.
        let size = Size { seats: 9, seats_of_kind: [9, 2], seats_per_user: 2, ..size };
        check(size, "+A +a +a +B +C -A", "in in 1 in 2 C+a");
    }

    #[test]
    fn nobody_gets_all_seats_of_a_kind() {
        let size = Size { seats_of_kind: [4, 4], ..Size::new(8, 18) };
        check(size, "+A +A +A +A +B +a +B", "in in in 1 in in 2");
        // A fourth write of a waits until one of them has ended, also where there is room; b's does not wait for it.
        check(size, "+A +A +A +A +B +B -B -B -A", "in in in 1 in 2 B - A");
        check(size, "+A +A +A +A +A +b -b -A -A -A", "in in in 1 2 in - A A -");
    }

    #[test]
    fn who_gives_up_gets_no_seat() {
        let size = Size::new(1, 18);
        check(size, "+a +b +c xb:1 -a -c", "in 1 2 c -");
        check(size, "+a +b xb:1 xb:1 -a +c", "in 1 - in");
        check(size, "+a +b +B xB:2 -a -b", "in 1 2 b -");
    }

    #[test]
    fn nobody_is_remembered() {
        let mut queue = Queue::new(Size::new(1, 1));
        for user in ["a", "b", "c"].map(Arc::from) {
            queue.arrive(&user, Kind::Read, || ());
        }
        for user in ["a", "b", "c"].map(Arc::from) {
            queue.leave(&user, Kind::Read);
            while queue.seat().is_some() {}
        }
        assert!(queue.users.is_empty() && queue.orders.iter().all(BTreeSet::is_empty));
        assert!(queue.taken == [0, 0] && queue.waiting == 0);
    }
}
