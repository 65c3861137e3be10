//! `metadata`: what every object must keep to.
//!
//! Kubernetes checks it up to three times, by the rules of the kind and by general ones, and lists every finding as
//! often; the same happens here so that causes agree.

use std::collections::BTreeSet;

use serde_json::Value;

use super::field::{
    self, Causes, Path, forbidden, invalid, invalid_shown, invalids, not_supported, required, too_long,
};
use super::names;
use crate::meta::{self, FOREGROUND, ORPHAN};

const ANNOTATIONS_MAX: usize = 256 * 1024;
const MANAGER_MAX: usize = 128;
/// Each complaint about a second controller shows all owners: a body full of controllers must not be shown squared.
const CONTROLLERS_SHOWN_MAX: usize = 10;
const SUBRESOURCE_MAX: usize = 256;

/// A rule for names, such as [`names::dns_subdomain`].
pub type NameRule = fn(&str) -> Vec<String>;

/// The metadata of an object by the rules of its kind: its names, and finalizers as core kinds see them.
pub fn object_meta(object: &Value, namespaced: bool, rule: NameRule, path: &Path) -> Causes {
    let mut causes = accessor(object, namespaced, rule, path);
    let finalizers = path.child("finalizers");
    for (position, finalizer) in meta::list_at(object, &["metadata", "finalizers"]).iter().enumerate() {
        let name = finalizer.as_str().unwrap_or("");
        if !name.contains('/') && !matches!(name, "kubernetes" | ORPHAN | FOREGROUND) {
            let what = "name is neither a standard finalizer name nor is it fully qualified";
            causes.push(invalid(&finalizers.index(position), name, what));
        }
    }
    causes
}

/// What holds for all objects, whatever their kind; checked after the rules of the kind.
pub fn accessor(object: &Value, namespaced: bool, rule: NameRule, path: &Path) -> Causes {
    let mut causes = Causes::new();
    let prefix = meta::str_at(object, &["metadata", "generateName"]);
    if !prefix.is_empty() {
        causes.extend(invalids(&path.child("generateName"), prefix, rule(&without_last_dash(prefix))));
    }
    match meta::name(object) {
        "" => causes.push(required(&path.child("name"), "name or generateName is required")),
        name => causes.extend(invalids(&path.child("name"), name, rule(name))),
    }
    match (namespaced, meta::namespace(object)) {
        (true, None) => causes.push(required(&path.child("namespace"), "")),
        (true, Some(name)) => causes.extend(invalids(&path.child("namespace"), name, names::dns_label(name))),
        (false, Some(_)) => causes.push(forbidden(&path.child("namespace"), "not allowed on this type")),
        (false, None) => {}
    }
    causes.extend(field::not_negative(&path.child("generation"), meta::int_at(object, &["metadata", "generation"])));
    causes.extend(labels(object.pointer("/metadata/labels"), &path.child("labels")));
    causes.extend(annotations(object.pointer("/metadata/annotations"), &path.child("annotations")));
    causes.extend(owner_references(object, &path.child("ownerReferences")));
    causes.extend(finalizers(object, &path.child("finalizers")));
    causes.extend(managed_fields(object, &path.child("managedFields")));
    causes
}

/// What an update may not change.
pub fn update(object: &Value, old: &Value) -> Causes {
    let path = Path::new("metadata");
    let mut causes = Causes::new();
    if meta::is_being_deleted(old) {
        causes.extend(no_new_finalizers(object, old, &path.child("finalizers")));
    }
    if meta::generation(object) < meta::generation(old) {
        causes.push(invalid(&path.child("generation"), meta::generation(object), "must not be decremented"));
    }
    let fields = ["name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"];
    for name in fields {
        let (new, before) = (meta::value_at(object, &["metadata", name]), meta::value_at(old, &["metadata", name]));
        if new != before {
            let shown = match name {
                "name" | "namespace" | "uid" => Value::from(new.and_then(Value::as_str).unwrap_or("")),
                _ => new.cloned().unwrap_or_default(),
            };
            causes.push(invalid(&path.child(name), shown, field::IMMUTABLE));
        }
    }
    causes.extend(labels(object.pointer("/metadata/labels"), &path.child("labels")));
    causes.extend(annotations(object.pointer("/metadata/annotations"), &path.child("annotations")));
    causes.extend(owner_references(object, &path.child("ownerReferences")));
    causes.extend(managed_fields(object, &path.child("managedFields")));
    causes
}

pub fn labels(labels: Option<&Value>, path: &Path) -> Causes {
    let mut causes = Causes::new();
    for (key, value) in meta::string_map(labels) {
        causes.extend(invalids(path, &key, names::label_key(&key)));
        causes.extend(invalids(path, &value, names::label_value(&value)));
    }
    causes
}

pub fn annotations(annotations: Option<&Value>, path: &Path) -> Causes {
    let mut causes = Causes::new();
    let annotations = meta::string_map(annotations);
    for key in annotations.keys() {
        causes.extend(invalids(path, key, names::label_key(&key.to_lowercase())));
    }
    if annotations.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>() > ANNOTATIONS_MAX {
        causes.push(too_long(path, ANNOTATIONS_MAX));
    }
    causes
}

