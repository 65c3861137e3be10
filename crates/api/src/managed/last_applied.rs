//! The annotation of client-side apply, as far as server-side apply cares for it: those who come from `kubectl apply`
//! meet no conflicts, and may go back.

use serde_json::Value;

use super::check::check;
use super::compare::compare;
use super::extract::field_set;
use super::set::FieldSet;
use super::shape::Node;
use crate::canonical::json_text;
use crate::meta::{self, LAST_APPLIED};

/// The one manager for whom this holds.
pub const MANAGER: &str = "kubectl";

/// As in Kubernetes: all annotations of an object together.
const ANNOTATIONS_BYTES_MAX: usize = 256 * 1024;

/// The fields that client-side apply wrote last and that still have the value it gave them; none if the object was
/// never applied that way, or in another version.
pub fn unchanged_fields(node: Node<'_>, live: &Value, api_version: &str) -> Option<FieldSet> {
    let text = meta::annotation(live, LAST_APPLIED).filter(|text| !text.is_empty())?;
    let applied: Value = serde_json::from_str(text).ok()?;
    if meta::str_at(&applied, &["apiVersion"]) != api_version || check(node, &applied).is_err() {
        return None;
    }
    let found = compare(node, &applied, live);
    Some(field_set(node, &applied).difference(&found.changed().union(&found.removed)))
}

/// Writes what was applied into the annotation, if the object has it.
pub fn renew(object: &mut Value, applied: &Value) {
    if meta::annotation(object, LAST_APPLIED).is_none_or(str::is_empty) {
        return;
    }
    let mut applied = applied.clone();
    if let Some(annotations) = applied.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        annotations.remove(LAST_APPLIED);
    }
    let annotations = meta::map_mut(object, &["metadata", "annotations"]);
    annotations.insert(LAST_APPLIED.into(), format!("{}\n", json_text(&applied)).into());
    let size: usize = annotations.iter().map(|(key, value)| key.len() + value.as_str().map_or(0, str::len)).sum();
    if size > ANNOTATIONS_BYTES_MAX {
        annotations.remove(LAST_APPLIED);
    }
}
