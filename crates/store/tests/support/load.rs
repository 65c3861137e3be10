//! Writers that remember what was acknowledged, and the judgement of what a store holds afterwards.

#![allow(dead_code)]

use std::collections::BTreeMap;
use std::sync::Arc;

use backstay_api::Index;
use backstay_store::{EmbeddedStore, Encoded, Entry, Key, Operation, Range, Revision, Store, StoreError};
use bytes::Bytes;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

/// The state of a key: its revision and text, or that it is not there.
pub type Seen = Option<(Revision, String)>;

/// What one key may be after a crash.
#[derive(Clone, Debug, Default)]
pub struct Possible {
    pub acknowledged: Seen,
    /// The text (or deletion) that was underway and not acknowledged.
    pub underway: Option<Option<String>>,
}

pub type Book = BTreeMap<Key, Possible>;

pub fn encoded(text: &str) -> Encoded {
    let index = Index { uid: text.chars().take(20).collect(), ..Index::default() };
    Encoded { head: Bytes::from_static(b"\""), tail: Bytes::from(format!("\" {text}")), index: Arc::new(index) }
}

pub fn text(entry: &Entry) -> String {
    let value = std::str::from_utf8(&entry.value).expect("text");
    let (revision, text) = value.trim_start_matches('"').split_once("\" ").expect("as encoded");
    assert_eq!(revision, entry.revision.to_string(), "the value carries its revision");
    assert!(text.starts_with(&entry.index.uid), "the index belongs to the value");
    text.to_string()
}

/// Creates, updates and deletes keys of one writer until the store refuses or `rounds` are done.
pub async fn write(store: Arc<EmbeddedStore>, writer: usize, rounds: usize, seed: u64, mut book: Book) -> Book {
    let mut random = SmallRng::seed_from_u64(seed ^ (writer as u64) << 32);
    for round in 0..rounds {
        let key = Key::new("pods", "d", &format!("w{writer}-{}", random.random_range(0..4)));
        let length = [10, 200, 2_000, 9_000][random.random_range(0..4)];
        let text = format!("{seed}/{writer}/{round}/{}", "x".repeat(length));
        let possible = book.entry(key.clone()).or_default();
        let (operation, after) = match &possible.acknowledged {
            None => (Operation::Create { value: encoded(&text) }, Some(text)),
            Some((revision, _)) if random.random_bool(0.3) => {
                (Operation::Delete { last: encoded("gone"), expected: *revision }, None)
            }
            Some((revision, _)) => (Operation::Update { value: encoded(&text), expected: *revision }, Some(text)),
        };
        possible.underway = Some(after.clone());
        match store.commit(key, operation).await {
            Ok(entry) => {
                possible.acknowledged = after.map(|text| (entry.revision, text));
                possible.underway = None;
            }
            Err(StoreError::Unavailable { .. }) => return book,
            Err(other) => panic!("{other}"),
        }
    }
    book
}

/// Several writers at once, each with keys of its own.
pub async fn write_all(store: &Arc<EmbeddedStore>, writers: usize, rounds: usize, seed: u64, book: &Book) -> Book {
    let mine = |writer: usize| -> Book {
        let prefix = format!("w{writer}-");
        book.iter().filter(|(key, _)| key.name.starts_with(&prefix)).map(|(k, p)| (k.clone(), p.clone())).collect()
    };
    let tasks: Vec<_> =
        (0..writers).map(|writer| tokio::spawn(write(store.clone(), writer, rounds, seed, mine(writer)))).collect();
    let mut books = Book::new();
    for task in tasks {
        books.extend(task.await.expect("the writer"));
    }
    books
}

/// Every acknowledged state is there; what was underway happened as a whole or not at all; nothing else is there.
/// Answers the book with that settled.
pub fn judge(store: &EmbeddedStore, book: &Book) -> Book {
    let snapshot = store.snapshot();
    let newest = book.values().filter_map(|possible| possible.acknowledged.as_ref()).map(|(revision, _)| *revision);
    assert!(newest.max().unwrap_or(0) <= snapshot.revision(), "the revision counter went back");
    let mut settled = Book::new();
    for (key, possible) in book {
        let found: Seen = snapshot.get(key).map(|entry| (entry.revision, text(&entry)));
        let found_text = found.as_ref().map(|(_, text)| text.clone());
        let is_acknowledged = found == possible.acknowledged;
        let is_underway = possible.underway.as_ref().is_some_and(|text| *text == found_text);
        assert!(is_acknowledged || is_underway, "{key:?} is {found:?}, expected one of {possible:?}");
        settled.insert(key.clone(), Possible { acknowledged: found, underway: None });
    }
    for entry in snapshot.list(&Range::all("pods"), None, 0) {
        assert!(settled.contains_key(&entry.key), "{:?} was never written", entry.key);
    }
    settled
}
