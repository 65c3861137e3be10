//! Times as Go reads and writes them: RFC 3339, kept to the second (`Time`) or microsecond (`MicroTime`).

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::Offset;

/// How a time is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    Seconds,
    Micros,
}

impl Precision {
    /// Go's name of the form; it is part of error messages.
    fn layout(self) -> &'static str {
        match self {
            Precision::Seconds => "2006-01-02T15:04:05Z07:00",
            Precision::Micros => "2006-01-02T15:04:05.000000Z07:00",
        }
    }
}

/// The canonical text of a time; `None` for Go's zero time, which is written as null.
///
/// # Errors
/// The message of Go's `time.Parse`.
pub fn canonical(text: &str, precision: Precision) -> Result<Option<String>, String> {
    let time = Parser { text, rest: text, layout: precision.layout() }.parse(precision)?;
    Ok(format(time, precision))
}

/// From seconds and nanoseconds since 1970, as the protobuf form holds them.
pub fn from_unix(seconds: i64, nanos: i32, precision: Precision) -> Option<String> {
    Timestamp::new(seconds, nanos).ok().and_then(|time| format(time, precision))
}

fn format(time: Timestamp, precision: Precision) -> Option<String> {
    /// `0001-01-01T00:00:00Z`
    const ZERO_SECONDS: i64 = -62_135_596_800;
    if time.as_second() == ZERO_SECONDS && time.subsec_nanosecond() == 0 {
        return None;
    }
    let time = Offset::UTC.to_datetime(time);
    let date = format!("{:04}-{:02}-{:02}", time.year(), time.month(), time.day());
    let clock = format!("{:02}:{:02}:{:02}", time.hour(), time.minute(), time.second());
    Some(match precision {
        Precision::Seconds => format!("{date}T{clock}Z"),
        Precision::Micros => format!("{date}T{clock}.{:06}Z", time.subsec_nanosecond() / 1000),
    })
}

struct Parser<'a> {
    text: &'a str,
    rest: &'a str,
    layout: &'static str,
}

impl<'a> Parser<'a> {
    fn parse(mut self, precision: Precision) -> Result<Timestamp, String> {
        let year = self.digits(4, "2006")?;
        self.literal("-")?;
        let month = self.ranged("01", "month", 1..=12)?;
        self.literal("-")?;
        let day = self.digits(2, "02")?;
        self.literal("T")?;
        let hour = self.hour()?;
        self.literal(":")?;
        let minute = self.ranged("04", "minute", 0..=59)?;
        self.literal(":")?;
        let second = self.ranged("05", "second", 0..=59)?;
        let nanos = match precision {
            Precision::Seconds => self.fraction(),
            Precision::Micros => self.micros()?,
        };
        let offset = self.zone()?;
        if !self.rest.is_empty() {
            return Err(format!("parsing time {:?}: extra text: {:?}", self.text, self.rest));
        }
        let date = Date::new(small(year), small(month), small(day)).map_err(|_| self.out_of_range("day"))?;
        let time =
            DateTime::new(date.year(), date.month(), date.day(), small(hour), small(minute), small(second), nanos);
        let time = time.and_then(|time| Offset::from_seconds(offset)?.to_timestamp(time));
        time.map_err(|_| self.out_of_range("time"))
    }

    fn cannot(&self, element: &str) -> String {
        let Self { text, rest, layout } = self;
        format!("parsing time {text:?} as {layout:?}: cannot parse {rest:?} as {element:?}")
    }

    fn out_of_range(&self, what: &str) -> String {
        format!("parsing time {:?}: {what} out of range", self.text)
    }

    fn literal(&mut self, text: &str) -> Result<(), String> {
        self.rest = self.rest.strip_prefix(text).ok_or_else(|| self.cannot(text))?;
        Ok(())
    }

    fn digits(&mut self, count: usize, element: &str) -> Result<i32, String> {
        let digits = self.rest.get(..count).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        let number = digits.and_then(|digits| digits.parse().ok()).ok_or_else(|| self.cannot(element))?;
        self.rest = &self.rest[count..];
        Ok(number)
    }

    fn ranged(&mut self, element: &str, what: &str, range: std::ops::RangeInclusive<i32>) -> Result<i32, String> {
        let number = self.digits(2, element)?;
        if range.contains(&number) { Ok(number) } else { Err(self.out_of_range(what)) }
    }

