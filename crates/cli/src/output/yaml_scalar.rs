//! How a text is written in YAML: bare where it can be read back as the same text, quoted otherwise.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    Plain,
    Single,
    Double,
    Literal,
}

/// `key`: the text stands before a colon, so it must stay on its line.
pub fn style(text: &str, key: bool) -> Style {
    let shape = Shape::of(text);
    if text.contains('\n') {
        return if shape.block_allowed && !key { Style::Literal } else { Style::Double };
    }
    if means_something_else(text) {
        return Style::Double;
    }
    match (shape.plain_allowed, shape.single_allowed) {
        (true, _) => Style::Plain,
        (false, true) => Style::Single,
        (false, false) => Style::Double,
    }
}

/// What the characters of a text allow.
struct Shape {
    plain_allowed: bool,
    single_allowed: bool,
    block_allowed: bool,
}

impl Shape {
    fn of(text: &str) -> Self {
        let chars: Vec<char> = text.chars().collect();
        let blank =
            |c: Option<&char>| matches!(c, None | Some(' ' | '\t' | '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}'));
        let mut indicator = text.starts_with("---") || text.starts_with("...");
        let (mut special, mut space_break, mut break_space) = (false, false, false);
        for (index, c) in chars.iter().enumerate() {
            let before = index.checked_sub(1).map(|before| chars[before]);
            let last_or_blank = chars.get(index + 1).is_none_or(|next| matches!(next, ' ' | '\t'));
            indicator |= match c {
                '#' | ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@' | '`'
                    if index == 0 =>
                {
                    true
                }
                '-' | '?' if index == 0 => last_or_blank,
                ':' => last_or_blank,
                '#' => blank(before.as_ref()),
                _ => false,
            };
            special |= !is_printable(*c);
            let breaks = |c: char| c == '\n';
            space_break |= breaks(*c) && before == Some(' ');
            break_space |= *c == ' ' && before.is_some_and(breaks);
        }
        let starts = |c: Option<&char>| matches!(c, Some(' ' | '\n'));
        let edges = starts(chars.first()) || starts(chars.last());
        Self {
            plain_allowed: !(edges || indicator || special || space_break || break_space || text.contains('\n')),
            single_allowed: !(special || space_break || break_space),
            block_allowed: !(special || space_break || text.ends_with(' ')),
        }
    }
}

/// What the library writes as it is; tabs, control characters and everything beyond the basic plane are escaped.
fn is_printable(c: char) -> bool {
    match c {
        '\n' | ' '..='~' => true,
        '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' => c != '\u{feff}',
        _ => false,
    }
}

/// The escape of a character in double quotes; `None` if it needs none.
pub fn escape(c: char) -> Option<String> {
    let short = match c {
        '\0' => "\\0",
        '\u{7}' => "\\a",
        '\u{8}' => "\\b",
        '\t' => "\\t",
        '\n' => "\\n",
        '\u{b}' => "\\v",
        '\u{c}' => "\\f",
        '\r' => "\\r",
        '\u{1b}' => "\\e",
        '"' => "\\\"",
        '\\' => "\\\\",
        '\u{85}' => "\\N",
        '\u{2028}' => "\\L",
        '\u{2029}' => "\\P",
        c if is_printable(c) => return None,
        c => {
            let code = u32::from(c);
            return Some(match code {
                0..=0xff => format!("\\x{code:02X}"),
                0x100..=0xffff => format!("\\u{code:04X}"),
                _ => format!("\\U{code:08X}"),
            });
        }
    };
    Some(short.to_string())
}

/// Whether bare text would be read as a null, a boolean, a number or a time.
pub fn means_something_else(text: &str) -> bool {
    const WORDS: [&str; 37] = [
        "", "~", "null", "Null", "NULL", "y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON", "n",
        "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF", ".nan", ".NaN", ".NAN", ".inf", ".Inf",
        ".INF", "+.inf", "+.Inf", "+.INF", "-.inf",
    ];
    WORDS.contains(&text)
        || ["-.Inf", "-.INF"].contains(&text)
        || text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c))
            && (is_integer(text) || is_float(text) || is_base60(text) || is_time(text))
}

fn is_integer(text: &str) -> bool {
    let plain = text.replace('_', "");
    let digits = plain.strip_prefix(['+', '-']).unwrap_or(&plain);
    let lower = digits.to_lowercase();
    let (radix, digits) = [("0x", 16), ("0o", 8), ("0b", 2)]
        .into_iter()
        .find_map(|(prefix, radix)| Some((radix, lower.strip_prefix(prefix)?)))
        .unwrap_or_else(|| if lower.len() > 1 && lower.starts_with('0') { (8, &lower[1..]) } else { (10, &lower) });
    // What does not fit is a float to the library, or in other bases a text.
    !digits.is_empty() && digits.chars().all(|c| c.is_digit(radix)) && u64::from_str_radix(digits, radix).is_ok()
}

fn is_float(text: &str) -> bool {
    let plain = text.replace('_', "");
    let unsigned = plain.strip_prefix(['+', '-']).unwrap_or(&plain);
    let (number, exponent) = match unsigned.find(['e', 'E']) {
        Some(at) => (&unsigned[..at], Some(&unsigned[at + 1..])),
        None => (unsigned, None),
    };
    let all_digits = |text: &str| text.chars().all(|c| c.is_ascii_digit());
    let number_fits = match number.split_once('.') {
        Some(("", fraction)) => !fraction.is_empty() && all_digits(fraction),
        Some((whole, fraction)) => all_digits(whole) && all_digits(fraction),
        None => !number.is_empty() && all_digits(number),
    };
    let exponent_fits = exponent.is_none_or(|exponent| {
        let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        !digits.is_empty() && all_digits(digits)
    });
    number_fits && exponent_fits
}

/// `12:30:45`, a number to older readers.
fn is_base60(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (sixties, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let mut parts = sixties.split(':');
    let first = parts.next().unwrap_or("");
    let rest: Vec<&str> = parts.collect();
    let minute = |part: &&str| match part.len() {
        1 => part.chars().all(|c| c.is_ascii_digit()),
        2 => part.starts_with(|c: char| ('0'..='5').contains(&c)) && part.ends_with(|c: char| c.is_ascii_digit()),
        _ => false,
    };
    let digits = |text: &str| text.chars().all(|c| c.is_ascii_digit() || c == '_');
    first.starts_with(|c: char| c.is_ascii_digit())
        && digits(first)
        && !rest.is_empty()
        && rest.iter().all(minute)
        && digits(fraction)
}

/// `2026-01-02`, `2026-1-2 3:4:5`, `2026-01-02T03:04:05.6Z`.
fn is_time(text: &str) -> bool {
    let (date, time) = match text.find(['T', 't', ' ']) {
        Some(at) => (&text[..at], Some((&text[at..=at], &text[at + 1..]))),
        None => (text, None),
    };
    let number = |text: &str, lengths: &[usize]| {
        (lengths.contains(&text.len()) && text.chars().all(|c| c.is_ascii_digit())).then(|| text.parse::<i16>().ok())?
    };
    let date_fits = (|| {
        let [year, month, day] = date.split('-').collect::<Vec<_>>()[..] else { return None };
        let month = i8::try_from(number(month, &[1, 2])?).ok()?;
        let day = i8::try_from(number(day, &[1, 2])?).ok()?;
        jiff::civil::Date::new(number(year, &[4])?, month, day).ok()
    })();
    let time_fits = |separator: &str, time: &str| {
        let zone_at = time.find(['Z', '+', '-']).unwrap_or(time.len());
        let (clock, zone) = time.split_at(zone_at);
        let zoned = match zone {
            "" => separator == " ",
            "Z" => separator != " ",
            zone => separator != " " && zone.len() == 6 && zone.as_bytes()[3] == b':',
        };
        let (clock, fraction) = clock.split_once('.').unwrap_or((clock, ""));
        let parts: Vec<&str> = clock.split(':').collect();
        let limits = [24, 60, 60];
        let clock_fits = parts.len() == 3
            && parts.iter().zip(limits).all(|(part, limit)| number(part, &[1, 2]).is_some_and(|value| value < limit));
        zoned && clock_fits && fraction.chars().all(|c| c.is_ascii_digit())
    };
    date_fits.is_some() && time.is_none_or(|(separator, time)| time_fits(separator, time))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(expected: Style, texts: &[&str]) {
        for text in texts {
            assert_eq!(style(text, false), expected, "{text:?}");
        }
    }

    #[test]
    fn texts_are_quoted_as_needed() {
        check(
            Style::Plain,
            &[
                "a",
                "a b",
                "v1.2",
                "1.2.3",
                "a:b",
                "-x",
                "--flag=a b",
                "?x",
                ":8080",
                "a#b",
                "$(X)",
                "1Gi",
                "0x",
                "ä",
                "10.0.0.0/8",
                "a=b,c",
                "^(a|b)$",
                "2026-13-01",
                "1e",
                "a'b",
                "a\"b",
            ],
        );
        check(
            Style::Double,
            &[
                "",
                "y",
                "No",
                "true",
                "null",
                "~",
                "1",
                "-1",
                "0644",
                "08",
                "1e3",
                "1_000",
                "0x1F",
                ".5",
                "1.",
                "12:30",
                "2026-01-02",
                "2026-01-02T03:04:05Z",
                "a\tb",
                "\u{1f600}",
                "a\rb",
                ".inf",
                "+1",
            ],
        );
        check(
            Style::Single,
            &[
                "- a", "-", "a: b", "a:", "# a", "a #b", "*x", "&x", "{a}", "[a]", "@x", "%x", "'a", "\"a", " a", "a ",
                "!x", ">x", "|", "`", ",a", "--- a", "? a",
            ],
        );
        check(Style::Literal, &["a\nb", "a\n", "\n", " a\nb", "a\n b"]);
        check(Style::Double, &["a \nb", "a\n\tb", "a\nb "]);
    }
}
