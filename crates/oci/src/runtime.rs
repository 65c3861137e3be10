//! The runtime port: images from the store, containers by shims.
//!
//! Namespaces that the containers of a pod share are kept by files that stand for them (`PODS/UID/ns/`), with no process
//! inside; one of processes by a process of its own ([`pause`]). A network of the pod's own is connected by the plugins of
//! the machine ([`Network`]); where there are none, pods that need one are refused, and all others run.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use backstay_api::causes::chain;
use backstay_node::lifecycle::ContainerRecord;
use backstay_node::pod_inputs::sysctls;
use backstay_node::process::ProcessRuntime;
use backstay_node::process::layout::{self, CgroupSeat};
use backstay_node::runtime::{
    Capabilities, ContainerKey, Dns, ExecOutput, Health, Images, Mount, Namespace, PATH, PodIdentity, PodUsage,
    Profile, Runtime, RuntimeError, SandboxRequest, SandboxState, StartFailure, StartRequest, is_mounted,
};
use backstay_node::streams::{AttachRequest, BoxDuplex, ExecRequest, Session, StreamError};
use rustix::mount::{MountFlags, UnmountFlags};
use tokio::sync::mpsc::UnboundedSender;

use crate::account::account;
use crate::container::{DEFAULT_CAPABILITIES, VOLUMES, Words, capability, has_everything};
use crate::images::StoredImages;
use crate::network::{self, Kind, Network, pin, unpin, write_sysctls};
use crate::pause;
use crate::seccomp;
use crate::store::{ImageConfig, ImageRecord};
use crate::terminal;

pub struct OciRuntime {
    shims: ProcessRuntime,
    images: StoredImages,
    network: Network,
}

/// Whether containers can be run here, with their state below this directory.
///
/// # Errors
/// What is missing.
pub fn can_run(data_dir: &Path) -> Result<(), String> {
    if !rustix::process::geteuid().is_root() {
        return Err("mounts and namespaces need root".into());
    }
    let overlay = || -> io::Result<()> {
        fs::create_dir_all(data_dir)?;
        let place = tempfile::Builder::new().prefix("probe-").tempdir_in(data_dir)?;
        let path = |name: &str| place.path().join(name);
        ["lower", "upper", "work", "merged"].into_iter().try_for_each(|name| fs::create_dir(path(name)))?;
        let options = ["lower", "upper", "work"].map(|name| format!("{name}dir={}", path(name).display())).join(",");
        let options = std::ffi::CString::new(options)?;
        rustix::mount::mount("overlay", path("merged"), "overlay", MountFlags::empty(), Some(options.as_c_str()))?;
        Ok(rustix::mount::unmount(path("merged"), UnmountFlags::DETACH)?)
    };
    overlay().map_err(|error| format!("cannot mount an overlay in {}: {error}", data_dir.display()))
}

impl OciRuntime {
    /// `shims` must be told to become a shim that is [`crate::shim_main`].
    pub fn new(shims: ProcessRuntime, images: StoredImages, network: Network) -> Self {
        Self { shims: shims.named("oci"), images, network }
    }

    fn pod(&self, uid: &str) -> PathBuf {
        self.shims.layout().pod(uid)
    }

    /// Where the node's own seccomp profiles lie: beside the pods.
    fn profiles(&self) -> PathBuf {
        self.shims.layout().pods.with_file_name("seccomp")
    }

    fn request(&self, uid: &str) -> Option<SandboxRequest> {
        layout::read(&self.pod(uid).join("sandbox.json"))
    }

    /// What the pod's containers share, made unless it is there already.
    fn make(&self, request: &SandboxRequest) -> io::Result<()> {
        let dir = self.pod(&request.pod.uid);
        let resolv = dir.join("resolv.conf");
        if !resolv.exists() {
            fs::write(&resolv, resolver(&request.dns))?;
        }
        if request.namespaces.network == Namespace::Pod {
            fs::write(dir.join("hostname"), format!("{}\n", request.hostname))?;
            let hostname = request.hostname.clone();
            pin(&dir.join("ns/uts"), Kind::Uts, move || Ok(rustix::system::sethostname(hostname.as_bytes())?))?;
        }
        if request.namespaces.ipc == Namespace::Pod {
            let wanted = request.sysctls.clone();
            pin(&dir.join("ns/ipc"), Kind::Ipc, move || write_sysctls(&wanted, sysctls::IPC))?;
            let shm = dir.join("shm");
            if !is_mounted(&shm) {
                fs::create_dir_all(&shm)?;
                let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
                rustix::mount::mount("tmpfs", &shm, "tmpfs", flags, c"mode=1777,size=64m")?;
            }
        }
        layout::write(&dir.join("sandbox.json"), request)
    }

