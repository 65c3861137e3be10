//! Namespaces, nodes, events, ConfigMaps, Secrets, services, accounts.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value;

use super::field::{
    self, Causes, Path, duplicate, duplicate_shown, forbidden, invalid, invalids, not_supported, required, show,
    too_long,
};
use super::{ip, meta as metadata, names, pod};
use crate::meta::{self, FOREGROUND, ORPHAN};

/// What fits into one object of the original store.
const DATA_MAX: usize = 1024 * 1024;

pub(super) fn namespace(object: &Value) -> Causes {
    let mut causes = metadata::object_meta(object, false, names::dns_label, &Path::new("metadata"));
    let path = Path::new("spec").child("finalizers");
    let finalizers = meta::list_at(object, &["spec", "finalizers"]).iter().filter_map(Value::as_str);
    causes.extend(finalizers.flat_map(|name| namespace_finalizer(name, &path)));
    causes
}

fn namespace_finalizer(name: &str, path: &Path) -> Causes {
    let mut causes: Causes = invalids(path, name, names::label_key(name)).collect();
    if !name.contains('/') && !matches!(name, "kubernetes" | ORPHAN | FOREGROUND) {
        let what = "name is neither a standard finalizer name nor is it fully qualified";
        causes.push(invalid(path, name, what));
    }
    causes
}

pub(super) fn namespace_update(subresource: Option<&str>, object: &Value, old: &Value) -> Causes {
    let mut causes = metadata::update(object, old);
    match subresource {
        Some("status") => {
            let phase = meta::str_at(object, &["status", "phase"]);
            let (expected, when) = match meta::is_being_deleted(object) {
                false => ("Active", "is empty"),
                true => ("Terminating", "is not empty"),
            };
            if phase != expected {
                let path = Path::new("status").child("Phase");
                causes.push(invalid(&path, phase, &format!("may only be '{expected}' if `deletionTimestamp` {when}")));
            }
        }
        Some("finalize") => {
            let path = Path::new("spec").child("finalizers");
            for (position, name) in meta::list_at(object, &["spec", "finalizers"]).iter().enumerate() {
                causes.extend(namespace_finalizer(name.as_str().unwrap_or(""), &path.index(position)));
            }
        }
        _ => {}
    }
    causes
}

pub(super) fn node(object: &Value) -> Causes {
    let path = Path::new("metadata");
    let mut causes = metadata::object_meta(object, false, names::dns_subdomain, &path);
    // Kubernetes looks for taints below metadata.
    causes.extend(taints(object, &path.child("taints")));
    causes.extend(node_resources(object));
    let path = Path::new("spec").child("podCIDRs");
    let ranges = meta::list_at(object, &["spec", "podCIDRs"]);
    for (position, range) in ranges.iter().enumerate() {
        causes.extend(ip::range(range.as_str().unwrap_or(""), &path.index(position)));
    }
    causes
}

fn node_resources(object: &Value) -> Causes {
    let path = Path::new("status");
    let lists = ["capacity", "allocatable"].into_iter();
    lists.flat_map(|list| pod::resource_list(object.pointer(&format!("/status/{list}")), &path.child(list))).collect()
}

pub(super) fn node_update(object: &Value, old: &Value) -> Causes {
    let path = Path::new("metadata");
    let mut causes = metadata::update(object, old);
    causes.extend(node_resources(object));
    let spec = Path::new("spec");
    let before = meta::value_at(old, &["spec", "podCIDRs"]);
    if before.is_some() && before != meta::value_at(object, &["spec", "podCIDRs"]) {
        let what = "node updates may not change podCIDR except from \"\" to valid";
        causes.push(forbidden(&spec.child("podCIDRs"), what));
    }
    let provider = |object| meta::str_at(object, &["spec", "providerID"]);
    if !provider(old).is_empty() && provider(old) != provider(object) {
        let what = "node updates may not change providerID except from \"\" to valid";
        causes.push(forbidden(&spec.child("providerID"), what));
    }
    causes.extend(taints(object, &path.child("taints")));
    causes
}

