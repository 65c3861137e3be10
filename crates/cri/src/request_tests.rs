//! Rows: what a pod asks for, and what the runtime is asked for.

use backstay_node::pod_inputs::{resources, sandbox as pod_sandbox, security as pod_security};
use serde_json::{Value, json};

use super::*;

fn host() -> Host {
    Host {
        owner: "me".into(),
        seccomp_dir: "/profiles".into(),
        oom_score_adj_min: 0,
        masked_paths: vec!["/proc/kcore".into()],
    }
}

fn pod(spec: Value) -> Value {
    json!({ "metadata": { "name": "p", "namespace": "n", "uid": "u", "labels": { "app": "x" } }, "spec": spec })
}

fn sandbox_of(spec: Value) -> wire::PodSandboxConfig {
    let request = pod_sandbox::request(&pod(spec), "", "nameserver 10.0.0.1\n", "/logs".into());
    sandbox(&host(), &request, 2, "/kubepods/besteffort/podu".into())
}

fn container_of(spec: Value, own: Value, image: Option<&wire::Image>) -> wire::ContainerConfig {
    let pod = pod(spec);
    let key = ContainerKey { pod_uid: "u".into(), name: "c".into(), attempt: 3 };
    let request = StartRequest {
        security: pod_security::of_container(&pod, &own, None).unwrap(),
        limits: resources::limits(&own),
        image: "busybox:1".into(),
        image_id: "sha256:1".into(),
        oom_score_adj: -997,
        log: "/logs/c/3.log".into(),
        ..StartRequest::default()
    };
    let identity = PodIdentity { namespace: "n".into(), name: "p".into(), uid: "u".into() };
    container(&host(), &key, &identity, &request, pod_sandbox::namespaces(&pod), image)
}

fn security_of(pod: Value, own: Value) -> wire::LinuxContainerSecurityContext {
    let own = json!({ "name": "c", "securityContext": own });
    container_of(json!({ "securityContext": pod }), own, None).linux.unwrap().security_context.unwrap()
}

#[test]
fn a_sandbox_is_known_again() {
    let config = sandbox_of(json!({}));
    let metadata = config.metadata.unwrap();
    assert_eq!((metadata.name.as_str(), metadata.uid.as_str(), metadata.attempt), ("p", "u", 2));
    for (label, value) in [(POD_NAME, "p"), (POD_NAMESPACE, "n"), (POD_UID, "u"), (OWNER, "me"), ("app", "x")] {
        assert_eq!(config.labels[label], value);
    }
    assert_eq!((config.hostname.as_str(), config.log_directory.as_str()), ("p", "/logs"));
    assert_eq!(config.dns_config.unwrap().servers, ["10.0.0.1"]);
}

#[test]
fn namespaces_and_ports() {
    let check = |spec: Value, network: i32, pid: i32, ipc: i32, ports: usize| {
        let config = sandbox_of(spec.clone());
        let security = config.linux.unwrap().security_context.unwrap();
        let seen = security.namespace_options.unwrap();
        assert_eq!((seen.network, seen.pid, seen.ipc), (network, pid, ipc), "{spec}");
        assert_eq!(config.port_mappings.len(), ports, "{spec}");
    };
    let containers = json!([{ "name": "c", "ports": [{ "containerPort": 80, "hostPort": 8080, "protocol": "UDP" }] }]);
    check(json!({}), 0, 1, 0, 0);
    check(json!({ "containers": containers }), 0, 1, 0, 1);
    check(json!({ "hostNetwork": true, "containers": containers }), 2, 1, 0, 0);
    check(json!({ "hostPID": true, "hostIPC": true }), 0, 2, 2, 0);
    check(json!({ "shareProcessNamespace": true }), 0, 0, 0, 0);
    let port = sandbox_of(json!({ "containers": containers })).port_mappings.remove(0);
    assert_eq!((port.protocol, port.container_port, port.host_port), (1, 80, 8080));
}

#[test]
fn resources_become_shares_and_quotas() {
    let check = |resources: Value, shares: i64, quota: i64, memory: i64| {
        let config = container_of(json!({}), json!({ "name": "c", "resources": resources }), None);
        let seen = config.linux.unwrap().resources.unwrap();
        assert_eq!(
            (seen.cpu_shares, seen.cpu_quota, seen.memory_limit_in_bytes),
            (shares, quota, memory),
            "{resources}"
        );
        // Lower than this machine lets anybody be.
        assert_eq!((seen.cpu_period, seen.oom_score_adj), (100_000, 0));
    };
    check(json!({}), 2, 0, 0);
    check(json!({ "requests": { "cpu": "500m" } }), 512, 0, 0);
    check(json!({ "requests": { "cpu": "1m" }, "limits": { "cpu": "1m", "memory": "16Mi" } }), 2, 1000, 16 << 20);
    check(json!({ "requests": { "cpu": "250m" }, "limits": { "cpu": "1500m" } }), 256, 150_000, 0);
}

