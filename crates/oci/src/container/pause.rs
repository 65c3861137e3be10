//! The first process of a process namespace that the containers of a pod share: a namespace ends with it, and nothing
//! can be started in one that has none.
//!
//! It reaps what containers leave behind, and does nothing else. It outlives the agent, and is killed with the pod.
//! Containers see it, and one with the right to trace others can look into it: it therefore has no rights, an empty root
//! directory, empty namespaces, and a program file that cannot be written through it.

use std::ffi::OsString;
use std::fs;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use backstay_node::process::{KnownProcess, layout};
use rustix::fs::CWD;
use rustix::mount::{MountFlags, MountPropagationFlags, OpenTreeFlags};
use rustix::process::{DumpableBehavior, WaitOptions};
use rustix::thread::UnshareFlags;
use tokio::signal::unix::{SignalKind, signal};

use super::{Words, failed, rights, root, unshare};

/// `shim pause DIR`: makes the process for the pod of this directory, and returns once it is there.
pub(crate) const MAKE: &str = "pause";
/// `shim pause-init DIR`: becomes it.
pub(super) const BE: &str = "pause-init";
/// Which process it is, below the pod's directory.
pub(crate) const STATE: &str = "pause.json";
/// What its program is mounted at, below the pod's directory.
const LOADED: &str = "ns/pause";
/// Nobody.
const USER: u32 = 65535;
/// Before it, everything else goes when memory is short: all containers of the pod would go with it.
const OOM_SCORE_ADJ: &str = "-998";

pub(super) fn main(run: impl FnOnce() -> Result<(), String>) -> i32 {
    match run() {
        Ok(()) => 0,
        Err(message) => {
            eprintln!("{message}");
            1
        }
    }
}

pub(super) fn make(dir: &Path) -> Result<(), String> {
    rustix::process::setsid().map_err(|error| format!("cannot begin a session: {error}"))?;
    // Needs a right that we may lack; then it is as likely to go as we are.
    let _ = fs::write("/proc/self/oom_score_adj", OOM_SCORE_ADJ);
    // While we still are where our program is mounted.
    let clone = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let own = rustix::mount::open_tree(CWD, "/proc/self/exe", clone);
    let own = own.map_err(failed("open", Path::new("/proc/self/exe")))?;
    unshare(UnshareFlags::NEWNS)?;
    rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .map_err(|error| format!("cannot make mounts private: {error}"))?;
    let program = dir.join(LOADED);
    load(&own, &program).map_err(|error| format!("cannot mount the program at {}: {error}", program.display()))?;
    unshare(
        UnshareFlags::NEWPID
            | UnshareFlags::NEWIPC
            | UnshareFlags::NEWUTS
            | UnshareFlags::NEWNET
            | UnshareFlags::NEWCGROUP,
    )?;
    let mut words: Vec<OsString> = std::env::args_os().skip(1).collect();
    words.truncate(words.len().saturating_sub(2));
    let mut child = Command::new(&program)
        .arg0("pause")
        .args(words)
        .args([BE.as_ref(), dir.as_os_str()])
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(failed("start", &program))?;
    // It closes its output once it is what it is to be.
    let mut said = String::new();
    let _ = child.stdout.take().map(|mut stdout| stdout.read_to_string(&mut said));
    let known = KnownProcess::of(child.id() as i32).filter(|known| known.open().is_some());
    let Some(known) = known else {
        let status = child.wait().map(|status| status.to_string()).unwrap_or_default();
        return Err(format!("the process that keeps the namespace has ended: {status}"));
    };
    layout::write(&dir.join(STATE), &known).map_err(|error| {
        let _ = child.kill();
        format!("{STATE}: {error}")
    })
}

/// A mount of our own program through which it can only be read.
fn load(own: &OwnedFd, at: &Path) -> std::io::Result<()> {
    fs::create_dir_all(at.parent().unwrap_or(at))?;
    fs::File::create(at)?;
    root::attach(own, &fs::File::open(at)?.into())?;
    Ok(rustix::mount::mount_remount(at, MountFlags::BIND | MountFlags::RDONLY | MountFlags::NOSUID, c"")?)
}

pub(super) fn be(dir: &Path) -> Result<(), String> {
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|error| format!("cannot close itself to others: {error}"))?;
    // Of its own, since everybody with the old root directory gets the new one.
    unshare(UnshareFlags::NEWNS)?;
    let empty = dir.join("ns");
    let closed = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC | MountFlags::RDONLY;
    rustix::mount::mount("tmpfs", &empty, "tmpfs", closed, c"mode=555,size=4k")
        .map_err(failed("mount a file system at", &empty))?;
    let null = fs::OpenOptions::new().write(true).open("/dev/null").map_err(failed("open", Path::new("/dev/null")))?;
    let root = fs::File::open(&empty).map_err(failed("open", &empty))?;
    root::pivot(&root.into())?;
    let nobody = Words { uid: USER, gid: USER, no_new_privileges: true, working_dir: "/".into(), ..Words::default() };
    rights::take(&nobody)?;
    // Nothing but the end of the pod ends it.
    rustix::process::set_parent_process_death_signal(None).map_err(|error| format!("cannot be alone: {error}"))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
    let runtime = runtime.map_err(|error| format!("cannot wait for signals: {error}"))?;
    runtime.block_on(async {
        let ended = signal(SignalKind::child());
        let mut ended = ended.map_err(|error| format!("cannot wait for signals: {error}"))?;
        let released = rustix::stdio::dup2_stderr(&null).and_then(|()| rustix::stdio::dup2_stdout(&null));
        released.map_err(|error| format!("cannot close its output: {error}"))?;
        drop(null);
        loop {
            while let Ok(Some(_)) = rustix::process::wait(WaitOptions::NOHANG) {}
            ended.recv().await;
        }
    })
}
