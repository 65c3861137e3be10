//! The streaming part of the port to runtimes: exec with its streams open, attach, port-forward.

pub use backstay_streams::{AttachRequest, BoxDuplex, BoxRead, BoxWrite, ExecRequest, Reason, Session};
pub use backstay_streams::{StreamError, TerminalSize};
