//! A session carried over one connection: [`ask`] on the server's side, [`answer`] on the node's.

use std::io;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::FutureExt as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream, split};
use tokio::sync::{mpsc, oneshot};

use crate::events::{self, CHUNK_BYTES, Event, Inputs, Output};
use crate::frame::{Frame, Kind};
use crate::request::StreamRequest;
use crate::session::{BoxDuplex, BoxWrite, Reason, Session, StreamError, TerminalSize};

/// How often the node's side looks whether the other one is still there, while there is nothing to say.
const PING: Duration = Duration::from_secs(10);
/// Between the task that speaks to the connection and the session's user.
const BUFFER_BYTES: usize = 2 * CHUNK_BYTES;

/// Opens sessions: a node's side of things.
#[async_trait]
pub trait Open: Send + Sync + 'static {
    async fn open(&self, request: StreamRequest) -> Result<Session, StreamError>;
}

/// Asks for a session on a fresh connection.
///
/// # Errors
/// What the other side says, or that it cannot be reached.
pub async fn ask(io: BoxDuplex, request: &StreamRequest) -> Result<Session, StreamError> {
    let (reader, writer) = split(io);
    let (mut frames, mut writer) = (Frames::new(reader), writer);
    let json = serde_json::to_vec(request).map_err(|error| lost(&error))?;
    send(&mut writer, Kind::Open, json).await.map_err(|error| lost(&error))?;
    match frames.next().await.map_err(|error| lost(&error))? {
        Some(Frame { kind: Kind::Opened, .. }) => {}
        Some(Frame { kind: Kind::Refused, payload }) => {
            return Err(serde_json::from_slice(&payload).unwrap_or_else(|error| lost(&error)));
        }
        Some(Frame { kind, .. }) => return Err(lost(&format!("it answered with {kind:?}"))),
        None => return Err(lost(&"the connection was closed")),
    }
    Ok(opened(frames, writer, &wanted(request)))
}

/// Which streams a request wants to have open.
struct Wanted {
    stdin: bool,
    stdout: bool,
    stderr: bool,
    tty: bool,
}

fn wanted(request: &StreamRequest) -> Wanted {
    match request {
        StreamRequest::Logs(_) => Wanted { stdin: false, stdout: true, stderr: false, tty: false },
        StreamRequest::PortForward(_) => Wanted { stdin: true, stdout: true, stderr: false, tty: false },
        StreamRequest::Exec { request, .. } => {
            Wanted { stdin: request.stdin, stdout: request.stdout, stderr: request.stderr, tty: request.tty }
        }
        StreamRequest::Attach { request, .. } => {
            Wanted { stdin: request.stdin, stdout: request.stdout, stderr: request.stderr, tty: request.tty }
        }
    }
}

fn opened<R, W>(frames: Frames<R>, writer: W, wanted: &Wanted) -> Session
where
    R: AsyncRead + Send + Unpin + 'static,
    W: AsyncWrite + Send + Unpin + 'static,
{
    let pipe = |open: bool| open.then(|| tokio::io::duplex(BUFFER_BYTES)).unzip();
    let (stdin, stdin_end) = pipe(wanted.stdin);
    let (stdout, stdout_end) = pipe(wanted.stdout);
    let (stderr, stderr_end) = pipe(wanted.stderr);
    let (resize, sizes) = wanted.tty.then(|| mpsc::channel(4)).unzip();
    let (mut exit, exited) = oneshot::channel();
    tokio::spawn(async move {
        let work = async {
            tokio::select! {
                ended = receive(frames, stdout_end, stderr_end) => ended,
                // Input may end long before the command does.
                error = feed(writer, stdin_end, sizes) => Err(lost(&error)),
            }
        };
        tokio::select! {
            ended = work => drop(exit.send(ended)),
            // Nobody is interested any more. The connection ends with this task, and the other side sees that.
            () = exit.closed() => {}
        }
    });
    Session {
        stdin: stdin.map(|stdin| Box::new(stdin) as BoxWrite),
        stdout: stdout.map(|stdout| Box::new(stdout) as _),
        stderr: stderr.map(|stderr| Box::new(stderr) as _),
        resize,
        exit: Some(exited.map(|ended| ended.unwrap_or_else(|error| Err(lost(&error)))).boxed()),
    }
}

