//! The client's side of a remote command, over WebSocket or SPDY: a session, as if the command ran here.

use bytes::{Bytes, BytesMut};
use futures::FutureExt as _;
use serde_json::Value;
use tokio::io::{AsyncWriteExt as _, DuplexStream};
use tokio::sync::{mpsc, oneshot};

use super::Wanted;
use super::websocket::{CLOSE, ERROR, Encoding, RESIZE, STDERR, STDIN, STDOUT};
use crate::events::{self, CHUNK_BYTES};
use crate::session::{BoxDuplex, BoxRead, BoxWrite, Reason, Session, StreamError, TerminalSize};
use crate::spdy::{self, Stream};
use crate::websocket::frame::Sender;
use crate::websocket::{self, Receiver, Transmitter};

/// What to ask for, best first. Only the first can end standard input.
pub const PROTOCOLS: [&str; 2] = ["v5.channel.k8s.io", "v4.channel.k8s.io"];

/// The version to ask for over SPDY, where standard input ends with its stream.
pub const SPDY_PROTOCOL: &str = "v4.channel.k8s.io";

/// The session of a connection that has been turned into a WebSocket.
pub fn session(io: BoxDuplex, protocol: &str, wanted: Wanted) -> Session {
    let (transmitter, receiver) = websocket::connection(io, Sender::Server);
    let (session, Ends { stdin, stdout, stderr, sizes, mut exit }) = pipes(wanted);
    let closes = protocol == PROTOCOLS[0];
    tokio::spawn(async move {
        let talk = async {
            tokio::select! {
                ended = receive(receiver, stdout, stderr) => ended,
                () = feed(&transmitter, stdin, sizes, closes) => Err(lost()),
            }
        };
        tokio::select! {
            ended = talk => drop(exit.send(ended)),
            () = exit.closed() => {}
        }
        transmitter.close().await;
    });
    session
}

/// The session of a connection that has been turned into SPDY, with [`SPDY_PROTOCOL`].
///
/// # Errors
/// The connection breaks before the streams are open.
pub async fn spdy_session(io: BoxDuplex, wanted: Wanted) -> std::io::Result<Session> {
    let (connection, _incoming) = spdy::silent_client(io);
    let open = async |asked: bool, kind: &str| match asked {
        true => connection.open(vec![("streamtype".into(), kind.into())]).await.map(Some),
        false => Ok(None),
    };
    let errors = open(true, "error").await?;
    let input = open(wanted.stdin, "stdin").await?;
    let output = open(wanted.stdout, "stdout").await?;
    let error_output = open(wanted.stderr, "stderr").await?;
    let resize = open(wanted.tty, "resize").await?;
    let (session, Ends { stdin, stdout, stderr, sizes, mut exit }) = pipes(wanted);
    tokio::spawn(async move {
        let talk = async {
            let shown = async { tokio::join!(show(output, stdout), show(error_output, stderr)) };
            let (_, ended) = tokio::join!(shown, last_words(errors));
            ended
        };
        tokio::select! {
            ended = talk => drop(exit.send(ended)),
            () = feed_streams(input, stdin, resize, sizes) => {}
            () = exit.closed() => {}
        }
        connection.close().await;
    });
    Ok(session)
}

/// The other ends of a session's streams.
struct Ends {
    stdin: Option<DuplexStream>,
    stdout: Option<DuplexStream>,
    stderr: Option<DuplexStream>,
    sizes: Option<mpsc::Receiver<TerminalSize>>,
    exit: oneshot::Sender<Result<i32, StreamError>>,
}

fn pipes(wanted: Wanted) -> (Session, Ends) {
    let pipe = |open: bool| open.then(|| tokio::io::duplex(2 * CHUNK_BYTES)).unzip();
    let (stdin, stdin_end) = pipe(wanted.stdin);
    let (stdout, stdout_end) = pipe(wanted.stdout);
    let (stderr, stderr_end) = pipe(wanted.stderr);
    let (resize, sizes) = wanted.tty.then(|| mpsc::channel(4)).unzip();
    let (exit, exited) = oneshot::channel();
    let session = Session {
        stdin: stdin.map(|stdin| Box::new(stdin) as BoxWrite),
        stdout: stdout.map(|stdout| Box::new(stdout) as BoxRead),
        stderr: stderr.map(|stderr| Box::new(stderr) as BoxRead),
        resize,
        exit: Some(exited.map(|ended: Result<_, _>| ended.unwrap_or_else(|_| Err(lost()))).boxed()),
    };
    (session, Ends { stdin: stdin_end, stdout: stdout_end, stderr: stderr_end, sizes, exit })
}

