//! What the lifecycle needs to know of a pod, read once from its object.

use std::time::Duration;

use backstay_api::meta;
use backstay_api::pod::Restarts;
use jiff::Timestamp;
use serde_json::Value;

use super::words;

#[derive(Clone, Debug, PartialEq)]
pub struct Pod {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub generation: Option<i64>,
    /// `spec.terminationGracePeriodSeconds`; 30 unless set.
    pub grace_seconds: i64,
    /// `Some(seconds)` once the pod is being deleted: `metadata.deletionGracePeriodSeconds`.
    pub deletion_grace_seconds: Option<i64>,
    pub active_deadline_seconds: Option<i64>,
    pub readiness_gates: Vec<String>,
    pub host_network: bool,
    pub init_containers: Vec<Container>,
    pub containers: Vec<Container>,
    /// Brought in later, to look at the others: started once, whatever those do.
    pub ephemeral_containers: Vec<Container>,
    /// `status` as the server holds it.
    pub status: Value,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Container {
    pub name: String,
    pub image: String,
    /// An init container with `restartPolicy: Always`: starts in order, then runs beside the containers.
    pub sidecar: bool,
    pub restarts: Restarts,
    pub startup: Option<Probe>,
    pub readiness: Option<Probe>,
    pub liveness: Option<Probe>,
    pub post_start: Option<Handler>,
    pub pre_stop: Option<Handler>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Probe {
    pub handler: Handler,
    /// `Duration::MAX`: never.
    pub initial_delay: Duration,
    pub period_seconds: i64,
    pub timeout_seconds: i64,
    pub success_threshold: u32,
    pub failure_threshold: u32,
    /// The pod's grace unless the probe has its own.
    pub grace_seconds: Option<i64>,
}

/// What a probe or a hook does.
#[derive(Clone, Debug, PartialEq)]
pub enum Handler {
    Exec {
        command: Vec<String>,
    },
    Http {
        /// Empty: the pod's own address.
        host: String,
        port: u16,
        path: String,
        https: bool,
        headers: Vec<(String, String)>,
    },
    Tcp {
        host: String,
        port: u16,
    },
    Grpc {
        port: u16,
        service: String,
    },
    Sleep {
        seconds: u64,
    },
    /// Succeeds without asking anybody: what a simulated container is probed with.
    Always,
    /// A handler that cannot be carried out, and why; it fails each time.
    Invalid {
        why: String,
    },
}

impl Pod {
    /// Reads a pod as the server stores it (defaulted). Absent fields count as their defaults.
    pub fn read(object: &Value) -> Self {
        let spec = object.get("spec").unwrap_or(&Value::Null);
        let deleting = meta::is_being_deleted(object);
        let deletion_grace = meta::int_at(object, &["metadata", "deletionGracePeriodSeconds"]);
        let gates = meta::list_at(spec, &["readinessGates"]).iter();
        let policy = meta::str_at(spec, &["restartPolicy"]);
        let containers = |list: &str| -> Vec<Container> {
            meta::list_at(spec, &[list]).iter().map(|container| Container::read(container, policy)).collect()
        };
        Self {
            namespace: meta::namespace(object).unwrap_or("default").to_string(),
            name: meta::name(object).to_string(),
            uid: meta::uid(object).to_string(),
            generation: meta::int_at(object, &["metadata", "generation"]),
            grace_seconds: meta::int_at(spec, &["terminationGracePeriodSeconds"]).unwrap_or(30),
            deletion_grace_seconds: deleting.then(|| deletion_grace.unwrap_or(0)),
            active_deadline_seconds: meta::int_at(spec, &["activeDeadlineSeconds"]),
            readiness_gates: gates.map(|gate| meta::str_at(gate, &["conditionType"]).to_string()).collect(),
            host_network: meta::value_at(spec, &["hostNetwork"]) == Some(&Value::Bool(true)),
            init_containers: containers("initContainers"),
            containers: containers("containers"),
            ephemeral_containers: containers("ephemeralContainers"),
            status: object.get("status").cloned().unwrap_or(Value::Null),
        }
    }

    /// Init containers in order, then containers, then those that were brought in.
    pub fn all_containers(&self) -> impl Iterator<Item = &Container> {
        self.init_containers.iter().chain(&self.containers).chain(&self.ephemeral_containers)
    }

    pub fn container(&self, name: &str) -> Option<&Container> {
        self.all_containers().find(|container| container.name == name)
    }

    /// The phase that the server holds is final: somebody, perhaps we, said so, and nothing takes it back.
    pub fn is_terminal(&self) -> bool {
        matches!(meta::str_at(&self.status, &["phase"]), "Succeeded" | "Failed")
    }

    pub fn start_time(&self) -> Option<Timestamp> {
        words::parse_time(meta::str_at(&self.status, &["startTime"]))
    }

    /// `name_namespace(uid)`, the way a kubelet names a pod in messages.
    pub fn long_name(&self) -> String {
        format!("{}_{}({})", self.name, self.namespace, self.uid)
    }
}

impl Container {
    /// `policy`: the pod's `restartPolicy`.
    fn read(object: &Value, policy: &str) -> Self {
        let probe = |field: &str| meta::value_at(object, &[field]).map(|probe| Probe::read(probe, object));
        let hook = |field: &str| meta::value_at(object, &["lifecycle", field]).map(|hook| Handler::read(hook, object));
        Self {
            name: meta::str_at(object, &["name"]).to_string(),
            image: meta::str_at(object, &["image"]).to_string(),
            sidecar: meta::str_at(object, &["restartPolicy"]) == "Always",
            restarts: Restarts::of(object, policy),
            startup: probe("startupProbe"),
            readiness: probe("readinessProbe"),
            liveness: probe("livenessProbe"),
            post_start: hook("postStart"),
            pre_stop: hook("preStop"),
        }
    }
}

impl Probe {
    fn read(object: &Value, container: &Value) -> Self {
        let int = |field: &str, default: i64| meta::int_at(object, &[field]).unwrap_or(default);
        Self {
            handler: Handler::read(object, container),
            initial_delay: Duration::from_secs(int("initialDelaySeconds", 0).max(0).unsigned_abs()),
            period_seconds: int("periodSeconds", 10).max(1),
            timeout_seconds: int("timeoutSeconds", 1).max(1),
            success_threshold: int("successThreshold", 1).clamp(1, u32::MAX.into()) as u32,
            failure_threshold: int("failureThreshold", 3).clamp(1, u32::MAX.into()) as u32,
            grace_seconds: meta::int_at(object, &["terminationGracePeriodSeconds"]),
        }
    }
}

impl Handler {
    fn read(object: &Value, container: &Value) -> Self {
        let host = |handler: &Value| meta::str_at(handler, &["host"]).to_string();
        let with_port = |handler: &Value, make: &dyn Fn(u16) -> Self| match port(handler.get("port"), container) {
            Ok(port) => make(port),
            Err(why) => Self::Invalid { why },
        };
        if let Some(exec) = meta::value_at(object, &["exec"]) {
            let words = meta::list_at(exec, &["command"]).iter();
            return Self::Exec { command: words.filter_map(|word| Some(word.as_str()?.to_string())).collect() };
        }
        if let Some(http) = meta::value_at(object, &["httpGet"]) {
            return with_port(http, &|port| Self::http(http, host(http), port));
        }
        if let Some(tcp) = meta::value_at(object, &["tcpSocket"]) {
            return with_port(tcp, &|port| Self::Tcp { host: host(tcp), port });
        }
        if let Some(grpc) = meta::value_at(object, &["grpc"]) {
            let service = meta::str_at(grpc, &["service"]);
            return with_port(grpc, &|port| Self::Grpc { port, service: service.to_string() });
        }
        if let Some(sleep) = meta::value_at(object, &["sleep"]) {
            return Self::Sleep { seconds: meta::int_at(sleep, &["seconds"]).unwrap_or(0).max(0) as u64 };
        }
        Self::Invalid { why: "missing probe handler".into() }
    }

    fn http(http: &Value, host: String, port: u16) -> Self {
        let headers = meta::list_at(http, &["httpHeaders"]).iter();
        let text = |header: &Value, field: &str| meta::str_at(header, &[field]).to_string();
        Self::Http {
            host,
            port,
            path: Some(meta::str_at(http, &["path"])).filter(|path| !path.is_empty()).unwrap_or("/").to_string(),
            https: meta::str_at(http, &["scheme"]).eq_ignore_ascii_case("https"),
            headers: headers.map(|header| (text(header, "name"), text(header, "value"))).collect(),
        }
    }
}

/// A port given by number, or by the name of one of the container's ports.
fn port(value: Option<&Value>, container: &Value) -> Result<u16, String> {
    let number = |number: Option<i64>| {
        number
            .and_then(|number| u16::try_from(number).ok())
            .filter(|port| *port > 0)
            .ok_or_else(|| format!("invalid port: {}", value.unwrap_or(&Value::Null)))
    };
    match value {
        Some(Value::String(name)) => {
            let mut ports = meta::list_at(container, &["ports"]).iter();
            let named = ports.find(|port| meta::str_at(port, &["name"]) == name);
            match named {
                Some(named) => number(meta::int_at(named, &["containerPort"])),
                None => number(name.parse().ok()),
            }
        }
        other => number(other.and_then(Value::as_i64)),
    }
}