    /// Kills every container of the pod.
    async fn stop_all(&self, pod_uid: &str) -> Result<(), RuntimeError> {
        for (name, attempts) in self.shims.containers(pod_uid).await? {
            for record in attempts.iter().filter(|record| record.is_running()) {
                let key = ContainerKey { pod_uid: pod_uid.into(), name: name.clone(), attempt: record.attempt };
                self.shims.stop(&key, Duration::ZERO).await?;
            }
        }
        Ok(())
    }

    /// Undoes [`Self::make`] and the network; all containers of the pod have ended.
    async fn give_back(&self, pod_uid: &str) -> Result<(), RuntimeError> {
        let dir = self.pod(pod_uid);
        pause::end(&dir).await;
        self.network.disconnect(&dir).await.map_err(RuntimeError::Refused)?;
        for path in ["ns/uts", "ns/ipc", "shm"].map(|name| dir.join(name)) {
            unpin(&path).map_err(|source| RuntimeError::Io { what: "unmount", path, source })?;
        }
        Ok(())
    }

    /// Deletes what attempts before this one, that have ended, have written into their own file systems: a container that
    /// falls over again and again would fill the disk.
    async fn forget_writes(&self, pod_uid: &str, name: &str, before: u32) -> Result<(), RuntimeError> {
        let attempts = self.shims.containers(pod_uid).await?.remove(name).unwrap_or_default();
        let ended = attempts.iter().filter(|record| record.attempt < before && !record.is_running());
        let dir = |attempt: u32| {
            self.shims.layout().attempt(&ContainerKey { pod_uid: pod_uid.into(), name: name.into(), attempt })
        };
        let dirs: Vec<PathBuf> =
            ended.flat_map(|record| ["upper", "work", VOLUMES].map(|part| dir(record.attempt).join(part))).collect();
        // Whole trees are deleted.
        let deleted = tokio::task::spawn_blocking(move || dirs.into_iter().try_for_each(delete)).await;
        deleted.unwrap_or_else(|error| Err(RuntimeError::Refused(format!("deleting files failed: {error}"))))
    }

    fn words(&self, key: &ContainerKey, image: &ImageRecord, request: &StartRequest) -> Result<Words, String> {
        let dir = self.pod(&key.pod_uid);
        let sandbox = self.request(&key.pod_uid).ok_or("the pod's sandbox is gone")?;
        let pid_of = match sandbox.namespaces.pid {
            Namespace::Pod => Some(pause::find(&dir).ok_or("the process namespace of the pod is gone")?),
            Namespace::Container => match &request.pid_of {
                Some(target) => {
                    let main = self.shims.main_process(target);
                    Some(main.ok_or_else(|| format!("container {:?} does not run", target.name))?)
                }
                None => None,
            },
            Namespace::Host => None,
        };
        let security = &request.security;
        let account = account(&self.images.store.layers_dir(), image, security)?;
        let own_network = sandbox.namespaces.network == Namespace::Pod;
        let kinds = [("net", own_network), ("uts", own_network), ("ipc", sandbox.namespaces.ipc == Namespace::Pod)];
        let pinned = kinds.into_iter().filter(|(_, is_own)| *is_own);
        let mut mounts = request.mounts.clone();
        for (name, is_wanted) in [("resolv.conf", true), ("hostname", own_network)] {
            let target = Path::new("/etc").join(name);
            if is_wanted && !mounts.iter().any(|mount| mount.target == target) {
                mounts.push(Mount { source: dir.join(name), target, ..Mount::default() });
            }
        }
        // Outer ones first, so that inner ones are not hidden.
        mounts.sort_by_key(|mount| mount.target.components().count());
        let working_dir = request.working_dir.clone().unwrap_or_else(|| image.config.working_dir.clone());
        let capabilities = capabilities(&security.capabilities, security.privileged)?;
        let seccomp = if security.privileged {
            None
        } else {
            seccomp::filter(&security.seccomp, capabilities, &self.profiles())?
        };
        Ok(Words {
            layers_dir: self.images.store.layers_dir(),
            layers: image.layers.clone(),
            dir: self.shims.layout().attempt(key),
            read_only_root: security.read_only_root,
            volumes: volumes(&image.config, &request.mounts),
            mounts,
            pinned: pinned.map(|(kind, _)| (kind.into(), dir.join("ns").join(kind))).collect(),
            own_pid: sandbox.namespaces.pid == Namespace::Container && pid_of.is_none(),
            pid_of,
            own_ipc: sandbox.namespaces.ipc == Namespace::Container,
            shm: match sandbox.namespaces.ipc {
                Namespace::Pod => Some(dir.join("shm")),
                Namespace::Host => Some("/dev/shm".into()),
                Namespace::Container => None,
            },
            privileged: security.privileged,
            unmasked_proc: security.unmasked_proc,
            no_new_privileges: security.no_new_privileges,
            oom_score_adj: request.oom_score_adj,
            working_dir: Path::new("/").join(working_dir),
            uid: account.uid,
            gid: account.gid,
            groups: account.groups,
            capabilities,
            seccomp,
        })
    }
}

