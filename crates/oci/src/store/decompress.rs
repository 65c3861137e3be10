//! Layers as they come, compressed or not, told apart by how they begin: whoever packs them is not held to what the
//! manifest calls them.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

const BUFFER_BYTES: usize = 64 * 1024;
const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// A frame of zstd that holds no data has one of sixteen numbers, in little endian; some packers begin with one.
const ZSTD_SKIPPED: [u8; 3] = [0x2a, 0x4d, 0x18];

/// The plain archive. What is none of gzip and zstd is taken as it is.
pub(super) fn decompress<'a>(archive: Box<dyn Read + 'a>) -> io::Result<Box<dyn Read + 'a>> {
    let mut archive = BufReader::with_capacity(BUFFER_BYTES, archive);
    Ok(match packing(archive.fill_buf()?) {
        Some(Packing::Gzip) => Box::new(MultiGzDecoder::new(archive)),
        Some(Packing::Zstd) => Box::new(Zstd { source: archive, decoder: FrameDecoder::new() }),
        None => Box::new(archive),
    })
}

enum Packing {
    Gzip,
    Zstd,
}

fn packing(start: &[u8]) -> Option<Packing> {
    let skipped = start.first().is_some_and(|byte| byte >> 4 == 5) && start[1..].starts_with(&ZSTD_SKIPPED);
    match start {
        _ if start.starts_with(&GZIP) => Some(Packing::Gzip),
        _ if start.starts_with(&ZSTD) || skipped => Some(Packing::Zstd),
        _ => None,
    }
}

/// Whether what begins so is compressed.
pub(super) fn is_compressed(start: &[u8]) -> bool {
    packing(start).is_some()
}

/// All frames of a stream, one after another. The decoder bounds what a frame may want of our memory.
struct Zstd<R> {
    source: R,
    decoder: FrameDecoder,
}

impl<R: BufRead> Zstd<R> {
    /// Begins the next frame. Returns whether there is one.
    fn next(&mut self) -> io::Result<bool> {
        loop {
            if self.source.fill_buf()?.is_empty() {
                return Ok(false);
            }
            match self.decoder.reset(&mut self.source) {
                Ok(()) => return Ok(true),
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame { length, .. })) => {
                    io::copy(&mut (&mut self.source).take(length.into()), &mut io::sink())?;
                }
                Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
            }
        }
    }
}

impl<R: BufRead> Read for Zstd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.decoder.can_collect() == 0 {
            if !self.decoder.is_finished() {
                self.decoder
                    .decode_blocks(&mut self.source, BlockDecodingStrategy::UptoBlocks(1))
                    .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            } else if !self.next()? {
                return Ok(0);
            }
        }
        self.decoder.read(buffer)
    }
}

#[cfg(test)]
mod tests {
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    use super::*;

    fn zstd(text: &[u8]) -> Vec<u8> {
        compress_to_vec(text, CompressionLevel::Fastest)
    }

    fn skipped(kind: u8, bytes: &[u8]) -> Vec<u8> {
        let length = (bytes.len() as u32).to_le_bytes();
        [&[0x50 | kind], ZSTD_SKIPPED.as_slice(), &length, bytes].concat()
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut packed = Vec::new();
        flate2::read::GzEncoder::new(text, flate2::Compression::fast()).read_to_end(&mut packed).unwrap();
        packed
    }

    fn check(packed: &[u8], expected: Option<&[u8]>) {
        let mut plain = Vec::new();
        let read = decompress(Box::new(packed)).and_then(|mut it| it.read_to_end(&mut plain));
        assert_eq!(read.ok().map(|_| plain.as_slice()), expected, "{:x?}", &packed[..packed.len().min(16)]);
    }

    #[test]
    fn layers_are_told_apart_by_their_beginning() {
        let large = b"layer ".repeat(100_000);
        check(b"", Some(b""));
        check(b"plain", Some(b"plain"));
        check(&gzip(b"text"), Some(b"text"));
        check(&[gzip(b"one"), gzip(b"two")].concat(), Some(b"onetwo"));
        check(&zstd(b"text"), Some(b"text"));
        check(&zstd(b""), Some(b""));
        check(&zstd(&large), Some(&large));
        check(&[zstd(b"one"), skipped(3, b"table"), zstd(b"two"), skipped(0, b"")].concat(), Some(b"onetwo"));
        check(&[skipped(0xf, b"first"), zstd(b"then")].concat(), Some(b"then"));
    }

    #[test]
    fn what_is_damaged_is_an_error() {
        let whole = zstd(&b"layer ".repeat(100_000));
        check(&whole[..whole.len() - 5], None);
        check(&[whole, b"more".to_vec()].concat(), None);
        check(&gzip(b"text")[..12], None);
    }
}
