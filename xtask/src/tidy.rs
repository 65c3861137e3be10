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
    problems.extend(unknown_tests(root)?);
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

const UPSTREAM_TESTS: &str = "docs/upstream-tests.md";

/// Tests that the page about upstream's tests names (`file::test`) and that do not exist.
fn unknown_tests(root: &Path) -> Result<Vec<String>> {
    let page = std::fs::read_to_string(root.join(UPSTREAM_TESTS)).context("cannot read docs/upstream-tests.md")?;
    let known = tests_by_file(root)?;
    let unknown = named_tests(&page).filter(|name| !known.contains(*name));
    Ok(unknown.map(|name| format!("{UPSTREAM_TESTS}: names `{name}`, which is no test of ours")).collect())
}

/// What stands in backticks and has the form `file::test`.
fn named_tests(page: &str) -> impl Iterator<Item = &str> {
    page.split('`').skip(1).step_by(2).filter(|text| text.contains("::"))
}

/// `file::test` of every test; a file `tests.rs` goes by the name of its folder.
fn tests_by_file(root: &Path) -> Result<BTreeSet<String>> {
    let mut tests = BTreeSet::new();
    let mut folders = vec![root.join("crates")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let named_by = if path.ends_with("tests.rs") || path.ends_with("mod.rs") { &folder } else { &path };
                let file = named_by.file_stem().unwrap_or_default().to_string_lossy();
                tests.extend(tests_in(&std::fs::read_to_string(&path)?).map(|test| format!("{file}::{test}")));
            }
        }
    }
    Ok(tests)
}

/// The functions below a line with a test attribute.
fn tests_in(text: &str) -> impl Iterator<Item = String> {
    let mut is_test = false;
    text.lines().filter_map(move |line| {
        let line = line.trim();
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            is_test = true;
            return None;
        }
        let name = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ")?.split('(').next()?;
        std::mem::take(&mut is_test).then(|| name.to_string())
    })
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
    fn named_tests_are_looked_up() {
        let page = "| TestX | `rows::one`, `rows::two` (`no name`) |";
        assert_eq!(named_tests(page).collect::<Vec<_>>(), ["rows::one", "rows::two"]);
        let file = "#[test]\nfn one() {}\n#[tokio::test(start_paused = true)]\nasync fn two() {}\nfn helper() {}\n";
        assert_eq!(tests_in(file).collect::<Vec<_>>(), ["one", "two"]);
    }

    #[test]
    fn the_project_is_tidy() {
        run().expect("tidy");
    }
}
