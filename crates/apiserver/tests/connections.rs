//! Real connections to the listener: what it does that the API behind it knows nothing of.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use backstay_apiserver::pki::{self, Pki};
use backstay_apiserver::{ApiServer, Config, Limits, listen};
use backstay_store::MemoryStore;
use http::{Request, Response, header};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A TLS connection of the administrator to a server with these limits, which lives as long as the test.
async fn connect(limits: Limits, protocol: &str) -> TlsStream<TcpStream> {
    let directory = tempfile::tempdir().unwrap();
    let pki =
        Pki::open(directory.path(), &pki::server_hosts([127, 0, 0, 1].into(), ""), jiff::Timestamp::now()).unwrap();
    let server = ApiServer::new(Config { limits, ..Config::new(Arc::new(MemoryStore::default())) }).unwrap();
    server.bootstrap().await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let serving = listen::serve(listener, listen::tls(&pki).unwrap(), server.router(), stopped);
    tokio::spawn(async move {
        serving.await;
        drop(stop);
    });

    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(pki.authority.pair().certificate_pem.as_bytes()).unwrap()).unwrap();
    let chain = vec![CertificateDer::from_pem_slice(pki.admin.certificate_pem.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(pki.admin.key_pem.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_root_certificates(roots).with_client_auth_cert(chain, key).unwrap();
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    let stream = TcpStream::connect(address).await.unwrap();
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("127.0.0.1").unwrap(), stream).await.unwrap()
}

fn get(path: &str) -> Request<Body> {
    Request::get(format!("https://127.0.0.1{path}")).header(header::HOST, "127.0.0.1").body(Body::empty()).unwrap()
}

/// Sends requests one after the other; gives the codes, and how long they took.
async fn codes<F: Future<Output = hyper::Result<Response<Incoming>>>>(
    mut send: impl FnMut(Request<Body>) -> F,
    paths: &[&str],
) -> (Vec<u16>, Duration) {
    let (begun, mut codes) = (Instant::now(), Vec::new());
    for path in paths {
        codes.push(send(get(path)).await.unwrap().status().as_u16());
    }
    (codes, begun.elapsed())
}

/// Of a server that has no seats for reads, every one is refused, after a rest; the connection goes on.
#[tokio::test]
async fn whoever_asks_for_too_much_is_let_rest_and_answered() {
    let limits = || Limits { reads_max: 0, waiting_max: 0, ..Limits::default() };
    let paths = ["/api/v1/nodes", "/readyz", "/api/v1/pods"];

    let (mut http1, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(connect(limits(), "http/1.1").await)).await.unwrap();
    tokio::spawn(connection);
    let (seen, took) = codes(|request| http1.send_request(request), &paths).await;
    assert_eq!(seen, [429, 200, 429]);
    // At least: how much longer it takes is the machine's affair.
    assert!(took >= Duration::from_millis(250), "{took:?}");

    let stream = TokioIo::new(connect(limits(), "h2").await);
    let (mut http2, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    tokio::spawn(connection);
    let (seen, took) = codes(|request| http2.send_request(request), &paths).await;
    assert_eq!(seen, [429, 200, 429]);
    assert!(took >= Duration::from_millis(250), "{took:?}");
}
