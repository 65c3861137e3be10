//! What a runtime is asked for in CRI's words. Pure.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use backstay_node::runtime::{
    ContainerKey, Limits, Mount, Namespace, Namespaces, PodIdentity, PodLimits, Profile, Propagation, READ_ONLY_PATHS,
    SandboxRequest, SecurityContext, SelinuxOptions, StartRequest,
};

use crate::wire;

/// By these labels, pods and containers are found again; those of a kubelet, so that other tools know them too.
pub const POD_NAME: &str = "io.kubernetes.pod.name";
pub const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
pub const POD_UID: &str = "io.kubernetes.pod.uid";
pub const CONTAINER_NAME: &str = "io.kubernetes.container.name";
/// Whose pod it is: several agents, a kubelet among them, may share one runtime.
pub const OWNER: &str = "backstay.dev/agent";

/// Annotations of a container.
pub const TERMINATION_MESSAGE: &str = "backstay.dev/termination-message";
pub const MESSAGE_FROM_LOG: &str = "backstay.dev/message-from-log";
pub const LOG: &str = "backstay.dev/log";
/// By name; only where the pod names one.
pub const STOP_SIGNAL: &str = "backstay.dev/stop-signal";
pub const BACKOFF_SECONDS: &str = "backstay.dev/backoff-seconds";

/// The kernel's default period of CPU limits, in microseconds.
pub const CPU_PERIOD: i64 = 100_000;

/// Facts of this machine that requests depend on.
#[derive(Clone, Debug, Default)]
pub struct Host {
    pub owner: String,
    /// Where seccomp profiles of pods lie.
    pub seccomp_dir: std::path::PathBuf,
    /// Nobody here may lower an `oom_score_adj` below this.
    pub oom_score_adj_min: i32,
    /// What containers may not see of it.
    pub masked_paths: Vec<std::path::PathBuf>,
}

pub fn labels_of(host: &Host, pod: &PodIdentity) -> HashMap<String, String> {
    let pairs = [(POD_NAME, &pod.name), (POD_NAMESPACE, &pod.namespace), (POD_UID, &pod.uid), (OWNER, &host.owner)];
    pairs.into_iter().map(|(label, value)| (label.to_string(), value.clone())).collect()
}

/// `attempt`: how many sandboxes the pod has had. `cgroup_parent`: in the form that the runtime's cgroup driver wants.
pub fn sandbox(host: &Host, request: &SandboxRequest, attempt: u32, cgroup_parent: String) -> wire::PodSandboxConfig {
    let mut labels = map(&request.labels);
    labels.extend(labels_of(host, &request.pod));
    let security = &request.security;
    wire::PodSandboxConfig {
        metadata: Some(wire::PodSandboxMetadata {
            name: request.pod.name.clone(),
            uid: request.pod.uid.clone(),
            namespace: request.pod.namespace.clone(),
            attempt,
        }),
        hostname: request.hostname.clone(),
        log_directory: text(&request.log_dir),
        dns_config: Some(wire::DnsConfig {
            servers: request.dns.servers.clone(),
            searches: request.dns.searches.clone(),
            options: request.dns.options.clone(),
        }),
        port_mappings: request.ports.iter().map(port).collect(),
        labels,
        annotations: map(&request.annotations),
        linux: Some(wire::LinuxPodSandboxConfig {
            cgroup_parent,
            security_context: Some(wire::LinuxSandboxSecurityContext {
                namespace_options: Some(namespaces(request.namespaces)),
                selinux_options: security.selinux.as_ref().map(selinux),
                run_as_user: security.user.map(int),
                run_as_group: security.user.and(security.group).map(int),
                supplemental_groups: groups(security),
                privileged: security.privileged,
                // It only waits: nothing that a pod asks for could be needed by it.
                seccomp: Some(wire::SecurityProfile {
                    profile_type: wire::ProfileType::RuntimeDefault as i32,
                    localhost_ref: String::new(),
                }),
                supplemental_groups_policy: groups_policy(security),
            }),
            sysctls: map(&request.sysctls),
            resources: Some(pod_resources(&request.limits)),
        }),
    }
}

fn port(port: &backstay_node::runtime::HostPort) -> wire::PortMapping {
    let protocol = match port.protocol.as_str() {
        "UDP" => wire::Protocol::Udp,
        "SCTP" => wire::Protocol::Sctp,
        _ => wire::Protocol::Tcp,
    };
    wire::PortMapping {
        protocol: protocol.into(),
        container_port: port.container_port.into(),
        host_port: port.host_port.into(),
        host_ip: port.host_ip.clone(),
    }
}

