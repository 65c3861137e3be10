//! Containers whose records were removed while they ran, as by `rm -rf` of the directory of pods. Nobody could stop them
//! any more, and others would be started beside them; so they are ended before that.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::alive;
use super::signals;

/// Ends what runs in the directory of a pod and is not on record there. `shim`: the words by which a shim is called,
/// without its directory.
pub(super) async fn end(shim: &[OsString], pod: &Path, patience: Duration) {
    for (pid, dir) in find(shim, pod) {
        tracing::warn!(dir = %dir.display(), "a container whose records are gone still runs: it is ended");
        let Some(gone) = alive::stat(pid).and_then(|stat| alive::open(pid, stat.start)) else { continue };
        // A shim ends whatever its container has left, and then itself.
        for (child, _) in children(pid) {
            alive::kill(child);
        }
        if tokio::time::timeout(patience, signals::ended(gone)).await.is_err() {
            let sessions: Vec<i32> = children(pid).map(|(_, stat)| stat.session).chain([pid]).collect();
            alive::kill(pid);
            alive::kill_sessions(&sessions);
        }
    }
}

/// Kills the shim of a container that has nothing to show yet.
pub(super) fn kill(shim: &[OsString], container: &Path) {
    for (pid, _) in shims(shim).filter(|(_, dir)| dir == container) {
        tracing::warn!(dir = %container.display(), "a container that nobody waits for is being started: it is ended");
        alive::kill(pid);
    }
}

fn children(pid: i32) -> impl Iterator<Item = (i32, alive::Stat)> {
    alive::all().filter(move |(_, stat)| stat.parent == pid)
}

/// The shims in the directory that have nothing there to run by, each with its own directory.
fn find(shim: &[OsString], pod: &Path) -> Vec<(i32, PathBuf)> {
    shims(shim).filter(|(_, dir)| dir.starts_with(pod) && !dir.join("spec.json").exists()).collect()
}

/// Every shim, each with its own directory.
fn shims(shim: &[OsString]) -> impl Iterator<Item = (i32, PathBuf)> {
    let words = |pid: i32| fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let living = alive::all().filter(|(_, stat)| !stat.zombie);
    living.filter_map(move |(pid, _)| Some((pid, directory(&words(pid), shim.get(1..).unwrap_or_default())?)))
}

/// Where a process works, if it is a shim: by its command line, whatever program that was before an update.
/// `words`: those between the program and the directory.
fn directory(command_line: &[u8], words: &[OsString]) -> Option<PathBuf> {
    let all: Vec<&OsStr> = command_line.strip_suffix(b"\0")?.split(|byte| *byte == 0).map(OsStr::from_bytes).collect();
    let [_, own @ .., dir] = all.as_slice() else { return None };
    (own.len() == words.len() && own.iter().zip(words).all(|(one, other)| *one == other)).then(|| PathBuf::from(dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_shim_looks_like() {
        let check = |line: &str, words: &[&str], expected: Option<&str>| {
            let line = line.replace(' ', "\0").into_bytes();
            let words: Vec<OsString> = words.iter().map(OsString::from).collect();
            assert_eq!(directory(&line, &words), expected.map(PathBuf::from));
        };
        check("/bin/backstay shim /d/pods/u ", &["shim"], Some("/d/pods/u"));
        check("/old/backstay shim /d/pods/u ", &["shim"], Some("/d/pods/u"));
        check("/bin/backstay shim exec /d/pods/u sh ", &["shim"], None);
        check("/bin/backstay agent /d/pods/u ", &["shim"], None);
        check("/bin/node-shim /d/pods/u ", &[], Some("/d/pods/u"));
        check("/bin/node-shim ", &[], None);
        check("", &[], None);
    }
}
