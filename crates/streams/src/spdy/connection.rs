//! A connection: one task reads frames and hands them to their streams, one writes what all of them send.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, watch};

use super::frame::{Frame, StreamId};
use super::headers::{Headers, Packer, Unpacker};
use crate::events::CHUNK_BYTES;
use crate::session::BoxDuplex;

/// Frames that wait for a slow peer.
const OUTGOING_MAX: usize = 16;
/// Pieces that wait for a slow reader of a stream; beyond them the whole connection waits.
const PIECES_MAX: usize = 4;
/// A port-forward has two streams for each of its connections. With all of them full, a quarter of a GB waits.
const STREAMS_MAX: usize = 2048;
/// A peer that heeds windows begins with 64 KiB, so it is told of half of that.
const WINDOW_STEP_BYTES: u32 = 32 * 1024;
/// Looks whether the peer is still there, and keeps those between us from forgetting the connection.
const PING: Duration = Duration::from_secs(5);
/// After our last word, a peer gets so long to read it and close.
const LINGER: Duration = Duration::from_secs(30);
/// Source: draft 3.1, section 2.6.3.
const REFUSED_STREAM: u32 = 3;
const CANCEL: u32 = 5;

/// The sending end of a connection; may be copied.
#[derive(Clone)]
pub struct Connection {
    outgoing: mpsc::Sender<Outgoing>,
    shared: Arc<Shared>,
    closed: watch::Receiver<bool>,
}

enum Outgoing {
    Frame(Frame),
    /// Headers are packed when they are sent, since each block builds upon those before.
    Syn {
        id: StreamId,
        headers: Headers,
    },
    Reply {
        id: StreamId,
    },
    Close {
        last: StreamId,
    },
}

struct Shared {
    streams: Mutex<BTreeMap<StreamId, Open>>,
    next_id: Mutex<StreamId>,
    tells_windows: bool,
}

/// What an end says by itself, beside what its streams send.
#[derive(Clone, Copy)]
struct Manners {
    first_id: StreamId,
    tells_windows: bool,
    pings: bool,
}

/// A stream on which the peer may still send.
struct Open {
    pieces: mpsc::Sender<Bytes>,
    /// It does not want to receive any more, either.
    reset: Arc<AtomicBool>,
}

/// Streams that the peer opens.
pub struct Incoming {
    streams: mpsc::Receiver<Stream>,
}

/// Bytes both ways. Dropping the receiver means that no more is wanted.
pub struct Stream {
    pub id: StreamId,
    pub headers: Headers,
    pub receiver: Receiver,
    pub transmitter: Transmitter,
}

pub struct Receiver {
    id: StreamId,
    pieces: mpsc::Receiver<Bytes>,
    connection: Connection,
    /// Taken since the peer was last told that it may send more.
    taken: u32,
}

pub struct Transmitter {
    id: StreamId,
    reset: Arc<AtomicBool>,
    ended: AtomicBool,
    connection: Connection,
}

/// The server's side of a connection that has been upgraded.
pub fn server(io: BoxDuplex) -> (Connection, Incoming) {
    start(io, Manners { first_id: 2, tells_windows: true, pings: true })
}

/// The client's side. No server of Kubernetes counts what it may send.
pub fn client(io: BoxDuplex) -> (Connection, Incoming) {
    start(io, Manners { first_id: 1, tells_windows: false, pings: true })
}

/// A client that says nothing but what its streams send, for servers that close as soon as they have said all: whatever
/// reaches such a server after that makes its machine forget what we have not read yet.
pub fn silent_client(io: BoxDuplex) -> (Connection, Incoming) {
    start(io, Manners { first_id: 1, tells_windows: false, pings: false })
}

