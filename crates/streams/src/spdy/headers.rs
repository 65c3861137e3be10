//! Header blocks: names and values in one compressed stream per direction and connection.
//! Source: SPDY protocol, draft 3, section 2.6.10.

use bytes::{BufMut as _, Bytes, BytesMut};
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::inflate_flags::TINFL_FLAG_HAS_MORE_INPUT;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress};

use super::frame::FrameError;

pub type Headers = Vec<(String, String)>;

/// One block, unpacked: what a client of Kubernetes sends has a few dozen bytes.
pub const BLOCK_BYTES_MAX: usize = 64 * 1024;
const HEADERS_MAX: usize = 100;
/// What deflate may look back at, which its decompressor wants as its output buffer.
const WINDOW_BYTES: usize = 32 * 1024;
/// Deflate, 32 KiB of window; and the same with a dictionary that both sides know.
const ZLIB: [u8; 2] = [0x78, 0x01];
const DICTIONARY_FLAG: u8 = 0x20;
const DICTIONARY_ID: [u8; 4] = [0xe3, 0xc6, 0xa7, 0xc2];

/// Packs blocks. They are stored, not compressed: ours are shorter than what compressing them would add.
#[derive(Debug, Default)]
pub struct Packer {
    begun: bool,
}

impl Packer {
    pub fn pack(&mut self, headers: &[(&str, &str)]) -> Bytes {
        let mut block = BytesMut::new();
        block.put_u32(headers.len() as u32);
        for text in headers.iter().flat_map(|(name, value)| [name, value]) {
            block.put_u32(text.len() as u32);
            block.put_slice(text.as_bytes());
        }
        let mut packed = BytesMut::new();
        if !std::mem::replace(&mut self.begun, true) {
            packed.put_slice(&ZLIB);
        }
        for piece in block.chunks(usize::from(u16::MAX)) {
            let length = piece.len() as u16;
            packed.put_u8(0);
            packed.put_u16_le(length);
            packed.put_u16_le(!length);
            packed.put_slice(piece);
        }
        // An empty piece is where readers flush what they have.
        packed.put_slice(&[0, 0, 0, 0xff, 0xff]);
        packed.freeze()
    }
}

/// Unpacks the blocks of a connection, one after the other.
pub struct Unpacker {
    inflate: Box<DecompressorOxide>,
    window: Vec<u8>,
    position: usize,
    /// Bytes of zlib's own head that have not come yet.
    head: Vec<u8>,
    begun: bool,
}

impl Default for Unpacker {
    fn default() -> Self {
        Self { inflate: Box::default(), window: vec![0; WINDOW_BYTES], position: 0, head: Vec::new(), begun: false }
    }
}

impl Unpacker {
    /// # Errors
    /// If it is not a block of headers, or too large a one. The connection cannot go on.
    pub fn unpack(&mut self, packed: &[u8]) -> Result<Headers, FrameError> {
        let rest = self.begin(packed)?;
        let block = self.inflate(rest)?;
        parse(&block).ok_or(FrameError::Headers)
    }

    /// Passes over zlib's head, and lays out the dictionary where deflate will look back at it.
    fn begin<'a>(&mut self, mut packed: &'a [u8]) -> Result<&'a [u8], FrameError> {
        while !self.begun {
            let wanted = match self.head.get(1) {
                Some(flags) if flags & DICTIONARY_FLAG != 0 => 6,
                _ => 2,
            };
            if self.head.len() < wanted {
                let (first, rest) = packed.split_first().ok_or(FrameError::Headers)?;
                self.head.push(*first);
                packed = rest;
                continue;
            }
            let sound = u16::from_be_bytes([self.head[0], self.head[1]]).is_multiple_of(31) && self.head[0] & 0x0f == 8;
            if !sound || (wanted == 6 && self.head[2..] != DICTIONARY_ID) {
                return Err(FrameError::Headers);
            }
            if wanted == 6 {
                let dictionary = super::dictionary::bytes();
                self.window[..dictionary.len()].copy_from_slice(&dictionary);
                self.position = dictionary.len();
            }
            self.begun = true;
        }
        Ok(packed)
    }

    fn inflate(&mut self, mut packed: &[u8]) -> Result<Vec<u8>, FrameError> {
        let mut block = Vec::new();
        loop {
            let start = self.position;
            let (status, read, written) =
                decompress(&mut self.inflate, packed, &mut self.window, start, TINFL_FLAG_HAS_MORE_INPUT);
            block.extend_from_slice(&self.window[start..start + written]);
            self.position = (start + written) % WINDOW_BYTES;
            packed = &packed[read..];
            if block.len() > BLOCK_BYTES_MAX {
                return Err(FrameError::TooLong);
            }
            match status {
                TINFLStatus::HasMoreOutput => {}
                TINFLStatus::NeedsMoreInput if packed.is_empty() => return Ok(block),
                _ => return Err(FrameError::Headers),
            }
        }
    }
}

