//! Networks of pods, by the plugins of the machine: CNI 1.1 and before.
//!
//! The agent's part of the protocol only: which configuration, in which order, with what; what a network is, is up to
//! the plugins. What belongs to nobody is not collected (`GC`): the machine's networks may be others' as well, such as a
//! containerd's, whose pods we do not know. Source: the CNI specification 1.1.0, and the choices of containerd where it
//! leaves some.

mod configuration;
mod namespace;
mod plugin;
mod result;
mod version;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use backstay_api::quantity::Quantity;
use backstay_node::pod_inputs::sysctls;
use backstay_node::process::layout;
use backstay_node::runtime::{SandboxRequest, is_mounted};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use configuration::Configuration;
use plugin::Call;

pub(crate) use namespace::{Kind, connect, pin, unpin};

/// Where the machine keeps its networks and plugins.
#[derive(Clone, Debug)]
pub struct Network {
    /// Read each time that a pod comes: the first configuration in it, by file name, counts.
    pub configurations: PathBuf,
    /// Searched in this order.
    pub plugins: Vec<PathBuf>,
    /// A plugin that takes longer hangs, and is ended.
    pub patience: Duration,
}

/// Usual places. Source: containerd, and where Debian installs plugins.
pub const CONFIGURATIONS: &str = "/etc/cni/net.d";
pub const PLUGINS: [&str; 3] = ["/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni"];
/// Source: kubelets give a sandbox four minutes in all, and what was begun has to be taken back in them as well.
const PATIENCE: Duration = Duration::from_secs(110);

impl Default for Network {
    fn default() -> Self {
        Self { configurations: CONFIGURATIONS.into(), plugins: PLUGINS.map(PathBuf::from).into(), patience: PATIENCE }
    }
}

/// The pod's device.
const DEVICE: &str = "eth0";
/// What has been connected, kept until it is disconnected again.
const STATE: &str = "network.json";
const NOT_READY: &str = "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady \
    message:Network plugin returns error: cni plugin not initialized";

/// All that is needed to take a connection back, whatever became of the configuration since.
#[derive(Serialize, Deserialize)]
struct Connection {
    configuration: Configuration,
    id: String,
    arguments: String,
    capabilities: Value,
    /// What the last plugin said; `None`: not all of them have been asked yet.
    result: Option<Value>,
}

impl Network {
    /// Connects the namespace `ns/net` in the pod's directory, unless it is connected already.
    ///
    /// # Errors
    /// In words for the pod's events. What has been connected until then is taken back.
    pub(crate) async fn connect(&self, dir: &Path, request: &SandboxRequest) -> Result<(), String> {
        let id = &request.pod.uid;
        let failed = |why: String| format!("failed to setup network for sandbox {id:?}: {why}");
        let namespace = dir.join("ns/net");
        if read(dir).is_some_and(|known| known.result.is_some()) && is_mounted(&namespace) {
            return Ok(());
        }
        let Some(configuration) = self.configuration().await.map_err(failed)? else {
            let folder = self.configurations.display();
            return Err(format!(
                "{NOT_READY}: there is no network configuration in {folder}; set hostNetwork: true, or install one"
            ));
        };
        // What a try that was cut short has left, or a machine that was switched off.
        self.disconnect(dir).await?;
        let wanted = request.sysctls.clone();
        pin(&namespace, Kind::Network, move || write_sysctls(&wanted, sysctls::NET))
            .map_err(|error| failed(format!("cannot make a network namespace: {error}")))?;
        let mut connection = Connection {
            configuration,
            id: id.clone(),
            arguments: arguments(request),
            capabilities: capabilities(request),
            result: None,
        };
        let write = |connection: &Connection| {
            layout::write(&dir.join(STATE), connection)
                .map_err(|error| failed(format!("cannot keep its state: {error}")))
        };
        write(&connection)?;
        match self.add(&connection, &namespace).await {
            Ok(result) => {
                connection.result = Some(result);
                write(&connection)
            }
            Err(why) => {
                if let Err(also) = self.disconnect(dir).await {
                    tracing::warn!(pod = %id, error = %also, "what has been connected of a network stays for now");
                }
                Err(failed(why))
            }
        }
    }

    /// What is configured now, in the newest of its versions that all of its plugins speak.
    async fn configuration(&self) -> Result<Option<Configuration>, String> {
        let Some(mut found) = Configuration::find(&self.configurations)? else { return Ok(None) };
        if found.versions.len() > 1 {
            let mut known = Vec::new();
            for plugin in &found.plugins {
                known.push(plugin::versions(self, plugin).await);
            }
            found.version = version::agreed(&found.versions, &known).unwrap_or(&found.version).clone();
        }
        Ok(Some(found))
    }

