//! This machine as a node.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use backstay_api::validation::names;
use backstay_api::{Clock, Entropy};
use backstay_apiserver::pki::{Pki, Subject};
use backstay_cri::{CriConfig, CriRuntime};
use backstay_node::join::Credentials;
use backstay_node::process::{ProcessRuntime, ShimCommand};
use backstay_node::runtime::Runtimes;
use backstay_node::servers::{Server, Servers};
use backstay_node::streams::{NodeStreams, tunnel};
use backstay_node::{Machine, NodeConfig, pods_dir};
use backstay_oci::registry::Registry;
use backstay_oci::store::Store;
use backstay_oci::{Network, OciRuntime, StoredImages};

use crate::args::{Runtime, RuntimeArgs, UpArgs};
use crate::control_plane::{ControlPlane, host_name};
use crate::image;
use crate::place::Place;

/// The name of this machine's node; `None` if it is to be none.
pub fn name(args: &UpArgs) -> Result<Option<String>> {
    if args.runtime.kind == Runtime::None { Ok(None) } else { named(args.node_name.as_deref()).map(Some) }
}

/// The given name, else that of the host, if a node can have it.
pub fn named(given: Option<&str>) -> Result<String> {
    let name = given.map_or_else(host_name, str::to_string);
    match names::dns_subdomain(&name).first() {
        None => Ok(name),
        Some(why) => bail!("a node cannot be named {name:?}: {why}; give it another with --node-name"),
    }
}

/// Whether there can be such a runtime here, as far as one can tell without it.
///
/// # Errors
/// If not, and what to choose instead.
pub fn check(args: &RuntimeArgs, data_dir: &Path) -> Result<()> {
    if args.cri_socket.is_some() && !matches!(args.kind, Runtime::Auto | Runtime::Cri) {
        bail!("--cri-socket is for a container runtime: leave it out, or choose --runtime cri");
    }
    if args.kind == Runtime::Oci
        && let Err(why) = backstay_oci::can_run(data_dir)
    {
        bail!("--runtime oci cannot work here ({why}): run as root, or choose --runtime process");
    }
    Ok(())
}

/// What runs the pods of this machine.
pub async fn runtimes(args: &RuntimeArgs, data_dir: &Path, clock: &Clock) -> Result<Runtimes> {
    check(args, data_dir)?;
    let pods = pods_dir(data_dir);
    let program = std::env::current_exe().context("cannot tell where this program is")?;
    let shim = ShimCommand(vec![program.into(), "shim".into()]);
    let process = ProcessRuntime::new(pods.clone(), shim.clone(), clock.clone())
        .with_context(|| format!("cannot use {} for the pods of this machine", pods.display()))?;
    let chosen: Option<Arc<dyn backstay_node::runtime::Runtime>> = match args.kind {
        Runtime::Cri => cri(args, data_dir).await?.map(|cri| Arc::new(cri) as _),
        Runtime::Oci => Some(Arc::new(oci(args, data_dir, shim, clock)?)),
        Runtime::Process | Runtime::None => None,
        Runtime::Auto => match cri(args, data_dir).await? {
            Some(cri) => Some(Arc::new(cri)),
            None => match backstay_oci::can_run(data_dir) {
                Ok(()) => Some(Arc::new(oci(args, data_dir, shim, clock)?)),
                Err(why) => {
                    tracing::info!(why, "pods will be host processes: containers cannot be run here");
                    None
                }
            },
        },
    };
    Ok(match chosen {
        Some(containers) => {
            tracing::info!(runtime = containers.version(), "pods will be containers");
            Runtimes::new(containers).with(PROCESS_HANDLER, Arc::new(process))
        }
        None => Runtimes::new(Arc::new(process)),
    })
}

/// Containers of our own.
fn oci(args: &RuntimeArgs, data_dir: &Path, shim: ShimCommand, clock: &Clock) -> Result<OciRuntime> {
    let (pods, images) = (pods_dir(data_dir), image::images_dir(data_dir));
    let shims = ProcessRuntime::new(pods.clone(), shim, clock.clone())
        .with_context(|| format!("cannot use {} for the pods of this machine", pods.display()))?;
    let store = Store::open(&images).with_context(|| format!("cannot use {} for images", images.display()))?;
    store.clean().with_context(|| format!("cannot tidy up the images in {}", images.display()))?;
    let registry = Registry::new().context("cannot read this machine's certificate authorities")?;
    let network =
        Network { configurations: args.cni_conf_dir.clone(), plugins: args.cni_bin_dirs.clone(), ..Network::default() };
    Ok(OciRuntime::new(shims, StoredImages { store, registry: Arc::new(registry) }, network))
}

/// The handler of a RuntimeClass whose pods are host processes, on machines with containers.
const PROCESS_HANDLER: &str = "process";

