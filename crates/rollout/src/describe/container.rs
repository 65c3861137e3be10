//! Containers, of a template or of a running pod.

use backstay_api::meta;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;

use super::{Writer, env, probe};
use crate::go;

/// What to describe, and what is known beyond the spec.
pub struct Containers<'a> {
    pub title: &'a str,
    pub containers: &'a [Value],
    /// `containerStatuses` of a pod.
    pub statuses: &'a [Value],
    /// The value of a pod's field by its path.
    pub resolve: Option<&'a dyn Fn(&str) -> String>,
    /// Indentation of the whole block; blanks or nothing.
    pub space: &'a str,
    /// In which times are shown.
    pub zone: TimeZone,
}

impl<'a> Containers<'a> {
    /// Containers of a template, which have no status.
    pub fn of_template(title: &'a str, containers: &'a [Value]) -> Self {
        Self { title, containers, statuses: &[], resolve: None, space: "  ", zone: TimeZone::UTC }
    }
}

pub fn containers(out: &mut Writer, what: &Containers<'_>) {
    let none = if what.containers.is_empty() { " <none>" } else { "" };
    out.write(0, &format!("{}{}:{none}\n", what.space, what.title));
    for container in what.containers {
        let name = meta::str_at(container, &["name"]);
        let status = what.statuses.iter().find(|status| meta::str_at(status, &["name"]) == name);
        out.write(1, &format!("{}{name}:\n", if what.space.is_empty() { "" } else { " " }));
        basics(out, container, status);
        lines_of(out, "Command", meta::list_at(container, &["command"]));
        lines_of(out, "Args", meta::list_at(container, &["args"]));
        if let Some(status) = status {
            states(out, status, &what.zone);
        }
        resources(out, container.get("resources").unwrap_or(&Value::Null), 2);
        probes(out, container);
        env::sources(out, container);
        env::variables(out, container, what.resolve);
        mounts(out, container);
    }
}

fn basics(out: &mut Writer, container: &Value, status: Option<&Value>) {
    if let Some(status) = status {
        out.write(2, &format!("Container ID:\t{}\n", meta::str_at(status, &["containerID"])));
    }
    out.write(2, &format!("Image:\t{}\n", meta::str_at(container, &["image"])));
    if let Some(status) = status {
        out.write(2, &format!("Image ID:\t{}\n", meta::str_at(status, &["imageID"])));
    }
    ports(out, container, "Port", "containerPort");
    ports(out, container, "Host Port", "hostPort");
    if let Some(profile) = meta::value_at(container, &["securityContext", "seccompProfile"]) {
        let kind = meta::str_at(profile, &["type"]);
        out.write(2, &format!("SeccompProfile:\t{kind}\n"));
        if kind == "Localhost" {
            out.write(3, &format!("LocalhostProfile:\t{}\n", meta::str_at(profile, &["localhostProfile"])));
        }
    }
}

/// `Port: 80/TCP (web)`, or `Ports:` if there are several.
fn ports(out: &mut Writer, container: &Value, title: &str, field: &str) {
    let port = |port: &Value| {
        let name = match meta::str_at(port, &["name"]) {
            "" => String::new(),
            name => format!(" ({name})"),
        };
        format!("{}/{}{name}", meta::int_at(port, &[field]).unwrap_or(0), meta::str_at(port, &["protocol"]))
    };
    let ports: Vec<String> = meta::list_at(container, &["ports"]).iter().map(port).collect();
    match ports.as_slice() {
        [] => out.write(2, &format!("{title}:\t<none>\n")),
        [port] => out.write(2, &format!("{title}:\t{port}\n")),
        ports => out.write(2, &format!("{title}s:\t{}\n", ports.join(", "))),
    }
}

fn lines_of(out: &mut Writer, title: &str, words: &[Value]) {
    if words.is_empty() {
        return;
    }
    out.write(2, &format!("{title}:\n"));
    for line in words.iter().filter_map(Value::as_str).flat_map(|word| word.split('\n')) {
        out.write(3, &format!("{line}\n"));
    }
}

fn states(out: &mut Writer, status: &Value, zone: &TimeZone) {
    state(out, "State", status.get("state").unwrap_or(&Value::Null), zone);
    if let Some(last) = status.get("lastState").filter(|last| last.get("terminated").is_some()) {
        state(out, "Last State", last, zone);
    }
    let ready = if status.get("ready") == Some(&Value::Bool(true)) { "True" } else { "False" };
    out.write(2, &format!("Ready:\t{ready}\n"));
    out.write(2, &format!("Restart Count:\t{}\n", meta::int_at(status, &["restartCount"]).unwrap_or(0)));
}

