//! Pods in containers of our own, through the whole of it: a server, its agent, a registry, clients.

#[path = "../../oci/tests/support/mod.rs"]
mod packed;
mod support;

use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use packed::registry::{Served, serve};
use serde_json::{Value, json};
use support::{Server, backstay, needs, run, wait_for};
use tempfile::TempDir;

const NODE: &str = "this";
/// `u:p`, as a registry is told.
const ACCOUNT: &str = "Basic dTpw";

/// A machine that is its own cluster.
struct World {
    dir: TempDir,
    server: Option<Server>,
}

impl World {
    /// `None`, and a word about it, where there cannot be containers.
    fn start(test: &str) -> Option<Self> {
        if !needs::are_met(test, true, &[("busybox", "busybox-static")]) {
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let server = Server::start(dir.path(), &["up", "--runtime", "oci", "--node-name", NODE]);
        Some(Self { dir, server: Some(server) })
    }

    fn server(&self) -> &Server {
        self.server.as_ref().expect("it runs")
    }

    /// `kill -9`, and another one with the same data.
    fn crash(&mut self) {
        let mut server = self.server.take().expect("it runs");
        server.stop("KILL");
        self.server = Some(server.start_again());
    }

    fn image(&self, arguments: &[&str]) -> support::Ran {
        run(backstay().arg("image").args(arguments).arg("--data-dir").arg(&self.server().data_dir))
    }

    /// Brings busybox to the machine, under this name.
    fn import(&self, name: &str) {
        let layers = [busybox()];
        let config = packed::config(&layers, json!({ "Cmd": ["sh", "-c", "echo from the image; exec sleep 100000"] }));
        let archive = packed::oci_archive(self.dir.path(), name, &layers, &config);
        assert_eq!(self.image(&["import", archive.to_str().unwrap()]).ok(), format!("{name}\n"));
    }

    fn apply(&self, object: &Value) {
        let file = self.dir.path().join("object.json");
        std::fs::write(&file, object.to_string()).unwrap();
        self.server().backstay(&["apply", "-f", file.to_str().unwrap()]).ok();
    }

    fn run_pod(&self, name: &str, image: &str, change: impl FnOnce(&mut Value)) {
        let container = json!({ "name": "main", "image": image, "imagePullPolicy": "IfNotPresent" });
        let mut spec = json!({ "hostNetwork": true, "terminationGracePeriodSeconds": 1, "containers": [container],
            "tolerations": [{ "operator": "Exists" }] });
        change(&mut spec);
        self.apply(&json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name }, "spec": spec }));
    }

    fn pod(&self, name: &str) -> Value {
        let shown = self.server().backstay(&["get", "pod", name, "-o", "json"]).ok();
        serde_json::from_str(&shown).unwrap()
    }

    fn ready(&self, name: &str) {
        self.server().backstay(&["wait", "--for=condition=Ready", &format!("pod/{name}"), "--timeout=60s"]).ok();
    }

    /// Waits until the container waits for this reason; returns its message.
    fn waits_for(&self, name: &str, reason: &str) -> String {
        wait_for(reason, || {
            let pod = self.pod(name);
            let waiting = &pod["status"]["containerStatuses"][0]["state"]["waiting"];
            (waiting["reason"] == reason).then(|| waiting["message"].as_str().unwrap_or_default().to_string())
        })
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let Some(server) = self.server.take() else { return };
        // Pods outlive their server by design; a test must not leave them behind.
        let node = server.data_dir.join("node");
        drop(server);
        support::traces::end_pods(&node);
    }
}

fn busybox() -> Vec<u8> {
    let program = ["/bin/busybox", "/usr/bin/busybox"].iter().find_map(|path| std::fs::read(path).ok()).unwrap();
    let links = ["sh", "sleep", "cat", "echo", "ls", "id", "tty"].map(|name| format!("bin/{name} -> busybox"));
    let mut entries: Vec<(&str, &[u8])> = vec![("bin/", b""), ("bin/busybox", &program), ("etc/", b""), ("tmp/", b"")];
    entries.extend(links.iter().map(|link| (link.as_str(), &b""[..])));
    packed::tar(&entries)
}

/// A registry with `team/app:v1`, and the name of that image.
fn registry(change: impl FnOnce(&mut Served)) -> (String, Arc<Served>) {
    let (port, served) = serve(|_| {
        let mut served = packed::registry::image(&[busybox()], json!({ "Cmd": ["sleep", "100000"] }));
        change(&mut served);
        served
    });
    (format!("127.0.0.1:{port}/team/app:v1"), served)
}

