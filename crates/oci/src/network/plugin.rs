//! One call of one plugin: a program that reads its configuration, and says what it made.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Map, Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::version::NEWEST;
use super::{Connection, Network};

pub(super) struct Call<'a> {
    /// `ADD` or `DEL`.
    pub(super) command: &'static str,
    pub(super) network: &'a Network,
    pub(super) connection: &'a Connection,
    /// `None`: it is gone.
    pub(super) namespace: Option<&'a Path>,
    pub(super) device: &'static str,
}

impl Call<'_> {
    /// What the plugin answers; `None` if it has nothing to say.
    pub(super) async fn run(
        &self,
        name: &str,
        version: &str,
        plugin: &Map<String, Value>,
        previous: Option<&Value>,
    ) -> Result<Option<Value>, String> {
        let input = input(name, version, plugin, &self.connection.capabilities, previous);
        let namespace = self.namespace.unwrap_or(Path::new("")).as_os_str();
        let environment: [(&str, &OsStr); 4] = [
            ("CNI_CONTAINERID", self.connection.id.as_ref()),
            ("CNI_NETNS", namespace),
            ("CNI_IFNAME", self.device.as_ref()),
            ("CNI_ARGS", self.connection.arguments.as_ref()),
        ];
        call(self.network, self.command, plugin, &environment, &input).await
    }

    pub(super) fn is_there(&self, plugin: &Map<String, Value>) -> bool {
        find(self.network, kind(plugin)).is_ok()
    }
}

/// The versions that a plugin says it speaks; `None`: it does not say.
pub(super) async fn versions(network: &Network, plugin: &Map<String, Value>) -> Option<Vec<String>> {
    let input = json!({ "cniVersion": NEWEST.to_string() });
    let answer = call(network, "VERSION", plugin, &[], &input).await.ok().flatten()?;
    let versions = answer["supportedVersions"].as_array()?;
    Some(versions.iter().filter_map(|version| Some(version.as_str()?.to_string())).collect())
}

async fn call(
    network: &Network,
    command: &'static str,
    plugin: &Map<String, Value>,
    environment: &[(&str, &OsStr)],
    input: &Value,
) -> Result<Option<Value>, String> {
    let (kind, verb) = (kind(plugin), command.to_lowercase());
    let failed = |why: String| format!("plugin type={kind:?} failed ({verb}): {why}");
    let program = find(network, kind).map_err(failed)?;
    let paths = std::env::join_paths(&network.plugins).map_err(|error| failed(error.to_string()))?;
    let mut child = Command::new(&program)
        .env("CNI_COMMAND", command)
        .env("CNI_PATH", paths)
        .envs(environment.iter().copied())
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(|error| failed(format!("{}: {error}", program.display())))?;
    let mut group = Group(child.id());
    let input = input.to_string();
    let talk = async {
        if let Some(mut stdin) = child.stdin.take() {
            // One that does not read all of it has its reasons, and says them.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
        child.wait_with_output().await
    };
    let output = match tokio::time::timeout(network.patience, talk).await {
        Ok(output) => output.map_err(|error| failed(error.to_string()))?,
        Err(_elapsed) => return Err(failed(format!("no answer within {} s", network.patience.as_secs()))),
    };
    group.0 = None;
    let answer: Option<Value> = serde_json::from_slice(&output.stdout).ok();
    if output.status.success() {
        return Ok(answer);
    }
    let said = answer.as_ref().and_then(complaint);
    Err(failed(said.unwrap_or_else(|| {
        let words = String::from_utf8_lossy(&output.stderr).trim().to_string();
        if words.is_empty() { format!("{} without a word", output.status) } else { words }
    })))
}

/// A plugin that has not ended, and the plugins that it asks in turn: killed with whoever waits for it.
struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        let leader = self.0.and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        if let Some(leader) = leader {
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}

fn find(network: &Network, kind: &str) -> Result<PathBuf, String> {
    let is_name = !kind.is_empty() && !kind.contains('/') && kind != "." && kind != "..";
    let places = network.plugins.iter().map(|folder| folder.join(kind));
    let found = places.filter(|_| is_name).find(|program| program.is_file());
    found.ok_or_else(|| {
        let folders: Vec<String> = network.plugins.iter().map(|folder| folder.display().to_string()).collect();
        format!("failed to find plugin {kind:?} in path [{}]", folders.join(" "))
    })
}

fn kind(plugin: &Map<String, Value>) -> &str {
    plugin.get("type").and_then(Value::as_str).unwrap_or_default()
}

/// What a plugin reads: its own part of the list, and what goes for the list as a whole.
fn input(
    name: &str,
    version: &str,
    plugin: &Map<String, Value>,
    capabilities: &Value,
    previous: Option<&Value>,
) -> Value {
    let mut input = plugin.clone();
    input.insert("name".into(), name.into());
    input.insert("cniVersion".into(), version.into());
    let wanted = match input.remove("capabilities") {
        Some(Value::Object(wanted)) => wanted,
        _ => Map::new(),
    };
    let given: Map<String, Value> = wanted
        .into_iter()
        .filter(|(_, is_wanted)| is_wanted == &json!(true))
        .filter_map(|(capability, _)| Some((capability.clone(), capabilities.get(&capability)?.clone())))
        .collect();
    if !given.is_empty() {
        input.insert("runtimeConfig".into(), Value::Object(given));
    }
    if let Some(previous) = previous {
        input.insert("prevResult".into(), previous.clone());
    }
    Value::Object(input)
}

fn complaint(answer: &Value) -> Option<String> {
    let message = answer["msg"].as_str().filter(|message| !message.is_empty())?;
    let details = answer["details"].as_str().unwrap_or_default();
    Some(if details.is_empty() { message.into() } else { format!("{message}; {details}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(plugin: Value, previous: Option<Value>, expected: Value) {
        let plugin = plugin.as_object().unwrap();
        let capabilities = json!({ "portMappings": [{ "hostPort": 80 }] });
        assert_eq!(input("pods", "1.0.0", plugin, &capabilities, previous.as_ref()), expected);
    }

    #[test]
    fn a_plugin_reads_its_part_and_what_it_asks_for() {
        let named = |rest: Value| {
            let mut whole = json!({ "name": "pods", "cniVersion": "1.0.0" });
            whole.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
            whole
        };
        check(json!({ "type": "bridge" }), None, named(json!({ "type": "bridge" })));
        check(
            json!({ "type": "portmap", "capabilities": { "portMappings": true, "bandwidth": true } }),
            Some(json!({ "ips": [] })),
            named(json!({ "type": "portmap", "runtimeConfig": { "portMappings": [{ "hostPort": 80 }] },
                "prevResult": { "ips": [] } })),
        );
        check(
            json!({ "type": "portmap", "capabilities": { "portMappings": false } }),
            None,
            named(json!({ "type": "portmap" })),
        );
    }

    #[test]
    fn complaints_are_told_whole() {
        assert_eq!(complaint(&json!({ "code": 7, "msg": "no", "details": "since" })), Some("no; since".into()));
        assert_eq!(complaint(&json!({ "msg": "no" })), Some("no".into()));
        assert_eq!(complaint(&json!({})), None);
    }
}
