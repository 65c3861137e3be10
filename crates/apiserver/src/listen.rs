//! The TLS listener: accepts connections, learns who is on the other side, and hands requests to the router.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use jiff::Timestamp;
use rustls::RootCertStore;
use rustls::ServerConfig;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::UnixTime;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, SignatureScheme};
use sha2::{Digest, Sha256};
use socket2::TcpKeepalive;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::ServiceExt;
use tracing::{debug, warn};

use crate::authn::Peer;
use crate::callers::{Caller, Callers};
use crate::gather::{Refused, Turns, gathered};
use crate::identity::{CREDENTIAL_ID, UserInfo};
use crate::pki::{Pair, Pki};
use crate::tls_stream::TlsStream;

/// A handshake that takes longer is somebody holding a slot, not a client.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Between requests on one connection. hyper has one limit for this and for the head of a request; clients that keep
/// connections expect more than the 90 s that kube-apiserver gives.
const IDLE: Duration = Duration::from_secs(120);
/// Connections at once: 5,000 nodes with a few connections each, doubled. More wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 32_768;
/// Of these, from one address: a whole simulated fleet may run on one machine, but must not keep everybody else out.
const CONNECTIONS_PER_ADDRESS_MAX: usize = CONNECTIONS_MAX / 4 * 3;
/// What running requests get to finish in when the server stops; watches end at once.
const DRAIN: Duration = Duration::from_secs(3);
/// After so long a silence, the kernel asks whether the other side is there, and again after the same time.
const SILENCE: Duration = Duration::from_secs(30);
/// Who has not acknowledged anything for so long is gone.
const UNHEARD: Duration = Duration::from_secs(120);
/// As kube-apiserver: clients multiplex their watches over one connection.
const STREAMS_MAX: u32 = 1_000;
/// All headers of a request, the path among them, which may be 64 KiB long; the library would stop at 16 KiB.
const HEADERS_BYTES_MAX: u32 = 256 << 10;

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("the server's certificate or key cannot be read: {0}")]
    Pem(#[from] rustls::pki_types::pem::Error),
    #[error("the server's certificate cannot be used")]
    Rustls(#[from] rustls::Error),
    #[error("client certificates cannot be checked: {0}")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

/// TLS as the server speaks it, and who vouches for clients.
#[derive(Clone)]
pub struct Tls {
    config: Arc<ServerConfig>,
    clients: Arc<dyn ClientCertVerifier>,
}

/// The server's own certificate; client certificates are asked for, and checked against its own authority.
pub fn tls(pki: &Pki) -> Result<Tls, TlsError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(pki.authority.pair().certificate_pem.as_bytes())?)?;
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .allow_unauthenticated()
        .build()?;
    let (mut chain, key) = chain_and_key(&pki.server)?;
    // The authority goes along: a machine that joins knows it by the hash of its key.
    chain.push(CertificateDer::from_pem_slice(pki.authority.pair().certificate_pem.as_bytes())?);
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(Arc::new(Later(clients.clone())))
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Tls { config: Arc::new(config), clients })
}

