//! The quality of service class of a pod: how much of what it may use it also asked for.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::meta;
use crate::pod::own_containers;
use crate::quantity::Quantity;

/// `Guaranteed`, `Burstable` or `BestEffort`. Only cpu and memory count; requests are already taken from limits.
pub fn qos_class(pod: &Value) -> &'static str {
    let pod_level = meta::value_at(pod, &["spec", "resources"]);
    let containers: Vec<&Value> = match pod_level {
        Some(resources) => vec![resources],
        None => own_containers(pod).map(|container| container.get("resources").unwrap_or(&Value::Null)).collect(),
    };
    let (mut requests, mut limits) = (BTreeMap::new(), BTreeMap::new());
    let mut all_limited = true;
    for resources in containers {
        add_amounts(resources, "requests", &mut requests);
        all_limited &= add_amounts(resources, "limits", &mut limits) == 2;
    }
    if requests.is_empty() && limits.is_empty() {
        "BestEffort"
    } else if all_limited && requests == limits {
        "Guaranteed"
    } else {
        "Burstable"
    }
}

/// Adds a container's amounts to the sums; answers how many of the two resources it names.
fn add_amounts(resources: &Value, kind: &str, sums: &mut BTreeMap<&'static str, Quantity>) -> usize {
    let mut named = 0;
    for resource in ["cpu", "memory"] {
        let amount = Quantity::parse(meta::str_at(resources, &[kind, resource])).unwrap_or(Quantity::ZERO);
        if amount > Quantity::ZERO {
            let sum = sums.entry(resource).or_insert(Quantity::ZERO);
            *sum = sum.add(&amount);
            named += 1;
        }
    }
    named
}
