//! Disk full, failing syncs, damaged files, a second process: refused clearly, and no worse for it afterwards.

mod support;

use std::sync::Arc;

use backstay_store::{EmbeddedStore, Key, OpenError, Operation, Range, Store, StoreError};
use support::load::{Book, encoded, judge, write_all};
use support::{Cut, Disk};

fn pod(name: &str) -> Key {
    Key::new("pods", "d", name)
}

async fn create(store: &EmbeddedStore, name: &str) -> Result<u64, StoreError> {
    let value = encoded(name);
    store.commit(pod(name), Operation::Create { value }).await.map(|entry| entry.revision)
}

#[tokio::test]
async fn full_disk() {
    let disk = Disk::default();
    let store = disk.open().expect("a sound disk");
    let first = create(&store, "a").await.expect("room for one");
    let mut watch = store.watch(Range::all("pods"), first).expect("watch");

    disk.set_full(true);
    for _ in 0..3 {
        let refused = create(&store, "b").await;
        assert!(matches!(refused, Err(StoreError::Unavailable { .. })), "{refused:?}");
    }
    assert_eq!((store.snapshot().revision(), store.snapshot().count(&Range::all("pods"))), (first, 1));
    assert!(matches!(watch.try_next(), Ok(None)), "nobody hears of what is not durable");

    disk.set_full(false);
    let second = create(&store, "c").await.expect("room again");
    assert!(second > first + 3, "revisions of failed commits are not given again");
    assert_eq!(watch.next().await.expect("an event").entry.key, pod("c"));
    drop(store);
    let store = disk.open().expect("a sound disk");
    assert_eq!((store.snapshot().revision(), store.snapshot().count(&Range::all("pods"))), (second, 2));
}

/// A sync that fails may have worked all the same. What it left behind must not come to light later.
#[tokio::test]
async fn failed_sync_that_reached_the_disk() {
    for sync in 1..=2 {
        let disk = Disk::default();
        let store = disk.open().expect("a sound disk");
        let kept = create(&store, "kept").await.expect("create");
        let (value, last) = (encoded("changed"), encoded("gone"));
        disk.lie_in(sync);
        let created = create(&store, "new").await.is_ok();
        let update = store.commit(pod("kept"), Operation::Update { value, expected: kept }).await;
        let delete = store.commit(pod("kept"), Operation::Delete { last, expected: kept }).await;
        assert!(!created || update.is_err(), "one of the first two met the lie of sync {sync}");
        assert_eq!(delete.is_ok(), update.is_err(), "who was refused left nothing behind");
        let after = create(&store, "after").await.expect("the disk is sound again");
        let seen = store.snapshot();
        drop(store);
        let store = disk.open().expect("a sound disk");
        let again = store.snapshot();
        assert_eq!(again.revision(), after);
        let values = |entries: Vec<Arc<backstay_store::Entry>>| -> Vec<_> {
            entries.into_iter().map(|entry| (entry.key.clone(), entry.value.clone())).collect()
        };
        let range = Range::all("pods");
        assert_eq!(values(again.list(&range, None, 0)), values(seen.list(&range, None, 0)));
    }
}

/// What a failed sync has not written is not written by the next one, unless it is given to the disk again.
#[tokio::test]
async fn failed_sync_that_is_not_made_up_for() {
    // Enough for pages to be split in the commit that fails.
    for before in 1..=40 {
        let disk = Disk::default();
        let store = disk.open().expect("a sound disk");
        let name = |number: u64| format!("{:03}-{}", number * 37 % 101, "x".repeat(600));
        let mut expected = Vec::new();
        for number in 0..before {
            create(&store, &name(number)).await.expect("a sound disk");
            expected.push(pod(&name(number)));
        }
        disk.drop_in(1);
        let refused = create(&store, &name(before)).await;
        assert!(matches!(refused, Err(StoreError::Unavailable { .. })), "{refused:?}");
        create(&store, "after").await.expect("the disk is sound again");
        expected.push(pod("after"));
        expected.sort();
        disk.cut(Cut::Operation(1));
        drop(store);
        disk.power_on(before);
        let store = disk.open().unwrap_or_else(|error| panic!("after {before}: {error:?}"));
        let found = store.snapshot().list(&Range::all("pods"), None, 0);
        let found: Vec<_> = found.iter().map(|entry| entry.key.clone()).collect();
        assert_eq!(found, expected, "after {before}");
    }
}

#[tokio::test]
async fn restart() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("deep/data");
    let mut book = Book::new();
    let mut newest = 0;
    for round in 0..4 {
        let store = Arc::new(EmbeddedStore::open(&path).expect("open"));
        book = judge(&store, &book);
        assert_eq!(store.snapshot().revision(), newest);
        assert_eq!(store.oldest(), newest, "events from before the restart are not kept");
        if newest > 0 {
            let old = store.watch(Range::all("pods"), newest - 1).err();
            assert!(matches!(old, Some(StoreError::Compacted { .. })), "{old:?}");
        }
        store.watch(Range::all("pods"), newest).expect("a watch can begin at the revision loaded");
        book = write_all(&store, 2, 10, round, &book).await;
        // The last commit is a deletion: its revision must not be given again.
        let last = create(&store, "last").await.expect("create");
        let delete = Operation::Delete { last: encoded("gone"), expected: last };
        newest = store.commit(pod("last"), delete).await.expect("delete").revision;
    }
}

#[tokio::test]
async fn one_process_at_a_time() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = EmbeddedStore::open(directory.path()).expect("open");
    let second = EmbeddedStore::open(directory.path()).err();
    match second {
        Some(OpenError::InUse { holder, .. }) => assert_eq!(holder, format!("pid {}", std::process::id())),
        other => panic!("{other:?}"),
    }
    create(&store, "a").await.expect("the first is none the worse");
    drop(store);
    let store = EmbeddedStore::open(directory.path()).expect("free again");
    assert_eq!(store.snapshot().count(&Range::all("pods")), 1);
}

#[tokio::test]
async fn secrets_are_private() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("data");
    let _store = EmbeddedStore::open(&path).expect("open");
    let mode = |path: &std::path::Path| std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(&path.join("store.redb"))), (0o700, 0o600));
}

/// Any changed byte is an error, or it was in a place that nothing uses: then everything is as it was.
#[tokio::test]
async fn damage_is_never_served() {
    let disk = Disk::default();
    let store = Arc::new(disk.open().expect("a sound disk"));
    let book = write_all(&store, 3, 40, 7, &Book::new()).await;
    drop(store);
    let mut refused = 0;
    let length = disk.len();
    for step in 0..300 {
        let damaged = disk.copy();
        damaged.damage((step * 7_919 + step * step * 31) % length, 1 << (step % 8));
        match damaged.open() {
            Ok(store) => drop(judge(&store, &book)),
            Err(OpenError::Read { .. }) => refused += 1,
            Err(other) => panic!("{other:?}"),
        }
    }
    assert!(refused > 10, "only {refused} of 300 damages were noticed");
}

#[test]
fn a_lost_file_is_not_a_new_one() {
    let directory = tempfile::tempdir().expect("a directory");
    drop(EmbeddedStore::open(directory.path()).expect("open"));
    let file = directory.path().join("store.redb");
    for content in [&b""[..], b"not a database", &[0; 100_000]] {
        std::fs::write(&file, content).expect("write");
        let opened = EmbeddedStore::open(directory.path()).err();
        assert!(matches!(opened, Some(OpenError::Read { .. })), "{} bytes: {opened:?}", content.len());
    }
}
