//! A command run inside a container that runs already: in its mounts and cgroup, with its environment.

use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt as _};
use std::path::Path;
use std::process::Command;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::Enclosure;
use super::supervise::{isolate, start_error};
use crate::process::layout::{self, CgroupSeat, ShimSpec, ShimState};

/// Becomes the command. Returns only if that fails.
pub(super) fn run(dir: &Path, command: &[OsString], enclosure: &mut dyn Enclosure) -> Result<(), NotStarted> {
    become_command(dir, command, false, enclosure)
}

/// The same, as the leader of a session on the terminal that is our standard input.
pub(super) fn run_on_terminal(
    dir: &Path,
    command: &[OsString],
    enclosure: &mut dyn Enclosure,
) -> Result<(), NotStarted> {
    rustix::process::setsid().map_err(|error| format!("a session for the terminal: {error}"))?;
    become_command(dir, command, true, enclosure)
}

fn become_command(
    dir: &Path,
    command: &[OsString],
    on_terminal: bool,
    enclosure: &mut dyn Enclosure,
) -> Result<(), NotStarted> {
    let spec: ShimSpec = layout::read(&dir.join("spec.json")).ok_or("spec.json: missing or broken")?;
    let state: ShimState = layout::read(&dir.join("state.json")).ok_or("the container is not running")?;
    if !spec.mounts.is_empty() {
        let path = format!("/proc/{}/ns/mnt", state.pid);
        let namespace = std::fs::File::open(&path).map_err(|error| format!("{path}: {error}"))?;
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Mount))
            .map_err(|error| format!("{path}: {error}"))?;
    }
    // A cgroup that cannot be entered is no reason to fail a probe.
    spec.cgroups.iter().for_each(|seat| drop(CgroupSeat::take(seat)));
    let mut program = Command::new(&command[0]);
    let defaults = on_terminal.then_some(("TERM", "xterm"));
    program.args(&command[1..]).env_clear().envs(defaults).envs(spec.env.iter().cloned());
    if let Some(words) = &spec.enclosure {
        if on_terminal {
            // The terminal is the command's alone: what is typed to break it off must not end us.
            isolate(&mut program, true);
        }
        enclosure.join(words, state.pid, &mut program)?;
        // Only a child is born into the container's process namespace.
        let status = program.status();
        enclosure.started()?;
        let status = status.map_err(|error| NotStarted::of(&command[0], &error))?;
        std::process::exit(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)));
    }
    if on_terminal {
        rustix::process::ioctl_tiocsctty(rustix::stdio::stdin()).map_err(|error| format!("the terminal: {error}"))?;
    }
    program.current_dir(spec.working_dir.as_deref().unwrap_or("/"));
    if let Some(gid) = spec.gid {
        program.gid(gid);
    }
    if let Some(uid) = spec.uid {
        program.uid(uid);
    }
    Err(NotStarted::of(&command[0], &program.exec()))
}

/// A command that could not be started, with the exit code that shells have for it.
pub(super) struct NotStarted {
    pub(super) exit_code: i32,
    pub(super) message: String,
}

impl NotStarted {
    fn of(program: &OsString, error: &io::Error) -> Self {
        let program = program.to_string_lossy();
        let exit_code = if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 };
        Self { exit_code, message: start_error(&program, error) }
    }
}

impl From<String> for NotStarted {
    fn from(message: String) -> Self {
        Self { exit_code: 126, message }
    }
}

impl From<&str> for NotStarted {
    fn from(message: &str) -> Self {
        message.to_string().into()
    }
}
