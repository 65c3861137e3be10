//! Volumes.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::environment::{VOLUME_FIELDS, field_reference, resource_reference};
use super::{Owner, one_of, required_text};
use crate::meta;
use crate::quantity::Quantity;
use crate::status::Cause;
use crate::validation::field::{Causes, Path, duplicate, forbidden, invalid, invalids, required};
use crate::validation::names;

const MODE_MAX: i64 = 0o777;
const MODE_PROBLEM: &str = "must be a number between 0 and 0777 (octal), both inclusive";
const TOKEN_SECONDS_MIN: i64 = 600;
const TOKEN_SECONDS_MAX: i64 = 1 << 32;

/// All sources a volume can have, in the order in which Kubernetes looks at them.
const SOURCES: [&str; 30] = [
    "emptyDir",
    "hostPath",
    "gitRepo",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "secret",
    "nfs",
    "iscsi",
    "glusterfs",
    "flocker",
    "persistentVolumeClaim",
    "rbd",
    "cinder",
    "cephfs",
    "quobyte",
    "downwardAPI",
    "fc",
    "flexVolume",
    "configMap",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "azureDisk",
    "portworxVolume",
    "storageos",
    "projected",
    "scaleIO",
    "csi",
    "ephemeral",
    "image",
];

/// What is wrong with the volumes, and those by name that are right: only these can be mounted.
pub(super) fn volumes<'a>(spec: &'a Value, owner: Owner<'_>, path: &Path) -> (Causes, BTreeMap<&'a str, &'a Value>) {
    let mut causes = Causes::new();
    let mut usable = BTreeMap::new();
    for (position, volume) in meta::list_at(spec, &["volumes"]).iter().enumerate() {
        let path = path.index(position);
        let name = meta::str_at(volume, &["name"]);
        let mut found = source(volume, owner, &path);
        match name {
            "" => found.push(required(&path.child("name"), "")),
            name => found.extend(invalids(&path.child("name"), name, names::dns_label(name))),
        }
        if usable.contains_key(name) {
            found.push(duplicate(&path.child("name"), name));
        }
        if found.is_empty() {
            usable.insert(name, volume);
        }
        causes.extend(found);
    }
    (causes, usable)
}

fn source(volume: &Value, owner: Owner<'_>, path: &Path) -> Causes {
    let mut causes = Causes::new();
    let given = SOURCES.iter().filter_map(|kind| Some((*kind, meta::value_at(volume, &[kind])?)));
    let mut sources = 0;
    for (kind, source) in given {
        sources += 1;
        let own = path.child(kind);
        if sources > 1 {
            causes.push(forbidden(&own, "may not specify more than 1 volume type"));
            continue;
        }
        causes.extend(one_source(kind, source, &own));
        if let (Owner::Pod(pod), "ephemeral", name) = (owner, kind, meta::str_at(volume, &["name"]))
            && !pod.is_empty()
            && !name.is_empty()
        {
            let claim = format!("{pod}-{name}");
            for problem in names::dns_subdomain(&claim) {
                causes.push(invalid(&path.child("name"), name, &format!("PVC name {claim:?}: {problem}")));
            }
        }
    }
    if sources == 0 {
        causes.push(required(path, "must specify a volume type"));
    }
    causes
}

fn one_source(kind: &str, source: &Value, path: &Path) -> Causes {
    let texts =
        |fields: &[&str]| -> Causes { fields.iter().filter_map(|field| required_text(source, field, path)).collect() };
    match kind {
        "emptyDir" => empty_dir(source, path).into_iter().collect(),
        "hostPath" => host_path(source, path),
        "gitRepo" => {
            let mut causes = texts(&["repository"]);
            causes.extend(descending_path(meta::str_at(source, &["directory"]), &path.child("directory")));
            causes
        }
        "gcePersistentDisk" => texts(&["pdName"]),
        "awsElasticBlockStore" | "cinder" => texts(&["volumeID"]),
        "secret" | "configMap" => {
            let mut causes = texts(&[if kind == "secret" { "secretName" } else { "name" }]);
            causes.extend(mode(source, "defaultMode", path));
            causes.extend(items(source, path));
            causes
        }
        "nfs" => {
            let mut causes = texts(&["server", "path"]);
            let target = meta::str_at(source, &["path"]);
            if !target.starts_with('/') {
                causes.push(invalid(&path.child("path"), target, "must be an absolute path"));
            }
            causes
        }
        "iscsi" => iscsi(source, path),
        "glusterfs" => texts(&["endpoints", "path"]),
        "persistentVolumeClaim" => texts(&["claimName"]),
        "rbd" => {
            let mut causes = Causes::new();
            if meta::list_at(source, &["monitors"]).is_empty() {
                causes.push(required(&path.child("monitors"), ""));
            }
            causes.extend(texts(&["image"]));
            causes
        }
        "cephfs" if meta::list_at(source, &["monitors"]).is_empty() => vec![required(&path.child("monitors"), "")],
        "quobyte" => texts(&["registry", "volume"]),
        "downwardAPI" => {
            let mut causes: Causes = mode(source, "defaultMode", path).into_iter().collect();
            let files = meta::list_at(source, &["items"]).iter();
            causes.extend(files.flat_map(|file| downward_file(file, path)));
            causes
        }
        "fc" => fibre_channel(source, path),
        "flexVolume" | "csi" => texts(&["driver"]),
        "azureFile" => texts(&["secretName", "shareName"]),
        "azureDisk" => texts(&["diskName", "diskURI"]),
        "vsphereVolume" => texts(&["volumePath"]),
        "photonPersistentDisk" => texts(&["pdID"]),
        "portworxVolume" => texts(&["volumeID"]),
        "projected" => projected(source, path),
        "scaleIO" => texts(&["gateway", "system", "volumeName"]),
        "ephemeral" => ephemeral(source, path),
        "image" => {
            let mut causes = texts(&["reference"]);
            causes.extend(one_of(source, "pullPolicy", &["Always", "IfNotPresent", "Never"], path));
            causes
        }
        _ => Causes::new(),
    }
}

