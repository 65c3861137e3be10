//! Everything CI runs, in the order in which it fails soonest.

use anyhow::Result;

use crate::clients;
use crate::steps::{apt_install, cargo, is_installed, step};

pub fn run() -> Result<()> {
    set_up()?;
    let clients = clients::install()?;
    step("format", "run `cargo fmt --all`", cargo(&["fmt", "--all", "--check"]))?;
    println!("\n== tidy");
    crate::tidy::run()?;
    let lint = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
    step("lints", "run `cargo clippy --workspace --all-targets` and mend what it says", cargo(&lint))?;
    let mut docs = cargo(&["doc", "--workspace", "--no-deps", "--quiet"]);
    docs.env("RUSTDOCFLAGS", "-D warnings");
    step("docs", "run `cargo doc --workspace --no-deps`", docs)?;
    crate::static_build::check()?;
    let mut tests = cargo(&["test", "--workspace", "--no-fail-fast"]);
    clients.show(&mut tests);
    // What was installed must be used: a test that would skip for want of it fails instead.
    tests.env("BACKSTAY_REQUIRE", PROGRAMS.map(|(_, package)| package).join(","));
    step("tests", "run `cargo test --workspace`", tests)
}

/// What the tests use besides Rust and client programs: the program that shows it is there, and its package.
const PROGRAMS: [(&str, &str); 15] = [
    ("kubectl", "kubernetes-client"),
    ("python3", "python3"),
    ("curl", "curl"),
    ("ip", "iproute2"),
    ("nsenter", "util-linux"),
    ("script", "bsdutils"),
    ("tar", "tar"),
    ("nft", "nftables"),
    ("iptables", "iptables"),
    ("taskset", "util-linux"),
    ("busybox", "busybox-static"),
    ("etcd", "etcd-server"),
    ("containerd", "containerd"),
    ("runc", "runc"),
    ("/usr/lib/cni/bridge", "containernetworking-plugins"),
];

/// Installs what is missing.
fn set_up() -> Result<()> {
    let missing = PROGRAMS.iter().filter(|(program, _)| !is_installed(program));
    apt_install(&missing.map(|(_, package)| *package).collect::<Vec<_>>())
}
