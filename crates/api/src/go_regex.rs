//! Patterns as Go reads them, which differ from Rust's in two ways: `\d`, `\s` and `\w` mean ASCII only, and inside of
//! `[...]` most signs stand for themselves (Rust has nested classes and operators such as `&&` there).

use regex::Regex;

/// Compiles a pattern of Go's.
///
/// # Errors
/// If it is none.
pub fn compile(pattern: &str) -> Result<Regex, regex::Error> {
    Regex::new(&translated(pattern))
}

fn translated(pattern: &str) -> String {
    let chars: Vec<char> = pattern.chars().collect();
    let (mut out, mut at) = (String::with_capacity(pattern.len()), 0);
    while let Some(c) = chars.get(at) {
        let rest = &chars[at + 1..];
        at += 1;
        match c {
            '\\' => at += escape(rest, &mut out).length,
            '[' => at += class(rest, &mut out),
            c => out.push(*c),
        }
    }
    out
}

/// A piece of a pattern.
struct Piece {
    length: usize,
    /// It stands for one character, and so may begin a range.
    single: bool,
}

/// What follows a backslash, inside of a class and outside.
fn escape(rest: &[char], out: &mut String) -> Piece {
    let several = |text: &str, out: &mut String| {
        out.push_str(text);
        Piece { length: 1, single: false }
    };
    let Some(kind) = rest.first() else {
        out.push('\\');
        return Piece { length: 0, single: false };
    };
    match kind {
        'd' => several("[0-9]", out),
        'D' => several("[^0-9]", out),
        's' => several("[\\t\\n\\f\\r ]", out),
        'S' => several("[^\\t\\n\\f\\r ]", out),
        'w' => several("[0-9A-Za-z_]", out),
        'W' => several("[^0-9A-Za-z_]", out),
        'b' => several("(?-u:\\b)", out),
        kind => {
            let length = 1 + argument(*kind, &rest[1..]);
            out.push('\\');
            out.extend(&rest[..length]);
            Piece { length, single: !matches!(kind, 'p' | 'P') }
        }
    }
}

/// How long the rest of an escape is: `\x{10FFFF}`, `\x1f`, `\p{Greek}`, `\pL`.
fn argument(kind: char, rest: &[char]) -> usize {
    match (kind, rest.first()) {
        ('x' | 'p' | 'P', Some('{')) => rest.iter().position(|c| *c == '}').map_or(0, |end| end + 1),
        ('x', _) => rest.len().min(2),
        ('p' | 'P', _) => rest.len().min(1),
        _ => 0,
    }
}

/// Translates a class up to its end, and says how long it is. One that never ends is left to be refused.
fn class(chars: &[char], out: &mut String) -> usize {
    out.push('[');
    let mut at = 0;
    if chars.first() == Some(&'^') {
        out.push('^');
        at = 1;
    }
    let first = at;
    while let Some(c) = chars.get(at) {
        // The first `]` stands for itself.
        if *c == ']' && at > first {
            out.push(']');
            return at + 1;
        }
        if let Some(length) = named_class(&chars[at..]) {
            out.extend(&chars[at..at + length]);
            at += length;
            continue;
        }
        let piece = member(&chars[at..], out);
        at += piece.length;
        let is_range = chars.get(at) == Some(&'-') && chars.get(at + 1).is_some_and(|end| *end != ']');
        if piece.single && is_range {
            out.push('-');
            at += 1;
            at += member(&chars[at..], out).length;
        }
    }
    at
}

/// The length of `[:alpha:]`.
fn named_class(chars: &[char]) -> Option<usize> {
    let end = chars.iter().position(|c| *c == ']')?;
    (chars.starts_with(&['[', ':']) && end > 2 && chars[end - 1] == ':').then_some(end + 1)
}

fn member(chars: &[char], out: &mut String) -> Piece {
    match chars {
        ['\\', rest @ ..] => {
            let piece = escape(rest, out);
            Piece { length: piece.length + 1, ..piece }
        }
        [c, ..] => {
            if c.is_ascii_punctuation() {
                out.push('\\');
            }
            out.push(*c);
            Piece { length: 1, single: true }
        }
        [] => Piece { length: 0, single: false },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_what_they_mean_in_go() {
        for (pattern, matching, other) in [
            (r"^\d+$", "12", "١٢"),
            (r"^\w$", "a", "é"),
            (r"^[\w.]+$", "a.b", "a-b"),
            (r"^[^\d]$", "a", "1"),
            (r"^[[]$", "[", "a"),
            (r"^[a[b]$", "[", "c"),
            (r"^[a&&b]+$", "a&b", "c"),
            (r"^[]a]$", "]", "b"),
            (r"^[^]a]$", "b", "]"),
            (r"^[+--]$", ",", "."),
            (r"^[a-z-]+$", "a-b", "A"),
            (r"^[-a-z]+$", "a-b", "A"),
            (r"^[a~~b]+$", "~", "c"),
            (r"^[[:alpha:]_]+$", "a_b", "1"),
            (r"^[\x20-\x7e]+$", "a b", "é"),
            (r"^[\x{20}-\x{7e}]+$", "a b", "é"),
            (r"^[\.\-/]+$", "./-", "a"),
            (r"^[!-\\]+$", "A!", "a"),
            (r"^[\p{Greek}a]+$", "αa", "b"),
            (r"^[\pL]+$", "é", "1"),
            (r"^a{2,3}$", "aa", "a"),
            (r"^[a-z]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$", "a-b.c", "A"),
            (r"^(?i)abc$", "ABC", "AB"),
            (r"\Aé\z", "é", "e"),
            (r"^[\d-x]+$", "1-x", "y"),
        ] {
            let regex = compile(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
            assert!(regex.is_match(matching), "{pattern} as {} should match {matching}", translated(pattern));
            assert!(!regex.is_match(other), "{pattern} as {} should not match {other}", translated(pattern));
        }
        assert!(
            compile("[a").is_err() && compile("(").is_err() && compile("a\\").is_err() && compile("(?=a)").is_err()
        );
    }
}
