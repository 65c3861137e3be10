//! What a commit costs, and what it costs to tell a thousand watchers, or one of them. `cargo bench -p backstay-store`.

use std::sync::Arc;

use backstay_api::{Index, Pairs};
use backstay_store::{EmbeddedStore, Encoded, Key, MemoryStore, Operation, Range, Store};
use bytes::Bytes;
use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use tokio::runtime::{Builder, Runtime};

/// About a pod.
const VALUE_BYTES: usize = 3_000;

fn main() {
    divan::main();
}

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

fn encoded() -> Encoded {
    let tail = Bytes::from(format!("\",\"text\":\"{}\"}}", "x".repeat(VALUE_BYTES)));
    Encoded { head: Bytes::from_static(b"{\"rv\":\""), tail, index: Arc::new(Index::default()) }
}

/// Durable commits: so many writers, each waiting for its own.
#[divan::bench(args = [1, 8, 64, 256], sample_count = 20)]
fn commit(bencher: Bencher, writers: usize) {
    let runtime = runtime();
    let dir = tempfile::tempdir().expect("a directory");
    let store = Arc::new(EmbeddedStore::open(dir.path()).expect("a store"));
    let mut last: Vec<u64> = Vec::new();
    for writer in 0..writers {
        let key = Key::new("pods", "d", &writer.to_string());
        let made = store.commit(key, Operation::Create { value: encoded() });
        last.push(runtime.block_on(made).expect("created").revision);
    }
    let last = std::sync::Mutex::new(last);
    bencher.counter(ItemsCount::new(writers)).bench_local(|| {
        let mut last = last.lock().expect("not poisoned");
        let commits = last.iter().enumerate().map(|(writer, expected)| {
            let (store, expected) = (store.clone(), *expected);
            let key = Key::new("pods", "d", &writer.to_string());
            runtime.spawn(async move { store.commit(key, Operation::Update { value: encoded(), expected }).await })
        });
        let commits: Vec<_> = commits.collect();
        *last = runtime.block_on(async {
            let mut revisions = Vec::new();
            for commit in commits {
                revisions.push(commit.await.expect("ends").expect("committed").revision);
            }
            revisions
        });
    });
}

/// A fleet whose agents each watch the pods of their own node: one of them is changed, and its agent has heard of it.
#[divan::bench(args = [100, 1_000, 10_000, 100_000], sample_count = 100)]
fn one_of_many(bencher: Bencher, nodes: usize) {
    // One thread: whether another is woken each time would be chance, and takes longer than what is measured.
    let runtime = Builder::new_current_thread().build().expect("a runtime");
    let store = Arc::new(MemoryStore::new());
    let key = Key::new("pods", "d", "a");
    let on = |node: usize| {
        let node = format!("node-{node:05}");
        let fields = Pairs::of([("spec.nodeName", node.as_str())].into_iter());
        Encoded { index: Arc::new(Index { fields, ..Index::default() }), ..encoded() }
    };
    let made = runtime.block_on(store.commit(key.clone(), Operation::Create { value: on(0) })).expect("created");
    let (heard, mut hears) = tokio::sync::mpsc::unbounded_channel();
    for node in 0..nodes {
        let range = Range::all("pods").with_field("spec.nodeName", &format!("node-{node:05}"));
        let (mut watch, heard) = (store.watch(range, made.revision).expect("a watch"), heard.clone());
        runtime.spawn(async move {
            let _ = heard.send(());
            while watch.next().await.is_ok() {
                let _ = heard.send(());
            }
        });
    }
    // What is measured begins when all of them wait: the runtime would go on starting them in between.
    runtime.block_on(async {
        for _ in 0..nodes {
            hears.recv().await.expect("an agent that has begun");
        }
    });
    let expected = std::cell::Cell::new(made.revision);
    bencher.bench_local(|| {
        runtime.block_on(async {
            let update = Operation::Update { value: on(0), expected: expected.get() };
            expected.set(store.commit(key.clone(), update).await.expect("committed").revision);
            hears.recv().await.expect("heard");
        });
    });
    runtime.block_on(store.close());
}

/// One object is changed, and all watchers have heard of it.
#[divan::bench(args = [1, 100, 1_000, 10_000], sample_count = 20)]
fn fan_out(bencher: Bencher, watchers: usize) {
    let runtime = runtime();
    let store = Arc::new(MemoryStore::new());
    let key = Key::new("pods", "d", "a");
    let made = runtime.block_on(store.commit(key.clone(), Operation::Create { value: encoded() })).expect("created");
    let (heard, mut hears) = tokio::sync::mpsc::unbounded_channel();
    for _ in 0..watchers {
        let (mut watch, heard) = (store.watch(Range::all("pods"), made.revision).expect("a watch"), heard.clone());
        runtime.spawn(async move {
            while let Ok(event) = watch.next().await {
                let _ = heard.send(event.entry.value.len());
            }
        });
    }
    let expected = std::cell::Cell::new(made.revision);
    let bytes = BytesCount::new(watchers * (VALUE_BYTES + 20));
    bencher.counter(ItemsCount::new(watchers)).counter(bytes).bench_local(|| {
        runtime.block_on(async {
            let update = Operation::Update { value: encoded(), expected: expected.get() };
            expected.set(store.commit(key.clone(), update).await.expect("committed").revision);
            for _ in 0..watchers {
                hears.recv().await.expect("heard");
            }
        });
    });
    runtime.block_on(store.close());
}
