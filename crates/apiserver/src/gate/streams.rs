//! How many watches and logs each user follows at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::TooMany;

#[derive(Clone)]
pub struct Streams {
    per_user_max: usize,
    counts: Arc<Mutex<HashMap<Arc<str>, usize>>>,
}

/// A running stream; dropping it ends the count of it.
pub struct Followed {
    streams: Streams,
    user: Arc<str>,
}

impl Streams {
    pub fn new(per_user_max: usize) -> Self {
        Self { per_user_max, counts: Arc::default() }
    }

    /// # Errors
    /// This user follows as many as one may.
    pub fn follow(&self, user: &Arc<str>) -> Result<Followed, TooMany> {
        let mut counts = self.counts();
        let count = counts.entry(user.clone()).or_default();
        if *count >= self.per_user_max {
            return Err(TooMany);
        }
        *count += 1;
        Ok(Followed { streams: self.clone(), user: user.clone() })
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<Arc<str>, usize>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        let mut counts = self.streams.counts();
        if let Some(count) = counts.get_mut(&self.user) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.user);
            }
        }
    }
}
