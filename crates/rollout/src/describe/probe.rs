//! Probes on one line.

use backstay_api::meta;
use backstay_api::url::escaped_but;
use serde_json::Value;

use crate::go;

/// `http-get http://:8080/healthz delay=0s timeout=1s period=10s #success=1 #failure=3`.
pub fn probe(probe: &Value) -> String {
    let number = |field: &str| meta::int_at(probe, &[field]).unwrap_or(0);
    let timing = format!(
        "delay={}s timeout={}s period={}s #success={} #failure={}",
        number("initialDelaySeconds"),
        number("timeoutSeconds"),
        number("periodSeconds"),
        number("successThreshold"),
        number("failureThreshold"),
    );
    format!("{} {timing}", action(probe))
}

fn action(probe: &Value) -> String {
    if let Some(exec) = probe.get("exec") {
        return format!("exec {}", go::list(meta::list_at(exec, &["command"])));
    }
    if let Some(http) = probe.get("httpGet") {
        return format!("http-get {}", url(http));
    }
    if let Some(tcp) = probe.get("tcpSocket") {
        return format!("tcp-socket {}:{}", meta::str_at(tcp, &["host"]), port(tcp));
    }
    if let Some(grpc) = probe.get("grpc") {
        return format!("grpc <pod>:{} {}", port(grpc), meta::str_at(grpc, &["service"]));
    }
    "unknown".to_string()
}

fn url(http: &Value) -> String {
    let host = meta::str_at(http, &["host"]);
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_string() };
    let scheme = meta::str_at(http, &["scheme"]).to_lowercase();
    let scheme = if scheme.is_empty() { String::new() } else { format!("{scheme}:") };
    let path = meta::str_at(http, &["path"]);
    let slash = if path.is_empty() || path.starts_with('/') { "" } else { "/" };
    // As Go's net/url does it.
    format!("{scheme}//{host}:{}{slash}{}", port(http), escaped_but(path, "$&+,/:;=@"))
}

/// A number, or the name of a container port.
fn port(action: &Value) -> String {
    action.get("port").map_or_else(|| "0".to_string(), go::plain)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_action_has_its_form() {
        let check = |action: Value, expected: &str| assert_eq!(super::action(&action), expected);
        let http = json!({"path": "/a b?c", "port": "web", "scheme": "HTTPS", "host": "::1"});
        check(json!({"httpGet": http}), "http-get https://[::1]:web/a%20b%3Fc");
        check(json!({"exec": {"command": ["sh", "-c", "true"]}}), "exec [sh -c true]");
        check(json!({"tcpSocket": {"port": 80}}), "tcp-socket :80");
        check(json!({"grpc": {"port": 9, "service": ""}}), "grpc <pod>:9 ");
        check(json!({}), "unknown");
    }
}
