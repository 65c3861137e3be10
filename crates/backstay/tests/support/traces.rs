//! What pods leave on a machine while they are there, and must not when they are gone.

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

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