/// Hands out what comes, until the exit.
async fn receive<R: AsyncRead + Unpin>(
    mut frames: Frames<R>,
    mut stdout: Option<DuplexStream>,
    mut stderr: Option<DuplexStream>,
) -> Result<i32, StreamError> {
    while let Some(frame) = frames.next().await.map_err(|error| lost(&error))? {
        match frame.kind {
            Kind::Stdout => deliver(&mut stdout, &frame.payload).await,
            Kind::Stderr => deliver(&mut stderr, &frame.payload).await,
            Kind::Exit => return serde_json::from_slice(&frame.payload).unwrap_or_else(|error| Err(lost(&error))),
            _ => {}
        }
    }
    Err(lost(&"the connection was closed"))
}

/// An empty piece ends the output. One that nobody reads is dropped.
async fn deliver(output: &mut Option<DuplexStream>, piece: &[u8]) {
    let Some(writer) = output else { return };
    if piece.is_empty() || writer.write_all(piece).await.is_err() {
        *output = None;
    }
}

/// Sends what the client types, and how large its terminal is. Ends only with an error.
async fn feed<W: AsyncWrite + Unpin>(
    mut writer: W,
    mut stdin: Option<DuplexStream>,
    mut sizes: Option<mpsc::Receiver<TerminalSize>>,
) -> io::Error {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(CHUNK_BYTES);
        let sent = tokio::select! {
            size = events::next(&mut sizes) => send(&mut writer, Kind::Resize, json(&size)).await,
            read = events::read(&mut stdin, &mut buffer) => {
                if read == 0 {
                    stdin = None;
                }
                send(&mut writer, Kind::Stdin, buffer.split().freeze()).await
            }
        };
        if let Err(error) = sent {
            return error;
        }
    }
}

/// Serves one connection: what it asks for, to its end.
///
/// # Errors
/// The other side is gone, or does not speak this.
pub async fn answer(io: BoxDuplex, node: &dyn Open) -> io::Result<()> {
    let (reader, mut writer) = split(io);
    let mut frames = Frames::new(reader);
    let request = match frames.next().await? {
        Some(Frame { kind: Kind::Open, payload }) => serde_json::from_slice(&payload)?,
        Some(frame) => return Err(invalid(format!("it begins with {:?}", frame.kind))),
        None => return Ok(()),
    };
    let opened = tokio::select! {
        biased;
        opened = node.open(request) => opened,
        // Who asks says nothing more before there is an answer: it has gone.
        gone = frames.next() => match gone? {
            None => return Ok(()),
            Some(frame) => return Err(invalid(format!("it goes on with {:?}", frame.kind))),
        },
    };
    let session = match opened {
        Ok(session) => session,
        Err(error) => {
            send(&mut writer, Kind::Refused, json(&error)).await?;
            return writer.shutdown().await;
        }
    };
    send(&mut writer, Kind::Opened, Bytes::new()).await?;
    serve(session, frames, writer).await
}

/// Lets a session and a connection talk to each other until the session ends, or the other side goes.
///
/// # Errors
/// The other side is gone, or does not speak this.
pub async fn serve<R, W>(session: Session, frames: Frames<R>, mut writer: W) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let (inputs, mut events) = events::split(session);
    let typing = take_input(inputs, frames);
    tokio::pin!(typing);
    loop {
        let event = tokio::select! {
            biased;
            // The other side has closed the connection: nobody listens.
            gone = &mut typing => return gone,
            event = tokio::time::timeout(PING, events.next()) => event,
        };
        match event {
            Err(_silence) => send(&mut writer, Kind::Ping, Bytes::new()).await?,
            Ok(Some(Event::Data(output, bytes))) => send(&mut writer, kind(output), bytes).await?,
            Ok(Some(Event::End(output))) => send(&mut writer, kind(output), Bytes::new()).await?,
            Ok(Some(Event::Exit(code))) => {
                send(&mut writer, Kind::Exit, json(&code)).await?;
                return writer.shutdown().await;
            }
            Ok(None) => return writer.shutdown().await,
        }
    }
}

