//! This machine as a node.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use backstay_api::Clock;
use backstay_node::process::{ProcessRuntime, ShimCommand};
use backstay_node::runtime::Runtimes;
use backstay_node::streams::NodeStreams;
use backstay_node::{Machine, NodeConfig, pods_dir};

use crate::args::{Runtime, UpArgs};
use crate::control_plane::{ControlPlane, host_name};

/// The name of this machine's node; `None` if it is to be none.
pub fn name(args: &UpArgs) -> Option<String> {
    let named = || args.node_name.clone().unwrap_or_else(host_name);
    (args.runtime != Runtime::None).then(named)
}

/// What runs the pods of this machine.
pub fn runtimes(kind: Runtime, data_dir: &Path, clock: &Clock) -> Result<Runtimes> {
    let pods = pods_dir(data_dir);
    let program = std::env::current_exe().context("cannot tell where this program is")?;
    let shim = ShimCommand(vec![program.into(), "shim".into()]);
    let process = ProcessRuntime::new(pods.clone(), shim, clock.clone())
        .with_context(|| format!("cannot use {} for the pods of this machine", pods.display()))?;
    match kind {
        Runtime::Auto | Runtime::Process | Runtime::None => Ok(Runtimes::new(Arc::new(process))),
    }
}

/// Starts the agent of this machine in the control plane's process.
pub fn start(plane: &mut ControlPlane, name: String, kind: Runtime) -> Result<()> {
    let data_dir = plane.data_dir.join("node");
    let runtimes = runtimes(kind, &data_dir, &plane.clock)?;
    plane.reach.set_local(name.clone(), NodeStreams::new(runtimes.clone(), pods_dir(&data_dir)));
    let config = NodeConfig {
        name: name.clone(),
        runtimes,
        clock: plane.clock.clone(),
        entropy: plane.entropy.clone(),
        machine: Machine::this(&data_dir),
        data_dir,
        addresses: Vec::new(),
        labels: Vec::new(),
        server_url: Some(plane.url.clone()),
    };
    let client = plane.client(&format!("system:node:{name}"), &["system:nodes"]);
    plane.spawn(backstay_node::run(client, config, plane.stopping()));
    Ok(())
}
