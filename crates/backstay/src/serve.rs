//! `backstay up` and `backstay server`: start, say so, wait for a signal, stop in order.

use std::process::ExitCode;

use anyhow::Result;
use tokio::signal::unix::{SignalKind, signal};

use crate::args::{ServerArgs, UpArgs};
use crate::control_plane::ControlPlane;
use crate::node;

pub async fn server(args: ServerArgs) -> Result<ExitCode> {
    until_told(ControlPlane::start(&args.control_plane).await?).await
}

pub async fn up(args: UpArgs) -> Result<ExitCode> {
    let node = node::name(&args);
    let mut plane = ControlPlane::start(&args.control_plane).await?;
    if let Some(node) = node {
        node::start(&mut plane, node, &args.runtime).await?;
    }
    until_told(plane).await
}

async fn until_told(plane: ControlPlane) -> Result<ExitCode> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    println!("backstay: ready {} kubeconfig={}", plane.url, plane.kubeconfig.display());
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    plane.stop().await;
    Ok(ExitCode::SUCCESS)
}
