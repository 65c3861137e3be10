//! Waits by the machine's clock, which may be set back meanwhile.

use std::time::Duration;

use jiff::Timestamp;

/// When a wait that began at `since` is over; never, if that is beyond all time.
///
/// A beginning that lies ahead shows that the clock has been set back, by hours perhaps: how much of the wait has passed
/// since, nobody knows. It is over then, since too early does less harm than hours too late.
pub(crate) fn over(since: Timestamp, wait: Duration, now: Timestamp) -> Option<Timestamp> {
    let end = since.checked_add(wait).ok()?;
    Some(if since > now { now } else { end })
}

/// So much later; the end of all time, if it is beyond that.
pub(crate) fn after(at: Timestamp, wait: Duration) -> Timestamp {
    at.checked_add(wait).unwrap_or(Timestamp::MAX)
}

/// Whether a wait that began at `since` is over.
pub(crate) fn is_over(since: Timestamp, wait: Duration, now: Timestamp) -> bool {
    over(since, wait, now).is_some_and(|end| end <= now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_end() {
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        let check = |since: i64, wait: u64, now: i64, expected: Option<i64>| {
            let wait = Duration::from_secs(wait);
            assert_eq!(over(at(since), wait, at(now)), expected.map(at), "{since} + {wait:?} at {now}");
            assert_eq!(is_over(at(since), wait, at(now)), expected.is_some_and(|end| end <= now));
        };
        check(100, 10, 100, Some(110));
        check(100, 10, 105, Some(110));
        check(100, 10, 200, Some(110));
        // The clock was set back.
        check(100, 10, 99, Some(99));
        check(100, u64::MAX / 4, 100, None);
        check(100, u64::MAX / 4, 99, None);
    }
}
