//! A client as bare as one can be: TLS, HTTP, and nothing that would cost the measured machine more than it must.

use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use http::{Method, Request, Response, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Where a server is, and with what to prove who asks.
#[derive(Clone)]
pub struct Target {
    pub address: String,
    ca: String,
    /// A client certificate and its key.
    certificate: Option<(String, String)>,
}

/// One HTTP/2 connection; clones share it.
#[derive(Clone)]
pub struct Connection {
    sender: http2::SendRequest<Full<Bytes>>,
    address: String,
    token: Option<String>,
}

impl Target {
    /// From the address and the kubeconfig of a server of ours, which holds each of these once.
    pub fn read(url: &str, kubeconfig: &str) -> Result<Self> {
        let text = |name: &str| {
            let line = kubeconfig.lines().find_map(|line| line.trim().trim_start_matches("- ").strip_prefix(name));
            let data = line.with_context(|| format!("the kubeconfig has no {name}"))?.trim();
            anyhow::Ok(String::from_utf8(STANDARD.decode(data)?)?)
        };
        Ok(Self {
            address: url.trim_start_matches("https://").to_string(),
            ca: text("certificate-authority-data:")?,
            certificate: Some((text("client-certificate-data:")?, text("client-key-data:")?)),
        })
    }

    /// The same without a certificate, which would count for more than a token.
    pub fn anonymous(&self) -> Self {
        Self { certificate: None, ..self.clone() }
    }

    /// What connections of this protocol (`h2`, `http/1.1`) are made with.
    pub fn tls(&self, protocol: &str) -> Result<TlsConnector> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.ca.as_bytes())?)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let builder = builder.with_root_certificates(roots);
        let mut config = match &self.certificate {
            Some((certificate, key)) => {
                let chain = CertificateDer::pem_slice_iter(certificate.as_bytes()).collect::<Result<Vec<_>, _>>()?;
                builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes())?)?
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        Ok(TlsConnector::from(Arc::new(config)))
    }

    pub async fn stream(&self, tls: &TlsConnector) -> Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(&self.address).await.context("cannot connect")?;
        stream.set_nodelay(true)?;
        let host = self.address.rsplit_once(':').map_or("localhost", |(host, _)| host).to_string();
        Ok(tls.connect(ServerName::try_from(host)?, stream).await?)
    }

    pub async fn connect(&self, tls: &TlsConnector) -> Result<Connection> {
        let stream = self.stream(tls).await?;
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        tokio::spawn(async move {
            // Ends with the server, or with the last that sends.
            let _ = connection.await;
        });
        Ok(Connection { sender, address: self.address.clone(), token: None })
    }

    /// Starts a request over a connection of its own, as HTTP/1.1.
    pub async fn get_http1(&self, tls: &TlsConnector, path: &str) -> Result<Response<Incoming>> {
        let stream = self.stream(tls).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(async move {
            let _ = connection.await;
        });
        let request = Request::get(path).header(header::HOST, &self.address).body(Full::new(Bytes::new()))?;
        accepted(sender.send_request(request).await?).await
    }
}

impl Connection {
    /// The same connection, as somebody else.
    pub fn with_token(&self, token: &str) -> Self {
        Self { token: Some(token.to_string()), ..self.clone() }
    }

    /// Sends a request and gives its answer, whatever it says.
    pub async fn ask(&mut self, method: Method, path: &str, kind: &str, body: String) -> Result<Response<Incoming>> {
        let mut request = Request::builder().method(method).uri(format!("https://{}{path}", self.address));
        if !kind.is_empty() {
            request = request.header(header::CONTENT_TYPE, kind);
        }
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        self.sender.ready().await?;
        Ok(self.sender.send_request(request.body(Full::new(body.into()))?).await?)
    }

    pub async fn get(&mut self, path: &str) -> Result<Response<Incoming>> {
        accepted(self.ask(Method::GET, path, "", String::new()).await?).await
    }

    pub async fn create(&mut self, path: &str, body: String) -> Result<Bytes> {
        let answer = accepted(self.ask(Method::POST, path, "application/json", body).await?).await?;
        Ok(answer.into_body().collect().await?.to_bytes())
    }

    pub async fn merge(&mut self, path: &str, body: String) -> Result<Bytes> {
        let answer = accepted(self.ask(Method::PATCH, path, "application/merge-patch+json", body).await?).await?;
        Ok(answer.into_body().collect().await?.to_bytes())
    }
}

async fn accepted(answer: Response<Incoming>) -> Result<Response<Incoming>> {
    if answer.status().is_success() {
        return Ok(answer);
    }
    let status = answer.status();
    let body = answer.into_body().collect().await?.to_bytes();
    bail!("the server answers {status}: {}", String::from_utf8_lossy(&body))
}

/// As many connections as carry `streams`, so many over each.
pub async fn connections(target: &Target, streams: usize, per_connection: usize) -> Result<Vec<Connection>> {
    ensure!(per_connection > 0, "a connection carries at least one stream");
    let tls = target.tls("h2")?;
    let mut connections = Vec::new();
    for _ in 0..streams.div_ceil(per_connection) {
        connections.push(target.connect(&tls).await?);
    }
    Ok(connections)
}

/// Requests in flight.
pub const AT_ONCE: usize = 32;

/// As many running answers as `count`, so many over each connection, each to the path of its number.
pub async fn started(
    target: &Target,
    count: usize,
    per_connection: usize,
    path: impl Fn(usize) -> String,
) -> Result<Vec<Response<Incoming>>> {
    let connections = connections(target, count, per_connection).await?;
    let starting = (0..count).map(|number| {
        let (mut connection, path) = (connections[number / per_connection].clone(), path(number));
        async move { connection.get(&path).await }
    });
    futures::stream::iter(starting).buffer_unordered(AT_ONCE).try_collect().await
}
