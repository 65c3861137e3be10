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
use std::path::Path;

use exec::NotStarted;

/// The hidden subcommand `shim`, with the arguments that follow it. Returns the exit code of the process.
///
/// Must be called before any other thread exists: namespaces and the death signal belong to a thread.
pub fn shim_main(args: impl IntoIterator<Item = OsString>) -> i32 {
    let args: Vec<OsString> = args.into_iter().collect();
    let outcome = match args.as_slice() {
        [dir] => supervise::run(Path::new(dir)).map_err(|message| NotStarted { exit_code: 1, message }),
        [verb, dir, command @ ..] if verb == "exec" && !command.is_empty() => exec::run(Path::new(dir), command),
        [verb, dir, command @ ..] if verb == "exec-tty" && !command.is_empty() => {
            exec::run_on_terminal(Path::new(dir), command)
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
