//! The control plane in one process: store, API server, listener, controllers, simulated nodes.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use backstay_api::managed::TrackedFrom;
use backstay_api::validation::Policy;
use backstay_api::{Clock, Entropy, servers};
use backstay_apiserver::pki::Pki;
use backstay_apiserver::tokens;
use backstay_apiserver::{ApiServer, Config, UserInfo, as_user, kubeconfig, listen};
use backstay_manager::{LeaseConfig, while_leading};
use backstay_store::Store;
use jiff::{SignedDuration, Timestamp};
use kube::Client;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::info;

use crate::announce::Announcement;
use crate::args::{ControlPlaneArgs, ManagedFieldsFrom};
use crate::reach::Reach;
use crate::signer::Signer;
use crate::{data_dir, store};

/// What stopping may take altogether; the contract promises 5 s.
const STOP: Duration = Duration::from_secs(4);

/// A control plane that serves, until [`ControlPlane::stop`].
pub struct ControlPlane {
    pub url: String,
    pub kubeconfig: PathBuf,
    pub data_dir: PathBuf,
    pub clock: Clock,
    pub entropy: Entropy,
    router: Router,
    store: Arc<dyn Store>,
    pub pki: Arc<Pki>,
    leader_elect: bool,
    /// Where machines reach this server, if they are told: it may be one of several then.
    pub announced: Option<String>,
    /// How nodes are reached; knows this machine's once its agent has begun.
    pub reach: Arc<Reach>,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl ControlPlane {
    /// Starts everything; returns once `/readyz` answers ok and the kubeconfig is written.
    pub async fn start(args: &ControlPlaneArgs) -> Result<Self> {
        // Containers start in directories of their own: for them, a relative path would lead elsewhere.
        let data_dir = std::path::absolute(args.data_dir.clone().unwrap_or_else(data_dir::default))?;
        let listener =
            TcpListener::bind(args.listen).await.with_context(|| format!("cannot listen on {}", args.listen))?;
        let address = reachable(listener.local_addr()?);
        let (clock, entropy) = (Clock::new(Timestamp::now), Entropy::new(rand::random));
        let store = store::open(args, &data_dir, entropy.clone(), clock.now()).await?;
        let mut hosts = backstay_apiserver::pki::server_hosts(args.listen.ip(), &host_name());
        hosts.extend(args.tls_san.iter().cloned());
        hosts.extend(args.advertise_url.as_deref().and_then(servers::host).map(String::from));
        if args.listen.ip().is_unspecified() {
            hosts.push(backstay_node::own_address());
        }
        let pki = Arc::new(Pki::open(&data_dir.join("pki"), &hosts, clock.now())?);

        let mut config = Config::new(store.clone());
        let reach = Arc::new(Reach::new(store.clone(), config.tunnels.clone()));
        (config.clock, config.entropy) = (clock.clone(), entropy.clone());
        config.pod_access = reach.clone();
        config.root_ca = Some(pki.authority.pair().certificate_pem.clone());
        config.tokens = Some(Arc::new(tokens::Signer::open(&data_dir.join("pki"), clock.now())?));
        config.disabled_admission_plugins = args.disable_admission_plugins.clone();
        config.event_ttl = args.event_ttl;
        config.tracked_from = match args.managed_fields_from {
            ManagedFieldsFrom::Create => TrackedFrom::Create,
            ManagedFieldsFrom::FirstApply => TrackedFrom::FirstApply,
        };
        config.policy = Policy { allow_privileged: args.allow_privileged };
        let server = ApiServer::new(config)?;
        server.bootstrap().await?;

        let (stop, _) = watch::channel(false);
        let mut plane = Self {
            url: format!("https://{address}"),
            kubeconfig: args.kubeconfig.clone().unwrap_or_else(|| data_dir.join("admin.kubeconfig")),
            data_dir,
            clock,
            entropy,
            router: server.router(),
            leader_elect: args.leader_elect.unwrap_or_else(|| store.is_shared()),
            store,
            pki: pki.clone(),
            announced: None,
            reach,
            stop,
            tasks: JoinSet::new(),
        };
        let tls = listen::tls(&pki)?;
        let stopped = plane.stop.subscribe();
        plane.tasks.spawn(listen::serve(listener, tls, plane.router.clone(), stopped));
        let stopping = plane.stopping();
        plane.tasks.spawn(async move { server.upkeep(stopping).await });
        plane.run_controllers(args.node_monitor_grace_period);
        plane.run_simulated_nodes(args.simulated_nodes);
        plane.ready().await?;
        match &args.advertise_url {
            Some(url) => plane.announce(url.clone()).await,
            None if plane.store.is_shared() => plane.announce(own_url(address, args.listen)).await,
            None => {}
        }
        kubeconfig::write(&plane.kubeconfig, &plane.url, &pki.authority.pair().certificate_pem, &pki.admin)
            .with_context(|| format!("cannot write the kubeconfig {}", plane.kubeconfig.display()))?;
        Ok(plane)
    }

    /// A client in this process, as the given user.
    pub fn client(&self, user: &str, groups: &[&str]) -> Client {
        Client::new(as_user(self.router.clone(), UserInfo::new(user, groups)), "default")
    }

    /// Ends when the control plane is being stopped.
    pub fn stopping(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut stopped = self.stop.subscribe();
        async move {
            // An error means that the sender is gone, which is an end too.
            let _ = stopped.wait_for(|stopped| *stopped).await;
        }
    }

    /// Runs a part of the fleet that ends by itself when the control plane is being stopped.
    pub fn spawn(&mut self, part: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(part);
    }

    fn run_controllers(&mut self, node_grace: SignedDuration) {
        let client = self.client("system:kube-controller-manager", &["system:masters"]);
        let mut config = backstay_manager::Config::new(self.clock.clone(), self.entropy.clone());
        config.node_grace = node_grace;
        config.lease = self.lease("backstay-controllers");
        config.authority = Some(Arc::new(Signer(self.pki.clone())));
        self.tasks.spawn(backstay_manager::run(client, config, self.stopping()));
    }

    fn run_simulated_nodes(&mut self, nodes: u32) {
        if nodes == 0 {
            return;
        }
        let config = backstay_node::simulated::FleetConfig {
            nodes: nodes as usize,
            clock: self.clock.clone(),
            entropy: self.entropy.clone(),
        };
        let client = self.client("system:simulated-nodes", &["system:masters"]);
        let Some(lease) = self.lease("backstay-simulated-nodes") else {
            self.tasks.spawn(backstay_node::simulated::run(client, config, self.stopping()));
            return;
        };
        let (clock, entropy, electing) = (self.clock.clone(), self.entropy.clone(), client.clone());
        let run = move || backstay_node::simulated::run(client.clone(), config.clone(), std::future::pending());
        self.tasks.spawn(while_leading(electing, clock, entropy, lease, run, self.stopping()));
    }

    /// Of several servers over one store, one does what must be done once. `None`: whoever is asked does it.
    fn lease(&self, name: &str) -> Option<LeaseConfig> {
        let identity = format!("{}_{}", host_name(), self.entropy.uuid());
        self.leader_elect.then(|| LeaseConfig::new("kube-system", name, &identity))
    }

    /// Lets machines know of this server.
    async fn announce(&mut self, url: String) {
        let client = self.client("system:apiserver", &["system:masters"]);
        let holder = format!("{}_{}", host_name(), self.entropy.uuid());
        self.announced = Some(url.clone());
        let mut announcement = Announcement::new(client, self.clock.clone(), url, holder);
        // Whoever waits for the ready line may count on it.
        announcement.renew().await;
        let stopping = self.stopping();
        self.tasks.spawn(async move {
            tokio::select! {
                () = announcement.keep() => {}
                () = stopping => {}
            }
        });
    }

    async fn ready(&self) -> Result<()> {
        let client = self.client("system:apiserver", &["system:masters"]);
        let request = http::Request::get("/readyz").body(Vec::new())?;
        client.request_text(request).await.context("the server did not become ready")?;
        Ok(())
    }

    /// Stops in order: no new requests, controllers and nodes end, then the store.
    pub async fn stop(mut self) {
        info!("stopping");
        self.stop.send_replace(true);
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(STOP, ended).await.is_err() {
            self.tasks.abort_all();
        }
        self.store.close().await;
    }
}

/// The address that clients on other machines use.
fn own_url(address: SocketAddr, listen: SocketAddr) -> String {
    match backstay_node::own_address().parse::<IpAddr>() {
        Ok(own) if listen.ip().is_unspecified() => format!("https://{}", SocketAddr::new(own, address.port())),
        _ => format!("https://{address}"),
    }
}

/// The address that clients on this machine use: a wildcard is reached through loopback.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        ip if !ip.is_unspecified() => address,
        std::net::IpAddr::V4(_) => (std::net::Ipv4Addr::LOCALHOST, address.port()).into(),
        std::net::IpAddr::V6(_) => (std::net::Ipv6Addr::LOCALHOST, address.port()).into(),
    }
}

pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().to_lowercase()
}
