//! Volumes of pods, persistent volumes and claims.

use serde_json::json;

use super::pod::field_and_resource_refs;
use super::{Fields, always, child, children, image, resource_list, resources, text, unset, zero};

pub(super) fn volume(volume: &mut Fields) {
    let has_source = volume.iter().any(|(name, source)| name != "name" && !source.is_null());
    if !has_source {
        volume.insert("emptyDir".into(), json!({}));
    }
    for name in ["secret", "configMap", "downwardAPI", "projected"] {
        if let Some(source) = child(volume, name) {
            unset(source, "defaultMode", 0o644);
        }
    }
    if let Some(source) = child(volume, "downwardAPI") {
        children(source, "items").for_each(field_and_resource_refs);
    }
    if let Some(projected) = child(volume, "projected") {
        children(projected, "sources").for_each(projection);
    }
    if let Some(image) = child(volume, "image") {
        let policy = image::pull_policy(text(image, "reference"));
        zero(image, "pullPolicy", policy);
    }
    if let Some(template) = child(volume, "ephemeral").and_then(|source| child(source, "volumeClaimTemplate")) {
        always(template, "metadata");
        claim_spec(always(template, "spec"));
    }
    source(volume);
}

fn projection(projection: &mut Fields) {
    if let Some(source) = child(projection, "downwardAPI") {
        children(source, "items").for_each(field_and_resource_refs);
    }
    if let Some(token) = child(projection, "serviceAccountToken") {
        unset(token, "expirationSeconds", 3600);
    }
}

/// The sources that pods and persistent volumes share.
fn source(volume: &mut Fields) {
    if let Some(path) = child(volume, "hostPath") {
        unset(path, "type", "");
    }
    if let Some(iscsi) = child(volume, "iscsi") {
        zero(iscsi, "iscsiInterface", "default");
    }
    if let Some(rbd) = child(volume, "rbd") {
        zero(rbd, "pool", "rbd");
        zero(rbd, "user", "admin");
        zero(rbd, "keyring", "/etc/ceph/keyring");
    }
    if let Some(disk) = child(volume, "azureDisk") {
        unset(disk, "cachingMode", "ReadWrite");
        unset(disk, "kind", "Shared");
        unset(disk, "fsType", "ext4");
        unset(disk, "readOnly", false);
    }
    if let Some(scale_io) = child(volume, "scaleIO") {
        zero(scale_io, "storageMode", "ThinProvisioned");
        zero(scale_io, "fsType", "xfs");
    }
}

pub(super) fn persistent_volume(object: &mut Fields) {
    let spec = always(object, "spec");
    zero(spec, "persistentVolumeReclaimPolicy", "Retain");
    unset(spec, "volumeMode", "Filesystem");
    resource_list(spec, "capacity");
    source(spec);
    zero(always(object, "status"), "phase", "Pending");
}

pub(super) fn persistent_volume_claim(object: &mut Fields) {
    claim_spec(always(object, "spec"));
    let status = always(object, "status");
    zero(status, "phase", "Pending");
    resource_list(status, "capacity");
    resource_list(status, "allocatedResources");
}

/// Fills in the spec of a claim.
fn claim_spec(spec: &mut Fields) {
    unset(spec, "volumeMode", "Filesystem");
    resources(spec, "resources");
}
