//! Measures a server through its public API: fleets of several sizes, starts, memory, the verb `rollout history`; and,
//! in the same run, what the machine itself can do. One table comes of it, and a plot.
//! Knows nothing of what is inside of the server, and judges nothing but by the table in `targets`.

mod clients;
mod etcd;
mod figures;
mod fleet;
mod fleetbench;
mod kubelet;
mod machine;
mod micro;
mod plot;
mod process;
mod report;
mod start;
mod steps;
mod targets;
mod watching;

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::fleet::SetUp;
use crate::report::Report;

/// A fleet of so many nodes is measured without managed fields, too.
const WITHOUT_MANAGED_FIELDS: usize = 5_000;

/// What to measure, and where the result goes.
#[derive(Clone, Debug)]
pub struct Options {
    /// The program to measure.
    pub server: PathBuf,
    /// Numbers of nodes.
    pub sizes: Vec<usize>,
    pub stores: Vec<StoreKind>,
    /// Only see that it works.
    pub quick: bool,
    /// A directory; made if it is not there.
    pub out: PathBuf,
    /// What is measured, for people and for the name of the file.
    pub commit: String,
    pub fleetbench: Option<PathBuf>,
    /// The kubeconfig of another cluster, without nodes, to be measured in the same run.
    pub beside: Option<PathBuf>,
    /// The program `backstay-load`.
    pub load: Option<PathBuf>,
    /// A file with what `cargo bench` printed.
    pub micro: Option<PathBuf>,
}

/// What keeps the state of the measured server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum StoreKind {
    Embedded,
    /// An etcd from PATH, alone, on this machine.
    Etcd,
}

/// Measures everything, prints the table, and keeps it: a page, beside it the same as JSON, and a plot.
/// Returns the page's path.
///
/// # Errors
/// If the server does not start, or does not do what it is asked to within 300 s a step.
pub fn run(options: &Options) -> Result<PathBuf> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start a runtime")?;
    let mut report = Report::new(&options.commit, machine::limits(options.quick)?);
    start::measure(options, &runtime, &mut report)?;
    for store in &options.stores {
        for nodes in &options.sizes {
            fleet::measure(options, SetUp::plain(*store), *nodes, &runtime, &mut report)?;
            if (*store, *nodes) == (StoreKind::Embedded, WITHOUT_MANAGED_FIELDS) {
                fleet::measure(options, SetUp::without_managed_fields(), *nodes, &runtime, &mut report)?;
            }
        }
    }
    for nodes in &options.sizes {
        match &options.beside {
            Some(kubeconfig) => fleet::measure_beside(kubeconfig, *nodes, &runtime, &mut report)?,
            None => report.note("no Kubernetes was measured in this run (--beside KUBECONFIG measures one)"),
        }
    }
    match &options.load {
        Some(program) => clients::measure(options, program, &mut report)?,
        None => report.note("what clients cost was not measured (--load PROGRAM measures it)"),
    }
    match &options.micro {
        Some(file) => report.micro = micro::read(file)?,
        None => report.note("the micro-benchmarks were not run (--micro runs them)"),
    }
    println!("\n{}", report.table());
    report.keep(&options.out)
}
