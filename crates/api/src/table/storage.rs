//! Volumes, claims, classes and drivers.

use serde_json::Value;

use super::{Layout, boolean, count, created, name, or_none, text, text_or};
use crate::meta;

pub(super) fn layout(kind: &str) -> Option<&'static Layout> {
    Some(match kind {
        "PersistentVolume" => &PERSISTENT_VOLUME,
        "PersistentVolumeClaim" => &PERSISTENT_VOLUME_CLAIM,
        "StorageClass" => &STORAGE_CLASS,
        "CSIDriver" => &CSI_DRIVER,
        "CSINode" => &CSI_NODE,
        "VolumeAttachment" => &VOLUME_ATTACHMENT,
        _ => return None,
    })
}

const PERSISTENT_VOLUME: Layout = Layout {
    columns: "Name, Capacity, Access Modes, Reclaim Policy, Status, Claim, StorageClass, VolumeAttributesClass, \
              Reason, Age, VolumeMode*",
    cells: |volume, now| {
        let claim = meta::value_at(volume, &["spec", "claimRef"]).map_or(String::new(), |claim| {
            format!("{}/{}", meta::str_at(claim, &["namespace"]), meta::str_at(claim, &["name"]))
        });
        vec![
            name(volume),
            text(volume, &["spec", "capacity", "storage"]),
            access_modes(volume, "spec").into(),
            text(volume, &["spec", "persistentVolumeReclaimPolicy"]),
            phase(volume),
            claim.into(),
            text(volume, &["spec", "storageClassName"]),
            text_or(volume, &["spec", "volumeAttributesClassName"], "<unset>"),
            text(volume, &["status", "reason"]),
            created(volume, now),
            text_or(volume, &["spec", "volumeMode"], "<unset>"),
        ]
    },
};

const PERSISTENT_VOLUME_CLAIM: Layout = Layout {
    columns: "Name, Status, Volume, Capacity, Access Modes, StorageClass, VolumeAttributesClass, Age, VolumeMode*",
    cells: |claim, now| {
        let bound = !meta::str_at(claim, &["spec", "volumeName"]).is_empty();
        let (capacity, modes) = match bound {
            true => (text(claim, &["status", "capacity", "storage"]), access_modes(claim, "status")),
            false => ("".into(), String::new()),
        };
        vec![
            name(claim),
            phase(claim),
            text(claim, &["spec", "volumeName"]),
            capacity,
            modes.into(),
            text(claim, &["spec", "storageClassName"]),
            text_or(claim, &["spec", "volumeAttributesClassName"], "<unset>"),
            created(claim, now),
            text_or(claim, &["spec", "volumeMode"], "<unset>"),
        ]
    },
};

fn phase(object: &Value) -> Value {
    if meta::is_being_deleted(object) { "Terminating".into() } else { text(object, &["status", "phase"]) }
}

/// `RWO,ROX`, in a fixed order.
fn access_modes(object: &Value, part: &str) -> String {
    const MODES: [(&str, &str); 4] =
        [("ReadWriteOnce", "RWO"), ("ReadOnlyMany", "ROX"), ("ReadWriteMany", "RWX"), ("ReadWriteOncePod", "RWOP")];
    let given = meta::list_at(object, &[part, "accessModes"]);
    let modes = MODES.iter().filter(|(mode, _)| given.iter().any(|given| given == mode)).map(|(_, short)| *short);
    modes.collect::<Vec<_>>().join(",")
}

const STORAGE_CLASS: Layout = Layout {
    columns: "Name, Provisioner, ReclaimPolicy, VolumeBindingMode, AllowVolumeExpansion, Age",
    cells: |class, now| {
        let is_default = meta::annotation(class, "storageclass.kubernetes.io/is-default-class") == Some("true");
        let mark = if is_default { " (default)" } else { "" };
        vec![
            format!("{}{mark}", meta::name(class)).into(),
            text(class, &["provisioner"]),
            text_or(class, &["reclaimPolicy"], "Delete"),
            text_or(class, &["volumeBindingMode"], "<unset>"),
            boolean(class, &["allowVolumeExpansion"]),
            created(class, now),
        ]
    },
};

const CSI_DRIVER: Layout = Layout {
    columns: "Name, AttachRequired:boolean, PodInfoOnMount:boolean, StorageCapacity:boolean, TokenRequests, \
              RequiresRepublish:boolean, Modes, Age",
    cells: |driver, now| {
        let audiences = meta::list_at(driver, &["spec", "tokenRequests"]).iter();
        let audiences: Vec<_> = audiences.map(|request| meta::str_at(request, &["audience"])).collect();
        let modes = meta::list_at(driver, &["spec", "volumeLifecycleModes"]).iter().filter_map(Value::as_str);
        vec![
            name(driver),
            boolean(driver, &["spec", "attachRequired"]),
            boolean(driver, &["spec", "podInfoOnMount"]),
            boolean(driver, &["spec", "storageCapacity"]),
            if audiences.is_empty() { "<unset>".into() } else { audiences.join(",").into() },
            boolean(driver, &["spec", "requiresRepublish"]),
            or_none(modes.collect::<Vec<_>>().join(",")),
            created(driver, now),
        ]
    },
};

const CSI_NODE: Layout = Layout {
    columns: "Name, Drivers:integer, Age",
    cells: |node, now| vec![name(node), count(node, &["spec", "drivers"]).into(), created(node, now)],
};

const VOLUME_ATTACHMENT: Layout = Layout {
    columns: "Name, Attacher, PV, Node, Attached:boolean, Age",
    cells: |attachment, now| {
        vec![
            name(attachment),
            text(attachment, &["spec", "attacher"]),
            text(attachment, &["spec", "source", "persistentVolumeName"]),
            text(attachment, &["spec", "nodeName"]),
            boolean(attachment, &["status", "attached"]),
            created(attachment, now),
        ]
    },
};
