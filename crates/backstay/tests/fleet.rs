//! The life of a DaemonSet on a fleet whose machines run pods in three ways: containerd on one, our own containers on
//! another, host processes on the third. It is rolled out, broken, taken back; every program of ours is killed, and a
//! machine is cut off, in the middle of a rollout.

#[path = "../../cri/tests/support/config.rs"]
mod config;
#[path = "fleet/containerd.rs"]
mod containerd;
#[path = "../../cri/tests/support/image.rs"]
mod image;
mod support;
#[path = "fleet/world.rs"]
mod world;

use std::process::Command;

use support::hosts::NEEDS as HOSTS;
use support::{needs, wait_for};
use world::{CRI, NODES, OCI, PROCESS, Pod, World};

const NEEDS: [(&str, &str); 6] = [
    ("containerd", "containerd"),
    ("ctr", "containerd"),
    ("runc", "runc"),
    ("/usr/lib/cni/bridge", "containernetworking-plugins"),
    ("/bin/busybox", "busybox-static"),
    ("script", "bsdutils"),
];

/// It says its version and counts, so that a line that is lost shows; version 2 is broken. It tolerates everything, so
/// that a rollout waits for a machine that is cut off.
const MANIFEST: &str = r#"apiVersion: apps/v1
kind: DaemonSet
metadata: { name: app }
spec:
  selector: { matchLabels: { app: app } }
  updateStrategy: { rollingUpdate: { maxUnavailable: 1 } }
  template:
    metadata: { labels: { app: app } }
    spec:
      hostNetwork: true
      tolerations: [{ operator: Exists }]
      terminationGracePeriodSeconds: 1
      containers:
      - name: main
        image: localhost/app:1
        command: [/bin/sh, -c, 'test "$VERSION" != 2 || exit 7; trap "exit 0" TERM; n=0;
          while :; do n=$((n+1)); echo "$VERSION on $NODE: $n"; sleep 0.2; done']
        env:
        - { name: VERSION, value: "1" }
        - { name: NODE, valueFrom: { fieldRef: { fieldPath: spec.nodeName } } }
"#;

#[test]
fn a_daemonset_on_three_kinds_of_machines() {
    let needs: Vec<_> = HOSTS.into_iter().chain(NEEDS).collect();
    if !needs::are_met("a_daemonset_on_three_kinds_of_machines", true, &needs) {
        return;
    }
    let mut world = World::new(&["localhost/app:1", "localhost/app:3"]);
    it_runs_everywhere(&mut world);
    it_is_reached_everywhere(&mut world);
    it_is_looked_into(&mut world);
    a_broken_version_costs_one_node(&mut world);
    a_broken_version_costs_as_much_as_it_may(&mut world);
    a_machine_is_cut_off_in_mid_rollout(&mut world);
    a_shim_that_dies_takes_its_own_container_along(&mut world);
    a_server_that_dies_in_mid_rollout(&mut world);
    it_goes_without_a_trace(&mut world);
}

fn it_runs_everywhere(world: &mut World) {
    let file = world.path("app.yaml");
    std::fs::write(&file, MANIFEST).unwrap();
    world.backstay(&["apply", "-f", file.to_str().unwrap()]).ok();
    finish(world);
    assert_eq!(versions(world), ["1", "1", "1"]);
    for (node, kind) in [(CRI, "containerd://"), (OCI, "oci://"), (PROCESS, "process://")] {
        let pod = world.pod(node);
        assert!(pod.container.starts_with(kind), "{pod:?}");
    }
}

fn it_is_reached_everywhere(world: &mut World) {
    for node in NODES {
        let pod = world.pod(node).name;
        for program in support::programs() {
            let log = wait_for("its words", || {
                let log = world.client(program, &["logs", &pod]).ok();
                log.contains("on").then_some(log)
            });
            assert_eq!(log.lines().next(), Some(format!("1 on n{node}: 1").as_str()), "{program}");
            let script = "echo out $NODE; echo err >&2; exit 5";
            let ran = world.client(program, &["exec", &pod, "--", "/bin/sh", "-c", script]);
            assert_eq!((ran.code, ran.stdout), (Some(5), format!("out n{node}\n")), "{program}");
            assert!(ran.stderr.starts_with("err\n"), "{program}: {}", ran.stderr);
            let inner = "test -t 0 && test -t 1 && echo a terminal on $NODE; exit 6";
            let line = format!("{program} exec -it {pod} -- /bin/sh -c '{inner}'");
            let ran = world.client("script", &["--quiet", "--return", "--command", &line, "/dev/null"]);
            assert_eq!(ran.code, Some(6), "{program}: {ran:?}");
            assert!(ran.stdout.contains(&format!("a terminal on n{node}")), "{program}: {ran:?}");
        }
    }
}

/// `kubectl debug`: a container beside the others, which looks at the processes of one of them.
fn it_is_looked_into(world: &mut World) {
    let Some(kubectl) = support::kubectl_if_any() else { return };
    let look = "grep -c VERSION /proc/1/cmdline; exec sleep 1000000";
    for node in NODES {
        let before = world.pod(node);
        let add = ["debug", &before.name, "--image=localhost/app:1", "--target=main", "-c", "look", "-q", "--"];
        world.client(kubectl, &[&add[..], &["/bin/sh", "-c", look]].concat()).ok();
        // Where there are no images, processes of the host are what everybody sees.
        let expected = if node == PROCESS { "0\n" } else { "1\n" };
        let mut seen = None;
        let looks = support::waits_for(|| {
            let ran = seen.insert(world.client(kubectl, &["logs", &before.name, "-c", "look"]));
            (ran.stdout == expected).then_some(())
        });
        assert!(looks.is_some(), "it does not look on n{node}: {seen:?}");
        world.client(kubectl, &["exec", &before.name, "-c", "look", "--", "/bin/true"]).ok();
        let states = "jsonpath={.status.ephemeralContainerStatuses[*].state}";
        assert!(world.backstay(&["get", "pod", &before.name, "-o", states]).ok().contains("running"));
        assert_eq!(world.pod(node), before, "the pod itself is as it was");
    }
}

/// With a budget of one, the others are not touched; and whoever waits is told why.
fn a_broken_version_costs_one_node(world: &mut World) {
    let before = world.pods();
    change(world, "2", "localhost/app:2");
    let waits = world.backstay(&["rollout", "status", "ds/app", "--timeout", "3s"]);
    assert_eq!(waits.code, Some(1), "{waits:?}");
    assert!(waits.stdout.contains("Waiting for daemon set \"app\" rollout to finish"), "{waits:?}");
    let broken = wait_for("one is broken", || {
        let pods = world.pods();
        let broken: Vec<Pod> = pods.iter().filter(|pod| !before.contains(pod)).cloned().collect();
        (broken.len() == 1 && !broken[0].waiting.is_empty()).then_some(broken)
    });
    assert_eq!(broken[0].version, "2");
    undo(world);
    let kept = world.pods().into_iter().filter(|pod| before.contains(pod)).count();
    assert_eq!(kept, 2, "who was well was left alone");
    assert_eq!(revisions(world), [2, 3], "the old revision has come back as the newest");
}

/// Its image is missing where there are images; where there are none, it crashes.
fn a_broken_version_costs_as_much_as_it_may(world: &mut World) {
    budget(world, "100%");
    change(world, "2", "localhost/app:2");
    for (node, reason) in [(CRI, "ImagePullBackOff"), (OCI, "ImagePullBackOff"), (PROCESS, "CrashLoopBackOff")] {
        wait_for(&format!("{reason} on n{node}"), || {
            let pod = world.find_pod(node)?;
            (pod.version == "2" && pod.waiting == reason).then_some(())
        });
    }
    let events = world.backstay(&["get", "events", "-o", "jsonpath={.items[*].reason}"]).ok();
    assert!(events.contains("Failed") && events.contains("BackOff"), "{events}");
    let waits = world.backstay(&["rollout", "status", "ds/app", "--timeout", "3s"]);
    assert_eq!(waits.code, Some(1), "{waits:?}");
    undo(world);
    assert_eq!(revisions(world), [4, 5]);
    let history = world.backstay(&["rollout", "history", "ds/app", "--revision", "4"]).ok();
    assert!(history.contains("localhost/app:2"), "{history}");
}

/// Two may be away: the one that is cut off, and one after the other of those that are reached.
fn a_machine_is_cut_off_in_mid_rollout(world: &mut World) {
    budget(world, "2");
    let before = world.pod(OCI);
    world.network.cut(OCI);
    world.wait_node(OCI, "Unknown");
    change(world, "3", "localhost/app:3");
    wait_for("those that are reached are updated", || {
        let done = [CRI, PROCESS].map(|node| world.find_pod(node).filter(|pod| pod.version == "3"));
        done.iter().all(|pod| pod.as_ref().is_some_and(|pod| !pod.container.is_empty())).then_some(())
    });
    let waits = world.backstay(&["rollout", "status", "ds/app", "--timeout", "3s"]);
    assert_eq!(waits.code, Some(1), "{waits:?}");
    world.wait_more_said(OCI, &before);
    everything_is_killed_in_turn(world, &before);
    world.wait_more_said(OCI, &before);
    assert_counts(&world.said_on_host(OCI, &before), "1", OCI);
    world.network.heal(OCI);
    world.wait_node(OCI, "True");
    finish(world);
    assert_eq!(versions(world), ["3", "3", "3"]);
    assert_eq!(revisions(world), [4, 5, 6]);
    world.wait_reached(&NODES);
}

/// What runs is not touched by the end of those that look after it, and no word of it is lost.
fn everything_is_killed_in_turn(world: &mut World, cut_off: &Pod) {
    let pods = [CRI, PROCESS].map(|node| world.pod(node));
    let seen = [(CRI, &pods[0]), (PROCESS, &pods[1]), (OCI, cut_off)];
    let assert_same = |world: &mut World, who: &str| {
        assert_eq!([CRI, PROCESS].map(|node| world.pod(node)), pods, "after the end of {who}");
    };
    for node in NODES {
        world.kill_agent(node);
        seen.iter().for_each(|(node, pod)| world.wait_more_said(*node, pod));
        world.start_agent(node, &[]);
        if node != OCI {
            world.wait_reached(&[node]);
        }
        assert_same(world, &format!("the agent of n{node}"));
    }
    // What its container says meanwhile waits in the pipe.
    world.containerd.kill();
    world.wait_more_said(PROCESS, &pods[1]);
    world.containerd.resume(&world.network, CRI);
    world.wait_node(CRI, "True");
    world.wait_reached(&[CRI]);
    assert_same(world, "containerd");
    world.kill_server();
    seen.iter().for_each(|(node, pod)| world.wait_more_said(*node, pod));
    world.serve();
    world.wait_reached(&[CRI, PROCESS]);
    assert_same(world, "the server");
    for (node, pod) in [CRI, PROCESS].into_iter().zip(&pods) {
        let log = world.backstay(&["logs", &pod.name]).ok();
        assert_counts(&log.lines().map(str::to_string).collect::<Vec<_>>(), "3", node);
    }
}

/// No line is lost, and none is there twice.
#[track_caller]
fn assert_counts(lines: &[String], version: &str, node: u32) {
    let expected: Vec<String> = (1..=lines.len()).map(|n| format!("{version} on n{node}: {n}")).collect();
    assert_eq!(lines, expected);
}

fn a_shim_that_dies_takes_its_own_container_along(world: &mut World) {
    for node in NODES {
        let before = world.pods();
        let status = Command::new("kill").args(["-s", "KILL", &world.shim(node).to_string()]).status().unwrap();
        assert!(status.success());
        let index = NODES.iter().position(|it| *it == node).unwrap();
        let new = wait_for("another container", || {
            let pod = world.pod(node);
            let is_new = pod.container != before[index].container && pod.waiting.is_empty();
            (is_new && !pod.container.is_empty()).then_some(pod)
        });
        let expected = Pod { container: new.container.clone(), restarts: 1, ..before[index].clone() };
        assert_eq!(new, expected, "it is the same pod");
        let mut all = before;
        all[index] = new;
        assert_eq!(world.pods(), all, "the others are left alone");
    }
    finish(world);
}

fn a_server_that_dies_in_mid_rollout(world: &mut World) {
    budget(world, "1");
    change(world, "4", "localhost/app:1");
    wait_for("the rollout has begun", || world.pods_now().iter().any(|pod| pod.version == "4").then_some(()));
    world.kill_server();
    world.serve();
    finish(world);
    assert_eq!(versions(world), ["4", "4", "4"]);
    undo(world);
    assert_eq!(versions(world), ["3", "3", "3"]);
    assert_eq!(revisions(world), [4, 5, 7, 8]);
}

fn it_goes_without_a_trace(world: &mut World) {
    let there = world.leftovers().join("\n");
    for kind in ["files of", "a mount at", "container ", "cgroup ", "process "] {
        assert!(there.contains(kind), "no {kind:?} is seen:\n{there}");
    }
    world.backstay(&["delete", "ds", "app"]).ok();
    wait_for("its pods are gone", || world.backstay(&["get", "pods", "-o", "name"]).stdout.is_empty().then_some(()));
    let mut left = Vec::new();
    let gone = support::waits_for(|| {
        left = world.leftovers();
        left.is_empty().then_some(())
    });
    assert!(gone.is_some(), "left behind:\n{}", left.join("\n"));
}

fn change(world: &World, version: &str, image: &str) {
    // Both in one change of the template.
    let patch = format!(
        r#"{{"spec":{{"template":{{"spec":{{"containers":[{{"name":"main","image":"{image}","env":[{{"name":"VERSION","value":"{version}"}}]}}]}}}}}}}}"#
    );
    world.backstay(&["patch", "ds", "app", "-p", &patch]).ok();
}

fn budget(world: &World, pods: &str) {
    let number = pods.parse::<u32>().map_or_else(|_| format!("\"{pods}\""), |number| number.to_string());
    let patch = format!(r#"{{"spec":{{"updateStrategy":{{"rollingUpdate":{{"maxUnavailable":{number}}}}}}}}}"#);
    world.backstay(&["patch", "ds", "app", "-p", &patch]).ok();
}

fn finish(world: &World) {
    world.backstay(&["rollout", "status", "ds/app", "--timeout", "120s"]).ok();
}

fn undo(world: &mut World) {
    world.backstay(&["rollout", "undo", "ds/app"]).ok();
    finish(world);
}

fn versions(world: &mut World) -> Vec<String> {
    world.pods().into_iter().map(|pod| pod.version).collect()
}

/// The numbers that `rollout history` shows.
fn revisions(world: &World) -> Vec<u32> {
    let history = world.backstay(&["rollout", "history", "ds/app"]).ok();
    history.lines().filter_map(|line| line.split_whitespace().next()?.parse().ok()).collect()
}
