//! Tunnels: connections that agents open to this server, over which it reaches them. HTTP/2 with the roles reversed; each
//! session is one `CONNECT`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use axum::body::Body;
use backstay_api::{Reason as StatusReason, Status};
use backstay_streams::{BoxDuplex, Reason, Session, StreamError, StreamRequest, TUNNEL, carry};
use http::{Request, Response};
use http_body_util::Empty;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::task::AbortHandle;
use tracing::{debug, info};

use crate::authz::node::NODES;
use crate::identity::UserInfo;
use crate::pipeline::Asked;
use crate::pods::PodAccess;
use crate::upgrade::{Kind, Upgrade};

/// The path, around the node's name.
const PREFIX: &str = "/backstay/v1/nodes/";
const SUFFIX: &str = "/tunnel";
/// A peer that is silent for twice as long is gone: nobody waits longer than that for a node that is not there.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// A node that does not answer the opening of a session within this time does not work.
const OPENED_WITHIN: Duration = Duration::from_secs(30);
/// A session may be so far ahead of its reader.
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
/// A thousand sessions that nobody reads from do not stop the others.
const CONNECTION_WINDOW_BYTES: u32 = 256 << 20;
/// An agent that knows this server by several names has a tunnel for each; more are of agents that are gone, which nobody
/// has noticed yet.
const TUNNELS_OF_NODE_MAX: usize = 8;

type Sender = SendRequest<Empty<bytes::Bytes>>;

/// The nodes that are connected to this server.
#[derive(Default)]
pub struct Tunnels {
    /// Of each node, the newest last: that one is used. What was begun on an older one goes on there, for as long as it
    /// answers.
    nodes: Mutex<BTreeMap<String, Vec<Tunnel>>>,
}

struct Tunnel {
    sender: Sender,
    connection: AbortHandle,
}

impl Tunnels {
    /// Whether the node can be reached, as far as one knows.
    pub fn is_connected(&self, node: &str) -> bool {
        self.sender(node).is_some()
    }

    /// Uses a connection that the node has opened until it ends. New sessions go over the newest one of a node.
    pub async fn serve(self: &Arc<Self>, node: String, connection: BoxDuplex) {
        let mut builder = Builder::new(TokioExecutor::new());
        builder.timer(TokioTimer::new()).keep_alive_interval(KEEP_ALIVE).keep_alive_timeout(KEEP_ALIVE);
        builder.keep_alive_while_idle(true);
        builder.initial_stream_window_size(STREAM_WINDOW_BYTES);
        builder.initial_connection_window_size(CONNECTION_WINDOW_BYTES);
        let (sender, connection) = match builder.handshake(TokioIo::new(connection)).await {
            Ok(tunnel) => tunnel,
            Err(error) => return debug!(node, %error, "a tunnel was not opened"),
        };
        let task = tokio::spawn(connection);
        let own = task.abort_handle();
        let own_id = own.id();
        self.insert(&node, Tunnel { sender, connection: own });
        info!(node, "a node has opened a tunnel");
        match task.await {
            Ok(Err(error)) => info!(node, %error, "a node's tunnel broke"),
            // Aborted: there were too many.
            Ok(Ok(())) | Err(_) => debug!(node, "a node's tunnel was closed"),
        }
        self.remove(&node, own_id);
    }

    fn insert(&self, node: &str, tunnel: Tunnel) {
        let mut nodes = self.nodes.lock().expect("never poisoned");
        let tunnels = nodes.entry(node.to_string()).or_default();
        tunnels.push(tunnel);
        if tunnels.len() > TUNNELS_OF_NODE_MAX {
            tunnels.remove(0).connection.abort();
        }
    }

    fn remove(&self, node: &str, id: tokio::task::Id) {
        let mut nodes = self.nodes.lock().expect("never poisoned");
        let Some(tunnels) = nodes.get_mut(node) else { return };
        tunnels.retain(|tunnel| tunnel.connection.id() != id);
        if tunnels.is_empty() {
            nodes.remove(node);
        }
    }

    fn sender(&self, node: &str) -> Option<Sender> {
        let nodes = self.nodes.lock().expect("never poisoned");
        let newest = nodes.get(node)?.iter().rev().find(|tunnel| !tunnel.sender.is_closed());
        newest.map(|tunnel| tunnel.sender.clone())
    }
}

#[async_trait]
impl PodAccess for Tunnels {
    async fn open(&self, node: &str, request: StreamRequest) -> Result<Session, StreamError> {
        let lost = |why: &dyn std::fmt::Display| {
            StreamError::new(Reason::Unreachable, format!("node {node:?} cannot be reached: {why}"))
        };
        let sender = self.sender(node).ok_or_else(|| lost(&"its agent is not connected to this server"))?;
        let opening = async {
            let connection = connect(sender, node).await.map_err(|error| lost(&error))?;
            carry::ask(connection, &request).await
        };
        match tokio::time::timeout(OPENED_WITHIN, opening).await {
            Ok(session) => session,
            Err(_elapsed) => Err(lost(&"it did not answer in time")),
        }
    }
}

