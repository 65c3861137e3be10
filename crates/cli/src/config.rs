//! From flags and kubeconfig files to the server to talk to.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use backstay_api::causes::chain;
use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Map, Value, json};

use crate::Globals;
use crate::error::{Failure, Outcome, quoted};

/// Where to go, and the namespace to work in.
pub struct Target {
    pub config: Config,
    pub namespace: String,
    /// The user named the namespace, so files must not name another.
    pub namespace_given: bool,
}

/// Reads the kubeconfig files and puts the flags over them.
pub async fn target(globals: &Globals) -> Outcome<Target> {
    let merged = read_all(globals)?;
    let inside = merged.is_none() && globals.server.is_none() && env::var_os("KUBERNETES_SERVICE_HOST").is_some();
    if inside && let Ok(config) = Config::incluster() {
        let namespace = globals.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        return Ok(Target { config, namespace, namespace_given: globals.namespace.is_some() });
    }
    let mut chosen = Chosen::from(&merged.unwrap_or_else(|| json!({})), globals)?;
    chosen.override_by(globals);
    let namespace = globals.namespace.clone().or(chosen.namespace.take());
    let mut config = chosen.into_config().await?;
    // Retries are the caller's business: a command line should say what the server said.
    config.default_retry = false;
    Ok(Target {
        config,
        namespace: namespace.unwrap_or_else(|| "default".into()),
        namespace_given: globals.namespace.is_some(),
    })
}

/// The files in order of precedence, merged; `None` if there are none.
fn read_all(globals: &Globals) -> Outcome<Option<Value>> {
    if let Some(path) = &globals.kubeconfig {
        return read(path, true);
    }
    let paths = match env::var_os("KUBECONFIG").filter(|list| !list.is_empty()) {
        Some(list) => env::split_paths(&list).filter(|path| !path.as_os_str().is_empty()).collect(),
        None => env::home_dir().map(|home| home.join(".kube/config")).into_iter().collect::<Vec<PathBuf>>(),
    };
    let mut merged: Option<Value> = None;
    for path in paths {
        let Some(next) = read(&path, false)? else { continue };
        merged = Some(match merged {
            None => next,
            Some(first) => merge(first, next),
        });
    }
    Ok(merged)
}

fn read(path: &Path, must_exist: bool) -> Outcome<Option<Value>> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !must_exist => return Ok(None),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(Failure::plain(format!("stat {}: no such file or directory", path.display())));
        }
        Err(error) => {
            return Err(Failure::plain(format!(
                "error loading config file {}: {error}",
                quoted(&path.to_string_lossy())
            )));
        }
    };
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let config = parse(&text, absolute.parent().unwrap_or(Path::new("/"))).map_err(|error| {
        Failure::plain(format!("error loading config file {}: {error}", quoted(&path.to_string_lossy())))
    })?;
    Ok(Some(config))
}

/// The text of a kubeconfig that lies in `base`.
fn parse(text: &str, base: &Path) -> Result<Value, String> {
    let mut config: Value = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
    resolve_paths(&mut config, base);
    Ok(config)
}

/// Reads the text of a kubeconfig and chooses from it, as every verb does.
///
/// # Errors
/// What is wrong with it.
pub fn check_kubeconfig(text: &str) -> Result<(), String> {
    let config = merge(parse(text, Path::new("/"))?, Value::Null);
    Chosen::from(&config, &Globals::default()).map(drop).map_err(|failure| failure.to_string())
}

