//! Puts the digits of the resource version into an encoded object.

use bytes::Bytes;

use crate::{Encoded, Revision};

/// The longest decimal `u64`.
const DIGITS_MAX: usize = 20;

/// The final JSON of an object committed at `revision`. The one copy that is made of it.
pub fn splice(encoded: &Encoded, revision: Revision) -> Bytes {
    let mut digits = [0_u8; DIGITS_MAX];
    let digits = decimal(revision, &mut digits);
    // Exactly as long as needed: the bytes live as long as the object does.
    let mut value = Vec::with_capacity(encoded.head.len() + digits.len() + encoded.tail.len());
    value.extend_from_slice(&encoded.head);
    value.extend_from_slice(digits);
    value.extend_from_slice(&encoded.tail);
    Bytes::from(value)
}

fn decimal(mut number: u64, buffer: &mut [u8; DIGITS_MAX]) -> &[u8] {
    let mut start = DIGITS_MAX;
    loop {
        start -= 1;
        buffer[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return &buffer[start..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(revision: u64, expected: &str) {
        let encoded = Encoded {
            head: Bytes::from_static(b"{\"v\":\""),
            tail: Bytes::from_static(b"\"}"),
            index: Default::default(),
        };
        assert_eq!(splice(&encoded, revision), format!("{{\"v\":\"{expected}\"}}"));
    }

    #[test]
    fn digits() {
        check(0, "0");
        check(7, "7");
        check(10, "10");
        check(1_234_567, "1234567");
        check(u64::MAX, "18446744073709551615");
    }
}
