//! Nodes, namespaces, events, configuration and accounts.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::Value;

use super::{Layout, age, count, created, created_at, name, text, text_or};
use crate::meta;

pub(super) fn layout(kind: &str) -> Option<&'static Layout> {
    Some(match kind {
        "Node" => &NODE,
        "Namespace" => &NAMESPACE,
        "Event" => &EVENT,
        "ConfigMap" => &CONFIG_MAP,
        "Secret" => &SECRET,
        "ServiceAccount" => &SERVICE_ACCOUNT,
        "ResourceQuota" => &RESOURCE_QUOTA,
        "LimitRange" => &LIMIT_RANGE,
        "ComponentStatus" => &COMPONENT_STATUS,
        _ => return None,
    })
}

const NODE: Layout = Layout {
    columns: "Name, Status, Roles, Age, Version, Internal-IP*, External-IP*, OS-Image*, Kernel-Version*, \
              Container-Runtime*",
    cells: |node, now| {
        let info = |field| text_or(node, &["status", "nodeInfo", field], "<unknown>");
        vec![
            name(node),
            node_status(node).into(),
            node_roles(node).into(),
            created(node, now),
            text(node, &["status", "nodeInfo", "kubeletVersion"]),
            address(node, "InternalIP").into(),
            address(node, "ExternalIP").into(),
            info("osImage"),
            info("kernelVersion"),
            info("containerRuntimeVersion"),
        ]
    },
};

fn node_status(node: &Value) -> String {
    let status = match meta::condition(node, "Ready") {
        Some(condition) if condition["status"] == "True" => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    };
    let cordoned = meta::value_at(node, &["spec", "unschedulable"]) == Some(&Value::Bool(true));
    if cordoned { format!("{status},SchedulingDisabled") } else { status.to_string() }
}

fn node_roles(node: &Value) -> String {
    let labels = meta::labels(node);
    let roles = labels.iter().filter_map(|(key, value)| match key.strip_prefix("node-role.kubernetes.io/") {
        Some(role) => Some(role),
        None if key == "kubernetes.io/role" => Some(value.as_str()),
        None => None,
    });
    let roles: BTreeSet<&str> = roles.filter(|role| !role.is_empty()).collect();
    if roles.is_empty() { "<none>".to_string() } else { roles.into_iter().collect::<Vec<_>>().join(",") }
}

fn address<'a>(node: &'a Value, kind: &str) -> &'a str {
    let addresses = meta::list_at(node, &["status", "addresses"]).iter();
    let found = addresses.filter(|address| meta::str_at(address, &["type"]) == kind);
    found.map(|address| meta::str_at(address, &["address"])).next().unwrap_or("<none>")
}

const NAMESPACE: Layout = Layout {
    columns: "Name, Status, Age",
    cells: |object, now| vec![name(object), text(object, &["status", "phase"]), created(object, now)],
};

const EVENT: Layout = Layout {
    columns: "Last Seen, Type, Reason, Object, Subobject*, Source*, Message, First Seen*, Count*, Name*",
    cells: |event, now| {
        let (first, last, times) = event_times(event, now);
        let about = if event.get("regarding").is_some() { "regarding" } else { "involvedObject" };
        let message = if about == "regarding" { "note" } else { "message" };
        let kind = meta::str_at(event, &[about, "kind"]).to_lowercase();
        let object = match meta::str_at(event, &[about, "name"]) {
            "" => kind,
            name => format!("{kind}/{name}"),
        };
        vec![
            last.into(),
            text(event, &["type"]),
            text(event, &["reason"]),
            object.into(),
            text(event, &[about, "fieldPath"]),
            event_source(event).into(),
            meta::str_at(event, &[message]).trim().into(),
            first.into(),
            times.into(),
            name(event),
        ]
    },
};

/// How long ago the event was seen first and last, and how often. Reads the fields of both groups of events.
fn event_times(event: &Value, now: Timestamp) -> (String, String, i64) {
    let field = |names: [&str; 2]| match meta::str_at(event, &names[..1]) {
        "" => meta::str_at(event, &names[1..]),
        time => time,
    };
    let first = match field(["firstTimestamp", "deprecatedFirstTimestamp"]) {
        "" => age(meta::str_at(event, &["eventTime"]), now),
        time => age(time, now),
    };
    if let Some(series) = meta::value_at(event, &["series"]) {
        let last = age(meta::str_at(series, &["lastObservedTime"]), now);
        return (first, last, meta::int_at(series, &["count"]).unwrap_or(0));
    }
    let last = match field(["lastTimestamp", "deprecatedLastTimestamp"]) {
        "" => first.clone(),
        time => age(time, now),
    };
    let times = meta::int_at(event, &["count"]).or_else(|| meta::int_at(event, &["deprecatedCount"]));
    (first, last, times.filter(|times| *times > 0).unwrap_or(1))
}

fn event_source(event: &Value) -> String {
    let source = if event.get("deprecatedSource").is_some() { "deprecatedSource" } else { "source" };
    let controller = match meta::str_at(event, &["reportingComponent"]) {
        "" => meta::str_at(event, &["reportingController"]),
        component => component,
    };
    let (component, host) = match meta::str_at(event, &[source, "component"]) {
        "" => (controller, meta::str_at(event, &["reportingInstance"])),
        component => (component, meta::str_at(event, &[source, "host"])),
    };
    if host.is_empty() { component.to_string() } else { format!("{component}, {host}") }
}

const CONFIG_MAP: Layout = Layout {
    columns: "Name, Data, Age",
    cells: |object, now| {
        let entries = count(object, &["data"]) + count(object, &["binaryData"]);
        vec![name(object), entries.into(), created(object, now)]
    },
};

const SECRET: Layout = Layout {
    columns: "Name, Type, Data, Age",
    cells: |object, now| {
        vec![name(object), text(object, &["type"]), count(object, &["data"]).into(), created(object, now)]
    },
};

const SERVICE_ACCOUNT: Layout = Layout {
    columns: "Name, Secrets, Age",
    cells: |object, now| vec![name(object), count(object, &["secrets"]).into(), created(object, now)],
};

const RESOURCE_QUOTA: Layout = Layout {
    columns: "Name, Request, Limit, Age",
    cells: |quota, now| {
        let hard = meta::string_map(meta::value_at(quota, &["status", "hard"]));
        let used = meta::string_map(meta::value_at(quota, &["status", "used"]));
        let shown = |limits: bool| {
            let of_kind = hard.iter().filter(|(name, _)| name.starts_with("limits.") == limits);
            let parts =
                of_kind.map(|(name, hard)| format!("{name}: {}/{hard}", used.get(name).map_or("0", String::as_str)));
            parts.collect::<Vec<_>>().join(", ")
        };
        vec![name(quota), shown(false).into(), shown(true).into(), created(quota, now)]
    },
};

const LIMIT_RANGE: Layout =
    Layout { columns: "Name, Created At", cells: |object, _| vec![name(object), created_at(object)] };

const COMPONENT_STATUS: Layout = Layout {
    columns: "Name, Status, Message, Error",
    cells: |object, _| {
        let healthy = meta::list_at(object, &["conditions"]).iter().find(|condition| condition["type"] == "Healthy");
        let condition = healthy.unwrap_or(&Value::Null);
        let status = if condition["status"] == "True" { "Healthy" } else { "Unhealthy" };
        vec![name(object), status.into(), text(condition, &["message"]), text(condition, &["error"])]
    },
};
