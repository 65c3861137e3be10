//! The binary: reads the command line, chooses clock, store and runtime, and wires the parts together.

mod agent;
mod announce;
mod args;
mod control_plane;
mod data_dir;
mod image;
mod logging;
mod node;
mod place;
mod reach;
mod serve;
mod signer;
mod store;
mod tour;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Objects are trees of small strings: the system's allocator took a third of the server's processor time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// DaemonSets with rollout history and rollback: one agent on every node, and any change can be taken back
#[derive(Parser)]
#[command(name = "backstay", version)]
struct CommandLine {
    #[command(flatten)]
    globals: backstay_cli::Globals,

    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Up(args::UpArgs),
    Server(args::ServerArgs),
    Agent(agent::AgentArgs),
    Image(image::ImageArgs),
    Tour(tour::Args),
    #[command(flatten)]
    Client(Box<backstay_cli::Command>),
}

fn main() -> ExitCode {
    // A container's supervisor: single-threaded and small, so it must begin before anything else.
    if std::env::args_os().nth(1).is_some_and(|verb| verb == "shim") {
        return exit_code(backstay_oci::shim_main(std::env::args_os().skip(2)));
    }
    backstay_cli::Command::set_root(<CommandLine as clap::CommandFactory>::command);
    let CommandLine { globals, command } = match CommandLine::try_parse() {
        Ok(line) => line,
        Err(error) => return backstay_cli::report_usage_error(&error),
    };
    match run(command, globals) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("backstay: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command, globals: backstay_cli::Globals) -> anyhow::Result<ExitCode> {
    match command {
        // Verbs of clients bring a small runtime of their own: they must start at once.
        Command::Client(command) => Ok(backstay_cli::run(*command, globals)),
        Command::Up(args) => serving(serve::up(args)),
        Command::Server(args) => serving(serve::server(args)),
        Command::Agent(args) => serving(agent::run(args)),
        Command::Image(args) => image::run(&args),
        Command::Tour(args) => runtime()?.block_on(tour::run(args)),
    }
}

fn serving(work: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    logging::start();
    runtime()?.block_on(work)
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}

fn exit_code(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}
