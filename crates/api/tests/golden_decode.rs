//! Recorded answers of a real Kubernetes are in the form in which Go writes them: decoding must leave them as they are.

mod recordings;

use std::path::Path;

use backstay_api::schema::Type;
use backstay_api::{GroupVersionKind, decode, meta, protobuf, schema};
use serde_json::Value;

/// The recordings have placeholders for times.
const TIME: (&str, &str) = ("\"<time>\"", "\"2026-11-23T17:08:18Z\"");

fn type_of(gvk: &GroupVersionKind) -> Type {
    schema::type_of(gvk).unwrap_or_else(|| panic!("no type for {gvk:?}"))
}

fn recorded(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).expect("a recording");
    serde_json::from_str(&text.replace(TIME.0, TIME.1)).expect("JSON")
}

fn check(object: &Value, path: &Path) {
    let gvk = meta::gvk(object).expect("a kind");
    let ty = type_of(&gvk);
    let decoded = decode::value(schema::builtin(), &ty, object.clone());
    let decoded = decoded.unwrap_or_else(|status| panic!("{}: {status}", path.display()));
    assert_eq!(decoded.problems, Vec::<String>::new(), "{}", path.display());
    assert_eq!(&decoded.object, object, "{}", path.display());
    let from_text = decode::json(schema::builtin(), &ty, object.to_string().as_bytes());
    assert_eq!(from_text.map(|decoded| decoded.object).as_ref(), Ok(object), "{}", path.display());
    let message = protobuf::message(schema::builtin(), &ty, object).expect("a protobuf form");
    let body = protobuf::body(&gvk.api_version(), &gvk.kind, &message);
    let from_protobuf = decode::protobuf(schema::builtin(), &ty, &body);
    assert_eq!(from_protobuf.map(|decoded| decoded.object).as_ref(), Ok(object), "{}", path.display());
}

#[test]
fn recorded_objects_stay_as_they_are() {
    let mut checked = 0;
    for path in recordings::files("manifests").into_iter().chain(recordings::files("extra")) {
        let name = path.file_name().expect("a name").to_string_lossy().to_string();
        if !name.ends_with(".json") {
            continue;
        }
        let object = recorded(&path);
        let is_custom = meta::gvk(&object).is_some_and(|gvk| schema::type_of(&gvk).is_none());
        match object["items"].as_array() {
            Some(items) => items.iter().for_each(|item| {
                let mut item = item.clone();
                item["apiVersion"] = "apps/v1".into();
                item["kind"] = "ControllerRevision".into();
                check(&item, &path);
            }),
            // The objects of custom resources.
            None if is_custom => continue,
            None => check(&object, &path),
        }
        checked += 1;
    }
    assert!(checked > 300 || !recordings::present(), "only {checked} recordings found");
}
