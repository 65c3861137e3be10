//! URLs: absolute ones, and absolute paths.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::{Entry, global, member};
use crate::cel::eval::{Cx, Outcome, error, no_overload};
use crate::cel::value::{Key, Map, Value};

pub(super) static ALL: &[Entry] = &[
    global("url", "string", "url", url),
    global("isURL", "string", "bool", is_url),
    member("getScheme", "url", "string", scheme),
    member("getHost", "url", "string", host),
    member("getHostname", "url", "string", hostname),
    member("getPort", "url", "string", port),
    member("getEscapedPath", "url", "string", escaped_path),
    member("getQuery", "url", "map<string, list<string>>", query),
];

#[derive(Debug, PartialEq, Eq)]
pub struct Url {
    scheme: String,
    /// With the port, without user and password.
    host: String,
    path: String,
    query: String,
}

impl Url {
    pub fn parse(text: &str) -> Option<Self> {
        if text.is_empty() || text.chars().any(|c| c.is_ascii_control() || c == ' ') {
            return None;
        }
        let (before, query) = text.split_once('?').unwrap_or((text, ""));
        let (scheme, rest) = match before.split_once(':') {
            Some((scheme, rest)) if !before.starts_with('/') => (scheme, rest),
            _ => ("", before),
        };
        let named = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
        if !(named || scheme.is_empty() && rest.starts_with('/')) {
            return None;
        }
        let (authority, path) = match rest.strip_prefix("//") {
            Some(rest) if named => rest.split_at(rest.find('/').unwrap_or(rest.len())),
            _ => ("", rest),
        };
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        (is_host(host) && escapes_fit(path)).then(|| Self {
            scheme: scheme.to_ascii_lowercase(),
            host: host.into(),
            path: path.into(),
            query: query.into(),
        })
    }

    fn hostname_and_port(&self) -> (&str, &str) {
        if let Some((name, rest)) = self.host.strip_prefix('[').and_then(|host| host.split_once(']')) {
            return (name, rest.strip_prefix(':').unwrap_or(""));
        }
        self.host.split_once(':').unwrap_or((&self.host, ""))
    }
}

fn is_host(host: &str) -> bool {
    let port = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((_, "")) => None,
            Some((_, rest)) => match rest.strip_prefix(':') {
                Some(port) => Some(port),
                None => return false,
            },
            None => return false,
        },
        None => host.split_once(':').map(|(_, port)| port),
    };
    let digits = port.is_none_or(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
    digits && !host.contains(['<', '>', '"', '\\', '^', '`', '{', '|', '}'])
}

fn escapes_fit(path: &str) -> bool {
    path.split('%')
        .skip(1)
        .all(|rest| rest.get(..2).is_some_and(|code| code.bytes().all(|byte| byte.is_ascii_hexdigit())))
}

/// `+` and `%xx` in a query.
fn unescaped(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = after.get(..2).and_then(|code| std::str::from_utf8(code).ok());
        match (first, code.and_then(|code| u8::from_str_radix(code, 16).ok())) {
            (b'%', Some(byte)) => {
                out.push(byte);
                rest = &after[2..];
            }
            (b'+', _) => {
                out.push(b' ');
                rest = after;
            }
            _ => {
                out.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn parsed(cx: &mut Cx<'_>, args: &[Value<'_>]) -> Outcome<Option<Url>> {
    let [Value::String(text)] = args else { return no_overload() };
    cx.spend_bytes(text.len())?;
    Ok(Url::parse(text))
}

fn url<'a>(cx: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    match parsed(cx, args)? {
        Some(url) => Ok(Value::Url(Rc::new(url))),
        None => error("URL parse error during conversion from string: invalid URI for request"),
    }
}

fn is_url<'a>(cx: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    Ok(Value::Bool(parsed(cx, args)?.is_some()))
}

fn part<'a>(args: &[Value<'a>], part: fn(&Url) -> &str) -> Outcome<Value<'a>> {
    let [Value::Url(url)] = args else { return no_overload() };
    Ok(Value::text(part(url)))
}

fn scheme<'a>(_: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    part(args, |url| &url.scheme)
}

fn host<'a>(_: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    part(args, |url| &url.host)
}

fn hostname<'a>(_: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    part(args, |url| url.hostname_and_port().0)
}

fn port<'a>(_: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    part(args, |url| url.hostname_and_port().1)
}

fn escaped_path<'a>(_: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    part(args, |url| &url.path)
}

fn query<'a>(_: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    let [Value::Url(url)] = args else { return no_overload() };
    let mut map: BTreeMap<Key, Vec<Value<'a>>> = BTreeMap::new();
    for pair in url.query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        map.entry(Key::String(unescaped(key))).or_default().push(Value::text(unescaped(value)));
    }
    let map = map.into_iter().map(|(key, values)| (key, Value::list(values))).collect();
    Ok(Value::Map(Map::Made(Rc::new(map))))
}