fn taints(node: &Value, path: &Path) -> Causes {
    let mut causes = Causes::new();
    let mut seen = BTreeSet::new();
    for (position, taint) in meta::list_at(node, &["spec", "taints"]).iter().enumerate() {
        let path = path.index(position);
        let text = |field| meta::str_at(taint, &[field]);
        let (key, value, effect) = (text("key"), text("value"), text("effect"));
        causes.extend(invalids(&path.child("key"), key, names::label_key(key)));
        let problems = names::label_value(value);
        if !problems.is_empty() {
            causes.push(invalid(&path.child("value"), value, &problems.join(";")));
        }
        causes.extend(pod::taint_effect(effect, &path.child("effect")));
        if !seen.insert((key, effect)) {
            let fields = [("Key", key), ("Value", value), ("Effect", effect)];
            let fields = fields.map(|(name, value)| format!("\"{name}\":{}", show(&value.into())));
            let added = show(taint.get("timeAdded").unwrap_or(&Value::Null));
            let shown = format!("{{{},\"TimeAdded\":{added}}}", fields.join(","));
            causes.push(duplicate_shown(&path, &shown, "taints must be unique by key and effect pair"));
        }
    }
    causes
}

/// Events of both groups. Only those of the newer group must name who reports them, when and why.
pub(super) fn event(object: &Value, newer: bool) -> Causes {
    let mut causes = Causes::new();
    let about = if newer { "regarding" } else { "involvedObject" };
    let namespace = meta::namespace(object).unwrap_or("");
    let involved = meta::str_at(object, &[about, "namespace"]);
    let agrees = if involved.is_empty() { matches!(namespace, "" | "default") } else { involved == namespace };
    if !agrees {
        let path = Path::new("involvedObject").child("namespace");
        causes.push(invalid(&path, involved, "does not match event.namespace"));
    }
    causes.extend(invalids(&Path::new("namespace"), namespace, names::dns_subdomain(namespace)));
    let time = meta::str_at(object, &["eventTime"]);
    if newer && time.is_empty() {
        causes.push(required(&Path::new("eventTime"), ""));
    }
    if !time.is_empty() {
        let controller = if newer { "reportingController" } else { "reportingComponent" };
        causes.extend(reporter(object, controller));
    }
    causes
}

/// The rules for events that say when they happened.
fn reporter(event: &Value, controller: &str) -> Causes {
    const TEXT_MAX: usize = 128;
    const NOTE_MAX: usize = 1024;
    let mut causes = Causes::new();
    let at = Path::new("reportingController");
    match meta::str_at(event, &[controller]) {
        "" => causes.push(required(&at, "")),
        name => causes.extend(invalids(&at, name, names::label_key(name))),
    }
    for field in ["reportingInstance", "action", "reason"] {
        let text = meta::str_at(event, &[field]);
        if text.is_empty() {
            causes.push(required(&Path::new(field), ""));
        }
        if text.len() > TEXT_MAX {
            causes.push(invalid(&Path::new(field), "", &format!("can have at most {TEXT_MAX} characters")));
        }
    }
    let message = ["message", "note"].into_iter().map(|field| meta::str_at(event, &[field]).len()).max();
    if message.is_some_and(|length| length > NOTE_MAX) {
        causes.push(invalid(&Path::new("message"), "", &format!("can have at most {NOTE_MAX} characters")));
    }
    causes
}

pub(super) fn config_map(object: &Value) -> Causes {
    let mut causes = metadata::object_meta(object, true, names::dns_subdomain, &Path::new("metadata"));
    let (plain, binary) = (meta::string_map(object.get("data")), meta::string_map(object.get("binaryData")));
    for key in plain.keys() {
        let path = Path::new("data").key(key);
        causes.extend(invalids(&path, key, names::config_key(key)));
        if binary.contains_key(key) {
            causes.push(invalid(&path, key.as_str(), "duplicate of key present in binaryData"));
        }
    }
    for key in binary.keys() {
        causes.extend(invalids(&Path::new("binaryData").key(key), key, names::config_key(key)));
    }
    let size =
        plain.values().map(String::len).sum::<usize>() + binary.values().map(|text| decoded_size(text)).sum::<usize>();
    if size > DATA_MAX {
        // Kubernetes has no name for the object as a whole.
        causes.push(too_long(&Path::new("[]"), DATA_MAX));
    }
    causes
}

