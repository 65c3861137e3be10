//! An agent whose disk gets full: its node says so, who filled it goes, and what it cannot do now it does later.

mod support;

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use support::{Server, backstay, needs, run, wait_for};

/// Enough for a few pods; the threshold of a tenth is more than they use.
const DISK: &str = "size=8m";

/// The one that counts outlives any pressure; the other fills the disk when it is told to.
const PODS: &str = r#"apiVersion: apps/v1
kind: DaemonSet
metadata: { name: calm, namespace: kube-system }
spec:
  selector: { matchLabels: { app: calm } }
  template:
    metadata: { labels: { app: calm } }
    spec:
      priorityClassName: system-node-critical
      terminationGracePeriodSeconds: 1
      containers:
      - name: main
        image: none
        command: [/bin/sh, -c, 'n=0; while :; do n=$((n+1)); echo $VERSION $n; sleep 0.2; done']
        env: [{ name: VERSION, value: "1" }]
---
apiVersion: v1
kind: Pod
metadata: { name: greedy }
spec:
  terminationGracePeriodSeconds: 1
  tolerations: [{ operator: Exists }]
  containers:
  - name: main
    image: none
    command: [/bin/sh, -c, 'while [ ! -e GO ]; do sleep 0.1; done; cat /dev/zero > "$BACKSTAY_VOLUME_DIR/data/zeros"; sleep 1000']
    volumeMounts: [{ name: data, mountPath: /run/backstay-test-data }]
  volumes: [{ name: data, emptyDir: {} }]
"#;

