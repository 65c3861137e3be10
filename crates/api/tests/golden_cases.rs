//! Recorded requests to a real Kubernetes, answered by the pure rules alone: decoding, defaults, strategy, validation.
//!
//! A small registry of one case stands in for the server. What only a server does (admission, controllers, lists)
//! is not played; cases that go there stop being compared.

mod recordings;

use std::collections::BTreeMap;

use backstay_api::resources::{self, Resource};
use backstay_api::schema::{self, Schema};
use backstay_api::validation::Policy;
use backstay_api::{Status, decode, defaults, meta, patch, strategy, validation};
use serde_json::{Value, json};

const GROUPS: [&str; 6] = ["validation", "defaulting", "generation", "status", "crud", "concurrency"];

/// Where the recording shows what is not a rule over objects: admission plugins, the answer to patches that cannot be
/// read.
const BEYOND: [&str; 3] = [
    "the templateGeneration annotation cannot be set by an update",
    "pod: priority given by hand",
    "pod: cleared tolerations come back through admission",
];

/// As the recorded server had it.
const POLICY: Policy = Policy { allow_privileged: false };

#[test]
fn answers_are_the_recorded_ones() {
    let mut failures = Vec::new();
    let (mut compared, mut exact) = (0, 0);
    let expected: BTreeMap<String, Value> = recordings::read("expected.jsonl")
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .map(|case| (case["name"].as_str().unwrap().to_string(), case["steps"].clone()))
        .collect();
    for line in recordings::read("cases.jsonl").lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let name = case["name"].as_str().unwrap();
        if !GROUPS.contains(&case["group"].as_str().unwrap()) || BEYOND.contains(&name) {
            continue;
        }
        let mut registry = Registry::default();
        for (step, answer) in case["steps"].as_array().unwrap().iter().zip(expected[name].as_array().unwrap()) {
            let Some(found) = registry.play(step) else { break };
            let Some(wanted) = answer.get("body").filter(|_| answer["status"] == 422) else {
                let accepted = answer["status"].as_u64().is_some_and(|status| status < 300);
                if let Some(refusal) = found.err().filter(|_| accepted) {
                    failures.push(format!("{name}: refused: {refusal}"));
                }
                continue;
            };
            compared += 1;
            let found = found.err().map(|status| status.to_json()).unwrap_or_default();
            if causes(&found) != causes(wanted) {
                failures.push(format!("{name}: expected {}\n    found {}", causes(wanted), causes(&found)));
            } else if found["message"] == wanted["message"] {
                exact += 1;
            } else if std::env::var_os("SHOW_MESSAGES").is_some() {
                eprintln!("{name}: expected {}\n    found {}", wanted["message"], found["message"]);
            }
        }
    }
    eprintln!("{compared} refusals compared, {exact} to the letter");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(compared > 60 || !recordings::present());
}

/// Field and reason of each cause.
fn causes(status: &Value) -> Value {
    let causes = status.pointer("/details/causes").and_then(Value::as_array).into_iter().flatten();
    causes.map(|cause| json!([cause["field"], cause["reason"]])).collect()
}

/// The objects of one case, by resource and name.
#[derive(Default)]
struct Registry {
    objects: BTreeMap<(String, String), Value>,
    writes: u64,
}

impl Registry {
    /// Answers a step; `None` if it is beyond this registry.
    fn play(&mut self, step: &Value) -> Option<Result<(), Status>> {
        let path = step["path"].as_str()?.replace("${ns}", "probe-x");
        let (resource, name, subresource) = find(&path)?;
        let body = fill(&body(step)?);
        let subresource = subresource.as_deref();
        match (step["method"].as_str().unwrap_or("GET"), name) {
            ("GET", _) => Some(Ok(())),
            ("POST", None) => Some(self.create(resource, body)),
            ("PUT", Some(name)) => {
                let old = self.objects.get(&(resource.storage.clone(), name))?.clone();
                Some(decoded(resource, &body).and_then(|object| self.update(resource, subresource, object, old)))
            }
            ("PATCH", Some(name)) => {
                let old = self.objects.get(&(resource.storage.clone(), name))?.clone();
                let patched = patched(resource, step["type"].as_str()?, &old, &body)?;
                Some(patched.and_then(|object| self.update(resource, subresource, object, old)))
            }
            _ => None,
        }
    }

