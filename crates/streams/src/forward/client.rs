//! The client's side of a port-forward over SPDY.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::BytesMut;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, split};

use crate::events::CHUNK_BYTES;
use crate::session::BoxDuplex;
use crate::spdy::{self, Connection, Stream};
use crate::websocket;
use crate::websocket::frame::Sender;

/// A connection that has been upgraded, for any number of forwarded ones.
pub struct Forwarder {
    connection: Connection,
    requests: AtomicU64,
}

impl Forwarder {
    pub fn new(io: BoxDuplex) -> Self {
        let (connection, _streams) = spdy::client(io);
        Self { connection, requests: AtomicU64::new(0) }
    }

    /// Over a WebSocket.
    pub fn tunnelled(io: BoxDuplex) -> Self {
        let (transmitter, receiver) = websocket::connection(io, Sender::Server);
        Self::new(Box::new(websocket::tunnel(transmitter, receiver)))
    }

    /// Lets a local connection and a port of the pod talk to each other.
    ///
    /// # Errors
    /// What the server says about it, or that it is gone.
    pub async fn forward(&self, local: BoxDuplex, port: u16) -> Result<(), String> {
        let request = self.requests.fetch_add(1, Ordering::Relaxed).to_string();
        let open = async |kind: &str| {
            let headers = [("streamtype", kind), ("port", &port.to_string()), ("requestid", &request)];
            let headers = headers.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
            self.connection.open(headers).await.map_err(|error| error.to_string())
        };
        // In this order: servers know old clients by it.
        let Stream { receiver: mut errors, transmitter, .. } = open("error").await?;
        transmitter.finish().await;
        let Stream { receiver: mut pieces, transmitter, .. } = open("data").await?;
        let (mut reader, mut writer) = split(local);
        let to_server = async {
            let mut buffer = BytesMut::new();
            loop {
                buffer.reserve(CHUNK_BYTES);
                if matches!(reader.read_buf(&mut buffer).await, Ok(0) | Err(_)) {
                    break;
                }
                if transmitter.send(buffer.split().freeze()).await.is_err() {
                    return;
                }
            }
            transmitter.end().await;
            std::future::pending::<()>().await;
        };
        let to_local = async {
            while let Some(piece) = pieces.next().await {
                if writer.write_all(&piece).await.is_err() {
                    return false;
                }
            }
            // It is dropped right after, which says the same.
            let _ = writer.shutdown().await;
            true
        };
        let whole = tokio::select! {
            () = to_server => true,
            whole = to_local => whole,
        };
        if !whole {
            // Nobody is there to read the rest of it.
            transmitter.reset().await;
            return Ok(());
        }
        transmitter.end().await;
        let mut complaint = Vec::new();
        while let Some(piece) = errors.next().await {
            complaint.extend_from_slice(&piece);
        }
        if complaint.is_empty() { Ok(()) } else { Err(String::from_utf8_lossy(&complaint).into_owned()) }
    }

    /// Returns once the connection has ended.
    pub async fn closed(&self) {
        self.connection.closed().await;
    }
}
