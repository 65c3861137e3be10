//! The command line of the benchmark; `cargo xtask bench` builds everything and calls it.

use std::path::PathBuf;
use std::process::ExitCode;

use backstay_bench::{Options, StoreKind};
use clap::Parser;

/// Measures a backstay server through its public API and keeps the result as a file
#[derive(Parser)]
struct Arguments {
    /// The program to measure
    #[arg(long, value_name = "FILE")]
    server: PathBuf,

    /// Sizes of fleets. Up to 5,000 their kubelets are played by the benchmark, beyond the server simulates them
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [100, 1_000, 5_000, 10_000])]
    nodes: Vec<usize>,

    /// Engines to measure
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["embedded"])]
    store: Vec<StoreKind>,

    /// See that it works: few repetitions, and a small data directory to start on
    #[arg(long)]
    quick: bool,

    /// Where to keep the result
    #[arg(long, value_name = "DIR", default_value = "docs/benchmarks")]
    out: PathBuf,

    /// Name of what is measured, for the name of the file
    #[arg(long, value_name = "COMMIT", default_value = "unknown")]
    commit: String,

    /// A fleetbench: its load is run as well
    #[arg(long, value_name = "FILE")]
    fleetbench: Option<PathBuf>,

    /// Also measure a cluster that runs already, such as a Kubernetes on this machine. It must have no nodes, and not
    /// give up silent ones soon; what is made in it is removed again
    #[arg(long, value_name = "KUBECONFIG")]
    beside: Option<PathBuf>,

    /// The tool that measures what clients cost: watches, many readers, too many requests
    #[arg(long, value_name = "FILE")]
    load: Option<PathBuf>,

    /// What `cargo bench` printed: becomes a part of the table
    #[arg(long, value_name = "FILE")]
    micro: Option<PathBuf>,
}

fn main() -> ExitCode {
    let Arguments { server, nodes, store, quick, out, commit, fleetbench, beside, load, micro } = Arguments::parse();
    let options = Options { server, sizes: nodes, stores: store, quick, out, commit, fleetbench, beside, load, micro };
    match backstay_bench::run(&options) {
        Ok(result) => {
            println!("\nkept as {}", result.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
