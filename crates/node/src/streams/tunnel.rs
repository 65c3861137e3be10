//! The connections over which servers reach this node, one with each of them, so that any of them does. The agent opens
//! them, so that it works from behind any NAT, and opens each again whenever it is lost. On it the roles are reversed: the
//! server asks, over HTTP/2, one `CONNECT` for each session.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use backstay_api::Entropy;
use backstay_api::causes::chain;
use backstay_streams::{TUNNEL, carry};
use bytes::Bytes;
use http::header::{CONNECTION, UPGRADE};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;
use hyper::upgrade::Upgraded;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use kube::Client;
use kube::client::Body;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

use super::NodeStreams;
use crate::servers::{Server, Servers};

/// A server that is silent for twice as long is gone. Also keeps those between us from forgetting the connection.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// A server that does not even answer within this time is tried again.
const OPENED_WITHIN: Duration = Duration::from_secs(20);
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(30);
/// A tunnel that has lasted so long was a good one: the next is opened without further delay.
const GOOD: Duration = Duration::from_secs(60);
/// Sessions at once: each connection of a port-forward is one.
const SESSIONS_MAX: u32 = 4096;
/// As on the other side: a session may be so far ahead of its reader, and a thousand of them do not stop the others.
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 256 << 20;

#[derive(Debug, thiserror::Error)]
enum TunnelError {
    #[error("the server cannot be asked for a tunnel")]
    Request(#[from] kube::Error),
    #[error("the server did not answer in time")]
    Timeout,
    #[error("the server answered {0}: {1}")]
    Refused(StatusCode, String),
    #[error("the tunnel broke")]
    Http(#[from] hyper::Error),
}

/// Keeps this node reachable by each of its servers, for as long as it is polled.
pub async fn run(servers: Servers, node: &str, streams: NodeStreams, entropy: Entropy) {
    let mut changed = servers.changed();
    // All end with this set.
    let mut tunnels = JoinSet::new();
    let mut held: BTreeMap<Option<String>, AbortHandle> = BTreeMap::new();
    loop {
        let wanted: BTreeMap<_, _> = servers.all().into_iter().map(|server| (server.url.clone(), server)).collect();
        held.retain(|url, tunnel| {
            let stays = wanted.contains_key(url);
            if !stays {
                tunnel.abort();
            }
            stays
        });
        for (url, server) in wanted {
            let (node, streams, entropy) = (node.to_string(), streams.clone(), entropy.clone());
            held.entry(url)
                .or_insert_with(|| tunnels.spawn(async move { keep_open(&server, &node, streams, entropy).await }));
        }
        // It cannot fail, since we hold what it hears of.
        let _ = changed.changed().await;
        while tunnels.try_join_next().is_some() {}
    }
}

async fn keep_open(server: &Server, node: &str, streams: NodeStreams, entropy: Entropy) {
    let url = server.url.as_deref();
    let mut pause = RETRY_MIN;
    let mut told = String::new();
    loop {
        let begun = Instant::now();
        match open(&server.client, node).await {
            Ok(connection) => {
                tracing::info!(node, server = url, "the tunnel to the server is open");
                told.clear();
                let ended = serve(connection, streams.clone()).await;
                let error = ended.err().map(tracing::field::display);
                tracing::info!(node, server = url, error, "the tunnel to the server ended");
            }
            Err(error) => {
                let error = chain(&error);
                // A server that is away for long is told of once.
                if error != told {
                    tracing::warn!(node, server = url, error, "no tunnel to the server; will retry");
                }
                told = error;
            }
        }
        if begun.elapsed() >= GOOD {
            pause = RETRY_MIN;
        }
        tokio::time::sleep(entropy.jittered(pause)).await;
        pause = (pause * 2).min(RETRY_MAX);
    }
}

async fn open(client: &Client, node: &str) -> Result<Upgraded, TunnelError> {
    let request = Request::get(format!("/backstay/v1/nodes/{node}/tunnel"))
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, TUNNEL)
        .body(Body::empty())
        .map_err(kube::Error::HttpError)?;
    let opened = async {
        let response = client.send(request).await?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            let status = response.status();
            let body = response.into_body().collect_bytes().await.unwrap_or_default();
            return Err(TunnelError::Refused(status, String::from_utf8_lossy(&body).into_owned()));
        }
        Ok(hyper::upgrade::on(response).await?)
    };
    tokio::time::timeout(OPENED_WITHIN, opened).await.unwrap_or(Err(TunnelError::Timeout))
}

/// Answers the server until the connection ends.
async fn serve(connection: Upgraded, streams: NodeStreams) -> Result<(), hyper::Error> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.timer(TokioTimer::new()).keep_alive_interval(KEEP_ALIVE).keep_alive_timeout(KEEP_ALIVE);
    builder.max_concurrent_streams(SESSIONS_MAX);
    builder.initial_stream_window_size(STREAM_WINDOW_BYTES);
    builder.initial_connection_window_size(CONNECTION_WINDOW_BYTES);
    let service = service_fn(move |request| {
        let streams = streams.clone();
        async move { Ok::<_, Infallible>(answer(request, streams)) }
    });
    builder.serve_connection(connection, service).await
}

fn answer(request: Request<Incoming>, streams: NodeStreams) -> Response<Empty<Bytes>> {
    let mut response = Response::new(Empty::new());
    if request.method() != Method::CONNECT {
        *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        return response;
    }
    tokio::spawn(async move {
        let served = match hyper::upgrade::on(request).await {
            Ok(session) => carry::answer(Box::new(TokioIo::new(session)), &streams).await,
            Err(error) => Err(std::io::Error::other(error)),
        };
        if let Err(error) = served {
            tracing::debug!(%error, "a session over the tunnel ended");
        }
    });
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that begins to refuse, and is cut off before it has said why.
    #[tokio::test(start_paused = true)]
    async fn a_refusal_that_never_ends_is_given_up() {
        let service = tower::service_fn(|_: Request<Body>| async {
            let endless = futures::stream::pending::<Result<Bytes, std::io::Error>>();
            let body = axum::body::Body::from_stream(endless);
            Ok::<_, Infallible>(Response::builder().status(StatusCode::SERVICE_UNAVAILABLE).body(body).unwrap())
        });
        let client = Client::new(service, "default");
        let opened = tokio::time::timeout(2 * OPENED_WITHIN, open(&client, "n1")).await;
        assert!(matches!(opened, Ok(Err(TunnelError::Timeout))), "{opened:?}");
    }
}
