//! The client programs that tests use: those that `cargo xtask clients` installed, then those of the machine.
//!
//! `BACKSTAY_CLIENTS` names the folder of the former (default `target/clients` of the workspace), and
//! `BACKSTAY_REQUIRE_CLIENTS` those that must not be missing, as `cargo xtask ci` sets it.

// Each test binary uses its own part of this module, some in other crates.
#![allow(dead_code)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// A real kubectl.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kubectl {
    /// Its minor version: 36 for 1.36.
    pub minor: u32,
    pub program: PathBuf,
}

impl Kubectl {
    /// Nothing if it does not tell its version.
    pub fn at(program: PathBuf) -> Option<Self> {
        let output = Command::new(&program).args(["version", "--client", "-o", "json"]).output().ok()?;
        let version: Value = serde_json::from_slice(&output.stdout).ok()?;
        // Some say `20+`.
        let minor = version["clientVersion"]["minor"].as_str()?.trim_end_matches('+').parse().ok()?;
        Some(Self { minor, program })
    }
}

/// One kubectl for each minor version there is, oldest first.
///
/// They are `kubectl/1.NN/kubectl` in the folder, and `kubectl` and `kubectl.1.NN` on the path and in the Cloud SDK's
/// folder.
///
/// # Panics
/// If one is missing that must be there.
pub fn kubectls() -> Vec<Kubectl> {
    let mut found: Vec<Kubectl> = Vec::new();
    for program in installed_kubectls().into_iter().chain(kubectls_of_the_machine()) {
        let Some(kubectl) = Kubectl::at(program.clone()) else {
            say(&format!("left out, as it does not tell its version: {}", program.display()));
            continue;
        };
        if found.iter().all(|one| one.minor != kubectl.minor) {
            found.push(kubectl);
        }
    }
    found.sort_by_key(|one| one.minor);
    let seen: Vec<String> = found.iter().map(|one| format!("kubectl-1.{}", one.minor)).collect();
    for name in required().iter().filter(|name| name.starts_with("kubectl-")) {
        assert!(seen.contains(name), "{name} was installed for the tests, but only these were found: {seen:?}");
    }
    found
}

/// Whether the tests must not do without this client.
pub fn is_required(name: &str) -> bool {
    required().iter().any(|one| one == name)
}

/// Where `cargo xtask clients` puts them.
pub fn folder() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("the workspace");
    std::env::var_os("BACKSTAY_CLIENTS").map_or_else(|| root.join("target/clients"), PathBuf::from)
}

/// Says something that is not to be lost among the output of tests that passed, which nobody sees.
pub fn say(text: &str) {
    // Without anybody to hear it, it is not said.
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn required() -> Vec<String> {
    let names = std::env::var("BACKSTAY_REQUIRE_CLIENTS").unwrap_or_default();
    names.split(',').filter(|name| !name.is_empty()).map(str::to_string).collect()
}

fn installed_kubectls() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder().join("kubectl")).into_iter().flatten().flatten();
    entries.map(|entry| entry.path().join("kubectl")).filter(|program| program.is_file()).collect()
}

fn kubectls_of_the_machine() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    folders.push("/usr/lib/google-cloud-sdk/bin".into());
    let entries = folders.iter().filter_map(|folder| std::fs::read_dir(folder).ok()).flatten().flatten();
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|path| is_named_kubectl(path)).collect();
    // `kubectl` itself first: of two of one version, it is what people call.
    found.sort_by_key(|path| path.file_name().map(|name| name.len()));
    found
}

fn is_named_kubectl(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    name == "kubectl" || name.starts_with("kubectl.1.")
}
