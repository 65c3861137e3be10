//! A message being written, from its end to its beginning: the length of a message stands before it, and is known once
//! it is written. So nothing is copied from one buffer into another, however deep messages lie in each other.

/// Holds the bytes in reverse.
#[derive(Default)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// A message in a field. What `write` writes is its content.
    pub fn message(&mut self, tag: u32, write: impl FnOnce(&mut Self)) {
        let end = self.0.len();
        write(self);
        let length = self.0.len() - end;
        self.key(tag, length as u64, 2);
    }

    pub fn bytes(&mut self, tag: u32, payload: &[u8]) {
        self.0.extend(payload.iter().rev());
        self.key(tag, payload.len() as u64, 2);
    }

    /// Negative numbers take ten bytes, as in Go.
    pub fn number(&mut self, tag: u32, value: i64) {
        self.key(tag, value.cast_unsigned(), 0);
    }

    pub fn fixed64(&mut self, tag: u32, bits: u64) {
        self.0.extend(bits.to_le_bytes().iter().rev());
        self.varint(u64::from(tag) << 3 | 1);
    }

    /// The message from its beginning to its end.
    pub fn finish(mut self) -> Vec<u8> {
        self.0.reverse();
        self.0
    }

    /// What stands before a payload: the field with its wire type, and a length or number.
    fn key(&mut self, tag: u32, number: u64, wire_type: u64) {
        self.varint(number);
        self.varint(u64::from(tag) << 3 | wire_type);
    }

    fn varint(&mut self, value: u64) {
        let begin = self.0.len();
        put_varint(&mut self.0, value);
        self.0[begin..].reverse();
    }
}

/// Appends a number, seven bits a byte.
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}
