//! This machine as a node.

use std::sync::Arc;

use anyhow::{Context, Result};
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

/// Starts the agent of this machine in the control plane's process.
pub fn start(plane: &mut ControlPlane, name: String) -> Result<()> {
    let data_dir = plane.data_dir.join("node");
    let pods = pods_dir(&data_dir);
    let program = std::env::current_exe().context("cannot tell where this program is")?;
    let shim = ShimCommand(vec![program.into(), "shim".into()]);
    let runtime = ProcessRuntime::new(pods.clone(), shim, plane.clock.clone())
        .with_context(|| format!("cannot use {} for the pods of this machine", pods.display()))?;
    let runtimes = Runtimes::new(Arc::new(runtime));
    plane.reach.set_local(name.clone(), NodeStreams::new(runtimes.clone(), pods));
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
    let client = plane.client(&format!("system:node:{name}"), &["system:nodes", "system:masters"]);
    plane.spawn(backstay_node::run(client, config, plane.stopping()));
    Ok(())
}
