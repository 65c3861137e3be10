//! Watches that wait for a change which does not come: what each costs the server.

use std::path::Path;

use anyhow::{Result, ensure};
use futures::{StreamExt, TryStreamExt};
use serde_json::json;

use crate::client::{AT_ONCE, started};
use crate::figure::{print, rounded};
use crate::objects::CONFIG_MAPS;
use crate::server::Server;

pub struct Shape {
    pub watches: usize,
    pub per_connection: usize,
    pub http1: bool,
}

pub async fn measure(program: &Path, shape: Shape) -> Result<()> {
    let Shape { watches, per_connection, http1 } = shape;
    ensure!(!http1 || per_connection == 1, "HTTP/1.1 carries one watch per connection: --per-connection 1");
    let server = Server::start(program, &[]).await?;
    let path = format!("{CONFIG_MAPS}?watch=true&resourceVersion=0&allowWatchBookmarks=true&timeoutSeconds=3600");
    // The first of everything costs more: code that is read in, caches that fill.
    let warm_up = running(&server, &path, 100, per_connection.min(100), http1).await?;
    drop(warm_up);
    let before = server.memory()?;
    let running = running(&server, &path, watches, per_connection, http1).await?;
    let after = server.memory()?;
    let each = (after as f64 - before as f64) / watches as f64;
    let measured = json!({
        "watches": running.len(), "per_connection": per_connection, "protocol": if http1 { "http/1.1" } else { "h2" },
        "memory_before": before, "memory_after": after, "bytes_each": rounded(each),
    });
    print("idle_watches", measured);
    drop(running);
    server.stop().await
}

type Running = Vec<http::Response<hyper::body::Incoming>>;

/// The watches, once the server has answered all of them.
async fn running(server: &Server, path: &str, watches: usize, per_connection: usize, http1: bool) -> Result<Running> {
    if http1 {
        let tls = server.target.tls("http/1.1")?;
        let starting = (0..watches).map(|_| server.target.get_http1(&tls, path));
        return futures::stream::iter(starting).buffer_unordered(AT_ONCE).try_collect().await;
    }
    started(&server.target, watches, per_connection, |_| path.to_string()).await
}
