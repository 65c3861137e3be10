//! The environment of a container.

use backstay_api::meta;
use serde_json::Value;

use super::{Writer, field_value};

/// `Environment Variables from:`, if there is anything.
pub(super) fn sources(out: &mut Writer, container: &Value) {
    let sources = meta::list_at(container, &["envFrom"]);
    if sources.is_empty() {
        return;
    }
    out.write(2, "Environment Variables from:\n");
    for source in sources {
        let (kind, reference) = match (source.get("configMapRef"), source.get("secretRef")) {
            (Some(reference), _) => ("ConfigMap", reference),
            (None, Some(reference)) => ("Secret", reference),
            (None, None) => ("", &Value::Null),
        };
        let prefix = match meta::str_at(source, &["prefix"]) {
            "" => String::new(),
            prefix => format!(" with prefix '{prefix}'"),
        };
        let name = meta::str_at(reference, &["name"]);
        out.write(3, &format!("{name}\t{kind}{prefix}\tOptional: {}\n", is_optional(reference)));
    }
}

/// `Environment:`. `resolve` gives the value of a pod's field, where there is a pod.
pub(super) fn variables(out: &mut Writer, container: &Value, resolve: Option<&dyn Fn(&str) -> String>) {
    let variables = meta::list_at(container, &["env"]);
    out.write(2, if variables.is_empty() { "Environment:\t<none>\n" } else { "Environment:\n" });
    for variable in variables {
        match variable.get("valueFrom") {
            None => literal(out, variable),
            Some(from) => {
                if let Some(value) = reference(container, from, resolve) {
                    out.write(3, &format!("{}:\t{value}\n", meta::str_at(variable, &["name"])));
                }
            }
        }
    }
}

fn literal(out: &mut Writer, variable: &Value) {
    let mut lines = meta::str_at(variable, &["value"]).split('\n');
    let first = lines.next().unwrap_or("");
    out.write(3, &format!("{}:\t{first}\n", meta::str_at(variable, &["name"])));
    for line in lines {
        out.write(3, &format!("\t{line}\n"));
    }
}

fn reference(container: &Value, from: &Value, resolve: Option<&dyn Fn(&str) -> String>) -> Option<String> {
    if let Some(field) = from.get("fieldRef") {
        let path = meta::str_at(field, &["fieldPath"]);
        let value = resolve.map(|resolve| resolve(path)).unwrap_or_default();
        return Some(format!("{value} ({}:{path})", meta::str_at(field, &["apiVersion"])));
    }
    if let Some(field) = from.get("resourceFieldRef") {
        let resource = meta::str_at(field, &["resource"]);
        let value = field_value::of_resource(container, field).unwrap_or_default();
        let whole_node = value == "0" && ["limits.cpu", "limits.memory"].contains(&resource);
        let value = if whole_node { "node allocatable" } else { &value };
        return Some(format!("{value} ({resource})"));
    }
    let (reference, words) = match (from.get("secretKeyRef"), from.get("configMapKeyRef")) {
        (Some(reference), _) => (reference, "in secret"),
        (None, Some(reference)) => (reference, "of config map"),
        (None, None) => return None,
    };
    let key = meta::str_at(reference, &["key"]);
    let name = meta::str_at(reference, &["name"]);
    Some(format!("<set to the key '{key}' {words} '{name}'>\tOptional: {}", is_optional(reference)))
}

fn is_optional(reference: &Value) -> bool {
    reference.get("optional") == Some(&Value::Bool(true))
}
