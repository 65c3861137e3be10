//! Generates `crates/api/src/facts/types.tsv`: what the API server knows about every field of every stable type.
//!
//! Sources: the Rust types of `k8s-openapi` (fields, types, which are required), the protobuf types of `k8s-pb` (tags,
//! list and patch markers), and three tables beside this crate: `facts/go.tsv` (how Go holds each field),
//! `facts/later.tsv` (what came after the versions of the other sources) and `facts/defaults.tsv`.

mod go;
mod go_binary;
mod go_types;
mod messages;
mod rust_types;
mod write;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Names of types without the `io.k8s...` prefix: `apps.v1.DaemonSetSpec`.
type TypeName = String;

/// Writes the table; with a Go program that carries the API types, `facts/go.tsv` first.
pub fn run(go_program: Option<&str>) -> Result<()> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let types = rust_types::read(&source_of("k8s-openapi")?.join("src/v1_36"))?;
    let messages = messages::read(&source_of("k8s-pb")?.join("src"))?;
    if let Some(program) = go_program {
        let bytes = std::fs::read(program).with_context(|| format!("read {program}"))?;
        let wanted: BTreeSet<TypeName> = write::all_types(&types, &messages).into_keys().collect();
        std::fs::write(here.join("facts/go.tsv"), go_types::table(go_binary::structs(&bytes)?, &wanted))?;
    }
    let go = go::read(&[here.join("facts/go.tsv"), here.join("facts/later.tsv")])?;
    let defaults = std::fs::read_to_string(here.join("facts/defaults.tsv"))?;
    let target = here.join("../crates/api/src/facts/types.tsv");
    std::fs::write(&target, write::types(&types, &messages, &go, &defaults))
        .with_context(|| format!("write {}", target.display()))
}

/// The directory of a dependency's sources.
fn source_of(package: &str) -> Result<PathBuf> {
    let output = Command::new("cargo").args(["metadata", "--format-version=1"]).output()?;
    ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let packages = metadata["packages"].as_array().context("cargo metadata lists no packages")?;
    let found = packages.iter().find(|candidate| candidate["name"] == package);
    let manifest = found.and_then(|package| package["manifest_path"].as_str());
    let manifest = manifest.with_context(|| format!("{package} is not a dependency"))?;
    Ok(Path::new(manifest).parent().context("a manifest has a directory")?.to_path_buf())
}

/// All `.rs` files below a directory.
fn rust_files(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).with_context(|| format!("read {}", directory.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(rust_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// `apps.v1.DaemonSet` from a Rust path whose last three segments say so.
fn short_name(path: &str) -> TypeName {
    let segments: Vec<&str> = path.split("::").collect();
    segments[segments.len().saturating_sub(3)..].join(".")
}
