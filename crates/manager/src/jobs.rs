//! Work on keys as tasks: each key that waits has its turn, so many at a time.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::task::JoinSet;

use crate::api::ApiError;
use crate::queue::Queue;

/// Keys that wait, and tasks that work on some of them. `T` is what a task has found out.
pub struct Jobs<T> {
    pub queue: Queue<Arc<str>>,
    tasks: JoinSet<(Arc<str>, Result<T, ApiError>)>,
    at_once_max: usize,
}

impl<T: Send + 'static> Jobs<T> {
    pub fn new(queue: Queue<Arc<str>>, at_once_max: usize) -> Self {
        Self { queue, tasks: JoinSet::new(), at_once_max }
    }

    /// How long no task can be begun, as far as is known.
    pub fn pause(&self, now: Timestamp) -> Duration {
        if self.is_full() { Duration::MAX } else { self.queue.pause(now) }
    }

    /// The next key to work on, as [`Queue::take`] has it; none while enough tasks run.
    pub fn take(&mut self, now: Timestamp) -> Option<Arc<str>> {
        if self.is_full() { None } else { self.queue.take(now) }
    }

    pub fn begin(&mut self, key: Arc<str>, work: impl Future<Output = Result<T, ApiError>> + Send + 'static) {
        self.tasks.spawn(async move { (key, work.await) });
    }

    /// What has come of the next task that ends; none if none runs. To be followed by [`Queue::done`] or [`Queue::failed`].
    pub async fn ended(&mut self) -> Option<(Arc<str>, Result<T, ApiError>)> {
        loop {
            match self.tasks.join_next().await? {
                Ok(ended) => return Some(ended),
                // A request never panics but by a bug; its key stays reserved, and nothing worse happens.
                Err(error) => tracing::error!(%error, "a task of a controller broke down"),
            }
        }
    }

    fn is_full(&self) -> bool {
        self.tasks.len() >= self.at_once_max
    }
}
