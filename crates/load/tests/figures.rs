//! Every figure can be measured: a small one of each prints one line of JSON. What the numbers are plays no part.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Runs one figure; it has these numbers.
fn check(server: &Path, arguments: &str, names: &[&str]) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_backstay-load"));
    let output = command.arg("--program").arg(server).args(arguments.split(' ')).output().expect("it runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments}: {errors}");
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let figure: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(figure["figure"].is_string(), "{figure}");
        for name in names {
            assert!(figure[*name].is_number(), "{arguments}: {name} in {figure}");
        }
    }
}

#[test]
fn every_figure_is_measured() {
    // The server is another package's program: cargo builds it for the tests of the workspace, beside ours.
    let server = Path::new(env!("CARGO_BIN_EXE_backstay-load")).with_file_name("backstay");
    if !server.is_file() {
        eprintln!("SKIPPED: there is no {} (cargo build -p backstay makes it)", server.display());
        return;
    }
    check(&server, "idle --watches 20 --per-connection 10", &["bytes_each"]);
    check(&server, "idle --watches 20 --per-connection 1 --http1", &["bytes_each"]);
    check(&server, "agents --nodes 20 --changes 20", &["server_cpu_milliseconds_per_change"]);
    check(&server, "fanout --watchers 20 --per-connection 10 --changes 2 --slow 1", &["deliveries_per_second"]);
    check(&server, "list --objects 20 --times 1", &["server_cpu_milliseconds"]);
    check(&server, "overload --nodes 20 --seconds 1", &["kept", "served_per_second"]);
    check(&server, "growth --nodes 20 --seconds 1", &["memory_bytes_per_write", "hours_of_leases"]);
}