async fn connect(mut sender: Sender, node: &str) -> Result<BoxDuplex, Box<dyn std::error::Error + Send + Sync>> {
    sender.ready().await?;
    // The name is that of an object, and so may stand in an address.
    let request = Request::connect(node).body(Empty::new())?;
    let response = sender.send_request(request).await?;
    if !response.status().is_success() {
        return Err(format!("it answered {}", response.status()).into());
    }
    Ok(Box::new(TokioIo::new(hyper::upgrade::on(response).await?)))
}

/// The node whose tunnel a path is about.
pub fn node_of(path: &str) -> Option<&str> {
    path.strip_prefix(PREFIX)?.strip_suffix(SUFFIX).filter(|node| !node.is_empty() && !node.contains('/'))
}

/// Serves the request of an agent to turn its connection into a tunnel.
///
/// # Errors
/// Somebody else than the node itself asks, or for something else.
pub fn answer(mut asked: Box<Asked>, node: &str) -> Result<Response<Body>, Status> {
    if !is_node(&asked.user, node) {
        let message = format!("the tunnel of node {node:?} is for that node alone, not for user {:?}", asked.user.name);
        return Err(Status::with_code(403, Some(StatusReason::Forbidden), message));
    }
    let upgrade = Upgrade::of(&mut asked.head).filter(|upgrade| upgrade.kind == Kind::Tunnel);
    let upgrade = upgrade.ok_or_else(|| Status::bad_request(format!("Upgrade request required: {TUNNEL}")))?;
    let (tunnels, node, held) = (asked.core.tunnels.clone(), node.to_string(), asked.held);
    Ok(upgrade.accept("", move |connection| async move {
        let _held = held;
        tunnels.serve(node, connection).await;
    }))
}

fn is_node(user: &UserInfo, node: &str) -> bool {
    user.name.strip_prefix("system:node:") == Some(node) && user.groups.iter().any(|group| group == NODES)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, DuplexStream};
    use tokio::task::JoinHandle;

    use super::*;

    /// The node's end of a tunnel that has begun to speak, and the server's.
    async fn open(tunnels: &Arc<Tunnels>) -> (DuplexStream, JoinHandle<()>) {
        let (ours, mut theirs) = tokio::io::duplex(4096);
        let tunnels = tunnels.clone();
        let serving = tokio::spawn(async move { tunnels.serve("n1".into(), Box::new(ours)).await });
        theirs.read_u8().await.unwrap();
        (theirs, serving)
    }

    fn newest(tunnels: &Tunnels) -> Option<tokio::task::Id> {
        tunnels.nodes.lock().unwrap().get("n1").and_then(|all| all.last()).map(|tunnel| tunnel.connection.id())
    }

    #[tokio::test]
    async fn the_newest_tunnel_is_used_and_an_older_one_goes_on() {
        let tunnels = Arc::new(Tunnels::default());
        let (older, older_serving) = open(&tunnels).await;
        let first = newest(&tunnels);
        let (newer, newer_serving) = open(&tunnels).await;
        assert!(!older_serving.is_finished() && newest(&tunnels) != first);
        // A session that is about to be opened keeps no tunnel alive.
        let _opening = tunnels.sender("n1").unwrap();
        drop(newer);
        newer_serving.await.unwrap();
        assert!(tunnels.is_connected("n1") && newest(&tunnels) == first && !tunnels.is_connected("n2"));
        drop(older);
        older_serving.await.unwrap();
        assert!(!tunnels.is_connected("n1") && tunnels.nodes.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_node_has_so_many_tunnels() {
        let tunnels = Arc::new(Tunnels::default());
        let (mut oldest, oldest_serving) = open(&tunnels).await;
        let mut others = Vec::new();
        for _ in 0..TUNNELS_OF_NODE_MAX {
            others.push(open(&tunnels).await);
        }
        oldest_serving.await.unwrap();
        oldest.read_to_end(&mut Vec::new()).await.unwrap();
        assert!(others.iter().all(|(_, serving)| !serving.is_finished()));
    }

    #[test]
    fn paths_of_tunnels() {
        let check = |path, expected| assert_eq!(node_of(path), expected, "{path}");
        check("/backstay/v1/nodes/n1/tunnel", Some("n1"));
        check("/backstay/v1/nodes//tunnel", None);
        check("/backstay/v1/nodes/a/b/tunnel", None);
        check("/backstay/v1/nodes/n1", None);
        check("/api/v1/nodes/n1/tunnel", None);
    }

    #[test]
    fn a_tunnel_is_for_its_node_alone() {
        let check = |name: &str, groups: &[&str], expected| {
            assert_eq!(is_node(&UserInfo::new(name, groups), "n1"), expected, "{name} {groups:?}");
        };
        check("system:node:n1", &["system:nodes"], true);
        check("system:node:n2", &["system:nodes"], false);
        check("system:node:n1", &["system:authenticated"], false);
        check("n1", &["system:nodes"], false);
        check("admin", &["system:masters"], false);
    }
}
