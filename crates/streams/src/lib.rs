//! Bytes between a client and a container: what can be asked for, and the session that comes of it.
//!
//! Knows nothing of pods beyond their names, of permissions, or of how a container is run.

pub mod carry;
pub mod events;
pub mod forward;
pub mod frame;
pub mod remote;
pub mod request;
pub mod session;
pub mod spdy;
pub mod websocket;

/// What an agent asks its connection to a server to be turned into: HTTP/2, on which the server asks, a CONNECT for each
/// session.
pub const TUNNEL: &str = "backstay-tunnel/1";

pub use request::{AttachRequest, ExecRequest, LogRequest, PortForwardRequest, StreamRequest, Target};
pub use session::{BoxDuplex, BoxRead, BoxWrite, Duplex, Reason, Session, StreamError, TerminalSize};
