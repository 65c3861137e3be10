//! Bytes that a stream has yet to take.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

/// Holds no memory when there are none.
#[derive(Debug, Default)]
pub struct Unsent {
    pub bytes: Vec<u8>,
    /// So many of them have been taken.
    taken: usize,
}

impl Unsent {
    /// Gives the stream all of them.
    ///
    /// # Errors
    /// As writing does, and `WriteZero` where the stream takes no more.
    pub fn poll_send(
        &mut self,
        mut stream: Pin<&mut impl AsyncWrite>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.taken < self.bytes.len() {
            match ready!(stream.as_mut().poll_write(context, &self.bytes[self.taken..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                taken => self.taken += taken,
            }
        }
        *self = Self::default();
        Poll::Ready(Ok(()))
    }
}
