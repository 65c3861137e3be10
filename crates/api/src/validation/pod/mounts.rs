//! Where containers see volumes and devices.

use std::collections::BTreeSet;

use serde_json::Value;

use super::one_of;
use super::spec::Context;
use super::volume::{descending_path, has_backsteps};
use crate::meta;
use crate::validation::field::{Causes, Path, forbidden, invalid, not_found, not_supported, required};

pub(super) fn mounts(context: &Context<'_>, container: &Value, path: &Path) -> Causes {
    let mut causes = Causes::new();
    let mut seen = BTreeSet::new();
    let devices = meta::list_at(container, &["volumeDevices"]);
    let devices_by =
        |field| -> BTreeSet<&str> { devices.iter().map(|device| meta::str_at(device, &[field])).collect() };
    let (device_names, device_paths) = (devices_by("name"), devices_by("devicePath"));
    for (position, mount) in meta::list_at(container, &["volumeMounts"]).iter().enumerate() {
        let own = path.index(position);
        let text = |field| meta::str_at(mount, &[field]);
        let (name, target) = (text("name"), text("mountPath"));
        if name.is_empty() {
            causes.push(required(&own.child("name"), ""));
        }
        let known = context.volumes.contains_key(name);
        if !known {
            causes.push(not_found(&own.child("name"), name));
        }
        if target.is_empty() {
            causes.push(required(&own.child("mountPath"), ""));
        }
        if !seen.insert(target) {
            causes.push(invalid(&own.child("mountPath"), target, "must be unique"));
        }
        if device_names.contains(name) {
            causes.push(invalid(&own.child("name"), name, "must not already exist in volumeDevices"));
        }
        if device_paths.contains(target) {
            let what = "must not already exist as a path in volumeDevices";
            causes.push(invalid(&own.child("mountPath"), target, what));
        }
        causes.extend(sub_paths(mount, path, &own));
        causes.extend(propagation(container, mount, path));
    }
    causes
}

/// Kubernetes names the list where the path itself is wrong, and the element where the two exclude each other.
fn sub_paths(mount: &Value, list: &Path, own: &Path) -> Causes {
    let text = |field| meta::str_at(mount, &[field]);
    let (plain, expression) = (text("subPath"), text("subPathExpr"));
    let mut causes = Causes::new();
    if !plain.is_empty() {
        causes.extend(descending_path(plain, &list.child("subPath")));
    }
    if !expression.is_empty() {
        if !plain.is_empty() {
            let what = "subPathExpr and subPath are mutually exclusive";
            causes.push(invalid(&own.child("subPathExpr"), expression, what));
        }
        causes.extend(descending_path(expression, &list.child("subPathExpr")));
    }
    causes
}

fn propagation(container: &Value, mount: &Value, path: &Path) -> Causes {
    let mut causes = Causes::new();
    causes.extend(one_of(mount, "mountPropagation", &["Bidirectional", "HostToContainer", "None"], path));
    let privileged = meta::value_at(container, &["securityContext", "privileged"]) == Some(&Value::Bool(true));
    let mode = meta::str_at(mount, &["mountPropagation"]);
    if mode == "Bidirectional" && !privileged {
        let what = "Bidirectional mount propagation is available only to privileged containers";
        causes.push(forbidden(&path.child("mountPropagation"), what));
    }
    let path = path.child("recursiveReadOnly");
    match meta::str_at(mount, &["recursiveReadOnly"]) {
        "" | "Disabled" => {}
        "Enabled" | "IfPossible" => {
            if meta::value_at(mount, &["readOnly"]) != Some(&Value::Bool(true)) {
                causes.push(forbidden(&path, "may only be specified when readOnly is true"));
            }
            if !matches!(mode, "" | "None") {
                let what = "may only be specified when mountPropagation is None or not specified";
                causes.push(forbidden(&path, what));
            }
        }
        other => causes.push(not_supported(&path, other, &["Disabled", "Enabled", "IfPossible"])),
    }
    causes
}

pub(super) fn devices(context: &Context<'_>, container: &Value, path: &Path) -> Causes {
    let mut causes = Causes::new();
    let (mut names, mut paths) = (BTreeSet::new(), BTreeSet::new());
    let mounts = meta::list_at(container, &["volumeMounts"]);
    let mounts_by = |field| -> BTreeSet<&str> { mounts.iter().map(|mount| meta::str_at(mount, &[field])).collect() };
    let (mount_names, mount_paths) = (mounts_by("name"), mounts_by("mountPath"));
    for (position, device) in meta::list_at(container, &["volumeDevices"]).iter().enumerate() {
        let path = path.index(position);
        let (name, target) = (meta::str_at(device, &["name"]), meta::str_at(device, &["devicePath"]));
        if name.is_empty() {
            causes.push(required(&path.child("name"), ""));
        } else if !names.insert(name) {
            causes.push(invalid(&path.child("name"), name, "must be unique"));
        }
        match context.volumes.get(name) {
            None => causes.push(not_found(&path.child("name"), name)),
            Some(volume) if volume.get("persistentVolumeClaim").or(volume.get("ephemeral")).is_none() => {
                let what = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
                causes.push(invalid(&path.child("name"), name, what));
            }
            Some(_) => {}
        }
        if target.is_empty() {
            causes.push(required(&path.child("devicePath"), ""));
        }
        if has_backsteps(target) {
            causes.push(invalid(&path.child("devicePath"), target, "can not contain backsteps ('..')"));
        } else if !paths.insert(target) {
            causes.push(invalid(&path.child("devicePath"), target, "must be unique"));
        }
        if mount_names.contains(name) {
            causes.push(invalid(&path.child("name"), name, "must not already exist in volumeMounts"));
        }
        if mount_paths.contains(target) {
            let what = "must not already exist as a path in volumeMounts";
            causes.push(invalid(&path.child("devicePath"), target, what));
        }
    }
    causes
}
