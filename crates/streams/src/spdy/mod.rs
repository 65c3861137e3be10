//! SPDY/3.1 connections as Kubernetes uses them: many streams of bytes over one, opened by the client.
//!
//! Clients are told how much more they may send; what they say about that themselves is not needed: each of ours waits for
//! the connection to take its bytes, as every client and server of Kubernetes does.

mod connection;
mod dictionary;
pub mod frame;
pub mod headers;

pub use connection::{Connection, Incoming, Receiver, Stream, Transmitter, client, server, silent_client};
