//! The whole cluster in one thread from one seed: real API server, real controllers, simulated nodes, virtual time, a
//! faulty network, and a checker that sees every commit.
//!
//! ```
//! use backstay_sim::{Faults, run};
//! use serde_json::json;
//!
//! run(42, 3, Faults::ROUGH, |cluster| async move {
//!     cluster.create("logs", "logs:v1", json!({ "maxUnavailable": 1 })).await;
//!     cluster.settle().await;
//!     cluster.set_image("logs", "logs:v2", "ready-after=2s").await;
//!     cluster.settle().await;
//! });
//! ```

pub mod check;
mod cluster;
mod faults;
mod time;

pub use cluster::{Cluster, run};
pub use faults::Faults;
