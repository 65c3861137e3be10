//! What a client may ask of a container.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A container of a pod, as its node knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    pub namespace: String,
    pub pod: String,
    pub uid: String,
    pub container: String,
}

/// One thing that is asked of a node, with everything it needs for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum StreamRequest {
    Logs(LogRequest),
    Exec { target: Target, request: ExecRequest },
    Attach { target: Target, request: AttachRequest },
    PortForward(PortForwardRequest),
}

/// Which lines of a container's log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogRequest {
    pub target: Target,
    /// Stays open and sends what is written later, until the container ends.
    pub follow: bool,
    /// The container's life before this one.
    pub previous: bool,
    /// The last so many lines; all if none.
    pub tail_lines: Option<u64>,
    pub limit_bytes: Option<u64>,
    /// Only what was written since then.
    pub since: Option<Timestamp>,
    /// Every line begins with the time it was written.
    pub timestamps: bool,
    /// Only what went to this stream; both if none.
    pub stream: Option<LogStream>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogStream {
    Stdout,
    Stderr,
}

/// A command to be run beside a container's own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecRequest {
    /// The program and its arguments; never empty.
    pub command: Vec<String>,
    pub stdin: bool,
    pub stdout: bool,
    /// Never together with `tty`, whose one output is `stdout`.
    pub stderr: bool,
    /// On a terminal of its own.
    pub tty: bool,
}

/// The streams of the container's own command.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachRequest {
    /// Nothing is sent unless the container has `stdin: true`.
    pub stdin: bool,
    pub stdout: bool,
    /// Never together with `tty`.
    pub stderr: bool,
    /// The container has a terminal, whose size may be changed.
    pub tty: bool,
}

/// One connection to a port of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortForwardRequest {
    pub namespace: String,
    pub pod: String,
    pub uid: String,
    pub port: u16,
}
