//! Rust from descriptions of gRPC interfaces. The result is checked in, so that building the product needs nothing of
//! this; a test compares it with what its description says now.

use std::path::Path;

use anyhow::{Context, Result};

/// One file of generated code; paths are below the workspace.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    pub proto: &'static str,
    /// As the description names its package.
    pub package: &'static str,
    pub side: Side,
    pub file: &'static str,
}

/// Messages come with each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Without calls; bytes are shared, not copied.
    Neither,
    Client,
    /// Methods that an implementation leaves out answer `Unimplemented`.
    Server,
}

const RUNTIME: Target = Target {
    proto: "crates/cri/proto/runtime.proto",
    package: "runtime.v1",
    side: Side::Client,
    file: "crates/cri/src/wire/generated/runtime.rs",
};

const ETCD: Target = Target {
    proto: "crates/store-etcd/proto/etcd.proto",
    package: "etcdserverpb",
    side: Side::Neither,
    file: "crates/store-etcd/src/generated/etcd.rs",
};

pub const ALL: [Target; 3] =
    [RUNTIME, Target { side: Side::Server, file: "crates/cri/tests/generated/runtime.rs", ..RUNTIME }, ETCD];

pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap_or(Path::new("."))
}

/// # Errors
/// If the description cannot be read or understood; the message says where.
pub fn generate(target: &Target) -> Result<String> {
    let proto = workspace().join(target.proto);
    let dir = proto.parent().context("a description lies in a directory")?;
    let described = protox::compile([&proto], [dir]).with_context(|| format!("cannot use {}", target.proto))?;
    // The generator writes files only.
    let out = tempfile::tempdir().context("cannot make a directory for generated code")?;
    let shared_bytes = if target.side == Side::Neither { "." } else { "no.such.message" };
    // Nothing of the product shows messages, and showing them costs a tenth of building them.
    let unshown = if target.side == Side::Client { vec!["."] } else { Vec::new() };
    tonic_prost_build::configure()
        .bytes(shared_bytes)
        .skip_debug(unshown)
        .out_dir(&out)
        .build_client(target.side == Side::Client)
        .build_server(target.side == Side::Server)
        .build_transport(false)
        .generate_default_stubs(true)
        .compile_fds(described)
        .with_context(|| format!("cannot generate {}", target.file))?;
    let made = out.path().join(format!("{}.rs", target.package));
    let text = std::fs::read_to_string(&made).with_context(|| format!("cannot read {}", made.display()))?;
    Ok(format!("// From {}, by `cargo xtask protos`.\n{text}", target.proto))
}
