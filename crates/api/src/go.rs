//! Texts as Go prints them, where messages and output show it.

/// `%q`.
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\0'..'\u{20}' | '\u{7f}' => out.push_str(&format!("\\x{:02x}", c as u32)),
            _ if is_printable(c) => out.push(c),
            _ => match c as u32 {
                code @ 0..=0xffff => out.push_str(&format!("\\u{code:04x}")),
                code => out.push_str(&format!("\\U{code:08x}")),
            },
        }
    }
    out.push('"');
    out
}

/// `unicode.IsPrint`: of all blanks only the usual one. Rust takes the same for printable, behind another letter.
pub fn is_printable(c: char) -> bool {
    matches!(c, '\'' | '"' | '\\') || format!("a{c}").escape_debug().nth(1) == Some(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_quoted() {
        let check = |text: &str, expected: &str| assert_eq!(quote(text), format!("\"{expected}\""));
        check("a\"b\\\n\t", r#"a\"b\\\n\t"#);
        check("\u{1}\u{7f}\u{85}", r"\x01\x7f\u0085");
        check("é日' $", "é日' $");
        check("e\u{301}", "e\u{301}");
        check("\u{301}", "\u{301}");
        check("\u{a0}\u{200b}\u{3000}\u{e000}", r"\u00a0\u200b\u3000\ue000");
        check("\u{1f600}\u{10ffff}", "\u{1f600}\\U0010ffff");
    }
}
