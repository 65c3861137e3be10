//! Power cuts at every sync, and in between: nothing acknowledged is lost, nothing is half there.

mod support;

use std::sync::Arc;

use support::load::{Book, judge, write_all};
use support::{Cut, Disk};

/// How often the random part repeats; more with `BACKSTAY_CRASH_SEEDS`.
fn seeds() -> u64 {
    std::env::var("BACKSTAY_CRASH_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(150)
}

/// Writes until the power goes, and judges what is there after it came back.
async fn check(disk: &Disk, cut: Cut, writers: usize, rounds: usize, seed: u64, book: Book) -> Book {
    let store = Arc::new(disk.open().expect("a sound disk"));
    disk.cut(cut);
    let book = write_all(&store, writers, rounds, seed, &book).await;
    drop(store);
    disk.power_on(seed);
    let store = disk.open().unwrap_or_else(|error| panic!("after {cut:?}, seed {seed}: {error:?}"));
    judge(&store, &book)
}

#[tokio::test]
async fn at_every_sync() {
    let disk = Disk::default();
    check(&disk, Cut::Never, 1, 20, 0, Book::new()).await;
    let (syncs, _) = disk.counts();
    assert!(syncs >= 20, "each commit syncs");
    for sync in 1..=syncs {
        for writers in [1, 3] {
            check(&Disk::default(), Cut::Sync(sync), writers, 20 / writers, sync, Book::new()).await;
        }
    }
}

#[tokio::test]
async fn anywhere_again_and_again() {
    for seed in 0..seeds() {
        let disk = Disk::default();
        let mut book = Book::new();
        for round in 0..4 {
            let cut = Cut::Operation(1 + (seed * 7_919 + round * 104_729) % 150);
            book = check(&disk, cut, 1 + (seed % 4) as usize, 12, seed * 4 + round, book).await;
        }
    }
}

#[tokio::test]
async fn during_recovery() {
    for seed in 0..seeds() / 3 {
        let disk = Disk::default();
        let store = Arc::new(disk.open().expect("a sound disk"));
        disk.cut(Cut::Operation(30 + seed % 60));
        let book = write_all(&store, 2, 20, seed, &Book::new()).await;
        drop(store);
        disk.power_on(seed);
        for again in 1..6 {
            disk.cut(Cut::Operation(again));
            drop(disk.open());
            disk.power_on(seed + again);
        }
        judge(&disk.open().unwrap_or_else(|error| panic!("seed {seed}: {error:?}")), &book);
    }
}

/// The simulator bites: if syncs do nothing, acknowledged writes are lost, and that is noticed.
#[tokio::test]
async fn a_disk_that_never_syncs_is_found_out() {
    let mut found_out = 0;
    for seed in 0..10 {
        let disk = Disk::default();
        let store = Arc::new(disk.open().expect("a sound disk"));
        disk.forget_syncs();
        disk.cut(Cut::Operation(200));
        let book = write_all(&store, 1, 30, seed, &Book::new()).await;
        drop(store);
        disk.power_on(seed);
        let judged = std::panic::catch_unwind(|| judge(&disk.open().expect("a sound disk"), &book));
        found_out += u32::from(judged.is_err());
    }
    assert!(found_out >= 8, "only {found_out} of 10 such disks were found out");
}
