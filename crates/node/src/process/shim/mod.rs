//! The shim: the parent of one container. Small, single-threaded, and without any knowledge of Kubernetes.
//!
//! `shim DIR` runs what `DIR/spec.json` says; `shim exec DIR COMMAND...` runs a command beside it, `shim exec-tty` on the
//! terminal that is its standard input.

mod attach;
mod exec;
mod log;
mod mounts;
mod supervise;
mod tree;

pub(super) use attach::SOCKET as ATTACH_SOCKET;
pub(super) use mounts::CREATED as CREATED_MOUNT_POINTS;

use std::ffi::OsString;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use super::streams::Terminal;
use exec::NotStarted;

/// What makes a container of a command: a root directory, namespaces, rights. The words are those of the container's spec.
pub trait Enclosure {
    /// A terminal that the container knows by name, for a command that is to have one. Called before
    /// [`Enclosure::enclose`]. `None`: one of the machine's.
    ///
    /// # Errors
    /// If it cannot be made.
    fn terminal(&mut self) -> Result<Option<Terminal>, String> {
        Ok(None)
    }

    /// Called before the command is started as a child: changes it so that it starts enclosed. What this changes in the
    /// calling process is taken back by [`Enclosure::started`].
    ///
    /// # Errors
    /// If that is impossible, in words for the container's status.
    fn enclose(&mut self, words: &serde_json::Value, command: &mut Command) -> Result<(), String>;

    /// The child has been started, or could not be.
    ///
    /// # Errors
    /// What stood in the way, if the child got as far as to say it.
    fn started(&mut self) -> Result<(), String>;

    /// Moves this process beside the container whose main process is `pid`, and changes `command` so that it runs with
    /// the container's rights once it is started as a child.
    ///
    /// # Errors
    /// If that is impossible, or there is no such container any more.
    fn join(&mut self, words: &serde_json::Value, pid: i32, command: &mut Command) -> Result<(), String>;
}

/// Of a shim that cannot enclose anything.
struct Nothing;

const NO_ENCLOSURE: &str = "this program runs plain processes only; the container was made by another one";

impl Enclosure for Nothing {
    fn enclose(&mut self, _: &serde_json::Value, _: &mut Command) -> Result<(), String> {
        Err(NO_ENCLOSURE.into())
    }

    fn started(&mut self) -> Result<(), String> {
        Ok(())
    }

    fn join(&mut self, _: &serde_json::Value, _: i32, _: &mut Command) -> Result<(), String> {
        Err(NO_ENCLOSURE.into())
    }
}

/// Heeds what whoever started the agent ignores, as a shell does for what runs in its background: a container would ignore
/// it too, and a shell in it could not even trap it.
#[allow(unsafe_code, reason = "there is no other way to change what a signal does")]
fn heed_signals() {
    for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT] {
        // SAFETY: the default needs no handler; the process has one thread.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

/// The hidden subcommand `shim`, with the arguments that follow it. Returns the exit code of the process.
///
/// Must be called before any other thread exists: namespaces and the death signal belong to a thread.
pub fn shim_main(args: impl IntoIterator<Item = OsString>) -> i32 {
    shim_main_with(args, &mut Nothing)
}

/// The same, for containers that are enclosed.
pub fn shim_main_with(args: impl IntoIterator<Item = OsString>, enclosure: &mut dyn Enclosure) -> i32 {
    heed_signals();
    let args: Vec<OsString> = args.into_iter().collect();
    let outcome = match args.as_slice() {
        [dir] => supervise::run(Path::new(dir), enclosure).map_err(|message| {
            // Heard by the agent until the container runs, and by nobody from then on.
            let _ = writeln!(std::io::stdout(), "{message}");
            NotStarted { exit_code: 1, message }
        }),
        [verb, dir, command @ ..] if verb == "exec" && !command.is_empty() => {
            exec::run(Path::new(dir), command, enclosure)
        }
        [verb, dir, command @ ..] if verb == "exec-tty" && !command.is_empty() => {
            exec::run_on_terminal(Path::new(dir), command, enclosure)
        }
        _ => {
            eprintln!("usage: shim DIR | shim exec DIR COMMAND... | shim exec-tty DIR COMMAND...");
            return 2;
        }
    };
    match outcome {
        Ok(()) => 0,
        Err(NotStarted { exit_code, message }) => {
            eprintln!("{message}");
            exit_code
        }
    }
}