async fn show(from: Option<Stream>, mut to: Option<DuplexStream>) {
    let Some(mut from) = from else { return };
    while let Some(piece) = from.receiver.next().await {
        deliver(&mut to, &piece).await;
    }
}

/// What the error stream says at the end.
async fn last_words(errors: Option<Stream>) -> Result<i32, StreamError> {
    let mut status = Vec::new();
    if let Some(mut errors) = errors {
        while let Some(piece) = errors.receiver.next().await {
            status.extend_from_slice(&piece);
        }
    }
    if status.is_empty() { Err(lost()) } else { ending(&status.into()) }
}

/// Never ends: input may, long before the command does.
async fn feed_streams(
    input: Option<Stream>,
    mut stdin: Option<DuplexStream>,
    resize: Option<Stream>,
    mut sizes: Option<mpsc::Receiver<TerminalSize>>,
) {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(CHUNK_BYTES);
        tokio::select! {
            size = events::next(&mut sizes) => {
                let size = serde_json::to_vec(&size).unwrap_or_default();
                if let Some(resize) = &resize {
                    // A broken connection is seen by who reads from it.
                    let _ = resize.transmitter.send(size.into()).await;
                }
            }
            count = events::read(&mut stdin, &mut buffer) => {
                let Some(input) = &input else { continue };
                if count == 0 {
                    stdin = None;
                    input.transmitter.end().await;
                } else if input.transmitter.send(buffer.split().freeze()).await.is_err() {
                    stdin = None;
                }
            }
        }
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
            size = events::next(&mut sizes) => {
                let size = serde_json::to_vec(&size).unwrap_or_default();
                Encoding::Binary.write(RESIZE, &size)
            }
            read = events::read(&mut stdin, &mut buffer) => match read {
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
    use tokio::io::AsyncReadExt as _;

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

    /// A command that echoes, until its input ends.
    fn echo() -> Session {
        let (input, mut typed) = tokio::io::duplex(4096);
        let (mut printed, output) = tokio::io::duplex(4096);
        let command = tokio::spawn(async move {
            tokio::io::copy(&mut typed, &mut printed).await.unwrap();
            5
        });
        let exit = async move { Ok(command.await.unwrap()) }.boxed();
        let (stdin, stdout): (BoxWrite, BoxRead) = (Box::new(input), Box::new(output));
        Session { stdin: Some(stdin), stdout: Some(stdout), stderr: None, resize: None, exit: Some(exit) }
    }

    #[tokio::test]
    async fn both_ends_of_a_websocket() {
        let (here, there) = tokio::io::duplex(4096);
        tokio::spawn(remote::websocket::serve(Box::new(there), PROTOCOLS[0], WANTED, echo()));
        check(session(Box::new(here), PROTOCOLS[0], WANTED)).await;
    }

    #[tokio::test]
    async fn both_ends_of_spdy() {
        let (here, there) = tokio::io::duplex(4096);
        tokio::spawn(remote::spdy::serve(Box::new(there), SPDY_PROTOCOL, WANTED, echo()));
        check(spdy_session(Box::new(here), WANTED).await.unwrap()).await;
    }

    const WANTED: Wanted = Wanted { stdin: true, stdout: true, stderr: false, tty: false };

    async fn check(mut session: Session) {
        let mut stdin = session.stdin.take().unwrap();
        stdin.write_all(b"hello").await.unwrap();
        stdin.shutdown().await.unwrap();
        let mut got = String::new();
        session.stdout.take().unwrap().read_to_string(&mut got).await.unwrap();
        assert_eq!((got.as_str(), session.exit.unwrap().await), ("hello", Ok(5)));
    }
}
