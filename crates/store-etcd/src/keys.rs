//! What lies where in etcd.
//!
//! ```text
//! /backstay/objects/RESOURCE/NAMESPACE/NAME   an object, see [`Stored`]; RESOURCE with `~` for `/`, NAMESPACE may be empty
//! /backstay/head                              written by each commit, so that its revision is that of the newest one;
//!                                             holds the last state of what that commit deleted, else nothing
//! /backstay/private/NAME                      what servers share besides objects: keys and certificates
//! ```
//! The revision of an object is etcd's own, known only when it is committed; so what is stored leaves a gap for it.

use std::sync::Arc;

use backstay_api::Index;
use backstay_store::{Encoded, Key, index_bytes};
use bytes::{BufMut, Bytes, BytesMut};

/// Where everything of one fleet lies.
#[derive(Clone, Debug)]
pub struct Keys {
    prefix: String,
}

impl Keys {
    /// `prefix` without a slash at its end.
    pub fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_string() }
    }

    /// What a server must hear of: objects and head.
    pub fn everything(&self) -> Bytes {
        format!("{}/", self.prefix).into()
    }

    pub fn objects(&self) -> Bytes {
        format!("{}/objects/", self.prefix).into()
    }

    pub fn head(&self) -> Bytes {
        format!("{}/head", self.prefix).into()
    }

    pub fn private(&self, name: &str) -> Bytes {
        format!("{}/private/{name}", self.prefix).into()
    }

    /// All objects of a resource.
    pub fn resource(&self, resource: &str) -> Bytes {
        format!("{}/objects/{}/", self.prefix, resource.replace('/', "~")).into()
    }

    pub fn object(&self, key: &Key) -> Bytes {
        format!("{}/objects/{}/{}/{}", self.prefix, key.resource.replace('/', "~"), key.namespace, key.name).into()
    }

    /// The object that lies there; `None` if it is none.
    pub fn parse(&self, place: &[u8]) -> Option<Key> {
        let place = std::str::from_utf8(place).ok()?.strip_prefix(&self.prefix)?.strip_prefix("/objects/")?;
        let mut parts = place.splitn(3, '/');
        let (resource, namespace, name) = (parts.next()?, parts.next()?, parts.next()?);
        Some(Key::new(&resource.replace('~', "/"), namespace, name))
    }
}

/// One object as it lies in etcd: the tag of the commit that wrote it (8 bytes), the lengths of index and head (4 bytes
/// each, big endian), then index, head and tail.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Drawn at random: tells whether a commit whose answer was lost has happened.
    pub tag: u64,
    pub encoded: Encoded,
}

impl Stored {
    pub fn to_bytes(&self) -> Bytes {
        let Encoded { head, tail, index } = &self.encoded;
        let mut index_text = Vec::new();
        index_bytes::put(index, &mut index_text);
        let mut bytes = BytesMut::with_capacity(16 + index_text.len() + head.len() + tail.len());
        bytes.put_u64(self.tag);
        // Parts of objects of a few megabytes.
        bytes.put_u32(index_text.len() as u32);
        bytes.put_u32(head.len() as u32);
        for part in [&index_text[..], head, tail] {
            bytes.put_slice(part);
        }
        bytes.freeze()
    }

    /// `None` if the bytes are not what [`Stored::to_bytes`] makes.
    pub fn parse(bytes: &Bytes) -> Option<Self> {
        let number = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?) as usize);
        let tag = u64::from_be_bytes(bytes.get(..8)?.try_into().ok()?);
        let head_at = number(8)?.checked_add(16)?;
        let tail_at = number(12)?.checked_add(head_at)?;
        if tail_at > bytes.len() {
            return None;
        }
        let index: Index = index_bytes::parse(&bytes[16..head_at])?;
        let (head, tail) = (bytes.slice(head_at..tail_at), bytes.slice(tail_at..));
        Some(Self { tag, encoded: Encoded { head, tail, index: Arc::new(index) } })
    }
}

/// What the head holds: the place of what was deleted and its last state. Empty, if nothing was.
pub fn last_words(place: &Bytes, stored: &Stored) -> Bytes {
    let body = stored.to_bytes();
    let mut bytes = BytesMut::with_capacity(4 + place.len() + body.len());
    bytes.put_u32(place.len() as u32);
    bytes.put_slice(place);
    bytes.put_slice(&body);
    bytes.freeze()
}

pub fn parse_last_words(bytes: &Bytes) -> Option<(Bytes, Stored)> {
    let length = u32::from_be_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
    let body_at = length.checked_add(4).filter(|end| *end <= bytes.len())?;
    Some((bytes.slice(4..body_at), Stored::parse(&bytes.slice(body_at..))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_objects() {
        let keys = Keys::new("/backstay");
        for (key, place) in [
            (Key::new("pods", "default", "a"), "/backstay/objects/pods/default/a"),
            (Key::new("apps/daemonsets", "default", "a.b"), "/backstay/objects/apps~daemonsets/default/a.b"),
            (Key::new("nodes", "", "n1"), "/backstay/objects/nodes//n1"),
            (Key::new("rbac/roles", "x", "system:a/b"), "/backstay/objects/rbac~roles/x/system:a/b"),
        ] {
            assert_eq!(keys.object(&key), place);
            assert_eq!(keys.parse(place.as_bytes()), Some(key));
        }
        for other in ["/backstay/head", "/backstay/private/ca", "/other/objects/pods/a/b", "/backstay/objects/pods"] {
            assert_eq!(keys.parse(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn what_is_stored_can_be_read_unless_it_is_cut() {
        let index = Index { uid: "u".into(), ..Index::default() };
        let encoded = Encoded {
            head: Bytes::from_static(b"{\"rv\":\""),
            tail: Bytes::from_static(b"\"}"),
            index: Arc::new(index),
        };
        let stored = Stored { tag: 7, encoded };
        let bytes = stored.to_bytes();
        let read = Stored::parse(&bytes).expect("whole");
        assert_eq!((read.tag, &read.encoded.at(12)[..]), (7, &b"{\"rv\":\"12\"}"[..]));
        assert_eq!(*read.encoded.index, *stored.encoded.index);
        let minimal = bytes.len() - stored.encoded.tail.len();
        for end in 0..minimal {
            assert!(Stored::parse(&bytes.slice(..end)).is_none(), "cut at {end}");
        }
        let place = Bytes::from_static(b"/x");
        let (found, last) = parse_last_words(&last_words(&place, &stored)).expect("whole");
        assert_eq!((found, last.tag), (place, 7));
        assert!(parse_last_words(&Bytes::new()).is_none());
    }
}
