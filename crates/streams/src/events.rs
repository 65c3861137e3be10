//! What comes out of a session, in the order in which a client is to hear of it.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, DuplexStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::session::{BoxRead, BoxWrite, Session, StreamError, TerminalSize};

/// Read and sent at once: as much as a client of Kubernetes copies at a time.
pub const CHUNK_BYTES: usize = 32 * 1024;
/// Chunks that wait for a slow client; beyond them the command waits.
const CHUNKS_WAITING_MAX: usize = 4;
/// After its end, a command's output is over once nothing has come for so long: a process that it left behind may hold
/// the pipe open for ever.
const SILENCE: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    Stdout,
    Stderr,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Data(Output, Bytes),
    /// There will be no more of this output.
    End(Output),
    /// Always the last one.
    Exit(Result<i32, StreamError>),
}

/// Where input goes.
pub struct Inputs {
    pub stdin: Option<BoxWrite>,
    pub resize: Option<mpsc::Sender<TerminalSize>>,
}

/// Dropping them ends the session.
pub struct Events {
    receiver: mpsc::Receiver<Event>,
    task: JoinHandle<()>,
}

impl Events {
    /// The next one; `None` after the exit.
    pub async fn next(&mut self) -> Option<Event> {
        self.receiver.recv().await
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What is sent next; waits for ever once there is nothing more.
pub(crate) async fn next<T>(receiver: &mut Option<mpsc::Receiver<T>>) -> T {
    if let Some(open) = receiver
        && let Some(value) = open.recv().await
    {
        return value;
    }
    *receiver = None;
    std::future::pending().await
}

/// How much is written next, 0 at the end; waits for ever where there is nothing to read from.
pub(crate) async fn read(from: &mut Option<DuplexStream>, buffer: &mut BytesMut) -> usize {
    match from {
        // A pipe within a program does not break.
        Some(from) => from.read_buf(buffer).await.unwrap_or(0),
        None => std::future::pending().await,
    }
}

/// Takes a session apart and begins to read its outputs.
pub fn split(session: Session) -> (Inputs, Events) {
    let (sender, receiver) = mpsc::channel(CHUNKS_WAITING_MAX);
    let Session { stdin, stdout, stderr, resize, exit } = session;
    let task = tokio::spawn(async move {
        let (exited, seen) = watch::channel(false);
        let wait = async {
            let Some(exit) = exit else { return Ok(0) };
            let code = exit.await;
            exited.send_replace(true);
            code
        };
        let outputs = async {
            tokio::join!(
                copy(stdout, Output::Stdout, &sender, seen.clone()),
                copy(stderr, Output::Stderr, &sender, seen.clone())
            )
        };
        let (code, _) = tokio::join!(wait, outputs);
        // Nobody listens any more: then there is nobody to tell.
        let _ = sender.send(Event::Exit(code)).await;
    });
    (Inputs { stdin, resize }, Events { receiver, task })
}

async fn copy(from: Option<BoxRead>, name: Output, to: &mpsc::Sender<Event>, mut exited: watch::Receiver<bool>) {
    let Some(mut from) = from else { return };
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(CHUNK_BYTES);
        let silence = async {
            // The sender lives as long as this does.
            let _ = exited.wait_for(|exited| *exited).await;
            tokio::time::sleep(SILENCE).await;
        };
        let read = tokio::select! {
            biased;
            read = from.read_buf(&mut buffer) => read,
            () = silence => Ok(0),
        };
        // An output that breaks has ended; why, the exit will say.
        let count = read.unwrap_or(0);
        if count == 0 || to.send(Event::Data(name, buffer.split().freeze())).await.is_err() {
            break;
        }
    }
    let _ = to.send(Event::End(name)).await;
}
