//! The recorded answers of a real Kubernetes, compared with ours: the probe's cases over HTTP.

mod support;

use std::process::Command;

use support::{Server, run, shared};

/// Cases equal at level `exact`. Only ever grows.
const EXACT_MIN: usize = 284;

#[test]
fn the_probe_passes_at_level_core() {
    let Some(shared) = shared() else { return };
    let dir = tempfile::tempdir().expect("a directory");
    // As the server stood that was recorded.
    let flags = ["--disable-admission-plugins", "ServiceAccount", "--allow-privileged=false"];
    let server = Server::start(dir.path(), &[["up", "--runtime", "none"].as_slice(), &flags].concat());
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
    let failed: Vec<&str> = ran.stdout.lines().filter_map(|line| line.strip_prefix("FAIL ")).collect();
    assert!(failed.is_empty(), "{failed:#?} in {}{}", ran.stdout, ran.stderr);
    let exact = exact(&ran.stdout).unwrap_or_else(|| panic!("the probe printed no counts: {ran:?}"));
    println!("probe: {exact} cases exact, {}", ran.stdout.lines().last().unwrap_or_default());
    assert!(exact >= EXACT_MIN, "{exact} exact, {EXACT_MIN} were: {}", ran.stdout);
}

/// The count in the line `all  298 cases, 284 exact, 297 core`.
fn exact(stdout: &str) -> Option<usize> {
    let total = stdout.lines().find(|line| line.starts_with("all "))?;
    total.split(", ").nth(1)?.split_whitespace().next()?.parse().ok()
}
