//! Base64 as Go's decoder takes it: line breaks are skipped, and an error names the byte where it shows.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The same bytes in canonical base64.
///
/// # Errors
/// `illegal base64 data at input byte N`.
pub fn canonical(text: &str) -> Result<String, String> {
    bytes(text).map(|bytes| encode(&bytes))
}

pub fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// # Errors
/// `illegal base64 data at input byte N`.
pub fn bytes(text: &str) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let mut input = Input { text: text.as_bytes(), at: 0 };
    while let Some(group) = input.group().map_err(|at| format!("illegal base64 data at input byte {at}"))? {
        out.extend(group);
    }
    Ok(out)
}

struct Input<'a> {
    text: &'a [u8],
    at: usize,
}

impl Input<'_> {
    /// The bytes of the next four characters; `None` at the end. Errors are positions.
    fn group(&mut self) -> Result<Option<Vec<u8>>, usize> {
        let mut bits = 0u32;
        for count in 0..4 {
            let Some(byte) = self.next() else {
                return if count == 0 { Ok(None) } else { Err(self.at - count) };
            };
            if byte == b'=' {
                return self.padding(count, bits).map(Some);
            }
            bits = bits << 6 | digit(byte).ok_or(self.at - 1)?;
        }
        Ok(Some(bits.to_be_bytes()[1..].to_vec()))
    }

    /// The end of the text, whose first `=` came after `count` characters of its group.
    fn padding(&mut self, count: usize, bits: u32) -> Result<Vec<u8>, usize> {
        match count {
            2 => match self.next() {
                None => return Err(self.text.len()),
                Some(b'=') => {}
                // Go names the byte before.
                Some(_) => return Err(self.at - 2),
            },
            3 => {}
            _ => return Err(self.at - 1),
        }
        if self.next().is_some() {
            return Err(self.at - 1);
        }
        let bits = bits << (6 * (4 - count));
        Ok(bits.to_be_bytes()[1..count].to_vec())
    }

    fn next(&mut self) -> Option<u8> {
        loop {
            let byte = *self.text.get(self.at)?;
            self.at += 1;
            if byte != b'\n' && byte != b'\r' {
                return Some(byte);
            }
        }
    }
}

fn digit(byte: u8) -> Option<u32> {
    Some(u32::from(match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let actual = canonical(text).unwrap_or_else(|message| message);
        assert_eq!(actual, expected, "{text:?}");
    }

    #[test]
    fn as_go_reads_it() {
        check("", "");
        check("aGVsbG8=", "aGVsbG8=");
        check("aGVs\nbG8=\r\n", "aGVsbG8=");
        check("aGVsbA==", "aGVsbA==");
        check("%%", "illegal base64 data at input byte 0");
        check("aGV%", "illegal base64 data at input byte 3");
        check("aGVsb", "illegal base64 data at input byte 4");
        check("a===", "illegal base64 data at input byte 1");
        check("aG=s", "illegal base64 data at input byte 2");
        check("aGVsbG8=x", "illegal base64 data at input byte 8");
    }
}
