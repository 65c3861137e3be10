//! Times as objects hold them, and how far they are off.

use std::time::Duration;

use jiff::Timestamp;

/// A `Time`: in whole seconds, what is beyond them cut off.
pub fn seconds(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A `MicroTime`: always with six digits after the second.
pub fn micros(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

/// How long it is until then; nothing if then is past.
pub fn until(then: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(then.duration_since(now)).unwrap_or(Duration::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_as_objects_hold_them() {
        let check = |text: &str, expected: [&str; 2]| {
            let at: Timestamp = text.parse().unwrap();
            assert_eq!([seconds(at), micros(at)], expected);
        };
        check("2026-11-28T18:00:00Z", ["2026-11-28T18:00:00Z", "2026-11-28T18:00:00.000000Z"]);
        check("2026-11-28T18:00:00.9999999Z", ["2026-11-28T18:00:00Z", "2026-11-28T18:00:00.999999Z"]);
        check("2026-11-28T19:00:01.5+01:00", ["2026-11-28T18:00:01Z", "2026-11-28T18:00:01.500000Z"]);
    }

    #[test]
    fn what_is_past_is_now() {
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        assert_eq!(until(at(5), at(3)), Duration::from_secs(2));
        assert_eq!(until(at(3), at(5)), Duration::ZERO);
        assert!(until(Timestamp::MAX, Timestamp::MIN) > Duration::from_secs(1 << 30));
    }
}
