//! Recorded answers of a real Kubernetes: the bytes of ControllerRevision data, and quantities as it stores them.

mod recordings;

use backstay_api::{canonical, quantity};
use serde_json::{Value, json};

#[test]
fn revision_data_equals_the_recorded_bytes() {
    for file in ["revision-data.jsonl", "extra/revision-data.jsonl"] {
        for line in recordings::read(file).lines() {
            let vector: Value = serde_json::from_str(line).unwrap();
            let data = canonical::revision_data(&json!({"spec": {"template": vector["template"]}}));
            assert_eq!(String::from_utf8(data).unwrap(), vector["data"].as_str().unwrap(), "{}", vector["name"]);
        }
    }
}

#[test]
fn stored_quantities_are_canonical() {
    for line in recordings::read("extra/revision-data.jsonl").lines() {
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