#[async_trait]
impl Runtime for OciRuntime {
    fn version(&self) -> String {
        self.shims.version()
    }

    fn images(&self) -> Option<&dyn Images> {
        Some(&self.images)
    }

    async fn health(&self) -> Health {
        Health { runtime: Ok(()), network: Ok(()) }
    }

    async fn pods(&self) -> Result<Vec<PodIdentity>, RuntimeError> {
        self.shims.pods().await
    }

    async fn prepare(&self, request: &SandboxRequest) -> Result<(), RuntimeError> {
        check_sysctls(request).map_err(RuntimeError::Refused)?;
        if !request.handler.is_empty() {
            return Err(RuntimeError::Refused(format!("no runtime for {:?} is configured", request.handler)));
        }
        self.shims.prepare(request).await?;
        let path = self.pod(&request.pod.uid);
        let failed = |source| RuntimeError::Io { what: "make the sandbox of", path: path.clone(), source };
        if request.namespaces.pid == Namespace::Pod && pause::find(&path).is_none() {
            // Containers of a namespace that has ended have ended, too; their supervisors may not know yet.
            self.stop_all(&request.pod.uid).await?;
            pause::make(self.shims.shim(), &path).await.map_err(failed)?;
        }
        self.make(request).map_err(failed)?;
        if request.namespaces.network == Namespace::Pod {
            self.network.connect(&path, request).await.map_err(RuntimeError::Refused)?;
        }
        Ok(())
    }

    async fn sandbox(&self, pod_uid: &str) -> Result<Option<SandboxState>, RuntimeError> {
        let Some(request) = self.request(pod_uid) else { return Ok(None) };
        // After a restart of the machine the file is there, and stands for nothing.
        let dir = self.pod(pod_uid);
        let whole = (request.namespaces.ipc != Namespace::Pod || is_mounted(&dir.join("ns/ipc")))
            && (request.namespaces.pid != Namespace::Pod || pause::find(&dir).is_some());
        if request.namespaces.network != Namespace::Pod {
            return Ok(whole.then(SandboxState::default));
        }
        let addresses = network::addresses(&dir).filter(|_| whole && is_mounted(&dir.join("ns/uts")));
        Ok(addresses.map(|ips| SandboxState { ips }))
    }

