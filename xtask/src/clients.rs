//! Client programs of Kubernetes that the tests talk to the server with: `cargo xtask clients` installs them.
//!
//! They live in `target/clients` of the workspace, or in `$BACKSTAY_CLIENTS`, and are kept between runs. Tests look
//! into the same folder, and skip loudly what is not there; what [`Installed::show`] names must be.

mod kubectl;
mod programs;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::steps::{apt_install, is_installed, succeeds};

/// The value of `BACKSTAY_CLIENTS` for machines without a network: nothing is installed, and nothing required.
const NONE: &str = "none";

/// What tests may rely on.
pub struct Installed {
    folder: PathBuf,
    names: Vec<String>,
}

impl Installed {
    /// Tells tests where the clients are, and which of them they must have used.
    pub fn show(&self, tests: &mut Command) {
        tests.env("BACKSTAY_CLIENTS", &self.folder).env("BACKSTAY_REQUIRE_CLIENTS", self.names.join(","));
    }
}

/// Installs what is missing. What this machine cannot have is said, and is not required of the tests.
pub fn install() -> Result<Installed> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask has no parent directory")?;
    let folder = folder(root)?;
    if folder.ends_with(NONE) {
        not_here("any client, as BACKSTAY_CLIENTS=none says; tests use the kubectl of this machine");
        return Ok(Installed { folder, names: Vec::new() });
    }
    let sources = root.join("crates/backstay/tests/clients");
    println!("\n== clients in {}", folder.display());
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    programs::install_python(&folder, &sources)?;
    let mut names = vec!["python".to_string()];
    match has_npm() {
        Ok(()) => {
            if node_is_new_enough() {
                programs::install_node(&folder, &sources)?;
                names.push("node".into());
            } else {
                not_here("the JavaScript client: it needs node 20.3, or 18.17");
            }
            names.extend(kubectl::install(&folder)?);
        }
        Err(error) => not_here(&format!("the JavaScript client, kubectl of many versions; they need npm: {error:#}")),
    }
    println!("== clients: {}", names.join(" "));
    Ok(Installed { folder, names })
}

fn folder(root: &Path) -> Result<PathBuf> {
    match std::env::var_os("BACKSTAY_CLIENTS") {
        Some(folder) => std::path::absolute(folder).context("BACKSTAY_CLIENTS does not name a folder"),
        None => Ok(root.join("target/clients")),
    }
}

/// npm, with node; installed if need be.
fn has_npm() -> Result<()> {
    if is_installed("npm") && is_installed("node") {
        return Ok(());
    }
    apt_install(&["nodejs", "npm"])
}

/// By what the client uses.
fn node_is_new_enough() -> bool {
    succeeds("node", &["-e", "process.exit(AbortSignal.any ? 0 : 1)"])
}

fn not_here(what: &str) {
    eprintln!("== NOT INSTALLED, and the tests will say so: {what}");
}

/// Whether a part was made from this text (a package's name, a lock file) before.
fn is_made_from(part: &Path, text: &str) -> bool {
    std::fs::read_to_string(part.join("made-from")).is_ok_and(|made_from| made_from == text)
}

/// The last thing to do for a part: whatever was interrupted before is done again.
fn made_from(part: &Path, text: &str) -> Result<()> {
    let file = part.join("made-from");
    std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))
}

/// An empty folder for a part, whatever was there before.
fn start_anew(part: &Path) -> Result<()> {
    if part.exists() {
        std::fs::remove_dir_all(part).with_context(|| format!("cannot remove {}", part.display()))?;
    }
    std::fs::create_dir_all(part).with_context(|| format!("cannot make {}", part.display()))
}
