//! Containers without a daemon: images from registries or files, unpacked into a store of our own, and run in overlays
//! by the shims of [`backstay_node::process`].
//!
//! [`store`] keeps images; [`registry`] fetches them; [`OciRuntime`] is the runtime port; [`shim_main`] is the shim that
//! encloses a command in its own root and namespaces. No AppArmor profile is ever applied: a pod that wants one is refused.

mod account;
mod container;
mod images;
pub mod network;
mod pause;
pub mod reference;
pub mod registry;
mod runtime;
mod seccomp;
pub mod store;
mod terminal;

pub use container::shim_main;
pub use images::StoredImages;
pub use network::Network;
pub use runtime::{OciRuntime, can_run};
pub use seccomp::check_profile;
