//! One entry as bytes: revision (8 bytes, little endian), length of the index (4 bytes), index, JSON.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::{Entry, Key, index_bytes};

/// Separates the parts of a key; no name can contain it.
const SEPARATOR: u8 = 0;

/// The bytes of a key; they sort as keys do.
pub fn place(key: &Key) -> Vec<u8> {
    let mut place = Vec::with_capacity(key.resource.len() + key.namespace.len() + key.name.len() + 2);
    place.extend_from_slice(key.resource.as_bytes());
    place.push(SEPARATOR);
    place.extend_from_slice(key.namespace.as_bytes());
    place.push(SEPARATOR);
    place.extend_from_slice(key.name.as_bytes());
    place
}

pub fn key(place: &[u8]) -> Option<Key> {
    let mut parts = std::str::from_utf8(place).ok()?.split('\0');
    let key = Key::new(parts.next()?, parts.next()?, parts.next()?);
    parts.next().is_none().then_some(key)
}

/// Replaces the content of `out`.
pub fn encode(entry: &Entry, out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(&entry.revision.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    index_bytes::put(&entry.index, out);
    let index_bytes = u32::try_from(out.len() - 12).expect("an index is a small part of an object of a few MB");
    out[8..12].copy_from_slice(&index_bytes.to_le_bytes());
    out.extend_from_slice(&entry.value);
}

/// `None` if the bytes are not what [`encode`] writes.
pub fn decode(key: Key, bytes: &[u8]) -> Option<Entry> {
    let (revision, rest) = bytes.split_first_chunk::<8>()?;
    let (index_bytes, rest) = rest.split_first_chunk::<4>()?;
    let (index, value) = rest.split_at_checked(u32::from_le_bytes(*index_bytes) as usize)?;
    let index = Arc::new(index_bytes::parse(index)?);
    let (revision, value) = (u64::from_le_bytes(*revision), Bytes::copy_from_slice(value));
    Some(Entry { key, revision, value, index, messages: OnceLock::new() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use backstay_api::{Index, Pairs};

    fn entry(labels: usize, text: &str) -> Entry {
        let names: Vec<String> = (0..labels).map(|n| format!("label-{n}")).collect();
        let index = Index {
            uid: "0f5c".into(),
            labels: Pairs::of(names.iter().map(|name| (name.as_str(), text))),
            fields: Pairs::of([("spec.nodeName", "n1"), ("status.phase", "")].into_iter()),
            owners: vec!["aa".into()],
        };
        let key = Key::new("pods", "default", "a");
        let (value, index) = (Bytes::from_static(b"{}"), Arc::new(index));
        Entry { key, revision: 7, value, index, messages: OnceLock::new() }
    }

    fn check(entry: &Entry) -> Vec<u8> {
        let mut bytes = vec![1, 2, 3];
        encode(entry, &mut bytes);
        let read = decode(entry.key.clone(), &bytes).expect("what was written can be read");
        assert_eq!((read.revision, &read.value, &read.index), (entry.revision, &entry.value, &entry.index));
        bytes
    }

    #[test]
    fn written_and_read() {
        check(&entry(0, ""));
        check(&entry(3, "é"));
        check(&entry(300, &"x".repeat(200)));
    }

    #[test]
    fn cut_anywhere_it_is_refused() {
        let whole = entry(2, "v");
        let bytes = check(&whole);
        for end in 0..bytes.len() - whole.value.len() {
            assert!(decode(whole.key.clone(), &bytes[..end]).is_none(), "cut at {end}");
        }
    }

    #[test]
    fn places_sort_as_keys() {
        let mut keys: Vec<Key> = [("a", "z"), ("a-b", "a"), ("ab", "a"), ("", "b"), ("a", "")]
            .map(|(namespace, name)| Key::new("pods", namespace, name))
            .into();
        keys.push(Key::new("pod", "zz", "a"));
        keys.sort_by_key(place);
        assert!(keys.is_sorted(), "{keys:?}");
        assert_eq!(key(&place(&keys[2])), Some(keys[2].clone()));
        assert_eq!(key(b"only\0two"), None);
        assert_eq!(key(b"a\0b\0c\0d"), None);
    }
}
