//! Logs of the server side: to standard error, `info` and above unless `BACKSTAY_LOG` says otherwise.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// What the client of Kubernetes tells of its errors, we are given, and handle.
const DEFAULT: &str = "info,kube_client=off";

pub fn start() {
    let filter = EnvFilter::try_from_env("BACKSTAY_LOG").unwrap_or_else(|_| EnvFilter::new(DEFAULT));
    let color = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(color).init();
}
