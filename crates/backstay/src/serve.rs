//! `backstay up` and `backstay server`: start, say so, wait for a signal, stop in order.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use backstay_cli::memory;
use tokio::signal::unix::{SignalKind, signal};

use crate::args::{ServerArgs, UpArgs};
use crate::control_plane::ControlPlane;
use crate::node;

/// How often the program is let go of. The first time soon after the start, when that has come to rest.
const LET_GO_EVERY: Duration = Duration::from_secs(600);
const LET_GO_AFTER: Duration = Duration::from_secs(1);

pub async fn server(args: ServerArgs) -> Result<ExitCode> {
    until_told(ControlPlane::start(&args.control_plane).await?).await
}

pub async fn up(args: UpArgs) -> Result<ExitCode> {
    let node = node::name(&args)?;
    let mut plane = ControlPlane::start(&args.control_plane).await?;
    if let Some(node) = node {
        node::start(&mut plane, node, &args.runtime).await?;
    }
    until_told(plane).await
}

async fn until_told(plane: ControlPlane) -> Result<ExitCode> {
    let stopped = stopped()?;
    println!("backstay: ready {} kubeconfig={}", plane.url, plane.kubeconfig.display());
    tokio::select! {
        () = stopped => {}
        () = let_go() => {}
    }
    plane.stop().await;
    Ok(ExitCode::SUCCESS)
}

/// Resolves once this program is told to stop, which does not end it by itself any more.
pub fn stopped() -> std::io::Result<impl Future<Output = ()>> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Runs for ever: what a time of work has touched is not held through a time of rest.
pub async fn let_go() {
    let mut times = tokio::time::interval_at(tokio::time::Instant::now() + LET_GO_AFTER, LET_GO_EVERY);
    loop {
        times.tick().await;
        memory::let_go_of_the_program();
    }
}
