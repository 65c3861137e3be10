//! Services and what stands behind and before them.

use serde_json::Value;

use super::{Layout, created, label_text, name, or_none, text, text_or};
use crate::{meta, selector};

/// A cell shows this many endpoints, ports or hosts.
const SHOWN_MAX: usize = 3;

/// Addresses of load balancers are cut off after this many characters.
const ADDRESS_MAX: usize = 16;

pub(super) fn layout(kind: &str) -> Option<&'static Layout> {
    Some(match kind {
        "Service" => &SERVICE,
        "Endpoints" => &ENDPOINTS,
        "EndpointSlice" => &ENDPOINT_SLICE,
        "NetworkPolicy" => &NETWORK_POLICY,
        "Ingress" => &INGRESS,
        "IngressClass" => &INGRESS_CLASS,
        _ => return None,
    })
}

const SERVICE: Layout = Layout {
    columns: "Name, Type, Cluster-IP, External-IP, Port(s), Age, Selector*",
    cells: |service, now| {
        let ip = service.pointer("/spec/clusterIPs/0").or_else(|| service.pointer("/spec/clusterIP"));
        vec![
            name(service),
            text(service, &["spec", "type"]),
            or_none(ip.and_then(Value::as_str).unwrap_or("").to_string()),
            external_ip(service).into(),
            service_ports(service),
            created(service, now),
            label_text(service, &["spec", "selector"]),
        ]
    },
};

fn external_ip(service: &Value) -> String {
    let ips = meta::list_at(service, &["spec", "externalIPs"]).iter().filter_map(Value::as_str);
    let mut ips: Vec<&str> = ips.collect();
    match meta::str_at(service, &["spec", "type"]) {
        "ExternalName" => return meta::str_at(service, &["spec", "externalName"]).to_string(),
        "LoadBalancer" => {
            let balancer = balancer_address(service);
            ips.insert(0, &balancer);
            let shown: Vec<_> = ips.into_iter().filter(|ip| !ip.is_empty()).collect();
            return if shown.is_empty() { "<pending>".to_string() } else { shown.join(",") };
        }
        _ => {}
    }
    if ips.is_empty() { "<none>".to_string() } else { ips.join(",") }
}

/// Where a load balancer can be reached, cut off if it is long.
fn balancer_address(object: &Value) -> String {
    let ingress = meta::list_at(object, &["status", "loadBalancer", "ingress"]).iter();
    let addresses = ingress.map(|ingress| match meta::str_at(ingress, &["ip"]) {
        "" => meta::str_at(ingress, &["hostname"]),
        ip => ip,
    });
    let mut addresses: Vec<_> = addresses.collect();
    addresses.sort_unstable();
    addresses.dedup();
    let text = addresses.join(",");
    match text.char_indices().nth(ADDRESS_MAX) {
        Some(_) => text.chars().take(ADDRESS_MAX - 3).chain("...".chars()).collect(),
        None => text,
    }
}

fn service_ports(service: &Value) -> Value {
    let ports = meta::list_at(service, &["spec", "ports"]).iter().map(|port| {
        let number = meta::int_at(port, &["port"]).unwrap_or(0);
        let protocol = meta::str_at(port, &["protocol"]);
        match meta::int_at(port, &["nodePort"]).unwrap_or(0) {
            0 => format!("{number}/{protocol}"),
            node_port => format!("{number}:{node_port}/{protocol}"),
        }
    });
    or_none(ports.collect::<Vec<_>>().join(","))
}

const ENDPOINTS: Layout = Layout {
    columns: "Name, Endpoints, Age",
    cells: |object, now| vec![name(object), endpoints(object).into(), created(object, now)],
};

fn endpoints(object: &Value) -> String {
    let subsets = meta::list_at(object, &["subsets"]).iter();
    let addresses = subsets.flat_map(|subset| {
        let ports = meta::list_at(subset, &["ports"]);
        let addresses = meta::list_at(subset, &["addresses"]).iter().map(|address| meta::str_at(address, &["ip"]));
        addresses.flat_map(move |ip| match ports {
            [] => vec![ip.to_string()],
            ports => ports.iter().map(|port| format!("{ip}:{}", port["port"])).collect(),
        })
    });
    first_few(addresses.collect())
}

fn first_few(all: Vec<String>) -> String {
    match all.len() {
        0 => "<none>".to_string(),
        count if count > SHOWN_MAX => format!("{} + {} more...", all[..SHOWN_MAX].join(","), count - SHOWN_MAX),
        _ => all.join(","),
    }
}

const ENDPOINT_SLICE: Layout = Layout {
    columns: "Name, AddressType, Ports, Endpoints, Age",
    cells: |slice, now| {
        let ports = meta::list_at(slice, &["ports"]).iter().map(|port| match port.get("port") {
            Some(port) => port.to_string(),
            None => "*".to_string(),
        });
        let ports: Vec<_> = ports.collect();
        let ports = if ports.is_empty() { "<unset>".to_string() } else { first_few(ports) };
        let endpoints = meta::list_at(slice, &["endpoints"]).iter();
        let addresses = endpoints.flat_map(|endpoint| meta::list_at(endpoint, &["addresses"]));
        let addresses: Vec<_> = addresses.filter_map(Value::as_str).map(str::to_string).collect();
        let addresses = if addresses.is_empty() { "<unset>".to_string() } else { first_few(addresses) };
        vec![name(slice), text(slice, &["addressType"]), ports.into(), addresses.into(), created(slice, now)]
    },
};

const NETWORK_POLICY: Layout = Layout {
    columns: "Name, Pod-Selector, Age",
    cells: |object, now| {
        let selector = meta::value_at(object, &["spec", "podSelector"]).unwrap_or(&Value::Null);
        vec![name(object), selector::object_text(selector).into(), created(object, now)]
    },
};

const INGRESS: Layout = Layout {
    columns: "Name, Class, Hosts, Address, Ports, Age",
    cells: |ingress, now| {
        let rules = meta::list_at(ingress, &["spec", "rules"]).iter();
        let hosts: Vec<_> = rules.map(|rule| meta::str_at(rule, &["host"]).to_string()).collect();
        let hosts: Vec<_> = hosts.into_iter().filter(|host| !host.is_empty()).collect();
        let hosts = if hosts.is_empty() { "*".to_string() } else { first_few(hosts) };
        let has_tls = !meta::list_at(ingress, &["spec", "tls"]).is_empty();
        vec![
            name(ingress),
            text_or(ingress, &["spec", "ingressClassName"], "<none>"),
            hosts.into(),
            balancer_address(ingress).into(),
            if has_tls { "80, 443" } else { "80" }.into(),
            created(ingress, now),
        ]
    },
};

const INGRESS_CLASS: Layout = Layout {
    columns: "Name, Controller, Parameters, Age",
    cells: |class, now| {
        let parameters = meta::value_at(class, &["spec", "parameters"]).map_or("<none>".to_string(), |parameters| {
            let group = meta::str_at(parameters, &["apiGroup"]);
            let kind = crate::status::qualified(meta::str_at(parameters, &["kind"]), group);
            format!("{kind}/{}", meta::str_at(parameters, &["name"]))
        });
        vec![name(class), text(class, &["spec", "controller"]), parameters.into(), created(class, now)]
    },
};
