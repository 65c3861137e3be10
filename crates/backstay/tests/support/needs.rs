//! What a test needs of the machine besides Rust: packages of the system, and root.
//!
//! `BACKSTAY_REQUIRE` names the packages that must not be missing, as `cargo xtask ci` sets it; there, a test that would
//! skip fails instead.

// Each test binary uses its own part of this module, some in other crates.
#![allow(dead_code)]

use std::io::Write;
use std::path::Path;

/// Whether the test can run here. If not, says why: `needs` are pairs of a program and the Debian package it is in.
///
/// # Panics
/// If one is missing that must be there.
pub fn are_met(test: &str, root: bool, needs: &[(&str, &str)]) -> bool {
    let required = std::env::var("BACKSTAY_REQUIRE").unwrap_or_default();
    let mut missing: Vec<String> = Vec::new();
    for (program, package) in needs.iter().filter(|(program, _)| !is_there(program)) {
        assert!(!required.split(',').any(|one| one == *package), "{test} needs {program}, of the package {package}");
        missing.push(format!("{program} (Debian: {package})"));
    }
    if root && !rustix::process::geteuid().is_root() {
        missing.push("root".to_string());
    }
    if missing.is_empty() {
        return true;
    }
    // Not to be lost among the output of tests that passed, which nobody sees.
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: it needs {}", missing.join(", "));
    false
}

/// A program by name on the path, or by its full path.
fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    Path::new(program).is_absolute() && Path::new(program).is_file()
        || std::env::split_paths(&path)
            .chain(["/usr/sbin".into(), "/sbin".into()])
            .any(|dir| dir.join(program).is_file())
}
