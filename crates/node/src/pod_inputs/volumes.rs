//! What the volumes of a pod hold, and where containers see them.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use backstay_api::quantity::Quantity;
use backstay_api::{meta, pod};
use serde_json::Value;

use super::env;
use super::fields::{self, NodeFacts};
use super::objects::{self, Objects, Reference};
use super::resources;
use crate::runtime::{Mount, Propagation};

/// A volume, worked out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Volume {
    /// A directory of the pod. `memory`: in memory, of at most so many bytes if that is set.
    Empty {
        memory: Option<Option<u64>>,
    },
    Host {
        path: PathBuf,
        kind: String,
    },
    /// Files that we write.
    Files(BTreeMap<String, File>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    pub content: Vec<u8>,
    pub mode: u32,
}

/// Works out one volume.
///
/// # Errors
/// In a kubelet's words, for a `FailedMount` event.
pub fn resolve(pod: &Value, volume: &Value, node: &NodeFacts, objects: &Objects) -> Result<Volume, String> {
    let source = |field: &str| meta::value_at(volume, &[field]);
    if let Some(empty) = source("emptyDir") {
        let limit = Quantity::parse(meta::str_at(empty, &["sizeLimit"])).ok();
        let limit = limit.and_then(|limit| u64::try_from(limit.to_int()).ok()).filter(|bytes| *bytes > 0);
        let memory = (meta::str_at(empty, &["medium"]) == "Memory").then_some(limit);
        return Ok(Volume::Empty { memory });
    }
    if let Some(host) = source("hostPath") {
        let (path, kind) = (meta::str_at(host, &["path"]), meta::str_at(host, &["type"]));
        return Ok(Volume::Host { path: path.into(), kind: kind.to_string() });
    }
    let mut files = BTreeMap::new();
    let mode = |source: &Value| mode(source.get("defaultMode")).unwrap_or(0o644);
    if let Some(source) = source("configMap").or_else(|| source("secret")) {
        project(pod, volume, node, objects, mode(source), &mut files)?;
    } else if let Some(source) = source("downwardAPI") {
        project(pod, volume, node, objects, mode(source), &mut files)?;
    } else if let Some(projected) = source("projected") {
        for source in meta::list_at(projected, &["sources"]) {
            project(pod, source, node, objects, mode(projected), &mut files)?;
        }
    } else {
        let kinds: Vec<&String> = volume.as_object().into_iter().flat_map(|fields| fields.keys()).collect();
        let kind = kinds.into_iter().find(|field| *field != "name").map_or("unknown", String::as_str);
        return Err(format!("volumes of kind {kind} are not supported on this node"));
    }
    Ok(Volume::Files(files))
}

/// Writes the files of one source, which is a volume of its own or part of a projected one.
fn project(
    pod: &Value,
    source: &Value,
    node: &NodeFacts,
    objects: &Objects,
    mode: u32,
    files: &mut BTreeMap<String, File>,
) -> Result<(), String> {
    if let Some(config_map) = meta::value_at(source, &["configMap"]) {
        let name = meta::str_at(config_map, &["name"]);
        return entries(pod, config_map, &Reference::ConfigMap(name.to_string()), objects, mode, files);
    }
    if let Some(secret) = meta::value_at(source, &["secret"]) {
        // Called `secretName` in a volume, `name` in a projection.
        let name = [meta::str_at(secret, &["secretName"]), meta::str_at(secret, &["name"])].concat();
        return entries(pod, secret, &Reference::Secret(name), objects, mode, files);
    }
    if let Some(downward) = meta::value_at(source, &["downwardAPI"]) {
        for item in meta::list_at(downward, &["items"]) {
            let content = downward_item(pod, item, node)?;
            add(files, meta::str_at(item, &["path"]), content.into_bytes(), item_mode(item, mode))?;
        }
        return Ok(());
    }
    if let Some(token) = meta::value_at(source, &["serviceAccountToken"]) {
        let answer = objects.get(&objects::token_reference(token))?;
        let content = meta::str_at(answer, &["status", "token"]).as_bytes().to_vec();
        return add(files, meta::str_at(token, &["path"]), content, mode);
    }
    Err("a projected source of this kind is not supported on this node".to_string())
}

