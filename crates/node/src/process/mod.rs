//! Containers as supervised processes of this machine: no image, no root file system of their own.
//!
//! Each container has a *shim*: this binary executed again as a small single-threaded process that starts the command,
//! writes its log, waits for it, and leaves the exit code on disk. Shims and containers do not notice when the agent
//! goes; the next one finds them again by what lies in the pod's directory ([`layout`]).
//!
//! Volumes appear at their mount paths in a mount namespace that only the container sees (root only). A mount path
//! that does not exist on the host is created there, as a container runtime would in an image, and removed when the last
//! pod that needs it is gone. Without root there are no mounts; `BACKSTAY_VOLUME_DIR` names the directory in which the
//! pod's volumes lie, by name, in either case.

mod alive;
mod cgroup;
pub mod layout;
mod output;
mod remove;
mod runtime;
mod shim;
pub mod signals;
mod starting;
mod strays;
mod streams;

pub use alive::KnownProcess;
pub use runtime::{ProcessRuntime, ShimCommand};
pub use shim::{Enclosure, shim_main, shim_main_with};
pub use streams::Terminal;