/// File names in a kubeconfig are relative to it.
fn resolve_paths(config: &mut Value, base: &Path) {
    const PATHS: [(&str, &str, &[&str]); 2] = [
        ("clusters", "cluster", &["certificate-authority"]),
        ("users", "user", &["client-certificate", "client-key", "tokenFile"]),
    ];
    for (list, inner, fields) in PATHS {
        let entries = config.get_mut(list).and_then(Value::as_array_mut);
        for entry in entries.into_iter().flatten() {
            for field in fields {
                let Some(value) = entry.get_mut(inner).and_then(|inner| inner.get_mut(field)) else { continue };
                if let Some(path) = value.as_str().filter(|path| !path.is_empty()) {
                    *value = base.join(path).to_string_lossy().into_owned().into();
                }
            }
            let command = entry.get_mut(inner).and_then(|inner| inner.pointer_mut("/exec/command"));
            if let Some(command) = command
                && let Some(path) = command.as_str().filter(|path| path.contains('/'))
            {
                *command = base.join(path).to_string_lossy().into_owned().into();
            }
        }
    }
}

/// The first file that says something wins.
fn merge(mut first: Value, next: Value) -> Value {
    for list in ["clusters", "users", "contexts"] {
        let known: Vec<String> = entries(&first, list).map(|entry| name_of(entry).to_string()).collect();
        let new: Vec<Value> =
            entries(&next, list).filter(|entry| !known.iter().any(|name| name == name_of(entry))).cloned().collect();
        if let Some(fields) = first.as_object_mut() {
            match fields.entry(list).or_insert_with(|| json!([])) {
                Value::Array(all) => all.extend(new),
                other => *other = new.into(),
            }
        }
    }
    let current = |config: &Value| config.get("current-context").and_then(Value::as_str).unwrap_or("").to_string();
    if current(&first).is_empty()
        && let Some(fields) = first.as_object_mut()
    {
        fields.insert("current-context".into(), current(&next).into());
    }
    first
}

fn entries<'a>(config: &'a Value, list: &str) -> impl Iterator<Item = &'a Value> {
    config.get(list).and_then(Value::as_array).into_iter().flatten()
}

fn name_of(entry: &Value) -> &str {
    entry.get("name").and_then(Value::as_str).unwrap_or("")
}

/// One cluster, one user, one namespace.
struct Chosen {
    cluster: Map<String, Value>,
    user: Map<String, Value>,
    namespace: Option<String>,
}

impl Chosen {
    fn from(config: &Value, globals: &Globals) -> Outcome<Self> {
        let current = config.get("current-context").and_then(Value::as_str).unwrap_or("");
        let context_name = globals.context.as_deref().unwrap_or(current);
        let context = match find(config, "contexts", "context", context_name) {
            Some(context) => context,
            None if context_name.is_empty() => Map::new(),
            None => return Err(Failure::plain(format!("context {} does not exist", quoted(context_name)))),
        };
        let text = |field: &str| context.get(field).and_then(Value::as_str).unwrap_or("").to_string();
        let pick = |list: &str, inner: &str, flag: &Option<String>, title: &str| {
            let name = flag.clone().unwrap_or_else(|| text(inner));
            match find(config, list, inner, &name) {
                Some(found) => Ok(found),
                None if flag.is_some() => Err(Failure::plain(format!("{title} {} does not exist", quoted(&name)))),
                None => Ok(Map::new()),
            }
        };
        Ok(Self {
            cluster: pick("clusters", "cluster", &globals.cluster, "cluster")?,
            user: pick("users", "user", &globals.user, "auth info")?,
            namespace: Some(text("namespace")).filter(|namespace| !namespace.is_empty()),
        })
    }

