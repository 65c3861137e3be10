//! The wire side of probes: HTTP, HTTPS without a look at the certificate, and the gRPC health check.

use std::sync::Arc;

use http_body_util::{BodyExt as _, Empty, Full};
use hyper::body::{Body, Bytes};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::tls;

/// As much of an answer as is read before it is left alone.
const BODY_BYTES: usize = 10 * 1024;

/// Asks with GET. Returns the status code.
///
/// # Errors
/// In words that follow `Get "URL": `.
pub(super) async fn http(address: &str, path: &str, headers: &[(String, String)], tls: bool) -> Result<u16, String> {
    let stream = TcpStream::connect(address).await.map_err(|error| format!("dial tcp {address}: {error}"))?;
    if !tls {
        return get(stream, address, path, headers).await;
    }
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host).trim_matches(['[', ']']);
    let name = ServerName::try_from(host.to_string()).map_err(|error| error.to_string())?;
    let stream =
        TlsConnector::from(blind_tls()?).connect(name, stream).await.map_err(|error| format!("tls: {error}"))?;
    get(stream, address, path, headers).await
}

async fn get(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    address: &str,
    path: &str,
    headers: &[(String, String)],
) -> Result<u16, String> {
    let mut request = http::Request::get(path).header(http::header::USER_AGENT, "kube-probe/1.36");
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        request = request.header(http::header::HOST, address);
    }
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(|error| error.to_string())?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    let asked = async {
        let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let status = answer.status().as_u16();
        // Some servers log an error when a client leaves before it has heard them out.
        let _ = read(answer.into_body()).await;
        Ok(status)
    };
    beside(connection, asked).await
}

/// The standard health check. `Err` says what the service answered, if not `SERVING`.
pub(super) async fn grpc_health(address: &str, service: &str) -> Result<(), String> {
    let stream = TcpStream::connect(address).await.map_err(|error| format!("dial tcp {address}: {error}"))?;
    let (mut sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    let request = http::Request::post(format!("http://{address}/grpc.health.v1.Health/Check"))
        .header(http::header::CONTENT_TYPE, "application/grpc")
        .header(http::header::TE, "trailers")
        .body(Full::new(Bytes::from(health_request(service))))
        .map_err(|error| error.to_string())?;
    let asked = async {
        let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let at_once = answer.headers().get("grpc-status").cloned();
        let (body, trailers) = read(answer.into_body()).await?;
        let code = at_once.or_else(|| trailers.get("grpc-status").cloned());
        match code.as_ref().and_then(|code| code.to_str().ok()) {
            None | Some("0") => health_answer(&body),
            Some(code) => Err(format!("error: health rpc probe failed with grpc status {code}")),
        }
    };
    beside(connection, asked).await
}

/// `HealthCheckRequest { service = 1 }`, in gRPC's frame.
fn health_request(service: &str) -> Vec<u8> {
    let mut message = Vec::new();
    if !service.is_empty() {
        // The server limits the name to far less than 128 bytes times 128.
        let length = service.len();
        message.push(0x0a);
        if length >= 0x80 {
            message.push((length & 0x7f) as u8 | 0x80);
            message.push((length >> 7) as u8);
        } else {
            message.push(length as u8);
        }
        message.extend_from_slice(service.as_bytes());
    }
    let mut frame = vec![0];
    frame.extend_from_slice(&(message.len() as u32).to_be_bytes());
    frame.extend(message);
    frame
}

/// `HealthCheckResponse { status = 1 }`: 1 is `SERVING`.
fn health_answer(body: &[u8]) -> Result<(), String> {
    match body.get(5..) {
        Some([0x08, 1, ..]) => Ok(()),
        Some([0x08, status, ..]) => Err(format!("service unhealthy (responded with status {status})")),
        _ => Err("service unhealthy (responded with \"UNKNOWN\")".to_string()),
    }
}

async fn read(
    mut body: impl Body<Data = Bytes, Error = hyper::Error> + Unpin,
) -> Result<(Vec<u8>, http::HeaderMap), String> {
    let (mut taken, mut trailers) = (Vec::new(), http::HeaderMap::new());
    while taken.len() < BODY_BYTES {
        let Some(frame) = body.frame().await else { break };
        match frame.map_err(|error| error.to_string())?.into_data() {
            Ok(data) => taken.extend_from_slice(&data),
            Err(frame) => trailers.extend(frame.into_trailers().unwrap_or_default()),
        }
    }
    Ok((taken, trailers))
}

/// Runs the connection, which carries the request, while the answer is awaited.
async fn beside<T>(connection: impl Future, asked: impl Future<Output = T>) -> T {
    let connection = async {
        connection.await;
        // That it has ended shows in the answer.
        std::future::pending::<T>().await
    };
    tokio::select! {
        biased;
        answer = asked => answer,
        answer = connection => answer,
    }
}

/// A probe asks whether the service answers, not who it is: certificates are not checked, as by a kubelet.
fn blind_tls() -> Result<Arc<ClientConfig>, String> {
    tls::client_config(|_| Ok(())).map(Arc::new).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    #[test]
    fn health_messages() {
        assert_eq!(health_request(""), [0, 0, 0, 0, 0]);
        assert_eq!(health_request("ab"), [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        assert!(health_answer(&[0, 0, 0, 0, 2, 8, 1]).is_ok());
        assert!(health_answer(&[0, 0, 0, 0, 2, 8, 2]).unwrap_err().contains("status 2"));
        assert!(health_answer(&[]).is_err());
    }

    #[tokio::test]
    async fn http_asks_and_listens() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let serving = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 1024];
            let length = stream.read(&mut request).await.unwrap();
            stream.write_all(b"HTTP/1.1 503 No\r\nContent-Length: 2\r\n\r\nno").await.unwrap();
            String::from_utf8_lossy(&request[..length]).into_owned()
        });
        let headers = [("X-Probe".to_string(), "yes".to_string())];
        assert_eq!(http(&address, "/well?x=1", &headers, false).await, Ok(503));
        let request = serving.await.unwrap();
        assert!(request.starts_with("GET /well?x=1 HTTP/1.1\r\n"), "{request}");
        assert!(request.to_lowercase().contains("x-probe: yes") && request.contains(&address), "{request}");
        assert!(http("127.0.0.1:1", "/", &[], false).await.unwrap_err().starts_with("dial tcp 127.0.0.1:1"));
    }
}
