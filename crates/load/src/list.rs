//! One long list, again and again.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use http::Response;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::json;

use crate::figure::{print, rounded};
use crate::objects::{CONFIG_MAPS, config_map, create_all};
use crate::raw;
use crate::server::Server;

pub async fn measure(program: &Path, objects: usize, bytes: usize, times: usize) -> Result<()> {
    let server = Server::start(program, &[]).await?;
    let (http1, http2) = (server.target.tls("http/1.1")?, server.target.tls("h2")?);
    let mut connection = server.target.connect(&http2).await?;
    create_all(&connection, CONFIG_MAPS, (0..objects).map(|number| config_map(&format!("map-{number:05}"), bytes)))
        .await?;
    for protocol in ["http/1.1", "h2"] {
        let (mut fastest, mut size) = (f64::MAX, 0);
        let cpu_before = server.cpu()?;
        for _ in 0..times {
            let begun = Instant::now();
            let answer = match protocol {
                "h2" => connection.get(CONFIG_MAPS).await?,
                _ => server.target.get_http1(&http1, CONFIG_MAPS).await?,
            };
            size = read(answer).await?;
            fastest = fastest.min(begun.elapsed().as_secs_f64());
        }
        let cpu = (server.cpu()? - cpu_before) / times as f64;
        let bare = raw::measure(1, size, 16 << 10).await?;
        let measured = json!({
            "protocol": protocol, "objects": objects, "bytes": size, "milliseconds_fastest": rounded(fastest * 1e3),
            "server_cpu_milliseconds": rounded(cpu * 1e3), "bare_tls_milliseconds": rounded(bare.seconds * 1e3),
        });
        print("list", measured);
    }
    server.stop().await
}

async fn read(answer: Response<Incoming>) -> Result<usize> {
    let (mut body, mut bytes) = (answer.into_body(), 0);
    while let Some(frame) = body.frame().await {
        bytes += frame?.data_ref().context("a list with trailers")?.len();
    }
    Ok(bytes)
}
