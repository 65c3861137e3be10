//! Times and durations.

use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp, Zoned};

use super::{Entry, member};
use crate::cel::eval::{Cx, Outcome, error, no_overload};
use crate::cel::value::Value;

pub const DURATION_OVERFLOW: &str = "duration overflow";
const TIMESTAMP_OVERFLOW: &str = "timestamp overflow";
/// The years 1 to 9999.
const SECONDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

macro_rules! part {
    ($name:literal, $run:ident) => {
        [member($name, "timestamp", "int", $run), member($name, "timestamp, string", "int", $run)]
    };
}

const PARTS: [[Entry; 2]; 10] = [
    part!("getFullYear", year),
    part!("getMonth", month),
    part!("getDayOfMonth", day_of_month),
    part!("getDate", date),
    part!("getDayOfWeek", day_of_week),
    part!("getDayOfYear", day_of_year),
    part!("getHours", hours),
    part!("getMinutes", minutes),
    part!("getSeconds", seconds),
    part!("getMilliseconds", milliseconds),
];

const OF_DURATIONS: [Entry; 4] = [
    member("getHours", "duration", "int", hours),
    member("getMinutes", "duration", "int", minutes),
    member("getSeconds", "duration", "int", seconds),
    member("getMilliseconds", "duration", "int", milliseconds),
];

pub(super) static ALL: &[Entry] = &{
    let mut all = [const { member("", "", "", year) }; 24];
    let mut at = 0;
    while at < 24 {
        let entry = if at < 20 { &PARTS[at / 2][at % 2] } else { &OF_DURATIONS[at - 20] };
        all[at] = member(entry.name, entry.params, entry.result, entry.run);
        at += 1;
    }
    all
};

pub fn in_range(time: Timestamp) -> Outcome<Timestamp> {
    if SECONDS.contains(&time.as_second()) { Ok(time) } else { error(TIMESTAMP_OVERFLOW) }
}

fn duration<'a>(nanos: Option<i64>) -> Outcome<Value<'a>> {
    nanos.map_or_else(|| error(DURATION_OVERFLOW), |nanos| Ok(Value::Duration(nanos)))
}

fn moved<'a>(
    time: &Timestamp,
    nanos: i64,
    by: fn(Timestamp, SignedDuration) -> Option<Timestamp>,
) -> Outcome<Value<'a>> {
    match by(*time, SignedDuration::from_nanos(nanos)) {
        Some(time) => in_range(time).map(Value::Timestamp),
        None => error(TIMESTAMP_OVERFLOW),
    }
}

pub fn add<'a>(_: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    match args {
        [Value::Timestamp(time), Value::Duration(nanos)] | [Value::Duration(nanos), Value::Timestamp(time)] => {
            moved(time, *nanos, |time, by| time.checked_add(by).ok())
        }
        [Value::Duration(left), Value::Duration(right)] => duration(left.checked_add(*right)),
        _ => no_overload(),
    }
}

pub fn subtract<'a>(_: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    match args {
        [Value::Timestamp(time), Value::Duration(nanos)] => moved(time, *nanos, |time, by| time.checked_sub(by).ok()),
        [Value::Timestamp(left), Value::Timestamp(right)] => {
            duration(i64::try_from(left.as_nanosecond() - right.as_nanosecond()).ok())
        }
        [Value::Duration(left), Value::Duration(right)] => duration(left.checked_sub(*right)),
        _ => no_overload(),
    }
}

