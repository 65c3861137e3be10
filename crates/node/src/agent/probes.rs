//! Carries out what probes and hooks ask for.

use std::time::Duration;

use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::Context;
use crate::lifecycle::Handler;
use crate::runtime::ContainerKey;

/// As much of an answer as fits into an event.
const BODY_BYTES: usize = 1024;

/// Does what the handler says. `Err` says why it did not succeed, in a kubelet's words.
pub(super) async fn run(
    context: &Context,
    key: &ContainerKey,
    handler: &Handler,
    timeout: Duration,
) -> Result<(), String> {
    match handler {
        Handler::Always => Ok(()),
        Handler::Invalid { why } => Err(why.clone()),
        Handler::Sleep { seconds } => {
            tokio::time::sleep(Duration::from_secs(*seconds)).await;
            Ok(())
        }
        Handler::Exec { command } => exec(context, key, command, timeout).await,
        Handler::Tcp { host, port } => {
            let address = address(context, host, *port);
            let connected = tokio::time::timeout(timeout, TcpStream::connect(&address)).await;
            let connected = connected.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
            connected.map(drop).map_err(|error| format!("dial tcp {address}: {error}"))
        }
        Handler::Http { host, port, path, https, headers } => {
            let address = address(context, host, *port);
            let url = format!("{}://{address}{path}", if *https { "https" } else { "http" });
            let asked = tokio::time::timeout(timeout, http(&address, path, *https, headers)).await;
            match asked
                .unwrap_or_else(|_| Err("context deadline exceeded (timeout exceeded while awaiting headers)".into()))
            {
                Ok(status) if (200..400).contains(&status) => Ok(()),
                Ok(status) => Err(format!("HTTP probe failed with statuscode: {status}")),
                Err(why) => Err(format!("Get \"{url}\": {why}")),
            }
        }
        Handler::Grpc { .. } => {
            Err("grpc probes are not supported by this node; use exec, httpGet or tcpSocket".into())
        }
    }
}

async fn exec(context: &Context, key: &ContainerKey, command: &[String], timeout: Duration) -> Result<(), String> {
    let done = context.config.runtime.exec(key, command, timeout).await.map_err(|error| error.to_string())?;
    match done.exit_code {
        Some(0) => Ok(()),
        Some(_) => Err(done.output),
        None => Err(format!("command timed out: \"{}\" timed out after {}s", command.join(" "), timeout.as_secs())),
    }
}

fn address(context: &Context, host: &str, port: u16) -> String {
    // Containers of this machine listen on the machine itself.
    let own = context.facts.ips.first().map_or("127.0.0.1", String::as_str);
    let host = if host.is_empty() { own } else { host };
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

async fn http(address: &str, path: &str, https: bool, headers: &[(String, String)]) -> Result<u16, String> {
    let stream = TcpStream::connect(address).await.map_err(|error| format!("dial tcp {address}: {error}"))?;
    if https {
        return Err("https probes are not supported by this node; use exec, http or tcpSocket".into());
    }
    ask(stream, address, path, headers).await
}

async fn ask(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    address: &str,
    path: &str,
    headers: &[(String, String)],
) -> Result<u16, String> {
    let mut request = http::Request::get(path).header(http::header::USER_AGENT, "kube-probe/1.36");
    let own_host = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host"));
    if !own_host {
        request = request.header(http::header::HOST, address);
    }
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(|error| error.to_string())?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    let asked = async {
        let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let status = answer.status().as_u16();
        let mut body = answer.into_body();
        let mut taken = 0;
        // Some servers log an error when a client leaves before it has heard them out.
        while taken < BODY_BYTES
            && let Some(Ok(frame)) = body.frame().await
        {
            taken += frame.data_ref().map_or(0, Bytes::len);
        }
        Ok(status)
    };
    tokio::select! {
        answer = asked => answer,
        // The connection carries the request; that it ends first is the request's business to tell.
        _ = async { let _ = connection.await; std::future::pending::<()>().await } => unreachable!("pending for ever"),
    }
}
