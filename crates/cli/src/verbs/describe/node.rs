//! A node: its conditions, what it is, and what runs there.

use backstay_api::meta;
use backstay_api::quantity::Quantity;
use backstay_rollout::describe::{Writer, annotations, labels, rfc1123};
use backstay_rollout::go;
use jiff::tz::TimeZone;
use serde_json::Value;

use crate::age;
use crate::error::Outcome;
use crate::server::Call;
use crate::session::Session;

const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";

pub async fn text(session: &Session, node: &Value) -> Outcome<String> {
    let name = meta::name(node);
    let lease = session.server.json(&Call::get(format!("{LEASES}/{name}"))).await;
    let running = format!("spec.nodeName={name},status.phase!=Succeeded,status.phase!=Failed");
    let pods = session.server.list(&Call::get("/api/v1/pods").query("fieldSelector", running)).await;
    let zone = TimeZone::system();
    let mut out = Writer::default();
    head(&mut out, node, &zone);
    match lease {
        Ok(lease) => write_lease(&mut out, &lease, &zone),
        Err(failure) => {
            let why = failure.api().map_or_else(|| failure.to_string(), |error| error.message.clone());
            out.write(0, &format!("Lease:\tFailed to get lease: {why}\n"));
        }
    }
    conditions(&mut out, node, &zone);
    system(&mut out, node);
    match pods {
        Ok(pods) => allocation(&mut out, node, meta::list_at(&pods, &["items"])),
        Err(failure) if failure.api().is_some_and(|error| error.code == 403) => {
            out.write(0, "Pods:\tnot authorized\n");
        }
        Err(failure) => return Err(failure),
    }
    Ok(out.into_text())
}

fn head(out: &mut Writer, node: &Value, zone: &TimeZone) {
    out.write(0, &format!("Name:\t{}\n", meta::name(node)));
    out.write(0, &format!("Roles:\t{}\n", roles(node)));
    labels(out, "Labels", &meta::labels(node));
    annotations(out, "Annotations", &meta::annotations(node));
    let created = meta::str_at(node, &["metadata", "creationTimestamp"]);
    out.write(0, &format!("CreationTimestamp:\t{}\n", rfc1123(created, zone)));
    taints(out, meta::list_at(node, &["spec", "taints"]));
    let unschedulable = meta::value_at(node, &["spec", "unschedulable"]) == Some(&Value::Bool(true));
    out.write(0, &format!("Unschedulable:\t{unschedulable}\n"));
}

fn roles(node: &Value) -> String {
    let mut roles: Vec<String> = meta::labels(node)
        .iter()
        .filter_map(|(key, value)| match key.strip_prefix("node-role.kubernetes.io/") {
            Some(role) if !role.is_empty() => Some(role.to_string()),
            None if key == "kubernetes.io/role" && !value.is_empty() => Some(value.clone()),
            _ => None,
        })
        .collect();
    roles.sort();
    roles.dedup();
    if roles.is_empty() { "<none>".to_string() } else { roles.join(",") }
}

fn taints(out: &mut Writer, taints: &[Value]) {
    out.write(0, "Taints:\t");
    if taints.is_empty() {
        out.write_line("<none>");
    }
    let field = |taint: &Value, name: &str| meta::str_at(taint, &[name]).to_string();
    let mut sorted: Vec<&Value> = taints.iter().collect();
    sorted.sort_by_key(|taint| format!("{},{}", field(taint, "effect"), field(taint, "key")));
    for (index, taint) in sorted.into_iter().enumerate() {
        if index > 0 {
            out.write(0, "\t");
        }
        let (key, value, effect) = (field(taint, "key"), field(taint, "value"), field(taint, "effect"));
        let value = if value.is_empty() { String::new() } else { format!("={value}") };
        let effect = if effect.is_empty() { String::new() } else { format!(":{effect}") };
        out.write(0, &format!("{key}{value}{effect}\n"));
    }
}

fn write_lease(out: &mut Writer, lease: &Value, zone: &TimeZone) {
    out.write(0, "Lease:\n");
    let holder = meta::value_at(lease, &["spec", "holderIdentity"]).map_or_else(|| "<unset>".into(), go::plain);
    out.write(1, &format!("HolderIdentity:\t{holder}\n"));
    for (title, field) in [("AcquireTime", "acquireTime"), ("RenewTime", "renewTime")] {
        let time = match meta::str_at(lease, &["spec", field]) {
            "" => "<unset>".to_string(),
            time => rfc1123(time, zone),
        };
        out.write(1, &format!("{title}:\t{time}\n"));
    }
}

fn conditions(out: &mut Writer, node: &Value, zone: &TimeZone) {
    let conditions = meta::list_at(node, &["status", "conditions"]);
    if conditions.is_empty() {
        return;
    }
    out.write(0, "Conditions:\n  Type\tStatus\tLastHeartbeatTime\tLastTransitionTime\tReason\tMessage\n");
    out.write(1, "----\t------\t-----------------\t------------------\t------\t-------\n");
    for condition in conditions {
        let field = |name: &str| meta::str_at(condition, &[name]);
        out.write(
            1,
            &format!(
                "{} \t{} \t{} \t{} \t{} \t{}\n",
                field("type"),
                field("status"),
                rfc1123(field("lastHeartbeatTime"), zone),
                rfc1123(field("lastTransitionTime"), zone),
                field("reason"),
                field("message"),
            ),
        );
    }
}

