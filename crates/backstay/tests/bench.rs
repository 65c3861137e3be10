//! The benchmark works: a small one makes a result with every row. What the figures are plays no part.

use std::path::PathBuf;

use backstay_bench::{Options, StoreKind};
use serde_json::Value;

#[test]
fn a_small_benchmark_makes_a_result_with_all_rows() {
    let directory = tempfile::tempdir().expect("a directory");
    let out = directory.path().join("benchmarks");
    let server = PathBuf::from(env!("CARGO_BIN_EXE_backstay"));
    // Another package's program: cargo builds it for the tests of the workspace, beside ours.
    let load = Some(server.with_file_name("backstay-load")).filter(|program| program.is_file());
    if load.is_none() {
        eprintln!("SKIPPED: what clients cost, for there is no backstay-load (cargo build -p backstay-load makes it)");
    }
    let options = Options {
        server,
        sizes: vec![20],
        stores: vec![StoreKind::Embedded],
        quick: true,
        out,
        commit: "test".into(),
        fleetbench: None,
        beside: None,
        load: load.clone(),
        micro: None,
    };
    let page = backstay_bench::run(&options).unwrap_or_else(|error| panic!("{error:#}"));

    let text = std::fs::read_to_string(&page).expect("a page");
    assert!(text.contains("fsyncs/s") && text.contains("| create "), "{text}");
    assert!(text.contains("fleetbench is not there"), "what was not run is said: {text}");
    let plot = std::fs::read_to_string(page.with_extension("svg")).expect("a plot");
    assert_eq!(plot.matches("<polyline").count(), 5, "{plot}");
    let json = std::fs::read_to_string(page.with_extension("json")).expect("a result");
    let json: Value = serde_json::from_str(&json).expect("JSON");
    let rows: Vec<(u64, &str)> = json["rows"].as_array().expect("rows").iter().map(row).collect();
    let (starts, fleet) = rows.split_at(5);
    let expected =
        [(0, "memory_idle"), (0, "start_empty"), (20, "start_full"), (20, "history_time"), (20, "history_memory_peak")];
    assert_eq!(starts, expected);
    let expected = ["create", "update", "undo", "list", "delete", "server_memory_peak", "server_processor"];
    let (fleet, clients) = fleet.split_at(expected.len());
    assert_eq!(fleet, expected.map(|what| (20, what)));
    let expected = [
        (0, "watch_shared"),
        (0, "watch_alone"),
        (0, "watch_alone_http1"),
        (0, "fan_out"),
        (50, "agent_change"),
        (0, "overload_lost"),
        (0, "overload_lease"),
        (50, "memory_growth"),
        (50, "disk_growth"),
    ];
    assert_eq!(clients, if load.is_some() { &expected[..] } else { &[] });
}

/// What a row tells of; every value has been measured.
fn row(row: &Value) -> (u64, &str) {
    let what = row["what"].as_str().expect("what");
    // Nothing may grow, and nothing may be lost.
    let is_good_at_zero = what.ends_with("_growth") || what == "overload_lost";
    assert!(row["value"].as_f64().is_some_and(|value| value > 0.0 || is_good_at_zero), "{row}");
    (row["nodes"].as_u64().expect("nodes"), what)
}
