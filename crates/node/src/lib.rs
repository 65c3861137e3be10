//! The agent: what runs the pods of one node, or of thousands of simulated ones.
//!
//! [`lifecycle`] decides, purely; [`runtime`] is the port to whatever runs containers, [`process`] its first
//! implementation. [`run`] drives one node, [`simulated::run`] a whole fleet. Knows nothing of the server's inside: it
//! speaks through [`servers::Servers`], each a `kube::Client`.

mod admission;
mod agent;
mod client;
pub mod image_gc;
pub mod join;
pub mod lifecycle;
pub mod logs;
mod machine;
pub mod pod_inputs;
pub mod pressure;
pub mod process;
pub mod runtime;
pub mod servers;
pub mod simulated;
mod status;
pub mod streams;
mod tls;
mod transitions;
mod wait;
mod watch;

pub use agent::{NodeConfig, pods_dir, run};
pub use machine::{Machine, own_address};
