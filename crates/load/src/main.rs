//! What a server bears: watches that only wait, one change for many watchers or for one of them, twice the load that it can carry, hours
//! of leases and events. Starts the server that it measures, speaks HTTP to it as any client does, and prints one line
//! of JSON per figure.
//!
//! Figures of memory are resident pages of the server's process; those of work are its processor time, which hardly
//! depends on what else the machine does. Rates are meaningful as ratios within one run.

mod agents;
mod client;
mod fanout;
mod figure;
mod growth;
mod idle;
mod list;
mod objects;
mod overload;
mod raw;
mod server;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Measures what a server bears.
#[derive(Parser)]
struct Args {
    /// The server's program
    #[arg(long, default_value = "target/release/backstay")]
    program: PathBuf,
    #[command(subcommand)]
    figure: Figure,
}

#[derive(Subcommand)]
enum Figure {
    /// Memory of watches that wait for a change which does not come
    Idle {
        #[arg(long, default_value_t = 10_000)]
        watches: usize,
        /// Watches over one connection; 1 gives each a TLS connection of its own
        #[arg(long, default_value_t = 1_000)]
        per_connection: usize,
        /// HTTP/1.1 in place of HTTP/2, with one watch per connection
        #[arg(long)]
        http1: bool,
    },
    /// One pod changed, seen by the agent of its node, where each node has one
    Agents {
        #[arg(long, default_value_t = 5_000)]
        nodes: usize,
        #[arg(long, default_value_t = 5_000)]
        changes: usize,
    },
    /// One object changed, seen by many
    Fanout {
        #[arg(long, default_value_t = 1_000)]
        watchers: usize,
        #[arg(long, default_value_t = 100)]
        per_connection: usize,
        #[arg(long, default_value_t = 200)]
        changes: usize,
        /// Size of the object
        #[arg(long, default_value_t = 4_096)]
        bytes: usize,
        /// Watchers, besides the others, that never read
        #[arg(long, default_value_t = 0)]
        slow: usize,
    },
    /// One long list
    List {
        #[arg(long, default_value_t = 5_000)]
        objects: usize,
        #[arg(long, default_value_t = 4_800)]
        bytes: usize,
        #[arg(long, default_value_t = 20)]
        times: usize,
    },
    /// As much as the server can do, then twice as much, while nodes renew their leases
    Overload {
        #[arg(long, default_value_t = 1_000)]
        nodes: usize,
        #[arg(long, default_value = "8", value_parser = seconds)]
        seconds: Duration,
    },
    /// Leases and events for as long as it takes to see whether anything grows
    Growth {
        #[arg(long, default_value_t = 5_000)]
        nodes: usize,
        #[arg(long, default_value = "60", value_parser = seconds)]
        seconds: Duration,
        /// How long the server keeps events
        #[arg(long, default_value = "10s")]
        event_ttl: String,
    },
    /// The other end of `fanout`'s comparison: sends bytes over TLS, and does nothing else
    #[command(hide = true)]
    RawServer,
}

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(run(args))?;
    // What still waits for an answer is not waited for.
    runtime.shutdown_background();
    Ok(ExitCode::SUCCESS)
}

async fn run(args: Args) -> Result<()> {
    let program = args.program;
    match args.figure {
        Figure::Idle { watches, per_connection, http1 } => {
            idle::measure(&program, idle::Shape { watches, per_connection, http1 }).await
        }
        Figure::Agents { nodes, changes } => agents::measure(&program, nodes, changes).await,
        Figure::Fanout { watchers, per_connection, changes, bytes, slow } => {
            let shape = fanout::Shape { watchers, per_connection, changes, bytes, slow };
            fanout::measure(&program, shape).await
        }
        Figure::List { objects, bytes, times } => list::measure(&program, objects, bytes, times).await,
        Figure::Overload { nodes, seconds } => overload::measure(&program, nodes, seconds).await,
        Figure::Growth { nodes, seconds, event_ttl } => growth::measure(&program, nodes, seconds, &event_ttl).await,
        Figure::RawServer => raw::serve().await,
    }
}

fn seconds(text: &str) -> Result<Duration, std::num::ParseIntError> {
    text.parse().map(Duration::from_secs)
}
