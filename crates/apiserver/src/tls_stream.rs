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
use std::task::{Context, Poll, Waker, ready};

use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus, WriteTraffic};
use rustls::{CommonState, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::unsent::Unsent;

/// The shared buffer: some records, which have at most 16 KiB and a little.
const SHARED_BYTES: usize = 96 << 10;
/// What is read at a time, since that much may have to be kept for a reader who has no room for it.
const READ_BYTES_MAX: usize = 32 << 10;
/// What is encrypted at a time: with what records add it fits into the shared buffer.
const WRITTEN_BYTES_MAX: usize = 64 << 10;
/// A piece of so much is worth a record of its own.
const RECORD_BYTES: usize = 16 << 10;

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
    /// Encrypted, for the kernel.
    outgoing: Unsent,
    /// The client has said that it sends no more.
    has_ended: bool,
    /// We have said so.
    has_closed: bool,
    /// The client has broken the rules: the session must not be asked again.
    has_failed: bool,
    /// Waits for the kernel to take more. Reader and writer may be different tasks, and the kernel wakes one of them.
    writer: Option<Waker>,
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
            outgoing: Unsent::default(),
            has_ended: false,
            has_closed: false,
            has_failed: false,
            writer: None,
        };
        poll_fn(|context| this.poll_handshake(context)).await?;
        Ok(this)
    }

    /// What was agreed on.
    pub fn session(&self) -> &CommonState {
        &self.session
    }

    fn poll_handshake(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.session.is_handshaking() {
            if ready!(self.poll_fill(context, &mut ReadBuf::new(&mut [])))? == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
        // What is left to be said need not be taken now: whoever reads or writes next goes on with it.
        let _ = self.poll_send(context);
        Poll::Ready(Ok(()))
    }

    /// Reads once, and decrypts what it can. Gives the number of bytes that have come; 0: none will.
    fn poll_fill(&mut self, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<usize>> {
        self.send_beside(context);
        let mut shared = Shared::take();
        let held = self.incoming.len();
        if held == SHARED_BYTES {
            return Poll::Ready(Err(
                self.fail(context, io::Error::new(io::ErrorKind::InvalidData, "a message too long"))
            ));
        }
        let mut read = ReadBuf::new(&mut shared.0[held..SHARED_BYTES.min(held + READ_BYTES_MAX)]);
        ready!(Pin::new(&mut self.stream).poll_read(context, &mut read))?;
        let came = read.filled().len();
        let records = &mut shared.0[..held + came];
        records[..held].copy_from_slice(&self.incoming);
        let (done, processed) = self.process(records, into, |_| Ok(()));
        // After the end, nothing is looked at any more.
        self.incoming = if self.has_ended { Vec::new() } else { records[done..].to_vec() };
        if let Err(error) = processed {
            return Poll::Ready(Err(self.fail(context, error)));
        }
        Poll::Ready(Ok(came))
    }

    /// The session is over. The client is told why, if it still listens.
    fn fail(&mut self, context: &mut Context<'_>, error: io::Error) -> io::Error {
        self.has_failed = true;
        self.incoming = Vec::new();
        // It has lost its place among the records, and must not look for it.
        while self.session.wants_write() {
            let state = self.session.process_tls_records(&mut []).state;
            let Ok(ConnectionState::EncodeTlsData(mut encode)) = state else { break };
            if append(&mut self.outgoing.bytes, |to| encode.encode(to)).is_err() {
                break;
            }
        }
        self.send_beside(context);
        error
    }

    /// Gives the kernel what is kept for it, as far as that is possible, in the course of something else. Whoever writes
    /// next meets what hinders it.
    fn send_beside(&mut self, context: &mut Context<'_>) {
        match self.writer.take() {
            None => {
                let _ = self.poll_send(context);
            }
            Some(writer) => match self.poll_send(&mut Context::from_waker(&writer)) {
                Poll::Pending => self.writer = Some(writer),
                Poll::Ready(_) => writer.wake(),
            },
        }
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
                        self.plain.reserve_exact(rest.len());
                        self.plain.extend_from_slice(rest);
                    }
                    Ok(())
                }
                Ok(ConnectionState::EncodeTlsData(mut encode)) => {
                    append(&mut self.outgoing.bytes, |to| encode.encode(to))
                }
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
        let written = written.map_err(|error| self.fail(context, error))?;
        let mut bytes = &shared.0[..written.ok_or(io::ErrorKind::NotConnected)?];
        while !bytes.is_empty() && self.outgoing.bytes.is_empty() {
            match Pin::new(&mut self.stream).poll_write(context, bytes)? {
                Poll::Ready(0) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(sent) => bytes = &bytes[sent..],
                Poll::Pending => break,
            }
        }
        self.outgoing.bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// As [`Self::poll_send`], for a writer, who is woken when there is more to be done.
    fn poll_send_for_writer(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let sent = self.poll_send(context);
        self.writer = sent.is_pending().then(|| context.waker().clone());
        sent
    }

    /// Gives the kernel what is kept for it.
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.outgoing.poll_send(Pin::new(&mut self.stream), context)
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
            } else if self.has_failed {
                return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
            } else if ready!(self.poll_fill(context, into))? == 0 && !self.has_ended {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TlsStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.has_closed || self.has_failed {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        ready!(self.poll_send_for_writer(context))?;
        let bytes = &bytes[..bytes.len().min(WRITTEN_BYTES_MAX)];
        self.seal(context, |mut writing, to| writing.encrypt(bytes, to))?;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut pieces = pieces.iter().skip_while(|piece| piece.is_empty());
        let first = pieces.next().map_or(&[][..], |piece| piece);
        if first.len() >= RECORD_BYTES {
            return self.poll_write(context, first);
        }
        // Heads and the like go out together with what follows them.
        let mut joined = first.to_vec();
        for piece in pieces {
            let fitting = piece.len().min(WRITTEN_BYTES_MAX - joined.len());
            joined.extend_from_slice(&piece[..fitting]);
        }
        self.poll_write(context, &joined)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send_for_writer(context))?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.has_closed && !self.has_failed {
            self.seal(context, |mut writing, to| writing.queue_close_notify(to))?;
            self.has_closed = true;
        }
        ready!(self.poll_send_for_writer(context))?;
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
mod tests;
