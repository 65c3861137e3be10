//! Which definitions are legal, in Kubernetes' words. Their `metadata` obeys the rules of all kinds beside these.
//! Source: `apiextensions-apiserver` `ValidateCustomResourceDefinition`.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{names, structural};
use crate::meta::{self, list_at, str_at, value_at};
use crate::validation::field::{Causes, IMMUTABLE, Path, duplicate, forbidden, invalid, not_supported, required};
use crate::validation::names::{dns_1035_label, dns_subdomain};

const APPROVAL: &str = "api-approved.kubernetes.io";
const APPROVAL_LINK: &str = "https://github.com/kubernetes/enhancements/pull/1111";
const COLUMN_TYPES: &[&str] = &["boolean", "date", "integer", "number", "string"];
const COLUMN_FORMATS: &[&str] = &["byte", "date", "date-time", "double", "float", "int32", "int64", "password"];

/// Everything wrong with a new definition, which is defaulted already.
pub fn validate_create(definition: &Value) -> Causes {
    let mut causes = name(definition);
    causes.extend(spec(definition));
    causes.extend(stored_versions(definition));
    causes.extend(approval(definition));
    let preserve = Path::new("spec").child("preserveUnknownFields");
    if meta::value_at(definition, &["spec", "preserveUnknownFields"]) == Some(&Value::Bool(true)) {
        let why = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema \
                   instead";
        causes.push(invalid(&preserve, true, why));
    }
    causes
}

/// Everything wrong with an update of a definition.
pub fn validate_update(definition: &Value, old: &Value) -> Causes {
    let mut causes = spec(definition);
    let mut immutable = vec![["group"].as_slice(), &["names", "plural"]];
    if names::is_established(old) {
        immutable.extend([["scope"].as_slice(), &["names", "kind"]]);
    }
    for field in immutable {
        let path: Vec<&str> = std::iter::once("spec").chain(field.iter().copied()).collect();
        let (new, old) = (str_at(definition, &path), str_at(old, &path));
        if new != old {
            causes.push(invalid(&Path::new(&path.join(".")), new, IMMUTABLE));
        }
    }
    causes.extend(stored_versions(definition));
    causes
}

fn name(definition: &Value) -> Causes {
    let (plural, group) = (str_at(definition, &["spec", "names", "plural"]), str_at(definition, &["spec", "group"]));
    let name = meta::name(definition);
    if name.is_empty() || name == format!("{plural}.{group}") {
        return Vec::new();
    }
    vec![invalid(&Path::new("metadata").child("name"), name, "must be spec.names.plural+\".\"+spec.group")]
}

fn spec(definition: &Value) -> Causes {
    let path = Path::new("spec");
    let mut causes = group(str_at(definition, &["spec", "group"]), &path.child("group"));
    match str_at(definition, &["spec", "scope"]) {
        "" => causes.push(required(&path.child("scope"), "")),
        "Cluster" | "Namespaced" => {}
        other => causes.push(not_supported(&path.child("scope"), other, &["Cluster", "Namespaced"])),
    }
    causes.extend(versions(definition, &path.child("versions")));
    causes.extend(all_names(definition, &path.child("names")));
    causes.extend(conversion(definition, &path.child("conversion")));
    causes
}

fn group(group: &str, path: &Path) -> Causes {
    let complaints = dns_subdomain(group);
    if group.is_empty() {
        vec![required(path, "")]
    } else if !complaints.is_empty() {
        vec![invalid(path, group, &complaints.join(","))]
    } else if !group.contains('.') {
        vec![invalid(path, group, "should be a domain with at least one dot")]
    } else {
        Vec::new()
    }
}

fn versions(definition: &Value, path: &Path) -> Causes {
    let versions = list_at(definition, &["spec", "versions"]);
    let mut causes: Causes =
        versions.iter().enumerate().flat_map(|(index, each)| version(each, &path.index(index))).collect();
    let all = || Value::from(versions.to_vec());
    let names: BTreeSet<&str> = versions.iter().map(|version| str_at(version, &["name"])).collect();
    if names.len() < versions.len() {
        causes.push(invalid(path, all(), "must contain unique version names"));
    }
    let storage = versions.iter().filter(|version| version.get("storage") == Some(&Value::Bool(true)));
    if storage.count() != 1 {
        causes.push(invalid(path, all(), "must have exactly one version marked as storage version"));
    }
    causes
}