/// `image_user`: as whom the image's programs run, by id or by name; CRI takes a group only beside a user.
pub fn container(
    host: &Host,
    key: &ContainerKey,
    pod: &PodIdentity,
    request: &StartRequest,
    shared: Namespaces,
    image_user: Option<&wire::Image>,
) -> wire::ContainerConfig {
    let mut labels = labels_of(host, pod);
    labels.insert(CONTAINER_NAME.to_string(), key.name.clone());
    let mut annotations = HashMap::from([
        (LOG.to_string(), text(&request.log)),
        (BACKOFF_SECONDS.to_string(), request.backoff_seconds.to_string()),
        (MESSAGE_FROM_LOG.to_string(), request.message_from_log.to_string()),
    ]);
    annotations.extend(request.termination_message.as_ref().map(|file| (TERMINATION_MESSAGE.to_string(), text(file))));
    annotations.extend(request.stop_signal.as_ref().map(|name| (STOP_SIGNAL.to_string(), name.clone())));
    let log_name = request.log.file_name().map(Path::new).map(text).unwrap_or_default();
    wire::ContainerConfig {
        metadata: Some(wire::ContainerMetadata { name: key.name.clone(), attempt: key.attempt }),
        image: Some(wire::ImageSpec { image: request.image_id.clone(), user_specified_image: request.image.clone() }),
        command: request.command.clone(),
        args: request.args.clone(),
        working_dir: request.working_dir.clone().unwrap_or_default(),
        envs: request
            .env
            .iter()
            .map(|(key, value)| wire::KeyValue { key: key.clone(), value: value.clone() })
            .collect(),
        mounts: request.mounts.iter().map(mount).collect(),
        labels,
        annotations,
        // Below the log directory of the sandbox.
        log_path: format!("{}/{log_name}", key.name),
        stdin: request.stdin,
        stdin_once: request.stdin_once,
        tty: request.tty,
        linux: Some(wire::LinuxContainerConfig {
            resources: Some(resources(host, request)),
            security_context: Some(security(host, &request.security, shared, image_user)),
        }),
        stop_signal: request.stop_signal.as_deref().map_or(wire::Signal::RuntimeDefault, signal).into(),
    }
}

/// As pods name it; one that nobody knows is the image's.
pub fn signal(name: &str) -> wire::Signal {
    let name = name.replace('+', "PLUS").replace('-', "MINUS");
    wire::Signal::from_str_name(&name).unwrap_or_default()
}

fn mount(mount: &Mount) -> wire::Mount {
    let propagation = match mount.propagation {
        Propagation::None => wire::MountPropagation::PropagationPrivate,
        Propagation::HostToContainer => wire::MountPropagation::PropagationHostToContainer,
        Propagation::Bidirectional => wire::MountPropagation::PropagationBidirectional,
    };
    wire::Mount {
        container_path: text(&mount.target),
        host_path: text(&mount.source),
        readonly: mount.read_only,
        propagation: propagation.into(),
    }
}

fn resources(host: &Host, request: &StartRequest) -> wire::LinuxContainerResources {
    let Limits { memory_bytes, cpu_millis, cpu_request_millis } = request.limits;
    wire::LinuxContainerResources {
        cpu_shares: shares(cpu_request_millis.or(cpu_millis)),
        oom_score_adj: request.oom_score_adj.max(host.oom_score_adj_min).into(),
        ..limits(memory_bytes, cpu_millis)
    }
}

fn pod_resources(pod: &PodLimits) -> wire::LinuxContainerResources {
    wire::LinuxContainerResources {
        cpu_shares: shares(pod.cpu_request_millis),
        ..limits(pod.memory_bytes, pod.cpu_millis)
    }
}

fn limits(memory_bytes: Option<u64>, cpu_millis: Option<u64>) -> wire::LinuxContainerResources {
    wire::LinuxContainerResources {
        cpu_period: CPU_PERIOD,
        cpu_quota: cpu_millis.map_or(0, quota),
        memory_limit_in_bytes: memory_bytes.map_or(0, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX)),
        ..wire::LinuxContainerResources::default()
    }
}

/// Of one period, in microseconds; the kernel takes none below a millisecond.
pub fn quota(millis: u64) -> i64 {
    i64::try_from(millis).unwrap_or(i64::MAX).saturating_mul(CPU_PERIOD / 1000).max(1000)
}

/// The kernel takes 2 at least, and this is what those get who ask for nothing.
pub fn shares(millis: Option<u64>) -> i64 {
    let millis = i64::try_from(millis.unwrap_or(0)).unwrap_or(i64::MAX);
    (millis.saturating_mul(1024) / 1000).clamp(2, 262_144)
}

