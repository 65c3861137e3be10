//! Security contexts, and what the operating system of a pod rules out.

use std::collections::BTreeSet;

use serde_json::Value;

use super::spec::Context;
use super::volume::descending_path;
use super::{one_of, required_one_of};
use crate::meta;
use crate::pod::CONTAINERS;
use crate::status::Cause;
use crate::validation::field::{
    Causes, Path, duplicate, forbidden, invalid, invalid_shown, not_supported, required, show,
};
use crate::validation::names;

const ID_MAX: i64 = i32::MAX as i64;
const SYSCTL_MAX: usize = 253;
const APPARMOR_MAX: usize = 4095;

/// `securityContext` of a pod; `path` is the spec's.
pub(super) fn pod_context(spec: &Value, path: &Path) -> Causes {
    let Some(security) = meta::value_at(spec, &["securityContext"]) else { return Causes::new() };
    let path = path.child("securityContext");
    let mut causes = Causes::new();
    for field in ["fsGroup", "runAsUser", "runAsGroup"] {
        causes.extend(id(meta::int_at(security, &[field]), &path.child(field)));
    }
    for (position, group) in meta::list_at(security, &["supplementalGroups"]).iter().enumerate() {
        causes.extend(id(group.as_i64(), &path.child("supplementalGroups").index(position)));
    }
    let is_set = |field| meta::value_at(spec, &[field]) == Some(&Value::Bool(true));
    if is_set("shareProcessNamespace") && is_set("hostPID") {
        let what = "ShareProcessNamespace and HostPID cannot both be enabled";
        causes.push(invalid(&path.child("shareProcessNamespace"), true, what));
    }
    causes.extend(sysctls(spec, security, &path.child("sysctls")));
    causes.extend(one_of(security, "fsGroupChangePolicy", &["Always", "OnRootMismatch"], &path));
    causes.extend(seccomp(security, &path.child("seccompProfile")));
    causes.extend(apparmor(security, &path.child("appArmorProfile")));
    causes.extend(one_of(security, "supplementalGroupsPolicy", &["Merge", "Strict"], &path));
    causes.extend(one_of(security, "seLinuxChangePolicy", &["MountOption", "Recursive"], &path));
    causes
}

/// `securityContext` of a container.
pub(super) fn container_context(context: &Context<'_>, container: &Value, path: &Path) -> Causes {
    let Some(security) = meta::value_at(container, &["securityContext"]) else { return Causes::new() };
    let mut causes = Causes::new();
    if !context.policy.allow_privileged && meta::value_at(security, &["privileged"]) == Some(&Value::Bool(true)) {
        causes.push(forbidden(&path.child("privileged"), "disallowed by cluster policy"));
    }
    for field in ["runAsUser", "runAsGroup"] {
        causes.extend(id(meta::int_at(security, &[field]), &path.child(field)));
    }
    causes.extend(one_of(security, "procMount", &["Default", "Unmasked"], path));
    if context.host_users() && meta::str_at(security, &["procMount"]) == "Unmasked" {
        causes.push(invalid(&path.child("procMount"), "Unmasked", "`hostUsers` must be false to use `Unmasked`"));
    }
    causes.extend(seccomp(security, &path.child("seccompProfile")));
    causes.extend(escalation(security, path));
    causes.extend(apparmor(security, &path.child("appArmorProfile")));
    causes
}

fn id(id: Option<i64>, path: &Path) -> Causes {
    let Some(id) = id else { return Causes::new() };
    names::in_range(id, 0, ID_MAX).iter().map(|problem| invalid(path, id, problem)).collect()
}

/// Whoever is already root cannot be kept from becoming it.
fn escalation(security: &Value, path: &Path) -> Causes {
    let mut causes = Causes::new();
    if meta::value_at(security, &["allowPrivilegeEscalation"]) != Some(&Value::Bool(false)) {
        return causes;
    }
    if meta::value_at(security, &["privileged"]) == Some(&Value::Bool(true)) {
        let what = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
        causes.push(invalid_shown(path, &show_context(security), what));
    }
    if meta::list_at(security, &["capabilities", "add"]).iter().any(|capability| capability == "CAP_SYS_ADMIN") {
        let what = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
        causes.push(invalid_shown(path, &show_context(security), what));
    }
    causes
}

