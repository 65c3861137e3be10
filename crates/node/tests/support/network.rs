//! A server that is reached over TLS through a network that can be cut, or swallow everything.

use std::net::SocketAddr;
use std::path::Path;

use backstay_apiserver::pki::{Pki, Subject};
use backstay_apiserver::{kubeconfig, listen};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::Server;

/// Dropping it ends everything.
pub struct Network {
    pub dir: TempDir,
    pki: Pki,
    address: SocketAddr,
    weather: watch::Sender<Weather>,
    tasks: Vec<JoinHandle<()>>,
    _stop: watch::Sender<bool>,
}

/// Connections that were made under another number have been cut, or have fallen silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Weather {
    number: u32,
    /// Nothing arrives, and nobody is told.
    fog: bool,
}

impl Network {
    pub async fn before(server: &Server) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let hosts = backstay_apiserver::pki::server_hosts([127, 0, 0, 1].into(), "server");
        let pki = Pki::open(&dir.path().join("pki"), &hosts, server.clock.now()).unwrap();
        let behind = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = behind.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        let serving = tokio::spawn(listen::serve(behind, listen::tls(&pki).unwrap(), server.bare.clone(), stopped));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (weather, seen) = watch::channel(Weather { number: 0, fog: false });
        let passing = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass(client, target, seen.clone()));
            }
        });
        Self { dir, pki, address, weather, tasks: vec![serving, passing], _stop: stop }
    }

    /// A client on the other side, with a certificate.
    pub async fn client(&self, server: &Server, user: &str, groups: &[&str]) -> Client {
        let pair = self.pki.authority.issue(&Subject::client(user, groups), server.clock.now(), 1).unwrap();
        let file = self.dir.path().join("kubeconfig");
        let authority = &self.pki.authority.pair().certificate_pem;
        kubeconfig::write(&file, &format!("https://{}", self.address), authority, &pair).unwrap();
        client(&file).await
    }

    /// Ends every connection there is. New ones are passed on.
    pub fn cut(&self) {
        self.weather.send_modify(|weather| *weather = Weather { number: weather.number + 1, fog: false });
    }

    /// From now on nothing arrives any more on the connections that there are. New ones are passed on.
    pub fn fog(&self) {
        self.weather.send_modify(|weather| *weather = Weather { number: weather.number + 1, fog: true });
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn client(kubeconfig: &Path) -> Client {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    Client::try_from(config).unwrap()
}

async fn pass(mut client: TcpStream, target: SocketAddr, mut weather: watch::Receiver<Weather>) {
    let Ok(mut server) = TcpStream::connect(target).await else { return };
    let born = *weather.borrow_and_update();
    let changed = async {
        let changed = weather.wait_for(|now| now.number != born.number).await;
        // Without a network there is no connection.
        changed.is_ok_and(|weather| weather.fog)
    };
    let swallows = tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => return,
        swallows = changed => swallows,
    };
    if swallows {
        // Both ends stay open, and hear nothing.
        std::future::pending::<()>().await;
    }
}
