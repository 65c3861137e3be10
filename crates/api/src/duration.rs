//! Durations as Go reads them: `1h30m`, `250ms`, `0`.

use std::time::Duration;

/// # Errors
/// In the words of Go's `time.ParseDuration`.
pub fn parse(text: &str) -> Result<Duration, String> {
    let invalid = || format!("time: invalid duration {text:?}");
    let mut rest = text.strip_prefix(['+', '-']).unwrap_or(text);
    let negative = text.starts_with('-');
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(rest.len());
        let number: f64 = rest[..digits].parse().map_err(|_| invalid())?;
        rest = &rest[digits..];
        let end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let unit = &rest[..end];
        rest = &rest[end..];
        seconds += number * unit_seconds(unit, text)?;
    }
    // There is no use for a negative one: it has passed.
    if negative { Ok(Duration::ZERO) } else { Duration::try_from_secs_f64(seconds).map_err(|_| invalid()) }
}

fn unit_seconds(unit: &str, text: &str) -> Result<f64, String> {
    match unit {
        "ns" => Ok(1e-9),
        "us" | "µs" | "μs" => Ok(1e-6),
        "ms" => Ok(1e-3),
        "s" => Ok(1.0),
        "m" => Ok(60.0),
        "h" => Ok(3600.0),
        "" => Err(format!("time: missing unit in duration {text:?}")),
        unit => Err(format!("time: unknown unit {unit:?} in duration {text:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_go() {
        let ok = |text: &str, millis: u64| assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        ok("1h1m1.5s", 3_661_500);
        ok("250ms", 250);
        ok("0", 0);
        ok("-3s", 0);
        let bad = |text: &str, words: &str| assert_eq!(parse(text), Err(words.to_string()));
        bad("5", "time: missing unit in duration \"5\"");
        bad("x", "time: invalid duration \"x\"");
        bad("5q", "time: unknown unit \"q\" in duration \"5q\"");
        bad("", "time: invalid duration \"\"");
        // A long one is read once, not once for each of its parts.
        ok(&"0m".repeat(500_000), 0);
    }
}
