//! Persistent volumes and claims, and drivers.

use serde_json::Value;

use super::field::{Causes, Path, invalid, invalids, not_supported, required};
use super::{meta as metadata, names, pod};
use crate::meta;

const ACCESS_MODES: [&str; 4] = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];

/// The spec of a claim, of its own or for an ephemeral volume.
pub(super) fn claim_spec(spec: &Value, path: &Path) -> Causes {
    let mut causes = access_modes(spec, path);
    causes.extend(metadata::label_selector(spec.get("selector"), &path.child("selector")));
    let requests = path.child("resources").child("requests");
    match meta::value_at(spec, &["resources", "requests", "storage"]).and_then(Value::as_str) {
        None => causes.push(required(&path.child("resources").key("storage"), "")),
        Some(amount) => {
            let path = requests.key("storage");
            causes.extend(pod::resource_amount("storage", amount, &path));
            let zero = crate::quantity::Quantity::parse(amount).is_ok_and(|amount| amount.is_zero());
            if zero {
                causes.push(invalid(&path, amount, "must be greater than zero"));
            }
        }
    }
    let class = meta::str_at(spec, &["storageClassName"]);
    if !class.is_empty() {
        causes.extend(invalids(&path.child("storageClassName"), class, names::dns_subdomain(class)));
    }
    let mode = meta::str_at(spec, &["volumeMode"]);
    if !matches!(mode, "" | "Block" | "Filesystem") {
        causes.push(not_supported(&path.child("volumeMode"), mode, &["Block", "Filesystem"]));
    }
    causes
}

pub(super) fn volume_spec(spec: &Value, path: &Path) -> Causes {
    let mut causes = access_modes(spec, path);
    if meta::value_at(spec, &["capacity"]).is_none() {
        causes.push(required(&path.child("capacity"), ""));
    }
    causes.extend(pod::resource_list(spec.get("capacity"), &path.child("capacity")));
    let policy = meta::str_at(spec, &["persistentVolumeReclaimPolicy"]);
    let policies = ["Delete", "Recycle", "Retain"];
    if !policy.is_empty() && !policies.contains(&policy) {
        causes.push(not_supported(&path.child("persistentVolumeReclaimPolicy"), policy, &policies));
    }
    causes
}

fn access_modes(spec: &Value, path: &Path) -> Causes {
    let path = path.child("accessModes");
    let modes = meta::list_at(spec, &["accessModes"]);
    if modes.is_empty() {
        return vec![required(&path, "at least 1 access mode is required")];
    }
    let unknown = modes.iter().filter_map(Value::as_str).filter(|mode| !ACCESS_MODES.contains(mode));
    unknown.map(|mode| not_supported(&path, mode, &ACCESS_MODES)).collect()
}

/// `spec` of a CSIDriver is complete after defaulting; its name is limited.
pub(super) fn driver_name(name: &str) -> Vec<String> {
    let mut problems = names::dns_subdomain(&name.to_lowercase());
    if name.len() > 63 {
        problems.insert(0, "must be no more than 63 characters".to_string());
    }
    problems
}

pub(super) fn storage_class(class: &Value) -> Causes {
    let mut causes = Causes::new();
    if meta::str_at(class, &["provisioner"]).is_empty() {
        causes.push(required(&Path::new("provisioner"), ""));
    }
    for (field, supported) in [
        ("reclaimPolicy", &["Delete", "Retain"][..]),
        ("volumeBindingMode", &["Immediate", "WaitForFirstConsumer"][..]),
    ] {
        let value = meta::str_at(class, &[field]);
        if !value.is_empty() && !supported.contains(&value) {
            causes.push(not_supported(&Path::new(field), value, supported));
        }
    }
    causes
}

/// Only how a class binds and whether volumes may grow can change.
pub(super) fn storage_class_update(class: &Value, old: &Value) -> Causes {
    let mut causes = Causes::new();
    for field in ["parameters", "provisioner", "reclaimPolicy"] {
        if class.get(field) != old.get(field) {
            let what = "updates to ";
            causes.push(super::field::forbidden(&Path::new(field), &format!("{what}{field} are forbidden.")));
        }
    }
    if class.get("volumeBindingMode") != old.get("volumeBindingMode") {
        let value = class.get("volumeBindingMode").cloned().unwrap_or_default();
        causes.push(invalid(&Path::new("volumeBindingMode"), value, super::field::IMMUTABLE));
    }
    causes
}
