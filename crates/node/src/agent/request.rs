//! What a runtime is asked for: sandboxes and containers, from the pod's object and what it refers to.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use backstay_api::{meta, pod};
use serde_json::{Value, json};

use super::pods_dir;
use super::workers::Worker;
use crate::client;
use crate::join::host_and_port;
use crate::pod_inputs::{env, resources, sandbox, security, volumes};
use crate::process::layout::Layout;
use crate::runtime::{ContainerKey, Image, Mount, PATH, SandboxRequest, StartRequest};

/// Where a container's last words go, unless it says otherwise.
const TERMINATION_MESSAGE: &str = "/dev/termination-log";
const HOSTS: &str = "/etc/hosts";

impl Worker {
    fn layout(&self) -> Layout {
        Layout { pods: pods_dir(&self.context.config.data_dir) }
    }

    /// The handler of the pod's RuntimeClass; empty if it has none.
    pub(super) async fn handler(&self) -> Result<String, String> {
        let class = meta::str_at(&self.object, &["spec", "runtimeClassName"]);
        if class.is_empty() {
            return Ok(String::new());
        }
        match self.context.api.get(&format!("/apis/node.k8s.io/v1/runtimeclasses/{class}")).await {
            Ok(object) => Ok(meta::str_at(&object, &["handler"]).to_string()),
            Err(error) if client::code(&error) == Some(404) => Err(format!("RuntimeClass {class:?} not found")),
            Err(error) => Err(error.to_string()),
        }
    }

    pub(super) fn sandbox_request(&self, handler: &str) -> SandboxRequest {
        let resolv_conf = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
        let logs = self.layout().pod(meta::uid(&self.object)).join("logs");
        sandbox::request(&self.object, handler, &resolv_conf, logs)
    }

    pub(super) fn container_spec(&self, name: &str) -> Option<&Value> {
        pod::containers(&self.object).find(|spec| meta::str_at(spec, &["name"]) == name)
    }

    /// Everything the runtime needs, or why the container cannot be made.
    pub(super) fn request(
        &self,
        key: &ContainerKey,
        spec: &Value,
        image: Option<Image>,
        backoff_seconds: i64,
    ) -> Result<StartRequest, String> {
        let object = &self.with_addresses();
        let own = env::resolve(object, spec, &self.context.facts, &self.inputs.objects)?;
        let mut mounts = volumes::mounts(spec, &own, &self.inputs.places)?;
        for (mount, said) in mounts.iter().zip(meta::list_at(spec, &["volumeMounts"])) {
            mount.make_sub_path().map_err(|why| {
                let volume = meta::str_at(said, &["name"]);
                format!("failed to prepare subPath for volumeMount {volume:?} of container {:?}: {why}", key.name)
            })?;
        }
        let security = security::of_container(object, spec, image.as_ref().map(|image| &image.user))?;
        let mut termination_message = None;
        if image.is_some() {
            self.mount_hosts(&mut mounts)?;
            termination_message = Some(self.mount_termination_message(key, spec, &mut mounts)?);
        }
        let mut all = self.standard_env(image.is_some());
        own.iter().for_each(|(name, value)| env::set(&mut all, name, value.clone()));
        let words = |field: &str| -> Vec<String> {
            let words = meta::list_at(spec, &[field]).iter().filter_map(Value::as_str);
            words.map(|word| env::expand(word, &own)).collect()
        };
        let text = |path: &[&str]| Some(meta::str_at(spec, path).to_string()).filter(|text| !text.is_empty());
        let is = |field: &str| meta::value_at(spec, &[field]) == Some(&Value::Bool(true));
        Ok(StartRequest {
            image: meta::str_at(spec, &["image"]).to_string(),
            image_id: image.map(|image| image.id).unwrap_or_default(),
            command: words("command"),
            args: words("args"),
            env: all,
            working_dir: text(&["workingDir"]),
            mounts,
            limits: resources::limits(spec),
            security,
            pid_of: self.target_of(key, spec)?,
            oom_score_adj: sandbox::oom_score_adj(object, spec, self.context.facts.memory_bytes),
            stdin: is("stdin"),
            stdin_once: is("stdinOnce"),
            tty: is("tty"),
            stop_signal: text(&["lifecycle", "stopSignal"]),
            termination_message,
            message_from_log: meta::str_at(spec, &["terminationMessagePolicy"]) == "FallbackToLogsOnError",
            log: self.layout().log(key),
            backoff_seconds,
        })
    }

