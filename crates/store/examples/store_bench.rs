//! How fast the embedded engine commits, and what it costs in memory and on disk.
//!
//! `cargo run --release -p backstay-store --example store_bench [DIRECTORY]`; the directory decides which disk is
//! measured. Every figure is of durable commits.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use backstay_api::{Index, Pairs};
use backstay_store::{EmbeddedStore, Encoded, Key, MemoryStore, Operation, Range, Store};
use bytes::Bytes;

const VALUE_BYTES: usize = 2_048;

#[tokio::main]
async fn main() {
    let base = std::env::args().nth(1).map_or_else(std::env::temp_dir, Into::into);
    let directory = base.join(format!("store-bench-{}", std::process::id()));
    println!("fdatasync after 2 KiB: {:.0}/s", syncs_per_second(&directory));
    header();
    let store = open(&directory, "load");
    measure("create, 1 writer", &open(&directory, "lone"), 1, 2_000, Load::Create).await;
    measure("create, 64 writers", &store, 64, 20_000, Load::Create).await;
    measure("update, 64 writers", &store, 64, 20_000, Load::Update).await;
    measure("leases: 5,000 keys over and over, 64 writers", &store, 64, 40_000, Load::Leases).await;
    let before = size(&directory.join("load"));
    measure("create + delete, 64 writers", &store, 64, 60_000, Load::Churn).await;
    println!("file: {before} MB before create + delete, {} MB after", size(&directory.join("load")));
    drop(store);
    memory(&directory).await;
    measure("memory engine, create, 64 writers", &Arc::new(MemoryStore::new()), 64, 100_000, Load::Create).await;
    std::fs::remove_dir_all(&directory).expect("our own directory can be removed");
}

#[derive(Clone, Copy)]
enum Load {
    Create,
    Update,
    Leases,
    /// A pod's or an event's life: created, updated once, deleted.
    Churn,
}

fn open(directory: &Path, name: &str) -> Arc<EmbeddedStore> {
    Arc::new(EmbeddedStore::open(directory.join(name)).expect("a new store"))
}

fn header() {
    println!("{:<48} {:>9} {:>8} {:>8} {:>8}", "load", "commits/s", "p50 ms", "p99 ms", "max ms");
}

async fn measure<S: Store>(name: &str, store: &Arc<S>, writers: usize, commits: usize, load: Load) {
    let begin = Instant::now();
    let tasks: Vec<_> = (0..writers)
        .map(|writer| {
            let store = store.clone();
            tokio::spawn(async move { write(&*store, writer, commits / writers, load).await })
        })
        .collect();
    let mut latencies = Vec::with_capacity(commits);
    for task in tasks {
        latencies.extend(task.await.expect("the writer"));
    }
    let rate = latencies.len() as f64 / begin.elapsed().as_secs_f64();
    latencies.sort_unstable();
    let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    println!("{name:<48} {rate:>9.0} {:>8.2} {:>8.2} {:>8.2}", at(0.5), at(0.99), at(1.0));
}

async fn write<S: Store>(store: &S, writer: usize, commits: usize, load: Load) -> Vec<Duration> {
    let mut latencies = Vec::with_capacity(commits);
    for number in 0..commits {
        let (name, value) = match load {
            Load::Create | Load::Update => (format!("pod-{writer}-{number}"), encoded(VALUE_BYTES)),
            Load::Leases => (format!("lease-{writer}-{}", number % 78), encoded(500)),
            Load::Churn => (format!("event-{writer}-{}", number / 3), encoded(VALUE_BYTES)),
        };
        let key = Key::new("pods", "default", &name);
        let operation = match store.snapshot().get(&key).map(|entry| entry.revision) {
            None => Operation::Create { value },
            Some(expected) if matches!(load, Load::Churn) && number % 3 == 2 => {
                Operation::Delete { last: value, expected }
            }
            Some(expected) => Operation::Update { value, expected },
        };
        let begin = Instant::now();
        store.commit(key, operation).await.expect("commit");
        latencies.push(begin.elapsed());
    }
    latencies
}

fn encoded(bytes: usize) -> Encoded {
    let index = Index {
        uid: "0f5c0f5c-0f5c-4f5c-8f5c-0f5c0f5c0f5c".into(),
        labels: Pairs::of(
            [("app", "agent"), ("controller-revision-hash", "5c8d7f9b4"), ("pod-template-generation", "1")].into_iter(),
        ),
        fields: Pairs::of([("spec.nodeName", "node-00001"), ("status.phase", "Running")].into_iter()),
        owners: vec!["0f5c0f5c-0f5c-4f5c-8f5c-0f5c0f5c0f5c".into()],
    };
    Encoded {
        head: Bytes::from_static(b"{\"metadata\":{\"resourceVersion\":\""),
        tail: Bytes::from(format!("\"}},\"spec\":\"{}\"}}", "x".repeat(bytes - 60))),
        index: Arc::new(index),
    }
}

/// What 10,000 pods of 4 KB cost in memory, and how long they take to load.
async fn memory(directory: &Path) {
    const PODS: usize = 10_000;
    let store = open(directory, "memory");
    for chunk in 0..PODS / 500 {
        let commits = (0..500).map(|number| {
            let key = Key::new("pods", "fleet", &format!("agent-{:05}", chunk * 500 + number));
            store.commit(key, Operation::Create { value: encoded(4_096) })
        });
        futures::future::try_join_all(commits).await.expect("commit");
    }
    drop(store);
    let before = resident();
    let begin = Instant::now();
    let store = open(directory, "memory");
    let opened = begin.elapsed();
    println!("{PODS} pods of 4 KB: opened in {opened:.0?}, {:.1} MB resident more", resident() - before);
    let begin = Instant::now();
    let listed = store.snapshot().list(&Range::all("pods"), None, 0).len();
    println!("list of {listed}: {:.2?}", begin.elapsed());
}

/// Resident memory in MB; 0 where there is no /proc.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok()).unwrap_or(0.0) / 1e3
}

fn size(directory: &Path) -> u64 {
    std::fs::metadata(directory.join("store.redb")).map_or(0, |data| data.len()) / 1_000_000
}

/// What the disk can do at all.
fn syncs_per_second(directory: &Path) -> f64 {
    std::fs::create_dir_all(directory).expect("a directory");
    let mut file = std::fs::File::create(directory.join("sync")).expect("a file");
    let begin = Instant::now();
    let mut syncs = 0;
    while begin.elapsed() < Duration::from_secs(1) {
        file.write_all(&[7; VALUE_BYTES]).expect("write");
        file.sync_data().expect("sync");
        syncs += 1;
    }
    f64::from(syncs) / begin.elapsed().as_secs_f64()
}