    /// Go takes one digit as well.
    fn hour(&mut self) -> Result<i32, String> {
        let one = !self.rest.as_bytes().get(1).is_some_and(u8::is_ascii_digit);
        let hour = self.digits(if one { 1 } else { 2 }, "15")?;
        if hour < 24 { Ok(hour) } else { Err(self.out_of_range("hour")) }
    }

    /// An optional fraction of a second, of any length.
    fn fraction(&mut self) -> i32 {
        let Some(rest) = self.rest.strip_prefix(['.', ',']) else { return 0 };
        let count = rest.bytes().take_while(u8::is_ascii_digit).count();
        if count == 0 {
            return 0;
        }
        let digits = &rest[..count];
        self.rest = &rest[count..];
        format!("{digits:0<9.9}").parse().unwrap_or(0)
    }

    fn micros(&mut self) -> Result<i32, String> {
        let digits = self.rest.strip_prefix('.').and_then(|rest| rest.get(..6));
        let digits = digits.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
        let micros: i32 = digits.and_then(|digits| digits.parse().ok()).ok_or_else(|| self.cannot(".000000"))?;
        self.rest = &self.rest[7..];
        Ok(micros * 1000)
    }

    /// Seconds east of UTC.
    fn zone(&mut self) -> Result<i32, String> {
        const ELEMENT: &str = "Z07:00";
        if let Some(rest) = self.rest.strip_prefix('Z') {
            self.rest = rest;
            return Ok(0);
        }
        let sign = match self.rest.as_bytes().first() {
            Some(b'+') => 1,
            Some(b'-') => -1,
            _ => return Err(self.cannot(ELEMENT)),
        };
        let number = |range| self.rest.get(range).and_then(|text: &str| text.parse::<u8>().ok()).map(i32::from);
        let (Some(hours), Some(minutes), Some(":")) = (number(1..3), number(4..6), self.rest.get(3..4)) else {
            return Err(self.cannot(ELEMENT));
        };
        if hours > 24 {
            return Err(self.out_of_range("time zone offset hour"));
        }
        if minutes > 60 {
            return Err(self.out_of_range("time zone offset minute"));
        }
        self.rest = &self.rest[6..];
        Ok(sign * (hours * 3600 + minutes * 60))
    }
}

/// The parser has checked that the number has at most four digits.
fn small<T: TryFrom<i32> + Default>(number: i32) -> T {
    T::try_from(number).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, precision: Precision, expected: &str) {
        let actual = match canonical(text, precision) {
            Ok(time) => time.unwrap_or_else(|| "null".to_string()),
            Err(message) => message,
        };
        assert_eq!(actual, expected, "{text}");
    }

    #[test]
    fn times() {
        use Precision::{Micros, Seconds};
        check("2026-11-23T17:08:18Z", Seconds, "2026-11-23T17:08:18Z");
        check("2026-11-23T17:08:18.999Z", Seconds, "2026-11-23T17:08:18Z");
        check("2026-11-23T17:08:18+02:30", Seconds, "2026-11-23T14:38:18Z");
        check("0001-01-01T00:00:00Z", Seconds, "null");
        check("2026-11-23T17:08:18.123456Z", Micros, "2026-11-23T17:08:18.123456Z");
        check(
            "yesterday",
            Seconds,
            r#"parsing time "yesterday" as "2006-01-02T15:04:05Z07:00": cannot parse "yesterday" as "2006""#,
        );
        check(
            "2026-11-23",
            Seconds,
            r#"parsing time "2026-11-23" as "2006-01-02T15:04:05Z07:00": cannot parse "" as "T""#,
        );
        check("2026-13-23T00:00:00Z", Seconds, r#"parsing time "2026-13-23T00:00:00Z": month out of range"#);
        check("2026-02-30T00:00:00Z", Seconds, r#"parsing time "2026-02-30T00:00:00Z": day out of range"#);
        check("2026-01-01T00:00:00Zx", Seconds, r#"parsing time "2026-01-01T00:00:00Zx": extra text: "x""#);
        check(
            "2026-01-01T00:00:00Z",
            Micros,
            r#"parsing time "2026-01-01T00:00:00Z" as "2006-01-02T15:04:05.000000Z07:00": cannot parse "Z" as ".000000""#,
        );
    }
}
