//! The verbs of the `backstay` command: kubectl's words, flags and exit codes, for Backstay and any other cluster.

mod age;
mod config;
mod discovery;
mod duration;
mod error;
mod files;
mod globals;
mod io;
mod output;
mod server;
mod session;
mod target;
mod verbs;
mod watch;

use std::process::ExitCode;

pub use globals::Globals;
pub use io::Io;
pub use session::App;

use error::{Failure, Outcome};
use verbs::rollout::{self, Rollout};
use verbs::{describe, get};

/// The verbs, to be flattened into the subcommands of the binary.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Command {
    /// History, undo, status and restart of DaemonSets
    #[command(subcommand)]
    Rollout(Rollout),
    Get(get::Args),
    Describe(describe::Args),
}

/// Runs a verb on the streams of the process.
pub fn run(command: Command, globals: Globals) -> ExitCode {
    let program = if called_as_plugin() { "kubectl backstay" } else { "backstay" };
    let app = App { globals, io: Io::of_process(), client: None, program };
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => ExitCode::from(runtime.block_on(run_with(&app, command))),
        Err(error) => {
            app.io.err_line(&format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Runs a verb on these streams; returns the exit code.
pub async fn run_with(app: &App, command: Command) -> u8 {
    match dispatch(app, command).await {
        Ok(()) => 0,
        Err(failure) => {
            if !matches!(failure, Failure::Silent | Failure::Exit(_)) {
                app.io.err_line(failure.to_string().trim_end_matches('\n'));
            }
            failure.exit_code()
        }
    }
}

async fn dispatch(app: &App, command: Command) -> Outcome {
    match command {
        Command::Rollout(verb) => rollout::run(app, verb).await,
        Command::Get(args) => get::run(app, args).await,
        Command::Describe(args) => describe::run(app, args).await,
    }
}

/// Started by kubectl, as the plugin `kubectl-backstay`.
pub fn called_as_plugin() -> bool {
    let name = std::env::args_os().next().map(std::path::PathBuf::from);
    name.as_deref().and_then(|path| path.file_stem()).is_some_and(|name| name == "kubectl-backstay")
}
