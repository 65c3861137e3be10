//! WebSocket frames. Source: RFC 6455, section 5.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use thiserror::Error;

/// As Kubernetes has it: a whole standard input may come in one message.
pub const MESSAGE_BYTES_MAX: usize = 32 << 20;
/// Frames about the connection itself are short. Source: section 5.5.
const CONTROL_BYTES_MAX: usize = 125;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    Continuation = 0,
    Text = 1,
    Binary = 2,
    Close = 8,
    Ping = 9,
    Pong = 10,
}

impl Opcode {
    fn of(bits: u8) -> Option<Self> {
        use Opcode::{Binary, Close, Continuation, Ping, Pong, Text};
        [Continuation, Text, Binary, Close, Ping, Pong].into_iter().find(|opcode| *opcode as u8 == bits)
    }

    fn is_control(self) -> bool {
        self as u8 >= 8
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub opcode: Opcode,
    /// The last one of its message.
    pub last: bool,
    pub payload: Bytes,
}

#[derive(Debug, Error, PartialEq, Eq)]
pub enum FrameError {
    #[error("a frame of an unknown kind, or with reserved bits set")]
    Kind,
    #[error("a client's frame without a mask, or a server's with one")]
    Mask,
    #[error("a frame or message is longer than allowed")]
    TooLong,
    #[error("pieces of messages out of order")]
    Order,
}

/// Who has sent a frame: a client masks what it sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    Client,
    Server,
}

impl Frame {
    pub fn message(opcode: Opcode, payload: Bytes) -> Self {
        Self { opcode, last: true, payload }
    }

    /// `mask`: four random bytes if a client sends it, none if a server does.
    pub fn encode(&self, mask: Option<[u8; 4]>) -> Bytes {
        let mut bytes = BytesMut::with_capacity(14 + self.payload.len());
        bytes.put_u8(if self.last { 0x80 } else { 0 } | self.opcode as u8);
        let masked = if mask.is_some() { 0x80 } else { 0 };
        match self.payload.len() {
            length @ 0..126 => bytes.put_u8(masked | length as u8),
            length @ 126..65_536 => {
                bytes.put_u8(masked | 126);
                bytes.put_u16(length as u16);
            }
            length => {
                bytes.put_u8(masked | 127);
                bytes.put_u64(length as u64);
            }
        }
        let Some(mask) = mask else {
            bytes.put_slice(&self.payload);
            return bytes.freeze();
        };
        bytes.put_slice(&mask);
        let start = bytes.len();
        bytes.put_slice(&self.payload);
        apply(mask, &mut bytes[start..]);
        bytes.freeze()
    }

    /// Takes the next frame out of what has come; `None` if it is not whole yet.
    ///
    /// # Errors
    /// The other side does not speak this. Nothing after it can be read.
    pub fn decode(bytes: &mut BytesMut, from: Sender) -> Result<Option<Self>, FrameError> {
        let [first, second, ..] = **bytes else { return Ok(None) };
        let opcode = Opcode::of(first & 0x0f).filter(|_| first & 0x70 == 0).ok_or(FrameError::Kind)?;
        let last = first & 0x80 != 0;
        if (second & 0x80 != 0) != (from == Sender::Client) {
            return Err(FrameError::Mask);
        }
        let (length, mut head) = match second & 0x7f {
            126 => match bytes.get(2..4) {
                Some(length) => (u64::from(u16::from_be_bytes([length[0], length[1]])), 4),
                None => return Ok(None),
            },
            127 => match bytes.get(2..10).and_then(|length| length.try_into().ok()) {
                Some(length) => (u64::from_be_bytes(length), 10),
                None => return Ok(None),
            },
            short => (u64::from(short), 2),
        };
        let length = usize::try_from(length).ok().filter(|length| *length <= MESSAGE_BYTES_MAX);
        let length = length.ok_or(FrameError::TooLong)?;
        if opcode.is_control() && (!last || length > CONTROL_BYTES_MAX) {
            return Err(FrameError::TooLong);
        }
        let mask = match from {
            Sender::Server => None,
            Sender::Client => match bytes.get(head..head + 4).and_then(|mask| mask.try_into().ok()) {
                Some(mask) => Some(mask),
                None => return Ok(None),
            },
        };
        head += if mask.is_some() { 4 } else { 0 };
        if bytes.len() < head + length {
            return Ok(None);
        }
        bytes.advance(head);
        let mut payload = bytes.split_to(length);
        if let Some(mask) = mask {
            apply(mask, &mut payload);
        }
        Ok(Some(Self { opcode, last, payload: payload.freeze() }))
    }
}

