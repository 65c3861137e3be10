//! What comes on connections that have been upgraded: SPDY, WebSocket, tunnels.

use backstay_streams::websocket::frame::{Assembler, Frame as Message, Sender};
use backstay_streams::{StreamRequest, frame, spdy};
use bytes::BytesMut;

/// Whatever is read comes back the same when it is written.
pub fn frames(data: &[u8]) {
    spdy_frames(data);
    [Sender::Client, Sender::Server].into_iter().for_each(|sender| messages(data, sender));
    let mut rest = BytesMut::from(data);
    while let Ok(Some(read)) = frame::Frame::decode(&mut rest) {
        // Most are no request.
        let _ = serde_json::from_slice::<StreamRequest>(&read.payload);
        let again = frame::Frame::decode(&mut BytesMut::from(&*read.encode()));
        assert_eq!(again, Ok(Some(read)));
    }
}

fn spdy_frames(data: &[u8]) {
    use spdy::frame::Frame;
    let (mut rest, mut unpacker) = (BytesMut::from(data), spdy::headers::Unpacker::default());
    while let Ok(Some(read)) = Frame::decode(&mut rest) {
        if let Frame::SynStream { headers, .. } | Frame::SynReply { headers, .. } | Frame::Headers { headers, .. } =
            &read
            && unpacker.unpack(headers).is_err()
        {
            return;
        }
        if read != Frame::Other {
            assert_eq!(Frame::decode(&mut BytesMut::from(&*read.encode())), Ok(Some(read)));
        }
    }
}

fn messages(data: &[u8], sender: Sender) {
    let (mut rest, mut assembler) = (BytesMut::from(data), Assembler::default());
    while let Ok(Some(read)) = Message::decode(&mut rest, sender) {
        let mask = (sender == Sender::Client).then_some([9, 8, 7, 6]);
        assert_eq!(Message::decode(&mut BytesMut::from(&*read.encode(mask)), sender), Ok(Some(read.clone())));
        if assembler.take(read).is_err() {
            return;
        }
    }
}
