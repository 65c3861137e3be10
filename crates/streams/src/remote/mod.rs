//! Remote commands (exec, attach) as clients of Kubernetes speak of them.

pub mod client;
pub mod spdy;
pub mod websocket;

use bytes::{Bytes, BytesMut};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::mpsc;

use crate::carry::close;
use crate::events::Inputs;
use crate::session::{BoxWrite, Reason, StreamError, TerminalSize};

/// A client that asks for an upgrade and then opens no streams does not keep a command waiting longer.
const STREAMS_WITHIN: std::time::Duration = std::time::Duration::from_secs(30);
/// One size is some thirty bytes.
const SIZES_BYTES_MAX: usize = 4096;

/// Which streams a client has asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
    pub tty: bool,
}

/// How an ending is told on the error channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// As a `Status`, success too: since version 4 of the protocol.
    Status,
    /// As the text of an error; nothing at all in case of success.
    Text,
}

/// What the error channel says at the end.
pub fn ending(form: Ending, exit: &Result<i32, StreamError>) -> Bytes {
    let status = status(exit);
    match (form, exit) {
        (Ending::Status, _) => status.to_string().into(),
        (Ending::Text, Ok(0)) => Bytes::new(),
        (Ending::Text, _) => status["message"].as_str().unwrap_or_default().to_string().into(),
    }
}

fn status(exit: &Result<i32, StreamError>) -> Value {
    match exit {
        Ok(0) => json!({ "metadata": {}, "status": "Success" }),
        Ok(code) => json!({
            "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
            "message": format!("command terminated with non-zero exit code: exit status {code}"),
            "details": { "causes": [{ "reason": "ExitCode", "message": code.to_string() }] },
        }),
        Err(error) => {
            let (reason, code) = match error.reason {
                Reason::BadRequest => ("BadRequest", 400),
                Reason::NotFound => ("NotFound", 404),
                Reason::NotSupported | Reason::Unreachable | Reason::Failed => ("InternalError", 500),
            };
            json!({
                "metadata": {}, "status": "Failure", "reason": reason, "code": code,
                "message": format!("Internal error occurred: {}", error.message),
                "details": { "causes": [{ "message": error.message }] },
            })
        }
    }
}

/// Input of a session, fed piece by piece.
struct Feed {
    stdin: Option<BoxWrite>,
    resize: Option<mpsc::Sender<TerminalSize>>,
    sizes: Sizes,
}

impl Feed {
    fn new(inputs: Inputs) -> Self {
        Self { stdin: inputs.stdin, resize: inputs.resize, sizes: Sizes::default() }
    }

    async fn type_in(&mut self, piece: &[u8]) {
        let Some(stdin) = &mut self.stdin else { return };
        // A command that reads no more of its input may go on without it.
        if stdin.write_all(piece).await.is_err() || stdin.flush().await.is_err() {
            self.stdin = None;
        }
    }

    async fn end(&mut self) {
        close(&mut self.stdin).await;
    }

    async fn resize(&mut self, piece: &[u8]) {
        for size in self.sizes.take(piece) {
            if let Some(resize) = &self.resize {
                // The terminal may be gone already.
                let _ = resize.send(size).await;
            }
        }
    }
}

/// Sizes of a terminal, as JSON objects one after the other.
#[derive(Default)]
struct Sizes {
    bytes: BytesMut,
}

impl Sizes {
    /// What has come whole by now. What makes no sense is dropped.
    fn take(&mut self, piece: &[u8]) -> Vec<TerminalSize> {
        self.bytes.extend_from_slice(piece);
        let mut values = serde_json::Deserializer::from_slice(&self.bytes).into_iter::<TerminalSize>();
        let (mut sizes, mut nonsense) = (Vec::new(), false);
        for size in values.by_ref() {
            match size {
                Ok(size) => sizes.push(size),
                // The rest may still come. Asking for more would count it as taken.
                Err(error) => {
                    nonsense = !error.is_eof();
                    break;
                }
            }
        }
        let taken = values.byte_offset();
        if nonsense || self.bytes.len() - taken > SIZES_BYTES_MAX {
            self.bytes.clear();
        } else {
            let _ = self.bytes.split_to(taken);
        }
        sizes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endings() {
        let check = |form, exit: Result<i32, StreamError>, expected: &str| {
            assert_eq!(ending(form, &exit), expected, "{exit:?}");
        };
        check(Ending::Status, Ok(0), r#"{"metadata":{},"status":"Success"}"#);
        check(Ending::Text, Ok(0), "");
        check(Ending::Text, Ok(3), "command terminated with non-zero exit code: exit status 3");
        check(
            Ending::Status,
            Ok(3),
            r#"{"details":{"causes":[{"message":"3","reason":"ExitCode"}]},"message":"command terminated with non-zero exit code: exit status 3","metadata":{},"reason":"NonZeroExitCode","status":"Failure"}"#,
        );
        check(Ending::Text, Err(StreamError::failed("it broke")), "Internal error occurred: it broke");
    }

    #[test]
    fn sizes_of_a_terminal() {
        let size = |width, height| TerminalSize { width, height };
        let mut sizes = Sizes::default();
        let mut check = |piece: &str, expected: &[TerminalSize]| {
            assert_eq!(sizes.take(piece.as_bytes()), expected, "{piece}");
        };
        check(r#"{"Width":80,"Height":24}"#, &[size(80, 24)]);
        check("\n{\"Width\":1,", &[]);
        check("\"Height\":2}{\"Width\":3,\"Height\":4}\n", &[size(1, 2), size(3, 4)]);
        check("nonsense", &[]);
        check(r#"{"Width":5,"Height":6}"#, &[size(5, 6)]);
        check(r#"{"Width":70000,"Height":6}"#, &[]);
        check(&format!("[{}", " ".repeat(5000)), &[]);
        check(r#"{"Width":7,"Height":8}"#, &[size(7, 8)]);
    }
}
