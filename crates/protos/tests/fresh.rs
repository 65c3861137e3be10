//! What is checked in is what the descriptions say.

use backstay_protos::{ALL, generate, workspace};

#[test]
fn generated_code_is_fresh() {
    for target in &ALL {
        let held = std::fs::read_to_string(workspace().join(target.file)).unwrap_or_default();
        let now = generate(target).unwrap();
        let differ = held.lines().zip(now.lines()).position(|(one, other)| one != other);
        let line = differ.unwrap_or(held.lines().count().min(now.lines().count())) + 1;
        assert!(held == now, "{} is older than {} (line {line}): run `cargo xtask protos`", target.file, target.proto);
    }
}
