//! Bytes over TLS and nothing else: what `fanout` is compared with. The sender is a process of its own, so that its
//! processor time can be told from the reader's.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio_rustls::{TlsAcceptor, TlsConnector};

pub struct Bare {
    pub seconds: f64,
    /// Of the sender.
    pub cpu: f64,
}

/// Receives `bytes` in all over so many connections, sent in pieces of this size.
pub async fn measure(connections: usize, bytes: usize, piece: usize) -> Result<Bare> {
    let mut child = Command::new(std::env::current_exe()?)
        .arg("raw-server")
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("cannot start the sender")?;
    let pid = child.id().context("the sender has ended at once")?;
    let mut lines = BufReader::new(child.stdout.take().context("the sender has no output")?).lines();
    let hello = lines.next_line().await?.context("the sender has ended early")?;
    let (address, certificate) = hello.split_once(' ').context("the sender says something else")?;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(STANDARD.decode(certificate)?))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let tls = TlsConnector::from(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()));
    let mut streams = Vec::new();
    for _ in 0..connections {
        let stream = TcpStream::connect(address).await?;
        streams.push(tls.connect(ServerName::try_from("localhost")?, stream).await?);
    }
    let (cpu_before, begun) = (cpu(pid)?, Instant::now());
    let share = bytes / connections;
    let readers: Vec<_> = streams
        .into_iter()
        .map(|mut stream| {
            tokio::spawn(async move {
                stream.write_u64(share as u64).await?;
                stream.write_u64(piece as u64).await?;
                stream.flush().await?;
                let (mut left, mut buffer) = (share, vec![0; 64 << 10]);
                while left > 0 {
                    left -= match stream.read(&mut buffer).await? {
                        0 => anyhow::bail!("the sender has stopped"),
                        read => read.min(left),
                    };
                }
                Ok(())
            })
        })
        .collect();
    for reader in readers {
        reader.await??;
    }
    Ok(Bare { seconds: begun.elapsed().as_secs_f64(), cpu: cpu(pid)? - cpu_before })
}

/// Processor time of the sender so far, in seconds: to the nanosecond, for it may need less than a tick of the clock
/// that [`crate::server::Server::cpu`] reads. Threads that have ended do not count; the sender's do not end.
fn cpu(pid: u32) -> Result<f64> {
    let mut nanoseconds = 0;
    for thread in std::fs::read_dir(format!("/proc/{pid}/task")).context("the sender is gone")? {
        let times = std::fs::read_to_string(thread?.path().join("schedstat")).context("the system tells no times")?;
        let running = times.split_whitespace().next().and_then(|field| field.parse::<u64>().ok());
        nanoseconds += running.with_context(|| format!("no processor time: {times}"))?;
    }
    Ok(nanoseconds as f64 / 1e9)
}

/// Tells its address and certificate; then sends each client as many bytes as it asks for, in pieces as it asks for.
pub async fn serve() -> Result<()> {
    let pair = rcgen::generate_simple_self_signed(["localhost".to_string()])?;
    let key = PrivatePkcs8KeyDer::from(pair.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let config = builder.with_no_client_auth().with_single_cert(vec![pair.cert.der().clone()], key.into())?;
    let tls = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{} {}", listener.local_addr()?, STANDARD.encode(pair.cert.der()));
    loop {
        let (stream, _) = listener.accept().await?;
        let tls = tls.clone();
        tokio::spawn(async move {
            stream.set_nodelay(true)?;
            let mut stream = tls.accept(stream).await?;
            let (mut left, piece) = (stream.read_u64().await? as usize, stream.read_u64().await? as usize);
            let bytes = vec![b'x'; piece];
            while left > 0 {
                let part = left.min(piece);
                stream.write_all(&bytes[..part]).await?;
                left -= part;
            }
            stream.flush().await?;
            // Until the reader is done.
            let _ = stream.read_u8().await;
            anyhow::Ok(())
        });
    }
}
