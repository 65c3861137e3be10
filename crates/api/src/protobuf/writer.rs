//! A message being written.

#[derive(Default)]
pub struct Writer(pub Vec<u8>);

impl Writer {
    pub fn bytes(&mut self, tag: u32, payload: &[u8]) {
        self.varint(u64::from(tag) << 3 | 2);
        self.varint(payload.len() as u64);
        self.0.extend_from_slice(payload);
    }

    /// Negative numbers take ten bytes, as in Go.
    pub fn number(&mut self, tag: u32, value: i64) {
        self.varint(u64::from(tag) << 3);
        self.varint(value.cast_unsigned());
    }

    pub fn fixed64(&mut self, tag: u32, bits: u64) {
        self.varint(u64::from(tag) << 3 | 1);
        self.0.extend_from_slice(&bits.to_le_bytes());
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.0.push(value.to_le_bytes()[0]);
    }
}
