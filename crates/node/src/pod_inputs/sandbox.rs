//! What the containers of a pod share, worked out from its object.

use std::collections::BTreeMap;
use std::path::PathBuf;

use backstay_api::{meta, pod};
use serde_json::Value;

use super::{resources, security};
use crate::runtime::{Dns, HostPort, Namespace, Namespaces, PodIdentity, PodLimits, Qos, SandboxRequest};

/// As many servers, as a resolver takes; the rest is left out, as by a kubelet.
const NAME_SERVERS_MAX: usize = 3;

/// What a kernel takes as its own name.
const HOSTNAME_BYTES_MAX: usize = 64;
/// As kubeadm sets it up.
const CLUSTER_DOMAIN: &str = "cluster.local";

/// The request for a pod's sandbox. `resolv_conf`: the host's, for pods that want its resolver.
pub fn request(pod: &Value, handler: &str, resolv_conf: &str, log_dir: PathBuf) -> SandboxRequest {
    let identity = PodIdentity {
        namespace: meta::namespace(pod).unwrap_or("default").to_string(),
        name: meta::name(pod).to_string(),
        uid: meta::uid(pod).to_string(),
    };
    let namespaces = namespaces(pod);
    let host_network = namespaces.network == Namespace::Host;
    SandboxRequest {
        hostname: if host_network { String::new() } else { kernel_hostname(pod) },
        ports: if host_network { Vec::new() } else { ports(pod) },
        pod: identity,
        labels: meta::labels(pod).into_iter().collect(),
        annotations: meta::annotations(pod).into_iter().collect(),
        handler: handler.to_string(),
        dns: dns(pod, resolv_conf),
        namespaces,
        sysctls: sysctls(pod),
        security: security::of_pod(pod),
        qos: qos(pod),
        limits: limits(pod),
        log_dir,
    }
}

pub fn namespaces(pod: &Value) -> Namespaces {
    let is = |field: &str| meta::value_at(pod, &["spec", field]) == Some(&Value::Bool(true));
    let pid = match (is("hostPID"), is("shareProcessNamespace")) {
        (true, _) => Namespace::Host,
        (false, true) => Namespace::Pod,
        (false, false) => Namespace::Container,
    };
    let host_or_pod = |host: bool| if host { Namespace::Host } else { Namespace::Pod };
    Namespaces { network: host_or_pod(is("hostNetwork")), pid, ipc: host_or_pod(is("hostIPC")) }
}

/// The quality of service that the server has worked out.
pub fn qos(pod: &Value) -> Qos {
    match meta::str_at(pod, &["status", "qosClass"]) {
        "Guaranteed" => Qos::Guaranteed,
        "Burstable" => Qos::Burstable,
        _ => Qos::BestEffort,
    }
}

/// How readily the kernel ends a container when memory runs out. Source: the kubelet's QoS policy.
pub fn oom_score_adj(pod: &Value, container: &Value, memory_capacity: u64) -> i32 {
    const SYSTEM_CRITICAL: i64 = 2_000_000_000;
    let critical = meta::int_at(pod, &["spec", "priority"]).is_some_and(|priority| priority >= SYSTEM_CRITICAL);
    match qos(pod) {
        _ if critical => -997,
        Qos::Guaranteed => -997,
        Qos::BestEffort => 1000,
        Qos::Burstable => {
            let request = resources::memory_request(container);
            let share = request.saturating_mul(1000).checked_div(memory_capacity).unwrap_or(0).min(1000);
            (1000 - share as i32).clamp(3, 999)
        }
    }
}

/// A pod's name is its host name, cut to what a host name may be.
pub fn hostname(pod: &Value) -> String {
    let own = meta::str_at(pod, &["spec", "hostname"]);
    let name = if own.is_empty() { meta::name(pod) } else { own };
    name.chars().take(63).collect::<String>().trim_end_matches(['-', '.']).to_string()
}

/// The name that a pod with a `subdomain` has among all.
fn full_name(pod: &Value) -> Option<String> {
    let subdomain = Some(meta::str_at(pod, &["spec", "subdomain"])).filter(|text| !text.is_empty())?;
    let namespace = meta::namespace(pod).unwrap_or("default");
    Some(format!("{}.{subdomain}.{namespace}.svc.{CLUSTER_DOMAIN}", hostname(pod)))
}

