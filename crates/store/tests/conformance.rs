//! Both engines of this crate keep the promises of the port.

use std::sync::atomic::{AtomicUsize, Ordering};

use backstay_store::{EmbeddedStore, MemoryStore, conformance};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory() {
    conformance::run(async || MemoryStore::new()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embedded() {
    let directory = tempfile::tempdir().expect("a directory");
    let counter = AtomicUsize::new(0);
    conformance::run(async || {
        let number = counter.fetch_add(1, Ordering::Relaxed);
        EmbeddedStore::open(directory.path().join(number.to_string())).expect("a new store")
    })
    .await;
}
