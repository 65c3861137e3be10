//! The rules that compilers do not check.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// Beyond this a source file holds more than one idea; tables of facts and tests may be longer.
const FILE_LINES_MAX: usize = 600;

pub fn run() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask has no parent directory")?;
    let mut problems = arrows(root)?;
    problems.extend(long_files(root)?);
    for problem in &problems {
        eprintln!("{problem}");
    }
    if !problems.is_empty() {
        bail!("{} untidy places", problems.len());
    }
    Ok(())
}

/// Arrows between our crates that the table in ARCHITECTURE.md does not allow, and rows without a crate.
fn arrows(root: &Path) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(root.join("ARCHITECTURE.md")).context("cannot read ARCHITECTURE.md")?;
    let allowed = allowed_arrows(&text);
    let actual = actual_arrows(root)?;
    let mut problems = Vec::new();
    for name in allowed.keys().filter(|name| !actual.contains_key(*name)) {
        problems.push(format!("ARCHITECTURE.md: its table names the crate `{name}`, which does not exist"));
    }
    for (name, dependencies) in &actual {
        let Some(allowed) = allowed.get(name) else {
            problems.push(format!("ARCHITECTURE.md: the crate `{name}` is missing in its table of arrows"));
            continue;
        };
        for dependency in dependencies.difference(allowed) {
            problems.push(format!("crates/{name}: depends on `{dependency}`, which ARCHITECTURE.md does not allow"));
        }
    }
    Ok(problems)
}

/// Rows `| crate | what | dependencies |`; `all` allows every crate, `-` none.
fn allowed_arrows(text: &str) -> BTreeMap<String, BTreeSet<String>> {
    let table = text.lines().skip_while(|line| !line.starts_with("| crate |")).skip(2);
    let rows = table.take_while(|line| line.starts_with('|'));
    let mut allowed: BTreeMap<String, BTreeSet<String>> = rows
        .filter_map(|row| {
            let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
            let [name, _, dependencies] = cells.as_slice() else { return None };
            let dependencies = dependencies.split(',').map(|name| name.trim().to_string());
            Some((name.trim_matches('`').to_string(), dependencies.collect()))
        })
        .collect();
    let everyone: BTreeSet<String> = allowed.keys().cloned().collect();
    for dependencies in allowed.values_mut().filter(|dependencies| dependencies.contains("all")) {
        dependencies.extend(everyone.iter().cloned());
    }
    allowed
}

/// What `cargo metadata` says: for each crate of ours its ordinary (not test-only) dependencies of ours.
fn actual_arrows(root: &Path) -> Result<BTreeMap<String, BTreeSet<String>>> {
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .current_dir(root)
        .output()
        .context("cannot run cargo metadata")?;
    let metadata: Value = serde_json::from_slice(&output.stdout).context("cargo metadata did not answer JSON")?;
    let packages = metadata["packages"].as_array().context("cargo metadata lists no packages")?;
    let own = packages.iter().filter(|package| package["name"] != "xtask");
    Ok(own.map(|package| (short(&package["name"]), dependencies_of(package))).collect())
}

fn dependencies_of(package: &Value) -> BTreeSet<String> {
    let dependencies = package["dependencies"].as_array().map(Vec::as_slice).unwrap_or_default();
    let own = dependencies.iter().filter(|one| one["kind"].is_null() && one["path"].is_string());
    own.map(|one| short(&one["name"])).collect()
}

fn short(name: &Value) -> String {
    let name = name.as_str().unwrap_or_default();
    name.strip_prefix("backstay-").unwrap_or(name).to_string()
}

fn long_files(root: &Path) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    let mut folders = vec![root.join("crates"), root.join("xtask")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                if !["tests", "facts", "target", "generated"].iter().any(|name| path.ends_with(name)) {
                    folders.push(path);
                }
                continue;
            }
            if path.extension().is_none_or(|end| end != "rs") || path.ends_with("tests.rs") {
                continue;
            }
            let text = std::fs::read_to_string(&path)?;
            let lines = text.lines().take_while(|line| *line != "#[cfg(test)]").count();
            if lines > FILE_LINES_MAX {
                let shown = path.strip_prefix(root).unwrap_or(&path).display();
                problems.push(format!("{shown}: {lines} lines; past {FILE_LINES_MAX}, look for a seam"));
            }
        }
    }
    problems.sort();
    Ok(problems)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_arrows_is_read() {
        let text =
            "x\n| crate | is | depends on |\n|---|---|---|\n| api | a | - |\n| store | b | api |\n| sim | c | all |\n";
        let allowed = allowed_arrows(text);
        assert!(allowed["store"].contains("api") && !allowed["store"].contains("sim"));
        assert!(allowed["sim"].contains("store") && allowed.len() == 3);
    }

    #[test]
    fn the_project_is_tidy() {
        run().expect("tidy");
    }
}