fn system(out: &mut Writer, node: &Value) {
    out.write(0, "Addresses:\n");
    for address in meta::list_at(node, &["status", "addresses"]) {
        out.write(1, &format!("{}:\t{}\n", meta::str_at(address, &["type"]), meta::str_at(address, &["address"])));
    }
    for (title, field) in [("Capacity", "capacity"), ("Allocatable", "allocatable")] {
        let Some(amounts) = meta::value_at(node, &["status", field]).and_then(Value::as_object) else { continue };
        if !amounts.is_empty() {
            out.write(0, &format!("{title}:\n"));
        }
        for (name, amount) in amounts {
            out.write(0, &format!("  {name}:\t{}\n", go::plain(amount)));
        }
    }
    out.write(0, "System Info:\n");
    for (title, field) in [
        ("Machine ID", "machineID"),
        ("System UUID", "systemUUID"),
        ("Boot ID", "bootID"),
        ("Kernel Version", "kernelVersion"),
        ("OS Image", "osImage"),
        ("Operating System", "operatingSystem"),
        ("Architecture", "architecture"),
        ("Container Runtime Version", "containerRuntimeVersion"),
        ("Kubelet Version", "kubeletVersion"),
    ] {
        out.write(0, &format!("  {title}:\t{}\n", meta::str_at(node, &["status", "nodeInfo", field])));
    }
    let ranges: Vec<&str> = meta::list_at(node, &["spec", "podCIDRs"]).iter().filter_map(Value::as_str).collect();
    for (title, text) in [
        ("PodCIDR", meta::str_at(node, &["spec", "podCIDR"]).to_string()),
        ("PodCIDRs", ranges.join(",")),
        ("ProviderID", meta::str_at(node, &["spec", "providerID"]).to_string()),
    ] {
        if !text.is_empty() {
            out.write(0, &format!("{title}:\t{text}\n"));
        }
    }
}

/// Requests and limits of the pods, as parts of what the node can give.
fn allocation(out: &mut Writer, node: &Value, pods: &[Value]) {
    out.write(0, &format!("Non-terminated Pods:\t({} in total)\n", pods.len()));
    out.write(1, "Namespace\tName\t\tCPU Requests\tCPU Limits\tMemory Requests\tMemory Limits\tAge\n");
    out.write(1, "---------\t----\t\t------------\t----------\t---------------\t-------------\t---\n");
    for pod in pods {
        let part = |list: &str, name: &str| share(node, name, &of_pod(pod, list, name));
        let (namespace, age) =
            (meta::namespace(pod).unwrap_or(""), age::of(meta::str_at(pod, &["metadata", "creationTimestamp"])));
        out.write(
            1,
            &format!(
                "{namespace}\t{}\t\t{}\t{}\t{}\t{}\t{age}\n",
                meta::name(pod),
                part("requests", "cpu"),
                part("limits", "cpu"),
                part("requests", "memory"),
                part("limits", "memory"),
            ),
        );
    }
    out.write(0, "Allocated resources:\n  (Total limits may be over 100 percent, i.e., overcommitted.)\n");
    out.write(1, "Resource\tRequests\tLimits\n");
    out.write(1, "--------\t--------\t------\n");
    for name in ["cpu", "memory", "ephemeral-storage"] {
        let total = |list: &str| {
            let sum = pods.iter().fold(Quantity::ZERO, |sum, pod| sum.add(&of_pod(pod, list, name)));
            share(node, name, &sum)
        };
        out.write(1, &format!("{name}\t{}\t{}\n", total("requests"), total("limits")));
    }
}

/// What a pod asks for: its containers together, or its most demanding init container if that is more.
fn of_pod(pod: &Value, list: &str, name: &str) -> Quantity {
    let amount = |container: &Value| {
        let amount = meta::value_at(container, &["resources", list, name]).map(go::plain);
        amount.and_then(|amount| Quantity::parse(&amount).ok()).unwrap_or(Quantity::ZERO)
    };
    let sum = meta::list_at(pod, &["spec", "containers"])
        .iter()
        .fold(Quantity::ZERO, |sum, container| sum.add(&amount(container)));
    let inits = meta::list_at(pod, &["spec", "initContainers"]).iter().map(amount);
    inits.fold(sum, |most, amount| if amount > most { amount } else { most })
}

/// `100m (5%)`.
fn share(node: &Value, name: &str, amount: &Quantity) -> String {
    let available = ["allocatable", "capacity"]
        .into_iter()
        .find_map(|list| meta::value_at(node, &["status", list, name]))
        .and_then(|available| Quantity::parse(&go::plain(available)).ok())
        .unwrap_or(Quantity::ZERO);
    let percent = match available.to_milli() {
        0 => 0,
        available => i128::from(amount.to_milli()) * 100 / i128::from(available),
    };
    format!("{amount} ({percent}%)")
}
