//! Real manifests, through decoding, defaults and strategy: what a real Kubernetes stored for them is what comes out,
//! and validation has nothing against them.

mod recordings;

use std::collections::BTreeMap;

use backstay_api::resources::{self, Resource};
use backstay_api::{decode, defaults, meta, schema, strategy, validation};
use serde_json::Value;

#[test]
fn manifests_become_what_kubernetes_stored() {
    let mut failures = Vec::new();
    let mut compared = 0;
    for (directory, text) in manifests() {
        let stored = stored_objects(&directory);
        for document in text.split("\n---") {
            let Some((resource, object)) = prepared(document) else { continue };
            let causes = validation::create(resource, &object, validation::Policy::default());
            let key = key(&object);
            if !causes.is_empty() {
                failures.push(format!("{directory}: {key}: refused: {causes:?}"));
            }
            if let Some(stored) = stored.get(&key) {
                compared += 1;
                if let Some(difference) = difference(&stored_part(stored), &stored_part(&object), "") {
                    failures.push(format!("{directory}: {key}: {difference}"));
                }
            }
        }
    }
    eprintln!("{compared} objects compared");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(compared > 100 || !recordings::present());
}

/// What `kubectl apply` printed to stderr when the manifests were applied, as far as it was warned.
#[test]
fn warnings_are_the_recorded_ones() {
    for (directory, text) in manifests() {
        let printed = ["1-apply.err", "apply.err"].map(|file| format!("{directory}/{file}"));
        let printed = printed.iter().find(|path| recordings::root().join(path).is_file());
        let printed = printed.map(|path| recordings::read(path)).unwrap_or_default();
        let mut expected: Vec<_> = printed.lines().filter_map(|line| line.strip_prefix("Warning: ")).collect();
        let mut found = Vec::new();
        for (resource, object) in text.split("\n---").filter_map(prepared) {
            found.extend(validation::warnings(resource, &object, None));
        }
        expected.sort_unstable();
        found.sort_unstable();
        // kubectl prints a warning once, however often it comes.
        found.dedup();
        assert_eq!(found, expected, "{directory}");
    }
}

/// The text of each manifest, with the directory of what was stored for it.
fn manifests() -> Vec<(String, String)> {
    if !recordings::present() {
        return Vec::new();
    }
    let mut found = vec![("extra".to_string(), recordings::read("extra/vectors.yaml"))];
    for path in recordings::files("../manifests") {
        if path.extension().is_some_and(|extension| extension == "yaml") {
            let stem = path.file_stem().unwrap().to_string_lossy();
            found.push((format!("manifests/{stem}"), std::fs::read_to_string(&path).unwrap()));
        }
    }
    found
}

fn stored_objects(directory: &str) -> BTreeMap<String, Value> {
    let files = recordings::files(directory).into_iter().filter(|path| {
        let name = path.file_name().unwrap().to_string_lossy();
        let first = ["1-object_", "1-daemonset_", "daemonset_"].iter().any(|start| name.starts_with(start));
        first && name.ends_with(".json")
    });
    let objects = files.map(|path| serde_json::from_str::<Value>(&std::fs::read_to_string(path).unwrap()).unwrap());
    objects.map(|object| (key(&object), object)).collect()
}

fn prepared(document: &str) -> Option<(&'static Resource, Value)> {
    let (value, _) = decode::yaml_value(document.as_bytes()).ok()?;
    let kind = meta::gvk(&value)?;
    let resource = resources::of_kind(&kind)?;
    let ty = schema::type_of(&kind)?;
    let mut object = decode::yaml(schema::builtin(), &ty, document.as_bytes()).expect("a legal manifest").object;
    if resource.namespaced && meta::namespace(&object).is_none() {
        meta::set_meta(&mut object, "namespace", "default");
    }
    meta::set_meta(&mut object, "uid", "u");
    defaults::apply(&kind, &mut object);
    strategy::prepare_for_create(resource, &mut object);
    Some((resource, object))
}

fn key(object: &Value) -> String {
    format!("{} {} {}", object["kind"], meta::namespace(object).unwrap_or("default"), meta::name(object))
}

/// What neither the server's bookkeeping nor a controller writes.
fn stored_part(object: &Value) -> Value {
    let mut object = object.clone();
    let fields = object.as_object_mut().unwrap();
    let controlled = fields["kind"] == "CustomResourceDefinition" || fields["kind"] == "DaemonSet";
    if controlled {
        fields.remove("status");
    }
    let kept = ["name", "namespace", "labels", "generation"];
    fields.get_mut("metadata").and_then(Value::as_object_mut).unwrap().retain(|name, _| kept.contains(&name.as_str()));
    if let Some(spec) = fields.get_mut("spec").and_then(Value::as_object_mut) {
        spec.retain(|name, _| name != "clusterIP" && name != "clusterIPs");
    }
    object
}

/// The first place where two values differ.
fn difference(expected: &Value, found: &Value, path: &str) -> Option<String> {
    match (expected, found) {
        (Value::Object(left), Value::Object(right)) => {
            let names: std::collections::BTreeSet<&String> = left.keys().chain(right.keys()).collect();
            let null = &Value::Null;
            names.into_iter().find_map(|name| {
                let sides = (left.get(name), right.get(name));
                match sides {
                    (Some(_), None) | (None, Some(_)) => {
                        let (left, right) = (sides.0.unwrap_or(null), sides.1.unwrap_or(null));
                        Some(format!("{path}.{name}: expected {left}, found {right}"))
                    }
                    (left, right) => difference(left?, right?, &format!("{path}.{name}")),
                }
            })
        }
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() => {
            let pairs = left.iter().zip(right).enumerate();
            pairs
                .into_iter()
                .find_map(|(position, (left, right))| difference(left, right, &format!("{path}[{position}]")))
        }
        (left, right) if left == right => None,
        (left, right) => Some(format!("{path}: expected {left}, found {right}")),
    }
}