/// A security context as Kubernetes' own types are printed: all fields, by their Go names, in Go's order.
fn show_context(security: &Value) -> String {
    const FIELDS: [(&str, &str); 12] = [
        ("Capabilities", "capabilities"),
        ("Privileged", "privileged"),
        ("SELinuxOptions", "seLinuxOptions"),
        ("WindowsOptions", "windowsOptions"),
        ("RunAsUser", "runAsUser"),
        ("RunAsGroup", "runAsGroup"),
        ("RunAsNonRoot", "runAsNonRoot"),
        ("ReadOnlyRootFilesystem", "readOnlyRootFilesystem"),
        ("AllowPrivilegeEscalation", "allowPrivilegeEscalation"),
        ("ProcMount", "procMount"),
        ("SeccompProfile", "seccompProfile"),
        ("AppArmorProfile", "appArmorProfile"),
    ];
    let fields =
        FIELDS.map(|(shown, field)| format!("\"{shown}\":{}", show(security.get(field).unwrap_or(&Value::Null))));
    format!("{{{}}}", fields.join(","))
}

fn sysctls(spec: &Value, security: &Value, path: &Path) -> Causes {
    let mut causes = Causes::new();
    let mut seen = BTreeSet::new();
    let is_set = |field| meta::value_at(spec, &[field]) == Some(&Value::Bool(true));
    for (position, sysctl) in meta::list_at(security, &["sysctls"]).iter().enumerate() {
        let path = path.index(position).child("name");
        let name = meta::str_at(sysctl, &["name"]);
        if name.is_empty() {
            causes.push(required(&path, ""));
        } else if !is_sysctl(name) {
            let segment = "[a-z0-9]([-_a-z0-9]*[a-z0-9])?";
            let regex = format!("^({segment}[\\./])*{segment}$");
            let what = format!("must have at most {SYSCTL_MAX} characters and match regex {regex}");
            causes.push(invalid(&path, name, &what));
        } else if !seen.insert(name) {
            causes.push(duplicate(&path, name));
        }
        let dotted = name.replace('/', ".");
        if is_set("hostNetwork") && dotted.starts_with("net.") {
            causes.push(invalid(&path, name, "may not be specified when 'hostNetwork' is true"));
        }
        let ipc = ["kernel.sem", "kernel.shm", "kernel.msg", "fs.mqueue."];
        if is_set("hostIPC") && ipc.iter().any(|prefix| dotted.starts_with(prefix)) {
            causes.push(invalid(&path, name, "may not be specified when 'hostIPC' is true"));
        }
    }
    causes
}

fn is_sysctl(name: &str) -> bool {
    let is_end = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_segment = |segment: &str| {
        let inner = segment.chars().all(|c| is_end(c) || c == '-' || c == '_');
        inner && segment.starts_with(is_end) && segment.ends_with(is_end)
    };
    name.len() <= SYSCTL_MAX && name.split(['.', '/']).all(is_segment)
}

fn seccomp(security: &Value, path: &Path) -> Causes {
    let Some(profile) = meta::value_at(security, &["seccompProfile"]) else { return Causes::new() };
    let mut causes = Causes::new();
    let kind = meta::str_at(profile, &["type"]);
    let kinds = ["Localhost", "RuntimeDefault", "Unconfined"];
    match kind {
        "" => causes.push(required(&path.child("type"), "type is required when seccompProfile is set")),
        kind if !kinds.contains(&kind) => causes.push(not_supported(&path.child("type"), kind, &kinds)),
        _ => {}
    }
    let path = path.child("localhostProfile");
    match (kind, meta::value_at(profile, &["localhostProfile"])) {
        ("Localhost", None) => causes.push(required(&path, "must be set when seccomp type is Localhost")),
        ("Localhost", Some(file)) => causes.extend(descending_path(file.as_str().unwrap_or(""), &path)),
        (_, Some(file)) => {
            let shown = format!("{{\"Type\":{},\"LocalhostProfile\":{}}}", show(&kind.into()), show(file));
            causes.push(invalid_shown(&path, &shown, "can only be set when seccomp type is Localhost"));
        }
        (_, None) => {}
    }
    causes
}

