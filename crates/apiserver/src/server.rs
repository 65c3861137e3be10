//! The server: what it is given, what its requests share, and its router.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use backstay_api::managed::TrackedFrom;
use backstay_api::validation::Policy;
use backstay_api::{Clock, Entropy, Status};
use backstay_store::Store;
use http::Request;
use jiff::SignedDuration;

use crate::UserInfo;
use crate::accounts::{self, Accounts};
use crate::admission::{Plugins, UnknownPlugin};
use crate::authn::known::Known;
use crate::authz::Authorizer;
use crate::bootstrap::{self, BootstrapError};
use crate::catalog::Catalog;
use crate::custom;
use crate::encode;
use crate::gate::Gate;
use crate::openapi::OpenApi;
use crate::pipeline;
use crate::pods::PodAccess;
use crate::services;
use crate::system::metrics::Metrics;
use crate::tokens::Signer;
use crate::tunnel::Tunnels;
use crate::upkeep;

/// What a server is made of. Everything but the store has a default.
pub struct Config {
    pub store: Arc<dyn Store>,
    pub clock: Clock,
    pub entropy: Entropy,
    /// How nodes are reached; through the tunnels, unless there are other ways.
    pub pod_access: Arc<dyn PodAccess>,
    /// Takes the connections that agents open.
    pub tunnels: Arc<Tunnels>,
    /// Signs and recognises service account tokens; without it, none can be asked for.
    pub tokens: Option<Arc<Signer>>,
    /// The certificate authority by which pods recognise this server, PEM.
    pub root_ca: Option<String>,
    /// Names of admission plugins to leave out.
    pub disabled_admission_plugins: Vec<String>,
    /// What the objects of this server may ask for.
    pub policy: Policy,
    /// From when on objects have `managedFields`.
    pub tracked_from: TrackedFrom,
    /// How long an event is kept after it was last written. Source: `--event-ttl`.
    pub event_ttl: SignedDuration,
    pub limits: Limits,
}

/// What a server puts up with.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Longest request body. Source: `MaxRequestBodyBytes` of kube-apiserver.
    pub body_bytes_max: usize,
    /// Longest path and query together.
    pub uri_bytes_max: usize,
    /// Requests at once, watches and signs of life apart. Source: `--max-requests-inflight` and
    /// `--max-mutating-requests-inflight` together.
    pub requests_max: usize,
    /// Of these, reads; and writes. Either leaves some for the other.
    pub reads_max: usize,
    pub writes_max: usize,
    /// Signs of life at once: those of 5,000 nodes come at 500 a second, and each takes as long as a disk.
    pub leases_max: usize,
    /// Requests that wait for one of these to end, signs of life apart. Two for every node of the largest cluster.
    pub waiting_max: usize,
    /// Of these, from one user: as many as a connection carries. What waits is memory that is cold when its turn comes,
    /// and has a cost for everybody.
    pub waiting_per_user_max: usize,
    /// Watches and logs that one user follows at once: three for every node of the largest cluster, if all of them came
    /// as the same user.
    pub streams_per_user_max: usize,
    /// A request that is not a watch gets so long. Source: `--request-timeout`.
    pub request_lasts_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes_max: 3 << 20,
            uri_bytes_max: 64 << 10,
            requests_max: 600,
            reads_max: 450,
            writes_max: 450,
            leases_max: 500,
            waiting_max: 10_000,
            waiting_per_user_max: 1_000,
            streams_per_user_max: 15_000,
            request_lasts_max: Duration::from_secs(60),
        }
    }
}

impl Config {
    /// A server over this store, with the system's clock and randomness.
    pub fn new(store: Arc<dyn Store>) -> Self {
        let tunnels = Arc::new(Tunnels::default());
        Self {
            store,
            clock: Clock::new(jiff::Timestamp::now),
            entropy: Entropy::new(rand::random),
            pod_access: tunnels.clone(),
            tunnels,
            tokens: None,
            root_ca: None,
            disabled_admission_plugins: Vec::new(),
            policy: Policy::default(),
            tracked_from: TrackedFrom::default(),
            event_ttl: SignedDuration::from_hours(1),
            limits: Limits::default(),
        }
    }
}

