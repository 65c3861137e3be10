//! The engine against a real etcd: the promises of the port, several servers, faults.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use backstay_store::{Key, Operation, Range, Store, StoreError, conformance};
use bytes::Bytes;
use support::Etcd;
use support::proxy::Proxy;
use support::store::{PATIENCE, create, encoded, key, open, open_by};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_keeps_the_promises_of_the_port() {
    let Some(etcd) = Etcd::start("it_keeps_the_promises_of_the_port") else { return };
    let counter = AtomicUsize::new(0);
    conformance::run(async || open(&etcd, &format!("/test-{}", counter.fetch_add(1, Ordering::Relaxed))).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_see_what_others_have_acknowledged() {
    let Some(etcd) = Etcd::start("servers_see_what_others_have_acknowledged") else { return };
    let (one, two) = (open(&etcd, "/a").await, open(&etcd, "/a").await);
    let mut heard = two.watch(Range::all("pods"), two.snapshot().revision()).unwrap();
    for round in 0..50 {
        let name = format!("p{round}");
        let revision = create(&one, &name).await.unwrap();
        let seen = two.consistent_snapshot().await.unwrap();
        assert_eq!(seen.get(&key(&name)).map(|entry| entry.revision), Some(revision), "{name}");
        let event = heard.next().await.unwrap();
        assert_eq!((event.entry.revision, &event.entry.value), (revision, &encoded(&name).at(revision)));
        // Both decide from the same state; one is too late, and then sees why.
        let update = |text: &str| Operation::Update { value: encoded(text), expected: revision };
        let (left, right) =
            tokio::join!(one.commit(key(&name), update("left")), two.commit(key(&name), update("right")));
        let (won, lost) = if left.is_ok() { (left, right) } else { (right, left) };
        let won = won.expect("one of them").revision;
        assert!(matches!(lost, Err(StoreError::Conflict { current, .. }) if current.revision == won));
        assert_eq!(heard.next().await.unwrap().entry.revision, won);
    }
    // The last state, as the other server has written it.
    let seen = one.consistent_snapshot().await.unwrap().get(&key("p0")).unwrap();
    let last = Operation::Delete { last: encoded("farewell"), expected: seen.revision };
    let gone = two.commit(key("p0"), last).await.unwrap();
    one.catch_up().await.unwrap();
    assert!(one.snapshot().get(&key("p0")).is_none());
    let event = heard.next().await.unwrap();
    assert_eq!((&event.entry.value, event.entry.revision), (&encoded("farewell").at(gone.revision), gone.revision));
    // Whoever comes later finds everything.
    let three = open(&etcd, "/a").await;
    assert_eq!(three.snapshot().count(&Range::all("pods")), 49);
    assert_eq!(one.share("ca", Bytes::from_static(b"ours")).await.unwrap(), "ours");
    assert_eq!(two.share("ca", Bytes::from_static(b"theirs")).await.unwrap(), "ours", "the first counts");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_must_go_with_others_is_refused_if_there_are_new_ones() {
    let Some(etcd) = Etcd::start("what_must_go_with_others_is_refused_if_there_are_new_ones") else { return };
    let (one, two) = (open(&etcd, "/a").await, open(&etcd, "/a").await);
    let new = || Operation::Create { value: encoded("new") };
    let refused = |result: Result<_, StoreError>| matches!(result, Err(StoreError::Overtaken { .. }));
    let seen = one.snapshot().revision();
    let other = create(&two, "other").await.unwrap();
    assert!(refused(one.commit_beside(key("a"), new(), seen).await));
    assert!(one.snapshot().get(&key("other")).is_some(), "and then it is seen");
    let a = one.commit_beside(key("a"), new(), other).await.expect("all are known").revision;
    let update = |expected| Operation::Update { value: encoded("newer"), expected };
    assert!(refused(two.commit_beside(key("a"), update(a), other).await), "itself counts as well");
    // Its own state comes first, and other resources do not matter.
    two.commit(Key::new("podtemplates", "default", "a"), new()).await.unwrap();
    assert!(matches!(two.commit_beside(key("a"), update(other), a).await, Err(StoreError::Conflict { .. })));
    assert!(matches!(two.commit_beside(key("a"), new(), seen).await, Err(StoreError::Exists { .. })));
    assert!(matches!(two.commit_beside(key("b"), update(a), a).await, Err(StoreError::NotFound { .. })));
    two.commit_beside(key("a"), update(a), a).await.expect("all are known");
}

/// Killed again and again under load: whatever was acknowledged is there, and whoever watches has seen it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_when_etcd_dies() {
    let Some(mut etcd) = Etcd::start("nothing_acknowledged_is_lost_when_etcd_dies") else { return };
    let store = Arc::new(open(&etcd, "/a").await);
    let mut watch = store.watch(Range::all("pods"), store.snapshot().revision()).unwrap();
    let writers = (0..8).map(|writer| {
        let store = store.clone();
        tokio::spawn(async move {
            let (mut written, mut number) = (Vec::new(), 0);
            while written.len() < 150 {
                let name = format!("w{writer}-{number}");
                number += 1;
                match create(&store, &name).await {
                    Ok(_) => written.push(name),
                    Err(StoreError::Unavailable { .. } | StoreError::Uncertain { .. }) => {
                        tokio::time::sleep(Duration::from_millis(20)).await
                    }
                    // Its answer was lost, and it was tried under this name before: never here, names are new.
                    Err(other) => panic!("{other}"),
                }
            }
            written
        })
    });
    let writers: Vec<_> = writers.collect();
    for _ in 0..3 {
        let before = store.snapshot().revision();
        let moved = async {
            while store.snapshot().revision() < before + 40 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, moved).await.expect("writes go on");
        etcd.kill();
        assert!(etcd.resume(), "etcd starts again");
    }
    let mut acknowledged = Vec::new();
    for writer in writers {
        acknowledged.extend(tokio::time::timeout(PATIENCE * 3, writer).await.expect("they end").unwrap());
    }
    tokio::time::timeout(PATIENCE, async { while store.catch_up().await.is_err() {} }).await.expect("etcd answers");
    let snapshot = store.snapshot();
    let lost: Vec<&String> = acknowledged.iter().filter(|name| snapshot.get(&key(name)).is_none()).collect();
    assert!(lost.is_empty(), "{lost:?}");
    let mut heard = std::collections::BTreeSet::new();
    while let Some(event) = watch.try_next().unwrap() {
        assert!(heard.insert(event.entry.key.name.to_string()), "{:?} twice", event.entry.key);
    }
    let all: Vec<String> =
        snapshot.list(&Range::all("pods"), None, 0).iter().map(|it| it.key.name.to_string()).collect();
    assert_eq!(heard.into_iter().collect::<Vec<_>>(), all, "a watcher has heard of each, once");
    let fresh = open(&etcd, "/a").await;
    assert_eq!(fresh.snapshot().count(&Range::all("pods")), all.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_etcd_it_says_so() {
    let Some(mut etcd) = Etcd::start("without_etcd_it_says_so") else { return };
    let store = open(&etcd, "/a").await;
    let revision = create(&store, "a").await.unwrap();
    etcd.kill();
    let check = |result: Result<(), StoreError>| match result {
        Err(StoreError::Unavailable { reason }) => assert!(reason.contains("etcd does not answer"), "{reason}"),
        other => panic!("{other:?}"),
    };
    check(store.catch_up().await);
    check(create(&store, "b").await.map(drop));
    assert_eq!(store.snapshot().get(&key("a")).unwrap().revision, revision, "what is known can still be read");
    assert!(etcd.resume());
    let back = async {
        while create(&store, "c").await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, back).await.expect("it goes on by itself");
    for size in [1_700_000, 3_000_000] {
        let large = Operation::Create { value: encoded(&"x".repeat(size)) };
        let refused = store.commit(key("large"), large).await;
        assert!(matches!(refused, Err(StoreError::TooLarge { .. })), "{size}: {refused:?}");
    }
}

/// What etcd has forgotten while a server could not hear of it is read anew, and its watchers are told to do so too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_was_away_for_too_long_begins_anew() {
    let Some(etcd) = Etcd::start("a_server_that_was_away_for_too_long_begins_anew") else { return };
    let here = open(&etcd, "/a").await;
    let proxy = Proxy::to(&etcd.endpoint());
    let away = open_by(vec![proxy.endpoint()], "/a").await;
    create(&here, "a").await.unwrap();
    away.catch_up().await.unwrap();
    let mut watch = away.watch(Range::all("pods"), away.snapshot().revision()).unwrap();
    proxy.cut();
    for name in ["b", "c"] {
        create(&here, name).await.unwrap();
    }
    here.compact(here.snapshot().revision()).await.unwrap();
    let seen = here.snapshot().get(&key("a")).unwrap();
    here.commit(key("a"), Operation::Delete { last: encoded("a"), expected: seen.revision }).await.unwrap();
    here.compact(here.snapshot().revision()).await.unwrap();
    proxy.heal();
    let back = async {
        while away.catch_up().await.is_err() || away.snapshot().count(&Range::all("pods")) != 2 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, back).await.expect("it is up to date");
    assert!(away.snapshot().get(&key("a")).is_none() && away.snapshot().get(&key("c")).is_some());
    assert!(matches!(watch.next().await, Err(StoreError::Compacted { .. })), "its watchers must list again");
}
