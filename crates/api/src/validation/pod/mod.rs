//! Pods, pod templates and everything in their specs. Source: `pkg/apis/core/validation`.

mod container;
mod environment;
mod lifecycle;
mod mounts;
mod resources;
mod scheduling;
mod security;
mod spec;
mod update;
mod volume;

use serde_json::Value;

pub(super) use lifecycle::port_number_or_name;
pub(super) use resources::{resource_amount, resource_list};
pub(super) use scheduling::taint_effect;
pub(super) use spec::pod_spec;
pub(super) use update::{ephemeral_containers_update, pod_update, status_update};

use super::field::{Causes, Path, forbidden, invalid, required};
use super::{Policy, meta as metadata, names};
use crate::meta;

/// Whose spec it is: pods must say more than templates, which are completed when a pod is made from them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner<'a> {
    /// The name of the pod.
    Pod(&'a str),
    Template,
}

/// A new pod.
pub(super) fn pod_create(pod: &Value, policy: Policy) -> Causes {
    let mut causes = pod_metadata_and_spec(pod, policy);
    let spec = Path::new("spec");
    if !meta::list_at(pod, &["spec", "ephemeralContainers"]).is_empty() {
        causes.push(forbidden(&spec.child("ephemeralContainers"), "cannot be set on create"));
    }
    let bound = !meta::str_at(pod, &["spec", "nodeName"]).is_empty();
    if bound && !meta::list_at(pod, &["spec", "schedulingGates"]).is_empty() {
        let what = "cannot be set until all schedulingGates have been cleared";
        causes.push(forbidden(&spec.child("nodeName"), what));
    }
    causes
}

/// What new and changed pods keep to.
fn pod_metadata_and_spec(pod: &Value, policy: Policy) -> Causes {
    let path = Path::new("spec");
    let mut causes = metadata::object_meta(pod, true, names::dns_subdomain, &Path::new("metadata"));
    let spec = pod.get("spec").unwrap_or(&Value::Null);
    causes.extend(pod_spec(spec, Owner::Pod(meta::name(pod)), policy, &path));
    if meta::str_at(spec, &["serviceAccountName"]).is_empty() {
        causes.extend(tokens_without_account(spec, &path));
    }
    for list in ["containers", "initContainers"] {
        for (position, container) in meta::list_at(spec, &[list]).iter().enumerate() {
            let image = meta::str_at(container, &["image"]);
            if image.trim() != image {
                let path = path.child(list).index(position).child("image");
                causes.push(invalid(&path, image, "must not have leading or trailing whitespace"));
            }
        }
    }
    causes
}

fn tokens_without_account(spec: &Value, path: &Path) -> Causes {
    let mut causes = Causes::new();
    for (volume_position, volume) in meta::list_at(spec, &["volumes"]).iter().enumerate() {
        for (position, source) in meta::list_at(volume, &["projected", "sources"]).iter().enumerate() {
            if meta::value_at(source, &["serviceAccountToken"]).is_some() {
                let volume = path.child("volumes").index(volume_position).child("projected");
                let token = volume.child("sources").index(position).child("serviceAccountToken");
                causes.push(forbidden(&token, "must not be specified when serviceAccountName is not set"));
            }
        }
    }
    causes
}

/// The pod template of a workload.
pub(super) fn pod_template(template: &Value, policy: Policy, path: &Path) -> Causes {
    let mut causes = metadata::labels(template.pointer("/metadata/labels"), &path.child("labels"));
    causes.extend(metadata::annotations(template.pointer("/metadata/annotations"), &path.child("annotations")));
    let spec = template.get("spec").unwrap_or(&Value::Null);
    causes.extend(pod_spec(spec, Owner::Template, policy, &path.child("spec")));
    if !meta::list_at(spec, &["ephemeralContainers"]).is_empty() {
        let path = path.child("spec").child("ephemeralContainers");
        causes.push(forbidden(&path, "ephemeral containers not allowed in pod template"));
    }
    causes
}

/// The text at a field, which must be there.
fn required_text(object: &Value, field: &str, path: &Path) -> Option<crate::status::Cause> {
    meta::str_at(object, &[field]).is_empty().then(|| required(&path.child(field), ""))
}

/// An optional setting that must be one of a few words.
fn one_of(object: &Value, field: &str, supported: &[&str], path: &Path) -> Option<crate::status::Cause> {
    let value = meta::value_at(object, &[field])?.as_str().unwrap_or("");
    (!supported.contains(&value)).then(|| super::field::not_supported(&path.child(field), value, supported))
}

/// [`one_of`], and it must be there.
fn required_one_of(object: &Value, field: &str, supported: &[&str], path: &Path) -> Option<crate::status::Cause> {
    required_text(object, field, path).or_else(|| one_of(object, field, supported, path))
}
