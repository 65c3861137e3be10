//! Connections made from inside another network namespace.

use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Nobody waits longer for an answer from the same machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// Connects to a port on the loopback address there; `None`: of this namespace. A thread of its own moves: a socket stays
/// in the namespace in which it was made.
pub async fn connect(namespace: Option<&Path>, port: u16) -> io::Result<tokio::net::TcpStream> {
    let namespace = namespace.map(File::open).transpose()?;
    let (sender, receiver) = tokio::sync::oneshot::channel();
    std::thread::Builder::new().name("port-forward".to_string()).spawn(move || {
        let _ = sender.send(connect_here(namespace.as_ref(), port));
    })?;
    let stream = receiver.await.map_err(|_| io::Error::other("the thread that connects is gone"))??;
    stream.set_nonblocking(true)?;
    // Whoever types waits for every byte.
    let _ = stream.set_nodelay(true);
    tokio::net::TcpStream::from_std(stream)
}

fn connect_here(namespace: Option<&File>, port: u16) -> io::Result<TcpStream> {
    if let Some(namespace) = namespace {
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
    }
    let four = TcpStream::connect_timeout(&SocketAddr::from(([127, 0, 0, 1], port)), PATIENCE);
    four.or_else(|first| {
        let six = SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, port));
        TcpStream::connect_timeout(&six, PATIENCE).map_err(|_| first)
    })
}