fn decoded_size(text: &str) -> usize {
    BASE64.decode(text).map_or(text.len(), |bytes| bytes.len())
}

/// ConfigMaps and Secrets that were declared immutable stay as they are.
fn keep_immutable(object: &Value, old: &Value, fields: &[&str]) -> Causes {
    let is_immutable = |object: &Value| object.get("immutable") == Some(&Value::Bool(true));
    const WHAT: &str = "field is immutable when `immutable` is set";
    let mut causes = Causes::new();
    if !is_immutable(old) {
        return causes;
    }
    if !is_immutable(object) {
        causes.push(forbidden(&Path::new("immutable"), WHAT));
    }
    let changed =
        fields.iter().filter(|field| meta::string_map(object.get(**field)) != meta::string_map(old.get(**field)));
    causes.extend(changed.map(|field| forbidden(&Path::new(field), WHAT)));
    causes
}

pub(super) fn config_map_update(object: &Value, old: &Value) -> Causes {
    let mut causes = metadata::update(object, old);
    causes.extend(keep_immutable(object, old, &["data", "binaryData"]));
    causes.extend(config_map(object));
    causes
}

pub(super) fn secret(object: &Value) -> Causes {
    let mut causes = metadata::object_meta(object, true, names::dns_subdomain, &Path::new("metadata"));
    let path = Path::new("data");
    let data = meta::string_map(object.get("data"));
    for key in data.keys() {
        causes.extend(invalids(&path.key(key), key, names::config_key(key)));
    }
    if data.values().map(|text| decoded_size(text)).sum::<usize>() > DATA_MAX {
        causes.push(too_long(&path, DATA_MAX));
    }
    let needs = |keys: &[&str]| -> Causes {
        keys.iter().filter(|key| !data.contains_key(**key)).map(|key| required(&path.key(key), "")).collect()
    };
    match meta::str_at(object, &["type"]) {
        "kubernetes.io/service-account-token" => {
            let annotation = "kubernetes.io/service-account.name";
            if meta::annotation(object, annotation).unwrap_or("").is_empty() {
                causes.push(required(&Path::new("metadata").child("annotations").key(annotation), ""));
            }
        }
        "kubernetes.io/dockercfg" => causes.extend(registry_config(&data, ".dockercfg", &path)),
        "kubernetes.io/dockerconfigjson" => causes.extend(registry_config(&data, ".dockerconfigjson", &path)),
        "kubernetes.io/basic-auth" if !data.contains_key("username") && !data.contains_key("password") => {
            causes.extend(needs(&["username", "password"]));
        }
        "kubernetes.io/ssh-auth" => causes.extend(needs(&["ssh-privatekey"])),
        "kubernetes.io/tls" => causes.extend(needs(&["tls.crt", "tls.key"])),
        _ => {}
    }
    causes
}

fn registry_config(
    data: &std::collections::BTreeMap<String, String>,
    key: &str,
    path: &Path,
) -> Option<crate::status::Cause> {
    let Some(text) = data.get(key) else { return Some(required(&path.key(key), "")) };
    let bytes = BASE64.decode(text).unwrap_or_default();
    let legal = serde_json::from_slice::<serde_json::Map<String, Value>>(&bytes).is_ok();
    (!legal).then(|| invalid(&path.key(key), "<secret contents redacted>", "invalid character in JSON"))
}

pub(super) fn secret_update(object: &Value, old: &Value) -> Causes {
    let mut causes = metadata::update(object, old);
    if object.get("type") != old.get("type") {
        causes.push(invalid(&Path::new("type"), meta::str_at(object, &["type"]), field::IMMUTABLE));
    }
    causes.extend(keep_immutable(object, old, &["data"]));
    causes.extend(secret(object));
    causes
}

