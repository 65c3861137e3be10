//! Runs the programs that a chore is made of, and finds or installs them.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How often something that asks the network is tried: registries hiccup, but what fails three times is down.
const TRIES: u32 = 3;

pub fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments);
    command
}

/// Runs a command with a headline and its duration; `remedy` says what to do when it fails.
pub fn step(name: &str, remedy: &str, mut command: Command) -> Result<()> {
    println!("\n== {name}: {command:?}");
    let begun = Instant::now();
    let status = command.status().with_context(|| format!("cannot start {command:?}"))?;
    println!("== {name}: {:.0} s", begun.elapsed().as_secs_f64());
    if !status.success() {
        bail!("{name} failed ({status}); {remedy}");
    }
    Ok(())
}

/// Runs a quiet command that asks the network, again after a pause if it fails.
pub fn fetch(what: &str, mut command: Command) -> Result<()> {
    let mut pause = Duration::from_secs(2);
    for attempt in 1..=TRIES {
        let output = command.output().with_context(|| format!("cannot start {command:?}"))?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr).trim().to_string();
        eprintln!("{what}: try {attempt} of {TRIES} failed ({}): {said}", output.status);
        if attempt < TRIES {
            std::thread::sleep(pause);
            pause *= 4;
        }
    }
    bail!(
        "{what}: {command:?} failed {TRIES} times; is the registry reachable? (With BACKSTAY_CLIENTS=none the tests do \
         without other people's clients.)"
    )
}

pub fn is_installed(program: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths).any(|dir| dir.join(program).is_file())
}

/// Whether a command runs and ends well; what it prints is not shown.
pub fn succeeds(program: &str, arguments: &[&str]) -> bool {
    Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
}

/// Installs packages of Debian and its descendants.
pub fn apt_install(packages: &[&str]) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    if !is_installed("apt-get") {
        bail!("please install {} (there is no apt-get here to do it)", packages.join(", "));
    }
    step("package lists", "run `apt-get update` as root", apt(&["update"]))?;
    let mut install = vec!["install", "-y", "--no-install-recommends"];
    install.extend(packages);
    step("packages", "run `apt-get install` as root", apt(&install))
}

fn apt(arguments: &[&str]) -> Command {
    let mut command = Command::new("apt-get");
    command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
    command
}