    async fn start(&self, key: &ContainerKey, mut request: StartRequest) -> Result<(), StartFailure> {
        let failed = |reason: &str, message: String| StartFailure { reason: reason.into(), message };
        let profile = match &request.security.apparmor {
            Profile::Unset | Profile::Unconfined => None,
            Profile::RuntimeDefault => Some("that of the runtime"),
            Profile::Localhost(name) => Some(name.as_str()),
        };
        if let Some(profile) = profile {
            let message = format!(
                "the oci runtime applies no AppArmor profile, and the container wants one ({profile}): leave \
                 appArmorProfile out, or make it Unconfined"
            );
            return Err(failed("CreateContainerError", message));
        }
        // Held until the container is on record, so that the image is seen to be in use.
        let store = self.images.store.clone();
        let kept = tokio::task::spawn_blocking(move || store.keep()).await;
        let kept = kept.map_err(|error| failed("CreateContainerError", error.to_string()))?;
        let _kept = kept.map_err(|error| failed("CreateContainerError", chain(&error)))?;
        let image = self.images.store.find(&request.image_id);
        let image = image.map_err(|error| failed("CreateContainerError", error.to_string()))?;
        let Some(image) = image else {
            return Err(failed("CreateContainerError", format!("image {:?} is not here any more", request.image)));
        };
        complete(&mut request, &image.config);
        if request.command.is_empty() {
            return Err(failed(
                "CreateContainerError",
                format!("no command specified, and none in image {}", request.image),
            ));
        }
        let words = self.words(key, &image, &request).map_err(|error| failed("CreateContainerError", error))?;
        request.image_id = image.digests.first().unwrap_or(&image.id).clone();
        request.mounts.clear();
        (request.security.user, request.security.group) = (Some(words.uid), Some(words.gid));
        let mut spec = self.shims.spec(key, request);
        if !spec.limits_missing.is_empty() {
            spec.cgroups.iter().for_each(CgroupSeat::remove);
            return Err(failed(
                "CreateContainerError",
                format!("limits do not hold: {}", spec.limits_missing.join("; ")),
            ));
        }
        spec.enclosure =
            Some(serde_json::to_value(words).map_err(|error| failed("CreateContainerError", error.to_string()))?);
        self.shims.launch(key, &spec).await?;
        if let Err(error) = self.forget_writes(&key.pod_uid, &key.name, key.attempt).await {
            tracing::warn!(container = key.name, error = chain(&error), "files of an ended container not deleted");
        }
        Ok(())
    }

    async fn containers(&self, pod_uid: &str) -> Result<BTreeMap<String, Vec<ContainerRecord>>, RuntimeError> {
        self.shims.containers(pod_uid).await
    }

    async fn stop(&self, key: &ContainerKey, grace: Duration) -> Result<(), RuntimeError> {
        self.shims.stop(key, grace).await
    }

    async fn exec(
        &self,
        key: &ContainerKey,
        command: &[String],
        timeout: Duration,
    ) -> Result<ExecOutput, RuntimeError> {
        self.shims.exec(key, command, timeout).await
    }

    async fn open_exec(&self, key: &ContainerKey, request: ExecRequest) -> Result<Session, StreamError> {
        // One of the machine's does as well, but nothing in the container finds it by name.
        let own = request.tty.then(|| terminal::open(&self.shims.layout().attempt(key)).ok()).flatten();
        self.shims.open_exec_on(key, request, own)
    }

    async fn attach(&self, key: &ContainerKey, request: AttachRequest) -> Result<Session, StreamError> {
        self.shims.attach(key, request).await
    }

    async fn port_forward(&self, pod_uid: &str, port: u16) -> Result<BoxDuplex, StreamError> {
        let namespace = self.pod(pod_uid).join("ns/net");
        if !is_mounted(&namespace) {
            return self.shims.port_forward(pod_uid, port).await;
        }
        let addresses = vec![(Ipv4Addr::LOCALHOST, port).into(), (Ipv6Addr::LOCALHOST, port).into()];
        let connection = network::connect(&namespace, addresses).await;
        let connection = connection
            .map_err(|error| StreamError::failed(format!("cannot connect to port {port} of the pod: {error}")))?;
        // Whoever types waits for every byte.
        let _ = connection.set_nodelay(true);
        Ok(Box::new(connection))
    }

    async fn remove_container(&self, key: &ContainerKey) -> Result<(), RuntimeError> {
        self.shims.remove_container(key).await
    }

    async fn end_sandbox(&self, pod_uid: &str) -> Result<(), RuntimeError> {
        self.give_back(pod_uid).await?;
        let names = self.shims.containers(pod_uid).await?;
        for name in names.keys() {
            self.forget_writes(pod_uid, name, u32::MAX).await?;
        }
        self.shims.end_sandbox(pod_uid).await
    }

    async fn remove(&self, pod_uid: &str) -> Result<(), RuntimeError> {
        self.stop_all(pod_uid).await?;
        self.give_back(pod_uid).await?;
        self.shims.remove(pod_uid).await
    }

    async fn usage(&self, pod_uid: &str) -> Option<PodUsage> {
        self.shims.usage(pod_uid).await
    }

    fn notify(&self, changed: UnboundedSender<String>) {
        self.shims.notify(changed);
    }
}

fn delete(path: PathBuf) -> Result<(), RuntimeError> {
    match fs::remove_dir_all(&path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(RuntimeError::Io { what: "delete", path, source })
        }
        _ => Ok(()),
    }
}

