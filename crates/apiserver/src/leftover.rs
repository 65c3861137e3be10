//! What a handler leaves unread of a request's body is read and thrown away before the answer goes out.
//!
//! A connection cannot carry its next request otherwise, and is closed; a client that is still sending would see that
//! instead of the answer.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;

/// More than a client sends before it looks at the answer; whoever sends more may see the connection closed.
const DRAINED_BYTES_MAX: usize = 256 * 1024;

/// A client that sends slower than this is not waited for.
const DRAINING_LASTS_MAX: Duration = Duration::from_secs(2);

/// A body in two hands: the handler's, and ours to finish it with.
#[derive(Clone)]
pub struct Leftover(Arc<Mutex<Rest>>);

struct Rest {
    body: Body,
    /// It has said that it is over, and must not be asked again.
    is_over: bool,
}

impl Leftover {
    /// The body for the handler, and what remains of it for [`Leftover::discard`].
    pub fn of(body: Body) -> (Body, Self) {
        let leftover = Self(Arc::new(Mutex::new(Rest { body, is_over: false })));
        (Body::new(leftover.clone()), leftover)
    }

    /// Reads what nobody read, within limits.
    pub async fn discard(mut self) {
        if self.is_end_stream() {
            return;
        }
        let rest = async {
            let mut drained = 0;
            while drained < DRAINED_BYTES_MAX
                && let Some(Ok(frame)) = self.frame().await
            {
                drained += frame.data_ref().map_or(0, Bytes::len);
            }
        };
        let _ = tokio::time::timeout(DRAINING_LASTS_MAX, rest).await;
    }

    fn rest(&self) -> MutexGuard<'_, Rest> {
        // A panic while polling leaves nothing half-done that we could make worse.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl http_body::Body for Leftover {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let mut rest = self.rest();
        if rest.is_over {
            return Poll::Ready(None);
        }
        let polled = Pin::new(&mut rest.body).poll_frame(context);
        rest.is_over = matches!(polled, Poll::Ready(None | Some(Err(_))));
        polled
    }

    fn is_end_stream(&self) -> bool {
        let rest = self.rest();
        rest.is_over || rest.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.rest().body.size_hint()
    }
}
