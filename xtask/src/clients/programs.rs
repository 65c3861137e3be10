//! The libraries that the client programs under `crates/backstay/tests/clients` are written with, at the versions that
//! stand beside them: `python` is a virtual environment, `node/node_modules` what `npm ci` makes.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::{is_made_from, made_from, start_anew};
use crate::steps::{apt_install, fetch, step, succeeds};

/// The official Python client.
pub fn install_python(clients: &Path, sources: &Path) -> Result<()> {
    let requirements = sources.join("python/requirements.txt");
    let wanted = read(&requirements)?;
    let part = clients.join("python");
    if is_made_from(&part, &wanted) {
        return Ok(());
    }
    // Debian keeps what a virtual environment needs in a package of its own.
    if !succeeds("python3", &["-c", "import venv, ensurepip"]) {
        apt_install(&["python3-venv"]).context("the Python client needs `python3 -m venv`")?;
    }
    start_anew(&part)?;
    let mut venv = Command::new("python3");
    venv.args(["-m", "venv"]).arg(&part);
    step("python environment", "look at what `python3 -m venv` says", venv)?;
    let mut pip = Command::new(part.join("bin/python3"));
    pip.args(["-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check", "-r"]).arg(&requirements);
    fetch("python packages", pip)?;
    made_from(&part, &wanted)
}

/// The official JavaScript client.
pub fn install_node(clients: &Path, sources: &Path) -> Result<()> {
    let lock = sources.join("node/package-lock.json");
    let wanted = read(&lock)?;
    let part = clients.join("node");
    if is_made_from(&part, &wanted) {
        return Ok(());
    }
    start_anew(&part)?;
    for file in ["package.json", "package-lock.json"] {
        let from = sources.join("node").join(file);
        std::fs::copy(&from, part.join(file)).with_context(|| format!("cannot copy {}", from.display()))?;
    }
    let mut npm = Command::new("npm");
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]).current_dir(&part);
    fetch("node packages", npm)?;
    made_from(&part, &wanted)
}

fn read(file: &Path) -> Result<String> {
    std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
}
