//! What is in the API, kept up to date: list, watch, and a cache that knows its own writes.

mod cache;
mod hub;
mod lines;
mod reflector;

pub use cache::{Cache, Effect};
pub use hub::{Hub, Topic};
pub(crate) use reflector::{Listener, Reflector};

use std::sync::Arc;

use tokio::sync::mpsc;

/// What has happened in one resource.
#[derive(Debug)]
pub enum Change<T> {
    /// Everything there is, at this resource version. What is not in it is gone.
    Listed { objects: Vec<Arc<T>>, resource_version: u64 },
    /// An object was made or changed.
    Set(Arc<T>),
    /// An object is gone; this was its last state.
    Gone(Arc<T>),
}

/// Changes that were read together. Shared by all who listen.
pub type Batch<T> = Arc<Vec<Change<T>>>;

/// All that a controller hears of one resource.
pub type Feed<T> = mpsc::Receiver<Batch<T>>;
