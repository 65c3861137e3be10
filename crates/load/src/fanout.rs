//! One object changed, seen by many watchers; beside it what the same bytes cost over bare TLS, and in memory.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use http::Response;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::{Value, json};

use crate::client::{Connection, started};
use crate::figure::{print, rounded};
use crate::objects::{CONFIG_MAPS, config_map};
use crate::raw;
use crate::server::Server;

pub struct Shape {
    pub watchers: usize,
    pub per_connection: usize,
    pub changes: usize,
    pub bytes: usize,
    pub slow: usize,
}

const NAME: &str = "fanout";

pub async fn measure(program: &Path, shape: Shape) -> Result<()> {
    let server = Server::start(program, &[]).await?;
    let mut writer = server.target.connect(&server.target.tls("h2")?).await?;
    let created = writer.create(CONFIG_MAPS, config_map(NAME, shape.bytes)).await?;
    let created: Value = serde_json::from_slice(&created)?;
    let version = created["metadata"]["resourceVersion"].as_str().context("an object without a version")?;
    let path = format!("{CONFIG_MAPS}?watch=true&resourceVersion={version}&fieldSelector=metadata.name%3D{NAME}");
    let watchers = watches(&server, &path, shape.watchers, shape.per_connection).await?;
    // Each by a connection of its own: what it does not read stops nobody else.
    let slow = watches(&server, &path, shape.slow, 1).await?;

    let (memory_before, cpu_before, begun) = (server.memory()?, server.cpu()?, Instant::now());
    let readers: Vec<_> = watchers.into_iter().map(|watch| tokio::spawn(read(watch, shape.changes))).collect();
    change(&mut writer, shape.changes).await?;
    let mut bytes = 0;
    for reader in readers {
        bytes += reader.await??;
    }
    let (seconds, cpu) = (begun.elapsed().as_secs_f64(), server.cpu()? - cpu_before);
    let deliveries = shape.watchers * shape.changes;
    let memory = server.memory_peak()?;
    drop(slow);
    server.stop().await?;

    let bare = raw::measure(shape.watchers.div_ceil(shape.per_connection), bytes, bytes / deliveries).await?;
    let gigabytes = bytes as f64 / 1e9;
    let measured = json!({
        "watchers": shape.watchers, "per_connection": shape.per_connection, "slow": shape.slow,
        "changes": shape.changes, "line_bytes": bytes / deliveries,
        "deliveries_per_second": rounded(deliveries as f64 / seconds), "gigabytes_per_second": rounded(gigabytes / seconds),
        "server_cpu_seconds_per_gigabyte": rounded(cpu / gigabytes),
        "bare_tls_gigabytes_per_second": rounded(gigabytes / bare.seconds),
        "bare_tls_cpu_seconds_per_gigabyte": rounded(bare.cpu / gigabytes),
        "copy_seconds_per_gigabyte": rounded(copying(bytes / deliveries)),
        "cpu_ratio_to_bare_tls": rounded(cpu / bare.cpu), "rate_ratio_to_bare_tls": rounded(bare.seconds / seconds),
        "memory_before": memory_before, "memory_peak": memory,
    });
    print("fanout", measured);
    Ok(())
}

async fn watches(server: &Server, path: &str, count: usize, per_connection: usize) -> Result<Vec<Response<Incoming>>> {
    started(&server.target, count, per_connection, |_| path.to_string()).await
}

async fn change(writer: &mut Connection, times: usize) -> Result<()> {
    let path = format!("{CONFIG_MAPS}/{NAME}");
    for number in 0..times {
        writer.merge(&path, json!({ "data": { "number": number.to_string() } }).to_string()).await?;
    }
    Ok(())
}

/// Reads until so many lines have come, and tells how many bytes they were.
async fn read(watch: Response<Incoming>, lines: usize) -> Result<usize> {
    let mut body = watch.into_body();
    let (mut bytes, mut seen) = (0, 0);
    while seen < lines {
        let frame = body.frame().await.context("a watch has ended early")??;
        let data = frame.data_ref().context("a watch with trailers")?;
        bytes += data.len();
        seen += data.iter().filter(|byte| **byte == b'\n').count();
    }
    Ok(bytes)
}

/// Seconds that it takes to copy a gigabyte in pieces of this size.
fn copying(piece: usize) -> f64 {
    let from = vec![1_u8; piece];
    let mut to = Vec::with_capacity(1 << 20);
    let (begun, mut copied) = (Instant::now(), 0_usize);
    while copied < 1_000_000_000 {
        if to.len() + piece > 1 << 20 {
            to.clear();
        }
        to.extend_from_slice(std::hint::black_box(&from));
        copied += piece;
    }
    std::hint::black_box(&to);
    begun.elapsed().as_secs_f64()
}
