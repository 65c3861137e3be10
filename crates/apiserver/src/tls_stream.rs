//! The server's side of a TLS connection, which holds nothing while it is idle.
//!
//! The usual stream keeps a buffer of its own for what it reads, a page of memory for each of thousands of watches that
//! wait, and reads no more than that at a time. Here all connections of a thread share one buffer: what is read is
//! decrypted at once and given to the reader, what is written is encrypted and handed to the kernel at once, and only
//! what is left over (half a record, what the reader has no room for, what the kernel does not take) is kept by the
//! connection.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus, WriteTraffic};
use rustls::{CommonState, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The shared buffer: some records, which have at most 16 KiB and a little.
const SHARED_BYTES: usize = 96 << 10;
/// What is encrypted at a time: with what records add it fits into the shared buffer.
const WRITTEN_BYTES_MAX: usize = 64 << 10;

thread_local! {
    static SHARED: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A stream to a client, encrypted.
pub struct TlsStream<S> {
    stream: S,
    session: Box<UnbufferedServerConnection>,
    /// The beginning of a record, as it came.
    incoming: Vec<u8>,
    /// Decrypted, for the reader, who has taken so much of it.
    plain: Vec<u8>,
    taken: usize,
    /// Encrypted, for the kernel, which has taken so much of it.
    outgoing: Vec<u8>,
    sent: usize,
    /// The client has said that it sends no more.
    has_ended: bool,
    /// We have said so.
    has_closed: bool,
}

type Writing<'a> = WriteTraffic<'a, ServerConnectionData>;

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream<S> {
    /// The handshake. Fails as reading and writing do, and with `InvalidData` where a client breaks the rules or has
    /// nothing in common with us; it is told so.
    pub async fn accept(config: Arc<ServerConfig>, stream: S) -> io::Result<Self> {
        let session = UnbufferedServerConnection::new(config).map_err(io::Error::other)?;
        let mut this = Self {
            stream,
            session: Box::new(session),
            incoming: Vec::new(),
            plain: Vec::new(),
            taken: 0,
            outgoing: Vec::new(),
            sent: 0,
            has_ended: false,
            has_closed: false,
        };
        poll_fn(|context| this.poll_handshake(context)).await?;
        Ok(this)
    }

    /// What was agreed on.
    pub fn session(&self) -> &CommonState {
        &self.session
    }

    fn poll_handshake(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // What is left to be said then, tickets above all, goes out before anything is read or with what is written.
        while self.session.is_handshaking() {
            if ready!(self.poll_fill(context, &mut ReadBuf::new(&mut [])))? == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Reads once, and decrypts what it can. Gives the number of bytes that have come; 0: none will.
    fn poll_fill(&mut self, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<usize>> {
        // The client may wait for what the session has said by itself; whoever writes next meets what hinders it.
        let _ = self.poll_send(context);
        let mut shared = Shared::take();
        let held = self.incoming.len();
        let mut read = ReadBuf::new(&mut shared.0[held..]);
        ready!(Pin::new(&mut self.stream).poll_read(context, &mut read))?;
        let came = read.filled().len();
        let records = &mut shared.0[..held + came];
        records[..held].copy_from_slice(&self.incoming);
        let (done, processed) = self.process(records, into, |_| Ok(()));
        self.incoming = records[done..].to_vec();
        if let Err(error) = processed {
            // The client is told why, if it still listens.
            let _ = self.process(&mut [], into, |_| Ok(()));
            let _ = self.poll_send(context);
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(came))
    }

    /// Lets the session do what it can with these records, and write if it can. Gives how many bytes are done with, and
    /// what has come of writing; nothing if it is too early or too late for that.
    fn process<T>(
        &mut self,
        records: &mut [u8],
        into: &mut ReadBuf<'_>,
        write: impl FnOnce(Writing<'_>) -> io::Result<T>,
    ) -> (usize, io::Result<Option<T>>) {
        let mut done = 0;
        loop {
            let UnbufferedStatus { mut discard, state } = self.session.process_tls_records(&mut records[done..]);
            let stepped = match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(Ok(record)) = traffic.next_record() {
                        discard += record.discard;
                        let (fitting, rest) = record.payload.split_at(into.remaining().min(record.payload.len()));
                        into.put_slice(fitting);
                        self.plain.extend_from_slice(rest);
                    }
                    Ok(())
                }
                Ok(ConnectionState::EncodeTlsData(mut encode)) => append(&mut self.outgoing, |to| encode.encode(to)),
                Ok(ConnectionState::TransmitTlsData(transmit)) => {
                    transmit.done();
                    Ok(())
                }
                Ok(ConnectionState::PeerClosed) => {
                    self.has_ended = true;
                    Ok(())
                }
                Ok(ConnectionState::WriteTraffic(writing)) => return (done + discard, write(writing).map(Some)),
                Ok(ConnectionState::BlockedHandshake | ConnectionState::Closed) => return (done + discard, Ok(None)),
                // Early data, which we do not offer.
                Ok(other) => Err(io::Error::new(io::ErrorKind::InvalidData, format!("{other:?} is not expected"))),
                Err(error) => Err(io::Error::new(io::ErrorKind::InvalidData, error)),
            };
            done += discard;
            if let Err(error) = stepped {
                return (done, Err(error));
            }
        }
    }

    /// Has the session encrypt something, gives the kernel as much of it as it takes, and keeps the rest.
    fn seal(
        &mut self,
        context: &mut Context<'_>,
        encrypt: impl FnOnce(Writing<'_>, &mut [u8]) -> Result<usize, EncryptError>,
    ) -> io::Result<()> {
        let mut shared = Shared::take();
        // The session wants to see what it has not done with, which is nothing but in mid-record.
        let mut incoming = std::mem::take(&mut self.incoming);
        let write = |writing: Writing<'_>| encrypt(writing, &mut shared.0).map_err(io::Error::other);
        let (done, written) = self.process(&mut incoming, &mut ReadBuf::new(&mut []), write);
        incoming.drain(..done);
        self.incoming = incoming;
        let mut bytes = &shared.0[..written?.ok_or(io::ErrorKind::NotConnected)?];
        while !bytes.is_empty() && self.outgoing.is_empty() {
            match Pin::new(&mut self.stream).poll_write(context, bytes)? {
                Poll::Ready(0) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(sent) => bytes = &bytes[sent..],
                Poll::Pending => break,
            }
        }
        self.outgoing.extend_from_slice(bytes);
        Ok(())
    }

    /// Gives the kernel what is kept for it.
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.outgoing.len() {
            match ready!(Pin::new(&mut self.stream).poll_write(context, &self.outgoing[self.sent..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                sent => self.sent += sent,
            }
        }
        (self.outgoing, self.sent) = (Vec::new(), 0);
        Poll::Ready(Ok(()))
    }
}

/// Appends what says by an error how much room it needs.
fn append(bytes: &mut Vec<u8>, mut encode: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>) -> io::Result<()> {
    let before = bytes.len();
    let Err(EncodeError::InsufficientSize(room)) = encode(&mut []) else { return Ok(()) };
    bytes.resize(before + room.required_size, 0);
    encode(&mut bytes[before..]).map_err(io::Error::other)?;
    Ok(())
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for TlsStream<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        while into.filled().len() == before && into.remaining() > 0 {
            let kept = &self.plain[self.taken..];
            if !kept.is_empty() {
                let fitting = kept.len().min(into.remaining());
                into.put_slice(&kept[..fitting]);
                self.taken += fitting;
                if self.taken == self.plain.len() {
                    (self.plain, self.taken) = (Vec::new(), 0);
                }
            } else if self.has_ended {
                break;
            } else if ready!(self.poll_fill(context, into))? == 0 && !self.has_ended {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TlsStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.has_closed {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        ready!(self.poll_send(context))?;
        let bytes = &bytes[..bytes.len().min(WRITTEN_BYTES_MAX)];
        self.seal(context, |mut writing, to| writing.encrypt(bytes, to))?;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(context))?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.has_closed {
            self.seal(context, |mut writing, to| writing.queue_close_notify(to))?;
            self.has_closed = true;
        }
        ready!(self.poll_send(context))?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// The buffer of this thread, while it is used.
struct Shared(Vec<u8>);

impl Shared {
    fn take() -> Self {
        let mut bytes = SHARED.take();
        bytes.resize(SHARED_BYTES, 0);
        Self(bytes)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // A thread that ends needs it no more.
        let _ = SHARED.try_with(|shared| shared.set(std::mem::take(&mut self.0)));
    }
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
    use rustls::version::{TLS12, TLS13};
    use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio_rustls::{TlsConnector, client};

    use super::*;

    type Version = &'static SupportedProtocolVersion;

    /// The handshakes of two that trust each other, if they find a version in common, over a pipe that takes so many
    /// bytes at a time.
    fn connect(
        server: Version,
        client: Version,
        pipe: usize,
    ) -> (
        impl Future<Output = io::Result<TlsStream<DuplexStream>>>,
        impl Future<Output = io::Result<client::TlsStream<DuplexStream>>>,
    ) {
        let pair = rcgen::generate_simple_self_signed(["localhost".to_string()]).unwrap();
        let key = PrivatePkcs8KeyDer::from(pair.signing_key.serialize_der());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(&[server]).unwrap();
        let mut config =
            builder.with_no_client_auth().with_single_cert(vec![pair.cert.der().clone()], key.into()).unwrap();
        config.alpn_protocols = vec![b"one".to_vec()];

        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(pair.cert.der().to_vec())).unwrap();
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[client]).unwrap();
        let mut asking = builder.with_root_certificates(roots).with_no_client_auth();
        asking.alpn_protocols = vec![b"one".to_vec()];
        let (near, far) = duplex(pipe);
        let connecting = TlsConnector::from(Arc::new(asking)).connect(ServerName::try_from("localhost").unwrap(), far);
        (TlsStream::accept(Arc::new(config), near), connecting)
    }

    async fn connected() -> (TlsStream<DuplexStream>, client::TlsStream<DuplexStream>) {
        let (server, client) = connect(&TLS13, &TLS13, 1 << 20);
        tokio::try_join!(server, client).unwrap()
    }

    fn assert_holds_nothing(stream: &TlsStream<DuplexStream>) {
        let held = [&stream.incoming, &stream.plain, &stream.outgoing].map(|bytes| bytes.capacity());
        assert_eq!(held, [0; 3], "held: incoming, plain, outgoing");
    }

    fn pattern(length: usize) -> Vec<u8> {
        (0..length).map(|index| (index % 251) as u8).collect()
    }

    /// Messages of these lengths go to the server and come back; `buffer` is how much either side reads at a time.
    async fn check(version: Version, pipe: usize, buffer: usize, messages: &[usize]) {
        let (accepting, connecting) = connect(version, version, pipe);
        let echoing = async {
            let mut server = accepting.await.unwrap();
            assert_eq!(server.session().alpn_protocol(), Some(&b"one"[..]));
            let mut bytes = vec![0; buffer];
            loop {
                match server.read(&mut bytes).await.unwrap() {
                    0 => break,
                    read => server.write_all(&bytes[..read]).await.unwrap(),
                }
                server.flush().await.unwrap();
            }
            server.flush().await.unwrap();
            assert_holds_nothing(&server);
            server.shutdown().await.unwrap();
            assert!(server.write_all(b"more").await.is_err(), "after the end");
        };
        let asking = async {
            let (mut reading, mut writing) = tokio::io::split(connecting.await.unwrap());
            let sending = async {
                for length in messages {
                    writing.write_all(&pattern(*length)).await.unwrap();
                    writing.flush().await.unwrap();
                }
                writing.shutdown().await.unwrap();
            };
            let mut heard = Vec::new();
            // To the end, which has to be a proper one.
            tokio::join!(sending, async { reading.read_to_end(&mut heard).await.unwrap() });
            heard
        };
        let ((), heard) = tokio::join!(echoing, asking);
        let sent: Vec<u8> = messages.iter().flat_map(|length| pattern(*length)).collect();
        assert!(heard == sent, "{version:?} {pipe} {buffer} {messages:?}: other bytes came back");
    }

    #[tokio::test]
    async fn what_is_written_is_read() {
        for version in [&TLS12, &TLS13] {
            check(version, 1 << 20, 8 << 10, &[]).await;
            check(version, 1 << 20, 8 << 10, &[1]).await;
            check(version, 1 << 20, 8 << 10, &[100, 200, 300]).await;
            // More than a record, than what is written at a time, and than the shared buffer.
            check(version, 1 << 20, 8 << 10, &[17 << 10, 70 << 10, 300 << 10]).await;
            check(version, 1 << 20, 1 << 20, &[17 << 10, 70 << 10, 300 << 10]).await;
            // A reader that takes little, and a pipe that takes little, down to parts of a record's header.
            check(version, 1 << 20, 10, &[17 << 10, 5]).await;
            check(version, 100, 8 << 10, &[40 << 10, 5, 40 << 10]).await;
            check(version, 1, 3, &[1000, 5]).await;
        }
    }

    #[tokio::test]
    async fn the_client_may_change_its_keys() {
        let (mut server, mut client) = connected().await;
        let mut heard = [0; 4];
        for _ in 0..3 {
            client.get_mut().1.refresh_traffic_keys().unwrap();
            client.write_all(b"ping").await.unwrap();
            client.flush().await.unwrap();
            server.read_exact(&mut heard).await.unwrap();
            server.write_all(b"pong").await.unwrap();
            server.flush().await.unwrap();
            client.read_exact(&mut heard).await.unwrap();
            assert_eq!(&heard, b"pong");
        }
        assert_holds_nothing(&server);
    }

    #[tokio::test]
    async fn who_has_nothing_in_common_is_told() {
        let (server, client) = connect(&TLS13, &TLS12, 1 << 20);
        let (server, client) = tokio::join!(server, client);
        assert_eq!(server.err().map(|error| error.kind()), Some(io::ErrorKind::InvalidData));
        let told = client.err().unwrap().to_string();
        assert!(told.contains("ProtocolVersion"), "{told}");
    }

    /// What the server makes of a client that sends this in the middle of everything, and then is gone.
    async fn check_broken(sends: &[u8], expected: io::ErrorKind) {
        let (mut server, client) = connected().await;
        let (mut raw, _) = client.into_inner();
        raw.write_all(sends).await.unwrap();
        drop(raw);
        let error = server.read(&mut [0; 10]).await.unwrap_err();
        assert_eq!(error.kind(), expected, "{sends:?}: {error}");
    }

    #[tokio::test]
    async fn what_is_not_tls_breaks_a_connection() {
        check_broken(b"GET / HTTP/1.1\r\n\r\n", io::ErrorKind::InvalidData).await;
        // A record that nobody has encrypted, and one that is cut.
        check_broken(
            &[23, 3, 3, 0, 20, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
            io::ErrorKind::InvalidData,
        )
        .await;
        check_broken(&[23, 3, 3, 0, 20, 0, 1], io::ErrorKind::UnexpectedEof).await;
        check_broken(&[], io::ErrorKind::UnexpectedEof).await;
    }

    #[tokio::test]
    async fn a_handshake_that_is_cut_fails() {
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap();
        let pair = rcgen::generate_simple_self_signed(["localhost".to_string()]).unwrap();
        let key = PrivatePkcs8KeyDer::from(pair.signing_key.serialize_der());
        let config = config.with_no_client_auth().with_single_cert(vec![pair.cert.der().clone()], key.into()).unwrap();
        let (near, mut far) = duplex(1 << 10);
        far.write_all(&[22, 3, 1, 0, 100, 1]).await.unwrap();
        drop(far);
        let error = TlsStream::accept(Arc::new(config), near).await.err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
