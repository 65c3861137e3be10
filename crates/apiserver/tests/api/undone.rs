//! Stores that refuse, hang or forget: what a write has done is answered, what it has left undone is made up for, and a
//! watch begins all the same.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use backstay_api::{Clock, Index};
use backstay_store::{Encoded, Entry, Key, Operation, Range, Revision, Snapshot, Store, StoreError, Watch};
use futures::FutureExt;

use crate::script::World;

/// What becomes of commits to one resource.
const DONE: u8 = 0;
const REFUSED: u8 = 1;
const HANGING: u8 = 2;
/// They are done. The next watch of it comes when another commit is done, and all that was before is forgotten.
const FORGETTING: u8 = 3;

/// A store that is in the way of what concerns one resource.
struct Obstructed {
    store: Arc<dyn Store>,
    resource: &'static str,
    mode: Arc<AtomicU8>,
}

#[async_trait]
impl Store for Obstructed {
    async fn commit(&self, key: Key, operation: Operation) -> Result<Arc<Entry>, StoreError> {
        match self.mode.load(Ordering::Relaxed) {
            REFUSED if *key.resource == *self.resource => Err(StoreError::Unavailable { reason: "disk full".into() }),
            HANGING if *key.resource == *self.resource => std::future::pending().await,
            _ => self.store.commit(key, operation).await,
        }
    }

    fn snapshot(&self) -> Arc<dyn Snapshot> {
        self.store.snapshot()
    }

    fn snapshot_at(&self, revision: Revision) -> Result<Arc<dyn Snapshot>, StoreError> {
        self.store.snapshot_at(revision)
    }

    fn keep(&self, snapshot: Arc<dyn Snapshot>) {
        self.store.keep(snapshot);
    }

    fn watch(&self, range: Range, from: Revision) -> Result<Box<dyn Watch>, StoreError> {
        let is_armed = *range.resource == *self.resource
            && self.mode.compare_exchange(FORGETTING, DONE, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if is_armed {
            let meanwhile = object("ConfigMap", "later", "\"namespace\":\"default\",");
            let commit = self.store.commit(Key::new(self.resource, "default", "later"), meanwhile);
            let revision = commit.now_or_never().expect("it is in memory").expect("a new name").revision;
            self.store.compact(revision).now_or_never().expect("it is in memory").expect("it can forget");
        }
        self.store.watch(range, from)
    }

    fn oldest(&self) -> Revision {
        self.store.oldest()
    }

    async fn compact(&self, revision: Revision) -> Result<(), StoreError> {
        self.store.compact(revision).await
    }

    async fn close(&self) {
        self.store.close().await;
    }
}

/// A world that looks after accounts, and the switch of what is in the way of a resource.
async fn world(resource: &'static str) -> (World, Arc<AtomicU8>) {
    let mode = Arc::new(AtomicU8::new(DONE));
    let own = mode.clone();
    let world = World::with(|config| {
        config.disabled_admission_plugins.clear();
        config.root_ca = Some("PEM".into());
        config.store = Arc::new(Obstructed { store: config.store.clone(), resource, mode: own });
    });
    (world.await, mode)
}

/// Made without passing the server.
fn object(kind: &str, name: &str, more: &str) -> Operation {
    let head = format!(
        "{{\"kind\":\"{kind}\",\"apiVersion\":\"v1\",\"metadata\":{{\"name\":\"{name}\",{more}\"resourceVersion\":\""
    );
    Operation::Create { value: Encoded { head: head.into(), tail: "\"}}".into(), index: Arc::new(Index::default()) } }
}

/// Lets the server do what it does by itself.
async fn settle(world: &World) {
    world.server.upkeep(tokio::time::sleep(Duration::from_secs(3))).await;
}

/// Objects of a server that dies before it has made what belongs to them: accounts of a namespace, the token of a secret.
#[tokio::test(start_paused = true)]
async fn what_another_server_left_undone() {
    let (mut world, _) = world("").await;
    let store = world.store.clone();
    let smuggled = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let object = |kind: &str, more: &str| Encoded {
            head: format!(
                "{{\"kind\":\"{kind}\",\"apiVersion\":\"v1\",\"metadata\":{{\"name\":\"n\",{more}\"resourceVersion\":\""
            )
            .into(),
            tail: "\"}}".into(),
            index: Arc::new(Index::default()),
        };
        let namespace = Operation::Create { value: object("Namespace", "") };
        store.commit(Key::new("namespaces", "", "n"), namespace).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        // Without passing the server: it is to be there again.
        let account = Key::new("serviceaccounts", "n", "default");
        let made = store.snapshot().get(&account).expect("made with its namespace");
        let last = Encoded { head: made.value.clone(), tail: "".into(), index: made.index.clone() };
        store.commit(account, Operation::Delete { last, expected: made.revision }).await.unwrap();
    };
    tokio::join!(settle(&world), smuggled);
    world
        .run(
            r#"
            > GET /api/v1/namespaces/n/serviceaccounts/default
            < 200
            > GET /api/v1/namespaces/n/configmaps/kube-root-ca.crt
            < 200 data={"ca.crt":"PEM"}
            "#,
        )
        .await;
}