fn parse(mut block: &[u8]) -> Option<Headers> {
    let count = usize::try_from(number(&mut block)?).ok().filter(|count| *count <= HEADERS_MAX)?;
    let headers = (0..count).map(|_| Some((text(&mut block)?, text(&mut block)?))).collect();
    if block.is_empty() { headers } else { None }
}

fn number(block: &mut &[u8]) -> Option<u32> {
    let (bytes, rest) = block.split_first_chunk()?;
    *block = rest;
    Some(u32::from_be_bytes(*bytes))
}

fn text(block: &mut &[u8]) -> Option<String> {
    let length = usize::try_from(number(block)?).ok()?;
    let (text, rest) = block.split_at_checked(length)?;
    *block = rest;
    String::from_utf8(text.to_vec()).ok()
}

/// The first value of a header; names are compared as HTTP does.
pub fn value<'a>(headers: &'a Headers, name: &str) -> Option<&'a str> {
    let (_, value) = headers.iter().find(|(given, _)| given.eq_ignore_ascii_case(name))?;
    // Several values of one name are joined by zeros.
    value.split('\0').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(headers: &[(&str, &str)]) -> Headers {
        headers.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
    }

    #[test]
    fn blocks_come_back_one_after_the_other() {
        let (mut packer, mut unpacker) = (Packer::default(), Unpacker::default());
        let long = "x".repeat(60_000);
        for headers in [&[("streamtype", "data"), ("port", "80")][..], &[], &[("a", &long)], &[("b", &long)]] {
            assert_eq!(unpacker.unpack(&packer.pack(headers)), Ok(owned(headers)));
        }
    }

    /// Compressed with the dictionary by zlib, as every client of Kubernetes does.
    #[test]
    fn blocks_of_other_people() {
        type Row = (&'static [u8], &'static [(&'static str, &'static str)]);
        let blocks: &[Row] = &[
            (
                &[
                    0x78, 0xbb, 0xe3, 0xc6, 0xa7, 0xc2, 2, 0x25, 0x3a, 0x70, 0x3a, 0x2b, 0x29, 0x4a, 0x4d, 0xcc, 0x85,
                    0x16, 0x25, 0xac, 0xa9, 0xa0, 0x80, 0x86, 0x14, 0xcb, 0x45, 0xe0, 0x1c, 0x60, 0x61, 0x60, 0x61, 0,
                    0xa4, 0x39, 0x8b, 0x20, 0xd1, 0x98, 9, 0x4a, 0xde, 0x8c, 6, 0, 0, 0, 0, 0xff, 0xff,
                ],
                &[("streamtype", "error"), ("port", "8080"), ("requestid", "0")],
            ),
            (
                &[
                    2, 0xc9, 0x60, 0x68, 6, 0x95, 0x43, 0x89, 0x44, 0xe9, 0x45, 0xcd, 0x65, 0xbc, 0xd9, 0xa5, 0x49,
                    0xc0, 0xf2, 0x2a, 0x47, 0xbf, 0xcc, 0x50, 0xcf, 0xc8, 2, 0, 0, 0, 0xff, 0xff,
                ],
                &[("streamtype", "data"), ("port", "8080"), ("requestid", "0"), ("user-agent", "kubectl/v1.28")],
            ),
        ];
        let mut unpacker = Unpacker::default();
        for (packed, expected) in blocks {
            assert_eq!(unpacker.unpack(packed), Ok(owned(expected)));
        }
    }

    #[test]
    fn what_is_no_block_is_refused() {
        let check = |packed: &[u8], expected| {
            assert_eq!(Unpacker::default().unpack(packed), Err(expected), "{packed:?}");
        };
        let stored = |block: &[u8]| {
            let length = block.len() as u16;
            [&ZLIB, &[0][..], &length.to_le_bytes(), &(!length).to_le_bytes(), block].concat()
        };
        check(&[], FrameError::Headers);
        check(&[0x78], FrameError::Headers);
        check(&[0x78, 0x02, 0], FrameError::Headers);
        check(&[0x78, 0xbb, 1, 2, 3, 4, 0], FrameError::Headers);
        check(&stored(&[]), FrameError::Headers);
        check(&stored(&[0, 0, 0, 1]), FrameError::Headers);
        check(&stored(&[0, 0, 0, 0, 9]), FrameError::Headers);
        check(&stored(&[0xff; 4]), FrameError::Headers);
        check(&stored(&[0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff]), FrameError::Headers);
        check(&stored(&[0, 0, 0, 1, 0, 0, 0, 1, 0xff, 0, 0, 0, 0]), FrameError::Headers);
    }

    /// A few hundred bytes that would become many millions.
    #[test]
    fn bombs_are_refused() {
        let packed = miniz_oxide::deflate::compress_to_vec_zlib(&vec![0; 50 << 20], 9);
        assert_eq!(Unpacker::default().unpack(&packed), Err(FrameError::TooLong));
    }
}