fn empty_dir(source: &Value, path: &Path) -> Option<Cause> {
    let limit = meta::str_at(source, &["sizeLimit"]);
    let negative = Quantity::parse(limit).is_ok_and(|limit| limit.is_negative());
    negative.then(|| forbidden(&path.child("sizeLimit"), "SizeLimit field must be a valid resource quantity"))
}

fn host_path(source: &Value, path: &Path) -> Causes {
    let target = meta::str_at(source, &["path"]);
    if target.is_empty() {
        return vec![required(&path.child("path"), "")];
    }
    let mut causes: Causes = no_backsteps(target, &path.child("path")).into_iter().collect();
    let kinds = ["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];
    causes.extend(one_of(source, "type", &kinds, path));
    causes
}

fn iscsi(source: &Value, path: &Path) -> Causes {
    let mut causes: Causes = required_text(source, "targetPortal", path).into_iter().collect();
    match meta::str_at(source, &["iqn"]) {
        "" => causes.push(required(&path.child("iqn"), "")),
        name if !["iqn", "eui", "naa"].iter().any(|start| name.starts_with(start)) => {
            let what = "must be valid format starting with iqn, eui, or naa";
            causes.push(invalid(&path.child("iqn"), name, what));
        }
        _ => {}
    }
    let lun = meta::int_at(source, &["lun"]).unwrap_or(0);
    causes.extend(names::in_range(lun, 0, 255).iter().map(|problem| invalid(&path.child("lun"), lun, problem)));
    let is_set = |field| meta::value_at(source, &[field]) == Some(&Value::Bool(true));
    if (is_set("chapAuthDiscovery") || is_set("chapAuthSession")) && meta::value_at(source, &["secretRef"]).is_none() {
        causes.push(required(&path.child("secretRef"), ""));
    }
    causes
}

fn fibre_channel(source: &Value, path: &Path) -> Causes {
    let list = |field| meta::list_at(source, &[field]);
    let (names_given, ids_given) = (!list("targetWWNs").is_empty(), !list("wwids").is_empty());
    let path_names = path.child("targetWWNs");
    let mut causes = Causes::new();
    if !names_given && !ids_given {
        causes.push(required(&path_names, "must specify either targetWWNs or wwids, but not both"));
    }
    if names_given && ids_given {
        let what = "targetWWNs and wwids can not be specified simultaneously";
        causes.push(invalid(&path_names, list("targetWWNs").to_vec(), what));
    }
    if names_given {
        match meta::int_at(source, &["lun"]) {
            None => causes.push(required(&path.child("lun"), "lun is required if targetWWNs is specified")),
            Some(lun) => {
                let problems = names::in_range(lun, 0, 255);
                causes.extend(problems.iter().map(|problem| invalid(&path.child("lun"), lun, problem)));
            }
        }
    }
    causes
}

fn projected(source: &Value, path: &Path) -> Causes {
    let mut causes: Causes = mode(source, "defaultMode", path).into_iter().collect();
    let mut paths = BTreeSet::new();
    let mut taken = |target: &str, shown: &str, causes: &mut Causes| {
        if !target.is_empty() && !paths.insert(target.to_string()) {
            causes.push(invalid(path, shown, "conflicting duplicate paths"));
        }
    };
    for (position, projection) in meta::list_at(source, &["sources"]).iter().enumerate() {
        let own = path.child("sources").index(position);
        let given =
            ["secret", "configMap", "downwardAPI", "serviceAccountToken", "clusterTrustBundle", "podCertificate"];
        let given: Vec<_> =
            given.iter().filter_map(|kind| Some((*kind, meta::value_at(projection, &[kind])?))).collect();
        for (kind, part) in &given {
            let at = own.child(kind);
            match *kind {
                "secret" | "configMap" => {
                    causes.extend(required_text(part, "name", &at));
                    causes.extend(items(part, &at));
                    for item in meta::list_at(part, &["items"]) {
                        taken(meta::str_at(item, &["path"]), meta::str_at(part, &["name"]), &mut causes);
                    }
                }
                "downwardAPI" => {
                    for file in meta::list_at(part, &["items"]) {
                        causes.extend(downward_file(file, &at));
                        let target = meta::str_at(file, &["path"]);
                        taken(target, target, &mut causes);
                    }
                }
                "serviceAccountToken" => causes.extend(token(part, path, &at)),
                _ => {}
            }
        }
        if given.len() > 1 {
            causes.push(forbidden(&own, "may not specify more than 1 volume type per source"));
        }
    }
    causes
}

/// Kubernetes names the projected volume where the path is wrong, and the source where the time is.
fn token(token: &Value, volume: &Path, own: &Path) -> Causes {
    let mut causes = Causes::new();
    let seconds = meta::int_at(token, &["expirationSeconds"]).unwrap_or(0);
    let at = own.child("expirationSeconds");
    if seconds < TOKEN_SECONDS_MIN {
        causes.push(invalid(&at, seconds, "may not specify a duration less than 10 minutes"));
    }
    if seconds > TOKEN_SECONDS_MAX {
        causes.push(invalid(&at, seconds, "may not specify a duration larger than 2^32 seconds"));
    }
    match meta::str_at(token, &["path"]) {
        "" => causes.push(required(&volume.child("path"), "")),
        target => causes.extend(unreserved_path(target, &volume.child("path"))),
    }
    causes
}

fn ephemeral(source: &Value, path: &Path) -> Causes {
    let Some(template) = meta::value_at(source, &["volumeClaimTemplate"]) else {
        return vec![required(&path.child("volumeClaimTemplate"), "")];
    };
    let spec = template.get("spec").unwrap_or(&Value::Null);
    crate::validation::storage::claim_spec(spec, &path.child("volumeClaimTemplate").child("spec"))
}

fn items(source: &Value, path: &Path) -> Causes {
    let mut causes = Causes::new();
    for (position, item) in meta::list_at(source, &["items"]).iter().enumerate() {
        let path = path.child("items").index(position);
        causes.extend(required_text(item, "key", &path));
        causes.extend(required_text(item, "path", &path));
        causes.extend(unreserved_path(meta::str_at(item, &["path"]), &path.child("path")));
        causes.extend(mode(item, "mode", &path));
    }
    causes
}

/// A file of the downward API. Kubernetes names the volume, not the file.
fn downward_file(file: &Value, path: &Path) -> Causes {
    let mut causes: Causes = required_text(file, "path", path).into_iter().collect();
    causes.extend(unreserved_path(meta::str_at(file, &["path"]), &path.child("path")));
    let reference = |field| meta::value_at(file, &[field]);
    match (reference("fieldRef"), reference("resourceFieldRef")) {
        (Some(field), other) => {
            causes.extend(field_reference(field, &VOLUME_FIELDS, &path.child("fieldRef")));
            if other.is_some() {
                let what = "fieldRef and resourceFieldRef can not be specified simultaneously";
                causes.push(invalid(path, "resource", what));
            }
        }
        (None, Some(resource)) => {
            causes.extend(resource_reference(resource, true, &path.child("resourceFieldRef")));
        }
        (None, None) => causes.push(required(path, "one of fieldRef and resourceFieldRef is required")),
    }
    causes.extend(mode(file, "mode", path));
    causes
}

fn mode(object: &Value, field: &str, path: &Path) -> Option<Cause> {
    let mode = meta::int_at(object, &[field])?;
    (!(0..=MODE_MAX).contains(&mode)).then(|| invalid(&path.child(field), mode, MODE_PROBLEM))
}

/// A relative path that does not climb.
pub(super) fn descending_path(target: &str, path: &Path) -> Causes {
    let mut causes = Causes::new();
    if target.starts_with('/') {
        causes.push(invalid(path, target, "must be a relative path"));
    }
    causes.extend(no_backsteps(target, path));
    causes
}

/// A [`descending_path`] whose first element does not look like one of the kubelet's own.
fn unreserved_path(target: &str, path: &Path) -> Causes {
    let mut causes = descending_path(target, path);
    if target.starts_with("..") && !target.starts_with("../") {
        causes.push(invalid(path, target, "must not start with '..'"));
    }
    causes
}

pub(super) fn has_backsteps(target: &str) -> bool {
    target.split('/').any(|part| part == "..")
}

fn no_backsteps(target: &str, path: &Path) -> Option<Cause> {
    has_backsteps(target).then(|| invalid(path, target, "must not contain '..'"))
}
