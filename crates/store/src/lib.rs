//! The Store port: one ordered, durable, watchable map from keys to encoded objects, and its engines.
//!
//! Knows nothing of HTTP or of what the bytes mean. Every engine passes the same conformance suite.
//!
//! [`MemoryStore`] is deterministic and forgets everything; [`EmbeddedStore`] keeps everything in one file. Both are
//! thin: what they share is [`front`] (published state, event logs, kept snapshots) and [`committer`] (checks
//! operations, gives revisions).

pub mod committer;
pub mod conformance;
pub mod embedded;
pub mod front;
pub mod index_bytes;
mod lanes;
mod log;
mod memory;
pub mod port;
mod splice;
mod state;

pub use embedded::{EmbeddedStore, OpenError};
pub use memory::MemoryStore;
pub use port::*;
pub use state::State;
