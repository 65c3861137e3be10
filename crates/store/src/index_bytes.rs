//! An object's index as bytes. Strings are preceded by their length, and lists by their count, as variable-length
//! numbers.

use backstay_api::{Index, Pairs};

/// Appends an index.
pub fn put(index: &Index, out: &mut Vec<u8>) {
    put_text(&index.uid, out);
    put_pairs(&index.labels, out);
    put_pairs(&index.fields, out);
    put_number(index.owners.len(), out);
    index.owners.iter().for_each(|owner| put_text(owner, out));
}

fn put_pairs(pairs: &Pairs, out: &mut Vec<u8>) {
    put_number(pairs.iter().count(), out);
    for (name, value) in pairs.iter() {
        put_text(name, out);
        put_text(value, out);
    }
}

fn put_text(text: &str, out: &mut Vec<u8>) {
    put_number(text.len(), out);
    out.extend_from_slice(text.as_bytes());
}

/// Seven bits per byte, the lowest first; the highest bit says that more follow.
fn put_number(mut number: usize, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// `None` if the bytes are not an index and nothing else.
pub fn parse(bytes: &[u8]) -> Option<Index> {
    Reader(bytes).index()
}

/// What is left to read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// An index and nothing after it.
    fn index(mut self) -> Option<Index> {
        let mut index = Index { uid: self.text()?.to_string(), ..Index::default() };
        index.labels = self.pairs()?;
        index.fields = self.pairs()?;
        for _ in 0..self.number()? {
            index.owners.push(self.text()?.to_string());
        }
        self.0.is_empty().then_some(index)
    }

    fn pairs(&mut self) -> Option<Pairs> {
        let mut pairs = Vec::new();
        for _ in 0..self.number()? {
            pairs.push((self.text()?, self.text()?));
        }
        Some(Pairs::of(pairs.into_iter()))
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = self.number()?;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        std::str::from_utf8(text).ok()
    }

    fn number(&mut self) -> Option<usize> {
        let mut number = 0_usize;
        for shift in (0..usize::BITS).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            number |= usize::from(byte & 0x7f).checked_shl(shift)?;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }
}