/// Whether each setting would be the pod's alone.
fn check_sysctls(request: &SandboxRequest) -> Result<(), String> {
    for name in request.sysctls.keys() {
        let namespace = match sysctls::namespace(name) {
            Some(sysctls::NET) => request.namespaces.network,
            Some(sysctls::IPC) => request.namespaces.ipc,
            _ => return Err(format!("sysctl {name:?} is not namespaced")),
        };
        if namespace != Namespace::Pod {
            return Err(format!("sysctl {name:?} not allowed in host net or host IPC namespace"));
        }
    }
    Ok(())
}

/// What the pod leaves to the image: command, environment, stop signal.
fn complete(request: &mut StartRequest, config: &ImageConfig) {
    if request.command.is_empty() {
        request.command = config.entrypoint.clone();
        if request.args.is_empty() {
            request.args = config.cmd.clone();
        }
        if request.command.is_empty() {
            request.command = std::mem::take(&mut request.args);
        }
    }
    let own = std::mem::take(&mut request.env);
    let mut env: Vec<(String, String)> = vec![("PATH".into(), PATH.into())];
    let of_image = config.env.iter().filter_map(|entry| entry.split_once('='));
    for (name, value) in of_image.map(|(name, value)| (name.to_string(), value.to_string())).chain(own) {
        env.retain(|(known, _)| *known != name);
        env.push((name, value));
    }
    request.env = env;
    if request.stop_signal.is_none() && !config.stop_signal.is_empty() {
        request.stop_signal = Some(config.stop_signal.clone());
    }
}

/// Those of the image, outer ones first, that the pod mounts nothing at.
fn volumes(config: &ImageConfig, mounts: &[Mount]) -> Vec<PathBuf> {
    let paths = config.volumes.keys().map(|path| Path::new("/").join(path));
    let mut own: Vec<PathBuf> =
        paths.filter(|path| path.parent().is_some() && !mounts.iter().any(|mount| mount.target == *path)).collect();
    own.sort_by_key(|path| path.components().count());
    own
}

fn capabilities(changes: &Capabilities, privileged: bool) -> Result<u64, String> {
    if privileged {
        return Ok(has_everything());
    }
    let of = |name: &String| match name.as_str() {
        "ALL" => Ok(has_everything()),
        name => capability(name).ok_or_else(|| format!("unknown capability {name:?}")),
    };
    let usual = DEFAULT_CAPABILITIES.iter().filter_map(|name| capability(name)).fold(0, |all, one| all | one);
    let sum = |names: &[String]| names.iter().try_fold(0, |all, name| of(name).map(|one| all | one));
    let (add, drop) = (sum(&changes.add)?, sum(&changes.drop)?);
    let adds_all = changes.add.iter().any(|name| name == "ALL");
    // With `drop: [ALL]`, what is named by `add` stays.
    Ok(if adds_all { add & !drop } else { (usual & !drop) | add })
}

fn resolver(dns: &Dns) -> String {
    let mut text: String = dns.servers.iter().map(|server| format!("nameserver {server}\n")).collect();
    for (word, values) in [("search", &dns.searches), ("options", &dns.options)] {
        if !values.is_empty() {
            text.push_str(&format!("{word} {}\n", values.join(" ")));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_dropped_and_added() {
        let names = |names: &[&str]| names.iter().map(|name| name.to_string()).collect::<Vec<_>>();
        let of =
            |add: &[&str], drop: &[&str]| capabilities(&Capabilities { add: names(add), drop: names(drop) }, false);
        assert_eq!(of(&["NET_ADMIN"], &["ALL"]), Ok(1 << 12));
        assert_eq!(of(&[], &["ALL"]), Ok(0));
        assert_eq!(of(&["ALL"], &["CHOWN"]), Ok(has_everything() & !1));
        assert!(of(&["NOPE"], &[]).is_err());
    }

    #[test]
    fn commands_come_from_pod_or_image() {
        let config = ImageConfig { entrypoint: vec!["e".into()], cmd: vec!["c".into()], ..ImageConfig::default() };
        for (command, args, expected) in [("", "", "e c"), ("p", "", "p"), ("", "a", "e a"), ("p", "a", "p a")] {
            let words = |text: &str| text.split_whitespace().map(String::from).collect::<Vec<_>>();
            let mut request = StartRequest { command: words(command), args: words(args), ..StartRequest::default() };
            complete(&mut request, &config);
            let all: Vec<String> = request.command.into_iter().chain(request.args).collect();
            assert_eq!(all.join(" "), expected, "{command} {args}");
        }
    }
}