fn kind(output: Output) -> Kind {
    match output {
        Output::Stdout => Kind::Stdout,
        Output::Stderr => Kind::Stderr,
    }
}

/// Feeds the session until the other side closes the connection.
async fn take_input<R: AsyncRead + Unpin>(mut inputs: Inputs, mut frames: Frames<R>) -> io::Result<()> {
    while let Some(frame) = frames.next().await? {
        match frame.kind {
            Kind::Stdin if frame.payload.is_empty() => close(&mut inputs.stdin).await,
            Kind::Stdin => {
                let Some(stdin) = &mut inputs.stdin else { continue };
                // A command that reads no more of its input may go on without it.
                if stdin.write_all(&frame.payload).await.is_err() || stdin.flush().await.is_err() {
                    inputs.stdin = None;
                }
            }
            Kind::Resize => {
                let size: TerminalSize = serde_json::from_slice(&frame.payload)?;
                if let Some(resize) = &inputs.resize {
                    // The terminal may be gone already.
                    let _ = resize.send(size).await;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// The end of the input.
pub async fn close(stdin: &mut Option<BoxWrite>) {
    if let Some(mut stdin) = stdin.take() {
        // It is dropped right after, which says the same.
        let _ = stdin.shutdown().await;
    }
}

async fn send<W: AsyncWrite + Unpin>(writer: &mut W, kind: Kind, payload: impl Into<Bytes>) -> io::Result<()> {
    writer.write_all(&Frame::new(kind, payload).encode()).await?;
    writer.flush().await
}

fn json<T: serde::Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("our own types have text keys and finite numbers")
}

fn lost(error: &dyn std::fmt::Display) -> StreamError {
    StreamError::new(Reason::Unreachable, format!("lost the connection to the node: {error}"))
}

fn invalid(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// The frames that come in on a connection.
pub struct Frames<R> {
    reader: R,
    bytes: BytesMut,
}

impl<R: AsyncRead + Unpin> Frames<R> {
    pub fn new(reader: R) -> Self {
        Self { reader, bytes: BytesMut::new() }
    }

    /// The next one; `None` at an orderly end. May be called again if it was not waited for to the end.
    ///
    /// # Errors
    /// If the connection breaks, within a frame too, or what comes is no frame.
    pub async fn next(&mut self) -> io::Result<Option<Frame>> {
        loop {
            let frame = Frame::decode(&mut self.bytes).map_err(|error| invalid(error.to_string()))?;
            if frame.is_some() {
                return Ok(frame);
            }
            self.bytes.reserve(CHUNK_BYTES);
            if self.reader.read_buf(&mut self.bytes).await? == 0 {
                return if self.bytes.is_empty() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A node that never comes to an end of it.
    struct Hangs;

    #[async_trait]
    impl Open for Hangs {
        async fn open(&self, _: StreamRequest) -> Result<Session, StreamError> {
            std::future::pending().await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_opened_for_who_has_left() {
        let (here, there) = tokio::io::duplex(1000);
        let answering = tokio::spawn(async move { answer(Box::new(there), &Hangs).await });
        let request = StreamRequest::PortForward(Default::default());
        let asked = tokio::time::timeout(Duration::from_secs(60), ask(Box::new(here), &request)).await;
        assert!(asked.is_err() && !answering.is_finished(), "as long as somebody waits");
        let ended = tokio::time::timeout(Duration::from_secs(60), answering).await;
        ended.expect("it goes on for nobody").unwrap().unwrap();
    }
}