/// The moment as clocks of a zone show it, UTC if none is given.
fn zoned(args: &[Value<'_>]) -> Outcome<Zoned> {
    match args {
        [Value::Timestamp(time)] => Ok(time.to_zoned(TimeZone::UTC)),
        [Value::Timestamp(time), Value::String(name)] => match zone(name) {
            Some(zone) => Ok(time.to_zoned(zone)),
            None => error(format!("unknown time zone {name}")),
        },
        _ => no_overload(),
    }
}

/// `Europe/Berlin`, or an offset such as `-08:00`.
fn zone(name: &str) -> Option<TimeZone> {
    let Some((hours, minutes)) = name.split_once(':') else { return TimeZone::get(name).ok() };
    let sign = if hours.starts_with('-') { -1 } else { 1 };
    let (hours, minutes): (i32, i32) = (hours.parse().ok()?, minutes.parse().ok()?);
    let seconds = hours.checked_mul(3600)?.checked_add(sign * minutes.checked_mul(60)?)?;
    Some(TimeZone::fixed(Offset::from_seconds(seconds).ok()?))
}

fn of_zoned<'a>(args: &[Value<'a>], part: fn(&Zoned) -> i64) -> Outcome<Value<'a>> {
    zoned(args).map(|zoned| Value::Int(part(&zoned)))
}

fn year<'a>(_: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    of_zoned(args, |time| time.year().into())
}

/// From 0 on, as are the days of month, week (from Sunday) and year.
fn month<'a>(_: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    of_zoned(args, |time| i64::from(time.month()) - 1)
}

fn day_of_month<'a>(_: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    of_zoned(args, |time| i64::from(time.day()) - 1)
}

/// The day of the month from 1 on.
fn date<'a>(_: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    of_zoned(args, |time| time.day().into())
}

fn day_of_week<'a>(_: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    of_zoned(args, |time| time.weekday().to_sunday_zero_offset().into())
}

fn day_of_year<'a>(_: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    of_zoned(args, |time| i64::from(time.day_of_year()) - 1)
}

/// Of a duration: all of it in whole hours.
fn hours<'a>(_: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    match args {
        [Value::Duration(nanos)] => Ok(Value::Int(nanos / 3_600_000_000_000)),
        args => of_zoned(args, |time| time.hour().into()),
    }
}

fn minutes<'a>(_: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    match args {
        [Value::Duration(nanos)] => Ok(Value::Int(nanos / 60_000_000_000)),
        args => of_zoned(args, |time| time.minute().into()),
    }
}

fn seconds<'a>(_: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    match args {
        [Value::Duration(nanos)] => Ok(Value::Int(nanos / 1_000_000_000)),
        args => of_zoned(args, |time| time.second().into()),
    }
}

fn milliseconds<'a>(_: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    match args {
        [Value::Duration(nanos)] => Ok(Value::Int(nanos / 1_000_000)),
        args => of_zoned(args, |time| time.millisecond().into()),
    }
}

/// Nanoseconds of a text such as `1h30m`, `-1.5s`, `0`; `None` if it is no duration or too long a one.
pub fn parse_duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.strip_prefix(['+', '-']) {
        Some(rest) => (text.starts_with('-'), rest),
        None => (false, text),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut nanos: i128 = 0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(end);
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        nanos = nanos.checked_add(amount(number, unit)?)?;
        rest = after;
    }
    i64::try_from(if negative { -nanos } else { nanos }).ok()
}

fn amount(number: &str, unit: &str) -> Option<i128> {
    let nanos: i128 = match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty()
        || whole.len() > 19
        || !fraction.bytes().all(|byte| byte.is_ascii_digit())
    {
        return None;
    }
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    // Digits beyond these are less than a nanosecond, whatever the unit.
    let fraction = &fraction[..fraction.len().min(15)];
    let part: i128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    Some(whole * nanos + part * nanos / 10_i128.pow(fraction.len() as u32))
}

/// Seconds with as many places as it takes.
pub fn duration_text(nanos: i64) -> String {
    let (sign, nanos) = (if nanos < 0 { "-" } else { "" }, nanos.unsigned_abs());
    let (seconds, rest) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
    match format!("{rest:09}").trim_end_matches('0') {
        "" => format!("{sign}{seconds}s"),
        fraction => format!("{sign}{seconds}.{fraction}s"),
    }
}
