//! Where the recorded answers of a real Kubernetes are; tests skip, loudly, where they are not at hand.
#![allow(dead_code)] // each test binary uses what it needs

use std::path::{Path, PathBuf};

/// The directory of the recordings; `BACKSTAY_SHARED` moves it.
pub fn root() -> PathBuf {
    let shared = std::env::var_os("BACKSTAY_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"), PathBuf::from);
    shared.join("data/golden")
}

pub fn present() -> bool {
    let present = root().is_dir();
    if !present {
        eprintln!("SKIPPED: no recordings at {}; set BACKSTAY_SHARED", root().display());
    }
    present
}

/// The text of a file; empty where there are no recordings.
pub fn read(path: &str) -> String {
    if !present() {
        return String::new();
    }
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// All files below a directory of the recordings, in order.
pub fn files(directory: &str) -> Vec<PathBuf> {
    if !present() {
        return Vec::new();
    }
    let mut found = Vec::new();
    let mut open = vec![root().join(directory)];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(&directory).expect("a directory of the recordings") {
            let path = entry.expect("an entry of it").path();
            if path.is_dir() { open.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}
