//! The runtime `cri` as users know it: a server, an agent, and a real containerd.

#[path = "../../cri/tests/support/daemon.rs"]
mod daemon;
mod support;

#[path = "containers/details.rs"]
mod details;
#[path = "containers/faults.rs"]
mod faults;
#[path = "containers/lifecycle.rs"]
mod lifecycle;
#[path = "containers/rollout.rs"]
mod rollout;
#[path = "containers/volumes.rs"]
mod volumes;
#[path = "containers/world.rs"]
mod world;
