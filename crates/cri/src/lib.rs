//! The runtime of machines with containerd or CRI-O: pods over CRI v1, on the runtime's own socket.
//!
//! `request` and `answer` translate, purely; `runtime` implements the port. What is to be
//! known about a container after a restart of the agent stands in its labels and annotations.

mod answer;
mod cgroup;
mod events;
mod images;
mod logs;
mod netns;
mod request;
mod runtime;
mod settings;
mod stop;
mod streams;
mod wire;

pub use runtime::{CriConfig, CriError, CriRuntime, SOCKETS};
