//! Leases and events, as many as the server takes: does the file grow, does the memory?
//!
//! Hours pass in a minute: leases are renewed as often as in `nodes x 10 s` they would be in hours, and events are kept
//! for seconds. What matters is the slope after the warm-up, over the number of writes.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use futures::StreamExt;
use serde_json::json;

use crate::client::Connection;
use crate::figure::{print, rounded};
use crate::objects::{EVENTS, LEASES, create_all, event, lease, renewal};
use crate::server::Server;

/// Writes in flight.
const AT_ONCE: usize = 64;
/// Renewals for each event: what 5,000 nodes do in an hour of a rollout or two.
const RENEWALS_PER_EVENT: usize = 20;
/// Samples that the slope is drawn through.
const SAMPLES: u32 = 12;
/// A node renews its lease so often.
const RENEWED_EVERY_SECONDS: f64 = 10.0;

struct Sample {
    writes: usize,
    memory: u64,
    disk: u64,
}

pub async fn measure(program: &Path, nodes: usize, lasts: Duration, event_ttl: &str) -> Result<()> {
    let server = Server::start(program, &["--event-ttl", event_ttl]).await?;
    let connection = server.target.connect(&server.target.tls("h2")?).await?;
    create_all(&connection, LEASES, (0..nodes).map(|number| lease(&node(number)))).await?;
    let (begun, mut writes, mut samples) = (Instant::now(), 0, Vec::new());
    for turn in 1..=SAMPLES {
        let until = begun + lasts * turn / SAMPLES;
        writes = write(&connection, nodes, writes, until).await?;
        samples.push(Sample { writes, memory: server.memory()?, disk: server.disk()? });
    }
    // The first half warms up: windows fill, the file finds its size.
    let settled = &samples[samples.len() / 2..];
    let hours = writes as f64 / (nodes as f64 / RENEWED_EVERY_SECONDS) / 3600.0;
    let line = |size: fn(&Sample) -> u64| {
        settled.iter().map(|sample| json!([sample.writes, size(sample)])).collect::<Vec<_>>()
    };
    let measured = json!({
        "nodes": nodes, "writes": writes, "hours_of_leases": rounded(hours),
        "memory_bytes_per_write": rounded(slope(settled, |sample| sample.memory)),
        "disk_bytes_per_write": rounded(slope(settled, |sample| sample.disk)),
        "memory": line(|sample| sample.memory), "disk": line(|sample| sample.disk),
        "memory_peak": server.memory_peak()?,
    });
    print("growth", measured);
    server.stop().await
}

/// Writes until then, and tells how many writes there have been in all.
async fn write(connection: &Connection, nodes: usize, before: usize, until: Instant) -> Result<usize> {
    let numbers = (before..).take_while(|_| Instant::now() < until);
    let writing = numbers.map(|number| {
        let mut connection = connection.clone();
        async move {
            if number % (RENEWALS_PER_EVENT + 1) == 0 {
                return connection.create(EVENTS, event(&format!("event-{number}"))).await.map(drop);
            }
            let path = format!("{LEASES}/{}", node(number % nodes));
            connection.merge(&path, renewal(number)).await.map(drop)
        }
    });
    let mut done = futures::stream::iter(writing).buffer_unordered(AT_ONCE);
    let mut writes = before;
    while let Some(outcome) = done.next().await {
        outcome?;
        writes += 1;
    }
    Ok(writes)
}

/// Of the straight line that is closest to all samples: bytes per write.
fn slope(samples: &[Sample], size: impl Fn(&Sample) -> u64) -> f64 {
    let count = samples.len() as f64;
    let mean = |of: &dyn Fn(&Sample) -> f64| samples.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(&|sample| sample.writes as f64), mean(&|sample| size(sample) as f64));
    let along = |sample: &Sample| (sample.writes as f64 - x) * (size(sample) as f64 - y);
    let across = |sample: &Sample| (sample.writes as f64 - x).powi(2);
    samples.iter().map(along).sum::<f64>() / samples.iter().map(across).sum::<f64>()
}

fn node(number: usize) -> String {
    format!("node-{number:05}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(disk: [u64; 4], expected: f64) {
        let sample = |(at, disk)| Sample { writes: at * 10, memory: 0, disk };
        let samples: Vec<Sample> = disk.into_iter().enumerate().map(sample).collect();
        assert!((slope(&samples, |sample| sample.disk) - expected).abs() < 1e-9, "{disk:?}");
    }

    #[test]
    fn the_line_through_samples() {
        check([5, 5, 5, 5], 0.0);
        check([0, 10, 20, 30], 1.0);
        check([30, 20, 10, 0], -1.0);
        check([0, 30, 0, 30], 0.6);
    }
}
