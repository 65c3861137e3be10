//! Requests and limits of containers.

use backstay_api::meta;
use backstay_api::quantity::Quantity;
use serde_json::Value;

use super::fields::NodeFacts;
use crate::runtime::Limits;

/// What a runtime is to enforce for a container.
pub fn limits(container: &Value) -> Limits {
    let positive = |value: i64| u64::try_from(value).ok().filter(|value| *value > 0);
    Limits {
        memory_bytes: quantity(container, "limits", "memory").and_then(|it| positive(it.to_int())),
        cpu_millis: quantity(container, "limits", "cpu").and_then(|it| positive(it.to_milli())),
        cpu_request_millis: quantity(container, "requests", "cpu").and_then(|it| positive(it.to_milli())),
    }
}

/// In bytes; 0 unless one is set.
pub fn memory_request(container: &Value) -> u64 {
    quantity(container, "requests", "memory").and_then(|it| u64::try_from(it.to_int()).ok()).unwrap_or(0)
}

/// A `resourceFieldRef`: a request or limit in units of its divisor, rounded up. Without a limit it is what pods may have of the node.
/// Source: `MergeContainerResourceLimits` of the kubelet.
///
/// # Errors
/// If the resource is none that containers have.
pub fn field(container: &Value, node: &NodeFacts, reference: &Value) -> Result<String, String> {
    let path = meta::str_at(reference, &["resource"]);
    let (kind, name) = path.split_once('.').unwrap_or(("", path));
    if !matches!(kind, "requests" | "limits") {
        return Err(format!("unsupported container resource : {path}"));
    }
    let whole = match name {
        "cpu" => node.cpu_millis,
        "memory" => node.allocatable_memory().saturating_mul(1000),
        "ephemeral-storage" => node.allocatable_disk().saturating_mul(1000),
        _ => 0,
    };
    let whole = if kind == "limits" { whole } else { 0 };
    let millis = match quantity(container, kind, name) {
        Some(quantity) if name == "cpu" => i128::from(quantity.to_milli()),
        Some(quantity) => i128::from(quantity.to_int()) * 1000,
        None => i128::from(whole),
    };
    let divisor = Quantity::parse(meta::str_at(reference, &["divisor"])).ok().filter(|divisor| !divisor.is_zero());
    let divisor = divisor.map_or(1000, |divisor| i128::from(divisor.to_milli()).max(1));
    Ok(((millis + divisor - 1) / divisor).to_string())
}

fn quantity(container: &Value, kind: &str, name: &str) -> Option<Quantity> {
    Quantity::parse(meta::str_at(container, &["resources", kind, name])).ok()
}
