//! Volumes: a table of what is shown of each kind of source.

use backstay_api::meta;
use serde_json::Value;

use super::labels::shortened;
use super::{Writer, labels};
use crate::go;

pub fn volumes(out: &mut Writer, volumes: &[Value], space: &str) {
    if volumes.is_empty() {
        out.write(0, &format!("{space}Volumes:\t<none>\n"));
        return;
    }
    out.write(0, &format!("{space}Volumes:\n"));
    for volume in volumes {
        let indent = if space.is_empty() { "" } else { " " };
        out.write(1, &format!("{indent}{}:\n", meta::str_at(volume, &["name"])));
        match SOURCES.iter().find_map(|source| Some((source, volume.get(source.field)?))) {
            Some((source, value)) => write_source(out, source, value),
            None => out.write(1, "<unknown>\n"),
        }
    }
}

/// How one kind of source is shown.
struct Source {
    field: &'static str,
    kind: &'static str,
    lines: &'static [Line],
    more: More,
}

/// One line: its title, the field it shows, and how. The title carries its colon, as one of them has none.
struct Line(&'static str, &'static str, Form);

#[derive(Clone, Copy)]
enum Form {
    /// `""` where it is absent.
    Text,
    /// `0` where it is absent.
    Number,
    /// `false` where it is absent.
    Flag,
    /// The second where it is absent.
    TextOr(&'static str),
    /// `[a b]`.
    List,
    /// `a, b`.
    Joined,
    /// `map[a:b]`.
    Map,
    /// `&LocalObjectReference{Name:x,}`, or `nil`.
    Reference,
    /// `<unset>` unless it is more than 0.
    Size,
}

/// What follows the lines.
#[derive(Clone, Copy, PartialEq)]
enum More {
    Nothing,
    Attributes,
    DownwardItems,
    ProjectedSources,
    ClaimTemplate,
}

use Form::{Flag, Joined, List, Map, Number, Reference, Size, Text, TextOr};

const fn source(field: &'static str, kind: &'static str, lines: &'static [Line]) -> Source {
    Source { field, kind, lines, more: More::Nothing }
}

const fn source_with(field: &'static str, kind: &'static str, lines: &'static [Line], more: More) -> Source {
    Source { field, kind, lines, more }
}

const READ_ONLY: Line = Line("ReadOnly:", "readOnly", Flag);
const FS_TYPE: Line = Line("FSType:", "fsType", Text);
const SECRET_REF: Line = Line("SecretRef:", "secretRef", Reference);

#[rustfmt::skip]
const SOURCES: &[Source] = &[
    source("hostPath", "HostPath (bare host directory volume)",
        &[Line("Path:", "path", Text), Line("HostPathType:", "type", TextOr("<none>"))]),
    source("emptyDir", "EmptyDir (a temporary directory that shares a pod's lifetime)",
        &[Line("Medium:", "medium", Text), Line("SizeLimit:", "sizeLimit", Size)]),
    source("gcePersistentDisk", "GCEPersistentDisk (a Persistent Disk resource in Google Compute Engine)",
        &[Line("PDName:", "pdName", Text), FS_TYPE, Line("Partition:", "partition", Number), READ_ONLY]),
    source("awsElasticBlockStore", "AWSElasticBlockStore (a Persistent Disk resource in AWS)",
        &[Line("VolumeID:", "volumeID", Text), FS_TYPE, Line("Partition:", "partition", Number), READ_ONLY]),
    source("gitRepo", "GitRepo (a volume that is pulled from git when the pod is created)",
        &[Line("Repository:", "repository", Text), Line("Revision:", "revision", Text)]),
    source("secret", "Secret (a volume populated by a Secret)",
        &[Line("SecretName:", "secretName", Text), Line("Optional:", "optional", Flag)]),
    source("configMap", "ConfigMap (a volume populated by a ConfigMap)",
        &[Line("Name:", "name", Text), Line("Optional:", "optional", Flag)]),
    source("nfs", "NFS (an NFS mount that lasts the lifetime of a pod)",
        &[Line("Server:", "server", Text), Line("Path:", "path", Text), READ_ONLY]),
    source("iscsi", "ISCSI (an ISCSI Disk resource that is attached to a kubelet's host machine and then exposed to the pod)",
        &[Line("TargetPortal:", "targetPortal", Text), Line("IQN:", "iqn", Text), Line("Lun:", "lun", Number),
          Line("ISCSIInterface", "iscsiInterface", Text), FS_TYPE, READ_ONLY, Line("Portals:", "portals", List),
          Line("DiscoveryCHAPAuth:", "chapAuthDiscovery", Flag), Line("SessionCHAPAuth:", "chapAuthSession", Flag),
          SECRET_REF, Line("InitiatorName:", "initiatorName", TextOr("<none>"))]),
    source("glusterfs", "Glusterfs (a Glusterfs mount on the host that shares a pod's lifetime)",
        &[Line("EndpointsName:", "endpoints", Text), Line("Path:", "path", Text), READ_ONLY]),
    source("persistentVolumeClaim",
        "PersistentVolumeClaim (a reference to a PersistentVolumeClaim in the same namespace)",
        &[Line("ClaimName:", "claimName", Text), READ_ONLY]),
    source_with("ephemeral",
        "EphemeralVolume (an inline specification for a volume that gets created and deleted with the pod)",
        &[], More::ClaimTemplate),
    source("rbd", "RBD (a Rados Block Device mount on the host that shares a pod's lifetime)",
        &[Line("CephMonitors:", "monitors", List), Line("RBDImage:", "image", Text), FS_TYPE,
          Line("RBDPool:", "pool", Text), Line("RadosUser:", "user", Text), Line("Keyring:", "keyring", Text),
          SECRET_REF, READ_ONLY]),
    source("quobyte", "Quobyte (a Quobyte mount on the host that shares a pod's lifetime)",
        &[Line("Registry:", "registry", Text), Line("Volume:", "volume", Text), READ_ONLY]),
    source_with("downwardAPI", "DownwardAPI (a volume populated by information about the pod)", &[], More::DownwardItems),
    source("azureDisk", "AzureDisk (an Azure Data Disk mount on the host and bind mount to the pod)",
        &[Line("DiskName:", "diskName", Text), Line("DiskURI:", "diskURI", Text), Line("Kind: ", "kind", Text), FS_TYPE,
          Line("CachingMode:", "cachingMode", Text), READ_ONLY]),
    source("vsphereVolume", "vSphereVolume (a Persistent Disk resource in vSphere)",
        &[Line("VolumePath:", "volumePath", Text), FS_TYPE, Line("StoragePolicyName:", "storagePolicyName", Text)]),
    source("cinder", "Cinder (a Persistent Disk resource in OpenStack)",
        &[Line("VolumeID:", "volumeID", Text), FS_TYPE, READ_ONLY, SECRET_REF]),
    source("photonPersistentDisk", "PhotonPersistentDisk (a Persistent Disk resource in photon platform)",
        &[Line("PdID:", "pdID", Text), FS_TYPE]),
    source("portworxVolume", "PortworxVolume (a Portworx Volume resource)", &[Line("VolumeID:", "volumeID", Text)]),
    source("scaleIO", "ScaleIO (a persistent volume backed by a block device in ScaleIO)",
        &[Line("Gateway:", "gateway", Text), Line("System:", "system", Text),
          Line("Protection Domain:", "protectionDomain", Text), Line("Storage Pool:", "storagePool", Text),
          Line("Storage Mode:", "storageMode", Text), Line("VolumeName:", "volumeName", Text), FS_TYPE, READ_ONLY]),
    source("cephfs", "CephFS (a CephFS mount on the host that shares a pod's lifetime)",
        &[Line("Monitors:", "monitors", List), Line("Path:", "path", Text), Line("User:", "user", Text),
          Line("SecretFile:", "secretFile", Text), SECRET_REF, READ_ONLY]),
    source("storageos", "StorageOS (a StorageOS Persistent Disk resource)",
        &[Line("VolumeName:", "volumeName", Text), Line("VolumeNamespace:", "volumeNamespace", Text), FS_TYPE, READ_ONLY]),
    source("fc", "FC (a Fibre Channel disk)",
        &[Line("TargetWWNs:", "targetWWNs", Joined), Line("LUN:", "lun", TextOr("<none>")), FS_TYPE, READ_ONLY]),
    source("azureFile", "AzureFile (an Azure File Service mount on the host and bind mount to the pod)",
        &[Line("SecretName:", "secretName", Text), Line("ShareName:", "shareName", Text), READ_ONLY]),
    source("flexVolume", "FlexVolume (a generic volume resource that is provisioned/attached using an exec based plugin)",
        &[Line("Driver:", "driver", Text), FS_TYPE, SECRET_REF, READ_ONLY, Line("Options:", "options", Map)]),
    source("flocker", "Flocker (a Flocker volume mounted by the Flocker agent)",
        &[Line("DatasetName:", "datasetName", Text), Line("DatasetUUID:", "datasetUUID", Text)]),
    source_with("projected", "Projected (a volume that contains injected data from multiple sources)",
        &[], More::ProjectedSources),
    source_with("csi", "CSI (a Container Storage Interface (CSI) volume source)",
        &[Line("Driver:", "driver", Text), FS_TYPE, READ_ONLY], More::Attributes),
    source("image", "Image (a container image or OCI artifact)",
        &[Line("Reference:", "reference", Text), Line("PullPolicy:", "pullPolicy", Text)]),
];

fn write_source(out: &mut Writer, source: &Source, value: &Value) {
    out.write(2, &format!("Type:\t{}\n", source.kind));
    for Line(title, field, form) in source.lines {
        out.write(2, &format!("{title}\t{}\n", shown(value.get(field), *form)));
    }
    match source.more {
        More::Nothing => {}
        More::Attributes => attributes(out, value),
        More::DownwardItems => downward_items(out, value),
        More::ProjectedSources => meta::list_at(value, &["sources"]).iter().for_each(|part| projected(out, part)),
        More::ClaimTemplate => {
            if let Some(claim) = value.get("volumeClaimTemplate") {
                out.nested(2, |out| claim_template(out, claim));
            }
        }
    }
}

fn shown(value: Option<&Value>, form: Form) -> String {
    let items = || value.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    match form {
        Text => value.map(go::plain).unwrap_or_default(),
        Number => value.map_or_else(|| "0".to_string(), go::plain),
        Flag => (value == Some(&Value::Bool(true))).to_string(),
        TextOr(other) => value.map_or_else(|| other.to_string(), go::plain),
        List => go::list(items()),
        Joined => items().iter().map(go::plain).collect::<Vec<_>>().join(", "),
        Map => value.map_or_else(|| "map[]".to_string(), go::plain),
        Reference => value.map_or_else(
            || "nil".to_string(),
            |reference| format!("&LocalObjectReference{{Name:{},}}", meta::str_at(reference, &["name"])),
        ),
        Size => value.map(go::plain).filter(|size| size != "0").unwrap_or_else(|| "<unset>".to_string()),
    }
}

fn attributes(out: &mut Writer, csi: &Value) {
    let attributes = meta::string_map(csi.get("volumeAttributes"));
    out.write(2, "VolumeAttributes:\t");
    if attributes.is_empty() {
        out.write_line("<none>");
    }
    for (index, (key, value)) in attributes.iter().enumerate() {
        if index > 0 {
            out.write(2, "");
            out.write(2, "\t");
        }
        out.write(2, &format!("{}\n", shortened(&format!("{key}={value}"), 140)));
    }
}

fn downward_items(out: &mut Writer, source: &Value) {
    out.write(2, "Items:\n");
    for item in meta::list_at(source, &["items"]) {
        let path = meta::str_at(item, &["path"]);
        for from in [["fieldRef", "fieldPath"], ["resourceFieldRef", "resource"]] {
            let from = meta::str_at(item, &from);
            if !from.is_empty() {
                out.write(3, &format!("{from} -> {path}\n"));
            }
        }
    }
}

fn projected(out: &mut Writer, part: &Value) {
    let named = |out: &mut Writer, title: &str, source: &Value| {
        out.write(2, &format!("{title}:\t{}\n", meta::str_at(source, &["name"])));
        out.write(2, &format!("Optional:\t{}\n", shown(source.get("optional"), Flag)));
    };
    if let Some(secret) = part.get("secret") {
        named(out, "SecretName", secret);
    } else if part.get("downwardAPI").is_some() {
        out.write(2, "DownwardAPI:\ttrue\n");
    } else if let Some(config_map) = part.get("configMap") {
        named(out, "ConfigMapName", config_map);
    } else if let Some(token) = part.get("serviceAccountToken") {
        out.write(2, &format!("TokenExpirationSeconds:\t{}\n", shown(token.get("expirationSeconds"), Number)));
    }
}

fn claim_template(out: &mut Writer, claim: &Value) {
    let spec = claim.get("spec").unwrap_or(&Value::Null);
    let class = meta::annotation(claim, "volume.beta.kubernetes.io/storage-class")
        .unwrap_or_else(|| meta::str_at(spec, &["storageClassName"]));
    out.write(0, &format!("StorageClass:\t{class}\n"));
    out.write(0, &format!("Volume:\t{}\n", meta::str_at(spec, &["volumeName"])));
    labels::labels(out, "Labels", &meta::labels(claim));
    labels::annotations(out, "Annotations", &meta::annotations(claim));
    // What the claim got is known of real claims only; a template that names its volume has got nothing yet.
    let capacity = if meta::str_at(spec, &["volumeName"]).is_empty() { "" } else { "0" };
    out.write(0, &format!("Capacity:\t{capacity}\n"));
    out.write(0, "Access Modes:\t\n");
    if let Some(mode) = spec.get("volumeMode") {
        out.write(0, &format!("VolumeMode:\t{}\n", go::plain(mode)));
    }
    if let Some(origin) = spec.get("dataSource") {
        out.write(0, "DataSource:\n");
        for (title, field) in [("APIGroup", "apiGroup"), ("Kind", "kind"), ("Name", "name")] {
            if let Some(text) = origin.get(field) {
                out.write(1, &format!("{title}:\t{}\n", go::plain(text)));
            }
        }
    }
}