/// Why a server could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Bootstrap(#[from] BootstrapError),
    #[error("cannot write what the objects in the store ask for: accounts of namespaces, the state of definitions")]
    Upkeep(#[from] Status),
}

/// What all requests share.
pub struct Core {
    pub store: Arc<dyn Store>,
    pub clock: Clock,
    pub entropy: Entropy,
    pub authorizer: Authorizer,
    pub pod_access: Arc<dyn PodAccess>,
    pub tunnels: Arc<Tunnels>,
    pub tokens: Option<Arc<Signer>>,
    pub known_tokens: Known,
    pub admission: Plugins,
    pub policy: Policy,
    pub tracked_from: TrackedFrom,
    pub event_ttl: SignedDuration,
    /// None if the `ServiceAccount` admission is switched off.
    pub accounts: Option<Accounts>,
    pub catalog: Catalog,
    /// Who asks without credentials.
    pub nobody: Arc<UserInfo>,
    /// Held while a definition is given its names.
    pub definitions: custom::Lock,
    /// Held while addresses of services are handed out.
    pub addresses: services::Lock,
    pub openapi: OpenApi,
    pub limits: Limits,
    pub gate: Gate,
    pub metrics: Metrics,
}

/// A Kubernetes API over a store.
#[derive(Clone)]
pub struct ApiServer {
    core: Arc<Core>,
}

impl ApiServer {
    /// # Errors
    /// An admission plugin to leave out that does not exist.
    pub fn new(config: Config) -> Result<Self, UnknownPlugin> {
        let with_accounts = !config.disabled_admission_plugins.iter().any(|name| name == "ServiceAccount");
        let core = Core {
            accounts: with_accounts.then_some(Accounts { root_ca: config.root_ca }),
            admission: Plugins::without(&config.disabled_admission_plugins)?,
            policy: config.policy,
            tracked_from: config.tracked_from,
            event_ttl: config.event_ttl,
            authorizer: Authorizer::new(config.store.clone()),
            clock: config.clock,
            entropy: config.entropy,
            pod_access: config.pod_access,
            tunnels: config.tunnels,
            tokens: config.tokens,
            known_tokens: Known::default(),
            catalog: Catalog::new(config.store.clone()),
            nobody: Arc::new(UserInfo::anonymous()),
            definitions: custom::Lock::default(),
            addresses: services::Lock::default(),
            openapi: OpenApi::default(),
            gate: Gate::new(&config.limits),
            metrics: Metrics::default(),
            limits: config.limits,
            store: config.store,
        };
        Ok(Self { core: Arc::new(core) })
    }

    /// Writes the objects that exist in every cluster from its first start, as far as they are missing. To be called
    /// before the first request.
    ///
    /// # Errors
    /// The first write that the store refuses.
    pub async fn bootstrap(&self) -> Result<(), StartError> {
        let Core { store, clock, entropy, .. } = &*self.core;
        bootstrap::run(&**store, &bootstrap::Writer { encode: &encode::for_store, clock, entropy }).await?;
        accounts::ensure_everywhere(&self.core).await?;
        custom::follow::pass(&self.core).await?;
        Ok(())
    }

    /// What the server does without being asked, such as forgetting old events. Runs until `stop`; to be run beside the
    /// listener.
    pub async fn upkeep(&self, stop: impl Future<Output = ()>) {
        upkeep::run(&self.core, stop).await;
    }

    /// The service, for a listener or to be called in-process. Who asks is an `Arc` of a [`UserInfo`] among the request's
    /// extensions; a request without one is anonymous.
    pub fn router(&self) -> Router {
        let core = self.core.clone();
        Router::new().fallback(move |request: Request<Body>| pipeline::run(core.clone(), request))
    }
}

/// The same service, with every request sent as this user: for clients in the same process.
pub fn as_user(router: Router, user: UserInfo) -> Router {
    router.layer(axum::Extension(Arc::new(user)))
}
