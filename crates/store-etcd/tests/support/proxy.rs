//! A way to etcd that can be cut, or lose the answers, or lead to a member that only says that it is alive.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

#[derive(Clone, Copy, PartialEq)]
enum Way {
    Open,
    /// Questions arrive, answers do not.
    Mute,
    /// Of the answers, only those of HTTP/2 itself arrive.
    Idle,
    Cut,
}

/// Frames of HTTP/2 that carry answers. Source: RFC 9113, section 6.
const DATA: u8 = 0;
const HEADERS: u8 = 1;

/// Passes bytes on until it is dropped, as far as its way is open.
pub struct Proxy {
    address: SocketAddr,
    way: watch::Sender<Way>,
}

impl Proxy {
    /// To `http://HOST:PORT`.
    pub fn to(endpoint: &str) -> Self {
        let target: SocketAddr = endpoint.trim_start_matches("http://").parse().expect("an address");
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        listener.set_nonblocking(true).expect("a setting");
        let address = listener.local_addr().expect("an address");
        let listener = TcpListener::from_std(listener).expect("within a runtime");
        let (way, seen) = watch::channel(Way::Open);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let seen = seen.clone();
                if seen.has_changed().is_err() {
                    return;
                }
                tokio::spawn(pass(client, target, seen));
            }
        });
        Self { address, way }
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Ends all connections; new ones end at once.
    pub fn cut(&self) {
        self.way.send_replace(Way::Cut);
    }

    /// Answers are held back from now on.
    pub fn mute(&self) {
        self.way.send_replace(Way::Mute);
    }

    /// From now on there are no answers, but signs of life.
    pub fn idle(&self) {
        self.way.send_replace(Way::Idle);
    }

    pub fn heal(&self) {
        self.way.send_replace(Way::Open);
    }
}

async fn pass(client: TcpStream, target: SocketAddr, mut way: watch::Receiver<Way>) {
    if *way.borrow_and_update() == Way::Cut {
        return;
    }
    let Ok(server) = TcpStream::connect(target).await else { return };
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
        (client.into_split(), server.into_split());
    let mut seen = way.clone();
    let answers = async {
        let mut head = [0; 9];
        while from_server.read_exact(&mut head).await.is_ok() {
            let [a, b, c, kind, ..] = head;
            let mut frame = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
            if from_server.read_exact(&mut frame).await.is_err() {
                return;
            }
            let open = way.wait_for(|way| *way != Way::Mute).await.is_ok();
            if *way.borrow() == Way::Idle && [DATA, HEADERS].contains(&kind) {
                continue;
            }
            if !open || to_client.write_all(&[&head, &frame[..]].concat()).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        biased;
        _ = seen.wait_for(|way| *way == Way::Cut) => {}
        _ = tokio::io::copy(&mut from_client, &mut to_server) => {}
        () = answers => {}
    }
}
