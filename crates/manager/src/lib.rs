//! The driver of the controllers: watches, plans, writes.
//!
//! [`run`] starts one [`inform::Hub`] (a list and watch per resource, shared) and one task per controller. A controller
//! is a loop: it hears batches of changes, asks its pure planner what to do, begins the writes as tasks of their own,
//! and hears how they ended. It never waits for the network in between. To add one: give it a module with an
//! `async fn run` that takes the [`Context`] and the [`inform::Feed`] that it hears, and start it in [`run`].
//!
//! All I/O goes through one `kube::Client`; time is tokio's and the [`Config`]'s clock, so that a whole cluster runs on
//! a paused clock from one seed.

pub mod api;
pub mod binding;
pub mod certificates;
mod cluster_roles;
pub mod context;
pub mod daemonset;
pub mod events;
mod garbage;
pub mod inform;
mod jobs;
mod lease;
pub mod metrics;
mod namespaces;
mod node_lifecycle;
mod pod_gc;
mod queue;
mod taint_eviction;

pub use lease::{LeaseConfig, while_leading};

use std::sync::Arc;
use std::time::Duration;

use backstay_api::{Clock, Entropy};
use jiff::SignedDuration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use api::Api;
use context::Context;
use inform::Hub;
use lease::Candidate;
use metrics::Metrics;

/// Which controllers run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Controllers {
    /// All that a cluster needs, where nobody else runs any.
    #[default]
    All,
    /// DaemonSets and the binding of pods; nodes, namespaces and garbage are somebody else's.
    DaemonSets,
}

/// How the controllers run.
#[derive(Clone)]
pub struct Config {
    pub controllers: Controllers,
    pub clock: Clock,
    /// For jitter.
    pub entropy: Entropy,
    pub metrics: Arc<Metrics>,
    /// Work only while holding this Lease: for several servers over one store, and on clusters of others.
    pub lease: Option<LeaseConfig>,
    /// A node is given up after so long without a sign of life.
    pub node_grace: SignedDuration,
    /// Signs certificates of nodes; without it nobody does.
    pub authority: Option<Arc<dyn certificates::Authority>>,
}

impl Config {
    pub fn new(clock: Clock, entropy: Entropy) -> Self {
        let (controllers, metrics) = (Controllers::All, Arc::default());
        Self { controllers, clock, entropy, metrics, lease: None, node_grace: node_lifecycle::GRACE, authority: None }
    }
}

/// Whom `managedFields` names as the writer.
const FIELD_MANAGER: &str = "kube-controller-manager";
/// A bug that strikes again at once must not burn a processor.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// Runs the controllers until `shutdown` resolves; with a Lease, whenever we hold it. Writes that are under way when they
/// stop are abandoned: what they were for will be found again.
pub async fn run(client: kube::Client, config: Config, shutdown: impl Future<Output = ()>) {
    let api = Api::new(client, FIELD_MANAGER);
    let mut candidate = config
        .lease
        .clone()
        .map(|lease| Candidate::new(api.clone(), config.clock.clone(), config.entropy.clone(), lease));
    let mut tasks = JoinSet::new();
    tokio::select! {
        biased;
        () = shutdown => {}
        () = lead(&api, &config, candidate.as_mut(), &mut tasks) => {}
    }
    // Not only told to end, but ended: whoever called us may take the server away now.
    tasks.shutdown().await;
    if let Some(candidate) = &mut candidate {
        candidate.release().await;
    }
}

/// Works for ever; only while the Lease is held, if there is one to hold.
async fn lead(api: &Api, config: &Config, mut candidate: Option<&mut Candidate>, tasks: &mut JoinSet<()>) {
    loop {
        tasks.shutdown().await;
        let Some(candidate) = &mut candidate else {
            work(api, config, tasks).await;
            continue;
        };
        candidate.acquire().await;
        tracing::info!("took the lease; the controllers start");
        tokio::select! {
            biased;
            () = candidate.hold() => tracing::error!("lost the lease; the controllers stop"),
            () = work(api, config, tasks) => {}
        }
    }
}

/// Runs the controllers, as tasks, until one of them breaks down. They begin anew from what the API holds, so that
/// starting over is always safe.
async fn work(api: &Api, config: &Config, tasks: &mut JoinSet<()>) {
    let Config { clock, entropy, metrics, node_grace, .. } = config.clone();
    let (recorder, write_events) = events::recorder(api.clone(), clock.clone(), metrics.clone());
    let stop = CancellationToken::new();
    let _stop_when_dropped = stop.clone().drop_guard();
    let (api, steady) = (api.clone(), steady(&clock));
    let context = Context { api, clock, steady, entropy, recorder, metrics, node_grace, shutdown: stop };
    start(tasks, &context, config);
    tasks.spawn(write_events);
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "a controller broke down; all begin anew");
            tokio::time::sleep(RESTART_PAUSE).await;
            return;
        }
    }
}

/// A clock that goes on from what this one says, whatever becomes of that.
fn steady(clock: &Clock) -> Clock {
    let (begun, since) = (clock.now(), tokio::time::Instant::now());
    Clock::new(move || begun.saturating_add(since.elapsed()).expect("a duration is never out of range when saturating"))
}

/// At that time; never, if there is none.
async fn at(time: Option<tokio::time::Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

fn start(tasks: &mut JoinSet<()>, context: &Context, config: &Config) {
    let mut hub = Hub::default();
    tasks.spawn(daemonset::run(context.clone(), daemonset::Inputs::of(&mut hub)));
    tasks.spawn(binding::run(context.clone(), hub.nodes.listen(), hub.pods.listen()));
    if let Some(authority) = config.authority.clone() {
        tasks.spawn(certificates::run(context.clone(), authority, hub.certificate_requests.listen()));
    }
    if config.controllers == Controllers::All {
        tasks.spawn(garbage::run(context.clone()));
        tasks.spawn(cluster_roles::run(context.clone(), hub.cluster_roles.listen()));
        tasks.spawn(namespaces::run(context.clone(), hub.namespaces.listen()));
        tasks.spawn(node_lifecycle::run(context.clone(), hub.node_reports.listen(), hub.renewals.listen()));
        tasks.spawn(taint_eviction::run(context.clone(), hub.nodes.listen(), hub.pods.listen()));
        tasks.spawn(pod_gc::run(context.clone(), hub.nodes.listen(), hub.pods.listen()));
    }
    hub.start(tasks, &context.api, &context.entropy, &context.metrics);
}