const LATE: &str = "apiVersion: v1
kind: Pod
metadata: { name: late, namespace: kube-system }
spec:
  priorityClassName: system-node-critical
  terminationGracePeriodSeconds: 1
  tolerations: [{ operator: Exists }]
  containers: [{ name: main, image: none, command: [/bin/sleep, \"1000\"] }]
";

/// As a DaemonSet's, its pod tolerates what the node's conditions put upon it; but it is not critical.
const ORDINARY: &str = "apiVersion: apps/v1
kind: DaemonSet
metadata: { name: ordinary }
spec:
  selector: { matchLabels: { app: ordinary } }
  template:
    metadata: { labels: { app: ordinary } }
    spec:
      containers: [{ name: main, image: none, command: [/bin/sleep, \"1000\"] }]
";

/// A disk of its own, mounted for as long as it lives.
struct Disk(PathBuf);

impl Disk {
    fn mount(at: &Path) -> Self {
        std::fs::create_dir_all(at).unwrap();
        run(Command::new("mount").args(["-t", "tmpfs", "-o", DISK, "backstay-test"]).arg(at)).ok();
        Self(at.to_path_buf())
    }

    fn fill(&self) {
        let mut file = File::options().create(true).append(true).open(self.0.join("filling")).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
        while file.write_all(&[0]).is_ok() {}
    }

    fn free(&self) {
        std::fs::remove_file(self.0.join("filling")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Killed when dropped.
struct Agent(Child);

impl Agent {
    fn start(data_dir: &Path, words: &[&str]) -> Self {
        let mut command = backstay();
        command
            .arg("agent")
            .args(words)
            .args(["--node-name", "n1", "--runtime", "process", "--data-dir"])
            .arg(data_dir);
        command.env("BACKSTAY_LOG", std::env::var("BACKSTAY_LOG").unwrap_or("error".into()));
        Self(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("the agent starts"))
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct World {
    agent: Option<Agent>,
    server: Server,
    disk: Disk,
    _dir: tempfile::TempDir,
}

impl World {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::start(dir.path(), &["server"]);
        let disk = Disk::mount(&dir.path().join("agent"));
        let printed = server.backstay(&["token", "create"]).ok();
        let words: Vec<&str> = printed.split_whitespace().skip(2).collect();
        let agent = Some(Agent::start(&disk.0, &words));
        let file = dir.path().join("pods.yaml");
        let go = dir.path().join("go").display().to_string();
        std::fs::write(&file, PODS.replace("GO", &go)).unwrap();
        let world = Self { agent, server, disk, _dir: dir };
        wait_for("the node is ready", || (world.condition("Ready") == "True").then_some(()));
        world.server.backstay(&["apply", "-f", file.to_str().unwrap()]).ok();
        world.server.backstay(&["rollout", "status", "ds/calm", "-n", "kube-system", "--timeout", "60s"]).ok();
        world.server.backstay(&["wait", "--for=condition=Ready", "pod/greedy", "--timeout=60s"]).ok();
        world
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.server.backstay(arguments).ok()).expect("JSON")
    }

    /// Its container, and how often that was restarted.
    fn calm(&self) -> (String, i64) {
        let list = self.json(&["get", "pods", "-n", "kube-system", "-l", "app=calm", "-o", "json"]);
        let status = &list["items"][0]["status"]["containerStatuses"][0];
        let container = status["containerID"].as_str().unwrap_or_default().to_string();
        (container, status["restartCount"].as_i64().unwrap_or_default())
    }

    fn condition(&self, kind: &str) -> String {
        let path = format!("jsonpath={{.status.conditions[?(@.type==\"{kind}\")].status}}");
        self.server.backstay(&["get", "node", "n1", "-o", &path]).stdout
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if self.disk.0.join("filling").exists() {
            self.disk.free();
        }
        // Pods outlive their agent by design, but not a test.
        for command in [
            &["delete", "ds", "calm", "-n", "kube-system"][..],
            &["delete", "ds", "ordinary"],
            &["delete", "pod", "greedy"],
            &["delete", "pod", "late", "-n", "kube-system"],
        ] {
            let _ = self.server.backstay(command);
        }
        if std::thread::panicking() || self.agent.is_none() {
            return;
        }
        wait_for("its pods are gone", || {
            self.server.backstay(&["get", "pods", "-A", "-o", "name"]).stdout.is_empty().then_some(())
        });
        wait_for("their files are gone", || {
            std::fs::read_dir(self.disk.0.join("pods")).unwrap().next().is_none().then_some(())
        });
    }
}

#[test]
fn a_disk_gets_full() {
    if !needs::are_met("a_disk_gets_full", true, &[("mount", "mount")]) {
        return;
    }
    let mut world = World::start();
    let before = world.calm();

    // One of its pods fills the disk: the node says so, and that pod goes.
    std::fs::write(world.disk.0.parent().unwrap().join("go"), "").unwrap();
    let greedy = wait_for("who fills the disk is evicted", || {
        let pod = world.json(&["get", "pod", "greedy", "-o", "json"]);
        (pod["status"]["phase"] == "Failed").then_some(pod)
    });
    assert_eq!(greedy["status"]["reason"], "Evicted");
    let message = greedy["status"]["message"].as_str().unwrap();
    assert!(message.starts_with("The node was low on resource: ephemeral-storage."), "{message}");
    wait_for("the node says so", || (world.condition("DiskPressure") == "True").then_some(()));
    assert_eq!(world.condition("Ready"), "True");
    let taints = ["get", "node", "n1", "-o", "jsonpath={.spec.taints[*].key}"];
    wait_for("nothing more is sent there", || {
        world.server.backstay(&taints).stdout.contains("node.kubernetes.io/disk-pressure").then_some(())
    });

    // A DaemonSet's pod comes all the same, and is turned away; again and again, each time after a longer while.
    let ordinary = world.disk.0.parent().unwrap().join("ordinary.yaml");
    std::fs::write(&ordinary, ORDINARY).unwrap();
    world.server.backstay(&["apply", "-f", ordinary.to_str().unwrap()]).ok();
    let mut seen = std::collections::BTreeSet::new();
    wait_for("it is tried again", || {
        let pods = world.json(&["get", "pods", "-l", "app=ordinary", "-o", "json"]);
        for pod in pods["items"].as_array().unwrap().iter().filter(|pod| pod["status"]["phase"] == "Failed") {
            assert_eq!(pod["status"]["reason"], "Evicted", "{pod:#}");
            assert_eq!(pod["status"]["message"], "Pod was rejected: The node had condition: [DiskPressure]. ");
            seen.insert(pod["metadata"]["name"].to_string());
        }
        (seen.len() > 2).then_some(())
    });
    world.server.backstay(&["delete", "ds", "ordinary"]).ok();

    // The disk is full to the last byte, by nobody who could go. What runs goes on; an agent begins on it all the same.
    world.disk.fill();
    world.agent = None;
    world.agent = Some(Agent::start(&world.disk.0, &[]));
    let list = world.json(&["get", "pods", "-n", "kube-system", "-o", "json"]);
    let pod = list["items"][0]["metadata"]["name"].as_str().unwrap().to_string();
    wait_for("it is reached", || {
        let ran = world.server.backstay(&["exec", "-n", "kube-system", &pod, "--", "/bin/true"]);
        (ran.code == Some(0)).then_some(())
    });
    assert_eq!(world.calm(), before, "it was not restarted");

    // Another one has no room, and that is what its users are told.
    let late = world.disk.0.parent().unwrap().join("late.yaml");
    std::fs::write(&late, LATE).unwrap();
    world.server.backstay(&["apply", "-f", late.to_str().unwrap()]).ok();
    wait_for("they are told", || {
        let events = ["get", "events", "-n", "kube-system", "-o", "jsonpath={.items[*].message}"];
        world.server.backstay(&events).stdout.contains("No space left on device").then_some(())
    });

    // There is room again: what waited is done.
    world.disk.free();
    world.server.backstay(&["wait", "--for=condition=Ready", "pod/late", "-n", "kube-system", "--timeout=60s"]).ok();
    assert_eq!(world.calm(), before, "it was not restarted");
}