#[test]
fn a_container_has_its_names_and_log() {
    let config = container_of(json!({}), json!({ "name": "c" }), None);
    let metadata = config.metadata.unwrap();
    assert_eq!((metadata.name.as_str(), metadata.attempt), ("c", 3));
    assert_eq!((config.log_path.as_str(), config.labels[CONTAINER_NAME].as_str()), ("c/3.log", "c"));
    let image = config.image.unwrap();
    assert_eq!((image.image.as_str(), image.user_specified_image.as_str()), ("sha256:1", "busybox:1"));
}

#[test]
fn rights() {
    let usual = security_of(json!({}), json!({}));
    assert_eq!(usual.seccomp.unwrap().profile_type, wire::ProfileType::Unconfined as i32);
    assert!(usual.masked_paths == ["/proc/kcore"] && usual.readonly_paths.len() == 5 && usual.apparmor.is_none());
    assert!(!usual.no_new_privs && !usual.readonly_rootfs && usual.run_as_user.is_none());

    let seen = security_of(
        json!({ "runAsUser": 5, "supplementalGroups": [8], "fsGroup": 9, "supplementalGroupsPolicy": "Strict" }),
        json!({ "runAsGroup": 6, "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
            "capabilities": { "add": ["CAP_NET_ADMIN", "SYS_TIME"], "drop": ["ALL"] },
            "seccompProfile": { "type": "Localhost", "localhostProfile": "a/b.json" },
            "appArmorProfile": { "type": "Localhost", "localhostProfile": "mine" },
            "seLinuxOptions": { "level": "s0:c1" } }),
    );
    assert_eq!((seen.run_as_user.unwrap().value, seen.run_as_group.unwrap().value), (5, 6));
    assert_eq!((seen.supplemental_groups, seen.supplemental_groups_policy), (vec![8, 9], 1));
    assert!(seen.no_new_privs && seen.readonly_rootfs);
    let capabilities = seen.capabilities.unwrap();
    assert_eq!(capabilities.add_capabilities, ["NET_ADMIN", "SYS_TIME"]);
    assert_eq!(capabilities.drop_capabilities, ["ALL"]);
    assert_eq!(seen.seccomp.unwrap().localhost_ref, "/profiles/a/b.json");
    assert_eq!(seen.apparmor.unwrap().localhost_ref, "mine");
    assert_eq!(seen.selinux_options.unwrap().level, "s0:c1");

    let free = security_of(json!({ "seccompProfile": { "type": "RuntimeDefault" } }), json!({ "privileged": true }));
    assert!(free.privileged && free.masked_paths.is_empty() && free.readonly_paths.is_empty());
    assert_eq!(free.seccomp.unwrap().profile_type, wire::ProfileType::Unconfined as i32);
    let open = security_of(json!({}), json!({ "procMount": "Unmasked" }));
    assert!(open.masked_paths.is_empty());
}

/// CRI refuses a group without a user.
#[test]
fn a_group_comes_with_the_image_s_user() {
    let own = json!({ "name": "c", "securityContext": { "runAsGroup": 6 } });
    let check = |image: wire::Image, user: Option<i64>, name: &str| {
        let config = container_of(json!({}), own.clone(), Some(&image));
        let seen = config.linux.unwrap().security_context.unwrap();
        assert_eq!((seen.run_as_user.map(|it| it.value), seen.run_as_username.as_str()), (user, name));
    };
    check(wire::Image::default(), Some(0), "");
    check(wire::Image { uid: Some(wire::Int64Value { value: 7 }), ..wire::Image::default() }, Some(7), "");
    check(wire::Image { username: "www".into(), ..wire::Image::default() }, None, "www");
}

#[test]
fn mounts_keep_their_propagation() {
    let check = |propagation: Propagation, number: i32| {
        let made =
            Mount { source: "/h".into(), target: "/c".into(), read_only: true, propagation, sub_path: "".into() };
        let seen = mount(&made);
        assert_eq!((seen.host_path.as_str(), seen.container_path.as_str(), seen.readonly), ("/h", "/c", true));
        assert_eq!(seen.propagation, number);
    };
    check(Propagation::None, 0);
    check(Propagation::HostToContainer, 1);
    check(Propagation::Bidirectional, 2);
}

#[test]
fn signals_by_name() {
    let check = |name: &str, number: i32| assert_eq!(signal(name) as i32, number, "{name}");
    check("SIGTERM", 23);
    check("SIGUSR1", 29);
    check("SIGRTMIN", 35);
    check("SIGRTMIN+15", 50);
    check("SIGRTMAX-14", 51);
    check("SIGRTMAX", 65);
    check("SIGNOPE", 0);
    let request = StartRequest { stop_signal: Some("SIGQUIT".into()), ..StartRequest::default() };
    let (key, pod) = (ContainerKey { pod_uid: "u".into(), name: "c".into(), attempt: 0 }, PodIdentity::default());
    let config = container(&host(), &key, &pod, &request, Namespaces::default(), None);
    assert_eq!((config.stop_signal, config.annotations[STOP_SIGNAL].as_str()), (18, "SIGQUIT"));
}
