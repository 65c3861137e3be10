//! `backstay tour`: the whole story of a rollout and its rollback on a temporary fleet, step by step, each step with
//! the command that was run and what it printed. Leaves nothing behind.

mod fleet;
mod manifest;
mod story;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};

use fleet::Fleet;

/// How many simulated nodes stand beside this machine.
const SIMULATED_NODES: u32 = 3;

/// The whole story on a temporary fleet: apply, a broken update, why it hangs, history, undo.
///
/// Without arguments the pods on this machine are real processes; with a manifest of yours all nodes are simulated,
/// because its images are not here. Either way nothing is left behind.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  # See the product in under a minute
  backstay tour

  # The same story with a DaemonSet of your own
  backstay tour --manifest fluentd.yaml")]
pub struct Args {
    /// Take the first DaemonSet of this file (YAML or JSON) instead of the built-in one
    #[arg(long, value_name = "FILE")]
    manifest: Option<PathBuf>,
}

pub async fn run(args: Args) -> Result<ExitCode> {
    let directory = tempfile::Builder::new().prefix("backstay-tour-").tempdir().context("cannot make a directory")?;
    let cast = match &args.manifest {
        Some(path) => manifest::Cast::of_file(path, directory.path())?,
        None => manifest::Cast::built_in(directory.path())?,
    };
    let mut fleet = Fleet::start(directory.path(), &cast).await?;
    let told = tokio::select! {
        told = story::tell(&mut fleet, &cast) => told,
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
    };
    let ended = fleet.end().await;
    told.and(ended)?;
    Ok(ExitCode::SUCCESS)
}
