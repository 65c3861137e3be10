//! The verbs of the `backstay` command: kubectl's words, flags and exit codes, for Backstay and any other cluster.

mod age;
mod command;
mod config;
mod connect;
mod diff;
mod discovery;
mod duration;
mod error;
mod files;
mod globals;
mod io;
pub mod memory;
mod output;
mod server;
mod session;
mod target;
mod usage;
mod verbs;
mod watch;

use std::process::ExitCode;

pub use command::Command;
pub use config::check_kubeconfig;
pub use globals::Globals;
pub use io::Io;
pub use session::App;
pub use usage::report as report_usage_error;

use error::Failure;

/// Runs a verb on the streams of the process.
pub fn run(command: Command, globals: Globals) -> ExitCode {
    memory::let_go_of_the_program();
    let app = App { globals, io: Io::of_process(), client: None, program: program(), editor: editor() };
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => {
            let code = runtime.block_on(run_with(&app, command));
            // A thread that still reads standard input must not keep us.
            runtime.shutdown_background();
            ExitCode::from(code)
        }
        Err(error) => {
            app.io.err_line(&format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Runs a verb on the streams (and, if there is one, the client) of `app`; returns the exit code.
pub async fn run_with(app: &App, command: Command) -> u8 {
    match command::dispatch(app, command).await {
        Ok(()) => 0,
        Err(failure) => {
            if !matches!(failure, Failure::Silent | Failure::Exit(_)) {
                app.io.err_line(failure.to_string().trim_end_matches('\n'));
            }
            failure.exit_code()
        }
    }
}

/// `$KUBE_EDITOR`, `$EDITOR`, or vi.
fn editor() -> String {
    let set = |name: &&str| std::env::var(name).ok().filter(|editor| !editor.is_empty());
    ["KUBE_EDITOR", "EDITOR"].iter().find_map(set).unwrap_or_else(|| "vi".into())
}

/// How we were called: by ourselves, or by kubectl as its plugin.
pub fn program() -> &'static str {
    let name = std::env::args_os().next().map(std::path::PathBuf::from);
    let plugin = name.as_deref().and_then(|path| path.file_stem()).is_some_and(|name| name == "kubectl-backstay");
    if plugin { "kubectl backstay" } else { "backstay" }
}
