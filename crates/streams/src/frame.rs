//! The frames of a session on one connection: a kind, a length, the payload.
//!
//! The first frame says what is asked for, the second whether it is granted. An empty data frame ends its stream.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use thiserror::Error;

/// A command with its arguments may be as long as Linux lets one be, roughly; data comes in far smaller pieces.
pub const PAYLOAD_BYTES_MAX: usize = 256 * 1024;
const HEAD_BYTES: usize = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A request, as JSON.
    Open = 0,
    Opened = 1,
    /// An error instead, as JSON.
    Refused = 2,
    Stdin = 3,
    Stdout = 4,
    Stderr = 5,
    /// A terminal's size, as JSON.
    Resize = 6,
    /// How it ended, as JSON. The last frame.
    Exit = 7,
    /// Says nothing, but fails once the other side is gone.
    Ping = 8,
}

const KINDS: [Kind; 9] = [
    Kind::Open,
    Kind::Opened,
    Kind::Refused,
    Kind::Stdin,
    Kind::Stdout,
    Kind::Stderr,
    Kind::Resize,
    Kind::Exit,
    Kind::Ping,
];

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: Kind,
    pub payload: Bytes,
}

#[derive(Debug, Error, PartialEq, Eq)]
pub enum FrameError {
    #[error("a frame of the unknown kind {0}")]
    Kind(u8),
    #[error("a frame of {0} bytes; at most {PAYLOAD_BYTES_MAX} are allowed")]
    TooLong(usize),
}

impl Frame {
    pub fn new(kind: Kind, payload: impl Into<Bytes>) -> Self {
        Self { kind, payload: payload.into() }
    }

    pub fn encode(&self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(HEAD_BYTES + self.payload.len());
        bytes.put_u8(self.kind as u8);
        bytes.put_u32(self.payload.len() as u32);
        bytes.put_slice(&self.payload);
        bytes.freeze()
    }

    /// Takes the next frame out of what has come; `None` if it is not whole yet.
    ///
    /// # Errors
    /// The other side does not speak this. Nothing after it can be read.
    pub fn decode(bytes: &mut BytesMut) -> Result<Option<Self>, FrameError> {
        let Some(head) = bytes.first_chunk::<HEAD_BYTES>() else { return Ok(None) };
        let kind = *KINDS.get(usize::from(head[0])).ok_or(FrameError::Kind(head[0]))?;
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        if length > PAYLOAD_BYTES_MAX {
            return Err(FrameError::TooLong(length));
        }
        if bytes.len() < HEAD_BYTES + length {
            return Ok(None);
        }
        bytes.advance(HEAD_BYTES);
        Ok(Some(Self { kind, payload: bytes.split_to(length).freeze() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_back_whatever_the_pieces() {
        let frames = [Frame::new(Kind::Open, "{}"), Frame::new(Kind::Stdin, ""), Frame::new(Kind::Stdout, "abc")];
        let all: Vec<u8> = frames.iter().flat_map(|frame| frame.encode()).collect();
        for piece in 1..=all.len() {
            let (mut bytes, mut got) = (BytesMut::new(), Vec::new());
            for chunk in all.chunks(piece) {
                bytes.extend_from_slice(chunk);
                while let Some(frame) = Frame::decode(&mut bytes).unwrap() {
                    got.push(frame);
                }
            }
            assert_eq!(got, frames, "pieces of {piece}");
        }
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        let check = |bytes: &[u8], expected| assert_eq!(Frame::decode(&mut BytesMut::from(bytes)), Err(expected));
        check(&[9, 0, 0, 0, 0], FrameError::Kind(9));
        check(&[3, 0x10, 0, 0, 0, 1], FrameError::TooLong(0x1000_0000));
    }
}
