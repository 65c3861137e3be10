//! Semantic versions. Source: <https://semver.org>.

use std::cmp::Ordering;
use std::rc::Rc;

use super::{Entry, global, member};
use crate::cel::eval::{Cx, Outcome, error, no_overload};
use crate::cel::value::Value;

pub(super) static ALL: &[Entry] = &[
    global("semver", "string", "semver", semver),
    global("semver", "string, bool", "semver", semver),
    global("isSemver", "string", "bool", is_semver),
    global("isSemver", "string, bool", "bool", is_semver),
    member("major", "semver", "int", major),
    member("minor", "semver", "int", minor),
    member("patch", "semver", "int", patch),
    member("isLessThan", "semver, semver", "bool", is_less),
    member("isGreaterThan", "semver, semver", "bool", is_greater),
    member("compareTo", "semver, semver", "int", compare_to),
];

#[derive(Debug)]
pub struct Semver {
    numbers: [u64; 3],
    /// Empty for a release.
    before: Vec<String>,
}

impl Semver {
    fn parse(text: &str) -> Option<Self> {
        let (text, build) = text.split_once('+').map_or((text, None), |(text, build)| (text, Some(build)));
        let (core, before) = text.split_once('-').map_or((text, None), |(core, before)| (core, Some(before)));
        let word = |word: &str| !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        if build.is_some_and(|build| !build.split('.').all(word)) {
            return None;
        }
        let numbers: Vec<u64> = core.split('.').map(number).collect::<Option<_>>()?;
        let before: Vec<String> =
            before.map(|before| before.split('.').map(str::to_string).collect()).unwrap_or_default();
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        let fits = before.iter().all(|part| word(part) && (!digits(part) || number(part).is_some()));
        fits.then_some(Self { numbers: numbers.try_into().ok()?, before })
    }

    /// What people write for a version: `v1.2`, `01.2.3`.
    fn parse_normalized(text: &str) -> Option<Self> {
        let text = text.strip_prefix('v').unwrap_or(text);
        let end = text.find(['-', '+']).unwrap_or(text.len());
        let (core, rest) = text.split_at(end);
        let mut parts: Vec<&str> = core.split('.').collect();
        parts.resize(parts.len().max(3), "0");
        let trimmed = |part: &&str| match part.trim_start_matches('0') {
            "" if !part.is_empty() => "0".to_string(),
            part => part.to_string(),
        };
        let parts: Vec<String> = parts.iter().map(trimmed).collect();
        Self::parse(&format!("{}{rest}", parts.join(".")))
    }

    /// Which version comes first: a pre-release before its release; what it was built from does not matter.
    pub fn cmp_precedence(&self, other: &Self) -> Ordering {
        self.numbers.cmp(&other.numbers).then_with(|| match (self.before.is_empty(), other.before.is_empty()) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) => {
                let pairs = self.before.iter().zip(&other.before).map(|(left, right)| part_order(left, right));
                pairs.fold(Ordering::Equal, Ordering::then).then(self.before.len().cmp(&other.before.len()))
            }
        })
    }
}

/// Numbers come before words.
fn part_order(left: &str, right: &str) -> Ordering {
    match (number(left), number(right)) {
        (Some(left), Some(right)) => left.cmp(&right),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => left.cmp(right),
    }
}

/// Without leading zeros.
fn number(text: &str) -> Option<u64> {
    let fits = text == "0" || text.starts_with(|c: char| ('1'..='9').contains(&c));
    text.parse().ok().filter(|_| fits)
}

fn parsed(args: &[Value<'_>]) -> Outcome<Option<Semver>> {
    match args {
        [Value::String(text), Value::Bool(true)] => Ok(Semver::parse_normalized(text)),
        [Value::String(text), ..] => Ok(Semver::parse(text)),
        _ => no_overload(),
    }
}

fn semver<'a>(_: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    parsed(args)?.map_or_else(|| error("invalid semantic version"), |version| Ok(Value::Semver(Rc::new(version))))
}

fn is_semver<'a>(_: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    Ok(Value::Bool(parsed(args)?.is_some()))
}

fn part<'a>(args: &[Value<'a>], part: usize) -> Outcome<Value<'a>> {
    let [Value::Semver(version)] = args else { return no_overload() };
    super::operators::int(i64::try_from(version.numbers[part]).ok())
}

fn major<'a>(_: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    part(args, 0)
}

fn minor<'a>(_: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    part(args, 1)
}

fn patch<'a>(_: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    part(args, 2)
}

fn compared(args: &[Value<'_>]) -> Outcome<Ordering> {
    let [Value::Semver(left), Value::Semver(right)] = args else { return no_overload() };
    Ok(left.cmp_precedence(right))
}

fn is_less<'a>(_: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    compared(args).map(|order| Value::Bool(order.is_lt()))
}

fn is_greater<'a>(_: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    compared(args).map(|order| Value::Bool(order.is_gt()))
}

fn compare_to<'a>(_: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    compared(args).map(|order| Value::Int(order as i64))
}
