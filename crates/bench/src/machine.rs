//! What the machine itself can do, measured beside the server: no figure means anything without it.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::{Value, json};

/// Long enough to be steady, short enough to wait for.
const EACH: Duration = Duration::from_secs(1);
const EACH_QUICK: Duration = Duration::from_millis(20);

/// A page, as a small transaction writes it.
const WRITE_BYTES: usize = 4_096;

#[derive(Clone, Copy, Debug, Serialize)]
pub struct Limits {
    pub cores: usize,
    /// Small writes, one after another, each on the disk before the next.
    pub fsyncs_per_second: f64,
    pub json_encode_mb_per_second: f64,
    pub json_decode_mb_per_second: f64,
    /// A byte to another thread and back, over TCP.
    pub round_trips_per_second: f64,
}

pub fn limits(quick: bool) -> Result<Limits> {
    let each = if quick { EACH_QUICK } else { EACH };
    let pod = pod();
    let text = pod.to_string();
    let bytes = text.len() as f64 / 1e6;
    Ok(Limits {
        cores: std::thread::available_parallelism().context("the number of cores is unknown")?.get(),
        fsyncs_per_second: fsyncs(each).context("cannot measure the disk")?,
        json_encode_mb_per_second: bytes * rate(each, || Ok(serde_json::to_vec(&pod)?))?,
        json_decode_mb_per_second: bytes * rate(each, || Ok(serde_json::from_str::<Value>(&text)?))?,
        round_trips_per_second: round_trips(each).context("cannot measure loopback")?,
    })
}

/// How often a second something can be done.
fn rate<T>(each: Duration, mut work: impl FnMut() -> Result<T>) -> Result<f64> {
    let begun = Instant::now();
    let mut times = 0_u32;
    while begun.elapsed() < each {
        std::hint::black_box(work()?);
        times += 1;
    }
    Ok(f64::from(times) / begun.elapsed().as_secs_f64())
}

fn fsyncs(each: Duration) -> Result<f64> {
    // Where the data directories of the measured servers are as well.
    let mut file = tempfile::tempfile()?;
    let page = [b'x'; WRITE_BYTES];
    rate(each, || {
        file.write_all(&page)?;
        Ok(file.sync_data()?)
    })
}

fn round_trips(each: Duration) -> Result<f64> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut stream = TcpStream::connect(listener.local_addr()?)?;
    let (mut other, _) = listener.accept()?;
    for stream in [&stream, &other] {
        stream.set_nodelay(true)?;
    }
    let echo = std::thread::spawn(move || -> std::io::Result<()> {
        let mut byte = [0];
        while other.read(&mut byte)? == 1 {
            other.write_all(&byte)?;
        }
        Ok(())
    });
    let mut byte = [0];
    let result = rate(each, || {
        stream.write_all(&byte)?;
        Ok(stream.read_exact(&mut byte)?)
    });
    drop(stream);
    echo.join().map_err(|_| anyhow::anyhow!("the echo broke down"))??;
    result
}

/// About what a pod of a DaemonSet looks like.
fn pod() -> Value {
    let condition =
        |kind: &str| json!({ "type": kind, "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z" });
    let toleration = |key: &str| json!({ "key": key, "operator": "Exists", "effect": "NoSchedule" });
    let pressures = ["disk-pressure", "memory-pressure", "pid-pressure", "unschedulable", "unreachable"];
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": "agent-x2k4p", "namespace": "bench", "uid": "5e0c7f0e-7a3c-4c9a-9f5e-0d6f5a1b2c3d",
            "labels": { "app": "agent", "controller-revision-hash": "5d8f7c9b44", "pod-template-generation": "1" } },
        "spec": { "nodeName": "node-00001", "restartPolicy": "Always", "terminationGracePeriodSeconds": 1,
            "tolerations": pressures.map(toleration),
            "containers": [{ "name": "agent", "image": "example/agent:v1", "imagePullPolicy": "IfNotPresent",
                "resources": { "requests": { "cpu": "10m", "memory": "16Mi" } } }] },
        "status": { "phase": "Running", "podIP": "10.0.0.1", "hostIP": "10.0.0.1", "qosClass": "Burstable",
            "conditions": (["Initialized", "Ready", "ContainersReady", "PodScheduled"].map(condition)) },
    })
}