/// The container runtime of this machine; `None` if there is none and none was asked for.
async fn cri(args: &RuntimeArgs, data_dir: &Path) -> Result<Option<CriRuntime>> {
    let usual = || backstay_cri::SOCKETS.map(PathBuf::from).into_iter().filter(|socket| socket.exists()).collect();
    let sockets: Vec<PathBuf> = args.cri_socket.clone().map_or_else(usual, |socket| vec![socket]);
    let is_wanted = args.kind == Runtime::Cri || args.cri_socket.is_some();
    let mut refused = None;
    for socket in sockets {
        let owner = data_dir.display().to_string();
        match CriRuntime::connect(CriConfig::new(socket, owner, data_dir.join("seccomp"))).await {
            Ok(runtime) => return Ok(Some(runtime)),
            Err(error) if is_wanted => refused = Some(error),
            Err(error) => tracing::info!(%error, "this container runtime is not used"),
        }
    }
    match refused {
        Some(error) => Err(error.into()),
        None if is_wanted => bail!(
            "no container runtime listens at {}: start containerd or CRI-O, or name its socket with --cri-socket",
            backstay_cri::SOCKETS.join(" or ")
        ),
        None => Ok(None),
    }
}

/// Starts the agent of this machine in the control plane's process.
pub async fn start(plane: &mut ControlPlane, name: String, args: &RuntimeArgs) -> Result<()> {
    let data_dir = plane.data_dir.join("node");
    let mut place = Place::take(&data_dir)?;
    let runtimes = runtimes(args, &data_dir, &plane.clock).await?;
    place.keep();
    let streams = NodeStreams::new(runtimes.clone(), pods_dir(&data_dir));
    plane.reach.set_local(name.clone(), streams.clone());
    if let Some(announced) = &plane.announced {
        let ours = [plane.url.clone(), announced.clone()];
        let reached = Reached { node: name.clone(), ours, authority: plane.pki.clone(), clock: plane.clock.clone() };
        let (entropy, stopping) = (plane.entropy.clone(), plane.stopping());
        plane.spawn(async move {
            tokio::select! {
                () = reached.keep(streams, entropy) => {}
                () = stopping => {}
            }
        });
    }
    let config = NodeConfig {
        name: name.clone(),
        runtimes,
        clock: plane.clock.clone(),
        entropy: plane.entropy.clone(),
        machine: Machine::this(&data_dir),
        data_dir,
        addresses: Vec::new(),
        labels: Vec::new(),
        sysctls_allowed: args.sysctls_allowed.clone(),
    };
    let client = plane.client(&format!("system:node:{name}"), &["system:nodes"]);
    let server = Server { url: Some(plane.url.clone()), client };
    let running = backstay_node::run(Servers::in_order(vec![server]), config, plane.stopping());
    plane.spawn(async move {
        running.await;
        drop(place);
    });
    Ok(())
}

/// How the other servers reach the node of a control plane: as that of an agent, over connections that it opens to them.
struct Reached {
    node: String,
    /// The addresses of its own server.
    ours: [String; 2],
    authority: Arc<Pki>,
    clock: Clock,
}

/// The certificate for it lives in memory alone, and is made anew long before it runs out.
const CERTIFICATE_DAYS: i64 = 60;
const RENEW_AFTER: Duration = Duration::from_secs(30 * 24 * 3600);
/// After a failure of the authority, which has just vouched for the server itself.
const RETRY: Duration = Duration::from_secs(60);

impl Reached {
    async fn keep(&self, streams: NodeStreams, entropy: Entropy) {
        let others =
            |announced: BTreeSet<String>| announced.into_iter().filter(|url| !self.ours.contains(url)).collect();
        loop {
            let servers = async {
                let credentials = self.credentials()?;
                anyhow::Ok((credentials.servers(&entropy).await?, credentials))
            };
            match servers.await {
                Ok((servers, credentials)) => tokio::select! {
                    () = tunnel::run(servers.clone(), &self.node, streams.clone(), entropy.clone()) => {}
                    () = credentials.follow(&servers, &entropy, others) => {}
                    () = tokio::time::sleep(RENEW_AFTER) => {}
                },
                Err(error) => {
                    tracing::warn!(error = format!("{error:#}"), "other servers cannot reach this node; will retry");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    fn credentials(&self) -> Result<Credentials> {
        let subject = Subject::client(&format!("system:node:{}", self.node), &["system:nodes"]);
        let authority = &self.authority.authority;
        let pair = authority.issue(&subject, self.clock.now(), CERTIFICATE_DAYS)?;
        Ok(Credentials {
            servers: vec![self.ours[0].clone()],
            announced: Vec::new(),
            node: self.node.clone(),
            ca_pem: authority.pair().certificate_pem.clone(),
            certificate_pem: pair.certificate_pem,
            key_pem: pair.key_pem,
        })
    }
}
