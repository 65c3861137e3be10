//! Gathers what a connection writes in one turn, so that it goes out together.
//!
//! HTTP/2 flushes after every frame of data, and each flush is a TLS record, a system call, and a packet: for a watch
//! event of a few KB they cost more than all else that is done about it. So within a turn of the connection a flush
//! waits for the end of the turn; and a connection that many streams share lets those that are ready add theirs first.
//! An idle connection holds no buffer.
//!
//! It also lets those rest who ask for too much: after a refusal, nothing is read or sent for a moment. What comes
//! meanwhile is read, refused and answered together, which costs a server that is busy a fraction of what it does one
//! by one.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use crate::unsent::Unsent;

/// What is gathered at most: four TLS records, as many as the library takes at a time. More is written through.
const GATHERED_BYTES_MAX: usize = 64 << 10;

/// A connection that others had nothing to add to is not made to wait again for so many turns: it may carry one stream.
const UNSHARED_TURNS: u8 = 15;

/// How long nothing is read or sent after a refusal: much less than the client is told to wait, and no longer than
/// others wait for a seat then.
const REST: Duration = Duration::from_millis(150);

/// Whether somebody who came by a connection has been refused since it was last read from.
#[derive(Clone, Debug, Default)]
pub struct Refused(Arc<AtomicBool>);

impl Refused {
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}

/// A stream that gathers while its connection has a turn; outside of one (after an upgrade) it hides nothing.
pub struct Gathered<S>(Arc<Mutex<Gathering<S>>>);

/// Runs a connection over such a stream, and sends what each of its turns has gathered.
pub struct Turns<S, C> {
    gathering: Arc<Mutex<Gathering<S>>>,
    connection: C,
    /// Whether others may add to what a turn has gathered before it is sent.
    shared: bool,
    /// What had been gathered when others were let go first.
    waited_at: Option<usize>,
    /// Turns to come in which nobody is waited for, since nobody has come.
    unshared_turns: u8,
}

struct Gathering<S> {
    stream: S,
    /// Written by the connection.
    gathered: Unsent,
    in_turn: bool,
    /// The stream may hold on to something itself until it is flushed.
    is_unflushed: bool,
    failed: Option<io::ErrorKind>,
    refused: Refused,
    /// Until when nothing is read or sent.
    rest: Option<Pin<Box<Sleep>>>,
}

/// The stream to give to a connection, and what is needed to run it by [`Turns::run`].
pub fn gathered<S>(stream: S, refused: Refused) -> (Gathered<S>, Gathered<S>) {
    let gathering = Arc::new(Mutex::new(Gathering {
        stream,
        gathered: Unsent::default(),
        in_turn: false,
        is_unflushed: false,
        failed: None,
        refused,
        rest: None,
    }));
    (Gathered(gathering.clone()), Gathered(gathering))
}

impl<S, C> Turns<S, C> {
    /// `shared`: the connection carries several streams.
    pub fn run(stream: Gathered<S>, connection: C, shared: bool) -> Self {
        Self { gathering: stream.0, connection, shared, waited_at: None, unshared_turns: 0 }
    }
}

