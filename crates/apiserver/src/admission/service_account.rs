//! `ServiceAccount`: pods run as an account of their namespace, whose token they find mounted.

use backstay_api::{Status, meta, pod};
use backstay_store::Key;
use serde_json::{Value, json};

use super::Admission;
use crate::accounts::{DEFAULT, ROOT_CA};
use crate::encode;
use crate::registry::metadata::generate_name;

const TOKEN_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const VOLUME: &str = "kube-api-access-";
/// How long the mounted token lasts. Source: `WarnOnlyBoundTokenExpirationSeconds`.
const TOKEN_SECONDS: u32 = 3607;
/// A pod that a node makes known by itself (a static pod) has no account.
const MIRROR: &str = "kubernetes.io/config.mirror";

pub fn admit(admission: &mut Admission<'_>) -> Result<(), Status> {
    if !admission.creates("", "pods") {
        return Ok(());
    }
    if meta::annotation(admission.object, MIRROR).is_some() {
        return check_mirror(admission.object);
    }
    settle_name(admission.object);
    let account = account(admission)?;
    add_pull_secrets(admission.object, &account);
    if mounts_token(admission.object, &account) {
        let core = &admission.call.core;
        let volume = own_volume(admission.object).unwrap_or_else(|| generate_name(VOLUME, &core.entropy));
        let with_ca = core.accounts.as_ref().is_some_and(|accounts| accounts.root_ca.is_some());
        mount(admission.object, &token_volume(&volume, with_ca));
    }
    Ok(())
}

/// A static pod's secrets would come from a node that has no right to them.
fn check_mirror(pod: &Value) -> Result<(), Status> {
    let volumes = || meta::list_at(pod, &["spec", "volumes"]).iter();
    let sources = || volumes().flat_map(|volume| meta::list_at(volume, &["projected", "sources"]));
    let environments = || {
        pod::own_containers(pod).flat_map(|container| {
            let values = meta::list_at(container, &["env"]).iter().map(|own| &own["valueFrom"]["secretKeyRef"]);
            values.chain(meta::list_at(container, &["envFrom"]).iter().map(|own| &own["secretRef"]))
        })
    };
    let has_secrets = volumes().any(|volume| volume.get("secret").is_some())
        || sources().any(|source| source.get("secret").is_some())
        || environments().any(|reference| !reference.is_null())
        || !meta::list_at(pod, &["spec", "imagePullSecrets"]).is_empty();
    let why = if !meta::str_at(pod, &["spec", "serviceAccountName"]).is_empty() {
        "a mirror pod may not reference service accounts"
    } else if has_secrets {
        "a mirror pod may not reference secrets"
    } else if sources().any(|source| source.get("serviceAccountToken").is_some()) {
        "a mirror pod may not use ServiceAccountToken volume projections"
    } else {
        return Ok(());
    };
    Err(Status::forbidden("", "pods", meta::name(pod), why))
}

/// A volume for the token that the pod brings along, as one does that was copied from another pod.
fn own_volume(pod: &Value) -> Option<String> {
    let mut names = meta::list_at(pod, &["spec", "volumes"]).iter().map(|volume| meta::str_at(volume, &["name"]));
    names.find(|name| name.starts_with(VOLUME)).map(str::to_string)
}

fn settle_name(pod: &mut Value) {
    let name = match meta::str_at(pod, &["spec", "serviceAccountName"]) {
        "" => DEFAULT.to_string(),
        name => name.to_string(),
    };
    let spec = meta::map_mut(pod, &["spec"]);
    spec.insert("serviceAccountName".into(), json!(name));
    spec.insert("serviceAccount".into(), json!(name));
}

fn account(admission: &Admission<'_>) -> Result<Value, Status> {
    let (namespace, pod) = (admission.call.namespace(), &*admission.object);
    let name = meta::str_at(pod, &["spec", "serviceAccountName"]);
    let entry = admission.call.core.store.snapshot().get(&Key::new("serviceaccounts", namespace, name));
    entry.map(|entry| encode::parse(&entry)).ok_or_else(|| {
        let who = match meta::name(pod) {
            "" => meta::str_at(pod, &["metadata", "generateName"]),
            name => name,
        };
        let why = format!("error looking up service account {namespace}/{name}: serviceaccount \"{name}\" not found");
        Status::forbidden("", "pods", who, &why)
    })
}

fn add_pull_secrets(pod: &mut Value, account: &Value) {
    let secrets = meta::list_at(account, &["imagePullSecrets"]);
    if !secrets.is_empty() && meta::list_at(pod, &["spec", "imagePullSecrets"]).is_empty() {
        meta::map_mut(pod, &["spec"]).insert("imagePullSecrets".into(), json!(secrets));
    }
}

