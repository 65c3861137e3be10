//! Remote commands over WebSocket: the first byte of each message says which channel it is of.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut as _, Bytes, BytesMut};

use super::{Ending, Feed, Wanted, ending};
use crate::events::{self, Event, Output};
use crate::session::{BoxDuplex, Session};
use crate::websocket::frame::Sender;
use crate::websocket::{self, Message, Receiver, Transmitter};

pub(super) const STDIN: u8 = 0;
pub(super) const STDOUT: u8 = 1;
pub(super) const STDERR: u8 = 2;
pub(super) const ERROR: u8 = 3;
pub(super) const RESIZE: u8 = 4;
/// Followed by the channel that it ends. Since version 5.
pub(super) const CLOSE: u8 = 255;
/// Looks whether the client is still there, while there is nothing to say.
const PING: Duration = Duration::from_secs(10);
/// After our last word, a client gets so long to read it and close.
const LINGER: Duration = Duration::from_secs(30);

/// Versions of the protocol, best first; a client that names none gets the plain one.
pub const PROTOCOLS: [&str; 5] =
    ["v5.channel.k8s.io", "v4.channel.k8s.io", "v4.base64.channel.k8s.io", "channel.k8s.io", "base64.channel.k8s.io"];

/// How messages are written: as they are, or as text for those who cannot send bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Binary,
    Base64,
}

impl Encoding {
    pub fn of(protocol: &str) -> Self {
        if protocol.contains("base64") { Self::Base64 } else { Self::Binary }
    }

    pub fn write(self, channel: u8, payload: &[u8]) -> Message {
        match self {
            Self::Binary => {
                let mut bytes = BytesMut::with_capacity(payload.len() + 1);
                bytes.put_u8(channel);
                bytes.put_slice(payload);
                Message::Binary(bytes.freeze())
            }
            Self::Base64 => Message::Text(format!("{channel}{}", STANDARD.encode(payload)).into()),
        }
    }

    /// The channel and what it says; `None` if it is not to be understood.
    pub fn read(self, message: Message) -> Option<(u8, Bytes)> {
        let (Message::Binary(mut bytes) | Message::Text(mut bytes)) = message;
        if bytes.is_empty() {
            return None;
        }
        let payload = bytes.split_off(1);
        match self {
            Self::Binary => Some((bytes[0], payload)),
            Self::Base64 => Some((bytes[0].checked_sub(b'0')?, STANDARD.decode(payload).ok()?.into())),
        }
    }
}

/// Lets a client and a session talk to each other, until one of them has ended.
pub async fn serve(io: BoxDuplex, protocol: &str, wanted: Wanted, session: Session) {
    let (transmitter, mut receiver) = websocket::connection(io, Sender::Client);
    let encoding = Encoding::of(protocol);
    let form = if protocol.starts_with('v') { Ending::Status } else { Ending::Text };
    let (inputs, events) = events::split(session);
    let mut feed = Feed::new(inputs);
    let closes = protocol.starts_with("v5");
    let over = tokio::select! {
        over = show(&transmitter, encoding, form, wanted, events) => over.is_ok(),
        () = take_input(&mut receiver, encoding, closes, &mut feed) => false,
    };
    drop(feed);
    transmitter.close().await;
    if over {
        // A connection that is closed while something is on its way takes with it what has not been read yet.
        let drain = async { while let Ok(Some(_)) = receiver.next().await {} };
        let _ = tokio::time::timeout(LINGER, drain).await;
    }
}

async fn show(
    transmitter: &Transmitter,
    encoding: Encoding,
    form: Ending,
    wanted: Wanted,
    mut events: events::Events,
) -> std::io::Result<()> {
    // Says that the connection is there.
    let first = if wanted.stdout {
        STDOUT
    } else if wanted.stderr {
        STDERR
    } else {
        ERROR
    };
    transmitter.send(encoding.write(first, &[])).await?;
    loop {
        match tokio::time::timeout(PING, events.next()).await {
            Err(_silence) => transmitter.ping().await?,
            Ok(Some(Event::Data(output, bytes))) => {
                let channel = if output == Output::Stdout { STDOUT } else { STDERR };
                transmitter.send(encoding.write(channel, &bytes)).await?;
            }
            Ok(Some(Event::End(_))) => {}
            Ok(Some(Event::Exit(exit))) => {
                let last_words = ending(form, &exit);
                if !last_words.is_empty() {
                    transmitter.send(encoding.write(ERROR, &last_words)).await?;
                }
                return Ok(());
            }
            Ok(None) => return Ok(()),
        }
    }
}

/// Ends when the client does.
async fn take_input(receiver: &mut Receiver, encoding: Encoding, closes: bool, feed: &mut Feed) {
    while let Ok(Some(message)) = receiver.next().await {
        match encoding.read(message) {
            Some((STDIN, piece)) => feed.type_in(&piece).await,
            Some((RESIZE, piece)) => feed.resize(&piece).await,
            Some((CLOSE, channel)) if closes && channel.first() == Some(&STDIN) => feed.end().await,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels() {
        let check = |encoding: Encoding, channel, payload: &str, expected: Message| {
            assert_eq!(encoding.write(channel, payload.as_bytes()), expected);
            assert_eq!(encoding.read(expected), Some((channel, Bytes::from(payload.to_string()))));
        };
        check(Encoding::Binary, 1, "hi", Message::Binary("\u{1}hi".into()));
        check(Encoding::Binary, 3, "", Message::Binary("\u{3}".into()));
        check(Encoding::Base64, 1, "hi", Message::Text("1aGk=".into()));
        check(Encoding::Base64, 0, "", Message::Text("0".into()));
        for nonsense in ["", "1a", "!aGk="] {
            assert_eq!(Encoding::Base64.read(Message::Text(nonsense.into())), None, "{nonsense}");
        }
        assert_eq!(Encoding::Binary.read(Message::Binary(Bytes::new())), None);
    }
}
