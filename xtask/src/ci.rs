//! Everything CI runs, in the order in which it fails soonest.

use anyhow::Result;

use crate::clients;
use crate::steps::{apt_install, cargo, is_installed, step};

pub fn run() -> Result<()> {
    set_up()?;
    let clients = clients::install()?;
    step("format", "run `cargo fmt --all`", cargo(&["fmt", "--all", "--check"]))?;
    println!("\n== tidy");
    crate::tidy::run()?;
    let lint = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
    step("lints", "run `cargo clippy --workspace --all-targets` and mend what it says", cargo(&lint))?;
    let mut docs = cargo(&["doc", "--workspace", "--no-deps", "--quiet"]);
    docs.env("RUSTDOCFLAGS", "-D warnings");
    step("docs", "run `cargo doc --workspace --no-deps`", docs)?;
    let mut tests = cargo(&["test", "--workspace", "--no-fail-fast"]);
    clients.show(&mut tests);
    step("tests", "run `cargo test --workspace`", tests)
}

/// Installs what the tests use besides Rust and client programs: some kubectl, python3, ip, curl.
fn set_up() -> Result<()> {
    let programs = [("kubectl", "kubernetes-client"), ("python3", "python3"), ("ip", "iproute2"), ("curl", "curl")];
    let missing = programs.iter().filter(|(program, _)| !is_installed(program));
    apt_install(&missing.map(|(_, package)| *package).collect::<Vec<_>>())
}
