//! What a node says about the machine it is.

use std::net::UdpSocket;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::agent::NodeState;
use crate::lifecycle::words;
use crate::pod_inputs::NodeFacts;
use crate::pressure::{Pressure, Room, Signals};

/// The version that `kubectl get nodes` shows: the Kubernetes whose behaviour we follow, then ours.
pub const VERSION: &str = concat!("v1.36.2+backstay-", env!("CARGO_PKG_VERSION"));

/// The kubelet's default.
const PODS_MAX: u32 = 110;

/// What is asked of the machine at run time, so that tests can answer instead.
#[derive(Clone)]
pub struct Machine {
    /// What it has left; that of images is found out from the runtime.
    pub signals: Arc<dyn Fn() -> Signals + Send + Sync>,
    /// Whether it is being switched off, so that pods must end with the agent.
    pub is_stopping: Arc<dyn Fn() -> bool + Send + Sync>,
    /// How long pods have to end when it is; first those that are not critical, then those that are.
    pub shutdown_grace: (Duration, Duration),
    /// Whether its kernel enforces AppArmor profiles.
    pub has_apparmor: bool,
}

/// Together they stay below the 90 s that systemd gives a unit to stop, unless it is told otherwise.
const SHUTDOWN_GRACE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(10));

impl Machine {
    /// This machine. `data_dir`: lies on the disk that pods use.
    pub fn this(data_dir: &Path) -> Self {
        let data_dir = data_dir.to_path_buf();
        Self {
            signals: Arc::new(move || signals(&data_dir)),
            is_stopping: Arc::new(is_stopping),
            shutdown_grace: SHUTDOWN_GRACE,
            has_apparmor: has_apparmor(),
        }
    }
}

fn has_apparmor() -> bool {
    std::fs::read("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.first() == Some(&b'Y'))
}

fn signals(data_dir: &Path) -> Signals {
    let disk = rustix::fs::statvfs(data_dir).ok();
    let room = |available: u64, capacity: u64| Room { available, capacity };
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let pids_max = read("/proc/sys/kernel/pid_max").trim().parse().unwrap_or(0);
    // `0.20 0.18 0.12 1/80 11206`: the fourth is running/all.
    let load = read("/proc/loadavg");
    let pids = load.split(' ').nth(3).and_then(|it| it.split('/').nth(1)).and_then(|it| it.parse::<u64>().ok());
    Signals {
        memory: room(meminfo("MemAvailable:"), meminfo("MemTotal:")),
        disk: disk.as_ref().map_or_else(Room::default, |disk| {
            let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
            room(bytes(disk.f_bavail), bytes(disk.f_blocks))
        }),
        inodes: disk.as_ref().map_or_else(Room::default, |disk| room(disk.f_favail, disk.f_files)),
        images: Room::default(),
        pids: pids.map_or_else(Room::default, |used| room(u64::saturating_sub(pids_max, used), pids_max)),
    }
}

/// Asks systemd, where it rules; anywhere else nobody can tell.
fn is_stopping() -> bool {
    let asked = std::process::Command::new("systemctl").arg("is-system-running").output();
    asked.is_ok_and(|answer| answer.stdout.trim_ascii() == b"stopping")
}

/// The conditions of a node, in the kubelet's words. `ready`: the message of the Ready condition of one that is well.
pub(crate) fn conditions(now: Timestamp, ready: &str, state: &NodeState) -> Value {
    let now = words::time(now);
    let condition = |kind: &str, status: &str, reason: &str, message: &str| {
        json!({
            "type": kind, "status": status, "reason": reason, "message": message,
            "lastHeartbeatTime": now, "lastTransitionTime": now,
        })
    };
    let pressure = |pressure: Pressure, short: [&str; 2], fine: [&str; 2]| match state.pressures.contains(&pressure) {
        true => condition(pressure.condition(), "True", short[0], short[1]),
        false => condition(pressure.condition(), "False", fine[0], fine[1]),
    };
    let unready = unready(state);
    json!([
        pressure(
            Pressure::Memory,
            ["KubeletHasInsufficientMemory", "kubelet has insufficient memory available"],
            ["KubeletHasSufficientMemory", "kubelet has sufficient memory available"],
        ),
        pressure(
            Pressure::Disk,
            ["KubeletHasDiskPressure", "kubelet has disk pressure"],
            ["KubeletHasNoDiskPressure", "kubelet has no disk pressure"],
        ),
        pressure(
            Pressure::Pid,
            ["KubeletHasInsufficientPID", "kubelet has insufficient PID available"],
            ["KubeletHasSufficientPID", "kubelet has sufficient PID available"],
        ),
        match unready.is_empty() {
            true => condition("Ready", "True", "KubeletReady", ready),
            false => condition("Ready", "False", "KubeletNotReady", &unready),
        },
    ])
}

/// Why the node is not ready; empty if it is.
fn unready(state: &NodeState) -> String {
    let mut reasons = Vec::new();
    if state.shutting_down {
        reasons.push("node is shutting down".to_string());
    }
    if let Err(why) = &state.health.runtime {
        reasons.push(format!("container runtime is down: {why}"));
    }
    if let Err(why) = &state.health.network {
        let why =
            format!("NetworkReady=false reason:NetworkPluginNotReady message:Network plugin returns error: {why}");
        reasons.push(format!("container runtime network not ready: {why}"));
    }
    match reasons.as_slice() {
        [] => String::new(),
        [one] => one.clone(),
        many => format!("[{}]", many.join(", ")),
    }
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
pub(crate) fn facts(name: &str, addresses: &[String], data_dir: &Path) -> NodeFacts {
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as u64;
    let ips = if addresses.is_empty() { vec![own_address()] } else { addresses.to_vec() };
    // The directory may not be there yet.
    let disk = data_dir.ancestors().find_map(|dir| rustix::fs::statvfs(dir).ok());
    let disk_bytes = disk.map_or(0, |disk| disk.f_blocks.saturating_mul(disk.f_frsize));
    NodeFacts { name: name.to_string(), ips, cpu_millis: cpus * 1000, memory_bytes: meminfo("MemTotal:"), disk_bytes }
}

/// What the machine has.
pub(crate) fn room(facts: &NodeFacts) -> Value {
    json!({
        "cpu": (facts.cpu_millis / 1000).to_string(),
        "memory": format!("{}Ki", facts.memory_bytes / 1024),
        "ephemeral-storage": format!("{}Ki", facts.disk_bytes / 1024),
        "hugepages-1Gi": "0", "hugepages-2Mi": "0",
        "pods": PODS_MAX.to_string(),
    })
}

/// What pods may ask for.
pub(crate) fn allocatable(facts: &NodeFacts, room: &Value) -> Value {
    let mut allocatable = room.clone();
    allocatable["memory"] = format!("{}Ki", facts.allocatable_memory() / 1024).into();
    allocatable["ephemeral-storage"] = facts.allocatable_disk().to_string().into();
    allocatable
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

/// A line of `/proc/meminfo`, in bytes; 0 if it is not there.
fn meminfo(field: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    let kilobytes = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}

/// The address from which this machine would speak to the world; nothing is sent. The loopback address without a route.
pub fn own_address() -> String {
    let find = || {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.connect("192.0.2.1:9")?;
        socket.local_addr()
    };
    find().map_or_else(|_| "127.0.0.1".to_string(), |address| address.ip().to_string())
}
