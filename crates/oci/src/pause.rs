//! The process that keeps the process namespace of a pod whose containers share one: made, found again, ended.

use std::io;
use std::path::Path;
use std::process::Stdio;

use backstay_node::process::{KnownProcess, ShimCommand, layout};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::process::Command;

use crate::container::{MAKE_PAUSE, PAUSE_STATE};

/// A process that was killed may take so long to vanish.
const PATIENCE: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };

/// That of the pod whose directory this is, if it lives.
pub(crate) fn find(dir: &Path) -> Option<KnownProcess> {
    layout::read::<KnownProcess>(&dir.join(PAUSE_STATE)).filter(|process| process.open().is_some())
}

pub(crate) async fn make(shim: &ShimCommand, dir: &Path) -> io::Result<()> {
    let mut command = Command::new(&shim.0[0]);
    command.args(&shim.0[1..]).args([MAKE_PAUSE.as_ref(), dir.as_os_str()]).env_clear().current_dir("/");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let made = command.spawn()?.wait_with_output().await?;
    if made.status.success() {
        return Ok(());
    }
    Err(io::Error::other(String::from_utf8_lossy(&made.stderr).trim().to_string()))
}

/// Kills it, and with it whatever still runs in the namespace; returns once it is gone.
pub(crate) async fn end(dir: &Path) {
    let Some(process) = find(dir) else { return };
    process.kill();
    let Some(handle) = process.open() else { return };
    let gone = tokio::task::spawn_blocking(move || {
        let _ = poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&PATIENCE));
    });
    let _ = gone.await;
}
