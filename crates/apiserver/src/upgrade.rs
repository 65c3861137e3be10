//! Requests that turn their connection into something else: SPDY, WebSocket, a tunnel.

use axum::body::Body;
use backstay_api::Status;
use backstay_streams::BoxDuplex;
use backstay_streams::websocket::accept_key;
use http::header::{CONNECTION, HeaderMap, HeaderName, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY};
use http::header::{SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE};
use http::request::Parts;
use http::{Response, StatusCode};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt as _;

use crate::answer::send;
use crate::listen::Place;
use crate::pipeline::header;

const STREAM_PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");
/// The only version there is. Source: RFC 6455, section 4.1.
const WEBSOCKET_VERSION: &str = "13";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Spdy,
    WebSocket,
    Tunnel,
}

/// What a client wants to turn its connection into.
pub struct Upgrade {
    pub kind: Kind,
    /// In its order of preference.
    pub protocols: Vec<String>,
    key: String,
    on_upgrade: OnUpgrade,
    /// The connection counts for as long as it lasts.
    place: Option<Place>,
}

impl Upgrade {
    /// None if that is not what the request asks for, or its connection cannot be turned into anything.
    pub fn of(head: &mut Parts) -> Option<Self> {
        let wants = |name: HeaderName, word: &str| {
            words(&head.headers, name).iter().any(|given| given.eq_ignore_ascii_case(word))
        };
        if !wants(CONNECTION, "upgrade") {
            return None;
        }
        let (kind, names) = if wants(UPGRADE, "SPDY/3.1") {
            (Kind::Spdy, STREAM_PROTOCOL)
        } else if wants(UPGRADE, "websocket") && header(&head.headers, SEC_WEBSOCKET_VERSION) == WEBSOCKET_VERSION {
            (Kind::WebSocket, SEC_WEBSOCKET_PROTOCOL)
        } else if wants(UPGRADE, backstay_streams::TUNNEL) {
            (Kind::Tunnel, STREAM_PROTOCOL)
        } else {
            return None;
        };
        let protocols = words(&head.headers, names);
        let key = header(&head.headers, SEC_WEBSOCKET_KEY).to_string();
        let on_upgrade = head.extensions.remove::<OnUpgrade>()?;
        Some(Self { kind, protocols, key, on_upgrade, place: head.extensions.remove::<Place>() })
    }

    /// The best protocol that both sides speak. `""` is spoken by who names none.
    ///
    /// # Errors
    /// There is none.
    pub fn negotiate(&self, spoken: &[&'static str], unnamed: &'static str) -> Result<&'static str, Status> {
        if self.protocols.is_empty() {
            return Ok(unnamed);
        }
        let common = self.protocols.iter().find_map(|wanted| spoken.iter().find(|spoken| *spoken == wanted));
        common.copied().ok_or_else(|| {
            Status::bad_request(format!(
                "unable to upgrade: unable to negotiate protocol: client supports [{}], server accepts [{}]",
                self.protocols.join(" "),
                spoken.join(" ")
            ))
        })
    }

    /// Agrees, and goes on with the connection once the client has been told.
    pub fn accept<W>(self, protocol: &str, work: impl FnOnce(BoxDuplex) -> W + Send + 'static) -> Response<Body>
    where
        W: Future<Output = ()> + Send,
    {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        send::set(headers, CONNECTION, "Upgrade");
        let chosen = |headers: &mut HeaderMap, name| {
            // Who has named none is not to be told of one.
            if self.protocols.iter().any(|named| named == protocol) {
                send::set(headers, name, protocol);
            }
        };
        match self.kind {
            Kind::Spdy => {
                send::set(headers, UPGRADE, "SPDY/3.1");
                chosen(headers, STREAM_PROTOCOL);
            }
            Kind::WebSocket => {
                send::set(headers, UPGRADE, "websocket");
                send::set(headers, SEC_WEBSOCKET_ACCEPT, &accept_key(&self.key));
                chosen(headers, SEC_WEBSOCKET_PROTOCOL);
            }
            Kind::Tunnel => send::set(headers, UPGRADE, backstay_streams::TUNNEL),
        }
        let (on_upgrade, place) = (self.on_upgrade, self.place);
        tokio::spawn(async move {
            let _place = place;
            match on_upgrade.await {
                Ok(upgraded) => {
                    let mut connection = TokioIo::new(upgraded);
                    // The client may wait for the answer before it says anything, and we for the client: what is still
                    // held back on the way must go out. Should that fail, the work finds it out.
                    let _ = connection.flush().await;
                    work(Box::new(connection)).await;
                }
                Err(error) => tracing::debug!(%error, "a client left before its connection was upgraded"),
            }
        });
        response
    }
}

/// A header's words, over all of its lines.
fn words(headers: &HeaderMap, name: HeaderName) -> Vec<String> {
    let lines = headers.get_all(name).into_iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(|word| word.trim().to_string()).filter(|word| !word.is_empty()).collect()
}