    fn override_by(&mut self, globals: &Globals) {
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.to_string_lossy().into_owned());
        set(&mut self.cluster, "server", globals.server.clone());
        set(&mut self.cluster, "tls-server-name", globals.tls_server_name.clone());
        if globals.certificate_authority.is_some() {
            self.cluster.remove("certificate-authority-data");
            set(&mut self.cluster, "certificate-authority", path(&globals.certificate_authority));
        }
        if globals.insecure_skip_tls_verify {
            self.cluster.remove("certificate-authority-data");
            self.cluster.remove("certificate-authority");
            self.cluster.insert("insecure-skip-tls-verify".into(), true.into());
        }
        if globals.token.is_some() {
            ["tokenFile", "exec", "auth-provider"].iter().for_each(|field| drop(self.user.remove(*field)));
            set(&mut self.user, "token", globals.token.clone());
        }
        for (field, data, flag) in [
            ("client-certificate", "client-certificate-data", &globals.client_certificate),
            ("client-key", "client-key-data", &globals.client_key),
        ] {
            if flag.is_some() {
                self.user.remove(data);
                set(&mut self.user, field, path(flag));
            }
        }
        set(&mut self.user, "as", globals.impersonate.clone());
        set(&mut self.user, "as-uid", globals.impersonate_uid.clone());
        if !globals.impersonate_group.is_empty() {
            self.user.insert("as-groups".into(), globals.impersonate_group.clone().into());
        }
    }

    async fn into_config(mut self) -> Outcome<Config> {
        let server = self.cluster.get("server").and_then(Value::as_str).filter(|server| !server.is_empty());
        let server = match server {
            None => "http://localhost:8080".to_string(),
            Some(server) if server.contains("://") => server.to_string(),
            Some(server) => format!("http://{server}"),
        };
        self.cluster.insert("server".into(), server.into());
        let one: Kubeconfig = serde_json::from_value(json!({
            "clusters": [{"name": "chosen", "cluster": self.cluster}],
            "users": [{"name": "chosen", "user": self.user}],
            "contexts": [{"name": "chosen", "context": {"cluster": "chosen", "user": "chosen"}}],
            "current-context": "chosen",
        }))
        .map_err(|error| Failure::plain(format!("error loading config: {error}")))?;
        let config = Config::from_custom_kubeconfig(one, &KubeConfigOptions::default()).await;
        config.map_err(|error| Failure::plain(chain(&error)))
    }
}

fn find(config: &Value, list: &str, inner: &str, name: &str) -> Option<Map<String, Value>> {
    let entry = entries(config, list).find(|entry| !name.is_empty() && name_of(entry) == name)?;
    Some(entry.get(inner).and_then(Value::as_object).cloned().unwrap_or_default())
}

fn set(fields: &mut Map<String, Value>, field: &str, value: Option<String>) {
    if let Some(value) = value {
        fields.insert(field.into(), value.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_file_wins_and_the_others_add() {
        let first = json!({"clusters": [{"name": "a", "cluster": {"server": "1"}}], "current-context": ""});
        let next = json!({
            "clusters": [{"name": "a", "cluster": {"server": "2"}}, {"name": "b", "cluster": {"server": "3"}}],
            "current-context": "c",
        });
        let merged = merge(first, next);
        assert_eq!(find(&merged, "clusters", "cluster", "a").unwrap()["server"], "1");
        assert_eq!(find(&merged, "clusters", "cluster", "b").unwrap()["server"], "3");
        assert_eq!(merged["current-context"], "c");
    }

    #[test]
    fn file_names_are_relative_to_the_file() {
        let mut config = json!({
            "clusters": [{"name": "a", "cluster": {"certificate-authority": "ca.crt"}}],
            "users": [{"name": "a", "user": {"client-key": "/abs.key", "exec": {"command": "./plugin"}}}],
        });
        resolve_paths(&mut config, Path::new("/etc/k"));
        assert_eq!(config["clusters"][0]["cluster"]["certificate-authority"], "/etc/k/ca.crt");
        assert_eq!(config["users"][0]["user"]["client-key"], "/abs.key");
        assert_eq!(config["users"][0]["user"]["exec"]["command"], "/etc/k/./plugin");
    }

    #[test]
    fn a_context_that_is_named_must_exist() {
        let globals = Globals { context: Some("x".into()), ..Globals::default() };
        let error = Chosen::from(&json!({}), &globals).err().unwrap();
        assert_eq!(error.to_string(), "error: context \"x\" does not exist");
    }
}
