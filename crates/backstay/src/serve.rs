//! `backstay up` and `backstay server`: start, say so, wait for a signal, stop in order.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;
use backstay_apiserver::pods::NoPods;
use tokio::signal::unix::{SignalKind, signal};

use crate::args::{ServerArgs, UpArgs};
use crate::control_plane::ControlPlane;
use crate::node;

pub async fn server(args: ServerArgs) -> Result<ExitCode> {
    let plane = ControlPlane::start(&args.control_plane, Arc::new(NoPods)).await?;
    until_told(plane).await
}

pub async fn up(args: UpArgs) -> Result<ExitCode> {
    let mut plane = ControlPlane::start(&args.control_plane, Arc::new(NoPods)).await?;
    node::start(&mut plane, &args)?;
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
