//! Builds what is measured and what measures, and runs it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::steps::{cargo, step};

/// By name: without, cargo would build every crate's tests as well, to find no benchmarks in them.
const MICRO: [&str; 13] = [
    "bench",
    "-p",
    "backstay-api",
    "--bench",
    "patches",
    "-p",
    "backstay-controllers",
    "--bench",
    "planner",
    "-p",
    "backstay-store",
    "--bench",
    "store",
];

/// Hands its arguments to `backstay-bench`, but for `--micro`, which runs the micro-benchmarks first.
pub fn run(arguments: &[String]) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask has no parent directory")?;
    let target = target_dir(root)?;
    // One after the other: built together, the server would be built with what only the benchmark needs.
    for package in ["backstay", "backstay-bench", "backstay-load"] {
        step("build", "mend what the compiler says", cargo(&["build", "--release", "-p", package]))?;
    }
    let mut bench = Command::new(target.join("release/backstay-bench"));
    bench.current_dir(root).arg("--server").arg(target.join("release/backstay"));
    bench.arg("--load").arg(target.join("release/backstay-load"));
    bench.args(["--commit", &commit(root)?]);
    bench.args(arguments.iter().filter(|argument| *argument != "--micro"));
    if arguments.iter().any(|argument| argument == "--micro") {
        bench.arg("--micro").arg(micro(&target)?);
    }
    // A load of other people is welcome, and never a reason not to measure.
    match fleetbench(root, &target) {
        Ok(program) => drop(bench.arg("--fleetbench").arg(program)),
        Err(error) => eprintln!("NOTE: fleetbench is not run: {error:#}"),
    }
    step("bench", "read what it says", bench)
}

fn micro(target: &Path) -> Result<PathBuf> {
    println!("\n== micro-benchmarks");
    let output = cargo(&MICRO).stderr(std::process::Stdio::inherit()).output().context("cannot run cargo bench")?;
    if !output.status.success() {
        bail!("the micro-benchmarks failed ({})", output.status);
    }
    println!("{}", String::from_utf8_lossy(&output.stdout));
    let path = target.join("micro.txt");
    std::fs::write(&path, output.stdout).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// Builds fleetbench, which is no part of the project, from a copy: its own folder stays as it is.
fn fleetbench(root: &Path, target: &Path) -> Result<PathBuf> {
    let shared = std::env::var_os("BACKSTAY_SHARED").map_or_else(|| root.join("../shared"), PathBuf::from);
    let folder = shared.join("bench/fleetbench");
    if !folder.join("Cargo.toml").is_file() {
        bail!("there is no {} (BACKSTAY_SHARED names the folder that holds bench/fleetbench)", folder.display());
    }
    let copy = target.join("fleetbench");
    std::fs::create_dir_all(copy.join("src")).with_context(|| format!("cannot make {}", copy.display()))?;
    for file in ["Cargo.toml", "src/main.rs"] {
        std::fs::copy(folder.join(file), copy.join(file)).with_context(|| format!("cannot copy its {file}"))?;
    }
    // The target directory may lie in our workspace, which it is none of.
    let manifest = copy.join("Cargo.toml");
    let text = std::fs::read_to_string(&manifest)?;
    if !text.contains("[workspace]") {
        std::fs::write(&manifest, text + "\n[workspace]\n")?;
    }
    let mut build = cargo(&["build", "--release", "--manifest-path"]);
    build.arg(&manifest).env("CARGO_TARGET_DIR", copy.join("target"));
    step("fleetbench", "it is no part of this project; its output says what it lacks", build)?;
    Ok(copy.join("target/release/fleetbench"))
}

fn target_dir(root: &Path) -> Result<PathBuf> {
    let mut command = cargo(&["metadata", "--no-deps", "--format-version", "1"]);
    let output = command.current_dir(root).output().context("cannot run cargo metadata")?;
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).context("cargo metadata did not answer JSON")?;
    Ok(metadata["target_directory"].as_str().context("cargo metadata names no target directory")?.into())
}

/// The commit that is measured; what is not committed is said.
fn commit(root: &Path) -> Result<String> {
    let mut command = Command::new("git");
    command.args(["describe", "--always", "--dirty", "--exclude=*", "--abbrev=9"]).current_dir(root);
    let output = command.output().context("cannot run git")?;
    if !output.status.success() {
        bail!("git does not know the commit: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_string())
}
