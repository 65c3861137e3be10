//! A session: the open streams of one request, from the side of whoever asked.

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

pub type BoxRead = Box<dyn AsyncRead + Send + Unpin>;
pub type BoxWrite = Box<dyn AsyncWrite + Send + Unpin>;
pub type BoxDuplex = Box<dyn Duplex>;

/// Bytes both ways, such as a connection.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// The open streams of a command, a container, a log or a connection.
///
/// Streams that were not asked for are `None`. Outputs end (read 0 bytes) when there will be no more of them; `exit` may
/// resolve before what was printed has been read. Dropping all of it, `exit` among it, says that nobody is interested
/// any more: its standard input and its terminal are closed, and a command that was run for this session alone is ended.
pub struct Session {
    /// Shutting it down is the end of the input.
    pub stdin: Option<BoxWrite>,
    pub stdout: Option<BoxRead>,
    pub stderr: Option<BoxRead>,
    /// Sizes of the client's terminal, if there is one.
    pub resize: Option<mpsc::Sender<TerminalSize>>,
    /// How it ended: the exit code of a command, 0 for everything else. `None`: it is over when its outputs are.
    pub exit: Option<BoxFuture<'static, Result<i32, StreamError>>>,
}

impl Session {
    /// A connection, such as to a port of a pod.
    pub fn connection(connection: BoxDuplex) -> Self {
        let (reader, writer) = tokio::io::split(connection);
        Self { stdin: Some(Box::new(writer)), stdout: Some(Box::new(reader)), stderr: None, resize: None, exit: None }
    }

    /// Something to be read, such as a log.
    pub fn output(reader: BoxRead) -> Self {
        Self { stdin: None, stdout: Some(reader), stderr: None, resize: None, exit: None }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct TerminalSize {
    pub width: u16,
    pub height: u16,
}

/// Why there is no session, or how one broke.
#[derive(Clone, Debug, Error, PartialEq, Eq, Serialize, Deserialize)]
#[error("{message}")]
pub struct StreamError {
    pub reason: Reason,
    /// For the client: what happened, to what.
    pub message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reason {
    /// The pod or container is not there, or not in a state for this.
    BadRequest,
    NotFound,
    /// The runtime of this node cannot do it.
    NotSupported,
    /// The node cannot be reached, or was lost.
    Unreachable,
    /// Something failed on the node: a command that cannot be started, a port that refuses.
    Failed,
}

impl StreamError {
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }

    /// `what` is not something that this runtime does.
    pub fn unsupported(what: &str, runtime: &str) -> Self {
        Self::new(Reason::NotSupported, format!("{what} is not supported by the runtime {runtime} of this node"))
    }

    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Reason::Failed, message)
    }
}
