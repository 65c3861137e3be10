//! The driver of the controllers: watches, plans, writes.
//!
//! [`run`] starts one [`inform::Hub`] (a list and watch per resource, shared) and one task per controller. A controller
//! is a loop: it hears batches of changes, asks its pure planner what to do, begins the writes as tasks of their own,
//! and hears how they ended. It never waits for the network in between. To add one: give it a module with
//! `Inputs::of(&mut Hub)` and `async fn run(Context, Inputs)`, and start it in [`run`].
//!
//! All I/O goes through one `kube::Client`; time is tokio's and the [`Config`]'s clock, so that a whole cluster runs on
//! a paused clock from one seed.

pub mod api;
pub mod binding;
pub mod context;
pub mod daemonset;
pub mod events;
pub mod inform;
pub mod metrics;

use std::sync::Arc;

use backstay_api::{Clock, Entropy};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use api::Api;
use context::Context;
use inform::Hub;
use metrics::Metrics;

/// How the controllers run.
#[derive(Clone)]
pub struct Config {
    pub clock: Clock,
    /// For jitter.
    pub entropy: Entropy,
    pub metrics: Arc<Metrics>,
}

impl Config {
    pub fn new(clock: Clock, entropy: Entropy) -> Self {
        Self { clock, entropy, metrics: Arc::default() }
    }
}

/// Whom `managedFields` names as the writer.
const FIELD_MANAGER: &str = "kube-controller-manager";

/// Runs the controllers until `shutdown` resolves. Writes that are under way then are abandoned.
pub async fn run(client: kube::Client, config: Config, shutdown: impl Future<Output = ()>) {
    let Config { clock, entropy, metrics } = config;
    let api = Api::new(client, FIELD_MANAGER);
    let (recorder, write_events) = events::recorder(api.clone(), clock.clone(), metrics.clone());
    let stop = CancellationToken::new();
    let context = Context { api, clock, entropy, recorder, metrics, shutdown: stop.clone() };
    let mut tasks = JoinSet::new();
    start(&mut tasks, &context);
    tasks.spawn(write_events);
    shutdown.await;
    stop.cancel();
    tasks.shutdown().await;
}

fn start(tasks: &mut JoinSet<()>, context: &Context) {
    let mut hub = Hub::default();
    tasks.spawn(daemonset::run(context.clone(), daemonset::Inputs::of(&mut hub)));
    tasks.spawn(binding::run(context.clone(), binding::Inputs::of(&mut hub)));
    hub.start(tasks, &context.api, &context.entropy, &context.metrics);
}
