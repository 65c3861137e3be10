//! What a node says about the machine it is.

use std::net::UdpSocket;
use std::path::Path;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::lifecycle::words;
use crate::pod_inputs::NodeFacts;

/// The version that `kubectl get nodes` shows: the Kubernetes whose behaviour we follow, then ours.
pub const VERSION: &str = concat!("v1.36.2+backstay-", env!("CARGO_PKG_VERSION"));

/// The kubelet's default.
const PODS_MAX: u32 = 110;

/// The conditions of a node that is well, in the kubelet's words. `ready`: the message of the Ready condition.
pub(crate) fn conditions(now: Timestamp, ready: &str) -> Value {
    let now = words::time(now);
    let condition = |kind: &str, status: &str, reason: &str, message: &str| {
        json!({
            "type": kind, "status": status, "reason": reason, "message": message,
            "lastHeartbeatTime": now, "lastTransitionTime": now,
        })
    };
    json!([
        condition("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        condition("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        condition("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        condition("Ready", "True", "KubeletReady", ready),
    ])
}

/// The conditions, with the time of the last change kept where nothing changed.
pub(crate) fn keep_transitions(mut conditions: Value, existing: &[Value]) -> Value {
    for condition in conditions.as_array_mut().into_iter().flatten() {
        let held = existing.iter().find(|held| held["type"] == condition["type"]);
        if let Some(held) = held.filter(|held| held["status"] == condition["status"]) {
            condition["lastTransitionTime"] = held["lastTransitionTime"].clone();
        }
    }
    conditions
}

/// The architecture in Go's words.
pub(crate) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    }
}

/// What this machine has. `addresses`: instead of those that are found out.
pub(crate) fn facts(name: &str, addresses: &[String]) -> NodeFacts {
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as u64;
    let ips = if addresses.is_empty() { vec![own_address()] } else { addresses.to_vec() };
    NodeFacts { name: name.to_string(), ips, cpu_millis: cpus * 1000, memory_bytes: memory_bytes() }
}

/// Capacity, which is also what may be allocated: nothing is held back for the system.
pub(crate) fn room(facts: &NodeFacts, data_dir: &Path) -> Value {
    let disk = rustix::fs::statvfs(data_dir).map_or(0, |disk| disk.f_blocks.saturating_mul(disk.f_frsize) / 1024);
    json!({
        "cpu": (facts.cpu_millis / 1000).to_string(),
        "memory": format!("{}Ki", facts.memory_bytes / 1024),
        "ephemeral-storage": format!("{disk}Ki"),
        "hugepages-1Gi": "0", "hugepages-2Mi": "0",
        "pods": PODS_MAX.to_string(),
    })
}

/// `status.nodeInfo`.
pub(crate) fn info(runtime: &str) -> Value {
    let uname = rustix::system::uname();
    let read = |path: &str| std::fs::read_to_string(path).map(|text| text.trim().to_string()).unwrap_or_default();
    let release = read("/etc/os-release");
    let pretty = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME=")).unwrap_or("Linux");
    json!({
        "architecture": architecture(), "operatingSystem": "linux", "osImage": pretty.trim_matches('"'),
        "kernelVersion": uname.release().to_string_lossy(),
        "containerRuntimeVersion": runtime, "kubeletVersion": VERSION, "kubeProxyVersion": "",
        "machineID": read("/etc/machine-id"), "systemUUID": read("/sys/class/dmi/id/product_uuid"),
        "bootID": read("/proc/sys/kernel/random/boot_id"),
    })
}

fn memory_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kilobytes = total.and_then(|total| total.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}

/// The address from which this machine would speak to the world; nothing is sent. The loopback address without a route.
fn own_address() -> String {
    let find = || {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.connect("192.0.2.1:9")?;
        socket.local_addr()
    };
    find().map_or_else(|_| "127.0.0.1".to_string(), |address| address.ip().to_string())
}
