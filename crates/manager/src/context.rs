//! What every controller is handed.

use std::sync::Arc;

use backstay_api::{Clock, Entropy};
use jiff::SignedDuration;
use tokio_util::sync::CancellationToken;

use crate::api::Api;
use crate::events::Recorder;
use crate::metrics::Metrics;

#[derive(Clone)]
pub struct Context {
    pub api: Api,
    pub clock: Clock,
    pub entropy: Entropy,
    pub recorder: Recorder,
    pub metrics: Arc<Metrics>,
    /// A node is given up after so long without a sign of life.
    pub node_grace: SignedDuration,
    /// Cancelled when the controller is to stop. What it has begun may be abandoned: it will be found again.
    pub shutdown: CancellationToken,
}
