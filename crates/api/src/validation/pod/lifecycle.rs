//! Probes and lifecycle handlers.

use serde_json::Value;

use super::one_of;
use super::spec::Context;
use crate::meta;
use crate::validation::field::{Causes, Path, forbidden, invalid, invalids, not_negative, required};
use crate::validation::names;

pub(super) fn lifecycle(context: &Context<'_>, lifecycle: &Value, path: &Path) -> Causes {
    let mut causes = Causes::new();
    for field in ["postStart", "preStop"] {
        if let Some(found) = meta::value_at(lifecycle, &[field]) {
            causes.extend(handler(context, found, &["exec", "httpGet", "tcpSocket", "sleep"], &path.child(field)));
        }
    }
    causes
}

/// `kind` is the name of the field, such as `livenessProbe`.
pub(super) fn probe(context: &Context<'_>, probe: &Value, kind: &str, path: &Path) -> Causes {
    let number = |field| meta::int_at(probe, &[field]);
    let mut causes = handler(context, probe, &["exec", "httpGet", "tcpSocket", "grpc"], path);
    let counts = ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"];
    causes.extend(counts.into_iter().filter_map(|field| not_negative(&path.child(field), number(field))));
    let grace = number("terminationGracePeriodSeconds");
    let grace_path = path.child("terminationGracePeriodSeconds");
    if let Some(grace) = grace.filter(|grace| *grace <= 0) {
        causes.push(invalid(&grace_path, grace, "must be greater than 0"));
    }
    if kind == "readinessProbe" {
        causes.extend(grace.map(|grace| invalid(&grace_path, grace, "must not be set for readinessProbes")));
    } else if number("successThreshold") != Some(1) {
        let given = number("successThreshold").unwrap_or(0);
        causes.push(invalid(&path.child("successThreshold"), given, "must be 1"));
    }
    causes
}

/// Exactly one way to act or ask.
fn handler(context: &Context<'_>, handler: &Value, kinds: &[&str], path: &Path) -> Causes {
    let given = kinds.iter().filter_map(|kind| Some((*kind, meta::value_at(handler, &[kind])?)));
    let mut causes = Causes::new();
    let mut handlers = 0;
    for (kind, action) in given {
        let path = path.child(kind);
        handlers += 1;
        if handlers > 1 {
            causes.push(forbidden(&path, "may not specify more than 1 handler type"));
            continue;
        }
        match kind {
            "exec" if meta::list_at(action, &["command"]).is_empty() => {
                causes.push(required(&path.child("command"), ""));
            }
            "httpGet" => causes.extend(http_get(action, &path)),
            "tcpSocket" | "grpc" => causes.extend(port(action, &path)),
            "sleep" => causes.extend(sleep(context, action, &path)),
            _ => {}
        }
    }
    if handlers == 0 {
        causes.push(required(path, "must specify a handler type"));
    }
    causes
}

fn http_get(action: &Value, path: &Path) -> Causes {
    let mut causes = Causes::new();
    causes.extend(super::required_text(action, "path", path));
    causes.extend(port(action, path));
    causes.extend(one_of(action, "scheme", &["HTTP", "HTTPS"], path));
    for header in meta::list_at(action, &["httpHeaders"]) {
        let name = meta::str_at(header, &["name"]);
        causes.extend(invalids(&path.child("httpHeaders"), name, names::http_header(name)));
    }
    causes
}

/// The port of an action, by number or by name.
fn port(action: &Value, path: &Path) -> Causes {
    port_number_or_name(action.get("port").unwrap_or(&Value::Null), &path.child("port"))
}

pub(in crate::validation) fn port_number_or_name(port: &Value, path: &Path) -> Causes {
    match port {
        Value::String(name) => invalids(path, name, names::port_name(name)).collect(),
        port => {
            let number = port.as_i64().unwrap_or(0);
            names::port_number(number).iter().map(|problem| invalid(path, number, problem)).collect()
        }
    }
}

fn sleep(context: &Context<'_>, action: &Value, path: &Path) -> Option<crate::status::Cause> {
    let seconds = meta::int_at(action, &["seconds"]).unwrap_or(0);
    let grace = context.grace_seconds()?;
    let what = format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
    (!(0..=grace).contains(&seconds)).then(|| invalid(path, seconds, &what))
}