fn start(io: BoxDuplex, manners: Manners) -> (Connection, Incoming) {
    let (reader, writer) = tokio::io::split(io);
    let (outgoing, queue) = mpsc::channel(OUTGOING_MAX);
    let (opened, streams) = mpsc::channel(PIECES_MAX);
    let (close, closed) = watch::channel(false);
    let Manners { first_id, tells_windows, pings } = manners;
    let shared = Arc::new(Shared { streams: Mutex::default(), next_id: Mutex::new(first_id), tells_windows });
    let connection = Connection { outgoing, shared: shared.clone(), closed };
    let link = Link { outgoing: connection.outgoing.downgrade(), shared, closed: connection.closed.clone() };
    tokio::spawn(async move {
        let (mut writing, reading) =
            (tokio::spawn(write(writer, queue, pings.then_some(first_id))), read(reader, opened, link));
        tokio::pin!(reading);
        let over = tokio::select! {
            result = &mut reading => {
                if let Err(error) = result {
                    tracing::debug!(%error, "a SPDY connection ended");
                }
                true
            }
            // All has been said. The peer reads on for as long as it takes, then closes.
            _ = &mut writing => false,
        };
        if !over {
            let _ = tokio::time::timeout(LINGER, reading).await;
        }
        writing.abort();
        close.send_replace(true);
    });
    (connection, Incoming { streams })
}

impl Connection {
    /// Opens a stream.
    ///
    /// # Errors
    /// The connection is closed.
    pub async fn open(&self, headers: Headers) -> io::Result<Stream> {
        let id = {
            let mut next = self.shared.next_id.lock().expect("never poisoned");
            *next += 2;
            *next - 2
        };
        let stream = self.stream(id, headers.clone());
        self.send(Outgoing::Syn { id, headers }).await?;
        Ok(stream)
    }

    /// Says that there will be no more, and lets the peer read what has been sent.
    pub async fn close(&self) {
        let last = self.shared.streams.lock().expect("never poisoned").keys().next_back().copied().unwrap_or(0);
        // One that is closed already is fine.
        let _ = self.send(Outgoing::Close { last }).await;
    }

    /// Returns once the connection has ended, whoever ended it.
    pub async fn closed(&self) {
        // An error means that its tasks are gone, which is an end too.
        let _ = self.closed.clone().wait_for(|closed| *closed).await;
    }

    fn stream(&self, id: StreamId, headers: Headers) -> Stream {
        let (sender, pieces) = mpsc::channel(PIECES_MAX);
        let reset = Arc::new(AtomicBool::new(false));
        let open = Open { pieces: sender, reset: reset.clone() };
        self.shared.streams.lock().expect("never poisoned").insert(id, open);
        let receiver = Receiver { id, pieces, connection: self.clone(), taken: 0 };
        Stream {
            id,
            headers,
            receiver,
            transmitter: Transmitter { id, reset, ended: AtomicBool::new(false), connection: self.clone() },
        }
    }