/// A namespace that is written is acknowledged, whatever becomes of its accounts.
#[tokio::test(start_paused = true)]
async fn what_is_done_is_acknowledged() {
    let (mut world, mode) = world("serviceaccounts").await;
    mode.store(REFUSED, Ordering::Relaxed);
    world.run("> POST /api/v1/namespaces {\"metadata\":{\"name\":\"n\"}}\n< 201").await;
    let recovered = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        mode.store(DONE, Ordering::Relaxed);
    };
    tokio::join!(settle(&world), recovered);
    world.run("> GET /api/v1/namespaces/n/serviceaccounts/default\n< 200").await;
}

/// Old events whose deletion hangs keep nobody from looking after the rest, and the server from no end.
#[tokio::test(start_paused = true)]
async fn one_duty_does_not_wait_for_another() {
    let now = Arc::new(Mutex::new(jiff::Timestamp::from_second(1_000_000).expect("in range")));
    let (hands, mode) = (now.clone(), Arc::new(AtomicU8::new(DONE)));
    let own = mode.clone();
    let mut world = World::with(|config| {
        config.clock = Clock::new(move || *hands.lock().unwrap());
        config.disabled_admission_plugins.clear();
        config.store = Arc::new(Obstructed { store: config.store.clone(), resource: "events", mode: own });
    })
    .await;
    world
        .run("> POST /api/v1/namespaces/default/events {\"metadata\":{\"name\":\"e\"},\"involvedObject\":{\"namespace\":\"default\"}}\n< 201")
        .await;
    *now.lock().unwrap() += jiff::SignedDuration::from_hours(2);
    mode.store(HANGING, Ordering::Relaxed);
    let store = world.store.clone();
    let later = async {
        tokio::time::sleep(Duration::from_secs(90)).await;
        let account = Key::new("serviceaccounts", "default", "default");
        let made = store.snapshot().get(&account).expect("made with its namespace");
        let last = Encoded { head: made.value.clone(), tail: "".into(), index: made.index.clone() };
        store.commit(account, Operation::Delete { last, expected: made.revision }).await.unwrap();
    };
    let upkeep = world.server.upkeep(tokio::time::sleep(Duration::from_secs(100)));
    let both = async { tokio::join!(upkeep, later) };
    tokio::time::timeout(Duration::from_secs(200), both).await.expect("it ends when it is told to");
    world.run("> GET /api/v1/namespaces/default/serviceaccounts/default\n< 200").await;
}

/// Between the look at what is there and the beginning of the watch, all of it may be read anew.
#[tokio::test(start_paused = true)]
async fn a_watch_begins_where_there_is_something_to_begin_with() {
    let (mut world, mode) = world("configmaps").await;
    world.run("> POST /api/v1/namespaces/default/configmaps {\"metadata\":{\"name\":\"first\"}}\n< 201").await;
    mode.store(FORGETTING, Ordering::Relaxed);
    world
        .run(
            r#"
            > GET /api/v1/namespaces/default/configmaps?watch=1&timeoutSeconds=1
            < 200 ADDED first, ADDED kube-root-ca.crt, ADDED later
            "#,
        )
        .await;
    assert_eq!(mode.load(Ordering::Relaxed), DONE, "it has been forgotten meanwhile");
}