/// What the pod's containers are told that their host is called.
fn kernel_hostname(pod: &Value) -> String {
    let in_full = meta::value_at(pod, &["spec", "setHostnameAsFQDN"]) == Some(&Value::Bool(true));
    full_name(pod).filter(|_| in_full).unwrap_or_else(|| hostname(pod))
}

/// Whether there can be such a sandbox on a node of ours.
///
/// # Errors
/// If not, in words fit for an event.
pub fn check(pod: &Value) -> Result<(), String> {
    if meta::value_at(pod, &["spec", "hostUsers"]) == Some(&Value::Bool(false)) {
        return Err("user namespaces are not supported on this node: leave out hostUsers, or set it to true".into());
    }
    let name = kernel_hostname(pod);
    if name.len() > HOSTNAME_BYTES_MAX {
        return Err(format!(
            "the host name {name} is longer than {HOSTNAME_BYTES_MAX} characters: shorten the pod's hostname or \
             subdomain, or leave out setHostnameAsFQDN"
        ));
    }
    Ok(())
}

/// Whether the pod asks for the cluster's resolver, and gets the host's for want of one.
pub fn lacks_cluster_dns(pod: &Value) -> bool {
    match meta::str_at(pod, &["spec", "dnsPolicy"]) {
        "ClusterFirstWithHostNet" => true,
        "ClusterFirst" | "" => namespaces(pod).network != Namespace::Host,
        _ => false,
    }
}

fn ports(pod: &Value) -> Vec<HostPort> {
    let ports = pod::own_containers(pod).flat_map(|container| meta::list_at(container, &["ports"]));
    let port = |port: &Value, field: &str| meta::int_at(port, &[field]).and_then(|it| u16::try_from(it).ok());
    let asked = ports.filter_map(|it| {
        let protocol = Some(meta::str_at(it, &["protocol"])).filter(|text| !text.is_empty()).unwrap_or("TCP");
        Some(HostPort {
            container_port: port(it, "containerPort")?,
            host_port: port(it, "hostPort").filter(|port| *port > 0)?,
            protocol: protocol.to_string(),
            host_ip: meta::str_at(it, &["hostIP"]).to_string(),
        })
    });
    asked.collect()
}

fn sysctls(pod: &Value) -> BTreeMap<String, String> {
    let asked = meta::list_at(pod, &["spec", "securityContext", "sysctls"]).iter();
    let text = |it: &Value, field: &str| meta::str_at(it, &[field]).to_string();
    asked.map(|it| (text(it, "name").replace('/', "."), text(it, "value"))).collect()
}

/// The host's resolver, unless the policy is `None`, with what the pod adds. There is no resolver of the cluster, so
/// `ClusterFirst` is the host's too, as on a kubelet without `clusterDNS`.
pub fn dns(pod: &Value, resolv_conf: &str) -> Dns {
    let mut dns = match meta::str_at(pod, &["spec", "dnsPolicy"]) {
        "None" => Dns::default(),
        _ => parse_resolv_conf(resolv_conf),
    };
    let config = |field: &str| meta::list_at(pod, &["spec", "dnsConfig", field]);
    let texts = |field: &str| config(field).iter().filter_map(|it| it.as_str().map(str::to_string));
    extend(&mut dns.servers, texts("nameservers"));
    extend(&mut dns.searches, texts("searches"));
    for option in config("options") {
        let name = meta::str_at(option, &["name"]);
        let text = match meta::value_at(option, &["value"]).and_then(Value::as_str) {
            Some(value) => format!("{name}:{value}"),
            None => name.to_string(),
        };
        dns.options.retain(|held| held.split(':').next() != Some(name));
        dns.options.push(text);
    }
    dns.servers.truncate(NAME_SERVERS_MAX);
    dns
}

fn extend(list: &mut Vec<String>, more: impl Iterator<Item = String>) {
    for item in more {
        if !list.contains(&item) {
            list.push(item);
        }
    }
}

fn parse_resolv_conf(text: &str) -> Dns {
    let mut dns = Dns::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let keyword = words.next().unwrap_or_default();
        let rest = words.map(str::to_string);
        match keyword {
            "nameserver" => dns.servers.extend(rest.take(1)),
            "search" => dns.searches = rest.collect(),
            "options" => dns.options = rest.collect(),
            _ => {}
        }
    }
    dns
}

