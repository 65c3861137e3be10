//! Port-forwards as clients of Kubernetes speak of them: connections to ports of a pod, many over one.

pub mod client;
pub mod spdy;
pub mod websocket;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::io::AsyncWriteExt as _;

use crate::carry::close;
use crate::events::{self, Event, Events, Inputs, Output};
use crate::session::{BoxWrite, Session, StreamError};

/// Connects to ports of one pod.
#[async_trait]
pub trait Dial: Send + Sync + 'static {
    async fn dial(&self, port: u16) -> Result<Session, StreamError>;

    /// What a client is told when a connection cannot be made.
    fn complaint(&self, port: u16, error: &StreamError) -> String;
}

/// An open connection: what is read from it, and where to write to it.
struct Opened {
    events: Events,
    target: Option<BoxWrite>,
}

impl Opened {
    fn new(session: Session) -> Self {
        let (Inputs { stdin, .. }, events) = events::split(session);
        Self { events, target: stdin }
    }
}

/// The next bytes of the target; `None` once it has closed.
async fn read(events: &mut Events) -> Option<Bytes> {
    loop {
        match events.next().await {
            Some(Event::Data(Output::Stdout, bytes)) => return Some(bytes),
            Some(Event::Data(Output::Stderr, _) | Event::End(Output::Stderr)) => {}
            // A connection that breaks has ended, too.
            Some(Event::End(Output::Stdout) | Event::Exit(_)) | None => return None,
        }
    }
}

/// A target that reads no more may still have something to say.
async fn write(target: &mut Option<BoxWrite>, bytes: &[u8]) {
    let Some(open) = target else { return };
    if open.write_all(bytes).await.is_err() || open.flush().await.is_err() {
        *target = None;
    }
}

async fn end(target: &mut Option<BoxWrite>) {
    close(target).await;
}