fn entries(
    pod: &Value,
    source: &Value,
    reference: &Reference,
    objects: &Objects,
    mode: u32,
    files: &mut BTreeMap<String, File>,
) -> Result<(), String> {
    let optional = env::is_optional(source);
    let object = match objects.get(reference) {
        Ok(object) => object,
        Err(_) if optional => return Ok(()),
        Err(missing) => return Err(missing),
    };
    let mut held = objects::entries(object);
    let items = meta::list_at(source, &["items"]);
    if items.is_empty() {
        return held.into_iter().try_for_each(|(key, content)| add(files, &key, content, mode));
    }
    for item in items {
        let key = meta::str_at(item, &["key"]);
        match held.remove(key) {
            Some(content) => add(files, meta::str_at(item, &["path"]), content, item_mode(item, mode))?,
            None if optional => {}
            None => {
                let namespace = meta::namespace(pod).unwrap_or("default");
                let name = match reference {
                    Reference::ConfigMap(name) | Reference::Secret(name) => name.as_str(),
                    Reference::Token { .. } => "",
                };
                return Err(format!("references non-existent key {key} of {namespace}/{name}"));
            }
        }
    }
    Ok(())
}

fn downward_item(pod: &Value, item: &Value, node: &NodeFacts) -> Result<String, String> {
    if let Some(reference) = meta::value_at(item, &["fieldRef"]) {
        return fields::field(pod, node, meta::str_at(reference, &["fieldPath"]));
    }
    let reference = item.get("resourceFieldRef").unwrap_or(&Value::Null);
    let name = meta::str_at(reference, &["containerName"]);
    let container = pod::own_containers(pod).find(|container| meta::str_at(container, &["name"]) == name);
    resources::field(container.unwrap_or(&Value::Null), node, reference)
}

/// A file that is kept inside the volume; the server checks paths too, but they end up in our file system.
fn add(files: &mut BTreeMap<String, File>, path: &str, content: Vec<u8>, mode: u32) -> Result<(), String> {
    let inside = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
    if path.is_empty() || !inside || path.starts_with("..") {
        return Err(format!("invalid path {path:?} in a volume"));
    }
    files.insert(path.to_string(), File { content, mode });
    Ok(())
}

fn item_mode(item: &Value, default: u32) -> u32 {
    mode(item.get("mode")).unwrap_or(default)
}

fn mode(value: Option<&Value>) -> Option<u32> {
    value.and_then(Value::as_u64).map(|mode| (mode & 0o777) as u32)
}

