//! One fleet: a server of its own, its nodes, and the life of a DaemonSet on them.

use std::path::Path;

use anyhow::{Context, Result, bail};
use kube::Client;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::etcd::Etcd;
use crate::process::{Server, Usage};
use crate::report::Report;
use crate::steps::{self, Steps};
use crate::{Options, StoreKind, figures, fleetbench, kubelet};

/// Beyond so many nodes, playing kubelets would cost more than the server does: it simulates them.
const PLAYED_MAX: usize = 5_000;

/// Nobody renews leases of played nodes: no node may be given up while it is measured. And pods carry no tokens, as in
/// the Kubernetes of the comparison, which ran without those who make service accounts.
const ARGUMENTS: [&str; 4] = ["--node-monitor-grace-period", "1h", "--disable-admission-plugins", "ServiceAccount"];

/// What a fleet is measured on.
#[derive(Clone, Copy, Debug)]
pub struct SetUp {
    pub name: &'static str,
    pub store: StoreKind,
    /// More arguments for the server.
    arguments: &'static [&'static str],
}

impl SetUp {
    /// As whoever asks for nothing else has it.
    pub fn plain(store: StoreKind) -> Self {
        let name = match store {
            StoreKind::Embedded => "embedded",
            StoreKind::Etcd => "etcd",
        };
        Self { name, store, arguments: &[] }
    }

    /// As fleets may have it whose pods nobody applies.
    pub fn without_managed_fields() -> Self {
        let arguments = &["--managed-fields-from", "first-apply"];
        Self { name: "embedded first-apply", store: StoreKind::Embedded, arguments }
    }
}

/// What was measured of one fleet.
pub struct Measured {
    pub nodes: usize,
    /// What was measured, and with what.
    pub set_up: String,
    pub steps: Steps,
    /// `None` if it is a process of somebody else.
    pub server: Option<Usage>,
    pub etcd: Option<Usage>,
}

/// Measures a fleet with our load, and with fleetbench where there is one.
pub fn measure(options: &Options, set_up: SetUp, nodes: usize, runtime: &Runtime, report: &mut Report) -> Result<()> {
    if set_up.store == StoreKind::Etcd && !Etcd::is_installed() {
        report.note("the store etcd is not available: there is no `etcd` in PATH");
        return Ok(());
    }
    report.note("fleets run with `--disable-admission-plugins ServiceAccount`, as those of the Kubernetes did");
    if !set_up.arguments.is_empty() {
        report.note(&format!("set-up \"{}\": `{}`", set_up.name, set_up.arguments.join(" ")));
    }
    let own = World::start(options, set_up, nodes)?;
    let name = set_up.name;
    println!("{nodes} nodes, {name}: own load");
    let steps = runtime.block_on(own.life()).with_context(|| format!("{nodes} nodes, {name}, own load"))?;
    let list_bytes = steps.list.bytes;
    figures::fleet(&own.end("own", steps)?, report);
    match &options.fleetbench {
        Some(program) => {
            let other = World::start(options, set_up, nodes)?;
            println!("{nodes} nodes, {name}: fleetbench");
            if other.is_simulated {
                runtime.block_on(async {
                    kubelet::nodes_ready(&steps::client(&other.server.kubeconfig).await?, nodes).await
                })?;
            }
            let mut steps = fleetbench::run(program, &other.server.kubeconfig, nodes, other.is_simulated)?;
            // It does not tell; its pods are as large as ours.
            steps.list.bytes = list_bytes;
            figures::fleet(&other.end("fleetbench", steps)?, report);
        }
        None => report.note("fleetbench is not there: the load is our own alone"),
    }
    Ok(())
}

struct World {
    nodes: usize,
    name: &'static str,
    is_simulated: bool,
    // Before etcd and the directory: it must end first.
    server: Server,
    etcd: Option<Etcd>,
    _directory: tempfile::TempDir,
}

impl World {
    fn start(options: &Options, set_up: SetUp, nodes: usize) -> Result<Self> {
        let directory = tempfile::tempdir().context("cannot make a directory")?;
        let is_simulated = nodes > PLAYED_MAX;
        let mut arguments: Vec<String> = ARGUMENTS.map(String::from).into();
        match is_simulated {
            true => arguments.splice(0..0, simulated(nodes)).for_each(drop),
            false => arguments.insert(0, "server".into()),
        }
        arguments.extend(set_up.arguments.iter().map(|argument| argument.to_string()));
        let etcd = match set_up.store {
            StoreKind::Embedded => None,
            StoreKind::Etcd => Some(Etcd::start(&directory.path().join("etcd"))?),
        };
        if let Some(etcd) = &etcd {
            arguments.extend(["--store".into(), "etcd".into(), "--etcd-endpoints".into(), etcd.endpoint.clone()]);
        }
        let server = Server::start(&options.server, &directory.path().join("server"), &arguments)?;
        Ok(Self { nodes, name: set_up.name, is_simulated, server, etcd, _directory: directory })
    }

    async fn life(&self) -> Result<Steps> {
        let client = steps::client(&self.server.kubeconfig).await?;
        if self.is_simulated {
            kubelet::nodes_ready(&client, self.nodes).await?;
            return steps::life(&client, self.nodes).await;
        }
        played(&client, self.nodes).await
    }

    fn end(self, load: &str, steps: Steps) -> Result<Measured> {
        let Self { nodes, name, is_simulated, server, etcd, _directory } = self;
        let usage = server.usage()?;
        server.stop()?;
        let etcd = etcd.map(|etcd| etcd.stop()).transpose()?;
        let kubelets = if is_simulated { "simulated" } else { "played" };
        let set_up = format!("{name}, {kubelets}, load: {load}");
        Ok(Measured { nodes, set_up, steps, server: Some(usage), etcd })
    }
}

/// The life of a DaemonSet on nodes whose kubelets we play.
async fn played(client: &Client, nodes: usize) -> Result<Steps> {
    kubelet::register(client, nodes).await?;
    let mut kubelets = JoinSet::new();
    kubelets.spawn(kubelet::play(client.clone()));
    tokio::select! {
        steps = steps::life(client, nodes) => steps,
        ended = kubelets.join_next() => {
            ended.context("there are no kubelets")??.context("the kubelets ended")?;
            bail!("the kubelets ended")
        }
    }
}

/// Measures a cluster of somebody else, such as a Kubernetes on this machine, and removes again what was made there.
/// It must not have nodes of its own, and must not give up nodes that are silent while it is measured.
pub fn measure_beside(kubeconfig: &Path, nodes: usize, runtime: &Runtime, report: &mut Report) -> Result<()> {
    if nodes > PLAYED_MAX {
        report.note("the cluster beside is not measured with more than 5,000 nodes: only our server simulates them");
        return Ok(());
    }
    println!("{nodes} nodes, the cluster beside");
    let steps = runtime.block_on(async {
        let client = steps::client(kubeconfig).await?;
        let steps = played(&client, nodes).await?;
        steps::remove_namespace(&client).await?;
        kubelet::unregister(&client).await?;
        Ok::<_, anyhow::Error>(steps)
    });
    let steps = steps.with_context(|| format!("{nodes} nodes, the cluster beside"))?;
    let set_up = "beside, played, load: own".to_string();
    figures::fleet(&Measured { nodes, set_up, steps, server: None, etcd: None }, report);
    Ok(())
}

/// How a server is started that simulates its nodes.
pub fn simulated(nodes: usize) -> Vec<String> {
    ["up", "--runtime", "none", "--simulated-nodes", &nodes.to_string()].map(String::from).into()
}
