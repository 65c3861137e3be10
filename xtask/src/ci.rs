//! Everything CI runs, in the order in which it fails soonest.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

pub fn run() -> Result<()> {
    set_up()?;
    step("format", "run `cargo fmt --all`", cargo(&["fmt", "--all", "--check"]))?;
    println!("\n== tidy");
    crate::tidy::run()?;
    let lint = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
    step("lints", "run `cargo clippy --workspace --all-targets` and mend what it says", cargo(&lint))?;
    let mut docs = cargo(&["doc", "--workspace", "--no-deps", "--quiet"]);
    docs.env("RUSTDOCFLAGS", "-D warnings");
    step("docs", "run `cargo doc --workspace --no-deps`", docs)?;
    step("tests", "run `cargo test --workspace`", cargo(&["test", "--workspace", "--no-fail-fast"]))
}

/// Installs what the tests use besides Rust: a kubectl, and python3 for the recorded probe.
fn set_up() -> Result<()> {
    let missing: Vec<&str> = [("kubectl", "kubernetes-client"), ("python3", "python3"), ("ip", "iproute2")]
        .iter()
        .filter(|(program, _)| !is_installed(program))
        .map(|(_, package)| *package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !is_installed("apt-get") {
        bail!("please install {} (there is no apt-get here to do it)", missing.join(", "));
    }
    step("package lists", "run `apt-get update` as root", apt(&["update"]))?;
    let mut install = vec!["install", "-y", "--no-install-recommends"];
    install.extend(&missing);
    step("packages", "run `apt-get install` as root", apt(&install))
}

fn apt(arguments: &[&str]) -> Command {
    let mut command = Command::new("apt-get");
    command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
    command
}

fn is_installed(program: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths).any(|dir| dir.join(program).is_file())
}

fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments);
    command
}

fn step(name: &str, remedy: &str, mut command: Command) -> Result<()> {
    println!("\n== {name}: {command:?}");
    let begun = Instant::now();
    let status = command.status().with_context(|| format!("cannot start {command:?}"))?;
    println!("== {name}: {:.0} s", begun.elapsed().as_secs_f64());
    if !status.success() {
        bail!("{name} failed ({status}); {remedy}");
    }
    Ok(())
}