/// What the pod's cgroup allows: sums over its containers; no limit where one of them has none.
fn limits(pod: &Value) -> PodLimits {
    let (mut sum, mut unlimited) = (PodLimits::default(), (false, false));
    let add = |total: &mut Option<u64>, more: Option<u64>| {
        if let Some(more) = more {
            *total = Some(total.unwrap_or(0).saturating_add(more));
        }
    };
    let sidecars = meta::list_at(pod, &["spec", "initContainers"]).iter();
    let sidecars = sidecars.filter(|container| meta::str_at(container, &["restartPolicy"]) == "Always");
    let mut largest = PodLimits::default();
    for container in meta::list_at(pod, &["spec", "containers"]).iter().chain(sidecars) {
        let own = resources::limits(container);
        unlimited = (unlimited.0 || own.memory_bytes.is_none(), unlimited.1 || own.cpu_millis.is_none());
        add(&mut sum.memory_bytes, own.memory_bytes);
        add(&mut sum.cpu_millis, own.cpu_millis);
        add(&mut sum.cpu_request_millis, own.cpu_request_millis);
    }
    for container in meta::list_at(pod, &["spec", "initContainers"]) {
        let own = resources::limits(container);
        largest.memory_bytes = largest.memory_bytes.max(own.memory_bytes);
        largest.cpu_millis = largest.cpu_millis.max(own.cpu_millis);
        largest.cpu_request_millis = largest.cpu_request_millis.max(own.cpu_request_millis);
    }
    PodLimits {
        memory_bytes: if unlimited.0 { None } else { sum.memory_bytes.max(largest.memory_bytes) },
        cpu_millis: if unlimited.1 { None } else { sum.cpu_millis.max(largest.cpu_millis) },
        cpu_request_millis: sum.cpu_request_millis.max(largest.cpu_request_millis),
    }
}

