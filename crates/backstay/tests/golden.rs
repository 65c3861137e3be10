//! The recorded answers of a real Kubernetes, compared with ours: the probe's cases over HTTP.

mod support;

use std::process::Command;

use support::{Server, run, shared};

/// Cases that differ at level `core`, and why. Only ever gets shorter.
const KNOWN: [(&str, &str); 1] = [(
    "ds: privileged without allowPrivilegeEscalation",
    "recorded on a server that forbids privileged containers; ours allows them, as the manifests need it",
)];
/// Cases equal at level `exact`. Only ever grows.
const EXACT_MIN: usize = 284;

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
    let failed = ran.stdout.lines().filter_map(|line| line.strip_prefix("FAIL "));
    let known = |line: &str| KNOWN.iter().any(|(name, _)| line.starts_with(name));
    let unexpected: Vec<&str> = failed.filter(|line| !known(line)).collect();
    assert!(unexpected.is_empty(), "{unexpected:#?} in {}{}", ran.stdout, ran.stderr);
    let exact = exact(&ran.stdout).unwrap_or_else(|| panic!("the probe printed no counts: {ran:?}"));
    println!("probe: {exact} cases exact, {}", ran.stdout.lines().last().unwrap_or_default());
    assert!(exact >= EXACT_MIN, "{exact} exact, {EXACT_MIN} were: {}", ran.stdout);
}

/// The count in the line `all  298 cases, 284 exact, 297 core`.
fn exact(stdout: &str) -> Option<usize> {
    let total = stdout.lines().find(|line| line.starts_with("all "))?;
    total.split(", ").nth(1)?.split_whitespace().next()?.parse().ok()
}
