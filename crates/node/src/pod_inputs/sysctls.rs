//! Which settings of the kernel a pod may have: those that cannot harm others, and those that the node allows besides.

use backstay_api::meta;
use serde_json::Value;

/// The reason in the status of a pod that asks for another.
pub const FORBIDDEN: &str = "SysctlForbidden";

/// Safe ones: each namespace has its own, and nobody else can be starved by it. Source: the kubelet's list.
const SAFE: [&str; 12] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
];

/// Settings that each namespace has for itself, by how their names begin, with the kubelet's word for the namespace.
const NAMESPACED: [(&str, &str); 5] =
    [("kernel.sem", IPC), ("kernel.shm", IPC), ("kernel.msg", IPC), ("fs.mqueue.", IPC), ("net.", NET)];
pub const IPC: &str = "IPC";
pub const NET: &str = "Net";

/// Judges a pod's sysctls. `allowed`: names besides the safe ones, or beginnings of names with a `*`.
///
/// # Errors
/// The first that the pod may not have, in the kubelet's words.
pub fn check(pod: &Value, allowed: &[String]) -> Result<(), String> {
    let is = |field: &str| meta::value_at(pod, &["spec", field]) == Some(&Value::Bool(true));
    for asked in meta::list_at(pod, &["spec", "securityContext", "sysctls"]) {
        let name = meta::str_at(asked, &["name"]).replace('/', ".");
        if !SAFE.contains(&name.as_str()) && !allowed.iter().any(|pattern| covers(pattern, &name)) {
            return Err(format!("forbidden sysctl: {name:?} not allowlisted"));
        }
        let namespace = namespace(&name);
        if (namespace == Some(NET) && is("hostNetwork")) || (namespace == Some(IPC) && is("hostIPC")) {
            let namespace = namespace.unwrap_or_default();
            return Err(format!("forbidden sysctl: {name:?} not allowed with host {namespace} enabled"));
        }
    }
    Ok(())
}

/// Reads what an operator allows: a name, or the beginning of names followed by `*`.
///
/// # Errors
/// If these are settings that all of the machine shares.
pub fn parse_allowed(pattern: &str) -> Result<String, String> {
    let name = pattern.replace('/', ".");
    match namespace(name.trim_end_matches('*')) {
        Some(_) => Ok(name),
        None => {
            Err("no namespace has it for itself: allow kernel.sem, kernel.shm*, kernel.msg*, fs.mqueue.* or net.*, \
                     or some of these"
                .into())
        }
    }
}

fn covers(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => name == pattern,
    }
}

/// [`IPC`] or [`NET`]; `None`: all of the machine shares the setting.
pub fn namespace(name: &str) -> Option<&'static str> {
    NAMESPACED.iter().find(|(beginning, _)| name.starts_with(beginning)).map(|(_, namespace)| *namespace)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check_pod(name: &str, shared: &str, expected: Result<(), &str>) {
        let mut pod = json!({ "spec": { "securityContext": { "sysctls": [{ "name": name, "value": "1" }] } } });
        pod["spec"][shared] = true.into();
        let allowed = ["kernel.msg*".to_string(), "net.core.somaxconn".to_string()];
        assert_eq!(
            check(&pod, &allowed),
            expected.map_err(|why| format!("forbidden sysctl: {why}")),
            "{name} {shared}"
        );
    }

    #[test]
    fn pods_have_what_harms_nobody_and_what_is_allowed() {
        check_pod("net.ipv4.tcp_syncookies", "-", Ok(()));
        check_pod("net/ipv4/tcp_syncookies", "-", Ok(()));
        check_pod("net.core.somaxconn", "hostIPC", Ok(()));
        check_pod("kernel.msgmax", "hostNetwork", Ok(()));
        check_pod("net.core.somaxconn_max", "-", Err("\"net.core.somaxconn_max\" not allowlisted"));
        check_pod("kernel.shmmax", "-", Err("\"kernel.shmmax\" not allowlisted"));
        check_pod("vm.swappiness", "hostIPC", Err("\"vm.swappiness\" not allowlisted"));
        check_pod("kernel.msgmax", "hostIPC", Err("\"kernel.msgmax\" not allowed with host IPC enabled"));
        let network = "\"net.ipv4.tcp_syncookies\" not allowed with host Net enabled";
        check_pod("net.ipv4.tcp_syncookies", "hostNetwork", Err(network));
    }

    #[test]
    fn only_namespaced_ones_can_be_allowed() {
        for (pattern, expected) in [
            ("net.*", Some("net.*")),
            ("kernel/shmmax", Some("kernel.shmmax")),
            ("kernel.msg*", Some("kernel.msg*")),
            ("kernel.*", None),
            ("*", None),
            ("vm.swappiness", None),
        ] {
            assert_eq!(parse_allowed(pattern).ok().as_deref(), expected, "{pattern}");
        }
    }
}
