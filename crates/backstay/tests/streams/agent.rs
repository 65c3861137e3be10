//! An agent in this process, for a server in another: all it has is connections that it opens itself.

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use backstay_api::{Clock, Entropy};
use backstay_apiserver::kubeconfig;
use backstay_apiserver::pki::{Pki, Subject, server_hosts};
use backstay_node::process::{ProcessRuntime, ShimCommand};
use backstay_node::runtime::Runtimes;
use backstay_node::servers::Servers;
use backstay_node::streams::{NodeStreams, tunnel};
use backstay_node::{Machine, NodeConfig, pods_dir};
use jiff::Timestamp;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tokio::sync::oneshot;

use crate::support::Server;
use crate::support::proxy::Proxy;

const NODE: &str = "far";

/// Ends when dropped; its pods do not.
pub struct Agent {
    pub network: Proxy,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Agent {
    pub fn start(server: &Server, dir: &Path) -> Self {
        let network = Proxy::before(server);
        let kubeconfig = credentials(server, &network, dir);
        let data_dir = dir.join("agent");
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
            runtime.block_on(run(&kubeconfig, &data_dir, stopped));
        });
        Self { network, stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // If it has panicked, that was said.
            let _ = thread.join();
        }
    }
}

/// A certificate of the server's authority, as the agent would get it when it joins.
fn credentials(server: &Server, network: &Proxy, dir: &Path) -> std::path::PathBuf {
    let hosts = server_hosts([127, 0, 0, 1].into(), "server");
    let pki = Pki::open(&server.data_dir.join("pki"), &hosts, Timestamp::now()).expect("the server's authority");
    let subject = Subject::client(&format!("system:node:{NODE}"), &["system:nodes", "system:masters"]);
    let pair = pki.authority.issue(&subject, Timestamp::now(), 1).expect("a certificate");
    let file = dir.join("agent.kubeconfig");
    let through = network.kubeconfig(server);
    let url = Kubeconfig::read_from(through).expect("a kubeconfig").clusters[0].cluster.clone();
    let url = url.and_then(|cluster| cluster.server).expect("a server");
    kubeconfig::write(&file, &url, &pki.authority.pair().certificate_pem, &pair).expect("written");
    file
}

async fn run(kubeconfig: &Path, data_dir: &Path, stopped: oneshot::Receiver<()>) {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).expect("a kubeconfig");
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    let client = Client::try_from(config.expect("a configuration")).expect("a client");
    let (clock, entropy) = (Clock::new(Timestamp::now), Entropy::new(rand::random));
    let shim = ShimCommand(vec![env!("CARGO_BIN_EXE_backstay").into(), "shim".into()]);
    let pods = pods_dir(data_dir);
    let runtime = ProcessRuntime::new(pods.clone(), shim, clock.clone()).expect("a runtime");
    let runtimes = Runtimes::new(Arc::new(runtime));
    let streams = NodeStreams::new(runtimes.clone(), pods);
    let config = NodeConfig {
        name: NODE.into(),
        runtimes,
        clock,
        entropy: entropy.clone(),
        machine: Machine::this(data_dir),
        data_dir: data_dir.to_path_buf(),
        addresses: Vec::new(),
        labels: Vec::new(),
        sysctls_allowed: Vec::new(),
    };
    let servers = Servers::from(client);
    tokio::select! {
        () = backstay_node::run(servers.clone(), config, std::future::pending()) => {}
        () = tunnel::run(servers, NODE, streams, entropy) => {}
        _ = stopped => {}
    }
}
