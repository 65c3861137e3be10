//! Environment variables, and references to fields of the pod and to keys of other objects.

use serde_json::Value;

use crate::meta;
use crate::quantity::Quantity;
use crate::status::Cause;
use crate::validation::field::{Causes, Path, invalid, invalids, not_supported, required};
use crate::validation::names;

const ENV_FIELDS: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

pub(super) const VOLUME_FIELDS: [&str; 5] =
    ["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];

/// All that a `fieldRef` may name at all.
const KNOWN_FIELDS: [&str; 11] = [
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

const RESOURCES: [&str; 6] = [
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];

pub(super) fn variables(container: &Value, path: &Path) -> Causes {
    let mut causes = Causes::new();
    for (position, variable) in meta::list_at(container, &["env"]).iter().enumerate() {
        let path = path.index(position);
        match meta::str_at(variable, &["name"]) {
            "" => causes.push(required(&path.child("name"), "")),
            name => causes.extend(invalids(&path.child("name"), name, names::env_name(name))),
        }
        if let Some(source) = meta::value_at(variable, &["valueFrom"]) {
            let has_value = !meta::str_at(variable, &["value"]).is_empty();
            causes.extend(value_from(source, has_value, &path.child("valueFrom")));
        }
    }
    causes
}

fn value_from(source: &Value, has_value: bool, path: &Path) -> Causes {
    let mut causes = Causes::new();
    let mut sources = 0;
    for field in ["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"] {
        let Some(reference) = meta::value_at(source, &[field]) else { continue };
        sources += 1;
        let path = path.child(field);
        causes.extend(match field {
            "fieldRef" => field_reference(reference, &ENV_FIELDS, &path),
            "resourceFieldRef" => resource_reference(reference, false, &path),
            "fileKeyRef" => Causes::new(),
            _ => key_reference(reference, &path),
        });
    }
    let problem = match sources {
        0 => "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`",
        _ if has_value => "may not be specified when `value` is not empty",
        1 => return causes,
        _ => "may not have more than one field specified at a time",
    };
    causes.push(invalid(path, "", problem));
    causes
}

/// A key of a ConfigMap or Secret.
fn key_reference(reference: &Value, path: &Path) -> Causes {
    let name = meta::str_at(reference, &["name"]);
    let mut causes: Causes = match name {
        // Legal once, and since then tolerated with a warning.
        "" => Causes::new(),
        name => invalids(&path.child("name"), name, names::dns_subdomain(name)).collect(),
    };
    match meta::str_at(reference, &["key"]) {
        "" => causes.push(required(&path.child("key"), "")),
        key => causes.extend(invalids(&path.child("key"), key, names::config_key(key))),
    }
    causes
}

/// A field of the pod, from `supported` (in order) or an entry of its labels or annotations.
pub(super) fn field_reference(reference: &Value, supported: &[&str], path: &Path) -> Causes {
    let text = |field| meta::str_at(reference, &[field]);
    for field in ["apiVersion", "fieldPath"] {
        if text(field).is_empty() {
            return vec![required(&path.child(field), "")];
        }
    }
    let wanted = text("fieldPath");
    let (field, subscript) = match wanted.strip_suffix("']").and_then(|wanted| wanted.split_once("['")) {
        Some((field, subscript)) => (field, Some(subscript)),
        None => (wanted, None),
    };
    if text("apiVersion") != "v1" {
        let what = format!("error converting fieldPath: unsupported pod version: {}", text("apiVersion"));
        return vec![invalid(&path.child("fieldPath"), wanted, &what)];
    }
    if !KNOWN_FIELDS.contains(&field) {
        let what = format!("error converting fieldPath: field label not supported: {wanted}");
        return vec![invalid(&path.child("fieldPath"), wanted, &what)];
    }
    match (field, subscript) {
        ("metadata.annotations", Some(key)) => {
            let key = key.to_lowercase();
            invalids(path, &key, names::label_key(&key)).collect()
        }
        ("metadata.labels", Some(key)) => invalids(path, key, names::label_key(key)).collect(),
        (field, Some(_)) => vec![invalid(path, field, "does not support subscript")],
        (field, None) if !supported.contains(&field) => {
            vec![not_supported(&path.child("fieldPath"), field, supported)]
        }
        _ => Causes::new(),
    }
}

/// An amount of a container. `in_volume`: files must say of which container.
pub(super) fn resource_reference(reference: &Value, in_volume: bool, path: &Path) -> Causes {
    let text = |field| meta::str_at(reference, &[field]);
    let resource = text("resource");
    let is_hugepages = ["requests.hugepages-", "limits.hugepages-"].iter().any(|prefix| resource.starts_with(prefix));
    let mut causes = Causes::new();
    if in_volume && text("containerName").is_empty() {
        causes.push(required(&path.child("containerName"), ""));
    } else if resource.is_empty() {
        causes.push(required(&path.child("resource"), ""));
    } else if !RESOURCES.contains(&resource) && !is_hugepages {
        causes.push(not_supported(&path.child("resource"), resource, &RESOURCES));
    }
    causes.extend(divisor(resource, text("divisor"), path));
    causes
}

fn divisor(resource: &str, divisor: &str, path: &Path) -> Option<Cause> {
    const SIZES: [&str; 13] = ["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];
    if Quantity::parse(divisor).is_ok_and(|divisor| divisor.is_zero()) || divisor.is_empty() {
        return None;
    }
    let (supported, what): (&[&str], _) = match resource.split_once('.').map_or("", |(_, name)| name) {
        "cpu" => (&["1m", "1"], "the cpu"),
        "memory" => (&SIZES, "the memory"),
        "ephemeral-storage" => (&SIZES, "the local ephemeral storage"),
        name if name.starts_with("hugepages-") => (&SIZES, "the hugepages"),
        _ => return None,
    };
    let listed = match supported.len() {
        2 => "1m and 1".to_string(),
        _ => supported.join(", "),
    };
    let detail = format!("only divisor's values {listed} are supported with {what} resource");
    (!supported.contains(&divisor)).then(|| invalid(&path.child("divisor"), resource, &detail))
}

pub(super) fn sources(container: &Value, path: &Path) -> Causes {
    let mut causes = Causes::new();
    for (position, source) in meta::list_at(container, &["envFrom"]).iter().enumerate() {
        let own = path.index(position);
        let prefix = meta::str_at(source, &["prefix"]);
        if !prefix.is_empty() {
            causes.extend(invalids(&own.child("prefix"), prefix, names::env_name(prefix)));
        }
        let given: Vec<_> = ["configMapRef", "secretRef"]
            .into_iter()
            .filter_map(|field| Some((field, meta::value_at(source, &[field])?)))
            .collect();
        for (field, reference) in &given {
            let path = own.child(field);
            match meta::str_at(reference, &["name"]) {
                "" => causes.push(required(&path.child("name"), "")),
                name => causes.extend(invalids(&path.child("name"), name, names::dns_subdomain(name))),
            }
        }
        // Kubernetes names the list, not the element.
        match given.len() {
            0 => causes.push(invalid(path, "", "must specify one of: `configMapRef` or `secretRef`")),
            1 => {}
            _ => causes.push(invalid(path, "", "may not have more than one field specified at a time")),
        }
    }
    causes
}
