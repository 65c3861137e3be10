//! Remote commands over SPDY: a stream each for input, outputs, errors, and sizes of the terminal.

use std::collections::BTreeMap;

use super::{Ending, Feed, STREAMS_WITHIN, Wanted, ending};
use crate::events::{self, Event, Output};
use crate::session::{BoxDuplex, Session};
use crate::spdy::headers::value;
use crate::spdy::{self, Incoming, Receiver, Stream, Transmitter};

/// Versions of the protocol, best first. Source: `k8s.io/apimachinery/pkg/util/remotecommand`.
pub const PROTOCOLS: [&str; 5] =
    ["v5.channel.k8s.io", "v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"];

/// What a version of the protocol is able to say.
fn facts(protocol: &str) -> (Ending, bool) {
    match protocol {
        "v5.channel.k8s.io" | "v4.channel.k8s.io" => (Ending::Status, true),
        "v3.channel.k8s.io" => (Ending::Text, true),
        _ => (Ending::Text, false),
    }
}

/// Lets a client and a session talk to each other, until one of them has ended.
pub async fn serve(io: BoxDuplex, protocol: &str, wanted: Wanted, session: Session) {
    let (connection, mut incoming) = spdy::server(io);
    let (form, resizes) = facts(protocol);
    let mut names = vec!["error"];
    let asked = [(wanted.stdin, "stdin"), (wanted.stdout, "stdout"), (wanted.stderr, "stderr")];
    names.extend(asked.iter().filter(|(asked, _)| *asked).map(|(_, name)| *name));
    names.extend((wanted.tty && resizes).then_some("resize"));
    let Ok(Some(mut streams)) = tokio::time::timeout(STREAMS_WITHIN, collect(&mut incoming, &names)).await else {
        return connection.close().await;
    };
    let (inputs, mut events) = events::split(session);
    let mut feed = Feed::new(inputs);
    let (stdin, _) = streams.remove("stdin").unzip();
    let (sizes, _) = streams.remove("resize").unzip();
    // Kept, though nothing is to come: whoever drops a receiver does not want more.
    let (_errors, errors) = streams.remove("error").unzip();
    let (_stdout, mut stdout) = streams.remove("stdout").unzip();
    let (_stderr, mut stderr) = streams.remove("stderr").unzip();
    let typing = take_input(&mut feed, stdin, sizes);
    let showing = async {
        while let Some(event) = events.next().await {
            match event {
                Event::Data(output, bytes) => {
                    let to = if output == Output::Stdout { &stdout } else { &stderr };
                    if let Some(to) = to
                        && to.send(bytes).await.is_err()
                    {
                        return;
                    }
                }
                Event::End(Output::Stdout) => finish(&mut stdout).await,
                Event::End(Output::Stderr) => finish(&mut stderr).await,
                Event::Exit(exit) => {
                    let Some(errors) = errors else { return };
                    let last_words = ending(form, &exit);
                    if !last_words.is_empty() && errors.send(last_words).await.is_err() {
                        return;
                    }
                    return errors.finish().await;
                }
            }
        }
    };
    tokio::select! {
        () = showing => connection.close().await,
        () = typing => {}
        () = connection.closed() => {}
    }
}

async fn finish(transmitter: &mut Option<Transmitter>) {
    if let Some(transmitter) = transmitter.take() {
        transmitter.finish().await;
    }
}

/// Waits for all the streams of these names; none if the connection ends before.
async fn collect(incoming: &mut Incoming, names: &[&str]) -> Option<BTreeMap<String, (Receiver, Transmitter)>> {
    let mut streams = BTreeMap::new();
    while streams.len() < names.len() {
        let Stream { headers, receiver, transmitter, .. } = incoming.next().await?;
        let name = value(&headers, "streamType").unwrap_or_default();
        if names.contains(&name) {
            streams.insert(name.to_string(), (receiver, transmitter));
        }
    }
    Some(streams)
}

/// Never ends: input may, long before the command does.
async fn take_input(feed: &mut Feed, mut stdin: Option<Receiver>, mut sizes: Option<Receiver>) {
    loop {
        tokio::select! {
            piece = next(&mut stdin) => match piece {
                Some(piece) => feed.type_in(&piece).await,
                None => feed.end().await,
            },
            piece = next(&mut sizes) => feed.resize(&piece.unwrap_or_default()).await,
        }
    }
}

/// The next piece, `None` once at the end, and after that nothing any more.
async fn next(receiver: &mut Option<Receiver>) -> Option<bytes::Bytes> {
    match receiver {
        None => std::future::pending().await,
        Some(open) => {
            let piece = open.next().await;
            if piece.is_none() {
                *receiver = None;
            }
            piece
        }
    }
}
