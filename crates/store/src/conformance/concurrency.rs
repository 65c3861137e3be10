//! Many writers and watchers at once.

use std::collections::BTreeMap;

use super::{Scene, encoded, pod};
use crate::{EventKind, Operation, Range, Store, StoreError};

const WRITERS: usize = 8;
const WRITES: usize = 60;

/// Of several updates that expect the same revision exactly one succeeds: counting up loses no step.
pub async fn one_of_many_wins<S: Store>(scene: &Scene<S>) {
    let key = pod("d", "counter");
    scene.create(&key, "0").await.expect("create");
    let writers = (0..WRITERS).map(|_| {
        let (store, key) = (scene.store.clone(), key.clone());
        tokio::spawn(async move {
            for _ in 0..10 {
                loop {
                    let seen = store.snapshot().get(&key).expect("the counter");
                    let next = seen.index.uid.parse::<u64>().expect("a number") + 1;
                    let operation = Operation::Update { value: encoded(&next.to_string()), expected: seen.revision };
                    match store.commit(key.clone(), operation).await {
                        Ok(_) => break,
                        Err(StoreError::Conflict { .. }) => continue,
                        Err(other) => panic!("{other}"),
                    }
                }
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.expect("the writer");
    }
    let counter = scene.store.snapshot().get(&key).expect("the counter");
    assert_eq!(counter.index.uid, (WRITERS * 10).to_string());
}

/// Watchers that start at different times see each commit once, in order, and can rebuild the state from it.
pub async fn no_gaps_no_duplicates<S: Store>(scene: &Scene<S>) {
    let from = scene.newest();
    let total = WRITERS * WRITES;
    let watchers = (0..4).map(|_| {
        let mut watch = scene.store.watch(Range::all("pods"), from).expect("watch");
        tokio::spawn(async move {
            let mut seen = Vec::with_capacity(total);
            while seen.len() < total {
                seen.push(watch.next().await.expect("an event"));
            }
            seen
        })
    });
    let watchers: Vec<_> = watchers.collect();
    let writers: Vec<_> = (0..WRITERS).map(|writer| tokio::spawn(write(scene.store.clone(), writer))).collect();
    let mut acknowledged = Vec::new();
    for writer in writers {
        acknowledged.extend(writer.await.expect("the writer"));
    }
    acknowledged.sort_unstable();
    for watcher in watchers {
        let seen = watcher.await.expect("the watcher");
        let revisions: Vec<_> = seen.iter().map(|event| event.entry.revision).collect();
        assert_eq!(revisions, acknowledged, "each commit once, in order");
        let mut rebuilt = BTreeMap::new();
        for event in &seen {
            match event.kind {
                EventKind::Deleted => drop(rebuilt.remove(&event.entry.key)),
                _ => drop(rebuilt.insert(event.entry.key.clone(), event.entry.value.clone())),
            }
        }
        let listed = scene.store.snapshot().list(&Range::all("pods"), None, 0);
        let listed: Vec<_> = listed.iter().map(|entry| (entry.key.clone(), entry.value.clone())).collect();
        assert_eq!(rebuilt.into_iter().collect::<Vec<_>>(), listed, "the events add up to the state");
    }
}

/// Creates, updates and deletes by turns; answers the revisions it got.
async fn write<S: Store>(store: std::sync::Arc<S>, writer: usize) -> Vec<u64> {
    let mut revisions = Vec::with_capacity(WRITES);
    for number in 0..WRITES / 3 {
        let key = pod("d", &format!("w{writer}-{}", number % 7));
        let create = Operation::Create { value: encoded("one") };
        let mut last = match store.snapshot().get(&key) {
            Some(entry) => entry.revision,
            None => push(&mut revisions, store.commit(key.clone(), create).await.expect("create").revision),
        };
        while revisions.len() % 3 != 2 {
            let update = Operation::Update { value: encoded("two"), expected: last };
            last = push(&mut revisions, store.commit(key.clone(), update).await.expect("update").revision);
        }
        let operation = match number % 2 {
            0 => Operation::Delete { last: encoded("gone"), expected: last },
            _ => Operation::Update { value: encoded("three"), expected: last },
        };
        push(&mut revisions, store.commit(key, operation).await.expect("the last of three").revision);
    }
    revisions
}

fn push(revisions: &mut Vec<u64>, revision: u64) -> u64 {
    revisions.push(revision);
    revision
}