    async fn add(&self, connection: &Connection, namespace: &Path) -> Result<Value, String> {
        let loopback = Configuration::loopback();
        let call = |device| Call { command: "ADD", network: self, connection, namespace: Some(namespace), device };
        call("lo").run(&loopback.name, &loopback.version, &loopback.plugins[0], None).await?;
        let Configuration { name, version, plugins, .. } = &connection.configuration;
        let mut result = None;
        for plugin in plugins {
            // One that says nothing has changed nothing.
            result = call(DEVICE).run(name, version, plugin, result.as_ref()).await?.or(result);
        }
        let result = result.ok_or_else(|| format!("network {name:?} did not say what it is like"))?;
        if result::addresses(&result).is_empty() {
            return Err(format!("network {name:?} gave the pod no address"));
        }
        Ok(result)
    }

    /// Takes back what [`Self::connect`] has done, as often as it is asked.
    ///
    /// # Errors
    /// If a plugin could not, in its words: then it is to be tried again.
    pub(crate) async fn disconnect(&self, dir: &Path) -> Result<(), String> {
        let namespace = dir.join("ns/net");
        if let Some(connection) = read(dir) {
            let there = is_mounted(&namespace).then_some(namespace.as_path());
            let Configuration { name, version, plugins, .. } = &connection.configuration;
            let result = connection.result.as_ref().filter(|_| version::takes_result_back(version));
            let call =
                Call { command: "DEL", network: self, connection: &connection, namespace: there, device: DEVICE };
            for plugin in plugins.iter().rev() {
                // One that could not be found when it was to connect has nothing to take back.
                if connection.result.is_none() && !call.is_there(plugin) {
                    continue;
                }
                call.run(name, version, plugin, result)
                    .await
                    .map_err(|why| format!("failed to destroy network for sandbox {:?}: {why}", connection.id))?;
            }
        }
        let gone = |path: PathBuf| match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(format!("{}: {error}", path.display())),
            _ => Ok(()),
        };
        unpin(&namespace).map_err(|error| format!("{}: {error}", namespace.display()))?;
        gone(dir.join(STATE))
    }
}

fn read(dir: &Path) -> Option<Connection> {
    layout::read(&dir.join(STATE))
}

/// The addresses of a pod, as its network gave them; `None`: it is not connected.
pub(crate) fn addresses(dir: &Path) -> Option<Vec<String>> {
    let result = read(dir)?.result?;
    is_mounted(&dir.join("ns/net")).then(|| result::addresses(&result))
}

/// Source: the arguments that kubelets have always given.
fn arguments(request: &SandboxRequest) -> String {
    let pod = &request.pod;
    format!(
        "IgnoreUnknown=1;K8S_POD_NAMESPACE={};K8S_POD_NAME={};K8S_POD_INFRA_CONTAINER_ID={};K8S_POD_UID={}",
        pod.namespace, pod.name, pod.uid, pod.uid
    )
}

/// What plugins may ask for by `capabilities`. Source: the conventions of CNI.
fn capabilities(request: &SandboxRequest) -> Value {
    let ports: Vec<Value> = request
        .ports
        .iter()
        .map(|port| {
            json!({ "hostPort": port.host_port, "containerPort": port.container_port,
                "protocol": port.protocol.to_lowercase(), "hostIP": port.host_ip })
        })
        .collect();
    let mut known = json!({
        "portMappings": ports,
        "dns": { "servers": request.dns.servers, "searches": request.dns.searches, "options": request.dns.options },
    });
    let bandwidth = bandwidth(request);
    if !bandwidth.is_empty() {
        known["bandwidth"] = Value::Object(bandwidth);
    }
    known
}

/// From the annotations `kubernetes.io/ingress-bandwidth` and `egress-bandwidth`, in bits per second.
fn bandwidth(request: &SandboxRequest) -> serde_json::Map<String, Value> {
    let mut limits = serde_json::Map::new();
    for (direction, rate, burst) in
        [("ingress", "ingressRate", "ingressBurst"), ("egress", "egressRate", "egressBurst")]
    {
        let written = request.annotations.get(&format!("kubernetes.io/{direction}-bandwidth"));
        let Some(bits) = written.and_then(|written| Quantity::parse(written).ok()) else { continue };
        limits.insert(rate.into(), bits.to_int().into());
        // As much as the kernel can count: what matters is the rate.
        limits.insert(burst.into(), i32::MAX.into());
    }
    limits
}

/// Writes those settings that this kind of namespace has for itself, as the calling thread sees them.
pub(crate) fn write_sysctls(wanted: &BTreeMap<String, String>, kind: &str) -> io::Result<()> {
    for (name, value) in wanted.iter().filter(|(name, _)| sysctls::namespace(name) == Some(kind)) {
        let path = Path::new("/proc/sys").join(name.replace('.', "/"));
        fs::write(&path, value).map_err(|error| io::Error::other(format!("sysctl {name}={value}: {error}")))?;
    }
    Ok(())
}