fn version(version: &Value, path: &Path) -> Causes {
    let mut causes = label(str_at(version, &["name"]), &path.child("name"));
    let schema = path.child("schema").child("openAPIV3Schema");
    match value_at(version, &["schema", "openAPIV3Schema"]) {
        None => causes.push(required(&schema, "schemas are required")),
        Some(found) => causes.extend(structural::validate(found, &schema)),
    }
    let warning = version.get("deprecationWarning").filter(|warning| !warning.is_null());
    if warning.is_some() && version.get("deprecated") != Some(&Value::Bool(true)) {
        let why = "can only be set for deprecated versions";
        causes.push(invalid(&path.child("deprecationWarning"), warning.cloned().unwrap_or_default(), why));
    }
    if let Some(scale) = value_at(version, &["subresources", "scale"]) {
        causes.extend(scale_paths(scale, &path.child("subresources")));
    }
    for (index, column) in list_at(version, &["additionalPrinterColumns"]).iter().enumerate() {
        causes.extend(printer_column(column, &path.child("additionalPrinterColumns").index(index)));
    }
    causes
}

fn scale_paths(scale: &Value, path: &Path) -> Causes {
    let fields = [
        ("specReplicasPath", ".spec.", "should be a json path under .spec"),
        ("statusReplicasPath", ".status.", "should be a json path under .status"),
        ("labelSelectorPath", "", "should be a json path under either .spec or .status"),
    ];
    let mut causes = Vec::new();
    for (field, prefix, why) in fields {
        let (value, here) = (str_at(scale, &[field]), path.child(&format!("scale.{field}")));
        let under = |prefix: &str| value.starts_with(prefix) && value.len() > prefix.len();
        let fits = if prefix.is_empty() { under(".spec.") || under(".status.") } else { under(prefix) };
        if value.is_empty() && !prefix.is_empty() {
            causes.push(required(&here, ""));
        } else if !value.is_empty() && !value.starts_with('.') {
            causes.push(invalid(&here, value, "must be a simple json path starting with ."));
        } else if !value.is_empty() && !fits {
            causes.push(invalid(&here, value, why));
        }
    }
    causes
}

fn printer_column(column: &Value, path: &Path) -> Causes {
    let mut causes = Vec::new();
    if str_at(column, &["name"]).is_empty() {
        causes.push(required(&path.child("name"), ""));
    }
    let one_of = |values: &[&str]| format!("must be one of {}", values.join(","));
    match str_at(column, &["type"]) {
        "" => causes.push(required(&path.child("type"), &one_of(COLUMN_TYPES))),
        kind if !COLUMN_TYPES.contains(&kind) => {
            causes.push(invalid(&path.child("type"), kind, &one_of(COLUMN_TYPES)));
        }
        _ => {}
    }
    let format = str_at(column, &["format"]);
    if !format.is_empty() && !COLUMN_FORMATS.contains(&format) {
        causes.push(invalid(&path.child("format"), format, &one_of(COLUMN_FORMATS)));
    }
    let json_path = str_at(column, &["jsonPath"]);
    if json_path.is_empty() {
        causes.push(required(&path.child("jsonPath"), ""));
    } else if !json_path.starts_with(['.', '[', '{']) {
        let why = format!("must be a simple json path starting with ., not {json_path}");
        causes.push(invalid(&path.child("jsonPath"), json_path, &why));
    }
    causes
}

fn all_names(definition: &Value, path: &Path) -> Causes {
    let empty = Value::Null;
    let names = value_at(definition, &["spec", "names"]).unwrap_or(&empty);
    let text = |field: &str| str_at(names, &[field]);
    let fields = ["plural", "singular", "kind", "listKind"];
    let mut causes: Causes =
        fields.iter().filter(|field| text(field).is_empty()).map(|field| required(&path.child(field), "")).collect();
    for field in ["plural", "singular"] {
        causes.extend(label(text(field), &path.child(field)));
    }
    for field in ["kind", "listKind"] {
        let complaints = dns_1035_label(&text(field).to_lowercase());
        if !text(field).is_empty() && !complaints.is_empty() {
            let why = format!("may have mixed case, but should otherwise match: {}", complaints.join(","));
            causes.push(invalid(&path.child(field), text(field), &why));
        }
    }
    causes.extend(labels(names, "shortNames", path));
    if !text("kind").is_empty() && text("kind") == text("listKind") {
        causes.push(invalid(&path.child("listKind"), text("listKind"), "kind and listKind may not be the same"));
    }
    causes.extend(labels(names, "categories", path));
    causes
}

