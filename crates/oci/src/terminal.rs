//! Terminals of a container's own: programs in it find them by their names.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::Path;

use backstay_node::process::Terminal;
use backstay_node::process::layout::{self, ShimSpec, ShimState};
use rustix::fs::{Mode, OFlags, Uid};
use rustix::pty::OpenptFlags;

use crate::store::open_inside;

/// What the kernel calls file systems of terminals (`DEVPTS_SUPER_MAGIC`).
const DEVPTS: i64 = 0x1cd1;

/// Opens a terminal of the running container whose directory this is.
///
/// # Errors
/// If it has none, or has put something else in their place.
pub(crate) fn open(dir: &Path) -> io::Result<Terminal> {
    let missing = || io::Error::new(io::ErrorKind::NotFound, "the container is not running");
    let state: ShimState = layout::read(&dir.join("state.json")).ok_or_else(missing)?;
    let spec: ShimSpec = layout::read(&dir.join("spec.json")).ok_or_else(missing)?;
    let root = File::open(format!("/proc/{}/root", state.pid))?;
    // Opened first, compared then: the number cannot change hands between the two.
    state.main().open().ok_or_else(missing)?;
    // Whoever may mount in the container may have made it anything: looked at first, opened then.
    let found = open_inside(&root, Path::new("dev/pts/ptmx"), OFlags::PATH)?;
    if rustix::fs::fstatfs(&found)?.f_type != DEVPTS {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the container has no terminals at /dev/pts"));
    }
    let terminal = of(&found)?;
    if let Some(uid) = spec.uid {
        rustix::fs::fchown(&terminal.end, Some(Uid::from_raw(uid)), None)?;
    }
    Ok(terminal)
}

/// The first terminal of a file system of terminals.
pub(crate) fn first(terminals: &OwnedFd) -> io::Result<Terminal> {
    of(&rustix::fs::openat(terminals, "ptmx", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?)
}

fn of(ptmx: &OwnedFd) -> io::Result<Terminal> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let master: OwnedFd = rustix::fs::open(format!("/proc/self/fd/{}", ptmx.as_raw_fd()), flags, Mode::empty())?;
    rustix::pty::unlockpt(&master)?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let end = rustix::pty::ioctl_tiocgptpeer(&master, flags)?;
    Ok(Terminal { master, end })
}
