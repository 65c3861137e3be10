//! What clients cost the server, as `backstay-load` finds out: it starts servers of its own, and prints JSON.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::Options;
use crate::report::{Report, Row};
use crate::targets::What;

/// The hours over which growth is told, of leases that each node renews every 10 s.
const HOURS: f64 = 2.0;

/// Runs one figure after the other.
///
/// # Errors
/// The tool cannot be run, or a figure fails.
pub fn measure(options: &Options, load: &Path, report: &mut Report) -> Result<()> {
    println!("what clients cost");
    let quick = options.quick;
    let figure = |arguments: &[&str], short: &[&str]| {
        let arguments: Vec<&str> = arguments.iter().chain(if quick { short } else { &[] }).copied().collect();
        run(load, &options.server, &arguments)
    };
    let mut add = |nodes, what, value, of_machine| {
        report.add(Row { nodes, set_up: "embedded, load: clients".into(), what, value, of_machine });
    };

    let few = ["--watches", "50"];
    let each = |idle: Value| anyhow::Ok(number(&idle, "bytes_each")? / 1e3);
    add(0, What::WatchShared, each(figure(&["idle"], &few)?)?, None);
    let alone = ["idle", "--per-connection", "1"];
    add(0, What::WatchAlone, each(figure(&alone, &few)?)?, None);
    add(0, What::WatchAloneHttp1, each(figure(&[&alone[..], &["--http1"]].concat(), &few)?)?, None);

    let fanout = figure(&["fanout"], &["--changes", "2"])?;
    let (rate, ratio) = (number(&fanout, "deliveries_per_second")?, number(&fanout, "cpu_ratio_to_bare_tls")?);
    let of_machine = format!("{rate:.0} deliveries/s, {ratio:.1} of TLS alone");
    add(0, What::FanOut, number(&fanout, "server_cpu_seconds_per_gigabyte")?, Some(of_machine));

    let nodes = if quick { 50 } else { 5_000 };
    let agents = figure(&["agents"], &["--nodes", "50", "--changes", "50"])?;
    add(nodes, What::AgentChange, number(&agents, "server_cpu_milliseconds_per_change")?, None);

    let overload = figure(&["overload", "--seconds", if quick { "1" } else { "20" }], &[])?;
    let lost = 100.0 * (1.0 - number(&overload, "kept")?);
    let rates = ["served_per_second", "offered_per_second_at_twice"].map(|name| number(&overload, name));
    let [served, offered] = rates;
    add(0, What::OverloadLost, lost.max(0.0), Some(format!("{:.0} answers/s, {:.0} asked for", served?, offered?)));
    let leases = &overload["signs_at_twice"]["leases"];
    let of_machine = format!("{} renewed, {} failed", leases["done"], leases["failed"]);
    add(0, What::OverloadLease, number(leases, "milliseconds_median")?, Some(of_machine));

    let growth = figure(&["growth", "--seconds", if quick { "1" } else { "180" }], &["--nodes", "50"])?;
    let (writes, hours) = (number(&growth, "writes")?, number(&growth, "hours_of_leases")?);
    let in_all = |name: &str| anyhow::Ok((number(&growth, name)? * writes / hours * HOURS / 1e6).max(0.0));
    let measured = Some(format!("from {hours:.1} hours"));
    add(nodes, What::MemoryGrowth, in_all("memory_bytes_per_write")?, measured.clone());
    add(nodes, What::DiskGrowth, in_all("disk_bytes_per_write")?, measured);
    Ok(())
}

/// The figure that `backstay-load` prints last.
fn run(load: &Path, server: &Path, arguments: &[&str]) -> Result<Value> {
    let mut command = Command::new(load);
    command.arg("--program").arg(server).args(arguments).stderr(Stdio::inherit());
    let output = command.output().with_context(|| format!("cannot run {}", load.display()))?;
    if !output.status.success() {
        bail!("{} {} failed ({})", load.display(), arguments.join(" "), output.status);
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().next_back().with_context(|| format!("{} says nothing", load.display()))?;
    serde_json::from_str(line).with_context(|| format!("{} does not print JSON: {line}", load.display()))
}

fn number(figure: &Value, name: &str) -> Result<f64> {
    figure[name].as_f64().with_context(|| format!("the figure has no number {name}: {figure}"))
}