/// Where a container sees its volumes. `places`: where each volume lies on the node, and whether it is ours to write.
///
/// # Errors
/// If a mount names no volume, or a path that leads out of it.
pub fn mounts(
    container: &Value,
    env: &[(String, String)],
    places: &BTreeMap<String, (PathBuf, bool)>,
) -> Result<Vec<Mount>, String> {
    let mounts = meta::list_at(container, &["volumeMounts"]).iter().map(|mount| {
        let name = meta::str_at(mount, &["name"]);
        let (place, written_by_us) = places.get(name).ok_or_else(|| format!("there is no volume {name:?}"))?;
        let below = match meta::str_at(mount, &["subPathExpr"]) {
            "" => meta::str_at(mount, &["subPath"]).to_string(),
            expression => env::expand(expression, env),
        };
        if !Path::new(&below).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
            return Err(format!("subPath {below:?} leads out of volume {name:?}"));
        }
        Ok(Mount {
            source: place.clone(),
            sub_path: below.into(),
            target: Path::new("/").join(meta::str_at(mount, &["mountPath"])),
            read_only: *written_by_us || meta::value_at(mount, &["readOnly"]) == Some(&Value::Bool(true)),
            propagation: match meta::str_at(mount, &["mountPropagation"]) {
                "Bidirectional" => Propagation::Bidirectional,
                "HostToContainer" => Propagation::HostToContainer,
                _ => Propagation::None,
            },
        })
    });
    mounts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(volume: Value, expected: &str) {
        let pod = json!({ "metadata": { "name": "p", "namespace": "ns", "labels": { "b": "2", "a": "1" } } });
        let node = NodeFacts { name: "n1".into(), ..NodeFacts::default() };
        let config = json!({ "kind": "ConfigMap", "data": { "a": "x", "b": "y" }, "binaryData": { "c": "eg==" } });
        let token = Reference::Token { audience: String::new(), expiration_seconds: 3600 };
        let answer = json!({ "status": { "token": "tok" } });
        let objects = Objects([(Reference::ConfigMap("c".into()), Some(config)), (token, Some(answer))].into());
        let shown = match resolve(&pod, &volume, &node, &objects) {
            Ok(Volume::Files(files)) => {
                let show = |(path, file): (&String, &File)| {
                    format!("{path}:{:o}:{}", file.mode, String::from_utf8_lossy(&file.content))
                };
                files.iter().map(show).collect::<Vec<_>>().join(" ")
            }
            Ok(other) => format!("{other:?}"),
            Err(error) => format!("error: {error}"),
        };
        assert_eq!(shown, expected, "{volume}");
    }

    #[test]
    fn volumes_hold_what_their_sources_say() {
        check(json!({ "name": "v", "configMap": { "name": "c", "defaultMode": 420 } }), "a:644:x b:644:y c:644:z");
        let items = json!([{ "key": "a", "path": "deep/a", "mode": 256 }]);
        check(json!({ "name": "v", "configMap": { "name": "c", "items": items } }), "deep/a:400:x");
        check(json!({ "name": "v", "configMap": { "name": "no" } }), "error: configmap \"no\" not found");
        check(json!({ "name": "v", "secret": { "secretName": "no", "optional": true } }), "");
        let missing = json!([{ "key": "z", "path": "z" }]);
        check(
            json!({ "name": "v", "configMap": { "name": "c", "items": missing } }),
            "error: references non-existent key z of ns/c",
        );
        let escape = json!([{ "key": "a", "path": "../a" }]);
        check(
            json!({ "name": "v", "configMap": { "name": "c", "items": escape } }),
            "error: invalid path \"../a\" in a volume",
        );
        let labels = json!({ "path": "labels", "fieldRef": { "fieldPath": "metadata.labels" } });
        check(json!({ "name": "v", "downwardAPI": { "items": [labels] } }), "labels:644:a=\"1\"\nb=\"2\"");
        let sources =
            json!([{ "serviceAccountToken": { "path": "token" } }, { "configMap": { "name": "c", "items": [] } }]);
        check(
            json!({ "name": "v", "projected": { "sources": sources, "defaultMode": 256 } }),
            "a:400:x b:400:y c:400:z token:400:tok",
        );
        check(
            json!({ "name": "v", "emptyDir": { "medium": "Memory", "sizeLimit": "1Ki" } }),
            "Empty { memory: Some(Some(1024)) }",
        );
        check(
            json!({ "name": "v", "nfs": { "server": "s" } }),
            "error: volumes of kind nfs are not supported on this node",
        );
    }

    #[test]
    fn mounts_stay_inside_their_volumes() {
        let places = BTreeMap::from([("v".to_string(), (PathBuf::from("/vol"), false))]);
        let env = [("POD".to_string(), "p1".to_string())];
        let mount = |extra: Value| {
            let mut mount = json!({ "name": "v", "mountPath": "/data" });
            mount.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            let container = json!({ "volumeMounts": [mount] });
            mounts(&container, &env, &places).map(|it| it[0].source.join(&it[0].sub_path).display().to_string())
        };
        assert_eq!(mount(json!({})).unwrap(), "/vol/");
        assert_eq!(mount(json!({ "subPath": "a/b" })).unwrap(), "/vol/a/b");
        assert_eq!(mount(json!({ "subPathExpr": "$(POD)" })).unwrap(), "/vol/p1");
        assert!(mount(json!({ "subPath": "../x" })).is_err());
        assert!(mount(json!({ "name": "w" })).is_err());
    }
}
