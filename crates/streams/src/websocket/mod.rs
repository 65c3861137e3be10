//! WebSocket connections, after the upgrade.

pub mod frame;

use std::io;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, ReadHalf, WriteHalf};
use tokio::sync::mpsc;

use self::frame::{Assembler, Frame, Opcode, Sender};
use crate::events::CHUNK_BYTES;
use crate::session::BoxDuplex;

/// Appended to a client's key before it is hashed. Source: RFC 6455, section 1.3.
const KEY_SUFFIX: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// Messages that wait for a slow peer.
const WAITING_MAX: usize = 8;
/// Closed in an orderly way. Source: section 7.4.1.
const NORMAL: [u8; 2] = 1000_u16.to_be_bytes();

/// What is hashed to answer a client's key: SHA-1 of it, in base64, is the header `Sec-WebSocket-Accept`.
pub fn accept_key(key: &str) -> String {
    use base64::Engine as _;
    use sha1::{Digest as _, Sha1};
    base64::engine::general_purpose::STANDARD.encode(Sha1::digest(format!("{key}{KEY_SUFFIX}")))
}

/// One message, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    Text(Bytes),
    Binary(Bytes),
}

/// Reads messages, and answers pings.
pub struct Receiver {
    reader: ReadHalf<BoxDuplex>,
    bytes: BytesMut,
    assembler: Assembler,
    from: Sender,
    outgoing: mpsc::Sender<Frame>,
}

/// Sends messages; may be copied.
#[derive(Clone)]
pub struct Transmitter {
    outgoing: mpsc::Sender<Frame>,
}

/// Over a connection that has been upgraded. `peer`: which of the two the other side is.
pub fn connection(io: BoxDuplex, peer: Sender) -> (Transmitter, Receiver) {
    let (reader, writer) = tokio::io::split(io);
    let (outgoing, frames) = mpsc::channel(WAITING_MAX);
    tokio::spawn(write(writer, frames, peer));
    let receiver = Receiver {
        reader,
        bytes: BytesMut::new(),
        assembler: Assembler::default(),
        from: peer,
        outgoing: outgoing.clone(),
    };
    (Transmitter { outgoing }, receiver)
}

/// Ends when nobody sends any more, or after the frame that closes the connection.
async fn write(mut writer: WriteHalf<BoxDuplex>, mut frames: mpsc::Receiver<Frame>, peer: Sender) {
    while let Some(frame) = frames.recv().await {
        let mask = (peer == Sender::Server).then(rand::random);
        let last = frame.opcode == Opcode::Close;
        // The reader sees a broken connection as well.
        if writer.write_all(&frame.encode(mask)).await.is_err() || writer.flush().await.is_err() {
            return;
        }
        if last {
            break;
        }
    }
    let _ = writer.shutdown().await;
}

impl Transmitter {
    /// # Errors
    /// The connection is closed.
    pub async fn send(&self, message: Message) -> io::Result<()> {
        let (opcode, payload) = match message {
            Message::Text(payload) => (Opcode::Text, payload),
            Message::Binary(payload) => (Opcode::Binary, payload),
        };
        self.frame(Frame::message(opcode, payload)).await
    }

    /// Asks whether the other side is there; its answer needs no attention.
    ///
    /// # Errors
    /// The connection is closed.
    pub async fn ping(&self) -> io::Result<()> {
        self.frame(Frame::message(Opcode::Ping, Bytes::new())).await
    }

    /// Says that nothing more will come.
    pub async fn close(&self) {
        // One that is closed already is fine.
        let _ = self.frame(Frame::message(Opcode::Close, Bytes::from_static(&NORMAL))).await;
    }

    async fn frame(&self, frame: Frame) -> io::Result<()> {
        self.outgoing.send(frame).await.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Receiver {
    /// The next message; `None` once the other side has closed. May be called again if it was not waited for to the end.
    ///
    /// # Errors
    /// If the connection breaks, or what comes is no WebSocket.
    pub async fn next(&mut self) -> io::Result<Option<Message>> {
        loop {
            match Frame::decode(&mut self.bytes, self.from).map_err(invalid)? {
                Some(frame) => match self.take(frame)? {
                    Some(Frame { opcode: Opcode::Close, .. }) => return Ok(None),
                    Some(Frame { opcode: Opcode::Text, payload, .. }) => return Ok(Some(Message::Text(payload))),
                    Some(Frame { payload, .. }) => return Ok(Some(Message::Binary(payload))),
                    None => {}
                },
                None => {
                    self.bytes.reserve(CHUNK_BYTES);
                    if self.reader.read_buf(&mut self.bytes).await? == 0 {
                        return Ok(None);
                    }
                }
            }
        }
    }

    fn take(&mut self, frame: Frame) -> io::Result<Option<Frame>> {
        match frame.opcode {
            Opcode::Pong => Ok(None),
            Opcode::Ping => {
                // While the other side takes nothing from us, it is not owed an answer either.
                let _ = self.outgoing.try_send(Frame::message(Opcode::Pong, frame.payload));
                Ok(None)
            }
            Opcode::Close => {
                let _ = self.outgoing.try_send(Frame::message(Opcode::Close, Bytes::from_static(&NORMAL)));
                Ok(Some(frame))
            }
            _ => self.assembler.take(frame).map_err(invalid),
        }
    }
}

fn invalid(error: frame::FrameError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// A stream of bytes in binary messages: how SPDY is tunnelled.
pub fn tunnel(transmitter: Transmitter, mut receiver: Receiver) -> DuplexStream {
    let (ours, theirs) = tokio::io::duplex(2 * CHUNK_BYTES);
    let (mut reader, mut writer) = tokio::io::split(ours);
    tokio::spawn(async move {
        while let Ok(Some(Message::Binary(bytes) | Message::Text(bytes))) = receiver.next().await {
            if writer.write_all(&bytes).await.is_err() {
                return;
            }
        }
        let _ = writer.shutdown().await;
    });
    tokio::spawn(async move {
        let mut buffer = BytesMut::new();
        loop {
            buffer.reserve(CHUNK_BYTES);
            if matches!(reader.read_buf(&mut buffer).await, Ok(0) | Err(_)) {
                return transmitter.close().await;
            }
            if transmitter.send(Message::Binary(buffer.split().freeze())).await.is_err() {
                return;
            }
        }
    });
    theirs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_to_a_key() {
        // Section 1.3.
        assert_eq!(accept_key("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[tokio::test]
    async fn messages_pings_and_the_end() {
        let (here, there) = tokio::io::duplex(1000);
        let (client, mut from_server) = connection(Box::new(here), Sender::Server);
        let (server, mut from_client) = connection(Box::new(there), Sender::Client);
        client.send(Message::Binary("a".into())).await.unwrap();
        client.ping().await.unwrap();
        client.send(Message::Text("b".into())).await.unwrap();
        assert_eq!(from_client.next().await.unwrap(), Some(Message::Binary("a".into())));
        assert_eq!(from_client.next().await.unwrap(), Some(Message::Text("b".into())));
        server.send(Message::Binary("c".into())).await.unwrap();
        assert_eq!(from_server.next().await.unwrap(), Some(Message::Binary("c".into())));
        client.close().await;
        assert_eq!(from_client.next().await.unwrap(), None);
        assert_eq!(from_server.next().await.unwrap(), None);
    }
}