/// The content of `/etc/hosts`. `host`: the machine's own file, for pods on its network.
pub fn hosts_file(pod: &Value, ips: &[String], host: &str) -> String {
    let mut text = if namespaces(pod).network == Namespace::Host {
        format!("# Kubernetes-managed hosts file (host network).\n{host}")
    } else {
        let own = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\n\
                   fe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n";
        let name = hostname(pod);
        let names = full_name(pod).map_or(name.clone(), |full| format!("{full}\t{name}"));
        let lines: String = ips.iter().map(|ip| format!("{ip}\t{names}\n")).collect();
        format!("# Kubernetes-managed hosts file.\n{own}{lines}")
    };
    let aliases = meta::list_at(pod, &["spec", "hostAliases"]);
    if !aliases.is_empty() {
        text += "\n# Entries added by HostAliases.\n";
        for alias in aliases {
            let names = meta::list_at(alias, &["hostnames"]).iter().filter_map(Value::as_str).collect::<Vec<_>>();
            text += &format!("{}\t{}\n", meta::str_at(alias, &["ip"]), names.join("\t"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_resolver_is_the_hosts_unless_a_pod_has_its_own() {
        let host = "# x\nnameserver 10.0.0.1\nsearch a b\noptions ndots:2 rotate\n";
        let check = |spec: Value, servers: &[&str], searches: &[&str], options: &[&str]| {
            let seen = dns(&json!({ "spec": spec }), host);
            assert_eq!((seen.servers, seen.searches, seen.options), (words(servers), words(searches), words(options)));
        };
        check(json!({ "dnsPolicy": "Default" }), &["10.0.0.1"], &["a", "b"], &["ndots:2", "rotate"]);
        let config = json!({ "nameservers": ["1.1.1.1"], "searches": ["b", "c"], "options": [{ "name": "ndots", "value": "5" }] });
        check(json!({ "dnsPolicy": "None", "dnsConfig": config }), &["1.1.1.1"], &["b", "c"], &["ndots:5"]);
        check(json!({ "dnsConfig": config }), &["10.0.0.1", "1.1.1.1"], &["a", "b", "c"], &["rotate", "ndots:5"]);
    }

    fn words(list: &[&str]) -> Vec<String> {
        list.iter().map(|word| word.to_string()).collect()
    }

    #[test]
    fn a_pod_is_limited_if_all_of_it_is() {
        let limited =
            json!({ "resources": { "limits": { "memory": "10", "cpu": "100m" }, "requests": { "cpu": "50m" } } });
        let big = json!({ "resources": { "limits": { "memory": "70", "cpu": "10m" } } });
        let of = |spec: Value| limits(&json!({ "spec": spec }));
        let all = of(json!({ "containers": [limited, limited], "initContainers": [big] }));
        let expected = PodLimits { memory_bytes: Some(70), cpu_millis: Some(200), cpu_request_millis: Some(100) };
        assert_eq!(all, expected);
        let some = of(json!({ "containers": [limited, {}] }));
        assert_eq!(some, PodLimits { memory_bytes: None, cpu_millis: None, cpu_request_millis: Some(50) });
    }

    #[test]
    fn what_is_shared_with_the_host() {
        let container = json!({ "ports": [{ "containerPort": 80, "hostPort": 8080 }, { "containerPort": 81 }] });
        let of = |spec: Value| request(&json!({ "metadata": { "name": "p.q" }, "spec": spec }), "", "", "/l".into());
        let own = of(json!({ "containers": [container], "shareProcessNamespace": true }));
        assert_eq!((own.hostname.as_str(), own.ports.len(), own.ports[0].host_port), ("p.q", 1, 8080));
        assert_eq!((own.namespaces.network, own.namespaces.pid), (Namespace::Pod, Namespace::Pod));
        let shared = of(json!({ "containers": [container], "hostNetwork": true, "hostPID": true, "hostIPC": true }));
        assert_eq!((shared.hostname.as_str(), shared.ports.len()), ("", 0));
        let host = Namespaces { network: Namespace::Host, pid: Namespace::Host, ipc: Namespace::Host };
        assert_eq!(shared.namespaces, host);
    }

    #[test]
    fn names_of_a_pod() {
        let of = |spec: Value| json!({ "metadata": { "name": "p", "namespace": "n" }, "spec": spec });
        let check_name = |spec: Value, kernel: &str, line: &str| {
            let pod = of(spec);
            assert_eq!(kernel_hostname(&pod), kernel, "{pod}");
            let text = hosts_file(&pod, &["10.0.0.1".to_string()], "");
            assert_eq!(text.lines().find_map(|it| it.strip_prefix("10.0.0.1\t")), Some(line), "{pod}");
        };
        let full = "h.s.n.svc.cluster.local";
        check_name(json!({}), "p", "p");
        check_name(json!({ "hostname": "h" }), "h", "h");
        check_name(json!({ "hostname": "h", "subdomain": "s" }), "h", &format!("{full}\th"));
        let in_full = json!({ "hostname": "h", "subdomain": "s", "setHostnameAsFQDN": true });
        check_name(in_full, full, &format!("{full}\th"));
        check_name(json!({ "setHostnameAsFQDN": true }), "p", "p");

        let long = json!({ "hostname": "h".repeat(50), "subdomain": "s", "setHostnameAsFQDN": true });
        for (spec, error) in [
            (json!({}), None),
            (json!({ "hostUsers": true }), None),
            (json!({ "hostUsers": false }), Some("user namespaces are not supported")),
            (long, Some("longer than 64 characters")),
        ] {
            let seen = check(&of(spec));
            assert_eq!(seen.is_err(), error.is_some(), "{seen:?}");
            assert!(seen.err().unwrap_or_default().contains(error.unwrap_or_default()));
        }
    }

    #[test]
    fn who_has_to_do_without_a_resolver_of_the_cluster() {
        let check = |spec: Value, lacks: bool| {
            assert_eq!(lacks_cluster_dns(&json!({ "spec": spec })), lacks, "{spec}");
        };
        check(json!({ "dnsPolicy": "ClusterFirst" }), true);
        check(json!({ "dnsPolicy": "ClusterFirst", "hostNetwork": true }), false);
        check(json!({ "dnsPolicy": "ClusterFirstWithHostNet", "hostNetwork": true }), true);
        check(json!({ "dnsPolicy": "Default" }), false);
        check(json!({ "dnsPolicy": "None" }), false);
    }

    #[test]
    fn who_is_ended_first() {
        let check = |qos: &str, request: &str, priority: i64, expected: i32| {
            let pod = json!({ "spec": { "priority": priority }, "status": { "qosClass": qos } });
            let container = json!({ "resources": { "requests": { "memory": request } } });
            assert_eq!(oom_score_adj(&pod, &container, 1000), expected, "{qos} {request} {priority}");
        };
        check("Guaranteed", "100", 0, -997);
        check("BestEffort", "0", 0, 1000);
        check("Burstable", "100", 0, 900);
        check("Burstable", "0", 0, 999);
        check("Burstable", "1000", 0, 3);
        check("BestEffort", "0", 2_000_001_000, -997);
    }
}
