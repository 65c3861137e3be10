//! Recorded answers of a real Kubernetes: the bytes of ControllerRevision data, and quantities as it stores them.

use std::path::PathBuf;

use backstay_api::{canonical, quantity};
use serde_json::{Value, json};

/// A file of the recordings, or none (and a loud word) where they are not at hand.
fn recording(path: &str) -> Option<String> {
    let root = std::env::var_os("BACKSTAY_SHARED").map_or_else(|| PathBuf::from("../../../shared"), PathBuf::from);
    let path = root.join("data/golden").join(path);
    match std::fs::read_to_string(&path) {
        Ok(text) => Some(text),
        Err(error) => {
            eprintln!("SKIPPED: no recordings at {} ({error}); set BACKSTAY_SHARED", path.display());
            None
        }
    }
}

#[test]
fn revision_data_equals_the_recorded_bytes() {
    for file in ["revision-data.jsonl", "extra/revision-data.jsonl"] {
        for line in recording(file).unwrap_or_default().lines() {
            let vector: Value = serde_json::from_str(line).unwrap();
            let data = canonical::revision_data(&json!({"spec": {"template": vector["template"]}}));
            assert_eq!(String::from_utf8(data).unwrap(), vector["data"].as_str().unwrap(), "{}", vector["name"]);
        }
    }
}

#[test]
fn stored_quantities_are_canonical() {
    for line in recording("extra/revision-data.jsonl").unwrap_or_default().lines() {
        let vector: Value = serde_json::from_str(line).unwrap();
        for container in vector["template"]["spec"]["containers"].as_array().unwrap() {
            for kind in ["limits", "requests"] {
                for (_, amount) in container["resources"][kind].as_object().into_iter().flatten() {
                    let amount = amount.as_str().unwrap();
                    assert_eq!(quantity::canonical(amount).as_deref(), Ok(amount));
                }
            }
        }
    }
}
