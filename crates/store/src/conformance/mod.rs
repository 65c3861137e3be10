//! What every engine must do, as one suite that each of them runs: memory, embedded, etcd.
//!
//! Panics with the name of the promise that is broken. Assumes nothing about where revisions begin or whether they
//! leave gaps, only that they grow.

mod commits;
mod concurrency;
mod reading;
mod watching;

use std::sync::Arc;

use backstay_api::{Index, Pairs};
use bytes::Bytes;

use crate::{Encoded, Entry, Key, Operation, Revision, Store, StoreError};

/// Runs the whole suite; `make` gives a new, empty store each time.
pub async fn run<S: Store>(make: impl AsyncFn() -> S) {
    let scene = async || Scene { store: Arc::new(make().await) };
    commits::create_update_delete(&scene().await).await;
    commits::refusals(&scene().await).await;
    commits::revisions_grow(&scene().await).await;
    commits::values_carry_their_revision(&scene().await).await;
    commits::index_is_kept(&scene().await).await;
    reading::order_is_namespace_then_name(&scene().await).await;
    reading::ranges(&scene().await).await;
    reading::pages_cover_everything_once(&scene().await).await;
    reading::snapshots_never_change(&scene().await).await;
    reading::by_field(&scene().await).await;
    reading::kept_snapshots(&scene().await).await;
    reading::own_writes_are_read(&scene().await).await;
    watching::every_kind_of_event(&scene().await).await;
    watching::from_any_revision(&scene().await).await;
    watching::only_the_range(&scene().await).await;
    watching::only_who_is_concerned(&scene().await).await;
    watching::progress_follows_the_store(&scene().await).await;
    watching::what_is_heard_can_be_read(&scene().await).await;
    watching::future_and_compacted(&scene().await).await;
    watching::close_ends_watches_and_commits(&scene().await).await;
    concurrency::one_of_many_wins(&scene().await).await;
    concurrency::no_gaps_no_duplicates(&scene().await).await;
}

/// A store, and short words for what the suite does with it.
struct Scene<S> {
    store: Arc<S>,
}

impl<S: Store> Scene<S> {
    fn newest(&self) -> Revision {
        self.store.snapshot().revision()
    }

    async fn create(&self, key: &Key, text: &str) -> Result<Arc<Entry>, StoreError> {
        self.store.commit(key.clone(), Operation::Create { value: encoded(text) }).await
    }

    async fn update(&self, key: &Key, text: &str, expected: Revision) -> Result<Arc<Entry>, StoreError> {
        self.store.commit(key.clone(), Operation::Update { value: encoded(text), expected }).await
    }

    async fn delete(&self, key: &Key, expected: Revision) -> Result<Arc<Entry>, StoreError> {
        self.store.commit(key.clone(), Operation::Delete { last: encoded("gone"), expected }).await
    }

    /// Creates all of these, each with its name as text.
    async fn create_all(&self, keys: &[Key]) {
        for key in keys {
            self.create(key, &key.name).await.expect("a new key can be created");
        }
    }
}

fn pod(namespace: &str, name: &str) -> Key {
    Key::new("pods", namespace, name)
}

/// `{"rv":"<revision>","text":"<text>"}` once committed; the text is its node and its phase, too.
fn encoded(text: &str) -> Encoded {
    Encoded {
        head: Bytes::from_static(b"{\"rv\":\""),
        tail: Bytes::from(format!("\",\"text\":\"{text}\"}}")),
        index: Arc::new(Index {
            uid: text.to_string(),
            fields: Pairs::of([("spec.nodeName", text), ("status.phase", text)].into_iter()),
            ..Index::default()
        }),
    }
}

fn value(text: &str, revision: Revision) -> String {
    format!("{{\"rv\":\"{revision}\",\"text\":\"{text}\"}}")
}

fn names(entries: &[Arc<Entry>]) -> Vec<String> {
    entries.iter().map(|entry| format!("{}/{}", entry.key.namespace, entry.key.name)).collect()
}
