//! Recorded owners of fields: what a create by kubectl owns, and what a later write takes.

mod recordings;

use backstay_api::managed::{Manager, track_update};
use backstay_api::resources::{self, Resource};
use backstay_api::{decode, defaults, meta, schema};
use serde_json::Value;

const CREATOR: &str = "kubectl-client-side-apply";

#[test]
fn a_create_owns_what_was_recorded() {
    let mut checked = 0;
    for path in recordings::files("manifests") {
        let name = path.file_name().unwrap().to_string_lossy().to_string();
        if !name.starts_with("1-object_") && !name.starts_with("1-daemonset_") {
            continue;
        }
        let recorded = read(&path);
        let Some(expected) = fields_of(&recorded, CREATOR) else { continue };
        let created = write(None, &as_sent(&recorded), CREATOR);
        assert_eq!(fields_of(&created, CREATOR), Some(expected), "{}", path.display());
        checked += 1;
    }
    assert!(checked > 60 || !recordings::present(), "only {checked} recordings found");
}

#[test]
fn a_later_write_takes_what_was_recorded() {
    let mut checked = 0;
    for path in recordings::files("manifests") {
        let name = path.file_name().unwrap().to_string_lossy().to_string();
        let Some(daemonset) = name.strip_prefix("2-daemonset_") else { continue };
        let (first, second) = (read(&path.with_file_name(format!("1-daemonset_{daemonset}"))), read(&path));
        let mut sent = second.clone();
        for field in ["metadata", "status"] {
            sent[field] = first[field].clone();
        }
        let written = write(Some(&first), &sent, "kubectl-set");
        for manager in [CREATOR, "kubectl-set"] {
            assert_eq!(fields_of(&written, manager), fields_of(&second, manager), "{manager} {}", path.display());
        }
        checked += 1;
    }
    assert!(checked > 20 || !recordings::present(), "only {checked} recordings found");
}

fn write(before: Option<&Value>, after: &Value, name: &str) -> Value {
    let gvk = meta::gvk(after).unwrap();
    let resource: &Resource = resources::builtin().iter().find(|resource| resource.gvk() == gvk).unwrap();
    let manager = Manager { name, resource, subresource: "", now: "2026-01-01T00:00:00Z".parse().unwrap() };
    let mut written = after.clone();
    track_update(schema::builtin(), &schema::type_of(&gvk).unwrap(), before, &mut written, &manager);
    written
}

/// What kubectl sent, decoded and defaulted.
fn as_sent(recorded: &Value) -> Value {
    const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";
    let gvk = meta::gvk(recorded).unwrap();
    let text = meta::annotation(recorded, ANNOTATION).unwrap();
    let mut sent: Value = serde_json::from_str(text).unwrap();
    meta::map_mut(&mut sent, &["metadata", "annotations"]).insert(ANNOTATION.into(), text.into());
    let ty = schema::type_of(&gvk).unwrap();
    let mut sent = decode::value(schema::builtin(), &ty, sent).unwrap().object;
    defaults::apply(&gvk, &mut sent);
    sent
}

/// The fields of the manager's entry for the main resource.
fn fields_of(object: &Value, manager: &str) -> Option<Value> {
    let entries = meta::list_at(object, &["metadata", "managedFields"]);
    let own = |entry: &&Value| entry["manager"] == manager && entry.get("subresource").is_none();
    entries.iter().find(own).map(|entry| entry["fieldsV1"].clone())
}

fn read(path: &std::path::Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}
