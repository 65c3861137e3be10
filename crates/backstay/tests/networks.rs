//! A DaemonSet whose pods have a network of their own, on a machine with CNI plugins and without a container runtime:
//! rolled out, taken back, reached in every way there is, and gone without a trace.

#[path = "../../cri/tests/support/image.rs"]
mod image;
mod support;
#[path = "networks/world.rs"]
mod world;

use serde_json::json;
use support::hosts::NEEDS as HOSTS;
use support::{needs, wait_for};
use world::{HOST_PORT, NODE, World};

const NEEDS: [(&str, &str); 3] = [
    ("/usr/lib/cni/bridge", "containernetworking-plugins"),
    ("iptables", "iptables"),
    ("/bin/busybox", "busybox-static"),
];

/// It serves its version, and whom it can reach.
const MANIFEST: &str = r#"apiVersion: apps/v1
kind: DaemonSet
metadata: { name: web }
spec:
  selector: { matchLabels: { app: web } }
  template:
    metadata: { labels: { app: web } }
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: main
        image: localhost/web:1
        command: [/bin/sh, -c, 'mkdir /www; echo "$VERSION at $IPS" > /www/index.html;
          trap "exit 0" TERM; busybox httpd -f -p 8080 -h /www & wait']
        ports: [{ containerPort: 8080, hostPort: 18080 }]
        readinessProbe: { httpGet: { port: 8080, path: /index.html }, periodSeconds: 1 }
        env:
        - { name: VERSION, value: "1" }
        - { name: IPS, valueFrom: { fieldRef: { fieldPath: status.podIPs } } }
---
apiVersion: node.k8s.io/v1
kind: RuntimeClass
metadata: { name: host }
handler: process
---
apiVersion: apps/v1
kind: DaemonSet
metadata: { name: beside }
spec:
  selector: { matchLabels: { app: beside } }
  template:
    metadata: { labels: { app: beside } }
    spec:
      runtimeClassName: host
      hostNetwork: true
      terminationGracePeriodSeconds: 1
      containers: [{ name: main, image: none, command: [/bin/busybox, sleep, "100000"] }]
"#;

#[test]
fn a_daemonset_with_a_network_of_its_own() {
    let needs: Vec<_> = HOSTS.into_iter().chain(NEEDS).collect();
    if !needs::are_met("a_daemonset_with_a_network_of_its_own", true, &needs) {
        return;
    }
    let mut world = World::new("localhost/web:1");
    it_is_rolled_out_and_taken_back(&mut world);
    it_is_reached_in_every_way(&mut world);
    it_outlives_its_agent(&mut world);
    a_pod_that_has_ended_lets_others_have_what_it_had(&mut world);
    a_plugin_that_fails_is_told_of(&mut world);
    it_goes_without_a_trace(&mut world);
}

fn it_is_rolled_out_and_taken_back(world: &mut World) {
    let file = world.path("web.yaml");
    std::fs::write(&file, MANIFEST).unwrap();
    world.backstay(&["apply", "-f", file.to_str().unwrap()]).ok();
    for name in ["ds/web", "ds/beside"] {
        world.backstay(&["rollout", "status", name, "--timeout", "60s"]).ok();
    }
    assert_serves(world, "1");
    let change =
        r#"{"spec":{"template":{"spec":{"containers":[{"name":"main","env":[{"name":"VERSION","value":"2"}]}]}}}}"#;
    world.backstay(&["patch", "ds", "web", "-p", change]).ok();
    world.backstay(&["rollout", "status", "ds/web", "--timeout", "60s"]).ok();
    assert_serves(world, "2");
    world.backstay(&["rollout", "undo", "ds/web"]).ok();
    world.backstay(&["rollout", "status", "ds/web", "--timeout", "60s"]).ok();
    assert_serves(world, "1");
    let beside = world.pod("beside");
    assert!(beside.container.starts_with("process://") && beside.restarts == 0, "{beside:?}");
}

/// From the machine by both of its addresses, and from another one by the machine's port.
fn assert_serves(world: &mut World, version: &str) {
    let pod = world.pod("web");
    assert!(pod.container.starts_with("oci://"), "{pod:?}");
    let [four, six] = &pod.ips[..] else { panic!("an address of each family: {pod:?}") };
    assert!(four.starts_with("10.88.0.") && six.starts_with("fd00:88::"), "{pod:?}");
    let page = format!("{version} at {four},{six}\n");
    for (host, address) in [
        (NODE, format!("{four}:8080")),
        (NODE, format!("[{six}]:8080")),
        (NODE, format!("{}:{HOST_PORT}", world.network.address(NODE))),
        (1, format!("{}:{HOST_PORT}", world.network.address(NODE))),
    ] {
        // The probe has had an answer; a rule that was just made may take a moment longer.
        let mut seen = None;
        let served = support::waits_for(|| {
            seen = world.get(host, &address);
            (seen.as_ref() == Some(&page)).then_some(())
        });
        assert!(served.is_some(), "not {page:?} at {address} from host {host}, but {seen:?}");
    }
    assert_eq!(world.addresses_taken().len(), 2, "{:?}", world.addresses_taken());
}

fn it_is_reached_in_every_way(world: &mut World) {
    let pod = world.pod("web");
    for program in support::programs() {
        let exec = |script: &str| world.client(program, &["exec", &pod.name, "--", "/bin/sh", "-c", script]);
        assert_eq!(exec("hostname; exit 3").code, Some(3), "{program}");
        let seen = exec("hostname; grep $(hostname) /etc/hosts | head -1; ip -o link | grep -c UP").ok();
        assert_eq!(seen, format!("{0}\n{1}\t{0}\n2\n", pod.name, pod.ips[0]), "{program}");
        // Out of the pod, by the machine's address.
        let server = world.network.address(1);
        assert_eq!(exec(&format!("nc -w 5 {server} 6443 < /dev/null")).code, Some(0), "{program}");
        let page = world.forwarded(program, &pod.name, 8080);
        assert!(page.starts_with("1 at "), "{program}: {page:?}");
    }
}

fn it_outlives_its_agent(world: &mut World) {
    let before = ["web", "beside"].map(|app| world.pod(app));
    world.kill_agent();
    let address = format!("{}:{HOST_PORT}", world.network.address(NODE));
    assert!(world.get(1, &address).is_some(), "it serves without");
    world.start_agent(&[]);
    wait_for("it is reached again", || {
        (world.backstay(&["exec", &before[0].name, "--", "/bin/true"]).code == Some(0)).then_some(())
    });
    assert_eq!(["web", "beside"].map(|app| world.pod(app)), before);
    assert_serves(world, "1");
}

/// An address of both families, and a port of the machine.
fn a_pod_that_has_ended_lets_others_have_what_it_had(world: &mut World) {
    world.run_pod("done", 18081, json!({ "command": ["/bin/sh", "-c", "exit 0"] }));
    let ended = wait_for("its end", || {
        let pod = world.json(&["get", "pod", "done", "-o", "json"]);
        let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
        let mut given_back =
            conditions.filter(|it| it["type"] == "PodReadyToStartContainers" && it["status"] == "False");
        (pod["status"]["phase"] == "Succeeded" && given_back.next().is_some()).then_some(pod)
    });
    assert!(ended["status"]["podIP"].as_str().is_some_and(|ip| ip.starts_with("10.88.0.")), "{ended:#}");
    assert_eq!(world.addresses_taken().len(), 2, "those of the DaemonSet: {:?}", world.addresses_taken());
    assert!(!world.rules().contains("18081"), "{}", world.rules());
    world.backstay(&["delete", "pod", "done"]).ok();
}

fn a_plugin_that_fails_is_told_of(world: &mut World) {
    world.configure(&[json!({ "type": "nonesuch" })]);
    world.run_pod("waits", 18082, json!({ "command": ["/bin/sleep", "100000"] }));
    let told = "plugin type=\"nonesuch\" failed (add): failed to find plugin \"nonesuch\"";
    wait_for("an event", || {
        let events = world.backstay(&["get", "events", "-o", "jsonpath={.items[*].message}"]).ok();
        events.contains(told).then_some(())
    });
    world.configure(&[]);
    world.backstay(&["wait", "--for=condition=Ready", "pod/waits", "--timeout=60s"]).ok();
    world.backstay(&["delete", "pod", "waits"]).ok();
}

fn it_goes_without_a_trace(world: &mut World) {
    let there = world.leftovers().join("\n");
    for kind in ["files of", "a mount at", "cgroup ", "process ", "address ", "rule ", "link "] {
        assert!(there.contains(kind), "no {kind:?} is seen:\n{there}");
    }
    world.backstay(&["delete", "ds", "web", "beside"]).ok();
    let mut left = Vec::new();
    let gone = support::waits_for(|| {
        left = world.leftovers();
        left.is_empty().then_some(())
    });
    assert!(gone.is_some(), "left behind:\n{}", left.join("\n"));
}
