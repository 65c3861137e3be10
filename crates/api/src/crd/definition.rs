//! Which definitions are legal, in Kubernetes' words. Their `metadata` obeys the rules of all kinds beside these.
//! Source: `apiextensions-apiserver` `ValidateCustomResourceDefinition`.

use std::collections::BTreeSet;

use serde_json::Value;

use super::approval::{self, Approval};
use super::{names, structural};
use crate::meta::{self, list_at, str_at, value_at};
use crate::validation::field::{
    Causes, IMMUTABLE, Path, duplicate, forbidden, invalid, not_supported, required, too_many,
};
use crate::validation::names::{dns_1035_label, dns_subdomain};

/// Source: `validateDeprecationWarning`.
const WARNING_BYTES_MAX: usize = 256;
/// Source: `MaxSelectableFields`.
const SELECTABLE_FIELDS_MAX: usize = 8;
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
    causes.extend(deprecation_warning(version, &path.child("deprecationWarning")));
    if let Some(scale) = value_at(version, &["subresources", "scale"]) {
        causes.extend(scale_paths(scale, &path.child("subresources")));
    }
    for (index, column) in list_at(version, &["additionalPrinterColumns"]).iter().enumerate() {
        causes.extend(printer_column(column, &path.child("additionalPrinterColumns").index(index)));
    }
    causes.extend(selectable_fields(version, &path.child("selectableFields")));
    causes
}

fn deprecation_warning(version: &Value, path: &Path) -> Causes {
    let Some(warning) = version.get("deprecationWarning").filter(|warning| !warning.is_null()) else {
        return Vec::new();
    };
    let text = warning.as_str().unwrap_or_default();
    let complaint = if version.get("deprecated") != Some(&Value::Bool(true)) {
        "can only be set for deprecated versions"
    } else if text.len() > WARNING_BYTES_MAX {
        "must be <= 256 characters long"
    } else if text.is_empty() {
        "must not be an empty string"
    } else {
        return Vec::new();
    };
    vec![invalid(path, warning.clone(), complaint)]
}

/// Fields that field selectors may name: simple ones, and not those that all objects have.
fn selectable_fields(version: &Value, path: &Path) -> Causes {
    let schema = value_at(version, &["schema", "openAPIV3Schema"]).unwrap_or(&Value::Null);
    let mut causes = Vec::new();
    let mut seen = BTreeSet::new();
    for (index, field) in list_at(version, &["selectableFields"]).iter().enumerate() {
        let (here, json_path) = (path.index(index).child("jsonPath"), str_at(field, &["jsonPath"]));
        let mut wrong = |why: &str| causes.push(invalid(&here, json_path, why));
        match selected(schema, json_path) {
            _ if json_path.is_empty() => causes.push(required(&here, "")),
            Err(why) => wrong(&format!("is an invalid path: {why}")),
            Ok(_) if json_path == ".metadata" || json_path.starts_with(".metadata.") => {
                wrong("must not point to fields in metadata");
            }
            Ok(found) if !["string", "boolean", "integer"].contains(&str_at(found, &["type"])) => wrong(
                "must point to a field of type string, boolean or integer. Enum string fields and strings with \
                 formats are allowed.",
            ),
            Ok(_) if !seen.insert(json_path) => causes.push(duplicate(&here, json_path)),
            Ok(_) => {}
        }
    }
    if seen.len() > SELECTABLE_FIELDS_MAX {
        causes.push(too_many(path, seen.len(), SELECTABLE_FIELDS_MAX));
    }
    causes
}

/// The schema of a field.
fn selected<'a>(schema: &'a Value, json_path: &str) -> Result<&'a Value, String> {
    if json_path.contains('[') {
        return Err("array notation is not allowed".into());
    }
    let Some(path) = json_path.strip_prefix('.') else {
        let first = json_path.split('.').next().unwrap_or_default();
        return Err(format!("expected [ or . but got: {first}"));
    };
    let step = |schema: &'a Value, name: &str| schema.get("properties").and_then(|fields| fields.get(name));
    let found = path.split('.').try_fold(schema, step);
    found.ok_or_else(|| "does not refer to a valid field".to_string())
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
    let (here, json_path) = (path.child("JSONPath"), str_at(column, &["jsonPath"]));
    if json_path.is_empty() {
        causes.push(required(&here, ""));
    } else if !json_path.starts_with('.') {
        causes.push(invalid(&here, json_path, "must be a simple json path starting with ."));
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
    let path = Path::new("metadata").child("annotations").key(approval::ANNOTATION);
    match approval::of(definition) {
        Some(Approval::Missing) => vec![required(&path, &Approval::Missing.message())],
        Some(invalid_one @ Approval::Invalid(text)) => vec![invalid(&path, text, &invalid_one.message())],
        Some(Approval::Given(_) | Approval::Refused(_)) | None => Vec::new(),
    }
}
