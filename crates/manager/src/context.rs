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
    /// What time it is: for what is written, and for what others have written.
    pub clock: Clock,
    /// The same until somebody sets the clock: for everything that takes its time, however late it is said to be.
    pub steady: Clock,
    pub entropy: Entropy,
    pub recorder: Recorder,
    pub metrics: Arc<Metrics>,
    /// A node is given up after so long without a sign of life.
    pub node_grace: SignedDuration,
    /// Cancelled when the controller is to stop. What it has begun may be abandoned: it will be found again.
    pub shutdown: CancellationToken,
}