/// The pod decides, then the account; yes if neither says anything.
fn mounts_token(pod: &Value, account: &Value) -> bool {
    let said = |object: &Value, path: &[&str]| meta::value_at(object, path).and_then(Value::as_bool);
    said(pod, &["spec", "automountServiceAccountToken"])
        .or_else(|| said(account, &["automountServiceAccountToken"]))
        .unwrap_or(true)
}

/// Mounts the token into every container that has nothing at its place; without one, no volume is needed.
fn mount(pod: &mut Value, volume: &Value) {
    let mut mounted = false;
    let name = meta::str_at(volume, &["name"]);
    for list in ["initContainers", "containers"] {
        let containers = pod.pointer_mut(&format!("/spec/{list}")).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            let taken = meta::list_at(container, &["volumeMounts"])
                .iter()
                .any(|mount| meta::str_at(mount, &["mountPath"]) == TOKEN_PATH);
            if taken {
                continue;
            }
            let mounts = meta::map_mut(container, &[]).entry("volumeMounts").or_insert_with(|| json!([]));
            if let Some(mounts) = mounts.as_array_mut() {
                mounts.push(json!({ "name": name, "readOnly": true, "mountPath": TOKEN_PATH }));
                mounted = true;
            }
        }
    }
    if mounted && own_volume(pod).is_none() {
        let volumes = meta::map_mut(pod, &["spec"]).entry("volumes").or_insert_with(|| json!([]));
        if let Some(volumes) = volumes.as_array_mut() {
            volumes.push(volume.clone());
        }
    }
}

fn token_volume(name: &str, with_ca: bool) -> Value {
    let mut sources = vec![json!({ "serviceAccountToken": { "expirationSeconds": TOKEN_SECONDS, "path": "token" } })];
    if with_ca {
        let items = json!([{ "key": "ca.crt", "path": "ca.crt" }]);
        sources.push(json!({ "configMap": { "name": ROOT_CA, "items": items } }));
    }
    let field = json!({ "apiVersion": "v1", "fieldPath": "metadata.namespace" });
    sources.push(json!({ "downwardAPI": { "items": [{ "path": "namespace", "fieldRef": field }] } }));
    json!({ "name": name, "projected": { "defaultMode": 420, "sources": sources } })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_mounted_where_its_place_is_free() {
        let own = json!([{"name": "mine", "mountPath": TOKEN_PATH}]);
        let mut pod = json!({"spec": {"containers": [{"name": "a"}, {"name": "b", "volumeMounts": own}]}});
        mount(&mut pod, &token_volume("v", true));
        assert_eq!(pod["spec"]["containers"][0]["volumeMounts"][0]["name"], "v");
        assert_eq!(pod["spec"]["containers"][1]["volumeMounts"], own);
        assert_eq!(pod["spec"]["volumes"][0]["name"], "v");
    }

    #[test]
    fn a_copied_pod_keeps_its_volume() {
        let mut pod = json!({"spec": {"containers": [{"name": "a"}], "volumes": [{"name": "kube-api-access-old"}]}});
        let name = own_volume(&pod).expect("its own");
        mount(&mut pod, &token_volume(&name, true));
        assert_eq!(pod["spec"]["volumes"], json!([{"name": "kube-api-access-old"}]));
        assert_eq!(pod["spec"]["containers"][0]["volumeMounts"][0]["name"], "kube-api-access-old");
    }

    #[test]
    fn a_static_pod_has_no_secrets() {
        let check = |spec: Value, expected: &str| {
            let pod = json!({"metadata": {"name": "p"}, "spec": spec});
            let seen = check_mirror(&pod).err().map(|status| status.message().to_string()).unwrap_or_default();
            assert_eq!(seen.strip_prefix("pods \"p\" is forbidden: a mirror pod may not ").unwrap_or(&seen), expected);
        };
        check(json!({"containers": [{"name": "a"}]}), "");
        check(json!({"serviceAccountName": "a"}), "reference service accounts");
        check(json!({"volumes": [{"name": "v", "secret": {"secretName": "s"}}]}), "reference secrets");
        let key = json!({"name": "E", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}});
        check(json!({"containers": [{"name": "a", "env": [key]}]}), "reference secrets");
        let token = json!({"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}});
        check(json!({"volumes": [token]}), "use ServiceAccountToken volume projections");
    }

    #[test]
    fn the_pod_decides_before_the_account() {
        let says = |flag: bool| json!({"automountServiceAccountToken": flag});
        assert!(mounts_token(&json!({}), &json!({})));
        assert!(!mounts_token(&json!({}), &says(false)));
        assert!(mounts_token(&json!({"spec": says(true)}), &says(false)));
    }
}
