//! What a node does about one pod next: pure, from the pod, what its runtime shows, and the time.
//!
//! [`plan`] is called again whenever any of the three changes; running it twice does no harm. It knows nothing of
//! processes, files or the API server: `driver` carries its actions out, over any `runtime`.

pub mod conditions;
pub mod container_status;
pub mod facts;
mod haste;
pub mod observed;
mod planner;
pub mod probe;
pub mod restart;
pub mod status;
pub mod words;

#[cfg(test)]
mod tests;

pub use facts::{Container, Handler, Pod, Probe};
pub use haste::too_early;
pub use observed::{ContainerRecord, ContainerState, NodeEnd, Observed, PreStop, Sandbox, SetupError, StartError};
pub(crate) use planner::decide;
pub use planner::{Action, Plan, StopReason, WaitingOn, plan};
pub use probe::{ProbeKind, ProbeState};
