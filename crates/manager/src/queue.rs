//! Keys that wait for work: each at most once, one piece of work per key at a time, again later after a failure.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use backstay_api::time::until;
use jiff::{SignedDuration, Timestamp};

/// The pause after the first failure of a key; it doubles with each further one.
const BACKOFF_FIRST: SignedDuration = SignedDuration::from_millis(50);
/// The longest pause, unless the queue's owner says otherwise.
const BACKOFF_MAX: SignedDuration = SignedDuration::from_secs(60);
/// When nothing says when to look again.
const IDLE: Duration = Duration::from_secs(600);

/// First come, first served, but for keys that wait for their time.
#[derive(Debug)]
pub struct Queue<K> {
    ready: VecDeque<K>,
    later: BTreeSet<(Timestamp, K)>,
    /// Keys that are ready, wait, are worked on, or have failed.
    keys: BTreeMap<K, Key>,
    backoff_max: SignedDuration,
}

#[derive(Debug, Default)]
struct Key {
    is_ready: bool,
    is_running: bool,
    /// Wanted while it was worked on.
    again: bool,
    later: Option<Timestamp>,
    failures: u32,
}

impl Key {
    fn is_needed(&self) -> bool {
        self.is_ready || self.is_running || self.later.is_some() || self.failures > 0
    }
}

impl<K> Default for Queue<K> {
    fn default() -> Self {
        Self { ready: VecDeque::new(), later: BTreeSet::new(), keys: BTreeMap::new(), backoff_max: BACKOFF_MAX }
    }
}

impl<K: Ord + Clone> Queue<K> {
    /// A queue that lets keys that failed wait no longer than this.
    pub fn with_backoff_max(backoff_max: SignedDuration) -> Self {
        Self { backoff_max, ..Self::default() }
    }

    /// The key is to be worked on as soon as possible; if it is being worked on, once more after that.
    pub fn add(&mut self, key: K) {
        let state = self.keys.entry(key.clone()).or_default();
        if let Some(at) = state.later.take() {
            self.later.remove(&(at, key.clone()));
        }
        if state.is_running {
            state.again = true;
        } else if !std::mem::replace(&mut state.is_ready, true) {
            self.ready.push_back(key);
        }
    }

    /// The key is to be worked on at that time, or earlier if that was already wanted.
    pub fn add_at(&mut self, key: K, at: Timestamp) {
        let state = self.keys.entry(key.clone()).or_default();
        if state.is_ready || state.again || state.later.is_some_and(|known| known <= at) {
            return;
        }
        if let Some(known) = state.later.replace(at) {
            self.later.remove(&(known, key.clone()));
        }
        self.later.insert((at, key));
    }

    /// The next key to work on now. To be followed by [`Queue::done`] or [`Queue::failed`].
    pub fn take(&mut self, now: Timestamp) -> Option<K> {
        while let Some((at, key)) = self.later.first().filter(|(at, _)| *at <= now).cloned() {
            self.later.remove(&(at, key.clone()));
            self.keys.entry(key.clone()).or_default().later = None;
            self.add(key);
        }
        let key = self.ready.pop_front()?;
        let state = self.keys.entry(key.clone()).or_default();
        (state.is_ready, state.is_running) = (false, true);
        Some(key)
    }

    pub fn done(&mut self, key: &K) {
        self.ended(key, |state| state.failures = 0);
    }

    /// The key comes again after a pause that grows with its failures.
    pub fn failed(&mut self, key: &K, now: Timestamp) {
        let (mut pause, longest) = (BACKOFF_FIRST, self.backoff_max);
        self.ended(key, |state| {
            pause = BACKOFF_FIRST.saturating_mul(1 << state.failures.min(16)).min(longest);
            state.failures += 1;
            state.again = false;
        });
        self.add_at(key.clone(), now.saturating_add(pause).unwrap_or(Timestamp::MAX));
    }

    /// How long nothing will be ready, as far as is known.
    pub fn pause(&self, now: Timestamp) -> Duration {
        if !self.ready.is_empty() {
            return Duration::ZERO;
        }
        let Some((at, _)) = self.later.first() else { return IDLE };
        until(*at, now).min(IDLE)
    }

    fn ended(&mut self, key: &K, change: impl FnOnce(&mut Key)) {
        let Some(state) = self.keys.get_mut(key) else { return };
        state.is_running = false;
        change(state);
        let again = std::mem::take(&mut state.again);
        if !state.is_needed() {
            self.keys.remove(key);
        }
        if again {
            self.add(key.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs `add K`, `at K SECOND`, `done K`, `failed K`, `take` (at the time set by `now SECOND`); the result is what
    /// the takes gave.
    fn check(steps: &str, expected: &str) {
        let mut queue = Queue::default();
        let mut now = Timestamp::UNIX_EPOCH;
        let mut taken = Vec::new();
        let second =
            |text: &str| Timestamp::UNIX_EPOCH + SignedDuration::from_millis(text.parse::<i64>().unwrap() * 1000);
        for step in steps.split(';') {
            let words: Vec<&str> = step.split_whitespace().collect();
            match words.as_slice() {
                ["add", key] => queue.add(key.to_string()),
                ["at", key, at] => queue.add_at(key.to_string(), second(at)),
                ["done", key] => queue.done(&key.to_string()),
                ["failed", key] => queue.failed(&key.to_string(), now),
                ["now", at] => now = second(at),
                _ => taken.push(queue.take(now).unwrap_or("-".into())),
            }
        }
        assert_eq!(taken.join(" "), expected, "{steps}");
    }

    #[test]
    fn a_key_is_there_once() {
        check("add a; add b; add a; take; take; take", "a b -");
        check("add a; take; add a; take; done a; take; done a; take", "a - a -");
        check("add a; take; add a; failed a; take; now 1; take", "a - a");
    }

    #[test]
    fn time_passes() {
        check("at a 5; take; now 4; take; now 5; take; take", "- - a -");
        check("at a 5; at a 3; now 3; take; done a; now 5; take", "a -");
        check("at a 5; add a; take; done a; now 5; take", "a -");
        check("add a; take; at a 5; done a; take; now 5; take", "a - a");
    }

    #[test]
    fn pauses_grow() {
        let (mut queue, now) = (Queue::default(), Timestamp::UNIX_EPOCH);
        let mut pauses = Vec::new();
        for _ in 0..13 {
            queue.add('a');
            queue.take(now);
            queue.failed(&'a', now);
            pauses.push(queue.pause(now).as_millis());
        }
        assert_eq!(pauses[..3], [50, 100, 200]);
        assert_eq!(pauses[12], 60_000);
        queue.add('a');
        queue.take(now);
        queue.done(&'a');
        assert!(queue.keys.is_empty(), "nothing is remembered of what went well");
    }
}