fn security(
    host: &Host,
    context: &SecurityContext,
    shared: Namespaces,
    image: Option<&wire::Image>,
) -> wire::LinuxContainerSecurityContext {
    let open = context.privileged || context.unmasked_proc;
    let unless_open = |paths: Vec<String>| if open { Vec::new() } else { paths };
    let user = context.user.map(int).or_else(|| image.and_then(|image| image.uid));
    let name =
        if user.is_none() { image.map(|image| image.username.clone()).unwrap_or_default() } else { String::new() };
    // An image without a user is one of root's.
    let user = user.or_else(|| (context.group.is_some() && name.is_empty()).then_some(int(0)));
    wire::LinuxContainerSecurityContext {
        capabilities: Some(wire::Capability {
            add_capabilities: context.capabilities.add.iter().map(|name| capability(name)).collect(),
            drop_capabilities: context.capabilities.drop.iter().map(|name| capability(name)).collect(),
        }),
        privileged: context.privileged,
        namespace_options: Some(namespaces(shared)),
        selinux_options: context.selinux.as_ref().map(selinux),
        run_as_user: user,
        run_as_username: name,
        readonly_rootfs: context.read_only_root,
        supplemental_groups: groups(context),
        no_new_privs: context.no_new_privileges && !context.privileged,
        run_as_group: context.group.map(int),
        masked_paths: unless_open(host.masked_paths.iter().map(|path| text(path)).collect()),
        readonly_paths: unless_open(READ_ONLY_PATHS.map(String::from).into()),
        seccomp: Some(seccomp(host, context)),
        apparmor: profile(&context.apparmor, str::to_string),
        supplemental_groups_policy: groups_policy(context),
    }
}

/// Without a word of the pod's, there is no filter; as by a kubelet without `seccompDefault`.
fn seccomp(host: &Host, context: &SecurityContext) -> wire::SecurityProfile {
    let unconfined =
        wire::SecurityProfile { profile_type: wire::ProfileType::Unconfined as i32, localhost_ref: String::new() };
    match context.privileged {
        true => unconfined,
        false => profile(&context.seccomp, |name| text(&host.seccomp_dir.join(name))).unwrap_or(unconfined),
    }
}

fn profile(profile: &Profile, place: impl Fn(&str) -> String) -> Option<wire::SecurityProfile> {
    let (profile_type, localhost_ref) = match profile {
        Profile::Unset => return None,
        Profile::RuntimeDefault => (wire::ProfileType::RuntimeDefault as i32, String::new()),
        Profile::Unconfined => (wire::ProfileType::Unconfined as i32, String::new()),
        Profile::Localhost(name) => (wire::ProfileType::Localhost as i32, place(name)),
    };
    Some(wire::SecurityProfile { profile_type, localhost_ref })
}

/// CRI's names have no prefix.
fn capability(name: &str) -> String {
    name.strip_prefix("CAP_").unwrap_or(name).to_string()
}

pub fn namespaces(shared: Namespaces) -> wire::NamespaceOption {
    let mode = |namespace: Namespace| -> i32 {
        let mode = match namespace {
            Namespace::Pod => wire::NamespaceMode::Pod,
            Namespace::Container => wire::NamespaceMode::Container,
            Namespace::Host => wire::NamespaceMode::Node,
        };
        mode.into()
    };
    let (network, pid, ipc) = (mode(shared.network), mode(shared.pid), mode(shared.ipc));
    wire::NamespaceOption { network, pid, ipc, target_id: String::new() }
}

/// Gives the container the process namespace of another.
pub fn look_into(config: &mut wire::ContainerConfig, id: String) {
    let security = config.linux.as_mut().and_then(|linux| linux.security_context.as_mut());
    if let Some(options) = security.and_then(|security| security.namespace_options.as_mut()) {
        options.pid = wire::NamespaceMode::Target.into();
        options.target_id = id;
    }
}

fn selinux(options: &SelinuxOptions) -> wire::SeLinuxOption {
    let SelinuxOptions { user, role, kind, level } = options.clone();
    wire::SeLinuxOption { user, role, r#type: kind, level }
}

fn groups(context: &SecurityContext) -> Vec<i64> {
    context.supplemental_groups.iter().map(|group| i64::from(*group)).collect()
}

fn groups_policy(context: &SecurityContext) -> i32 {
    let policy = match context.strict_groups {
        true => wire::SupplementalGroupsPolicy::Strict,
        false => wire::SupplementalGroupsPolicy::Merge,
    };
    policy.into()
}

fn int(value: u32) -> wire::Int64Value {
    wire::Int64Value { value: value.into() }
}

fn map(pairs: &BTreeMap<String, String>) -> HashMap<String, String> {
    pairs.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
