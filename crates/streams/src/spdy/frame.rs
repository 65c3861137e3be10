//! SPDY/3.1 frames. Source: SPDY protocol, draft 3.1, section 2.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use thiserror::Error;

use super::headers::BLOCK_BYTES_MAX;

/// A peer may send what it has read from its user in one piece.
const DATA_BYTES_MAX: usize = 16 << 20;
const CONTROL_BYTES_MAX: usize = BLOCK_BYTES_MAX;
const HEAD_BYTES: usize = 8;
const VERSION: u16 = 3;
const FIN: u8 = 1;

pub type StreamId = u32;

/// A frame, headers still packed: they can only be unpacked in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    SynStream {
        id: StreamId,
        fin: bool,
        headers: Bytes,
    },
    SynReply {
        id: StreamId,
        fin: bool,
        headers: Bytes,
    },
    RstStream {
        id: StreamId,
        status: u32,
    },
    Ping {
        id: u32,
    },
    GoAway {
        last: StreamId,
    },
    Headers {
        id: StreamId,
        fin: bool,
        headers: Bytes,
    },
    WindowUpdate {
        id: StreamId,
        bytes: u32,
    },
    Data {
        id: StreamId,
        fin: bool,
        bytes: Bytes,
    },
    /// Settings, and whatever else there may be: passed over.
    Other,
}

#[derive(Debug, Error, PartialEq, Eq)]
pub enum FrameError {
    #[error("a control frame of SPDY version {0}; this is version {VERSION}")]
    Version(u16),
    #[error("a frame or its headers are longer than allowed")]
    TooLong,
    #[error("a control frame is too short")]
    TooShort,
    #[error("headers that cannot be unpacked")]
    Headers,
}

const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const GO_AWAY: u16 = 7;
const HEADERS: u16 = 8;
const WINDOW_UPDATE: u16 = 9;

/// The highest bit of a number says something else.
const NUMBER: u32 = 0x7fff_ffff;

impl Frame {
    pub fn encode(&self) -> Bytes {
        let control = |kind: u16, fin: bool, parts: &[&[u8]]| {
            let length: usize = parts.iter().map(|part| part.len()).sum();
            let mut bytes = BytesMut::with_capacity(HEAD_BYTES + length);
            bytes.put_u16(0x8000 | VERSION);
            bytes.put_u16(kind);
            put_flags(&mut bytes, fin, length);
            parts.iter().for_each(|part| bytes.put_slice(part));
            bytes.freeze()
        };
        let id = |id: &u32| id.to_be_bytes();
        match self {
            Self::SynStream { id: stream, fin, headers } => {
                control(SYN_STREAM, *fin, &[&id(stream), &[0; 4], &[0; 2], headers])
            }
            Self::SynReply { id: stream, fin, headers } => control(SYN_REPLY, *fin, &[&id(stream), headers]),
            Self::RstStream { id: stream, status } => control(RST_STREAM, false, &[&id(stream), &status.to_be_bytes()]),
            Self::Ping { id: ping } => control(PING, false, &[&id(ping)]),
            Self::GoAway { last } => control(GO_AWAY, false, &[&id(last), &[0; 4]]),
            Self::Headers { id: stream, fin, headers } => control(HEADERS, *fin, &[&id(stream), headers]),
            Self::WindowUpdate { id: stream, bytes } => {
                control(WINDOW_UPDATE, false, &[&id(stream), &bytes.to_be_bytes()])
            }
            Self::Data { id: stream, fin, bytes: data } => {
                let mut bytes = BytesMut::with_capacity(HEAD_BYTES + data.len());
                bytes.put_u32(*stream);
                put_flags(&mut bytes, *fin, data.len());
                bytes.put_slice(data);
                bytes.freeze()
            }
            // Says nothing, so there is nothing to send.
            Self::Other => Bytes::new(),
        }
    }

