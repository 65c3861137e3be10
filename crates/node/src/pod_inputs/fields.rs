//! The downward API: fields of the pod and of its node.

use backstay_api::meta;
use serde_json::Value;

/// What a pod may learn about its node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeFacts {
    pub name: String,
    /// The first is the main one.
    pub ips: Vec<String>,
    pub cpu_millis: u64,
    pub memory_bytes: u64,
    /// Of the disk that pods write to.
    pub disk_bytes: u64,
}

impl NodeFacts {
    /// What pods may ask for, in bytes: the rest is kept free, since a node that has less left ends pods.
    pub fn allocatable_memory(&self) -> u64 {
        const KEPT: u64 = 100 << 20;
        self.memory_bytes.saturating_sub(KEPT)
    }

    /// As [`NodeFacts::allocatable_memory`].
    pub fn allocatable_disk(&self) -> u64 {
        self.disk_bytes / 10 * 9
    }
}

/// A field by its path, such as `metadata.labels['app']` or `status.podIP`.
///
/// # Errors
/// If there is no such field for pods.
pub fn field(pod: &Value, node: &NodeFacts, path: &str) -> Result<String, String> {
    if let Some((map, key)) = subscript(path) {
        let map = match map {
            "metadata.labels" => meta::labels(pod),
            "metadata.annotations" => meta::annotations(pod),
            _ => return Err(unsupported(path)),
        };
        return Ok(map.get(key).cloned().unwrap_or_default());
    }
    let of_pod = |path: &[&str]| meta::str_at(pod, path).to_string();
    let ips = || ips(pod).unwrap_or_else(|| node.ips.clone());
    Ok(match path {
        "metadata.name" => of_pod(&["metadata", "name"]),
        "metadata.namespace" => of_pod(&["metadata", "namespace"]),
        "metadata.uid" => of_pod(&["metadata", "uid"]),
        "metadata.labels" => listing(&meta::labels(pod)),
        "metadata.annotations" => listing(&meta::annotations(pod)),
        "spec.nodeName" => node.name.clone(),
        "spec.serviceAccountName" => of_pod(&["spec", "serviceAccountName"]),
        "status.hostIP" => node.ips.first().cloned().unwrap_or_default(),
        "status.hostIPs" => node.ips.join(","),
        "status.podIP" => ips().into_iter().next().unwrap_or_default(),
        "status.podIPs" => ips().join(","),
        _ => return Err(unsupported(path)),
    })
}

/// The pod's own addresses, as far as its status says; `None`: it says nothing of them.
fn ips(pod: &Value) -> Option<Vec<String>> {
    let all = meta::list_at(pod, &["status", "podIPs"]).iter().map(|ip| meta::str_at(ip, &["ip"]));
    let main = Some(meta::str_at(pod, &["status", "podIP"])).filter(|ip| !ip.is_empty());
    let others = all.filter(|ip| Some(*ip) != main);
    let ips: Vec<String> = main.into_iter().chain(others).map(String::from).collect();
    Some(ips).filter(|ips| !ips.is_empty())
}

/// `metadata.labels['app']` in its two parts.
fn subscript(path: &str) -> Option<(&str, &str)> {
    path.strip_suffix("']")?.split_once("['")
}

/// One `key="value"` per line, in order of keys, as files of a downward API volume hold maps.
fn listing(map: &std::collections::BTreeMap<String, String>) -> String {
    let lines: Vec<String> = map.iter().map(|(key, value)| format!("{key}={}", Value::from(value.as_str()))).collect();
    lines.join("\n")
}

fn unsupported(path: &str) -> String {
    format!("unsupported fieldPath: {path}")
}