impl<S: AsyncWrite + Unpin, C: Future + Unpin> Future for Turns<S, C> {
    type Output = C::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<C::Output> {
        let gathering = self.gathering.clone();
        lock(&gathering).in_turn = true;
        let polled = Pin::new(&mut self.connection).poll(context);
        let mut gathering = lock(&gathering);
        gathering.in_turn = false;
        if polled.is_ready() || !gathering.is_unflushed {
            // A connection that ends has shut its stream down, and with that sent everything.
            return polled;
        }
        let gathered = gathering.gathered.bytes.len();
        if gathered < GATHERED_BYTES_MAX / 2 && gathering.rest.is_some() && gathering.poll_rest(context).is_pending() {
            return Poll::Pending;
        }
        match self.waited_at.take() {
            None if self.shared && self.unshared_turns == 0 && gathered < GATHERED_BYTES_MAX / 2 => {
                // Whoever is ready to run comes before us now.
                self.waited_at = Some(gathered);
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            None => self.unshared_turns = self.unshared_turns.saturating_sub(1),
            Some(before) if before == gathered => self.unshared_turns = UNSHARED_TURNS,
            Some(_) => {}
        }
        if let Poll::Ready(Err(error)) = gathering.send(context) {
            // For the connection to find, at once.
            gathering.failed = Some(error.kind());
            gathering.is_unflushed = false;
            context.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

impl<S> Gathering<S> {
    /// Waits for the end of the rest that a refusal has begun.
    fn poll_rest(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.rest.is_none() && self.refused.take() {
            self.rest = Some(Box::pin(tokio::time::sleep(REST)));
        }
        if let Some(rest) = &mut self.rest {
            ready!(rest.as_mut().poll(context));
            self.rest = None;
            // Of what was read before it.
            self.refused.take();
        }
        Poll::Ready(())
    }
}

impl<S: AsyncWrite + Unpin> Gathering<S> {
    /// Writes and flushes everything.
    fn send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.write_out(context))?;
        ready!(Pin::new(&mut self.stream).poll_flush(context))?;
        self.is_unflushed = false;
        Poll::Ready(Ok(()))
    }

    fn write_out(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.gathered.poll_send(Pin::new(&mut self.stream), context)
    }

    fn check(&self) -> io::Result<()> {
        self.failed.map_or(Ok(()), |kind| Err(kind.into()))
    }

    fn write(&mut self, context: &mut Context<'_>, pieces: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.check()?;
        self.is_unflushed = true;
        let length: usize = pieces.iter().map(|piece| piece.len()).sum();
        if !self.in_turn || self.gathered.bytes.len() + length > GATHERED_BYTES_MAX {
            ready!(self.write_out(context))?;
        }
        if !self.in_turn || length > GATHERED_BYTES_MAX {
            return Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        }
        let bytes = &mut self.gathered.bytes;
        bytes.reserve(length);
        pieces.iter().for_each(|piece| bytes.extend_from_slice(piece));
        Poll::Ready(Ok(length))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gathered<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut gathering = lock(&self.0);
        if let Some(kind) = gathering.failed {
            return Poll::Ready(Err(kind.into()));
        }
        ready!(gathering.poll_rest(context));
        Pin::new(&mut gathering.stream).poll_read(context, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gathered<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        lock(&self.0).write(context, &[io::IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        lock(&self.0).write(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut gathering = lock(&self.0);
        gathering.check()?;
        if gathering.in_turn { Poll::Ready(Ok(())) } else { gathering.send(context) }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut gathering = lock(&self.0);
        ready!(gathering.write_out(context))?;
        Pin::new(&mut gathering.stream).poll_shutdown(context)
    }
}

fn lock<S>(gathering: &Arc<Mutex<Gathering<S>>>) -> MutexGuard<'_, Gathering<S>> {
    // What is in there is whole after every step, whatever panics.
    gathering.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Takes what is written to it, at most so much at a time, and notes each write.
    struct Taker {
        writes: Vec<usize>,
        at_once: usize,
        fails: bool,
    }

    impl AsyncWrite for Taker {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            if self.fails {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            let taken = bytes.len().min(self.at_once);
            self.writes.push(taken);
            Poll::Ready(Ok(taken))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// A connection that in one turn writes frames of these sizes, flushing after each; then rests for ever. Gives the
    /// writes that its stream has seen.
    async fn check(frames: &'static [usize], at_once: usize, expected: &[usize]) {
        let (mut stream, handle) = gathered(Taker { writes: Vec::new(), at_once, fails: false }, Refused::default());
        let seen = Gathered(handle.0.clone());
        let mut left = frames.iter();
        let connection = poll_fn(move |context| {
            for frame in left.by_ref() {
                let bytes = vec![0; *frame];
                let mut written = 0;
                while written < bytes.len() {
                    written += ready!(Pin::new(&mut stream).poll_write(context, &bytes[written..]))?;
                }
                ready!(Pin::new(&mut stream).poll_flush(context))?;
            }
            Poll::<io::Result<()>>::Pending
        });
        let mut turns = Turns::run(handle, connection, true);
        for _ in 0..2 {
            poll_fn(|context| {
                assert!(Pin::new(&mut turns).poll(context).is_pending());
                Poll::Ready(())
            })
            .await;
        }
        let seen = lock(&seen.0);
        assert_eq!(seen.stream.writes, expected, "{frames:?}");
        assert_eq!(seen.gathered.bytes.capacity(), 0, "nothing is held when nothing is to be sent");
    }

    #[tokio::test]
    async fn what_is_written_in_one_turn_goes_out_together() {
        check(&[10], 1 << 20, &[10]).await;
        check(&[10, 20, 30], 1 << 20, &[60]).await;
        check(&[10, 20, 30], 25, &[25, 25, 10]).await;
        check(&[40 << 10, 40 << 10], 1 << 20, &[40 << 10, 40 << 10]).await;
        check(&[100 << 10], 1 << 20, &[100 << 10]).await;
        check(&[10, 100 << 10, 10], 1 << 20, &[10, 100 << 10, 10]).await;
        check(&[], 1 << 20, &[]).await;
    }

    #[tokio::test]
    async fn outside_of_a_turn_a_flush_is_a_flush() {
        let (near, mut far) = tokio::io::duplex(64);
        let (mut stream, _handle) = gathered(near, Refused::default());
        stream.write_all(b"hello").await.unwrap();
        stream.flush().await.unwrap();
        let mut heard = [0; 5];
        far.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"hello");
    }

    #[tokio::test]
    async fn a_connection_that_ends_has_sent_everything() {
        let (near, mut far) = tokio::io::duplex(64);
        let (mut stream, handle) = gathered(near, Refused::default());
        let connection = Box::pin(async move {
            stream.write_all(b"bye").await.unwrap();
            stream.flush().await.unwrap();
            stream.shutdown().await.unwrap();
        });
        Turns::run(handle, connection, true).await;
        let mut heard = String::new();
        far.read_to_string(&mut heard).await.unwrap();
        assert_eq!(heard, "bye");
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_refusal_nothing_is_read_for_a_moment() {
        let (near, mut far) = tokio::io::duplex(64);
        let refused = Refused::default();
        let (mut stream, _handle) = gathered(near, refused.clone());
        let begun = tokio::time::Instant::now();
        for (is_refused, rests) in [(false, 0), (true, 1), (false, 1), (true, 2), (true, 3)] {
            if is_refused {
                refused.set();
            }
            far.write_all(b"more").await.unwrap();
            let mut heard = [0; 4];
            stream.read_exact(&mut heard).await.unwrap();
            assert!(begun.elapsed().abs_diff(REST * rests) < Duration::from_millis(10), "{:?}", begun.elapsed());
        }
        refused.set();
        far.write_all(b"more").await.unwrap();
        let mut heard = [0; 2];
        stream.read_exact(&mut heard).await.unwrap();
        let before = begun.elapsed();
        stream.read_exact(&mut heard).await.unwrap();
        assert_eq!(begun.elapsed(), before, "one rest, not one for each read");
    }

    #[tokio::test(start_paused = true)]
    async fn while_a_connection_rests_little_is_held_and_much_is_sent() {
        for (bytes, rests) in [(10, 1), (40 << 10, 0)] {
            let taker = Taker { writes: Vec::new(), at_once: 1 << 20, fails: false };
            let (mut stream, handle) = gathered(taker, Refused::default());
            let seen = Gathered(handle.0.clone());
            lock(&seen.0).rest = Some(Box::pin(tokio::time::sleep(REST)));
            let connection = Box::pin(async move {
                stream.write_all(&vec![0; bytes]).await?;
                stream.flush().await?;
                std::future::pending::<io::Result<()>>().await
            });
            let mut turns = Turns::run(handle, connection, false);
            let begun = tokio::time::Instant::now();
            poll_fn(|context| {
                assert!(Pin::new(&mut turns).poll(context).is_pending());
                if lock(&seen.0).stream.writes.is_empty() { Poll::Pending } else { Poll::Ready(()) }
            })
            .await;
            assert_eq!(lock(&seen.0).stream.writes, [bytes]);
            assert!(begun.elapsed().abs_diff(REST * rests) < Duration::from_millis(10), "{:?}", begun.elapsed());
        }
    }

    #[tokio::test]
    async fn a_stream_that_breaks_breaks_the_connection() {
        let (mut stream, handle) = gathered(Taker { writes: Vec::new(), at_once: 1, fails: true }, Refused::default());
        let connection = Box::pin(async move {
            loop {
                stream.write_all(b"x").await?;
                stream.flush().await?;
                tokio::task::yield_now().await;
            }
        });
        let ended: io::Result<()> = Turns::run(handle, connection, false).await;
        assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