    /// The container whose processes this one is to look at.
    fn target_of(&self, key: &ContainerKey, spec: &Value) -> Result<Option<ContainerKey>, String> {
        let name = meta::str_at(spec, &["targetContainerName"]);
        if name.is_empty() {
            return Ok(None);
        }
        let latest = self.seen.latest(name).filter(|record| record.is_running());
        let attempt = latest.ok_or_else(|| format!("unable to find target container {name:?}"))?.attempt;
        Ok(Some(ContainerKey { name: name.to_string(), attempt, ..key.clone() }))
    }

    /// The pod with its addresses as they are, which its status may not say yet.
    fn with_addresses(&self) -> Value {
        let mut object = self.object.clone();
        let ips = self.seen.sandbox.as_ref().map(|sandbox| sandbox.ips.as_slice()).unwrap_or_default();
        if let Some(first) = ips.first() {
            object["status"]["podIP"] = first.as_str().into();
            object["status"]["podIPs"] = ips.iter().map(|ip| json!({ "ip": ip })).collect();
        }
        object
    }

    fn standard_env(&self, has_image: bool) -> Vec<(String, String)> {
        let mut env = Vec::new();
        if !has_image {
            let volumes = self.layout().volumes(meta::uid(&self.object));
            let hostname = rustix::system::uname().nodename().to_string_lossy().into_owned();
            env.extend([("PATH", PATH.to_string()), ("HOME", "/".to_string()), ("HOSTNAME", hostname)]);
            env.push(("BACKSTAY_VOLUME_DIR", volumes.display().to_string()));
        }
        if let Some((host, port)) = self.context.api.server_url().as_deref().and_then(host_and_port) {
            env.extend([("KUBERNETES_SERVICE_HOST", host), ("KUBERNETES_SERVICE_PORT", port.to_string())]);
        }
        env.into_iter().map(|(name, value)| (name.to_string(), value)).collect()
    }

    /// Gives the container the pod's own `/etc/hosts`, unless it brings one.
    fn mount_hosts(&self, mounts: &mut Vec<Mount>) -> Result<(), String> {
        if mounts.iter().any(|mount| mount.target == Path::new(HOSTS)) {
            return Ok(());
        }
        let file = self.layout().pod(meta::uid(&self.object)).join("etc-hosts");
        let ips = self.seen.sandbox.as_ref().map(|sandbox| sandbox.ips.clone()).unwrap_or_default();
        let text = sandbox::hosts_file(&self.object, &ips, &fs::read_to_string(HOSTS).unwrap_or_default());
        // Changed in place: containers that run have it mounted.
        if fs::read_to_string(&file).ok().as_deref() != Some(&text) {
            write(&file, text.as_bytes(), 0o644)?;
        }
        mounts.push(Mount { source: file, target: HOSTS.into(), ..Mount::default() });
        Ok(())
    }

    fn mount_termination_message(
        &self,
        key: &ContainerKey,
        spec: &Value,
        mounts: &mut Vec<Mount>,
    ) -> Result<PathBuf, String> {
        let path = Some(meta::str_at(spec, &["terminationMessagePath"])).filter(|path| !path.is_empty());
        let file = self.layout().attempt(key).join("termination-log");
        // Anybody may write: the container may run as anybody.
        write(&file, b"", 0o666)?;
        let target = path.unwrap_or(TERMINATION_MESSAGE).into();
        mounts.push(Mount { source: file.clone(), target, ..Mount::default() });
        Ok(file)
    }
}

fn write(file: &Path, content: &[u8], mode: u32) -> Result<(), String> {
    let parent = file.parent().unwrap_or(Path::new("/"));
    let written = fs::create_dir_all(parent)
        .and_then(|()| fs::write(file, content))
        .and_then(|()| fs::set_permissions(file, fs::Permissions::from_mode(mode)));
    written.map_err(|error| format!("cannot write {}: {error}", file.display()))
}
