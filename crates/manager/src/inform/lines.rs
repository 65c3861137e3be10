//! The lines of a watch.

use serde::Deserialize;
use serde_json::value::RawValue;

/// Collects the chunks of a body and hands out whole lines.
#[derive(Default)]
pub struct Lines {
    buffer: Vec<u8>,
    /// Lines before this have been handed out.
    start: usize,
    /// No line ends before this.
    searched: usize,
}

/// A longer line is not an object of this API: etcd and we refuse objects a tenth of this size.
const LINE_MAX: usize = 32 << 20;

#[derive(Debug, thiserror::Error)]
#[error("a line of the watch is longer than {LINE_MAX} bytes")]
pub struct LineTooLong;

impl Lines {
    /// # Errors
    /// If the unfinished line has become too long.
    pub fn push(&mut self, chunk: &[u8]) -> Result<(), LineTooLong> {
        self.buffer.drain(..self.start);
        self.searched -= self.start;
        self.start = 0;
        self.buffer.extend_from_slice(chunk);
        if self.buffer.len() > LINE_MAX { Err(LineTooLong) } else { Ok(()) }
    }

    /// The next whole line that is not empty, without its end.
    pub fn next_line(&mut self) -> Option<&[u8]> {
        loop {
            let end = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n');
            let Some(end) = end.map(|end| self.searched + end) else {
                self.searched = self.buffer.len();
                return None;
            };
            let start = std::mem::replace(&mut self.start, end + 1);
            self.searched = end + 1;
            if end > start {
                return Some(&self.buffer[start..end]);
            }
        }
    }
}

/// The kind of an event (`ADDED`, `BOOKMARK`...) and its object, still encoded.
pub fn split(line: &[u8]) -> Result<(&str, &[u8]), serde_json::Error> {
    if let Some(parts) = split_quickly(line) {
        return Ok(parts);
    }
    let event: WireEvent<'_> = serde_json::from_slice(line)?;
    Ok((event.kind, event.object.get().as_bytes()))
}

/// The form that servers write, `{"type":"ADDED","object":...}`, needs no parser.
fn split_quickly(line: &[u8]) -> Option<(&str, &[u8])> {
    let rest = line.strip_prefix(br#"{"type":""#)?;
    let end = rest.iter().take(16).position(|byte| *byte == b'"')?;
    let (kind, rest) = rest.split_at(end);
    let object = rest.strip_prefix(br#"","object":"#)?.strip_suffix(b"}")?;
    Some((std::str::from_utf8(kind).ok()?, object))
}

#[derive(Deserialize)]
struct WireEvent<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(borrow)]
    object: &'a RawValue,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_whole_however_they_are_cut() {
        let text = b"first\n\nsecond line\nthird";
        for size in 1..text.len() {
            let (mut lines, mut seen) = (Lines::default(), Vec::new());
            for chunk in text.chunks(size) {
                lines.push(chunk).unwrap();
                while let Some(line) = lines.next_line() {
                    seen.push(String::from_utf8(line.to_vec()).unwrap());
                }
            }
            assert_eq!(seen, ["first", "second line"], "chunks of {size}");
        }
    }

    #[test]
    fn events_are_split_in_every_spelling() {
        let check = |line: &str, kind: &str, object: &str| {
            assert_eq!(split(line.as_bytes()).unwrap(), (kind, object.as_bytes()), "{line}");
        };
        check(r#"{"type":"ADDED","object":{"a":1}}"#, "ADDED", r#"{"a":1}"#);
        check(r#"{"object":{"a":1},"type":"DELETED"}"#, "DELETED", r#"{"a":1}"#);
        check(r#"{ "type": "ADDED", "object": {"a":"}"} }"#, "ADDED", r#"{"a":"}"}"#);
        assert!(split(b"nonsense").is_err());
    }
}
