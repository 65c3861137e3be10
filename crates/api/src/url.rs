//! Texts as parts of URLs.

use std::fmt::Write as _;

/// A segment of a path, or a value in a query: everything is escaped but letters, digits, and `-._~`.
pub fn escaped(text: &str) -> String {
    escaped_but(text, "")
}

/// The same, where some more letters mean nothing.
pub fn escaped_but(text: &str, kept: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || kept.as_bytes().contains(&byte) {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").expect("a String takes everything");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_escaped() {
        let check = |text: &str, kept: &str, expected: &str| assert_eq!(escaped_but(text, kept), expected);
        check("aZ09-._~", "", "aZ09-._~");
        check("a/b?c=d e%", "", "a%2Fb%3Fc%3Dd%20e%25");
        check("system:node/x", ":", "system:node%2Fx");
        check("\u{e9}", "", "%C3%A9");
    }
}
