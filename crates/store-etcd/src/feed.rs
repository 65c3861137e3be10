//! Keeps the copy in memory up to date: everything once, then every change as etcd tells of it.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use backstay_store::front::Front;
use backstay_store::{Entry, Event, EventKind, Key, Revision, Snapshot as _, State};
use bytes::Bytes;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tonic::Status;

use crate::keys::{Keys, Stored, parse_last_words};
use crate::wire::{
    self, Client, EventType, KeyValue, RangeRequest, RangeResponse, WatchCreateRequest, WatchResponse, end_of,
};
use crate::{HEAR_PATIENCE, PATIENCE, WENT_BACK, explain};

/// Keys asked for at a time; a page stays well below what etcd sends in one message.
const PAGE: i64 = 1000;
/// A page of large objects may take a while.
const PAGE_PATIENCE: Duration = Duration::from_secs(60);
/// First and longest pause after a fault.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Reads everything, as it is at one revision.
pub async fn load(client: &Client, keys: &Keys) -> Result<State, Status> {
    let (mut from, end) = (keys.objects(), end_of(&keys.objects()));
    let mut revision = 0;
    let mut state = State::default();
    loop {
        let request = RangeRequest {
            key: from.clone(),
            range_end: end.clone(),
            limit: PAGE,
            revision,
            ..RangeRequest::default()
        };
        let page = client.range(request, PAGE_PATIENCE).await?;
        // All pages are of the moment of the first.
        revision = if revision == 0 { page.header.map_or(0, |header| header.revision) } else { revision };
        for kv in &page.kvs {
            if let Some(entry) = entry(keys, kv) {
                let key = state.intern(entry.key.clone());
                state.insert(Arc::new(Entry { key, ..entry }));
            }
        }
        match page.kvs.last().filter(|_| page.more) {
            Some(last) => from = [&last.key[..], &[0]].concat().into(),
            None => break,
        }
    }
    state.set_revision(number(revision));
    Ok(state)
}

/// The object that lies there. What cannot be read is logged and left out: it is not ours.
fn entry(keys: &Keys, kv: &KeyValue) -> Option<Entry> {
    let key = keys.parse(&kv.key)?;
    let Some(stored) = Stored::parse(&kv.value) else {
        tracing::error!(key = %String::from_utf8_lossy(&kv.key), "what lies in etcd is not an object");
        return None;
    };
    Some(committed(key, number(kv.mod_revision), &stored))
}

/// An entry as it is once committed.
pub fn committed(key: Key, revision: Revision, stored: &Stored) -> Entry {
    let (value, index) = (stored.encoded.at(revision), stored.encoded.index.clone());
    Entry { key, revision, value, index, messages: OnceLock::new() }
}

pub fn number(revision: i64) -> Revision {
    u64::try_from(revision).unwrap_or(0)
}

/// Applies changes to a state, and says what happened.
struct Applier<'a> {
    keys: &'a Keys,
    state: State,
    events: Vec<Arc<Event>>,
}

