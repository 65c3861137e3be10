//! Starts the container, writes its log, waits for its end, and leaves word of it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use jiff::Timestamp;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, pidfd_open, wait};

use super::log::{Log, Stream};
use super::{mounts, tree};
use crate::lifecycle::observed::Exit;
use crate::process::cgroup;
use crate::process::layout::{self, CgroupSeat, ShimSpec, ShimState};
use crate::process::{alive, shim::mounts::CREATED};

/// How often orphans of the container that have become our children are reaped.
const REAP: Timespec = Timespec { tv_sec: 30, tv_nsec: 0 };
/// So long a silence, after the container's end, means that nothing will come any more.
const SILENCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 500_000_000 };
/// Exit code of a container whose command could not be started, as in runc.
const START_FAILED: i32 = 128;
/// As much as a pipe of Linux holds.
const CHUNK_BYTES: usize = 64 * 1024;

pub(super) fn run(dir: &Path) -> Result<(), String> {
    let dir = dir.canonicalize().map_err(|error| format!("{}: {error}", dir.display()))?;
    std::env::set_current_dir(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    // From here on files are found relative to the working directory: volumes may be mounted over the path to it.
    let spec: ShimSpec = layout::read(Path::new("spec.json")).ok_or("spec.json: missing or broken")?;
    // Fails only where we lead a session already.
    let _ = rustix::process::setsid();
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).map_err(|error| error.to_string())?;
    let mut log = Log::open(&spec.log, spec.log_bytes_max, spec.log_files)
        .map_err(|error| format!("{}: {error}", spec.log.display()))?;
    let begun = Timestamp::now();
    let started = mounts::enter(&spec.mounts).and_then(|created| {
        remember(&created)?;
        Container::start(&spec)
    });
    match started {
        Ok(container) => supervise(container, &spec, &mut log),
        Err(message) => finish(Exit {
            started_at: begun,
            finished_at: Timestamp::now(),
            exit_code: START_FAILED,
            reason: "StartError".into(),
            message,
        }),
    }
}

struct Container {
    child: Child,
    pidfd: OwnedFd,
    stdout: OwnedFd,
    stderr: OwnedFd,
    started_at: Timestamp,
}

impl Container {
    fn start(spec: &ShimSpec) -> Result<Self, String> {
        let pipe = || pipe_with(PipeFlags::CLOEXEC).map_err(|error| error.to_string());
        let ((stdout, stdout_end), (stderr, stderr_end)) = (pipe()?, pipe()?);
        let mut command = command(spec)?;
        command.stdin(Stdio::null()).stdout(stdout_end).stderr(stderr_end);
        isolate(&mut command);
        // The child is born into the container's cgroup; the shim, which must outlive it, goes back.
        let seated = spec.cgroups.iter().map(CgroupSeat::take).collect::<io::Result<Vec<()>>>();
        let spawned = seated
            .map_err(|error| format!("cannot enter the cgroup: {error}"))
            .and_then(|_| command.spawn().map_err(|error| start_error(&spec.command[0], &error)));
        spec.cgroups.iter().for_each(CgroupSeat::leave);
        // `command` holds our copies of the pipes' other ends: with them open there would be no end of file.
        drop(command);
        let child = spawned?;
        let pid = Pid::from_child(&child);
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).map_err(|error| format!("pidfd: {error}"))?;
        Ok(Self { child, pidfd, stdout, stderr, started_at: Timestamp::now() })
    }
}

fn command(spec: &ShimSpec) -> Result<Command, String> {
    let (program, args) = spec.command.split_first().ok_or("nothing to run")?;
    let mut command = Command::new(program);
    command.args(args).env_clear().envs(spec.env.iter().cloned());
    command.current_dir(spec.working_dir.as_deref().unwrap_or("/"));
    if let Some(gid) = spec.gid {
        command.gid(gid);
    }
    if let Some(uid) = spec.uid {
        command.uid(uid);
    }
    Ok(command)
}

/// A session of its own for the container, which dies with its shim.
#[allow(unsafe_code, reason = "a new session and the death signal can only be set between fork and exec")]
fn isolate(command: &mut Command) {
    let before_exec = || {
        rustix::process::setsid()?;
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        Ok(())
    };
    // SAFETY: two system calls, no allocation, no lock; and the shim has a single thread, so that the child's memory is
    // consistent anyway.
    unsafe { command.pre_exec(before_exec) };
}

fn start_error(program: &str, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound if program.contains('/') => {
            format!("exec: \"{program}\": stat {program}: no such file or directory")
        }
        io::ErrorKind::NotFound => format!("exec: \"{program}\": executable file not found in $PATH"),
        _ => format!("exec: \"{program}\": {error}"),
    }
}

