//! What is written again and again takes no more room than what is there: in the file, and in the window of events.

use std::path::Path;
use std::sync::Arc;

use backstay_api::Index;
use backstay_store::embedded::EmbeddedStore;
use backstay_store::front::LogLimits;
use backstay_store::{Encoded, Key, MemoryStore, Operation, Range, Store};

const OBJECTS: usize = 50;

fn value(bytes: usize) -> Encoded {
    Encoded { head: "{".into(), tail: "x".repeat(bytes).into(), index: Arc::new(Index::default()) }
}

/// Renews every object so many times, and replaces one in five by a new one each time, as events come and go.
async fn live(store: &dyn Store, rounds: std::ops::Range<usize>) {
    let snapshot = store.snapshot();
    let mut leases = snapshot.list(&Range::all("leases"), None, 0);
    for round in rounds {
        for lease in &mut leases {
            let renewal = Operation::Update { value: value(400 + round % 7), expected: lease.revision };
            *lease = store.commit(lease.key.clone(), renewal).await.expect("renewed");
        }
        let old = store.snapshot().list(&Range::all("events"), None, OBJECTS / 5);
        for event in old {
            let end = Operation::Delete { last: value(1_000), expected: event.revision };
            store.commit(event.key.clone(), end).await.expect("deleted");
        }
        for number in 0..OBJECTS / 5 {
            let key = Key::new("events", "d", &format!("e{round:05}-{number}"));
            store.commit(key, Operation::Create { value: value(1_000) }).await.expect("created");
        }
    }
}

async fn begin(store: &dyn Store) {
    for number in 0..OBJECTS {
        let key = Key::new("leases", "d", &format!("l{number:05}"));
        store.commit(key, Operation::Create { value: value(400) }).await.expect("created");
    }
}

fn size(directory: &Path) -> u64 {
    let files = std::fs::read_dir(directory).expect("a directory");
    files.map(|file| file.expect("a file").metadata().expect("a size").len()).sum()
}

#[tokio::test]
async fn the_file_does_not_grow_with_what_is_overwritten() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = EmbeddedStore::open(directory.path()).expect("a store");
    begin(&store).await;
    live(&store, 0..10).await;
    let warm = size(directory.path());
    live(&store, 10..60).await;
    let later = size(directory.path());
    assert!(later <= warm * 3 / 2, "{warm} bytes after 10 rounds, {later} after 60");
    store.close().await;
}

#[tokio::test]
async fn the_window_forgets_as_it_goes_on() {
    let store = MemoryStore::with_limits(LogLimits { events_max: 100, bytes_max: 1 << 20 });
    begin(&store).await;
    live(&store, 0..20).await;
    let (mut watch, mut kept) = (store.watch(Range::all("leases"), store.oldest()).expect("a watch"), Vec::new());
    while let Some(event) = watch.try_next().expect("a running watch") {
        kept.push(Arc::downgrade(&event));
    }
    assert!((1..=100).contains(&kept.len()), "{} events", kept.len());
    live(&store, 20..24).await;
    assert!(kept.iter().all(|event| event.upgrade().is_none()), "what has left the window is freed");
}