/// A label selector. An absent one is legal here.
pub fn label_selector(selector: Option<&Value>, path: &Path) -> Causes {
    let Some(selector) = selector.filter(|selector| !selector.is_null()) else { return Causes::new() };
    let mut causes = labels(selector.get("matchLabels"), &path.child("matchLabels"));
    for (position, expression) in meta::list_at(selector, &["matchExpressions"]).iter().enumerate() {
        let path = path.child("matchExpressions").index(position);
        let values = meta::list_at(expression, &["values"]);
        match meta::str_at(expression, &["operator"]) {
            "In" | "NotIn" if values.is_empty() => {
                let what = "must be specified when `operator` is 'In' or 'NotIn'";
                causes.push(required(&path.child("values"), what));
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let what = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                causes.push(forbidden(&path.child("values"), what));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => causes.push(invalid(&path.child("operator"), other, "not a valid selector operator")),
        }
        let key = meta::str_at(expression, &["key"]);
        causes.extend(invalids(&path.child("key"), key, names::label_key(key)));
        for (position, value) in values.iter().filter_map(Value::as_str).enumerate() {
            causes.extend(invalids(&path.child("values").index(position), value, names::label_value(value)));
        }
    }
    causes
}

/// Both `name-` and `name` stand for names that start like this.
fn without_last_dash(prefix: &str) -> String {
    match prefix.strip_suffix('-') {
        Some(rest) if !rest.is_empty() => {
            format!("{}a", &rest[..rest.len() - rest.chars().last().map_or(0, char::len_utf8)])
        }
        _ => prefix.to_string(),
    }
}

fn owner_references(object: &Value, path: &Path) -> Causes {
    const ORDER: [&str; 6] = ["apiVersion", "kind", "name", "uid", "controller", "blockOwnerDeletion"];
    let owners = meta::owner_references(object);
    let mut causes = Causes::new();
    let mut controller: Option<String> = None;
    let mut controllers = 0;
    for owner in owners {
        let text = |name| meta::str_at(owner, &[name]);
        let version = text("apiVersion").rsplit('/').next().unwrap_or("");
        if version.is_empty() {
            causes.push(invalid(&path.child("apiVersion"), text("apiVersion"), "version must not be empty"));
        }
        for name in ["kind", "name", "uid"] {
            if text(name).is_empty() {
                causes.push(invalid(&path.child(name), "", "must not be empty"));
            }
        }
        if (text("apiVersion"), text("kind")) == ("v1", "Event") {
            let what = "/v1, Kind=Event is disallowed from being an owner";
            causes.push(invalid_shown(path, &field::show_ordered(owner, &ORDER), what));
        }
        if owner.get("controller") == Some(&Value::Bool(true)) && controllers < CONTROLLERS_SHOWN_MAX {
            let this = format!("{}/{}", text("kind"), text("name"));
            match &controller {
                None => controller = Some(this),
                Some(first) => {
                    let all: Vec<_> = owners.iter().map(|owner| field::show_ordered(owner, &ORDER)).collect();
                    let what = format!(
                        "Only one reference can have Controller set to true. \
                         Found \"true\" in references for {first} and {this}"
                    );
                    causes.push(invalid_shown(path, &format!("[{}]", all.join(",")), &what));
                    controllers += 1;
                }
            }
        }
    }
    causes
}

fn finalizers(object: &Value, path: &Path) -> Causes {
    let mut causes = Causes::new();
    for name in meta::finalizers(object) {
        causes.extend(invalids(path, name, names::label_key(name)));
    }
    let has = |wanted: &str| meta::finalizers(object).any(|name| name == wanted);
    if has(ORPHAN) && has(FOREGROUND) {
        let value = object.pointer("/metadata/finalizers").cloned().unwrap_or_default();
        causes.push(invalid(path, value, "finalizer orphan and foregroundDeletion cannot be both set"));
    }
    causes
}

fn no_new_finalizers(object: &Value, old: &Value, path: &Path) -> Causes {
    let before: BTreeSet<&str> = meta::finalizers(old).collect();
    let now: BTreeSet<&str> = meta::finalizers(object).collect();
    let added: Vec<_> = now.difference(&before).map(|name| field::quote(name)).collect();
    if added.is_empty() {
        return Causes::new();
    }
    let what = "no new finalizers can be added if the object is being deleted, found new finalizers";
    vec![forbidden(path, &format!("{what} []string{{{}}}", added.join(", ")))]
}

fn managed_fields(object: &Value, path: &Path) -> Causes {
    let mut causes = Causes::new();
    for (position, entry) in meta::list_at(object, &["metadata", "managedFields"]).iter().enumerate() {
        let path = path.index(position);
        let text = |name| meta::str_at(entry, &[name]);
        if !matches!(text("operation"), "Apply" | "Update") {
            causes.push(invalid(&path.child("operation"), text("operation"), "must be `Apply` or `Update`"));
        }
        if !matches!(text("fieldsType"), "" | "FieldsV1") {
            causes.push(invalid(&path.child("fieldsType"), text("fieldsType"), "must be `FieldsV1`"));
        }
        causes.extend(field_manager(text("manager"), &path.child("manager")));
        if text("subresource").len() > SUBRESOURCE_MAX {
            causes.push(too_long(&path.child("subresource"), SUBRESOURCE_MAX));
        }
    }
    causes
}

/// The name of a field manager, in `managedFields` or as a parameter of a request.
pub fn field_manager(name: &str, path: &Path) -> Causes {
    let mut causes = Causes::new();
    if name.len() > MANAGER_MAX {
        causes.push(too_long(path, MANAGER_MAX));
    }
    for (position, c) in name.char_indices().filter(|(_, c)| c.is_control()) {
        let what = format!("invalid character U+{:04X} (at position {position})", c as u32);
        causes.push(invalid(path, name, &what));
    }
    causes
}

/// The parameter `fieldValidation` of a request.
pub fn field_validation(value: &str) -> Option<crate::status::Cause> {
    const SUPPORTED: [&str; 4] = ["", "Ignore", "Strict", "Warn"];
    (!SUPPORTED.contains(&value)).then(|| not_supported(&Path::new("fieldValidation"), value, &SUPPORTED))
}
