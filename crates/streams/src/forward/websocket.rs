//! Port-forwards over WebSocket, the old way: two channels for each port that was asked for, one connection each.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::{Dial, Opened, end, read, write};
use crate::remote::websocket::Encoding;
use crate::session::BoxDuplex;
use crate::websocket::frame::Sender;
use crate::websocket::{self, Transmitter};

pub const PROTOCOLS: [&str; 2] = ["v4.channel.k8s.io", "v4.base64.channel.k8s.io"];
/// Pieces that wait for a slow target.
const WAITING_MAX: usize = 8;

/// Serves the connections to these ports until the client goes.
pub async fn serve(io: BoxDuplex, protocol: &str, ports: &[u16], dial: Arc<dyn Dial>) {
    let (transmitter, mut receiver) = websocket::connection(io, Sender::Client);
    let encoding = Encoding::of(protocol);
    let mut connections = JoinSet::new();
    let mut targets: Vec<mpsc::Sender<Bytes>> = Vec::new();
    for (index, port) in ports.iter().enumerate() {
        let Ok(channel) = u8::try_from(2 * index) else { break };
        let (sender, pieces) = mpsc::channel(WAITING_MAX);
        targets.push(sender);
        connections.spawn(forward(transmitter.clone(), encoding, channel, *port, pieces, dial.clone()));
    }
    while let Ok(Some(message)) = receiver.next().await {
        let Some((channel, piece)) = encoding.read(message) else { continue };
        let target = targets.get(usize::from(channel / 2)).filter(|_| channel % 2 == 0);
        if let Some(target) = target {
            // Its connection may have ended already.
            let _ = target.send(piece).await;
        }
    }
}

async fn forward(
    client: Transmitter,
    encoding: Encoding,
    channel: u8,
    port: u16,
    mut pieces: mpsc::Receiver<Bytes>,
    dial: Arc<dyn Dial>,
) {
    // Both channels begin with the port's number.
    for channel in [channel, channel + 1] {
        if client.send(encoding.write(channel, &port.to_le_bytes())).await.is_err() {
            return;
        }
    }
    let session = match dial.dial(port).await {
        Ok(session) => session,
        Err(why) => {
            let complaint = dial.complaint(port, &why);
            // A client that is gone needs no explanation.
            let _ = client.send(encoding.write(channel + 1, complaint.as_bytes())).await;
            return;
        }
    };
    let Opened { mut events, mut target } = Opened::new(session);
    let to_client = async {
        while let Some(bytes) = read(&mut events).await {
            if client.send(encoding.write(channel, &bytes)).await.is_err() {
                return;
            }
        }
    };
    let to_target = async {
        while let Some(bytes) = pieces.recv().await {
            write(&mut target, &bytes).await;
        }
        end(&mut target).await;
    };
    tokio::select! {
        () = to_client => {}
        () = to_target => {}
    }
}