impl Applier<'_> {
    /// All changes of one answer, in order; those of one commit come together.
    fn apply(&mut self, changes: &[wire::Event]) {
        let revision_of = |change: &wire::Event| change.kv.as_ref().map_or(0, |kv| kv.mod_revision);
        for commit in changes.chunk_by(|left, right| revision_of(left) == revision_of(right)) {
            let head = self.keys.head();
            let last = commit.iter().filter_map(|change| change.kv.as_ref()).find(|kv| kv.key == head);
            let last = last.and_then(|kv| parse_last_words(&kv.value));
            for change in commit {
                let Some(kv) = &change.kv else { continue };
                match change.r#type() {
                    EventType::Put => self.put(kv),
                    EventType::Delete => self.deleted(kv, last.as_ref()),
                }
                self.state.set_revision(number(kv.mod_revision));
            }
        }
    }

    fn put(&mut self, kv: &KeyValue) {
        let Some(entry) = entry(self.keys, kv) else { return };
        let key = self.state.intern(entry.key.clone());
        let entry = Arc::new(Entry { key, ..entry });
        let previous = self.state.insert(entry.clone());
        let kind = if previous.is_some() { EventKind::Modified } else { EventKind::Added };
        self.events.push(Arc::new(Event { kind, entry, previous }));
    }

    fn deleted(&mut self, kv: &KeyValue, last: Option<&(Bytes, Stored)>) {
        let Some(previous) = self.keys.parse(&kv.key).and_then(|key| self.state.remove(&key)) else { return };
        let (key, revision) = (previous.key.clone(), number(kv.mod_revision));
        let entry = match last.filter(|(place, _)| *place == kv.key) {
            Some((_, stored)) => committed(key, revision, stored),
            // Deleted by somebody else, who left no word: its last state is the one we have.
            None => Entry {
                key,
                revision,
                value: previous.value.clone(),
                index: previous.index.clone(),
                messages: OnceLock::new(),
            },
        };
        let (entry, previous) = (Arc::new(entry), Some(previous));
        self.events.push(Arc::new(Event { kind: EventKind::Deleted, entry, previous }));
    }
}

/// Why a watch has ended.
enum Ended {
    /// What it asked for is gone: everything must be read again.
    Compacted,
    /// What it has told before is no longer true.
    WentBack,
    Fault(String),
}

/// Asks how far etcd is, for certain.
pub async fn head(client: &Client, keys: &Keys) -> Result<RangeResponse, Status> {
    let request = RangeRequest { key: keys.head(), keys_only: true, ..RangeRequest::default() };
    client.range(request, PATIENCE).await
}

/// Whether that is less far than what it had told before it was asked.
pub fn went_back(answer: &RangeResponse, seen: Revision) -> bool {
    answer.header.as_ref().is_some_and(|header| number(header.revision) < seen)
}

/// Keeps the copy up to date.
pub struct Follower {
    pub client: Client,
    pub keys: Keys,
    pub front: Arc<Front>,
    /// Tells up to which revision.
    pub applied: watch::Sender<Revision>,
    /// Somebody has waited for [`HEAR_PATIENCE`] in vain for what etcd has committed.
    pub silence: Arc<Notify>,
    /// That etcd cannot be followed any further.
    pub went_back: Arc<AtomicBool>,
}

