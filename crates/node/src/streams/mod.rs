//! Bytes between clients and the containers of this node: the streaming part of the port to runtimes, and the service
//! that stands before it.

mod service;
pub mod tunnel;

pub use backstay_streams::{AttachRequest, BoxDuplex, BoxRead, BoxWrite, ExecRequest, Reason, Session};
pub use backstay_streams::{StreamError, TerminalSize};
pub use service::NodeStreams;
