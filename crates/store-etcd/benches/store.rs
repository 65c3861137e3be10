//! What a commit and a fresh read cost with an etcd of one member on this machine, to be held against the benches of
//! `backstay-store`. `cargo bench -p backstay-store-etcd`; the directory for temporary files decides which disk is measured.

#[path = "../tests/support/mod.rs"]
mod support;

use std::sync::{Arc, Mutex};

use backstay_store::{Key, Operation, Store};
use backstay_store_etcd::EtcdStore;
use divan::Bencher;
use divan::counter::ItemsCount;
use support::Etcd;
use support::store::{encoded, open};
use tokio::runtime::{Builder, Runtime};

/// About a pod.
const VALUE_BYTES: usize = 3_000;

fn main() {
    divan::main();
}

/// None on a machine without etcd, which is said.
fn start() -> Option<(Etcd, Runtime, Arc<EtcdStore>)> {
    let etcd = Etcd::start("a bench")?;
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let store = Arc::new(runtime.block_on(open(&etcd, "/bench")));
    Some((etcd, runtime, store))
}

/// Durable commits: so many writers, each waiting for its own.
#[divan::bench(args = [1, 8, 64, 256], sample_count = 20)]
fn commit(bencher: Bencher, writers: usize) {
    let Some((_etcd, runtime, store)) = start() else { return };
    let value = encoded(&"x".repeat(VALUE_BYTES));
    let key = |writer: usize| Key::new("pods", "d", &writer.to_string());
    let made = (0..writers).map(|writer| store.commit(key(writer), Operation::Create { value: value.clone() }));
    let made: Vec<u64> = made.map(|made| runtime.block_on(made).expect("created").revision).collect();
    let last = Mutex::new(made);
    bencher.counter(ItemsCount::new(writers)).bench_local(|| {
        let mut last = last.lock().expect("not poisoned");
        let commits = last.iter().enumerate().map(|(writer, expected)| {
            let (store, key) = (store.clone(), key(writer));
            let update = Operation::Update { value: value.clone(), expected: *expected };
            runtime.spawn(async move { store.commit(key, update).await.expect("committed").revision })
        });
        let commits: Vec<_> = commits.collect();
        *last =
            runtime.block_on(futures::future::join_all(commits)).into_iter().map(|one| one.expect("ends")).collect();
    });
}

/// What a request waits before it may read: so many at once.
#[divan::bench(args = [1, 8, 64, 256], sample_count = 100)]
fn catch_up(bencher: Bencher, readers: usize) {
    let Some((_etcd, runtime, store)) = start() else { return };
    bencher.counter(ItemsCount::new(readers)).bench_local(|| {
        let reads = (0..readers).map(|_| {
            let store = store.clone();
            runtime.spawn(async move { store.catch_up().await.expect("etcd answers") })
        });
        let reads: Vec<_> = reads.collect();
        runtime.block_on(futures::future::join_all(reads)).into_iter().for_each(|one| one.expect("ends"));
    });
}
