//! How long a start takes, what an idle server needs, and what one look at the history costs.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::runtime::Runtime;

use crate::process::{self, Server};
use crate::report::{Report, Row};
use crate::steps::{DAEMONSET, NAMESPACE};
use crate::targets::What;
use crate::{Options, fleet, kubelet, steps};

/// How full the data directory is that a server is started on: with so many nodes, and a pod on each.
const FULL: usize = 10_000;
const FULL_QUICK: usize = 20;

const STARTS: usize = 5;
const HISTORIES: usize = 31;

/// Until a server that is ready has nothing left to do.
const SETTLING: Duration = Duration::from_secs(2);

pub fn measure(options: &Options, runtime: &Runtime, report: &mut Report) -> Result<()> {
    let full = if options.quick { FULL_QUICK } else { FULL };
    let starts = if options.quick { 1 } else { STARTS };
    let directory = tempfile::tempdir().context("cannot make a directory")?;
    let server_only = ["server".to_string()];
    let mut add = |nodes, what, value| {
        report.add(Row { nodes, set_up: "embedded".into(), what, value, of_machine: None });
    };

    println!("starts on an empty data directory");
    let mut empty = Vec::new();
    for number in 0..starts {
        let server = Server::start(&options.server, &directory.path().join(number.to_string()), &server_only)?;
        empty.push(server.ready_seconds * 1e3);
        if number + 1 == starts {
            std::thread::sleep(SETTLING);
            add(0, What::MemoryIdle, server.usage()?.memory_mb);
        }
        server.stop()?;
    }
    add(0, What::StartEmpty, median(empty));

    println!("a data directory with {full} pods");
    let data_dir = directory.path().join("full");
    let server = Server::start(&options.server, &data_dir, &fleet::simulated(full))?;
    runtime.block_on(async {
        let client = steps::client(&server.kubeconfig).await?;
        kubelet::nodes_ready(&client, full).await?;
        steps::create(&client, full).await
    })?;
    server.stop()?;

    println!("starts on it, and rollout history");
    let mut on_full = Vec::new();
    for _ in 0..starts {
        let server = Server::start(&options.server, &data_dir, &server_only)?;
        on_full.push(server.ready_seconds * 1e3);
        server.stop()?;
    }
    add(full, What::StartFull, median(on_full));
    let server = Server::start(&options.server, &data_dir, &server_only)?;
    std::thread::sleep(SETTLING);
    let history = || history(&options.server, &server.kubeconfig);
    let times: Result<Vec<f64>> = (0..HISTORIES).map(|_| process::seconds_of(history())).collect();
    add(full, What::HistoryTime, median(times?) * 1e3);
    let peaks: Result<Vec<f64>> = (0..HISTORIES).map(|_| process::memory_peak_of(history())).collect();
    add(full, What::HistoryMemoryPeak, peaks?.into_iter().fold(0.0, f64::max));
    server.stop()
}

fn history(program: &Path, kubeconfig: &Path) -> Command {
    let mut command = Command::new(program);
    command.args(["rollout", "history", &format!("daemonset/{DAEMONSET}"), "--namespace", NAMESPACE]);
    command.env("KUBECONFIG", kubeconfig);
    command
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
