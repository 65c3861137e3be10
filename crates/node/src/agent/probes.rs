//! Carries out what probes and hooks ask for.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;

use super::ask;
use crate::lifecycle::Handler;
use crate::runtime::{ContainerKey, Runtime};

/// What a kubelet says of a probe that took too long.
const DEADLINE: &str = "context deadline exceeded";

/// The pod that is asked.
pub(super) struct Target {
    pub(super) runtime: Arc<dyn Runtime>,
    /// Where its containers listen.
    pub(super) ip: String,
}

impl Target {
    /// Does what the handler says. `Err` says why it did not succeed, in a kubelet's words.
    pub(super) async fn run(&self, key: &ContainerKey, handler: &Handler, timeout: Duration) -> Result<(), String> {
        match handler {
            Handler::Always => Ok(()),
            Handler::Invalid { why } => Err(why.clone()),
            Handler::Sleep { seconds } => {
                tokio::time::sleep(Duration::from_secs(*seconds)).await;
                Ok(())
            }
            Handler::Exec { command } => self.exec(key, command, timeout).await,
            Handler::Tcp { host, port } => {
                let address = self.address(host, *port);
                let connected = tokio::time::timeout(timeout, TcpStream::connect(&address)).await;
                let connected = connected.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
                connected.map(drop).map_err(|error| format!("dial tcp {address}: {error}"))
            }
            Handler::Http { host, port, path, https, headers } => {
                let address = self.address(host, *port);
                let url = format!("{}://{address}{path}", if *https { "https" } else { "http" });
                let asked = tokio::time::timeout(timeout, ask::http(&address, path, headers, *https)).await;
                match asked.unwrap_or_else(|_| Err(DEADLINE.into())) {
                    Ok(status) if (200..400).contains(&status) => Ok(()),
                    Ok(status) => Err(format!("HTTP probe failed with statuscode: {status}")),
                    Err(why) => Err(format!("Get \"{url}\": {why}")),
                }
            }
            Handler::Grpc { port, service } => {
                let asked = tokio::time::timeout(timeout, ask::grpc_health(&self.address("", *port), service)).await;
                asked.unwrap_or_else(|_| Err(DEADLINE.into()))
            }
        }
    }

    async fn exec(&self, key: &ContainerKey, command: &[String], timeout: Duration) -> Result<(), String> {
        let done = self.runtime.exec(key, command, timeout).await.map_err(|error| error.to_string())?;
        match done.exit_code {
            Some(0) => Ok(()),
            Some(_) => Err(done.output),
            None => Err(format!("command timed out: \"{}\" timed out after {}s", command.join(" "), timeout.as_secs())),
        }
    }

    fn address(&self, host: &str, port: u16) -> String {
        let host = if host.is_empty() { &self.ip } else { host };
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }
}
