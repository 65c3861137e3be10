//! Times as objects hold them.

use jiff::Timestamp;

/// A `Time`: in whole seconds, what is beyond them cut off.
pub fn seconds(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A `MicroTime`: always with six digits after the second.
pub fn micros(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
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
}