#[test]
fn a_pod_runs_and_outlives_its_agent() {
    let Some(mut world) = World::start("a_pod_runs_and_outlives_its_agent") else { return };
    world.import("localhost/app:v1");
    let runtime =
        world.server().kubectl(&["get", "node", NODE, "-o", "jsonpath={.status.nodeInfo.containerRuntimeVersion}"]);
    assert!(runtime.ok().starts_with("oci://"));
    world.run_pod("p", "localhost/app:v1", |spec| spec["shareProcessNamespace"] = json!(true));
    world.ready("p");
    let logs = || world.server().kubectl(&["logs", "p"]).ok();
    wait_for("its words", || (logs() == "from the image\n").then_some(()));
    let pod = world.pod("p");
    let status = &pod["status"]["containerStatuses"][0];
    assert!(status["imageID"].as_str().unwrap().starts_with("localhost/app@sha256:"), "{status}");
    assert!(status["containerID"].as_str().unwrap().starts_with("oci://"), "{status}");
    let exec = |words: &[&str]| world.server().kubectl(&[&["exec", "p", "--"], words].concat());
    assert_eq!(exec(&["cat", "/proc/1/comm"]).ok(), "pause\n");
    assert_eq!(exec(&["sh", "-c", "exit 42"]).code, Some(42));
    let said = world.image(&["rm", "localhost/app:v1"]).fails();
    assert!(said.contains("a pod of this machine is made from \"localhost/app:v1\": delete it first"), "{said}");
    assert_eq!(world.image(&["gc"]).ok(), "");
    // Nor does one go that a container is to be made from again.
    world.import("localhost/fails:v1");
    world.run_pod("fails", "localhost/fails:v1", |spec| {
        spec["containers"][0]["command"] = json!(["sh", "-c", "exit 3"])
    });
    world.waits_for("fails", "CrashLoopBackOff");
    assert_eq!(world.image(&["gc"]).ok(), "");
    world.crash();
    world.ready("p");
    let again = world.pod("p");
    assert_eq!(again["status"]["containerStatuses"][0]["containerID"], status["containerID"]);
    assert_eq!(again["status"]["containerStatuses"][0]["restartCount"], 0);
    let exec = world.server().kubectl(&["exec", "p", "--", "cat", "/proc/1/comm"]);
    assert_eq!(exec.ok(), "pause\n");
    world.server().kubectl(&["delete", "pod", "p", "fails", "--timeout=60s"]).ok();
    assert_eq!(world.image(&["rm", "localhost/app:v1"]).ok(), "localhost/app:v1\n");
    assert_eq!(world.image(&["gc"]).ok(), "localhost/fails:v1\n");
}

#[test]
fn images_come_with_the_pods_credentials() {
    let Some(world) = World::start("images_come_with_the_pods_credentials") else { return };
    let (image, served) = registry(|it| it.account = Some(ACCOUNT));
    world.run_pod("without", &image, |_| {});
    let message = world.waits_for("without", "ErrImagePull");
    assert!(message.contains("pull access denied"), "{message}");
    world.waits_for("without", "ImagePullBackOff");
    let host = image.split('/').next().unwrap();
    let auth = base64::engine::general_purpose::STANDARD.encode("u:p");
    let accounts = json!({ "auths": { host: { "auth": auth } } }).to_string();
    let data = json!({ ".dockerconfigjson": base64::engine::general_purpose::STANDARD.encode(accounts) });
    world.apply(&json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "account" },
        "type": "kubernetes.io/dockerconfigjson", "data": data }));
    world.run_pod("with", &image, |spec| spec["imagePullSecrets"] = json!([{ "name": "account" }]));
    world.ready("with");
    let seen = served.seen.lock().unwrap().clone();
    assert!(seen.iter().any(|path| path.starts_with("/elsewhere/")), "{seen:?}");
}

#[test]
fn pods_say_why_there_is_no_image() {
    let Some(world) = World::start("pods_say_why_there_is_no_image") else { return };
    let (image, _) = registry(|it| {
        let layer = it.blobs.values_mut().max_by_key(|blob| blob.len()).unwrap();
        *layer.last_mut().unwrap() ^= 1;
    });
    let missing = image.replace(":v1", ":v2");
    for (name, image, policy, reason, words) in [
        ("damaged", image.as_str(), "Always", "ErrImagePull", "sent something else than sha256:"),
        ("missing", &missing, "Always", "ErrImagePull", "not found"),
        ("never", "localhost/none:v1", "Never", "ErrImageNeverPull", "is not present with pull policy of Never"),
        ("invalid", "team/UPPER", "IfNotPresent", "InvalidImageName", "repository name must be lowercase"),
        ("nobody", "127.0.0.1:1/app", "IfNotPresent", "RegistryUnavailable", "cannot reach http://127.0.0.1:1/"),
    ] {
        world.run_pod(name, image, |spec| spec["containers"][0]["imagePullPolicy"] = json!(policy));
        let message = world.waits_for(name, reason);
        assert!(message.contains(words), "{name}: {message}");
    }
    world.waits_for("missing", "ImagePullBackOff");
}

#[test]
fn a_fetch_that_is_killed_leaves_nothing_half() {
    let Some(mut world) = World::start("a_fetch_that_is_killed_leaves_nothing_half") else { return };
    let (image, served) = registry(|it| (it.until, it.stalls) = (100_000.into(), true));
    world.run_pod("p", &image, |_| {});
    let tmp = world.server().data_dir.join("node/images/tmp");
    let blobs = |tmp: &Path| -> Vec<u64> {
        let entries = std::fs::read_dir(tmp).into_iter().flatten().flatten();
        entries.filter_map(|entry| Some(entry.metadata().ok()?.len())).collect()
    };
    wait_for("a half of it", || (blobs(&tmp) == [100_000]).then_some(()));
    assert_eq!(world.image(&["list"]).ok().lines().count(), 1, "it is not an image yet");
    // Somebody else tidies up meanwhile: what is being fetched stays.
    assert_eq!(world.image(&["gc"]).ok(), "");
    assert_eq!(blobs(&tmp), [100_000]);
    served.until.store(1, std::sync::atomic::Ordering::SeqCst);
    world.crash();
    wait_for("a tidy store", || (blobs(&tmp) != [100_000]).then_some(()));
    served.until.store(0, std::sync::atomic::Ordering::SeqCst);
    world.crash();
    world.ready("p");
    assert_eq!(blobs(&tmp), Vec::<u64>::new());
}
