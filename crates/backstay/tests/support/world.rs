//! A server of two nodes behind a network that can be cut: what clients have to cope with.

use std::path::PathBuf;

use tempfile::TempDir;

use super::Server;
use super::proxy::Proxy;

pub struct World {
    pub dir: TempDir,
    pub proxy: Proxy,
    /// Clients go through the network with it.
    pub kubeconfig: PathBuf,
    /// Only between two lives it is not there.
    server: Option<Server>,
}

impl World {
    pub fn start() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let server = Server::start(dir.path(), &["up", "--runtime", "none", "--simulated-nodes", "2"]);
        let proxy = Proxy::before(&server);
        let kubeconfig = proxy.kubeconfig(&server);
        Self { dir, proxy, kubeconfig, server: Some(server) }
    }

    pub fn server(&self) -> &Server {
        self.server.as_ref().expect("it runs")
    }

    /// Kills the server, and starts it again with the same data at the same address.
    pub fn restart(&mut self) {
        self.server = self.server.take().map(Server::start_again);
    }
}
