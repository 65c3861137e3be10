//! What pods leave on a machine while they are there, and must not when they are gone; and how they are ended.

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use backstay_api::Clock;
use backstay_node::process::{ProcessRuntime, ShimCommand};
use backstay_node::runtime::Runtime;
use backstay_oci::registry::Registry;
use backstay_oci::store::Store;
use backstay_oci::{Network, OciRuntime, StoredImages};
use jiff::Timestamp;

/// Ends what outlives an agent by design, and must not outlive a test: all pods of our own runtimes that the agent with
/// this directory has had.
pub fn end_pods(data_dir: &Path) {
    let shim = || ShimCommand(vec![env!("CARGO_BIN_EXE_backstay").into(), "shim".into()]);
    let shims = || ProcessRuntime::new(data_dir.join("pods"), shim(), Clock::new(Timestamp::now)).unwrap();
    let ending = async {
        let store = Store::open(&data_dir.join("images")).unwrap();
        let images = StoredImages { store, registry: Arc::new(Registry::new().unwrap()) };
        end_all(&OciRuntime::new(shims(), images, Network::default())).await;
        end_all(&shims()).await;
    };
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(ending);
}

async fn end_all(runtime: &dyn Runtime) {
    for pod in runtime.pods().await.unwrap() {
        let _ = runtime.remove(&pod.uid).await;
    }
}

/// What is left of these pods by agents whose files are below this directory, in words.
pub fn left(dir: &Path, uids: &BTreeSet<String>) -> Vec<String> {
    let mounts = mounts_below(dir).into_iter().map(|at| format!("a mount at {at}"));
    let cgroups = cgroups_of(uids).into_iter().map(|dir| format!("cgroup {}", dir.display()));
    let shims = processes_about(dir).into_iter().filter(|(_, words)| words.contains("shim"));
    mounts.chain(cgroups).chain(shims.map(|(pid, words)| format!("process {pid}: {words}"))).collect()
}

pub fn unmount_below(dir: &Path) {
    for mount in mounts_below(dir) {
        let _ = Command::new("umount").args(["-l", &mount]).status();
    }
}

pub fn mounts_below(dir: &Path) -> Vec<String> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(4));
    points.filter(|at| Path::new(at).starts_with(dir)).map(String::from).collect()
}

/// Those whose path tells of one of these pods.
pub fn cgroups_of(uids: &BTreeSet<String>) -> Vec<PathBuf> {
    let (mut found, mut dirs) = (Vec::new(), vec![PathBuf::from("/sys/fs/cgroup")]);
    while let Some(dir) = dirs.pop() {
        let name = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if uids.iter().any(|uid| name.contains(uid.as_str())) {
            found.push(dir.clone());
        }
        let below = std::fs::read_dir(&dir).into_iter().flatten().flatten();
        dirs.extend(below.filter(|it| it.file_type().is_ok_and(|kind| kind.is_dir())).map(|it| it.path()));
    }
    found
}

pub fn remove_cgroups_of(uids: &BTreeSet<String>) {
    for dir in cgroups_of(uids) {
        // The outer ones come first.
        let _ = Command::new("find").arg(dir).args(["-depth", "-type", "d", "-exec", "rmdir", "{}", ";"]).output();
    }
}

/// Processes whose command line names something below `path`, with that line.
pub fn processes_about(path: &Path) -> Vec<(u32, String)> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let with_words = pids.filter_map(|pid| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let is_about = line.windows(path.as_os_str().len()).any(|part| part == path.as_os_str().as_bytes());
        is_about.then(|| (pid, String::from_utf8_lossy(&line).replace('\0', " ")))
    });
    with_words.collect()
}
