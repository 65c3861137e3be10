//! The project's own chores: `cargo xtask <chore>`.

mod bench;
mod ci;
mod clients;
mod facts;
mod static_build;
mod steps;
mod tidy;

use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask <chore>

  bench [--micro] [OPTIONS]   measures a release build and keeps the result in docs/benchmarks; --help of the options
          with `cargo run -p backstay-bench -- --help`
  ci      everything CI runs: set-up, format, lints, tidy, tests, docs
  clients installs the client programs that tests use into target/clients (or $BACKSTAY_CLIENTS)
  facts [KUBECTL]   writes what the API knows of its types: crates/api/src/facts/types.tsv; with a kubectl,
          how Go holds their fields is read out of it first
  protos  writes the code that is generated from descriptions of gRPC interfaces anew
  static  builds the program for release without any library of the machine's (musl), and tries it
  tidy    the rules that compilers do not check: arrows between crates, sizes, words";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let result = match (arguments.next().as_deref(), arguments.collect::<Vec<_>>().as_slice()) {
        (Some("bench"), options) => bench::run(options),
        (Some("ci"), []) => ci::run(),
        (Some("clients"), []) => clients::install().map(|_| ()),
        (Some("facts"), []) => facts::run(None),
        (Some("facts"), [program]) => facts::run(Some(program)),
        (Some("protos"), []) => protos(),
        (Some("static"), []) => static_build::run("release"),
        (Some("tidy"), []) => tidy::run(),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// By a crate of its own, whose dependencies nobody else has to wait for.
fn protos() -> anyhow::Result<()> {
    steps::step("generated code", "mend the description", steps::cargo(&["run", "--quiet", "-p", "backstay-protos"]))
}
