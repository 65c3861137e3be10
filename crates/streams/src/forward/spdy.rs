//! Port-forwards over SPDY: for each connection a stream of data and one for an error, joined by the request's number.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::task::JoinSet;

use super::{Dial, Opened, end, read, write};
use crate::session::BoxDuplex;
use crate::spdy::headers::value;
use crate::spdy::{self, Stream};
use crate::websocket;
use crate::websocket::frame::Sender;

pub const PROTOCOL: &str = "portforward.k8s.io";
/// The same, tunnelled in a WebSocket.
pub const TUNNELLED: &str = "SPDY/3.1+portforward.k8s.io";
/// Of so many connections the other half may be awaited.
const HALVES_MAX: usize = 256;

/// Serves the connections of one client until it goes.
pub async fn serve(io: BoxDuplex, dial: Arc<dyn Dial>) {
    let (_connection, mut incoming) = spdy::server(io);
    let mut halves: BTreeMap<String, Stream> = BTreeMap::new();
    let mut connections = JoinSet::new();
    while let Some(stream) = incoming.next().await {
        while connections.try_join_next().is_some() {}
        let Some(request) = request(&stream) else { continue };
        let Some(other) = halves.remove(&request) else {
            if halves.len() < HALVES_MAX {
                halves.insert(request, stream);
            }
            continue;
        };
        let (data, error) = if is_data(&stream) { (stream, other) } else { (other, stream) };
        connections.spawn(forward(data, error, dial.clone()));
    }
}

/// The same in the messages of a WebSocket.
pub async fn serve_tunnelled(io: BoxDuplex, dial: Arc<dyn Dial>) {
    let (transmitter, receiver) = websocket::connection(io, Sender::Client);
    serve(Box::new(websocket::tunnel(transmitter, receiver)), dial).await;
}

fn is_data(stream: &Stream) -> bool {
    value(&stream.headers, "streamType") == Some("data")
}

/// What joins the two streams of a connection. Old clients do not number their requests, but open the error stream right
/// before that of the data.
fn request(stream: &Stream) -> Option<String> {
    let is_data = is_data(stream);
    if !is_data && value(&stream.headers, "streamType") != Some("error") {
        return None;
    }
    if let Some(request) = value(&stream.headers, "requestID").filter(|request| !request.is_empty()) {
        return Some(request.to_string());
    }
    let id = if is_data { stream.id.checked_sub(2)? } else { stream.id };
    Some(format!("stream {id}"))
}

async fn forward(data: Stream, error: Stream, dial: Arc<dyn Dial>) {
    let Stream { headers, mut receiver, transmitter, .. } = data;
    let port = value(&headers, "port").and_then(|port| port.parse::<u16>().ok()).unwrap_or(0);
    let session = match dial.dial(port).await {
        Ok(session) => session,
        Err(why) => {
            let complaint = dial.complaint(port, &why);
            // A client that is gone needs no explanation.
            let _ = error.transmitter.send(complaint.into()).await;
            error.transmitter.finish().await;
            return transmitter.finish().await;
        }
    };
    let Opened { mut events, mut target } = Opened::new(session);
    let to_client = async {
        while let Some(bytes) = read(&mut events).await {
            if transmitter.send(bytes).await.is_err() {
                return;
            }
        }
    };
    let to_target = async {
        while let Some(bytes) = receiver.next().await {
            write(&mut target, &bytes).await;
        }
        if transmitter.is_reset() {
            return;
        }
        end(&mut target).await;
        // What the target has to say about it still counts.
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = to_client => {}
        () = to_target => {}
    }
    transmitter.finish().await;
    error.transmitter.finish().await;
}
