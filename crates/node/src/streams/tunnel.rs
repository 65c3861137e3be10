//! The connection over which the server reaches this node. The agent opens it, so that it works from behind any NAT, and
//! opens it again whenever it is lost. On it the roles are reversed: the server asks, over HTTP/2, one `CONNECT` for each
//! session.

use std::convert::Infallible;
use std::time::Duration;

use backstay_api::Entropy;
use backstay_streams::carry;
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
use tokio::time::Instant;

use super::NodeStreams;

/// What we ask the connection to be turned into. The server knows it by the same name.
const PROTOCOL: &str = "backstay-tunnel/1";
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

/// Keeps this node reachable, for as long as it is polled. `client` gives a client with the credentials of the moment.
pub async fn run(client: impl Fn() -> Client + Send, node: &str, streams: NodeStreams, entropy: Entropy) {
    let mut pause = RETRY_MIN;
    loop {
        let begun = Instant::now();
        match open(&client(), node).await {
            Ok(connection) => {
                tracing::info!(node, "the tunnel to the server is open");
                let ended = serve(connection, streams.clone()).await;
                tracing::info!(
                    node,
                    error = ended.err().map(tracing::field::display),
                    "the tunnel to the server ended"
                );
            }
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(node, error, "no tunnel to the server; will retry");
            }
        }
        if begun.elapsed() >= GOOD {
            pause = RETRY_MIN;
        }
        // At least half of it, so that a fleet that has lost its server does not come back all at once.
        let random = (entropy.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
        tokio::time::sleep(pause.mul_f64(0.5 + random / 2.0)).await;
        pause = (pause * 2).min(RETRY_MAX);
    }
}

async fn open(client: &Client, node: &str) -> Result<Upgraded, TunnelError> {
    let request = Request::get(format!("/backstay/v1/nodes/{node}/tunnel"))
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, PROTOCOL)
        .body(Body::empty())
        .map_err(kube::Error::HttpError)?;
    let response = tokio::time::timeout(OPENED_WITHIN, client.send(request)).await;
    let response = response.map_err(|_elapsed| TunnelError::Timeout)??;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        let status = response.status();
        let body = response.into_body().collect_bytes().await.unwrap_or_default();
        return Err(TunnelError::Refused(status, String::from_utf8_lossy(&body).into_owned()));
    }
    Ok(hyper::upgrade::on(response).await?)
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
