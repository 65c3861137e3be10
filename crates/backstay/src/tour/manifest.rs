//! What the tour rolls out: the built-in DaemonSet, or the user's own.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use backstay_api::meta;
use serde_json::{Value, json};

/// The DaemonSet of the story, where its files are, and how its broken version comes about.
pub struct Cast {
    pub namespace: String,
    pub name: String,
    pub first: PathBuf,
    pub broken: PathBuf,
    /// Pods are real processes on this machine (the built-in story), beside the simulated ones.
    pub real_pods: bool,
    /// Labels that nodes need to be chosen.
    pub node_labels: Vec<(String, String)>,
    /// Things to say before the story begins.
    pub remarks: Vec<String>,
}

const FIRST: &str = "#!/bin/sh
echo \"hello v1: serving on $NODE\"
trap 'echo \"hello v1: told to stop, goodbye\"; exit 0' TERM
while :; do sleep 0.2; done";

const BROKEN: &str = "#!/bin/sh
echo \"hello v2: reading /etc/hello/v2.conf\"
echo \"hello v2: fatal: /etc/hello/v2.conf: no such file or directory\" >&2
exit 1";

impl Cast {
    /// A shell script as the agent; its second version cannot start.
    pub fn built_in(directory: &Path) -> Result<Self> {
        let first = write(directory, "hello-v1.yaml", &hello("first version", FIRST, None))?;
        let broken = write(directory, "hello-v2.yaml", &hello("read the new configuration", BROKEN, Some("crash")))?;
        Ok(Self {
            namespace: "default".into(),
            name: "hello".into(),
            first,
            broken,
            real_pods: true,
            node_labels: Vec::new(),
            remarks: Vec::new(),
        })
    }

    /// The first DaemonSet of a file; its broken version asks for an image that cannot be pulled.
    pub fn of_file(path: &Path, directory: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let documents = documents(&text).with_context(|| format!("{} is not YAML", path.display()))?;
        let Some(mut daemonset) = documents.into_iter().find(|object| object["kind"] == "DaemonSet") else {
            bail!("{} holds no DaemonSet; the tour is about one", path.display());
        };
        let mut remarks = Vec::new();
        if daemonset["spec"]["updateStrategy"]["type"] == "OnDelete" {
            daemonset["spec"]["updateStrategy"] = json!({ "type": "RollingUpdate" });
            remarks.push("Your DaemonSet updates OnDelete; for the tour its copy uses RollingUpdate.".to_string());
        }
        let name = meta::name(&daemonset).to_string();
        let namespace = meta::namespace(&daemonset).unwrap_or("default").to_string();
        let node_labels = node_labels(&daemonset);
        let first = write(directory, &format!("{name}.yaml"), &daemonset)?;
        let broken = write(directory, &format!("{name}-broken.yaml"), &broken(daemonset))?;
        Ok(Self { namespace, name, first, broken, real_pods: false, node_labels, remarks })
    }
}

fn hello(cause: &str, script: &str, behavior: Option<&str>) -> Value {
    let mut object = json!({
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": { "name": "hello", "annotations": { "kubernetes.io/change-cause": cause } },
        "spec": {
            "selector": { "matchLabels": { "app": "hello" } },
            "template": {
                "metadata": { "labels": { "app": "hello" } },
                "spec": {
                    "terminationGracePeriodSeconds": 5,
                    "containers": [{
                        "name": "hello",
                        "image": "none",
                        "command": ["/bin/sh", "-c", script],
                        "env": [{ "name": "NODE", "valueFrom": { "fieldRef": { "fieldPath": "spec.nodeName" } } }],
                    }],
                },
            },
        },
    });
    if let Some(behavior) = behavior {
        object["spec"]["template"]["metadata"]["annotations"] = json!({ "sim.backstay.dev/behavior": behavior });
    }
    object
}

fn broken(mut daemonset: Value) -> Value {
    let cause = json!("an image that does not exist");
    meta::map_mut(&mut daemonset, &["metadata", "annotations"]).insert("kubernetes.io/change-cause".into(), cause);
    meta::map_mut(&mut daemonset, &["spec", "template", "metadata", "annotations"])
        .insert("sim.backstay.dev/behavior".into(), json!("pull-error"));
    if let Some(image) = daemonset.pointer_mut("/spec/template/spec/containers/0/image") {
        *image = json!(format!("{}-broken", image.as_str().unwrap_or("image").split('@').next().unwrap_or("image")));
    }
    daemonset
}

/// Labels that satisfy the node selector and, as far as it asks for given values, the first required affinity term.
fn node_labels(daemonset: &Value) -> Vec<(String, String)> {
    let spec = &daemonset["spec"]["template"]["spec"];
    let mut labels: Vec<(String, String)> = meta::string_map(spec.get("nodeSelector")).into_iter().collect();
    let terms = ["affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms"];
    let first = meta::list_at(spec, &terms).first();
    for expression in first.map(|term| meta::list_at(term, &["matchExpressions"])).unwrap_or_default() {
        let (key, operator) = (meta::str_at(expression, &["key"]), meta::str_at(expression, &["operator"]));
        match (operator, meta::list_at(expression, &["values"]).first().and_then(Value::as_str)) {
            ("In", Some(value)) => labels.push((key.into(), value.into())),
            ("Exists", _) => labels.push((key.into(), String::new())),
            _ => {}
        }
    }
    labels
}

fn documents(text: &str) -> Result<Vec<Value>> {
    Ok(serde_saphyr::from_multiple(text)?)
}

/// JSON is YAML too: what the tour writes, any client reads.
fn write(directory: &Path, name: &str, object: &Value) -> Result<PathBuf> {
    let path = directory.join(name);
    fs::write(&path, serde_json::to_vec_pretty(object)?).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_of_the_user_is_taken_over() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("in.yaml");
        let text = "kind: ConfigMap\n---\nkind: DaemonSet\nmetadata: {name: a, namespace: b}\nspec:\n  updateStrategy: \
                    {type: OnDelete}\n  template:\n    spec:\n      nodeSelector: {os: linux}\n      containers: \
                    [{name: c, image: 'i:1'}]\n";
        fs::write(&path, text).expect("written");
        let cast = Cast::of_file(&path, directory.path()).expect("a cast");
        assert_eq!((cast.namespace.as_str(), cast.name.as_str(), cast.remarks.len()), ("b", "a", 1));
        assert_eq!(cast.node_labels, [("os".to_string(), "linux".to_string())]);
        let broken: Value = serde_json::from_slice(&fs::read(&cast.broken).expect("there")).expect("JSON");
        assert_eq!(broken["spec"]["template"]["spec"]["containers"][0]["image"], "i:1-broken");
    }

    #[test]
    fn a_file_without_a_daemonset_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("in.yaml");
        fs::write(&path, "kind: ConfigMap\n").expect("written");
        assert!(Cast::of_file(&path, directory.path()).is_err());
    }
}