pub(super) fn service(object: &Value) -> Causes {
    let mut causes = metadata::object_meta(object, true, names::dns_1035_label, &Path::new("metadata"));
    let path = Path::new("spec");
    let spec = object.get("spec").unwrap_or(&Value::Null);
    let kind = meta::str_at(spec, &["type"]);
    let headless = meta::str_at(spec, &["clusterIP"]) == "None";
    let ports = meta::list_at(spec, &["ports"]);
    if ports.is_empty() && !headless && kind != "ExternalName" {
        causes.push(required(&path.child("ports"), ""));
    }
    if kind == "ExternalName" {
        let name = meta::str_at(spec, &["externalName"]);
        let name = name.strip_suffix('.').unwrap_or(name);
        match name {
            "" => causes.push(required(&path.child("externalName"), "")),
            name => causes.extend(invalids(&path.child("externalName"), name, names::dns_subdomain(name))),
        }
    }
    causes.extend(service_ports(ports, &path.child("ports")));
    causes.extend(metadata::labels(spec.get("selector"), &path.child("selector")));
    for (field, supported) in [
        ("sessionAffinity", &["ClientIP", "None"][..]),
        ("type", &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"][..]),
    ] {
        let value = meta::str_at(spec, &[field]);
        match value {
            "" => causes.push(required(&path.child(field), "")),
            value if !supported.contains(&value) => {
                causes.push(not_supported(&path.child(field), value, supported));
            }
            _ => {}
        }
    }
    for (position, address) in meta::list_at(spec, &["externalIPs"]).iter().enumerate() {
        causes.extend(ip::address(address.as_str().unwrap_or(""), &path.child("externalIPs").index(position)));
    }
    let cluster_ips = meta::list_at(spec, &["clusterIPs"]).iter().enumerate();
    for (position, address) in cluster_ips.filter(|(_, address)| *address != "None") {
        causes.extend(ip::address(address.as_str().unwrap_or(""), &path.child("clusterIPs").index(position)));
    }
    causes
}

fn service_ports(ports: &[Value], path: &Path) -> Causes {
    let mut causes = Causes::new();
    let (mut known, mut taken) = (BTreeSet::new(), BTreeSet::new());
    for (position, port) in ports.iter().enumerate() {
        let path = path.index(position);
        let text = |field| meta::str_at(port, &[field]);
        let (name, protocol) = (text("name"), text("protocol"));
        if name.is_empty() {
            if ports.len() > 1 {
                causes.push(required(&path.child("name"), ""));
            }
        } else {
            causes.extend(invalids(&path.child("name"), name, names::dns_label(name)));
            if !known.insert(name) {
                causes.push(duplicate(&path.child("name"), name));
            }
        }
        let number = meta::int_at(port, &["port"]).unwrap_or(0);
        causes.extend(names::port_number(number).iter().map(|problem| invalid(&path.child("port"), number, problem)));
        let protocols = ["SCTP", "TCP", "UDP"];
        if !protocols.contains(&protocol) {
            causes.push(not_supported(&path.child("protocol"), protocol, &protocols));
        }
        if let Some(target) = meta::value_at(port, &["targetPort"]) {
            causes.extend(pod::port_number_or_name(target, &path.child("targetPort")));
        }
        if !taken.insert((protocol, number)) {
            let shown = format!("{{\"protocol\":{},\"port\":{number}}}", show(&protocol.into()));
            causes.push(duplicate_shown(&path, &shown, ""));
        }
    }
    causes
}

/// The address of a service stays; everything else is checked as if it were new.
pub(super) fn service_update(object: &Value, old: &Value) -> Causes {
    let mut causes = metadata::update(object, old);
    let addresses = |object| meta::list_at(object, &["spec", "clusterIPs"]);
    let has_address = |object| meta::str_at(object, &["spec", "type"]) != "ExternalName";
    if has_address(object)
        && has_address(old)
        && !addresses(old).is_empty()
        && addresses(object).first() != addresses(old).first()
    {
        let path = Path::new("spec").child("clusterIPs").index(0);
        causes.push(invalid(&path, addresses(object).to_vec(), "may not change once set"));
    }
    causes.extend(service(object));
    causes
}