/// Lets every certificate through the handshake whose key the client holds. Whether it counts for anything is found out
/// afterwards: a client is to be told that it is unauthorized, not that the connection broke.
#[derive(Debug)]
struct Later(Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for Later {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

impl Tls {
    /// What the certificates that a client has shown say about it; nothing if it has shown none.
    fn peer(&self, shown: Option<&[CertificateDer<'_>]>) -> Option<Peer> {
        let (own, others) = shown?.split_first()?;
        let vouched = self.clients.verify_client_cert(own, others, UnixTime::now());
        Some(vouched.ok().and_then(|_| read(own)).unwrap_or(Peer::Refused))
    }
}

fn chain_and_key(pair: &Pair) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
    let chain = CertificateDer::pem_slice_iter(pair.certificate_pem.as_bytes()).collect::<Result<Vec<_>, _>>()?;
    Ok((chain, PrivateKeyDer::from_pem_slice(pair.key_pem.as_bytes())?))
}

/// Serves until `stop` turns true, then lets running requests finish for a moment.
pub async fn serve(listener: TcpListener, tls: Tls, router: Router, stop: watch::Receiver<bool>) {
    serve_some(listener, tls, router, stop, CONNECTIONS_MAX).await;
}

async fn serve_some(
    listener: TcpListener,
    tls: Tls,
    router: Router,
    mut stop: watch::Receiver<bool>,
    connections_max: usize,
) {
    let slots = Arc::new(Semaphore::new(connections_max));
    let callers = Callers::new(CONNECTIONS_PER_ADDRESS_MAX);
    let graceful = GracefulShutdown::new();
    loop {
        let next = async {
            let slot = slots.clone().acquire_owned().await.ok()?;
            Some((slot, listener.accept().await))
        };
        let next = tokio::select! {
            biased;
            _ = stop.wait_for(|stopped| *stopped) => None,
            next = next => next,
        };
        let Some((slot, accepted)) = next else { break };
        let (stream, address) = match accepted {
            Ok((stream, address)) => (stream, address.ip()),
            Err(error) => {
                // Out of file descriptors, mostly: give others time to close theirs instead of spinning.
                warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let Some(caller) = callers.connect(address) else {
            debug!(%address, "too many connections from one address: this one is closed");
            continue;
        };
        let (tls, router, watcher) = (tls.clone(), router.clone(), graceful.watcher());
        let place = Place { _held: Arc::new((slot, caller)), refused: Refused::default() };
        tokio::spawn(async move {
            if let Err(error) = connection(stream, tls, router, watcher, place).await {
                debug!(error = %error, "connection ended");
            }
        });
    }
    drop(listener);
    if tokio::time::timeout(DRAIN, graceful.shutdown()).await.is_err() {
        debug!("some requests were still running when the server stopped");
    }
}

/// The place of a connection among all. A request takes it along if it turns the connection into something else.
#[derive(Clone)]
pub struct Place {
    _held: Arc<(OwnedSemaphorePermit, Caller)>,
    refused: Refused,
}

impl Place {
    /// Lets the connection rest, since it brings more than can be done.
    pub fn refused(&self) {
        self.refused.set();
    }
}

/// Lets the kernel find out that the other side is gone without a word. HTTP/2 has pings of its own; a terminal that
/// somebody sits at may be silent for hours.
fn notice_the_end(stream: &TcpStream) -> std::io::Result<()> {
    let socket = socket2::SockRef::from(stream);
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(SILENCE).with_interval(SILENCE))?;
    socket.set_tcp_user_timeout(Some(UNHEARD))
}

type Watcher = hyper_util::server::graceful::Watcher;

type Failed = Box<dyn std::error::Error + Send + Sync>;

async fn connection(stream: TcpStream, tls: Tls, router: Router, watcher: Watcher, place: Place) -> Result<(), Failed> {
    // Apart, since what a beginning needs is large, and would be held as long as the connection.
    Box::pin(begun(stream, tls, router, watcher, place)).await?.await
}

/// A connection after its handshake; it lives while it is polled.
async fn begun(
    stream: TcpStream,
    tls: Tls,
    router: Router,
    watcher: Watcher,
    place: Place,
) -> Result<impl Future<Output = Result<(), Failed>>, Failed> {
    stream.set_nodelay(true)?;
    notice_the_end(&stream)?;
    let stream = tokio::time::timeout(HANDSHAKE, TlsStream::accept(tls.config.clone(), stream)).await??;
    let peer = tls.peer(stream.session().peer_certificates());
    let refused = place.refused.clone();
    let service = service_fn(move |mut request: Request<Incoming>| {
        if let Some(peer) = &peer {
            request.extensions_mut().insert(peer.clone());
        }
        request.extensions_mut().insert(place.clone());
        router.clone().oneshot(request.map(Body::new))
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(IDLE);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(STREAMS_MAX);
    builder.http2().max_header_list_size(HEADERS_BYTES_MAX);
    builder.http2().keep_alive_interval(Duration::from_secs(30)).keep_alive_timeout(Duration::from_secs(20));
    let is_shared = stream.session().alpn_protocol() == Some(b"h2");
    let (stream, handle) = gathered(stream, refused);
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    Ok(Turns::run(handle, Box::pin(watcher.watch(connection.into_owned())), is_shared))
}

/// Whom a certificate names: the common name is the user, each organization a group.
fn read(certificate: &CertificateDer<'_>) -> Option<Peer> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate.as_ref()).ok()?;
    let until = Timestamp::from_second(parsed.validity().not_after.timestamp()).ok()?;
    let subject = parsed.subject();
    let name = subject.iter_common_name().last().and_then(|name| name.as_str().ok()).filter(|name| !name.is_empty());
    let groups: Vec<&str> = subject.iter_organization().filter_map(|group| group.as_str().ok()).collect();
    let user = name.map(|name| {
        let fingerprint: String = Sha256::digest(certificate).iter().map(|byte| format!("{byte:02x}")).collect();
        let id = (CREDENTIAL_ID.to_string(), vec![format!("X509SHA256={fingerprint}")]);
        Arc::new(UserInfo { extra: [id].into(), ..UserInfo::new(name, &groups) })
    });
    Some(Peer::Vouched { user, until })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki;

    #[tokio::test(start_paused = true)]
    async fn a_server_whose_places_are_taken_can_be_stopped() {
        let directory = tempfile::tempdir().unwrap();
        let hosts = pki::server_hosts([127, 0, 0, 1].into(), "");
        let pki = Pki::open(directory.path(), &hosts, Timestamp::UNIX_EPOCH).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (stop, stopped) = watch::channel(false);
        let serving = tokio::spawn(serve_some(listener, tls(&pki).unwrap(), Router::new(), stopped, 0));
        tokio::task::yield_now().await;
        stop.send_replace(true);
        tokio::time::timeout(DRAIN * 2, serving).await.expect("it does not wait for a place").unwrap();
    }
}
