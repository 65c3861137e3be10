//! The agent: what runs the pods of one node, or of thousands of simulated ones.
//!
//! [`lifecycle`] decides, purely; `runtime` is the port to whatever runs containers; the drivers stand between
//! them and the API server. Knows nothing of the server's inside: it speaks through a `kube::Client`.

mod client;
pub mod lifecycle;
mod machine;
pub mod process;
pub mod runtime;
pub mod simulated;
mod status;
mod watch;
