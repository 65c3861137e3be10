//! A network that can be cut: a proxy between clients and a server whose connections the test may end at any time.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use super::Server;

/// Passes bytes on until it is dropped. It keeps its address when the server behind it starts again.
pub struct Proxy {
    address: SocketAddr,
    target: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    /// Both ends of every connection that was made since the last cut.
    open: Mutex<Vec<TcpStream>>,
    refusing: AtomicBool,
    stopped: AtomicBool,
}

impl Proxy {
    pub fn before(server: &Server) -> Self {
        Self::to(server.url.trim_start_matches("https://").parse().expect("an address"))
    }

    pub fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared::default());
        let acceptor = std::thread::spawn({
            let shared = shared.clone();
            move || accept(&listener, target, &shared)
        });
        Self { address, target, shared, acceptor: Some(acceptor) }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A copy of the server's kubeconfig that goes through here, beside it.
    pub fn kubeconfig(&self, server: &Server) -> PathBuf {
        let text = std::fs::read_to_string(&server.kubeconfig).expect("a kubeconfig");
        let through = text.replace(&self.target.to_string(), &self.address.to_string());
        assert_ne!(text, through, "the kubeconfig names the server");
        let file = server.data_dir.join("proxied.kubeconfig");
        std::fs::write(&file, through).expect("written");
        file
    }

    /// Whether new connections end at once.
    pub fn refuse(&self, refuse: bool) {
        self.shared.refusing.store(refuse, Ordering::SeqCst);
    }

    /// Ends every connection there is, without a word of TLS or HTTP. New ones are passed on as before.
    pub fn cut(&self) {
        for end in self.shared.open.lock().expect("not poisoned").drain(..) {
            // One that has ended by itself is as good.
            let _ = end.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        // Wakes the acceptor, which then sees that it is to stop.
        let _ = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
        self.cut();
    }
}

fn accept(listener: &TcpListener, target: SocketAddr, shared: &Arc<Shared>) {
    for client in listener.incoming() {
        if shared.stopped.load(Ordering::SeqCst) {
            return;
        }
        if shared.refusing.load(Ordering::SeqCst) {
            continue;
        }
        let passed_on = client.and_then(|client| pass_on(client, target, shared));
        if let Err(error) = passed_on {
            // The server is away just now: the client sees a connection that ends at once.
            println!("proxy: a connection was not passed on to {target}: {error}");
        }
    }
}

fn pass_on(client: TcpStream, target: SocketAddr, shared: &Shared) -> io::Result<()> {
    let server = TcpStream::connect(target)?;
    for end in [&client, &server] {
        end.set_nodelay(true)?;
        shared.open.lock().expect("not poisoned").push(end.try_clone()?);
    }
    for (from, to) in [(client.try_clone()?, server.try_clone()?), (server, client)] {
        std::thread::spawn(move || copy(&from, &to));
    }
    Ok(())
}

/// One direction, to its end; the other one is told of it.
fn copy(mut from: &TcpStream, mut to: &TcpStream) {
    // However it ends, it has ended.
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}