fn apply(mask: [u8; 4], bytes: &mut [u8]) {
    for chunk in bytes.chunks_mut(4) {
        chunk.iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
    }
}

/// Puts the pieces of messages together.
#[derive(Debug, Default)]
pub struct Assembler {
    begun: Option<(Opcode, BytesMut)>,
}

impl Assembler {
    /// A frame that is a whole message, or completes one, is returned; a piece is kept.
    ///
    /// # Errors
    /// If the pieces do not fit each other, or the message becomes too long.
    pub fn take(&mut self, frame: Frame) -> Result<Option<Frame>, FrameError> {
        if frame.opcode.is_control() || (frame.last && frame.opcode != Opcode::Continuation && self.begun.is_none()) {
            return Ok(Some(frame));
        }
        let (opcode, mut bytes) = match (frame.opcode, self.begun.take()) {
            (Opcode::Continuation, Some(begun)) => begun,
            (Opcode::Continuation, None) | (_, Some(_)) => return Err(FrameError::Order),
            (opcode, None) => (opcode, BytesMut::new()),
        };
        if bytes.len() + frame.payload.len() > MESSAGE_BYTES_MAX {
            return Err(FrameError::TooLong);
        }
        bytes.put_slice(&frame.payload);
        if frame.last {
            return Ok(Some(Frame::message(opcode, bytes.freeze())));
        }
        self.begun = Some((opcode, bytes));
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(bytes: &[u8]) -> BytesMut {
        BytesMut::from(bytes)
    }

    #[test]
    fn examples_of_the_standard() {
        // Section 5.7.
        let hello = Frame::message(Opcode::Text, "Hello".into());
        let unmasked = [0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f];
        let by_client = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
        assert_eq!(hello.encode(None), unmasked.as_slice());
        assert_eq!(hello.encode(Some([0x37, 0xfa, 0x21, 0x3d])), by_client.as_slice());
        assert_eq!(Frame::decode(&mut masked(&unmasked), Sender::Server), Ok(Some(hello.clone())));
        assert_eq!(Frame::decode(&mut masked(&by_client), Sender::Client), Ok(Some(hello)));
    }

    #[test]
    fn any_length_comes_back_in_any_pieces() {
        for length in [0, 1, 125, 126, 65_535, 65_536, 70_000] {
            let frame = Frame::message(Opcode::Binary, vec![7; length].into());
            let all = frame.encode(Some([1, 2, 3, 4]));
            let mut bytes = BytesMut::new();
            let (start, end) = all.split_at(all.len().min(9));
            for byte in start {
                assert_eq!(Frame::decode(&mut bytes, Sender::Client), Ok(None));
                bytes.put_u8(*byte);
            }
            bytes.put_slice(end);
            assert_eq!(Frame::decode(&mut bytes, Sender::Client), Ok(Some(frame)), "{length} bytes");
        }
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        let check = |bytes: &[u8], expected| {
            assert_eq!(Frame::decode(&mut masked(bytes), Sender::Client), Err(expected), "{bytes:?}");
        };
        check(&[0x83, 0x80], FrameError::Kind);
        check(&[0xc1, 0x80], FrameError::Kind);
        check(&[0x81, 0x05], FrameError::Mask);
        check(&[0x82, 0xff, 0, 0, 0, 0, 0x10, 0, 0, 0], FrameError::TooLong);
        check(&[0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], FrameError::TooLong);
        check(&[0x89, 0xfe, 0, 200], FrameError::TooLong);
        check(&[0x09, 0x80], FrameError::TooLong);
    }

    #[test]
    fn messages_in_pieces() {
        let piece = |opcode, last, text: &'static str| Frame { opcode, last, payload: text.into() };
        let mut assembler = Assembler::default();
        assert_eq!(assembler.take(piece(Opcode::Binary, false, "a")), Ok(None));
        // What is about the connection may come in between.
        let ping = piece(Opcode::Ping, true, "");
        assert_eq!(assembler.take(ping.clone()), Ok(Some(ping)));
        assert_eq!(assembler.take(piece(Opcode::Continuation, false, "b")), Ok(None));
        let whole = Frame::message(Opcode::Binary, "abc".into());
        assert_eq!(assembler.take(piece(Opcode::Continuation, true, "c")), Ok(Some(whole)));
        assert_eq!(assembler.take(piece(Opcode::Continuation, true, "d")), Err(FrameError::Order));
        assert_eq!(assembler.take(piece(Opcode::Text, false, "e")), Ok(None));
        assert_eq!(assembler.take(piece(Opcode::Text, true, "f")), Err(FrameError::Order));
    }
}