    /// Takes the next frame out of what has come; `None` if it is not whole yet.
    ///
    /// # Errors
    /// The other side does not speak this. Nothing after it can be read.
    pub fn decode(bytes: &mut BytesMut) -> Result<Option<Self>, FrameError> {
        let Some(head) = bytes.first_chunk::<HEAD_BYTES>().copied() else { return Ok(None) };
        let first = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
        let fin = head[4] & FIN != 0;
        let length = u32::from_be_bytes([0, head[5], head[6], head[7]]) as usize;
        let is_control = first & !NUMBER != 0;
        let version = (first >> 16) as u16 & 0x7fff;
        if is_control && version != VERSION {
            return Err(FrameError::Version(version));
        }
        if length > if is_control { CONTROL_BYTES_MAX } else { DATA_BYTES_MAX } {
            return Err(FrameError::TooLong);
        }
        if bytes.len() < HEAD_BYTES + length {
            return Ok(None);
        }
        bytes.advance(HEAD_BYTES);
        let body = bytes.split_to(length).freeze();
        if !is_control {
            return Ok(Some(Self::Data { id: first, fin, bytes: body }));
        }
        control(first as u16, fin, body).map(Some).ok_or(FrameError::TooShort)
    }
}

fn put_flags(bytes: &mut BytesMut, fin: bool, length: usize) {
    bytes.put_u32(if fin { u32::from(FIN) << 24 } else { 0 } | length as u32);
}

fn control(kind: u16, fin: bool, mut body: Bytes) -> Option<Frame> {
    let mut number = || body.try_get_u32().ok().map(|number| number & NUMBER);
    Some(match kind {
        SYN_STREAM => {
            let id = number()?;
            // The stream it belongs to, its priority and slot: of no use here.
            number()?;
            body.try_get_u16().ok()?;
            Frame::SynStream { id, fin, headers: body }
        }
        SYN_REPLY => Frame::SynReply { id: number()?, fin, headers: body },
        RST_STREAM => Frame::RstStream { id: number()?, status: number()? },
        PING => Frame::Ping { id: body.try_get_u32().ok()? },
        GO_AWAY => Frame::GoAway { last: number()? },
        HEADERS => Frame::Headers { id: number()?, fin, headers: body },
        WINDOW_UPDATE => Frame::WindowUpdate { id: number()?, bytes: number()? },
        _ => Frame::Other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_back_whatever_the_pieces() {
        let (fin, headers) = (true, Bytes::from_static(b"packed"));
        let frames = [
            Frame::SynStream { id: 1, fin: false, headers: headers.clone() },
            Frame::SynReply { id: 1, fin, headers: headers.clone() },
            Frame::RstStream { id: 3, status: 5 },
            Frame::Ping { id: 2 },
            Frame::GoAway { last: 7 },
            Frame::Headers { id: 1, fin, headers },
            Frame::WindowUpdate { id: 0, bytes: 65_536 },
            Frame::Data { id: 5, fin, bytes: Bytes::from(vec![9; 300]) },
            Frame::Data { id: 5, fin: false, bytes: Bytes::new() },
        ];
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
    fn frames_as_the_draft_draws_them() {
        let check = |frame: Frame, expected: &[u8]| assert_eq!(frame.encode(), expected, "{frame:?}");
        check(Frame::Ping { id: 1 }, &[0x80, 3, 0, 6, 0, 0, 0, 4, 0, 0, 0, 1]);
        check(Frame::Data { id: 3, fin: true, bytes: "ab".into() }, &[0, 0, 0, 3, 1, 0, 0, 2, b'a', b'b']);
        check(Frame::GoAway { last: 5 }, &[0x80, 3, 0, 7, 0, 0, 0, 8, 0, 0, 0, 5, 0, 0, 0, 0]);
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        let check = |bytes: &[u8], expected| {
            assert_eq!(Frame::decode(&mut BytesMut::from(bytes)), Err(expected), "{bytes:?}");
        };
        check(&[0x80, 2, 0, 6, 0, 0, 0, 4], FrameError::Version(2));
        check(&[0x80, 3, 0, 1, 0, 0xff, 0xff, 0xff], FrameError::TooLong);
        check(&[0x80, 3, 0, 6, 0, 0, 0, 0], FrameError::TooShort);
        check(&[0x80, 3, 0, 1, 0, 0, 0, 4, 0, 0, 0, 1], FrameError::TooShort);
        // Settings are passed over.
        assert_eq!(Frame::decode(&mut BytesMut::from(&[0x80, 3, 0, 4, 0, 0, 0, 0][..])), Ok(Some(Frame::Other)));
    }
}
