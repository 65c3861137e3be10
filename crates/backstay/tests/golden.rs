//! The recorded answers of a real Kubernetes, compared with ours: the probe's cases over HTTP.

mod support;

use std::process::Command;

use support::{Server, run, shared};

/// Cases that are not equal to the letter, and why. Only ever gets shorter.
const INEXACT: [(&str, &str); 11] = [
    ("table of pods", DESCRIPTIONS),
    ("table of daemonsets", DESCRIPTIONS),
    ("table of nodes", DESCRIPTIONS),
    ("table of an empty list", DESCRIPTIONS),
    ("table v1beta1 and an unknown version", DESCRIPTIONS),
    ("includeObject None, Metadata, Object", DESCRIPTIONS),
    ("watch as Table: columns only once", DESCRIPTIONS),
    ("wrong type in a merge patch", FIELD_ORDER),
    ("the templateGeneration annotation cannot be set by an update", FIELD_ORDER),
    ("pod: spec is immutable apart from images", DIFFERENCE),
    ("ephemeral containers", DIFFERENCE),
];
const DESCRIPTIONS: &str = "the descriptions of columns are prose of Kubernetes; ours are our own";
const FIELD_ORDER: &str =
    "shows objects in the order in which Go declares their fields, which nothing that we know of tells";
const DIFFERENCE: &str = "ends with a difference of structs as Go prints them: all fields of its internal types";

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
        .args(["--level", "exact", "--jobs", "4"]));
    let inexact: Vec<&str> = ran.stdout.lines().filter_map(|line| line.strip_prefix("FAIL ")).collect();
    let failed: Vec<&&str> = inexact.iter().filter(|line| !line.ends_with("(core equal)")).collect();
    assert!(failed.is_empty(), "{failed:#?} in {}{}", ran.stdout, ran.stderr);
    let is = |line: &str, name: &str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(" ["));
    let known = |line: &str| INEXACT.iter().any(|(name, _)| is(line, name));
    let unexpected: Vec<&&str> = inexact.iter().filter(|line| !known(line)).collect();
    assert!(unexpected.is_empty(), "no longer exact: {unexpected:#?} in {}", ran.stdout);
    for (name, why) in INEXACT {
        let still = inexact.iter().any(|line| is(line, name));
        println!("{}: {name}: {why}", if still { "not to the letter" } else { "exact now, strike it" });
    }
    let total =
        ran.stdout.lines().find(|line| line.starts_with("all ")).unwrap_or_else(|| panic!("no counts: {ran:?}"));
    println!("{total}");
}
