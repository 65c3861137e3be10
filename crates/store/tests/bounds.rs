//! What can grow has a limit: the event window per resource, the kept snapshots.

use std::sync::Arc;

use backstay_api::Index;
use backstay_store::front::LogLimits;
use backstay_store::{Encoded, Key, MemoryStore, Operation, Range, Store, StoreError};
use bytes::Bytes;

async fn create(store: &MemoryStore, resource: &str, number: usize, bytes: usize) -> u64 {
    let value = Encoded { head: Bytes::new(), tail: "x".repeat(bytes).into(), index: Arc::new(Index::default()) };
    let key = Key::new(resource, "d", &format!("o{number:05}"));
    store.commit(key, Operation::Create { value }).await.expect("create").revision
}

fn is_compacted<T>(result: &Result<T, StoreError>) -> bool {
    matches!(result, Err(StoreError::Compacted { .. }))
}

#[tokio::test]
async fn a_slow_watcher_falls_out_and_disturbs_nobody() {
    let store = MemoryStore::with_limits(LogLimits { events_max: 10, bytes_max: usize::MAX });
    let quiet = create(&store, "configmaps", 0, 10).await;
    let mut slow = store.watch(Range::all("pods"), quiet).expect("watch");
    let mut quick = store.watch(Range::all("pods"), quiet).expect("watch");
    let mut other = store.watch(Range::all("configmaps"), quiet - 1).expect("watch");
    for number in 0..10 {
        create(&store, "pods", number, 10).await;
        quick.next().await.expect("an event");
    }
    let first = slow.next().await.expect("ten are kept").entry.revision;
    for number in 10..12 {
        create(&store, "pods", number, 10).await;
        quick.next().await.expect("an event");
    }
    assert_eq!(slow.progress(), first, "what was lost is not passed");
    assert!(is_compacted(&slow.next().await.map(drop)), "two of its nine are gone");
    assert!(is_compacted(&store.watch(Range::all("pods"), quiet).map(drop)));
    assert!(store.watch(Range::all("pods"), store.oldest()).is_ok());
    let kept = other.next().await.expect("another resource has a window of its own").entry.revision;
    assert_eq!(kept, quiet);
}

/// What waits for the watcher of one node is bounded, whatever the window holds; others are not concerned.
#[tokio::test]
async fn a_watcher_of_little_that_never_reads_falls_out() {
    let store = MemoryStore::with_limits(LogLimits { events_max: 10, bytes_max: usize::MAX });
    let first = create(&store, "pods", 0, 10).await;
    let named = |number: usize| Range::one(&Key::new("pods", "d", &format!("o{number:05}")));
    let [mut slow, mut quick] = [(); 2].map(|()| store.watch(named(1), first).expect("watch"));
    let mut other = store.watch(named(0), first).expect("watch");
    let mut newest = create(&store, "pods", 1, 10).await;
    let mut update = async || {
        let value = Encoded { head: Bytes::new(), tail: "x".into(), index: Arc::new(Index::default()) };
        let key = Key::new("pods", "d", "o00001");
        newest = store.commit(key, Operation::Update { value, expected: newest }).await.expect("update").revision;
        newest
    };
    for _ in 0..1_023 {
        update().await;
        quick.next().await.expect("an event");
    }
    let begun = slow.next().await.expect("more than the window holds").entry.revision;
    for _ in 0..2 {
        update().await;
        quick.next().await.expect("an event");
    }
    assert_eq!(slow.progress(), begun, "what was lost is not passed");
    assert!(is_compacted(&slow.next().await.map(drop)));
    assert!(matches!(other.try_next(), Ok(None)), "it has missed nothing, long as it was away");
    let newest = update().await;
    assert_eq!(other.progress(), newest);
}

#[tokio::test]
async fn big_events_fill_the_window_sooner() {
    let store = MemoryStore::with_limits(LogLimits { events_max: 1_000, bytes_max: 1 << 20 });
    for number in 0..100 {
        create(&store, "pods", number, 100_000).await;
    }
    let mut watch = store.watch(Range::all("pods"), store.oldest()).expect("watch");
    let mut kept = 0;
    while watch.try_next().expect("a running watch").is_some() {
        kept += 1;
    }
    assert!((5..=10).contains(&kept), "{kept} events of 100 kB for 1 MiB");
}

#[tokio::test]
async fn one_event_is_always_kept() {
    let store = MemoryStore::with_limits(LogLimits { events_max: 1, bytes_max: 1 });
    let first = create(&store, "pods", 0, 1_000).await;
    let mut watch = store.watch(Range::all("pods"), first).expect("watch");
    for number in 1..20 {
        let revision = create(&store, "pods", number, 1_000).await;
        assert_eq!(watch.next().await.expect("an event").entry.revision, revision);
    }
}

#[tokio::test]
async fn kept_snapshots_are_the_newest() {
    let store = MemoryStore::new();
    let mut kept = Vec::new();
    for number in 0..200 {
        kept.push(create(&store, "pods", number, 10).await);
        store.keep(store.snapshot());
    }
    assert!(is_compacted(&store.snapshot_at(kept[0]).map(drop)), "the oldest made room");
    let found = kept.iter().filter(|revision| store.snapshot_at(**revision).is_ok()).count();
    assert_eq!(found, 64);
    assert_eq!(store.snapshot_at(kept[150]).expect("one of the newest").count(&Range::all("pods")), 151);
}
