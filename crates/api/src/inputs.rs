//! Time and randomness as inputs, so that a whole cluster can be simulated from one seed.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

/// Where the time comes from.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    pub fn new(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    pub fn now(&self) -> Timestamp {
        (self.0)()
    }
}

/// Where random numbers come from: uids, generated names, jitter.
#[derive(Clone)]
pub struct Entropy(Arc<dyn Fn() -> u64 + Send + Sync>);

impl Entropy {
    pub fn new(next: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self(Arc::new(next))
    }

    pub fn next_u64(&self) -> u64 {
        (self.0)()
    }

    /// A number from 0 up to 1, without 1 itself.
    pub fn fraction(&self) -> f64 {
        // As many bits as an `f64` can tell apart there.
        (self.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// How long to wait: half of this at least, so that those who have begun together do not come back all at once.
    pub fn jittered(&self, longest: Duration) -> Duration {
        longest.mul_f64(0.5 + self.fraction() / 2.0)
    }

    /// A random (version 4) UUID in its usual text form.
    pub fn uuid(&self) -> String {
        let bits = (u128::from(self.next_u64()) << 64) | u128::from(self.next_u64());
        let bits = (bits & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
        let hex = format!("{bits:032x}");
        format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

impl fmt::Debug for Entropy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Entropy")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fraction_is_less_than_one() {
        let check = |random: u64, expected: f64| assert_eq!(Entropy::new(move || random).fraction(), expected);
        check(0, 0.0);
        check(1 << 63, 0.5);
        check(u64::MAX, 1.0 - f64::EPSILON / 2.0);
    }

    #[test]
    fn half_of_a_pause_is_certain() {
        let check = |random: u64, expected: u64| {
            let seen = Entropy::new(move || random).jittered(Duration::from_millis(10));
            assert_eq!(seen, Duration::from_micros(expected));
        };
        check(0, 5_000);
        check(1 << 63, 7_500);
        check(u64::MAX, 10_000);
    }

    #[test]
    fn a_uuid_carries_version_and_variant() {
        assert_eq!(Entropy::new(|| 0).uuid(), "00000000-0000-4000-8000-000000000000");
        assert_eq!(Entropy::new(|| u64::MAX).uuid(), "ffffffff-ffff-4fff-bfff-ffffffffffff");
    }
}