fn labels(names: &Value, field: &str, path: &Path) -> Causes {
    let list = list_at(names, &[field]).iter().enumerate();
    let complaints = list.flat_map(|(index, name)| label(name.as_str().unwrap_or(""), &path.child(field).index(index)));
    complaints.collect()
}

/// A DNS-1035 label; empty ones are somebody else's complaint.
fn label(text: &str, path: &Path) -> Causes {
    let complaints = dns_1035_label(text);
    if text.is_empty() || complaints.is_empty() {
        return Vec::new();
    }
    vec![invalid(path, text, &complaints.join(","))]
}

fn conversion(definition: &Value, path: &Path) -> Causes {
    let empty = Value::Null;
    let conversion = value_at(definition, &["spec", "conversion"]).unwrap_or(&empty);
    let client = value_at(conversion, &["webhook", "clientConfig"]);
    let versions = list_at(conversion, &["webhook", "conversionReviewVersions"]);
    let mut causes = Vec::new();
    match str_at(conversion, &["strategy"]) {
        "" => causes.push(required(&path.child("strategy"), "")),
        "None" => {
            let why = "should not be set when strategy is not set to Webhook";
            if client.is_some() {
                causes.push(forbidden(&path.child("webhookClientConfig"), why));
            }
            if !versions.is_empty() {
                causes.push(forbidden(&path.child("conversionReviewVersions"), why));
            }
        }
        "Webhook" => {
            if client.is_none() {
                let why = "required when strategy is set to Webhook";
                causes.push(required(&path.child("webhookClientConfig"), why));
            }
            causes.extend(review_versions(versions, &path.child("conversionReviewVersions")));
        }
        other => causes.push(not_supported(&path.child("strategy"), other, &["None", "Webhook"])),
    }
    causes
}

fn review_versions(versions: &[Value], path: &Path) -> Causes {
    if versions.is_empty() {
        return vec![required(path, "")];
    }
    let mut seen = BTreeSet::new();
    let mut causes = Vec::new();
    for (index, version) in versions.iter().filter_map(Value::as_str).enumerate() {
        if seen.insert(version) {
            causes.extend(label(version, &path.index(index)));
        } else {
            causes.push(duplicate(&path.index(index), version));
        }
    }
    if !seen.contains("v1") && !seen.contains("v1beta1") {
        let why = "must include at least one of v1, v1beta1";
        causes.push(invalid(path, Value::from(versions.to_vec()), why));
    }
    causes
}

fn stored_versions(definition: &Value) -> Causes {
    let path = Path::new("status").child("storedVersions");
    let stored = list_at(definition, &["status", "storedVersions"]);
    let versions = list_at(definition, &["spec", "versions"]);
    let name = |version: &Value| str_at(version, &["name"]).to_string();
    let unknown = stored
        .iter()
        .filter_map(Value::as_str)
        .enumerate()
        .filter(|(_, stored)| !versions.iter().any(|version| name(version) == *stored));
    unknown.map(|(index, stored)| invalid(&path.index(index), stored, "must appear in spec.versions")).collect()
}

/// Groups of Kubernetes itself need the approval of its API reviewers.
fn approval(definition: &Value) -> Causes {
    let group = str_at(definition, &["spec", "group"]);
    let protected = |domain: &str| group == domain || group.ends_with(&format!(".{domain}"));
    if !protected("k8s.io") && !protected("kubernetes.io") {
        return Vec::new();
    }
    let path = Path::new("metadata").child("annotations").key(APPROVAL);
    let must = format!("protected groups must have approval annotation \"{APPROVAL}\"");
    match meta::annotation(definition, APPROVAL).unwrap_or("") {
        "" => vec![required(&path, &format!("{must}, see {APPROVAL_LINK}"))],
        text if text.starts_with("unapproved") || text.contains("://") => Vec::new(),
        text => {
            let why = format!("{must} with either a URL or a reason starting with \"unapproved\", see {APPROVAL_LINK}");
            vec![invalid(&path, text, &why)]
        }
    }
}
