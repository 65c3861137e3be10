//! The ConfigMaps, Secrets and tokens that a pod refers to.

use std::collections::{BTreeMap, BTreeSet};

use backstay_api::{meta, pod};
use serde_json::Value;

/// Something that must be fetched before a pod's environment and volumes can be worked out.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reference {
    ConfigMap(String),
    Secret(String),
    /// A token of the pod's service account.
    Token {
        audience: String,
        expiration_seconds: i64,
    },
}

/// What has been fetched; `None` stands for what does not exist.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Objects(pub BTreeMap<Reference, Option<Value>>);

impl Objects {
    /// The object, or the words in which a kubelet misses it.
    ///
    /// # Errors
    /// `configmap "x" not found`.
    pub fn get(&self, reference: &Reference) -> Result<&Value, String> {
        self.0.get(reference).and_then(Option::as_ref).ok_or_else(|| match reference {
            Reference::ConfigMap(name) => format!("configmap \"{name}\" not found"),
            Reference::Secret(name) => format!("secret \"{name}\" not found"),
            Reference::Token { .. } => "the server gives no token for the pod's service account".to_string(),
        })
    }
}

/// Everything that a pod refers to, in environment and volumes.
pub fn references(pod: &Value) -> BTreeSet<Reference> {
    let mut found = BTreeSet::new();
    for container in pod::containers(pod) {
        for source in meta::list_at(container, &["envFrom"]) {
            named(&mut found, source, "configMapRef", "secretRef", "name");
        }
        for variable in meta::list_at(container, &["env"]) {
            let source = variable.get("valueFrom").unwrap_or(&Value::Null);
            named(&mut found, source, "configMapKeyRef", "secretKeyRef", "name");
        }
    }
    for secret in meta::list_at(pod, &["spec", "imagePullSecrets"]) {
        found.extend(
            Some(meta::str_at(secret, &["name"])).filter(|it| !it.is_empty()).map(|it| Reference::Secret(it.into())),
        );
    }
    for volume in meta::list_at(pod, &["spec", "volumes"]) {
        in_volume(&mut found, volume);
        for source in meta::list_at(volume, &["projected", "sources"]) {
            named(&mut found, source, "configMap", "secret", "name");
            if let Some(token) = meta::value_at(source, &["serviceAccountToken"]) {
                found.insert(token_reference(token));
            }
        }
    }
    found
}

/// The token that a projected volume asks for.
pub fn token_reference(source: &Value) -> Reference {
    Reference::Token {
        audience: meta::str_at(source, &["audience"]).to_string(),
        expiration_seconds: meta::int_at(source, &["expirationSeconds"]).unwrap_or(3600),
    }
}

fn in_volume(found: &mut BTreeSet<Reference>, volume: &Value) {
    let config_map = meta::str_at(volume, &["configMap", "name"]);
    let secret = meta::str_at(volume, &["secret", "secretName"]);
    found.extend((!config_map.is_empty()).then(|| Reference::ConfigMap(config_map.to_string())));
    found.extend((!secret.is_empty()).then(|| Reference::Secret(secret.to_string())));
}

fn named(found: &mut BTreeSet<Reference>, source: &Value, config_map: &str, secret: &str, name: &str) {
    let name_of = |kind: &str| Some(meta::str_at(source, &[kind, name]).to_string()).filter(|name| !name.is_empty());
    found.extend(name_of(config_map).map(Reference::ConfigMap));
    found.extend(name_of(secret).map(Reference::Secret));
}

/// The bytes under a key of a ConfigMap or Secret.
pub fn value(object: &Value, key: &str) -> Option<Vec<u8>> {
    entries(object).remove(key)
}

/// All entries of a ConfigMap or Secret, decoded.
pub fn entries(object: &Value) -> BTreeMap<String, Vec<u8>> {
    use base64::Engine as _;
    let decode = |text: &str| base64::engine::general_purpose::STANDARD.decode(text).ok();
    let encoded = |field: &str| {
        let entries = meta::string_map(object.get(field)).into_iter();
        entries.filter_map(move |(key, text)| Some((key, decode(&text)?)))
    };
    match meta::str_at(object, &["kind"]) {
        "Secret" => encoded("data").collect(),
        _ => {
            let texts = meta::string_map(object.get("data")).into_iter();
            texts.map(|(key, text)| (key, text.into_bytes())).chain(encoded("binaryData")).collect()
        }
    }
}
