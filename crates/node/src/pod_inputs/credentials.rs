//! What a registry is told: the entries of pull secrets that fit an image.

use std::collections::BTreeMap;

use backstay_api::meta;
use base64::Engine as _;
use serde::Deserialize;
use serde_json::Value;

use super::objects;
use crate::runtime::Credential;

/// The registry of an image that names none, and the key that its accounts are kept under.
const DEFAULT_REGISTRY: &str = "index.docker.io";

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry {
    username: String,
    password: String,
    auth: String,
    #[serde(rename = "identitytoken")]
    identity_token: String,
    #[serde(rename = "registrytoken")]
    registry_token: String,
}

/// The accounts that may be tried for an image, those of longer keys first. Entries that cannot be read count as absent.
pub fn matching<'a>(image: &str, secrets: impl IntoIterator<Item = &'a Value>) -> Vec<Credential> {
    let mut entries: Vec<(String, Entry)> = secrets.into_iter().flat_map(entries).collect();
    entries.sort_by(|(left, _), (right, _)| right.cmp(left));
    let wanted = target(image);
    entries.into_iter().filter(|(key, _)| fits(key, &wanted)).map(|(key, entry)| credential(key, entry)).collect()
}

fn entries(secret: &Value) -> Vec<(String, Entry)> {
    let held = objects::entries(secret);
    let parse = |key: &str| held.get(key).and_then(|text| serde_json::from_slice::<Value>(text).ok());
    let accounts = match meta::str_at(secret, &["type"]) {
        "kubernetes.io/dockerconfigjson" => {
            parse(".dockerconfigjson").and_then(|mut it| Some(it.get_mut("auths")?.take()))
        }
        "kubernetes.io/dockercfg" => parse(".dockercfg"),
        _ => None,
    };
    let accounts = accounts.and_then(|it| serde_json::from_value::<BTreeMap<String, Entry>>(it).ok());
    accounts.unwrap_or_default().into_iter().collect()
}

fn credential(server: String, entry: Entry) -> Credential {
    let decoded = base64::engine::general_purpose::STANDARD.decode(entry.auth.trim()).ok();
    let pair = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
    let pair = pair.as_deref().and_then(|text| text.split_once(':'));
    let (username, password) = match pair {
        Some((username, password)) if entry.username.is_empty() => (username.to_string(), password.to_string()),
        _ => (entry.username, entry.password),
    };
    let (identity_token, registry_token) = (entry.identity_token, entry.registry_token);
    Credential { username, password, identity_token, registry_token, server }
}

/// `HOST[:PORT]/PATH` of an image, without tag and digest.
fn target(image: &str) -> String {
    let image = image.split('@').next().unwrap_or(image);
    let image = match image.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        _ => image,
    };
    let first = image.split('/').next().unwrap_or_default();
    let has_host = image.contains('/') && (first.contains(['.', ':']) || first == "localhost");
    match image.strip_prefix("docker.io/") {
        Some(path) => format!("{DEFAULT_REGISTRY}/{path}"),
        None if has_host => image.to_string(),
        None => format!("{DEFAULT_REGISTRY}/{image}"),
    }
}

/// Whether a key, such as `https://index.docker.io/v1/`, `*.example.com` or `example.com:5000/team`, covers an image.
fn fits(key: &str, wanted: &str) -> bool {
    let key = key.trim_start_matches("https://").trim_start_matches("http://").trim_end_matches('/');
    let key = key.strip_suffix("/v1").or_else(|| key.strip_suffix("/v2")).unwrap_or(key);
    let key = if key == "docker.io" { DEFAULT_REGISTRY } else { key };
    let (key_host, key_path) = key.split_once('/').unwrap_or((key, ""));
    let (host, path) = wanted.split_once('/').unwrap_or((wanted, ""));
    host_fits(key_host, host) && path.starts_with(key_path)
}

/// Part by part, `*` within a part; the ports must be the same.
fn host_fits(key: &str, host: &str) -> bool {
    let (key, key_port) = key.split_once(':').unwrap_or((key, ""));
    let (host, port) = host.split_once(':').unwrap_or((host, ""));
    let (key, host): (Vec<&str>, Vec<&str>) = (key.split('.').collect(), host.split('.').collect());
    key_port == port && key.len() == host.len() && key.iter().zip(host).all(|(key, part)| part_fits(key, part))
}

fn part_fits(key: &str, part: &str) -> bool {
    match key.split_once('*') {
        None => key == part,
        Some((before, after)) => {
            part.len() >= before.len() + after.len() && part.starts_with(before) && part.ends_with(after)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(image: &str, key: &str, expected: bool) {
        assert_eq!(fits(key, &target(image)), expected, "{image} {key}");
    }

    #[test]
    fn keys_cover_images() {
        check("busybox", "https://index.docker.io/v1/", true);
        check("team/app:v1", "docker.io", true);
        check("docker.io/library/busybox:1", "index.docker.io", true);
        check("localhost:5000/app:v1@sha256:00", "localhost:5000", true);
        check("localhost:5000/app", "localhost", false);
        check("r.example.com/team/app:v1", "r.example.com/team", true);
        check("r.example.com/other/app", "r.example.com/team", false);
        check("r.example.com/app", "*.example.com", true);
        check("a.b.example.com/app", "*.example.com", false);
        check("r1x.example.com/app", "r*x.example.com", true);
        check("example.com.evil.org/app", "example.com", false);
    }

    #[test]
    fn accounts_of_both_kinds_of_secret() {
        let encode = |value: Value| base64::engine::general_purpose::STANDARD.encode(value.to_string());
        let auth = base64::engine::general_purpose::STANDARD.encode("u:p:q");
        let config =
            encode(json!({ "auths": { "r.io": { "auth": auth }, "r.io/team": { "username": "a", "password": "b" } } }));
        let one = json!({ "kind": "Secret", "type": "kubernetes.io/dockerconfigjson", "data": { ".dockerconfigjson": config } });
        let old = encode(json!({ "r.io": { "username": "old" } }));
        let two = json!({ "kind": "Secret", "type": "kubernetes.io/dockercfg", "data": { ".dockercfg": old } });
        let broken = json!({ "kind": "Secret", "type": "kubernetes.io/dockercfg", "data": { ".dockercfg": "e" } });
        let found = matching("r.io/team/app", [&broken, &one, &two]);
        let shown: Vec<_> = found.iter().map(|it| (it.username.as_str(), it.password.as_str())).collect();
        assert_eq!(shown, [("a", "b"), ("u", "p:q"), ("old", "")]);
    }
}
