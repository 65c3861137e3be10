//! What stands around messages: `k8s\0` and a `runtime.Unknown` around objects and lists, frames around watch events.

use serde_json::Value;

use super::writer::put_varint;
use crate::schema::{self, Type};

/// Begins every body.
const MAGIC: &[u8] = b"k8s\0";
/// `contentEncoding` and `contentType`, which Go writes though they are empty.
const UNKNOWN_TAIL: &[u8] = b"\x1a\0\x22\0";

/// A message as a body.
pub fn body(api_version: &str, kind: &str, message: &[u8]) -> Vec<u8> {
    let head = unknown_head(api_version, kind, message.len());
    [&head, message, UNKNOWN_TAIL].concat()
}

/// A list as a body, from its `metadata` and the messages of its items. `kind` is that of the list: `DaemonSetList`.
pub fn list<M: AsRef<[u8]>>(api_version: &str, kind: &str, metadata: &Value, items: &[M]) -> Vec<u8> {
    let mut list_meta = Vec::new();
    if let Some(id) = schema::builtin().find("meta.v1.ListMeta") {
        let message = super::message(schema::builtin(), &Type::Struct { id }, metadata).unwrap_or_default();
        put_key(&mut list_meta, 1, message.len());
        list_meta.extend_from_slice(&message);
    }
    let items_length: usize = items.iter().map(|item| key_length(item.as_ref().len()) + item.as_ref().len()).sum();
    let mut out = unknown_head(api_version, kind, list_meta.len() + items_length);
    out.reserve_exact(list_meta.len() + items_length + UNKNOWN_TAIL.len());
    out.extend_from_slice(&list_meta);
    for item in items {
        put_key(&mut out, 2, item.as_ref().len());
        out.extend_from_slice(item.as_ref());
    }
    out.extend_from_slice(UNKNOWN_TAIL);
    out
}

/// Appends one event of a watch, with the length before it that frames a stream of them. Only the object in it has the
/// form of a body: the event itself is a bare message.
pub fn watch_frame(out: &mut Vec<u8>, event: &str, api_version: &str, kind: &str, message: &[u8]) {
    let unknown = unknown_head(api_version, kind, message.len());
    let body_length = unknown.len() + message.len() + UNKNOWN_TAIL.len();
    let mut head = Vec::with_capacity(32);
    put_key(&mut head, 1, event.len());
    head.extend_from_slice(event.as_bytes());
    // WatchEvent.object is a RawExtension, whose field 1 holds the body.
    put_key(&mut head, 2, key_length(body_length) + body_length);
    put_key(&mut head, 1, body_length);
    let length = u32::try_from(head.len() + body_length).expect("an object is smaller than 4 GiB");
    out.reserve(4 + head.len() + body_length);
    let parts = [&length.to_be_bytes(), &head[..], &unknown, message, UNKNOWN_TAIL];
    parts.iter().for_each(|part| out.extend_from_slice(part));
}

/// Everything before the message of an object in its body.
fn unknown_head(api_version: &str, kind: &str, length: usize) -> Vec<u8> {
    let mut type_meta = Vec::with_capacity(64);
    for (tag, text) in [(1, api_version), (2, kind)] {
        put_key(&mut type_meta, tag, text.len());
        type_meta.extend_from_slice(text.as_bytes());
    }
    let mut head = Vec::with_capacity(96);
    head.extend_from_slice(MAGIC);
    put_key(&mut head, 1, type_meta.len());
    head.extend_from_slice(&type_meta);
    put_key(&mut head, 2, length);
    head
}

/// The beginning of a field of bytes with a tag below 16, which takes one byte.
fn put_key(out: &mut Vec<u8>, tag: u8, length: usize) {
    out.push(tag << 3 | 2);
    put_varint(out, length as u64);
}

fn key_length(length: usize) -> usize {
    let mut key = Vec::with_capacity(10);
    put_key(&mut key, 1, length);
    key.len()
}
