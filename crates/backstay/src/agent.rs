//! `backstay agent`: joins this machine to the servers of a fleet, and runs its pods from then on.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use backstay_api::{Clock, Entropy, time};
use backstay_node::join::{self, Credentials, Hash};
use backstay_node::servers::Servers;
use backstay_node::streams::{NodeStreams, tunnel};
use backstay_node::{Machine, NodeConfig, pods_dir};
use clap::Args;
use jiff::Timestamp;

use crate::args::{Runtime, RuntimeArgs};
use crate::node;
use crate::place::Place;

/// A renewal that did not succeed is tried again after this.
const RETRY: Duration = Duration::from_secs(60);
/// No timer sleeps longer: clocks are set right meanwhile.
const SLEEP_MAX: Duration = Duration::from_secs(3600);

/// Make this machine a node of a fleet, and run its pods
///
/// The token is needed once: with it, the agent asks for a certificate of its own, which it keeps in the data directory
/// and renews by itself. Pods go on running when the agent stops, and are adopted by the next one.
///
/// Of several servers, any will do: the agent asks one of them for as long as it answers, then another, and can be reached
/// through all of them.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  # As `backstay token create` prints it
  backstay agent --server https://10.0.0.1:6443 --token abcdef.0123456789abcdef --ca-cert-hash sha256:...

  # Again, after this machine has joined
  backstay agent

  # With another server of the same fleet, from now on
  backstay agent --server https://10.0.0.1:6443 --server https://10.0.0.2:6443")]
pub struct AgentArgs {
    /// The servers of the fleet to join [default: those that this machine has joined]
    #[arg(id = "server", long, value_name = "URL", value_delimiter = ',')]
    pub servers: Vec<String>,

    /// What `backstay token create` has printed; only to join
    #[arg(long, value_name = "TOKEN", env = "BACKSTAY_TOKEN", hide_env_values = true)]
    pub token: Option<String>,

    /// The server's certificate authority, in PEM form
    #[arg(long, value_name = "FILE", conflicts_with = "ca_cert_hash")]
    pub ca_cert: Option<PathBuf>,

    /// The hash of the public key of the server's certificate authority, as sha256:HEX
    #[arg(long, value_name = "HASH")]
    pub ca_cert_hash: Vec<String>,

    /// Name of this machine's node [default: the host name]
    #[arg(long, value_name = "NAME")]
    pub node_name: Option<String>,

    #[command(flatten)]
    pub runtime: RuntimeArgs,

