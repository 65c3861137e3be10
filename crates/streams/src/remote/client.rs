//! The client's side of a remote command over WebSocket: a session, as if the command ran here.

use bytes::{Bytes, BytesMut};
use futures::FutureExt as _;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::sync::{mpsc, oneshot};

use super::Wanted;
use super::websocket::{CLOSE, ERROR, Encoding, RESIZE, STDERR, STDIN, STDOUT};
use crate::events::CHUNK_BYTES;
use crate::session::{BoxDuplex, BoxRead, BoxWrite, Reason, Session, StreamError, TerminalSize};
use crate::websocket::frame::Sender;
use crate::websocket::{self, Receiver, Transmitter};

/// What to ask for, best first. Only the first can end standard input.
pub const PROTOCOLS: [&str; 2] = ["v5.channel.k8s.io", "v4.channel.k8s.io"];

/// The session of a connection that has been upgraded.
pub fn session(io: BoxDuplex, protocol: &str, wanted: Wanted) -> Session {
    let (transmitter, receiver) = websocket::connection(io, Sender::Server);
    let pipe = |open: bool| open.then(|| tokio::io::duplex(2 * CHUNK_BYTES)).unzip();
    let (stdin, stdin_end) = pipe(wanted.stdin);
    let (stdout, stdout_end) = pipe(wanted.stdout);
    let (stderr, stderr_end) = pipe(wanted.stderr);
    let (resize, sizes) = wanted.tty.then(|| mpsc::channel(4)).unzip();
    let (mut exit, exited) = oneshot::channel();
    let closes = protocol == PROTOCOLS[0];
    tokio::spawn(async move {
        let talk = async {
            tokio::select! {
                ended = receive(receiver, stdout_end, stderr_end) => ended,
                () = feed(&transmitter, stdin_end, sizes, closes) => Err(lost()),
            }
        };
        tokio::select! {
            ended = talk => drop(exit.send(ended)),
            () = exit.closed() => {}
        }
        transmitter.close().await;
    });
    Session {
        stdin: stdin.map(|stdin| Box::new(stdin) as BoxWrite),
        stdout: stdout.map(|stdout| Box::new(stdout) as BoxRead),
        stderr: stderr.map(|stderr| Box::new(stderr) as BoxRead),
        resize,
        exit: Some(exited.map(|ended| ended.unwrap_or_else(|_| Err(lost()))).boxed()),
    }
}

fn lost() -> StreamError {
    StreamError::new(Reason::Unreachable, "lost the connection to the server")
}

async fn receive(
    mut receiver: Receiver,
    mut stdout: Option<DuplexStream>,
    mut stderr: Option<DuplexStream>,
) -> Result<i32, StreamError> {
    while let Ok(Some(message)) = receiver.next().await {
        match Encoding::Binary.read(message) {
            Some((STDOUT, piece)) => deliver(&mut stdout, &piece).await,
            Some((STDERR, piece)) => deliver(&mut stderr, &piece).await,
            Some((ERROR, status)) if !status.is_empty() => return ending(&status),
            _ => {}
        }
    }
    Err(lost())
}

/// Nobody may want to read any more.
async fn deliver(output: &mut Option<DuplexStream>, piece: &[u8]) {
    if let Some(writer) = output
        && writer.write_all(piece).await.is_err()
    {
        *output = None;
    }
}

/// Ends with the connection only.
async fn feed(
    transmitter: &Transmitter,
    mut stdin: Option<DuplexStream>,
    mut sizes: Option<mpsc::Receiver<TerminalSize>>,
    closes: bool,
) {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(CHUNK_BYTES);
        let message = tokio::select! {
            size = next(&mut sizes) => {
                let size = serde_json::to_vec(&size).unwrap_or_default();
                Encoding::Binary.write(RESIZE, &size)
            }
            read = read(&mut stdin, &mut buffer) => match read {
                1.. => Encoding::Binary.write(STDIN, &buffer.split()),
                0 => {
                    stdin = None;
                    if !closes {
                        continue;
                    }
                    Encoding::Binary.write(CLOSE, &[STDIN])
                }
            }
        };
        if transmitter.send(message).await.is_err() {
            return;
        }
    }
}

/// Waits for ever once there are no more.
async fn next<T>(receiver: &mut Option<mpsc::Receiver<T>>) -> T {
    if let Some(open) = receiver
        && let Some(value) = open.recv().await
    {
        return value;
    }
    *receiver = None;
    std::future::pending().await
}

/// 0 once at the end; after that it waits for ever.
async fn read(from: &mut Option<DuplexStream>, buffer: &mut BytesMut) -> usize {
    match from {
        Some(from) => from.read_buf(buffer).await.unwrap_or(0),
        None => std::future::pending().await,
    }
}

/// What a status on the error channel says.
fn ending(status: &Bytes) -> Result<i32, StreamError> {
    let failed = |message: &str| Err(StreamError::failed(message));
    let Ok(value) = serde_json::from_slice::<Value>(status) else {
        return failed(&String::from_utf8_lossy(status));
    };
    if value["status"] == "Success" {
        return Ok(0);
    }
    if value["reason"] == "NonZeroExitCode" {
        let causes = value["details"]["causes"].as_array().map(Vec::as_slice).unwrap_or_default();
        let code =
            causes.iter().find(|cause| cause["reason"] == "ExitCode").and_then(|cause| cause["message"].as_str());
        if let Some(code) = code.and_then(|code| code.parse().ok()) {
            return Ok(code);
        }
    }
    failed(value["message"].as_str().unwrap_or("the command failed, and the server does not say why"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::{self, Ending};

    #[test]
    fn endings_are_understood() {
        for exit in [Ok(0), Ok(3)] {
            assert_eq!(ending(&remote::ending(Ending::Status, &exit)), exit);
        }
        let broken = Err(StreamError::failed("it broke"));
        let seen = ending(&remote::ending(Ending::Status, &broken)).unwrap_err();
        assert_eq!(seen.message, "Internal error occurred: it broke");
        assert_eq!(ending(&"text".into()).unwrap_err().message, "text");
    }

    /// Both sides of the protocol: a command that echoes, until its input ends.
    #[tokio::test]
    async fn a_session_at_both_ends() {
        let (here, there) = tokio::io::duplex(4096);
        let (input, mut typed) = tokio::io::duplex(4096);
        let (mut printed, output) = tokio::io::duplex(4096);
        let command = tokio::spawn(async move {
            tokio::io::copy(&mut typed, &mut printed).await.unwrap();
            5
        });
        let exit = async move { Ok(command.await.unwrap()) }.boxed();
        let (stdin, stdout): (BoxWrite, BoxRead) = (Box::new(input), Box::new(output));
        let served = Session { stdin: Some(stdin), stdout: Some(stdout), stderr: None, resize: None, exit: Some(exit) };
        let wanted = Wanted { stdin: true, stdout: true, ..Wanted::default() };
        tokio::spawn(remote::websocket::serve(Box::new(there), PROTOCOLS[0], wanted, served));
        let mut session = session(Box::new(here), PROTOCOLS[0], wanted);
        let mut stdin = session.stdin.take().unwrap();
        stdin.write_all(b"hello").await.unwrap();
        stdin.shutdown().await.unwrap();
        let mut got = String::new();
        session.stdout.take().unwrap().read_to_string(&mut got).await.unwrap();
        assert_eq!((got.as_str(), session.exit.unwrap().await), ("hello", Ok(5)));
    }
}
