//! The binary: reads the command line, chooses clock, store and runtime, and wires the parts together.

mod args;
mod control_plane;
mod data_dir;
mod logging;
mod node;
mod serve;
mod tour;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// DaemonSets with rollout history and rollback: one agent on every node, and any change can be taken back
#[derive(Parser)]
#[command(name = "backstay", version)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Up(args::UpArgs),
    Server(args::ServerArgs),
    Tour(tour::Args),
}

fn main() -> ExitCode {
    // A container's supervisor: single-threaded and small, so it must begin before anything else.
    if std::env::args_os().nth(1).is_some_and(|verb| verb == "shim") {
        return exit_code(backstay_node::process::shim_main(std::env::args_os().skip(2)));
    }
    let command = CommandLine::parse().command;
    match run(command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("backstay: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    match command {
        Command::Up(args) => {
            logging::start();
            runtime.block_on(serve::up(args))
        }
        Command::Server(args) => {
            logging::start();
            runtime.block_on(serve::server(args))
        }
        Command::Tour(args) => runtime.block_on(tour::run(args)),
    }
}

fn exit_code(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}