    /// Where certificate, pods, their volumes and logs are kept [default: $XDG_STATE_HOME/backstay-agent, as root
    /// /var/lib/backstay-agent]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

pub async fn run(args: AgentArgs) -> Result<ExitCode> {
    if args.runtime.kind == Runtime::None {
        bail!("an agent without a runtime has nothing to do: choose another --runtime");
    }
    let data_dir = args.data_dir.clone().unwrap_or_else(crate::data_dir::agent);
    let data_dir = std::path::absolute(data_dir)?;
    let mut place = Place::take(&data_dir)?;
    node::check(&args.runtime, &data_dir)?;
    let (clock, entropy) = (Clock::new(Timestamp::now), Entropy::new(rand::random));
    let stopped = crate::serve::stopped()?;
    tokio::pin!(stopped);
    let mut credentials = tokio::select! {
        joined = credentials(&args, &data_dir, clock.now()) => joined?,
        () = &mut stopped => return Ok(ExitCode::SUCCESS),
    };
    place.keep();
    println!("backstay: node {} of {}", credentials.node, list(&credentials));
    let runtimes = node::runtimes(&args.runtime, &data_dir, &clock).await?;
    let streams = NodeStreams::new(runtimes.clone(), pods_dir(&data_dir));
    loop {
        let servers = credentials.servers(&entropy).await?;
        let config = NodeConfig {
            name: credentials.node.clone(),
            runtimes: runtimes.clone(),
            clock: clock.clone(),
            entropy: entropy.clone(),
            machine: Machine::this(&data_dir),
            data_dir: data_dir.clone(),
            addresses: Vec::new(),
            labels: Vec::new(),
            sysctls_allowed: args.runtime.sysctls_allowed.clone(),
        };
        let remembered = |announced| remembered(&credentials, announced, &data_dir);
        let stop = Arc::new(tokio::sync::Notify::new());
        let told = stop.clone();
        let running = backstay_node::run(servers.clone(), config, async move { told.notified().await });
        tokio::pin!(running);
        let renewed = tokio::select! {
            () = &mut running => None,
            () = crate::serve::let_go() => None,
            () = tunnel::run(servers.clone(), &credentials.node, streams.clone(), entropy.clone()) => None,
            () = credentials.follow(&servers, &entropy, remembered) => None,
            renewed = renewed(&credentials, &servers, &data_dir, &clock, &entropy) => Some(renewed),
            () = &mut stopped => {
                // If the whole machine is being switched off, its pods are ended first.
                stop.notify_one();
                running.await;
                return Ok(ExitCode::SUCCESS);
            }
        };
        if let Some(renewed) = renewed {
            credentials = renewed;
        }
    }
}

/// What this machine has kept, or gets for its token.
async fn credentials(args: &AgentArgs, data_dir: &Path, now: Timestamp) -> Result<Credentials> {
    let name = node::named(args.node_name.as_deref())?;
    let mut servers = join::addresses(&args.servers)?;
    let kept = match Credentials::load(data_dir) {
        // Joining anew is what the error asks for.
        Err(error) if args.token.is_some() => {
            tracing::warn!(%error, "this machine joins anew");
            None
        }
        kept => kept?,
    };
    let is_ours = |kept: &Credentials| kept.node == name && kept.is_of(&servers);
    let is_valid = |kept: &Credentials| kept.validity().is_ok_and(|(_, until)| now < until);
    if let Some(kept) = &kept
        && is_ours(kept)
        && is_valid(kept)
    {
        let mut kept = kept.clone();
        if !servers.is_empty() && servers != kept.servers {
            kept.servers = servers;
            kept.store(data_dir)?;
        }
        return Ok(kept);
    }
    let Some(token) = &args.token else {
        match kept {
            Some(kept) if !is_ours(&kept) => bail!(
                "this machine is node {:?} of {}: to make it another, join anew with --server and --token",
                kept.node,
                list(&kept)
            ),
            Some(_) => bail!("the certificate of this machine has run out: join anew with --server and --token"),
            None => bail!(
                "this machine has not joined a server: run `backstay token create` there, and the command that it \
                 prints here"
            ),
        }
    };
    if servers.is_empty() {
        bail!("--token needs --server, too: where to join");
    }
    let ca_pem = match (&args.ca_cert, args.ca_cert_hash.as_slice()) {
        (Some(file), _) => std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?,
        (None, []) => bail!("--token needs --ca-cert or --ca-cert-hash, too: how to know the server"),
        (None, hashes) => {
            let hashes: Result<Vec<Hash>, _> = hashes.iter().map(|hash| hash.parse::<Hash>()).collect();
            join::discover(&mut servers, &hashes?).await?
        }
    };
    let credentials = join::join(&servers, &ca_pem, token, &name).await?;
    credentials.store(data_dir)?;
    Ok(credentials)
}

fn list(credentials: &Credentials) -> String {
    credentials.all().map(String::as_str).collect::<Vec<_>>().join(", ")
}

/// The servers that have announced themselves, beside those that this machine was told of. The next agent begins with them.
fn remembered(held: &Credentials, announced: BTreeSet<String>, data_dir: &Path) -> Vec<String> {
    let announced = announced.into_iter().filter(|url| !held.servers.contains(url)).collect();
    let known = Credentials { announced, ..held.clone() };
    tracing::info!(servers = list(&known), "these are the servers now");
    if let Err(error) = known.store(data_dir) {
        tracing::warn!(error = &error as &dyn std::error::Error, "the servers are not remembered");
    }
    known.announced
}

/// Returns once there is a newer certificate, which is kept.
async fn renewed(
    held: &Credentials,
    servers: &Servers,
    data_dir: &Path,
    clock: &Clock,
    entropy: &Entropy,
) -> Credentials {
    let renew_at = match held.validity() {
        Ok((from, until)) => join::renew_at(from, until, entropy),
        Err(_) => clock.now(),
    };
    loop {
        let left = time::until(renew_at, clock.now());
        if !left.is_zero() {
            tokio::time::sleep(left.min(SLEEP_MAX)).await;
            continue;
        }
        let renewed = async {
            let renewed = join::renew(held, servers).await?;
            renewed.store(data_dir)?;
            Ok::<_, join::JoinError>(renewed)
        };
        match renewed.await {
            Ok(renewed) => {
                tracing::info!("the certificate of this node was renewed");
                return renewed;
            }
            Err(error) => tracing::warn!(%error, "the certificate of this node was not renewed; will retry"),
        }
        tokio::time::sleep(RETRY).await;
    }
}
