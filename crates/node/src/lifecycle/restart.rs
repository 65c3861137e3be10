//! When a container that has exited is started again: at once, then after 10 s, 20 s, 40 s ... 300 s.
//!
//! The delay travels with the container record ([`ContainerRecord::backoff_seconds`]), so that it outlives the agent.

use std::time::Duration;

use jiff::Timestamp;

use super::observed::{ContainerRecord, Exit, SetupError, StartError};
use crate::wait;

/// The kubelet's first delay.
const BACKOFF_FIRST_SECONDS: i64 = 10;
/// The kubelet's longest delay.
const BACKOFF_MAX_SECONDS: i64 = 300;
/// A container that ran this long is taken to have been well: twice the longest delay, as in the kubelet.
const BACKOFF_RESET_SECONDS: i64 = 2 * BACKOFF_MAX_SECONDS;
/// A setup is tried again after half a second, then ever more slowly up to about two minutes, as volumes in the kubelet.
const SETUP_RETRY_FIRST: Duration = Duration::from_millis(500);
const SETUP_RETRY_MAX: Duration = Duration::from_secs(122);

/// So long a failed pull shows as itself; then, as the wait for the next.
const PULL_ERROR_SHOWN: Duration = Duration::from_secs(2);

/// How long after its exit a container is started again, and what its successor will have to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    pub delay_seconds: i64,
    pub next_delay_seconds: i64,
}

/// The back-off after this attempt's exit.
pub fn backoff(record: &ContainerRecord, exit: &Exit) -> Backoff {
    let ran = exit.finished_at.duration_since(exit.started_at).as_secs();
    let delay_seconds = if ran > BACKOFF_RESET_SECONDS { 0 } else { record.backoff_seconds };
    let next_delay_seconds = (delay_seconds * 2).clamp(BACKOFF_FIRST_SECONDS, BACKOFF_MAX_SECONDS);
    Backoff { delay_seconds, next_delay_seconds }
}

/// When a container may be started again.
pub fn due(exit: &Exit, backoff: Backoff, now: Timestamp) -> Timestamp {
    after(exit.finished_at, Duration::from_secs(backoff.delay_seconds.unsigned_abs()), now)
}

/// When to try again to make a container: after 10 s, 20 s ... 300 s.
pub fn retry_start(error: &StartError, now: Timestamp) -> Timestamp {
    let doublings = error.failures.saturating_sub(1).min(5);
    let seconds = (BACKOFF_FIRST_SECONDS << doublings).min(BACKOFF_MAX_SECONDS).unsigned_abs();
    after(error.at, Duration::from_secs(seconds), now)
}

/// When to try again to prepare the sandbox.
pub fn retry_setup(error: &SetupError, now: Timestamp) -> Timestamp {
    let doublings = error.failures.saturating_sub(1).min(8);
    after(error.at, (SETUP_RETRY_FIRST * (1 << doublings)).min(SETUP_RETRY_MAX), now)
}

/// Until when a failed pull shows as itself.
pub fn pull_error_shown(error: &StartError, now: Timestamp) -> Timestamp {
    after(error.at, PULL_ERROR_SHOWN, now)
}

fn after(at: Timestamp, wait: Duration, now: Timestamp) -> Timestamp {
    wait::over(at, wait, now).unwrap_or(Timestamp::MAX)
}
