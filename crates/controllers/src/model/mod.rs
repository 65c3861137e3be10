//! Objects as the planners see them: only what planning needs, with every choice of the wire format resolved.

pub mod daemonset;
pub mod meta;
pub mod node;
pub mod pod;
pub mod revision;
pub(crate) mod wire;

pub use daemonset::{Count, DaemonSet, DaemonSetStatus, UpdateStrategy};
pub use meta::{Controller, Meta, ObjectRef};
pub use node::Node;
pub use pod::{Phase, Pod, Readiness, Scheduling};
pub use revision::ControllerRevision;

/// An object of the API in its slim form.
pub trait Object: Sized + Send + Sync + 'static {
    fn meta(&self) -> &Meta;

    /// Reads the object from the JSON the API serves.
    ///
    /// # Errors
    /// Broken JSON, and values of another type than the API serves in a field that planning reads.
    fn from_json(json: &[u8]) -> Result<Self, serde_json::Error>;
}
