//! What a kubelet gives a pod besides its containers: names, resolver, rights, cgroups.

use serde_json::{Value, json};

use crate::daemon::IMAGE;
use crate::support::wait_for;
use crate::world::{World, cgroups};

fn pod(name: &str, spec: Value, container: Value) -> Value {
    let mut main =
        json!({ "name": "main", "image": IMAGE, "imagePullPolicy": "Never", "command": ["sleep", "1000000"] });
    main.as_object_mut().unwrap().extend(container.as_object().unwrap().clone());
    let mut all = json!({ "terminationGracePeriodSeconds": 0, "containers": [main] });
    all.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name }, "spec": all })
}

#[test]
fn names_and_the_resolver() {
    let Some(world) = World::start("names_and_the_resolver") else { return };
    world.apply(&pod(
        "plain",
        json!({ "hostname": "one", "subdomain": "group",
            "hostAliases": [{ "ip": "10.1.2.3", "hostnames": ["a", "b"] }] }),
        json!({}),
    ));
    let dns =
        json!({ "nameservers": ["10.9.8.7"], "searches": ["x.y"], "options": [{ "name": "ndots", "value": "3" }] });
    world.apply(&pod("own-dns", json!({ "dnsPolicy": "None", "dnsConfig": dns }), json!({})));
    world.apply(&pod("full", json!({ "hostname": "one", "subdomain": "group", "setHostnameAsFQDN": true }), json!({})));
    world.apply(&pod("host", json!({ "hostNetwork": true, "hostPID": true, "hostIPC": true }), json!({})));

    let seen = world.ready("plain");
    let ip = seen["status"]["podIP"].as_str().unwrap();
    let hosts = world.exec("plain", "cat /etc/hosts");
    assert!(hosts.contains(&format!("{ip}\tone.group.default.svc.cluster.local\tone\n")), "{hosts}");
    assert!(hosts.contains("127.0.0.1\tlocalhost\n") && hosts.contains("10.1.2.3\ta\tb\n"), "{hosts}");
    assert_eq!(world.exec("plain", "hostname; echo $HOSTNAME"), "one\none\n");
    world.wait_event("plain", "MissingClusterDNS ");
    world.ready("full");
    assert_eq!(world.exec("full", "hostname"), "one.group.default.svc.cluster.local\n");

    world.ready("own-dns");
    let resolver = world.exec("own-dns", "cat /etc/resolv.conf");
    for line in ["nameserver 10.9.8.7", "search x.y", "options ndots:3"] {
        assert!(resolver.lines().any(|it| it == line), "{line}: {resolver}");
    }
    assert!(!world.events("own-dns").contains("MissingClusterDNS"));

    let seen = world.ready("host");
    assert_eq!(seen["status"]["podIP"], "10.99.0.2");
    assert!(world.exec("host", "ip addr").contains("10.99.0.2/24"));
    let hosts = world.exec("host", "cat /etc/hosts");
    assert!(hosts.starts_with("# Kubernetes-managed hosts file (host network).\n"), "{hosts}");
    let own = std::process::id();
    assert_eq!(world.exec("host", &format!("test -d /proc/{own} && echo seen")), "seen\n");
    assert!(!world.events("host").contains("MissingClusterDNS"));
}

#[test]
fn rights() {
    let Some(world) = World::start("rights") else { return };
    let context = json!({ "runAsUser": 1000, "runAsGroup": 3000, "fsGroup": 2000, "supplementalGroups": [4000],
        "runAsNonRoot": true, "sysctls": [{ "name": "net.ipv4.ip_unprivileged_port_start", "value": "80" }] });
    world.apply(&pod(
        "rights",
        json!({ "securityContext": context }),
        json!({ "securityContext": { "readOnlyRootFilesystem": true, "allowPrivilegeEscalation": false,
            "capabilities": { "drop": ["ALL"] } } }),
    ));
    world.apply(&pod("root", json!({ "securityContext": { "runAsNonRoot": true } }), json!({})));
    world.apply(&pod("users", json!({ "hostUsers": false }), json!({})));
    world.ready("rights");
    let seen = world.exec(
        "rights",
        "id; touch /x; grep -E 'CapEff|NoNewPrivs' /proc/self/status; \
        cat /proc/sys/net/ipv4/ip_unprivileged_port_start 2>&1; true",
    );
    for expected in ["uid=1000 gid=3000 groups=2000,3000,4000", "CapEff:\t0000000000000000", "NoNewPrivs:\t1", "\n80\n"]
    {
        assert!(seen.contains(expected), "{expected}: {seen}");
    }
    world.pod_that("root", "a refusal", |pod| {
        let waiting = &pod["status"]["containerStatuses"][0]["state"]["waiting"];
        waiting["reason"] == "CreateContainerConfigError"
            && waiting["message"].as_str().unwrap_or_default().contains("container has runAsNonRoot")
    });
    world.wait_event("users", "FailedCreatePodSandBox Failed to create pod sandbox: ");
    world.wait_event("users", "hostUsers");
}

#[test]
fn cgroups_come_and_go() {
    let Some(world) = World::start("cgroups_come_and_go") else { return };
    let resources = json!({ "resources": { "requests": { "cpu": "100m", "memory": "32Mi" },
        "limits": { "cpu": "500m", "memory": "64Mi" } } });
    world.apply(&pod("limited", json!({}), resources));
    let pod = world.ready("limited");
    let uid = pod["metadata"]["uid"].as_str().unwrap();
    let memory =
        world.exec("limited", "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max; true");
    assert!(memory.contains("67108864"), "{memory}");
    let own = || cgroups(uid);
    assert!(!own().is_empty());
    world.backstay(&["delete", "pod", "limited", "--timeout=60s"]).ok();
    wait_for("the pod's cgroups are gone", || own().is_empty().then_some(()));
    wait_for("the pod's directory is gone", || (!world.pod_dir(&pod).exists()).then_some(()));
}
