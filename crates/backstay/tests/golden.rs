//! The recorded answers of a real Kubernetes, compared with ours: the probe's cases over HTTP.

mod support;

use std::process::Command;

use support::{Server, run, shared};

/// Cases that may differ at level `core`. Only ever goes down.
const CORE_FAILURES_MAX: usize = 0;

#[test]
fn the_probe_passes_at_level_core() {
    let Some(shared) = shared() else { return };
    let dir = tempfile::tempdir().expect("a directory");
    let server =
        Server::start(dir.path(), &["up", "--runtime", "none", "--disable-admission-plugins", "ServiceAccount"]);
    let golden = shared.join("data/golden");
    let ran = run(Command::new("python3")
        .arg(golden.join("probe.py"))
        .arg("--cases")
        .arg(golden.join("cases.jsonl"))
        .arg("--expect")
        .arg(golden.join("expected.jsonl"))
        .arg("--kubeconfig")
        .arg(&server.kubeconfig)
        .args(["--level", "core", "--jobs", "4"]));
    let last = ran.stdout.lines().last().unwrap_or_default().to_string();
    let failed: usize = last
        .split(", ")
        .find_map(|part| part.strip_suffix(" failed"))
        .and_then(|count| count.parse().ok())
        .unwrap_or_else(|| panic!("the probe printed no count: {ran:?}"));
    println!("probe: {last}");
    assert!(failed <= CORE_FAILURES_MAX, "{}", ran.stdout);
}
