//! The Store port: one ordered, durable, watchable map from keys to encoded objects, and its engines.
//!
//! Knows nothing of HTTP or of what the bytes mean. Every engine passes the same conformance suite.

pub mod port;

pub use port::*;
