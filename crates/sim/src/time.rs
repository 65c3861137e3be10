//! Virtual time: it stands still while anybody works, and jumps when everybody waits.

use backstay_api::{Clock, Entropy};
use jiff::{SignedDuration, Timestamp};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::sync::{Arc, Mutex, PoisonError};

/// When every simulation begins: 2026-01-01T00:00:00Z.
const BEGINNING: i64 = 1_767_225_600;

/// A clock that follows tokio's paused one. Must be made inside the simulation's runtime.
pub fn clock() -> Clock {
    let begun = tokio::time::Instant::now();
    let beginning = Timestamp::from_second(BEGINNING).expect("in range");
    Clock::new(move || {
        let elapsed = SignedDuration::try_from(begun.elapsed()).unwrap_or(SignedDuration::MAX);
        beginning.saturating_add(elapsed).expect("a duration is never out of range when saturating")
    })
}

/// The clock of somebody whose time is not the right one: so much ahead, or behind if negative.
pub fn skewed(clock: &Clock, ahead: SignedDuration) -> Clock {
    let clock = clock.clone();
    Clock::new(move || clock.now().saturating_add(ahead).expect("a duration is never out of range when saturating"))
}

/// Randomness from a seed; `stream` keeps the parts of a cluster from sharing one sequence.
pub fn entropy(seed: u64, stream: u64) -> Entropy {
    let random = Arc::new(Mutex::new(StdRng::seed_from_u64(seed ^ stream.wrapping_mul(0x9e37_79b9_7f4a_7c15))));
    Entropy::new(move || random.lock().unwrap_or_else(PoisonError::into_inner).next_u64())
}
