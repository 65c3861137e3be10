//! Commands and containers with their streams open: the runtime answers with the address of its own streaming server,
//! which speaks SPDY as the API server does to clients.

use std::io;
use std::time::Duration;

use backstay_node::streams::{Session, StreamError};
use backstay_streams::remote::Wanted;
use backstay_streams::remote::client::{SPDY_PROTOCOL, spdy_session};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::codegen::http::Uri;

/// It is on this machine.
const PATIENCE: Duration = Duration::from_secs(30);
/// No answer to a request to upgrade has a longer head.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Opens the streams that wait at this address.
///
/// # Errors
/// If they cannot be had, with what the streaming server has said.
pub async fn open(url: &str, wanted: Wanted) -> Result<Session, StreamError> {
    let failed = |why: String| StreamError::failed(format!("the container runtime's streams at {url}: {why}"));
    let address: Uri = url.parse().map_err(|_| failed("this is not an address".to_string()))?;
    if address.scheme_str() != Some("http") {
        return Err(failed("only a streaming server on loopback without TLS can be used".to_string()));
    }
    match tokio::time::timeout(PATIENCE, upgrade(&address)).await {
        Ok(Ok(connection)) => {
            spdy_session(Box::new(connection), wanted).await.map_err(|error| failed(error.to_string()))
        }
        Ok(Err(error)) => Err(failed(error.to_string())),
        Err(_) => Err(failed(format!("no answer within {} s", PATIENCE.as_secs()))),
    }
}

async fn upgrade(address: &Uri) -> io::Result<TcpStream> {
    let host = address.authority().map(|authority| authority.as_str()).unwrap_or_default();
    let mut connection = TcpStream::connect(host).await?;
    // Whoever types waits for every byte.
    let _ = connection.set_nodelay(true);
    let path = address.path_and_query().map_or("/", |path| path.as_str());
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\
         X-Stream-Protocol-Version: {SPDY_PROTOCOL}\r\nContent-Length: 0\r\n\r\n"
    );
    connection.write_all(request.as_bytes()).await?;
    let head = read_head(&mut connection).await?;
    let status = head.split(' ').nth(1).unwrap_or_default();
    if status != "101" {
        return Err(io::Error::other(format!("it answered {}", head.lines().next().unwrap_or_default())));
    }
    Ok(connection)
}

/// One byte after the other: what follows belongs to the streams.
async fn read_head(connection: &mut TcpStream) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= HEAD_BYTES_MAX {
            return Err(io::Error::other("its answer has no end"));
        }
        head.push(connection.read_u8().await?);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}
