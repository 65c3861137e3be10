//! Starts the container, writes its log, waits for its end, and leaves word of it.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use backstay_streams::frame::Kind;
use jiff::Timestamp;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, pidfd_open, wait};

use super::attach::{Attached, Input, SOCKET, Source};
use super::log::{Log, Stream};
use super::{Enclosure, mounts, tree};
use crate::lifecycle::observed::Exit;
use crate::process::cgroup;
use crate::process::layout::{self, CgroupSeat, ShimSpec, ShimState};
use crate::process::streams::Terminal;
use crate::process::{alive, shim::mounts::CREATED};
use crate::runtime::termination_message;

/// How often orphans of the container that have become our children are reaped.
const REAP: Timespec = Timespec { tv_sec: 30, tv_nsec: 0 };
/// So long a silence, after the container's end, means that nothing will come any more.
const SILENCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 500_000_000 };
/// Exit code of a container whose command could not be started, as in runc.
const START_FAILED: i32 = 128;
/// What is set aside on the disk for each word of the container's fate.
const WORD_BYTES: u64 = 8 * 1024;
/// As much as a pipe of Linux holds.
const CHUNK_BYTES: usize = 64 * 1024;

pub(super) fn run(dir: &Path, enclosure: &mut dyn Enclosure) -> Result<(), String> {
    let dir = dir.canonicalize().map_err(|error| format!("{}: {error}", dir.display()))?;
    std::env::set_current_dir(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    // From here on files are found relative to the working directory: volumes may be mounted over the path to it.
    let spec: ShimSpec = layout::read(Path::new("spec.json")).ok_or("spec.json: missing or broken")?;
    // A container that runs must be known to run, and its end must be known, also when the disk is full by then.
    for file in ["state.json", "exit.json"] {
        layout::reserve(Path::new(file), WORD_BYTES).map_err(|error| format!("{file}: {error}"))?;
    }
    // Fails only where we lead a session already.
    let _ = rustix::process::setsid();
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).map_err(|error| error.to_string())?;
    let mut log = Log::open(&spec.log, spec.log_bytes_max, spec.log_files)
        .map_err(|error| format!("{}: {error}", spec.log.display()))?;
    let begun = Timestamp::now();
    let started = mounts::enter(&spec.mounts).and_then(|created| {
        remember(&created)?;
        Container::start(&spec, enclosure)
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
    outputs: Outputs,
    /// Standard input or the terminal, if there is one.
    input: Option<Input>,
    started_at: Timestamp,
}

/// What the container prints: one stream on a terminal, else two.
type Outputs = Vec<Output>;

struct Output {
    /// None once it has ended.
    fd: Option<OwnedFd>,
    kind: Kind,
    line: Stream,
}

impl Output {
    fn new(fd: OwnedFd, kind: Kind) -> Self {
        let name = if kind == Kind::Stderr { "stderr" } else { "stdout" };
        Self { fd: Some(fd), kind, line: Stream::new(name) }
    }
}

/// Our ends of a container's streams, and its own on their way into the command.
fn streams(spec: &ShimSpec, terminal: Option<Terminal>, command: &mut Command) -> io::Result<(Outputs, Option<Input>)> {
    if spec.tty {
        return on_terminal(spec, terminal.map_or_else(Terminal::open, Ok)?, command);
    }
    let pipe = || pipe_with(PipeFlags::CLOEXEC);
    let ((stdout, stdout_end), (stderr, stderr_end)) = (pipe()?, pipe()?);
    command.stdin(Stdio::null()).stdout(stdout_end).stderr(stderr_end);
    let input = if spec.stdin {
        let (stdin_end, stdin) = pipe()?;
        rustix::fs::fcntl_setfl(&stdin, OFlags::NONBLOCK)?;
        command.stdin(stdin_end);
        Some(Input { fd: stdin, takes: true, once: spec.stdin_once, terminal: false })
    } else {
        None
    };
    Ok((vec![Output::new(stdout, Kind::Stdout), Output::new(stderr, Kind::Stderr)], input))
}

fn on_terminal(spec: &ShimSpec, terminal: Terminal, command: &mut Command) -> io::Result<(Outputs, Option<Input>)> {
    let Terminal { master, end } = terminal;
    // It belongs to who works on it; that matters to programs that look.
    if let Some(uid) = spec.uid {
        let _ = rustix::fs::fchown(&end, Some(rustix::fs::Uid::from_raw(uid)), None);
    }
    command.stdin(end.try_clone()?).stdout(end.try_clone()?).stderr(end);
    if !spec.env.iter().any(|(name, _)| name == "TERM") {
        command.env("TERM", "xterm");
    }
    let input = master.try_clone()?;
    rustix::fs::fcntl_setfl(&input, OFlags::RDWR | OFlags::NONBLOCK)?;
    let input = Input { fd: input, takes: spec.stdin, once: spec.stdin_once, terminal: true };
    Ok((vec![Output::new(master, Kind::Stdout)], Some(input)))
}

impl Container {
    fn start(spec: &ShimSpec, enclosure: &mut dyn Enclosure) -> Result<Self, String> {
        let mut command = command(spec)?;
        let terminal = if spec.tty && spec.enclosure.is_some() { enclosure.terminal()? } else { None };
        let (outputs, input) = streams(spec, terminal, &mut command).map_err(|error| format!("streams: {error}"))?;
        isolate(&mut command, spec.tty);
        if let Some(words) = &spec.enclosure {
            enclosure.enclose(words, &mut command)?;
        }
        // The child is born into the container's cgroup; the shim, which must outlive it, goes back.
        let seated = spec.cgroups.iter().map(CgroupSeat::take).collect::<io::Result<Vec<()>>>();
        let spawned = seated
            .map_err(|error| format!("cannot enter the cgroup: {error}"))
            .and_then(|_| command.spawn().map_err(|error| start_error(&spec.command[0], &error)));
        spec.cgroups.iter().for_each(CgroupSeat::leave);
        // `command` holds our copies of the pipes' other ends: with them open there would be no end of file.
        drop(command);
        enclosure.started()?;
        let child = spawned?;
        let pid = Pid::from_child(&child);
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).map_err(|error| format!("pidfd: {error}"))?;
        Ok(Self { child, pidfd, outputs, input, started_at: Timestamp::now() })
    }
}

fn command(spec: &ShimSpec) -> Result<Command, String> {
    let (program, args) = spec.command.split_first().ok_or("nothing to run")?;
    let mut command = Command::new(program);
    command.args(args).env_clear().envs(spec.env.iter().cloned());
    if spec.enclosure.is_some() {
        return Ok(command);
    }
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
pub(super) fn isolate(command: &mut Command, tty: bool) {
    let before_exec = move || {
        rustix::process::setsid()?;
        if tty {
            rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())?;
        }
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        Ok(())
    };
    // SAFETY: three system calls, no allocation, no lock; and the shim has a single thread, so that the child's memory is
    // consistent anyway.
    unsafe { command.pre_exec(before_exec) };
}

pub(super) fn start_error(program: &str, error: &io::Error) -> String {
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
    let mut attached = Attached::listen(Path::new(SOCKET), container.input.take());
    tell_the_agent();
    let status = loop {
        pump(&mut container.outputs, &mut attached, Some(&container.pidfd), log, REAP);
        if let Some(status) = reap(&mut container.child) {
            break status;
        }
    };
    let finished_at = Timestamp::now();
    tree::end_all();
    spec.cgroups.iter().for_each(CgroupSeat::kill_all);
    // Nobody is left to write: what is in the pipes is all there will be. Should somebody outside hold one open, silence
    // ends it.
    while container.outputs.iter().any(|output| output.fd.is_some())
        && pump(&mut container.outputs, &mut attached, None, log, SILENCE)
    {}
    attached.end();
    let killed_for_memory = spec.cgroups.iter().any(|seat| cgroup::oom_kills(&seat.dir) > 0);
    let mut exit = exit(status, killed_for_memory, container.started_at, finished_at);
    exit.message = spec.termination_message.as_deref().map(termination_message).unwrap_or_default();
    if exit.message.is_empty() && spec.message_from_log && exit.exit_code != 0 {
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
    let file = Path::new("exit.json");
    // Of a long message there may be more than was set aside. How it ended is worth more than what it said.
    let written = layout::write(file, &exit).or_else(|_| layout::write(file, &Exit { message: String::new(), ..exit }));
    written.map_err(|error| format!("exit.json: {error}"))
}

/// Waits until something has come: output, which is logged and shown, a client, or the container's end. Clients are only
/// looked at while it runs (`pidfd`). Returns whether anything came within `patience`.
fn pump(
    outputs: &mut Outputs,
    attached: &mut Attached,
    pidfd: Option<&OwnedFd>,
    log: &mut Log,
    patience: Timespec,
) -> bool {
    let clients = if pidfd.is_some() { attached.watched() } else { Vec::new() };
    let open = outputs.iter().filter_map(|output| output.fd.as_ref());
    let mut fds: Vec<PollFd<'_>> = open.chain(pidfd).map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
    fds.extend(clients.iter().map(|(_, fd, flags)| PollFd::from_borrowed_fd(*fd, *flags)));
    match poll(&mut fds, Some(&patience)) {
        Ok(0) => return false,
        Ok(_) => {}
        // Interrupted.
        Err(_) => return true,
    }
    let seen: Vec<PollFlags> = fds.iter().map(PollFd::revents).collect();
    let (of_container, of_clients) = seen.split_at(seen.len() - clients.len());
    let asked: Vec<(Source, PollFlags)> = clients
        .iter()
        .zip(of_clients)
        .filter(|(_, flags)| !flags.is_empty())
        .map(|((source, ..), flags)| (*source, *flags))
        .collect();
    let of_container = of_container.to_vec();
    let open = outputs.iter_mut().filter(|output| output.fd.is_some());
    // Clients first: who is there already sees all of it.
    attached.act(&asked);
    for (output, _) in open.zip(of_container).filter(|(_, flags)| !flags.is_empty()) {
        read(output, attached, log);
    }
    true
}

fn read(output: &mut Output, attached: &mut Attached, log: &mut Log) {
    let Some(fd) = &output.fd else { return };
    let mut chunk = vec![0; CHUNK_BYTES];
    let now = Timestamp::now();
    match rustix::io::read(fd, &mut chunk) {
        Ok(count @ 1..) => {
            log.feed(&mut output.line, &chunk[..count], now);
            attached.show(output.kind, &chunk[..count]);
        }
        Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
        // A terminal that nobody has open any more is an error to read from.
        Ok(0) | Err(_) => {
            log.finish(&mut output.line, now);
            output.fd = None;
        }
    }
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
