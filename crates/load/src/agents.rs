//! What a change of one pod costs where each node's agent watches the pods of its own node: the same in every fleet.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures::{StreamExt, TryStreamExt};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::client::{AT_ONCE, started};
use crate::figure::{print, rounded};
use crate::objects::{PODS, create_all, pod};
use crate::server::Server;

const PER_CONNECTION: usize = 500;
/// An event that has not come by then will not.
const PATIENCE: Duration = Duration::from_secs(30);

pub async fn measure(program: &Path, nodes: usize, changes: usize) -> Result<()> {
    let server = Server::start(program, &["--disable-admission-plugins", "ServiceAccount"]).await?;
    let mut writer = server.target.connect(&server.target.tls("h2")?).await?;
    create_all(&writer, PODS, (0..nodes).map(pod)).await?;
    let list = writer.get(&format!("{PODS}?limit=1")).await?.into_body().collect().await?.to_bytes();
    let list: Value = serde_json::from_slice(&list)?;
    let version = list["metadata"]["resourceVersion"].as_str().context("a list without a version")?;
    let of = |node: usize| format!("fieldSelector=spec.nodeName%3Dnode-{node}");

    let path = |node: usize| format!("{PODS}?watch=true&resourceVersion={version}&{}", of(node));
    let watches = started(&server.target, nodes, PER_CONNECTION, path).await?;
    let (hearing, mut heard) = mpsc::unbounded_channel();
    for watch in watches {
        let hearing = hearing.clone();
        tokio::spawn(async move {
            let mut body = watch.into_body();
            while let Some(Ok(frame)) = body.frame().await {
                let lines = frame.data_ref().map_or(0, |data| data.iter().filter(|byte| **byte == b'\n').count());
                let _ = hearing.send(lines);
            }
        });
    }

    let (cpu_before, begun) = (server.cpu()?, Instant::now());
    let changing = (0..changes).map(|number| {
        let (mut writer, path) = (writer.clone(), format!("{PODS}/pod-{}", number % nodes));
        let change = json!({ "metadata": { "annotations": { "number": number.to_string() } } }).to_string();
        async move { writer.merge(&path, change).await.map(drop) }
    });
    futures::stream::iter(changing).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
    let mut left = changes;
    while left > 0 {
        let lines = tokio::time::timeout(PATIENCE, heard.recv()).await.context("a change is not heard of")?;
        left = left.saturating_sub(lines.context("the watches have ended")?);
    }
    let (seconds, cpu) = (begun.elapsed().as_secs_f64(), server.cpu()? - cpu_before);

    let (cpu_before, lists) = (server.cpu()?, changes.min(1_000));
    for number in 0..lists {
        let list = writer.get(&format!("{PODS}?{}", of(number % nodes))).await?.into_body().collect().await?;
        anyhow::ensure!(list.to_bytes().len() > 500, "the pod of a node is not found");
    }
    let cpu_lists = server.cpu()? - cpu_before;
    let measured = json!({
        "nodes": nodes, "changes": changes, "changes_per_second": rounded(changes as f64 / seconds),
        "server_cpu_milliseconds_per_change": rounded(cpu * 1e3 / changes as f64),
        "server_cpu_milliseconds_per_list_of_a_node": rounded(cpu_lists * 1e3 / lists as f64),
        "memory_peak": server.memory_peak()?,
    });
    print("agents", measured);
    server.stop().await
}