fn apparmor(security: &Value, path: &Path) -> Causes {
    let Some(profile) = meta::value_at(security, &["appArmorProfile"]) else { return Causes::new() };
    let local = meta::value_at(profile, &["localhostProfile"]).and_then(Value::as_str);
    let at_local = path.child("localhostProfile");
    let mut causes = Causes::new();
    match (meta::str_at(profile, &["type"]), local) {
        ("Localhost", None | Some("")) => {
            causes.push(required(&at_local, "must be set when AppArmor type is Localhost"));
        }
        ("Localhost", Some(name)) => {
            if name.trim() != name {
                causes.push(invalid(&at_local, name, "must not be padded with whitespace"));
            }
            if name.len() > APPARMOR_MAX {
                causes.push(crate::validation::field::too_long(&at_local, APPARMOR_MAX));
            }
        }
        ("RuntimeDefault" | "Unconfined", Some(name)) => {
            causes.push(invalid(&at_local, name, "can only be set when AppArmor type is Localhost"));
        }
        ("RuntimeDefault" | "Unconfined", None) => {}
        ("", _) => causes.push(required(&path.child("type"), "type is required when appArmorProfile is set")),
        (kind, _) => {
            let kinds = ["Localhost", "RuntimeDefault", "Unconfined"];
            causes.push(not_supported(&path.child("type"), kind, &kinds));
        }
    }
    causes
}

/// `os.name`, and the settings that this system does not know.
pub(super) fn operating_system(spec: &Value, path: &Path) -> Causes {
    let Some(os) = meta::value_at(spec, &["os"]) else { return Causes::new() };
    let problem: Option<Cause> = required_one_of(os, "name", &["linux", "windows"], &path.child("os"));
    if let Some(problem) = problem {
        return vec![problem];
    }
    if meta::str_at(os, &["name"]) == "linux" {
        return without_windows_options(spec, path);
    }
    const WHAT: &str = "cannot be set for a windows pod";
    let mut causes = Causes::new();
    let security = path.child("securityContext");
    // In Kubernetes' order. The first name is where the setting is, the second whether it belongs to the context.
    let settings = [
        ("appArmorProfile", true),
        ("seLinuxOptions", true),
        ("hostUsers", false),
        ("hostPID", false),
        ("hostIPC", false),
        ("seccompProfile", true),
        ("fsGroup", true),
        ("fsGroupChangePolicy", true),
        ("sysctls", true),
        ("shareProcessNamespace", false),
        ("runAsUser", true),
        ("runAsGroup", true),
        ("supplementalGroups", true),
        ("supplementalGroupsPolicy", true),
        ("seLinuxChangePolicy", true),
    ];
    for (field, in_context) in settings {
        let at: &[&str] = if in_context { &["securityContext", field] } else { &[field] };
        let plain_flag = matches!(field, "hostPID" | "hostIPC");
        let value = meta::value_at(spec, at).filter(|value| !plain_flag || **value == Value::Bool(true));
        if value.is_some() {
            let path = if in_context { security.child(field) } else { path.child(field) };
            causes.push(forbidden(&path, WHAT));
        }
    }
    for (context, path) in container_contexts(spec, path) {
        let settings = [
            "appArmorProfile",
            "seLinuxOptions",
            "seccompProfile",
            "capabilities",
            "readOnlyRootFilesystem",
            "privileged",
            "allowPrivilegeEscalation",
            "procMount",
            "runAsUser",
            "runAsGroup",
        ];
        let given = settings.into_iter().filter(|field| meta::value_at(context, &[field]).is_some());
        causes.extend(given.map(|field| forbidden(&path.child(field), WHAT)));
    }
    causes
}

fn without_windows_options(spec: &Value, path: &Path) -> Causes {
    let pod = meta::value_at(spec, &["securityContext"]).map(|context| (context, path.child("securityContext")));
    let contexts = pod.into_iter().chain(container_contexts(spec, path));
    let with_options = contexts.filter(|(context, _)| meta::value_at(context, &["windowsOptions"]).is_some());
    let what = "windows options cannot be set for a linux pod";
    with_options.map(|(_, path)| forbidden(&path.child("windowsOptions"), what)).collect()
}

/// The security contexts of all containers, in the order in which Kubernetes visits them.
fn container_contexts<'a>(spec: &'a Value, path: &Path) -> Vec<(&'a Value, Path)> {
    let mut contexts = Vec::new();
    for list in CONTAINERS {
        for (position, container) in meta::list_at(spec, &[list]).iter().enumerate() {
            if let Some(context) = meta::value_at(container, &["securityContext"]) {
                contexts.push((context, path.child(list).index(position).child("securityContext")));
            }
        }
    }
    contexts
}