fn state(out: &mut Writer, title: &str, state: &Value, zone: &TimeZone) {
    if let Some(running) = state.get("running") {
        out.write(2, &format!("{title}:\tRunning\n"));
        out.write(3, &format!("Started:\t{}\n", rfc1123(meta::str_at(running, &["startedAt"]), zone)));
    } else if let Some(ended) = state.get("terminated") {
        terminated(out, title, ended, zone);
    } else {
        out.write(2, &format!("{title}:\tWaiting\n"));
        let reason = meta::str_at(state, &["waiting", "reason"]);
        if !reason.is_empty() {
            out.write(3, &format!("Reason:\t{reason}\n"));
        }
    }
}

fn terminated(out: &mut Writer, title: &str, ended: &Value, zone: &TimeZone) {
    out.write(2, &format!("{title}:\tTerminated\n"));
    for (title, field) in [("Reason", "reason"), ("Message", "message")] {
        let text = meta::str_at(ended, &[field]);
        if !text.is_empty() {
            out.write(3, &format!("{title}:\t{text}\n"));
        }
    }
    out.write(3, &format!("Exit Code:\t{}\n", meta::int_at(ended, &["exitCode"]).unwrap_or(0)));
    if let Some(signal) = meta::int_at(ended, &["signal"]).filter(|signal| *signal > 0) {
        out.write(3, &format!("Signal:\t{signal}\n"));
    }
    out.write(3, &format!("Started:\t{}\n", rfc1123(meta::str_at(ended, &["startedAt"]), zone)));
    out.write(3, &format!("Finished:\t{}\n", rfc1123(meta::str_at(ended, &["finishedAt"]), zone)));
}

/// `Mon, 23 Nov 2026 09:39:01 +0000`; a time that is missing is the year 1, as Go has it.
pub fn rfc1123(time: &str, zone: &TimeZone) -> String {
    match time.parse::<Timestamp>() {
        Ok(time) => time.to_zoned(zone.clone()).strftime("%a, %d %b %Y %H:%M:%S %z").to_string(),
        Err(_) => "Mon, 01 Jan 0001 00:00:00 +0000".to_string(),
    }
}

/// `Limits:` and `Requests:`, sorted by name.
pub fn resources(out: &mut Writer, resources: &Value, level: usize) {
    for (title, field) in [("Limits", "limits"), ("Requests", "requests")] {
        let Some(amounts) = resources.get(field).and_then(Value::as_object).filter(|amounts| !amounts.is_empty())
        else {
            continue;
        };
        out.write(level, &format!("{title}:\n"));
        for (name, amount) in amounts {
            out.write(level + 1, &format!("{name}:\t{}\n", go::plain(amount)));
        }
    }
}

fn probes(out: &mut Writer, container: &Value) {
    for (title, field) in [("Liveness", "livenessProbe"), ("Readiness", "readinessProbe"), ("Startup", "startupProbe")]
    {
        if let Some(value) = container.get(field) {
            out.write(2, &format!("{title}:\t{}\n", probe(value)));
        }
    }
}

fn mounts(out: &mut Writer, container: &Value) {
    let sorted = |list: &str, path: &'static str| {
        let mut entries: Vec<&Value> = meta::list_at(container, &[list]).iter().collect();
        entries.sort_by_key(|entry| meta::str_at(entry, &[path]));
        entries
    };
    let mounts = sorted("volumeMounts", "mountPath");
    let none = if mounts.is_empty() { "\t<none>" } else { "" };
    out.write(2, &format!("Mounts:{none}\n"));
    for mount in mounts {
        let mode = if mount.get("readOnly") == Some(&Value::Bool(true)) { "ro" } else { "rw" };
        let part = match meta::str_at(mount, &["subPath"]) {
            "" => String::new(),
            part => format!(",path={}", go::quote(part)),
        };
        let path = meta::str_at(mount, &["mountPath"]);
        out.write(3, &format!("{path} from {} ({mode}{part})\n", meta::str_at(mount, &["name"])));
    }
    let devices = sorted("volumeDevices", "devicePath");
    if !devices.is_empty() {
        out.write(2, &format!("Devices:{none}\n"));
    }
    for device in devices {
        let path = meta::str_at(device, &["devicePath"]);
        out.write(3, &format!("{path} from {}\n", meta::str_at(device, &["name"])));
    }
}