    fn create(&mut self, resource: &Resource, body: Value) -> Result<(), Status> {
        let mut object = decoded(resource, &body)?;
        let namespace = Some("probe-x").filter(|_| resource.namespaced);
        namespace.into_iter().for_each(|namespace| meta::set_meta(&mut object, "namespace", namespace));
        self.writes += 1;
        meta::set_meta(&mut object, "uid", format!("uid-{}", self.writes));
        meta::set_meta(&mut object, "resourceVersion", self.writes.to_string());
        meta::set_meta(&mut object, "creationTimestamp", "2026-01-01T00:00:00Z");
        for field in ["deletionTimestamp", "deletionGracePeriodSeconds"] {
            meta::remove_meta(&mut object, field);
        }
        strategy::prepare_for_create(resource, &mut object);
        let causes = validation::create(resource, &object, POLICY);
        self.keep(resource, object, causes)
    }

    fn update(
        &mut self,
        resource: &Resource,
        subresource: Option<&str>,
        mut object: Value,
        old: Value,
    ) -> Result<(), Status> {
        meta::set_meta(&mut object, "namespace", meta::namespace(&old).map(str::to_string));
        strategy::prepare_for_update(resource, subresource, &mut object, &old);
        if meta::resource_version(&object).is_empty() && strategy::allows_unconditional_update(resource) {
            meta::set_meta(&mut object, "resourceVersion", meta::resource_version(&old).to_string());
        }
        let causes = validation::update(resource, subresource, &object, &old, POLICY);
        self.keep(resource, object, causes)
    }

    fn keep(
        &mut self,
        resource: &Resource,
        object: Value,
        causes: Vec<backstay_api::status::Cause>,
    ) -> Result<(), Status> {
        let name = meta::name(&object).to_string();
        if !causes.is_empty() {
            return Err(validation::invalid(resource, &name, causes));
        }
        self.objects.insert((resource.storage.clone(), name), object);
        Ok(())
    }
}

fn find(path: &str) -> Option<(&'static Resource, Option<String>, Option<String>)> {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let (group, version, rest) = match parts.as_slice() {
        ["api", version, rest @ ..] => ("", *version, rest),
        ["apis", group, version, rest @ ..] => (*group, *version, rest),
        _ => return None,
    };
    let rest = match rest {
        ["namespaces", _, plural, rest @ ..] if !matches!(*plural, "status" | "finalize") => {
            [&[*plural], rest].concat()
        }
        rest => rest.to_vec(),
    };
    let found = resources::builtin().iter().find(|resource| {
        (resource.group.as_str(), resource.version.as_str(), resource.plural.as_str()) == (group, version, rest[0])
    })?;
    let part = |index: usize| rest.get(index).map(|part| part.to_string());
    Some((found, part(1), part(2)))
}

fn body(step: &Value) -> Option<Value> {
    if let Some(raw) = step["raw"].as_str() {
        return serde_json::from_str(raw).ok();
    }
    Some(step["body"].clone())
}

/// Replaces the placeholders that matter here; `None` of the others may be needed.
fn fill(value: &Value) -> Value {
    match value {
        Value::String(text) => match text.strip_prefix("${rep:").and_then(|rest| rest.strip_suffix('}')) {
            Some(repeat) => {
                let (text, times) = repeat.split_once(':').unwrap();
                text.repeat(times.parse().unwrap()).into()
            }
            None => text.replace("${ns}", "probe-x").into(),
        },
        Value::Array(elements) => elements.iter().map(fill).collect(),
        Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), fill(value))).collect(),
        other => other.clone(),
    }
}

fn decoded(resource: &Resource, body: &Value) -> Result<Value, Status> {
    let ty = schema::type_of(&resource.gvk()).expect("a type");
    let mut object = decode::value(schema(), &ty, body.clone())?.object;
    defaults::apply(&resource.gvk(), &mut object);
    Ok(object)
}

fn patched(resource: &Resource, kind: &str, old: &Value, body: &Value) -> Option<Result<Value, Status>> {
    let ty = schema::type_of(&resource.gvk())?;
    let text = serde_json::to_vec(body).unwrap();
    let result = match kind {
        "smp" => patch::strategic_merge(schema(), &ty, old, body),
        "merge" => patch::merge_patch(old, &text),
        "jsonpatch" => patch::json_patch(old, &text),
        _ => return None,
    };
    Some(result.and_then(|object| decoded(resource, &object)))
}

fn schema() -> &'static Schema {
    schema::builtin()
}
