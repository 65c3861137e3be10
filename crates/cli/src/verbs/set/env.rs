//! `set env`.

use backstay_api::meta;
use serde_json::{Value, json};

use super::{containers, pod_spec, split, unknown_container};
use crate::error::{Failure, Outcome};

/// Names with their new texts; without one the variable goes.
type Variables = Vec<(String, Option<String>)>;

pub fn changes(words: &[String]) -> Outcome<(Vec<String>, Variables)> {
    let (objects, changes) = split(words, |word| word.contains('=') || word.ends_with('-'));
    if changes.is_empty() {
        return Err(Failure::plain("at least one environment variable must be provided"));
    }
    let variable = |change: &String| match (change.split_once('='), change.strip_suffix('-')) {
        (Some((name, text)), _) => (name.to_string(), Some(text.to_string())),
        (None, Some(name)) => (name.to_string(), None),
        (None, None) => (change.clone(), None),
    };
    Ok((objects, changes.iter().map(variable).collect()))
}

pub fn set(object: &mut Value, wanted: &str, variables: &Variables) -> Result<(), String> {
    let spec = pod_spec(object)?;
    let mut found = false;
    for container in containers(spec) {
        if wanted != "*" && meta::str_at(container, &["name"]) != wanted {
            continue;
        }
        found = true;
        let present = container.get_mut("env").and_then(Value::as_array_mut).map(std::mem::take);
        let env = changed(present.unwrap_or_default(), variables);
        if let Some(fields) = container.as_object_mut() {
            if env.is_empty() {
                fields.remove("env");
            } else {
                fields.insert("env".into(), env.into());
            }
        }
    }
    if found || wanted == "*" { Ok(()) } else { Err(unknown_container(wanted)) }
}

fn changed(mut env: Vec<Value>, variables: &Variables) -> Vec<Value> {
    for (name, text) in variables {
        let place = env.iter().position(|variable| meta::str_at(variable, &["name"]) == name);
        match (place, text) {
            (Some(place), Some(text)) => env[place] = json!({"name": name, "value": text}),
            (Some(place), None) => drop(env.remove(place)),
            (None, Some(text)) => env.push(json!({"name": name, "value": text})),
            (None, None) => {}
        }
    }
    env
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_come_change_and_go() {
        let words: Vec<String> = ["ds", "x", "A=1", "B-", "C=x=y"].map(str::to_string).to_vec();
        let (objects, variables) = changes(&words).unwrap();
        assert_eq!(objects, ["ds", "x"]);
        let pod = |env: Value| json!({"kind": "Pod", "spec": {"containers": [{"name": "a", "env": env}]}});
        let mut object = pod(json!([{"name": "B", "value": "1"}, {"name": "A", "value": "0"}]));
        set(&mut object, "*", &variables).unwrap();
        assert_eq!(object, pod(json!([{"name": "A", "value": "1"}, {"name": "C", "value": "x=y"}])));
    }
}