    async fn send(&self, what: Outgoing) -> io::Result<()> {
        self.outgoing.send(what).await.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Incoming {
    /// The next stream that the peer opens; `None` once the connection has ended.
    pub async fn next(&mut self) -> Option<Stream> {
        self.streams.recv().await
    }
}

impl Receiver {
    /// The next piece; `None` at the end of the stream.
    pub async fn next(&mut self) -> Option<Bytes> {
        let piece = self.pieces.recv().await?;
        self.taken = self.taken.saturating_add(u32::try_from(piece.len()).unwrap_or(u32::MAX));
        if self.connection.shared.tells_windows && self.taken >= WINDOW_STEP_BYTES {
            let grown = std::mem::take(&mut self.taken);
            // For this stream, and for the connection as a whole. Peers that count are rare, and never so far ahead that
            // one of these may not wait for the next.
            for id in [self.id, 0] {
                let update = Outgoing::Frame(Frame::WindowUpdate { id, bytes: grown });
                if self.connection.outgoing.try_send(update).is_err() {
                    self.taken = grown;
                }
            }
        }
        Some(piece)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.connection.shared.streams.lock().expect("never poisoned").remove(&self.id);
    }
}

impl Transmitter {
    /// # Errors
    /// The connection is closed, or the peer wants no more on this stream.
    pub async fn send(&self, bytes: Bytes) -> io::Result<()> {
        self.data(bytes, false).await
    }

    /// There will be no more on this stream.
    pub async fn finish(self) {
        self.end().await;
    }

    /// The same; doing it again does no harm.
    pub async fn end(&self) {
        if !self.ended.swap(true, Ordering::AcqRel) {
            // On a connection that is closed, it has ended anyway.
            let _ = self.data(Bytes::new(), true).await;
        }
    }

    /// Nothing more is sent on this stream, and nothing is wanted.
    pub async fn reset(self) {
        self.connection.shared.streams.lock().expect("never poisoned").remove(&self.id);
        let frame = Frame::RstStream { id: self.id, status: CANCEL };
        // On a connection that is closed, it has ended anyway.
        let _ = self.connection.send(Outgoing::Frame(frame)).await;
    }

    /// The peer has reset the stream.
    pub fn is_reset(&self) -> bool {
        self.reset.load(Ordering::Acquire)
    }

    async fn data(&self, bytes: Bytes, fin: bool) -> io::Result<()> {
        if self.is_reset() {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        self.connection.send(Outgoing::Frame(Frame::Data { id: self.id, fin, bytes })).await
    }
}

/// What the reading task needs of the connection; it must not keep it open.
struct Link {
    outgoing: mpsc::WeakSender<Outgoing>,
    shared: Arc<Shared>,
    closed: watch::Receiver<bool>,
}

impl Link {
    fn connection(&self) -> Option<Connection> {
        let outgoing = self.outgoing.upgrade()?;
        Some(Connection { outgoing, shared: self.shared.clone(), closed: self.closed.clone() })
    }

    fn forget(&self, id: StreamId) {
        self.shared.streams.lock().expect("never poisoned").remove(&id);
    }

    fn reset(&self, id: StreamId) {
        if let Some(open) = self.shared.streams.lock().expect("never poisoned").remove(&id) {
            open.reset.store(true, Ordering::Release);
        }
    }

    /// Hands a piece to its stream. Nobody may be there to read it any more.
    async fn deliver(&self, id: StreamId, fin: bool, bytes: Bytes) {
        let streams = || self.shared.streams.lock().expect("never poisoned");
        let stream = streams().get(&id).map(|open| open.pieces.clone());
        if let Some(stream) = stream {
            // A frame may be far longer than what is to wait in here; its pieces do not keep all of it.
            let is_long = bytes.len() > CHUNK_BYTES;
            for piece in bytes.chunks(CHUNK_BYTES) {
                let piece = if is_long { Bytes::copy_from_slice(piece) } else { bytes.clone() };
                let _ = stream.send(piece).await;
            }
        }
        if fin {
            self.forget(id);
        }
    }
}

async fn read(mut reader: ReadHalf<BoxDuplex>, opened: mpsc::Sender<Stream>, link: Link) -> io::Result<()> {
    let result = read_frames(&mut reader, &opened, &link).await;
    // Every reader learns that nothing more comes.
    link.shared.streams.lock().expect("never poisoned").clear();
    result
}

async fn read_frames(reader: &mut ReadHalf<BoxDuplex>, opened: &mpsc::Sender<Stream>, link: &Link) -> io::Result<()> {
    let (mut bytes, mut unpacker) = (BytesMut::new(), Unpacker::default());
    loop {
        let Some(frame) = Frame::decode(&mut bytes).map_err(invalid)? else {
            bytes.reserve(CHUNK_BYTES);
            if reader.read_buf(&mut bytes).await? == 0 {
                return Ok(());
            }
            continue;
        };
        match frame {
            Frame::SynStream { id, fin, headers } => {
                let headers = unpacker.unpack(&headers).map_err(invalid)?;
                accept(link, opened, id, headers).await;
                if fin {
                    link.forget(id);
                }
            }
            Frame::SynReply { id, fin, headers } | Frame::Headers { id, fin, headers } => {
                // Unpacked even though nobody wants them: what follows builds upon them.
                unpacker.unpack(&headers).map_err(invalid)?;
                if fin {
                    link.forget(id);
                }
            }
            Frame::Data { id, fin, bytes } => link.deliver(id, fin, bytes).await,
            Frame::RstStream { id, .. } => link.reset(id),
            Frame::Ping { id } if link.is_of_peer(id) => {
                if let Some(outgoing) = link.outgoing.upgrade() {
                    // A peer that takes nothing from us is not owed an answer.
                    let _ = outgoing.try_send(Outgoing::Frame(Frame::Ping { id }));
                }
            }
            Frame::Ping { .. } | Frame::GoAway { .. } | Frame::WindowUpdate { .. } | Frame::Other => {}
        }
    }
}

impl Link {
    /// Clients count in odd numbers, servers in even ones.
    fn is_of_peer(&self, id: u32) -> bool {
        let next = *self.shared.next_id.lock().expect("never poisoned");
        id % 2 != next % 2
    }

    fn has_room_for(&self, id: StreamId) -> bool {
        let streams = self.shared.streams.lock().expect("never poisoned");
        self.is_of_peer(id) && streams.len() < STREAMS_MAX && !streams.contains_key(&id)
    }
}

async fn accept(link: &Link, opened: &mpsc::Sender<Stream>, id: StreamId, headers: Headers) {
    let Some(connection) = link.connection() else { return };
    if !link.has_room_for(id) {
        let refused = Frame::RstStream { id, status: REFUSED_STREAM };
        // If the connection breaks, the peer learns that anyway.
        let _ = connection.send(Outgoing::Frame(refused)).await;
        return;
    }
    let stream = connection.stream(id, headers);
    // Clients drop what comes before the reply.
    let _ = connection.send(Outgoing::Reply { id }).await;
    // Nobody takes streams any more: this one is dropped, and with it what comes on it.
    let _ = opened.send(stream).await;
}

async fn write(mut writer: WriteHalf<BoxDuplex>, mut queue: mpsc::Receiver<Outgoing>, ping: Option<u32>) {
    let mut packer = Packer::default();
    loop {
        let next = match (tokio::time::timeout(PING, queue.recv()).await, ping) {
            (Ok(Some(next)), _) => next,
            (Ok(None), _) => break,
            (Err(_silence), Some(id)) => Outgoing::Frame(Frame::Ping { id }),
            (Err(_silence), None) => continue,
        };
        let last = matches!(next, Outgoing::Close { .. });
        if writer.write_all(&encode(&mut packer, next)).await.is_err() || writer.flush().await.is_err() {
            return;
        }
        if last {
            break;
        }
    }
    let _ = writer.shutdown().await;
}

fn encode(packer: &mut Packer, what: Outgoing) -> Bytes {
    match what {
        Outgoing::Frame(frame) => frame.encode(),
        Outgoing::Reply { id } => Frame::SynReply { id, fin: false, headers: packer.pack(&[]) }.encode(),
        Outgoing::Syn { id, headers } => {
            let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (&**name, &**value)).collect();
            Frame::SynStream { id, fin: false, headers: packer.pack(&headers) }.encode()
        }
        Outgoing::Close { last } => Frame::GoAway { last }.encode(),
    }
}

fn invalid(error: super::frame::FrameError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spdy::headers;

    fn pair() -> ((Connection, Incoming), (Connection, Incoming)) {
        let (here, there) = tokio::io::duplex(1000);
        (client(Box::new(here)), server(Box::new(there)))
    }

    #[tokio::test]
    async fn streams_carry_many_bytes_both_ways() {
        let ((client, _none), (_server, mut incoming)) = pair();
        let echo = tokio::spawn(async move {
            while let Some(Stream { headers, mut receiver, transmitter, .. }) = incoming.next().await {
                assert_eq!(headers::value(&headers, "StreamType"), Some("data"));
                tokio::spawn(async move {
                    while let Some(piece) = receiver.next().await {
                        transmitter.send(piece).await.unwrap();
                    }
                    transmitter.finish().await;
                });
            }
        });
        let streams = (0..20_u8).map(|number| {
            let client = client.clone();
            async move {
                let headers = vec![("streamtype".to_string(), "data".to_string())];
                let Stream { mut receiver, transmitter, .. } = client.open(headers).await.unwrap();
                let sent = tokio::spawn(async move {
                    for _ in 0..50 {
                        transmitter.send(vec![number; 1_000].into()).await.unwrap();
                    }
                    // Longer than what may wait.
                    transmitter.send(vec![number; 450_000].into()).await.unwrap();
                    transmitter.finish().await;
                });
                let mut count = 0;
                while let Some(piece) = receiver.next().await {
                    assert!(piece.iter().all(|byte| *byte == number));
                    count += piece.len();
                }
                sent.await.unwrap();
                count
            }
        });
        assert_eq!(futures::future::join_all(streams).await, [500_000; 20]);
        client.close().await;
        echo.await.unwrap();
    }

    #[tokio::test]
    async fn the_end_of_a_connection_ends_its_streams() {
        let ((client, _none), (server, mut incoming)) = pair();
        let ours = client.open(Vec::new()).await.unwrap();
        let mut theirs = incoming.next().await.unwrap();
        ours.transmitter.send("last words".into()).await.unwrap();
        client.close().await;
        assert_eq!(theirs.receiver.next().await.unwrap(), "last words");
        assert_eq!(theirs.receiver.next().await, None);
        server.closed().await;
        assert!(incoming.next().await.is_none());
    }

    #[tokio::test]
    async fn a_stream_that_is_reset_takes_no_more() {
        let ((client, _none), (_server, mut incoming)) = pair();
        let ours = client.open(Vec::new()).await.unwrap();
        let mut theirs = incoming.next().await.unwrap();
        theirs.transmitter.send("a".into()).await.unwrap();
        ours.transmitter.reset().await;
        assert_eq!(theirs.receiver.next().await, None);
        assert!(theirs.transmitter.is_reset() && theirs.transmitter.send("b".into()).await.is_err());
        // Others go on.
        let ours = client.open(Vec::new()).await.unwrap();
        let theirs = incoming.next().await.unwrap();
        let mut receiver = ours.receiver;
        theirs.transmitter.send("c".into()).await.unwrap();
        assert_eq!(receiver.next().await.unwrap(), "c");
    }

    /// What such a client writes while its peer sends and then is silent for a minute.
    #[tokio::test(start_paused = true)]
    async fn a_silent_client_says_nothing_by_itself() {
        let (here, there) = tokio::io::duplex(1 << 20);
        let (client, _none) = silent_client(Box::new(here));
        let mut stream = client.open(Vec::new()).await.unwrap();
        let (mut from_client, mut to_client) = tokio::io::split(there);
        let (mut seen, mut head) = (BytesMut::new(), Vec::new());
        while head.is_empty() {
            from_client.read_buf(&mut seen).await.unwrap();
            head.extend(Frame::decode(&mut seen).unwrap());
        }
        assert!(matches!(head[0], Frame::SynStream { id: 1, .. }), "{head:?}");
        let sent: usize = 10 * WINDOW_STEP_BYTES as usize;
        let data = Frame::Data { id: 1, fin: true, bytes: vec![b'a'; sent].into() };
        to_client.write_all(&data.encode()).await.unwrap();
        let mut got = 0;
        while let Some(piece) = stream.receiver.next().await {
            got += piece.len();
        }
        assert_eq!(got, sent);
        let silence = tokio::time::timeout(12 * PING, from_client.read_buf(&mut seen)).await;
        assert!(silence.is_err(), "it said {seen:?}");
    }

    #[tokio::test]
    async fn a_peer_that_speaks_nonsense_is_left() {
        let (mut here, there) = tokio::io::duplex(1000);
        let (server, mut incoming) = server(Box::new(there));
        here.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        here.write_all(&[0x80, 2, 0, 1, 0, 0, 0, 0]).await.unwrap();
        drop(here);
        assert!(incoming.next().await.is_none());
        server.closed().await;
    }
}
