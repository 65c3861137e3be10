//! Which of many notes become events: a counted repetition, one for many that are alike, or none.
//!
//! Source: `client-go` `tools/record` (spam filter, aggregation by reason, deduplication), with its constants.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::{Note, Subject};

/// One object may have this many events at once, and one more every five minutes.
const BURST: f64 = 25.0;
const REFILL_SECONDS: f64 = 300.0;
/// As many different messages of one reason within the interval become one event.
const ALIKE_MAX: usize = 10;
const ALIKE_INTERVAL: SignedDuration = SignedDuration::from_mins(10);
/// What is remembered at most, of each sort; the oldest is forgotten first. As many as `client-go` keeps.
const REMEMBERED_MAX: usize = 4096;

/// What to write.
#[derive(Clone, Debug, PartialEq)]
pub enum Entry {
    Create {
        name: String,
        message: String,
    },
    /// Count one more on the event of this name.
    Count {
        name: String,
        message: String,
        count: u64,
    },
}

#[derive(Debug, Default)]
pub struct Correlator {
    budgets: Remembered<BTreeKey, Budget>,
    alike: Remembered<AlikeKey, Alike>,
    events: Remembered<EventKey, Seen>,
}

type BTreeKey = (&'static str, Subject);
type AlikeKey = (&'static str, Subject, bool, &'static str);
type EventKey = (AlikeKey, Option<String>);

#[derive(Clone, Copy, Debug)]
struct Budget {
    left: f64,
    at: Timestamp,
}

#[derive(Debug)]
struct Alike {
    messages: BTreeSet<String>,
    last: Timestamp,
}

#[derive(Debug)]
struct Seen {
    name: String,
    count: u64,
}

impl Correlator {
    /// Says what becomes of a note; nothing if the object has had too many.
    pub fn take(&mut self, subject: &Subject, note: &Note, now: Timestamp) -> Option<Entry> {
        // The object's version is not what makes two events different.
        let subject = Subject { resource_version: 0, ..subject.clone() };
        let alike = (note.component, subject.clone(), note.normal, note.reason);
        let many = self.are_many(&alike, &note.message, now);
        let message =
            if many { format!("(combined from similar events): {}", note.message) } else { note.message.clone() };
        let key = (alike, (!many).then(|| note.message.clone()));
        let entry = match self.events.get_mut(&key) {
            Some(seen) => {
                seen.count += 1;
                Entry::Count { name: seen.name.clone(), message, count: seen.count }
            }
            None => {
                let name = format!("{}.{:x}", subject.name, now.as_nanosecond());
                self.events.put(key, Seen { name: name.clone(), count: 1 });
                Entry::Create { name, message }
            }
        };
        self.pay((note.component, subject), now).then_some(entry)
    }

    /// Whether this is one of so many notes of one reason that they become one event.
    fn are_many(&mut self, key: &AlikeKey, message: &str, now: Timestamp) -> bool {
        if self.alike.get_mut(key).is_none_or(|alike| now.duration_since(alike.last) > ALIKE_INTERVAL) {
            self.alike.put(key.clone(), Alike { messages: BTreeSet::new(), last: now });
        }
        let alike = self.alike.get_mut(key).expect("put there just above");
        alike.last = now;
        alike.messages.insert(message.to_string());
        if alike.messages.len() < ALIKE_MAX {
            return false;
        }
        alike.messages.pop_first();
        true
    }

    fn pay(&mut self, key: BTreeKey, now: Timestamp) -> bool {
        let budget = self.budgets.get_mut(&key).copied().unwrap_or(Budget { left: BURST, at: now });
        // A clock that has been put back takes nothing away.
        let refill = now.duration_since(budget.at).as_secs_f64().max(0.0) / REFILL_SECONDS;
        let left = (budget.left + refill).min(BURST);
        let pays = left >= 1.0;
        self.budgets.put(key, Budget { left: if pays { left - 1.0 } else { left }, at: now });
        pays
    }
}

/// A map that forgets what was put in first once it is full.
#[derive(Debug)]
struct Remembered<K, V> {
    values: BTreeMap<K, (u64, V)>,
    order: BTreeMap<u64, K>,
    next: u64,
}

impl<K, V> Default for Remembered<K, V> {
    fn default() -> Self {
        Self { values: BTreeMap::new(), order: BTreeMap::new(), next: 0 }
    }
}

impl<K: Ord + Clone, V> Remembered<K, V> {
    fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.values.get_mut(key).map(|(_, value)| value)
    }

    fn put(&mut self, key: K, value: V) {
        if let Some((number, _)) = self.values.get(&key) {
            self.order.remove(number);
        }
        self.order.insert(self.next, key.clone());
        self.values.insert(key, (self.next, value));
        self.next += 1;
        if self.values.len() > REMEMBERED_MAX
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.values.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(name: &str) -> Subject {
        Subject {
            api_version: "apps/v1",
            kind: "DaemonSet",
            namespace: "ns".into(),
            name: name.into(),
            uid: name.into(),
            resource_version: 7,
        }
    }

    /// Takes notes one second apart, and says what became of them: `+message`, `name×count`, `-`.
    fn check(messages: &[String], expected: &str) {
        let mut correlator = Correlator::default();
        let mut out = Vec::new();
        for (second, message) in messages.iter().enumerate() {
            let note = Note { component: "c", normal: true, reason: "R", message: message.clone() };
            let now = Timestamp::from_second(second as i64).unwrap();
            out.push(match correlator.take(&subject("d"), &note, now) {
                None => "-".to_string(),
                Some(Entry::Create { name, message }) => {
                    assert_eq!(name, format!("d.{:x}", now.as_nanosecond()));
                    format!("+{message}")
                }
                Some(Entry::Count { message, count, .. }) => format!("{message}×{count}"),
            });
        }
        assert_eq!(out.join(" "), expected);
    }

    #[test]
    fn repetitions_are_counted() {
        check(&["a".into(), "a".into(), "b".into(), "a".into()], "+a a×2 +b a×3");
    }

    #[test]
    fn many_alike_become_one() {
        let messages: Vec<String> = (0..12).map(|number| number.to_string()).collect();
        check(
            &messages,
            "+0 +1 +2 +3 +4 +5 +6 +7 +8 +(combined from similar events): 9 (combined from similar events): 10×2 \
             (combined from similar events): 11×3",
        );
    }

    #[test]
    fn too_many_are_left_out() {
        let messages = vec!["a".to_string(); 27];
        let mut expected: Vec<String> = (2..26).map(|count| format!("a×{count}")).collect();
        expected.insert(0, "+a".into());
        expected.extend(["-".into(), "-".into()]);
        check(&messages, &expected.join(" "));
    }

    #[test]
    fn an_object_gets_one_more_every_five_minutes() {
        let mut correlator = Correlator::default();
        let note = |message: &str| Note { component: "c", normal: true, reason: "R", message: message.into() };
        let at = |second| Timestamp::from_second(second).unwrap();
        for _ in 0..30 {
            correlator.take(&subject("d"), &note("a"), at(0));
        }
        assert_eq!(correlator.take(&subject("d"), &note("a"), at(299)), None);
        assert!(correlator.take(&subject("d"), &note("a"), at(300)).is_some());
        assert_eq!(correlator.take(&subject("d"), &note("a"), at(301)), None);
        assert!(correlator.take(&subject("e"), &note("a"), at(301)).is_some());
    }

    #[test]
    fn a_clock_that_is_put_back_costs_nothing() {
        let mut correlator = Correlator::default();
        let note = Note { component: "c", normal: true, reason: "R", message: "a".into() };
        for second in [1_000_000, 0, 1] {
            let now = Timestamp::from_second(second).unwrap();
            assert!(correlator.take(&subject("d"), &note, now).is_some(), "at {second}");
        }
    }
}