impl Follower {
    /// Follows etcd, for ever, unless its history goes back: then everything ends.
    pub async fn follow(self) {
        let mut pause = PAUSE_FIRST;
        loop {
            match self.watch_once(&mut pause).await {
                Ended::Compacted => {
                    tracing::warn!(
                        "etcd has forgotten what happened since we last heard of it; reading all of it again"
                    );
                    match load(&self.client, &self.keys).await {
                        Ok(state) => {
                            let revision = state.revision();
                            self.front.restart(state);
                            self.applied.send_replace(revision);
                            continue;
                        }
                        Err(status) => tracing::warn!(error = explain(&status), "cannot read from etcd; will retry"),
                    }
                }
                Ended::WentBack => {
                    tracing::error!("{WENT_BACK}");
                    self.went_back.store(true, Ordering::Relaxed);
                    return self.front.stop();
                }
                Ended::Fault(why) => tracing::warn!(why, "the watch of etcd has ended; beginning anew"),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    async fn watch_once(&self, pause: &mut Duration) -> Ended {
        let (prefix, seen) = (self.keys.everything(), self.front.state().revision());
        match head(&self.client, &self.keys).await {
            Ok(answer) if went_back(&answer, seen) => return Ended::WentBack,
            Ok(_) => {}
            Err(status) => return Ended::Fault(explain(&status)),
        }
        let start_revision = i64::try_from(seen).unwrap_or(i64::MAX).saturating_add(1);
        let request = WatchCreateRequest { range_end: end_of(&prefix), key: prefix, start_revision };
        let (mut stream, turn) = match self.client.watch(request, PATIENCE).await {
            Ok(told) => told,
            Err(status) => return Ended::Fault(explain(&status)),
        };
        let mut heard_at = Instant::now();
        loop {
            let message = tokio::select! {
                message = stream.message() => message,
                () = self.silence.notified() => {
                    // A member that is alive may tell nothing, as one whose disk hangs. One that tells is only slow.
                    if heard_at.elapsed() < HEAR_PATIENCE {
                        continue;
                    }
                    self.client.failed(turn);
                    return Ended::Fault("it does not tell what has been committed".into());
                }
            };
            heard_at = Instant::now();
            let answer = match message {
                Ok(Some(answer)) => answer,
                ended => {
                    self.client.failed(turn);
                    let why = ended.err().map_or("etcd has closed it".to_string(), |status| explain(&status));
                    return Ended::Fault(why);
                }
            };
            *pause = PAUSE_FIRST;
            let WatchResponse { canceled, compact_revision, cancel_reason, events, .. } = answer;
            if compact_revision > 0 {
                return Ended::Compacted;
            }
            if canceled {
                self.client.failed(turn);
                return Ended::Fault(cancel_reason);
            }
            if events.is_empty() {
                continue;
            }
            let mut applier =
                Applier { keys: &self.keys, state: State::clone(&self.front.state()), events: Vec::new() };
            applier.apply(&events);
            let revision = applier.state.revision();
            self.front.publish(applier.state, &applier.events);
            self.applied.send_replace(revision);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::last_words;
    use backstay_store::Encoded;

    fn stored(text: &str) -> Stored {
        let (head, tail) = (Bytes::from(format!("{text}:")), Bytes::new());
        Stored { tag: 1, encoded: Encoded { head, tail, index: Arc::default() } }
    }

    fn change(kind: EventType, key: &str, mod_revision: i64, value: Bytes) -> wire::Event {
        let kv = KeyValue { key: Bytes::from(format!("/b/{key}")), mod_revision, value, ..KeyValue::default() };
        wire::Event { r#type: kind.into(), kv: Some(kv) }
    }

    #[test]
    fn changes_become_events() {
        let keys = Keys::new("/b");
        let mut applier = Applier { keys: &keys, state: State::at(1), events: Vec::new() };
        let (a, place) = ("objects/pods/d/a", Bytes::from_static(b"/b/objects/pods/d/a"));
        applier.apply(&[
            change(EventType::Put, "head", 2, Bytes::new()),
            change(EventType::Put, a, 2, stored("one").to_bytes()),
            change(EventType::Put, "private/ca", 3, Bytes::from_static(b"secret")),
            change(EventType::Put, a, 4, stored("two").to_bytes()),
            change(EventType::Put, "objects/pods/d/b", 5, Bytes::from_static(b"garbage")),
            // The order within a commit does not matter.
            change(EventType::Delete, a, 6, Bytes::new()),
            change(EventType::Put, "head", 6, last_words(&place, &stored("last"))),
            change(EventType::Put, a, 7, stored("new").to_bytes()),
            // By somebody else, who leaves no word.
            change(EventType::Delete, a, 8, Bytes::new()),
            change(EventType::Delete, "objects/pods/d/unknown", 9, Bytes::new()),
        ]);
        let shown = applier.events.iter().map(|event| {
            let text = |entry: &Entry| String::from_utf8_lossy(&entry.value).into_owned();
            let previous = event.previous.as_deref().map(text).unwrap_or_default();
            format!("{:?} {} {} was {previous}", event.kind, event.entry.revision, text(&event.entry))
        });
        let shown: Vec<String> = shown.collect();
        assert_eq!(
            shown,
            [
                "Added 2 one:2 was ",
                "Modified 4 two:4 was one:2",
                "Deleted 6 last:6 was two:4",
                "Added 7 new:7 was ",
                "Deleted 8 new:7 was new:7",
            ]
        );
        assert_eq!((applier.state.revision(), applier.state.entries().count()), (9, 0));
    }
}
