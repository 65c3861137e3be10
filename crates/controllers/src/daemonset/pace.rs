//! How many writes of one sort may be under way: few at first, twice as many after each success, few again after a
//! failure. So a quota or a broken admission hook sees a handful of requests, and a healthy server hundreds.

use jiff::{SignedDuration, Timestamp};

use super::{BURST, Outcome};

/// Retries begin here and double. Source: the work queue's `ItemExponentialFailureRateLimiter`.
const RETRY_FIRST: SignedDuration = SignedDuration::from_millis(5);
/// The work queue goes up to 1,000 s, but there any news starts another attempt; here a pause is a pause.
const RETRY_MAX: SignedDuration = SignedDuration::from_mins(1);

#[derive(Clone, Debug)]
pub struct Pace {
    /// The window after a pause or a failure.
    start: usize,
    window: usize,
    under_way: usize,
    failures: u32,
    hold_until: Option<Timestamp>,
}

impl Pace {
    /// Starts with one write at a time.
    pub fn slow_start() -> Self {
        Self { start: 1, window: 1, under_way: 0, failures: 0, hold_until: None }
    }

    /// Starts with as many as there may be.
    pub fn full() -> Self {
        Self { start: BURST, window: BURST, ..Self::slow_start() }
    }

    /// How many more writes may begin.
    pub fn room(&self, now: Timestamp) -> usize {
        match self.hold_until {
            Some(until) if until > now => 0,
            _ => self.window.saturating_sub(self.under_way),
        }
    }

    /// Until when nothing may begin because something failed.
    pub fn held_until(&self, now: Timestamp) -> Option<Timestamp> {
        self.hold_until.filter(|until| *until > now)
    }

    pub fn under_way(&self) -> usize {
        self.under_way
    }

    pub fn begin(&mut self) {
        self.under_way += 1;
    }

    pub fn finish(&mut self, outcome: Outcome, now: Timestamp) {
        self.under_way = self.under_way.saturating_sub(1);
        match outcome {
            Outcome::Done => {
                self.failures = 0;
                self.window = (self.window + 1).min(BURST);
            }
            Outcome::Stale => {}
            Outcome::Failed => self.fail(now),
        }
    }

    /// What failed may have been put right: try at once.
    pub fn forgive(&mut self) {
        self.hold_until = None;
        self.failures = 0;
    }

    /// Nothing is left to do: the next burst begins slowly again.
    pub fn rest(&mut self) {
        if self.under_way == 0 {
            self.window = self.start;
        }
    }

    /// Failures of writes that began together count once.
    fn fail(&mut self, now: Timestamp) {
        self.window = self.start;
        if self.held_until(now).is_some() {
            return;
        }
        let factor = 1_i32.checked_shl(self.failures).filter(|factor| *factor > 0).unwrap_or(i32::MAX);
        self.failures += 1;
        self.hold_until = Some(now + RETRY_FIRST.saturating_mul(factor).min(RETRY_MAX));
    }
}