fn remember(created: &[std::path::PathBuf]) -> Result<(), String> {
    if created.is_empty() {
        return Ok(());
    }
    let lines: String = created.iter().map(|path| format!("{}\n", path.display())).collect();
    std::fs::write(CREATED, lines).map_err(|error| format!("{CREATED}: {error}"))
}

fn supervise(mut container: Container, spec: &ShimSpec, log: &mut Log) -> Result<(), String> {
    let state = ShimState {
        boot_id: alive::boot_id(),
        shim_pid: std::process::id() as i32,
        shim_start: alive::stat(std::process::id() as i32).map_or(0, |stat| stat.start),
        pid: container.child.id() as i32,
        pid_start: alive::stat(container.child.id() as i32).map_or(0, |stat| stat.start),
        started_at: container.started_at,
    };
    layout::write(Path::new("state.json"), &state).map_err(|error| format!("state.json: {error}"))?;
    tell_the_agent();
    let mut streams =
        [(Some(&container.stdout), Stream::new("stdout")), (Some(&container.stderr), Stream::new("stderr"))];
    let status = loop {
        pump(&mut streams, Some(&container.pidfd), log, REAP);
        if let Some(status) = reap(&mut container.child) {
            break status;
        }
    };
    let finished_at = Timestamp::now();
    tree::end_all();
    spec.cgroups.iter().for_each(CgroupSeat::kill_all);
    // Nobody is left to write: what is in the pipes is all there will be. Should somebody outside hold one open, silence
    // ends it.
    while streams.iter().any(|(fd, _)| fd.is_some()) && pump(&mut streams, None, log, SILENCE) {}
    let killed_for_memory = spec.cgroups.iter().any(|seat| cgroup::oom_kills(&seat.dir) > 0);
    let mut exit = exit(status, killed_for_memory, container.started_at, finished_at);
    if spec.message_from_log && exit.exit_code != 0 {
        exit.message = log.last_words();
    }
    finish(exit)
}

fn exit(status: ExitStatus, killed_for_memory: bool, started_at: Timestamp, finished_at: Timestamp) -> Exit {
    let exit_code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    let reason = match exit_code {
        0 => "Completed",
        137 if killed_for_memory => "OOMKilled",
        _ => "Error",
    };
    Exit { started_at, finished_at, exit_code, reason: reason.into(), message: String::new() }
}

/// The agent waits for our standard output to close: the container runs, or there is word of why not.
fn tell_the_agent() {
    if let Ok(null) = std::fs::OpenOptions::new().write(true).open("/dev/null") {
        let _ = rustix::stdio::dup2_stdout(null);
    }
}

fn finish(exit: Exit) -> Result<(), String> {
    layout::write(Path::new("exit.json"), &exit).map_err(|error| format!("exit.json: {error}"))
}

/// Waits until a stream has something, or the container has ended, and writes the log. Returns whether anything came
/// within `patience`.
fn pump(
    streams: &mut [(Option<&OwnedFd>, Stream); 2],
    pidfd: Option<&OwnedFd>,
    log: &mut Log,
    patience: Timespec,
) -> bool {
    let open: Vec<usize> = (0..streams.len()).filter(|index| streams[*index].0.is_some()).collect();
    let ready: Vec<bool> = {
        let fds = open.iter().filter_map(|index| streams[*index].0).chain(pidfd);
        let mut fds: Vec<PollFd<'_>> = fds.map(|fd| PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN)).collect();
        match poll(&mut fds, Some(&patience)) {
            Ok(0) => return false,
            Ok(_) => {}
            // Interrupted.
            Err(_) => return true,
        }
        fds.iter().map(|fd| !fd.revents().is_empty()).collect()
    };
    let mut chunk = vec![0; CHUNK_BYTES];
    for (index, _) in open.iter().zip(ready).filter(|(_, ready)| *ready) {
        let (fd, stream) = &mut streams[*index];
        let Some(open) = *fd else { continue };
        let now = Timestamp::now();
        match rustix::io::read(open, &mut chunk) {
            Ok(0) => {
                log.finish(stream, now);
                *fd = None;
            }
            Ok(count) => log.feed(stream, &chunk[..count], now),
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
            Err(_) => *fd = None,
        }
    }
    true
}

/// Reaps whoever has died; returns the status of the container once it has.
fn reap(child: &mut Child) -> Option<ExitStatus> {
    let main = Pid::from_child(child);
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if pid == main => return Some(ExitStatus::from_raw(status.as_raw())),
            Ok(Some(_)) => {}
            Ok(None) => return None,
            // No child at all: somebody else has reaped it, which cannot be; do not wait for ever.
            Err(_) => return Some(ExitStatus::from_raw(0x7f00)),
        }
    }
}
