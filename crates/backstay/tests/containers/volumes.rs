//! Every kind of volume that DaemonSets use on a plain machine, looked at from inside of the container.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::daemon::IMAGE;
use crate::support::wait_for;
use crate::world::World;

fn pod(name: &str, volumes: Value, mounts: Value, security: Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": name, "labels": { "tier": "node" }, "annotations": { "note": "here" } },
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "securityContext": { "fsGroup": 77 },
            "containers": [{
                "name": "main", "image": IMAGE, "imagePullPolicy": "Never", "command": ["sleep", "1000000"],
                "resources": { "limits": { "memory": "64Mi", "cpu": "500m" } },
                "volumeMounts": mounts, "securityContext": security,
            }],
            "volumes": volumes,
        },
    })
}

#[test]
fn files_of_objects_and_of_the_pod() {
    let Some(world) = World::start("files_of_objects_and_of_the_pod") else { return };
    world.apply(&json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "settings" },
        "data": { "a": "1", "b": "2" } }));
    world.apply(&json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "keys" },
        "stringData": { "key": "secret" } }));
    let volumes = json!([
        { "name": "disk", "emptyDir": {} },
        { "name": "memory", "emptyDir": { "medium": "Memory", "sizeLimit": "1Mi" } },
        { "name": "settings", "configMap": { "name": "settings", "items": [{ "key": "a", "path": "deep/a" }] } },
        { "name": "keys", "secret": { "secretName": "keys", "defaultMode": 256 } },
        { "name": "none", "configMap": { "name": "missing", "optional": true } },
        { "name": "about", "downwardAPI": { "items": [
            { "path": "labels", "fieldRef": { "fieldPath": "metadata.labels" } },
            { "path": "memory", "resourceFieldRef": { "containerName": "main", "resource": "limits.memory" } }] } },
        { "name": "all", "projected": { "sources": [
            { "serviceAccountToken": { "path": "token", "audience": "vault", "expirationSeconds": 3600 } },
            { "configMap": { "name": "settings" } },
            { "secret": { "name": "keys" } },
            { "downwardAPI": { "items": [
                { "path": "name", "fieldRef": { "fieldPath": "metadata.name" } }] } }] } },
    ]);
    let mounts = json!([
        { "name": "disk", "mountPath": "/disk" },
        { "name": "memory", "mountPath": "/memory" },
        { "name": "settings", "mountPath": "/settings" },
        { "name": "keys", "mountPath": "/keys", "readOnly": true },
        { "name": "none", "mountPath": "/none" },
        { "name": "about", "mountPath": "/about" },
        { "name": "all", "mountPath": "/all" },
        { "name": "all", "mountPath": "/etc/one-file", "subPath": "b" },
    ]);
    world.apply(&pod("files", volumes, mounts, json!({})));
    world.ready("files");
    let check = |script: &str, expected: &str| assert_eq!(world.exec("files", script).trim(), expected, "{script}");
    check("echo x > /disk/x; busybox stat -c %a:%g /disk", "2777:77");
    check("grep -c ' /memory tmpfs ' /proc/mounts", "1");
    check("dd if=/dev/zero of=/memory/x bs=1024 count=2048 2>&1 | grep -c 'No space'", "1");
    check("cat /settings/deep/a; ls /settings", "1deep");
    check("cat /keys/key; busybox stat -L -c %a /keys/key", "secret440");
    check("touch /keys/x 2>&1 | grep -c Read-only", "1");
    check("ls -A /none | grep -v '^\\.\\.' | busybox wc -l", "0");
    check("cat /about/labels", "tier=\"node\"");
    check("cat /about/memory", "67108864");
    check("busybox cut -c 1-2 /all/token; cat /all/b /all/key /all/name", "ey\n2secretfiles");
    check("cat /etc/one-file", "2");
    // The token of the service account, where clients look for it.
    check("ls /var/run/secrets/kubernetes.io/serviceaccount", "ca.crt\nnamespace\ntoken");
    check("cat /var/run/secrets/kubernetes.io/serviceaccount/namespace", "default");
}

#[test]
fn paths_of_the_host() {
    let Some(world) = World::start("paths_of_the_host") else { return };
    let host = world.path("host");
    std::fs::create_dir(&host).unwrap();
    std::fs::write(host.join("file"), "of the host").unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(host.join("socket")).unwrap();
    let rows = [
        ("plain", "", "", None),
        ("directory", "Directory", "", None),
        ("made", "DirectoryOrCreate", "new", None),
        ("file", "File", "file", None),
        ("touched", "FileOrCreate", "new-file", None),
        ("socket", "Socket", "socket", None),
        ("missing", "Directory", "nowhere", Some("hostPath type check failed: ")),
        ("other", "File", "", Some("is not a file")),
        ("device", "CharDevice", "file", Some("is not a character device")),
    ];
    for (name, kind, path, _) in rows {
        let path = host.join(path);
        let volumes = json!([{ "name": "h", "hostPath": { "path": path, "type": kind } },
            { "name": "null", "hostPath": { "path": "/dev/null", "type": "CharDevice" } }]);
        let mounts = json!([{ "name": "h", "mountPath": "/host" }, { "name": "null", "mountPath": "/null" }]);
        world.apply(&pod(name, volumes, mounts, json!({})));
    }
    for (name, _, _, error) in rows {
        match error {
            Some(error) => world.wait_event(name, error),
            None => drop(world.ready(name)),
        }
    }
    assert_eq!(world.exec("plain", "cat /host/file; echo new > /host/from-inside"), "of the host");
    assert_eq!(std::fs::read_to_string(host.join("from-inside")).unwrap(), "new\n");
    assert_eq!(world.exec("file", "cat /host"), "of the host");
    assert!(host.join("new").is_dir() && host.join("new-file").is_file());
}

/// Its own containers may lay links in a volume, and change them at any time.
#[test]
fn a_sub_path_stays_in_its_volume() {
    let Some(world) = World::start("a_sub_path_stays_in_its_volume") else { return };
    let volumes = json!([{ "name": "disk", "emptyDir": {} }]);
    let mounts = |path: &str| json!([{ "name": "disk", "mountPath": "/part", "subPath": path }]);
    let lay = "mkdir /disk/dir && ln -s dir /disk/inner && ln -s / /disk/root && ln -s ../../../../.. /disk/up";
    for (name, path) in [("inner", "inner"), ("made", "made/here"), ("root", "root/etc"), ("up", "up")] {
        let mut pod = pod(name, volumes.clone(), mounts(path), json!({ "runAsUser": 33 }));
        pod["spec"]["initContainers"] = json!([{ "name": "lay", "image": IMAGE, "imagePullPolicy": "Never",
            "command": ["sh", "-c", lay.replace("ln", "busybox ln")],
            "volumeMounts": [{ "name": "disk", "mountPath": "/disk" }] }]);
        world.apply(&pod);
    }
    for name in ["inner", "made"] {
        world.ready(name);
        world.exec(name, "touch /part/file && kill 1; true");
    }
    for name in ["root", "up"] {
        let why =
            "failed to prepare subPath for volumeMount \"disk\" of container \"main\": it leads out of the volume";
        world.wait_event(name, why);
    }
    // What is held for them does not stay behind.
    for name in ["inner", "made", "root", "up"] {
        world.backstay(&["delete", "pod", name]).ok();
    }
    let held = || std::fs::read_to_string("/proc/self/mounts").unwrap();
    wait_for("their mounts are gone", || {
        let at = world.path("").display().to_string();
        (!held().lines().any(|line| line.contains(&at) && line.contains("sub-paths"))).then_some(())
    });
}

/// A file system of the test's own, whose mounts others see.
struct SharedMount<'a>(&'a Path);

impl<'a> SharedMount<'a> {
    fn new(at: &'a Path) -> Self {
        std::fs::create_dir_all(at).unwrap();
        mount(&["-t", "tmpfs", "bs", at.to_str().unwrap()]);
        mount(&["--make-shared", at.to_str().unwrap()]);
        Self(at)
    }
}

impl Drop for SharedMount<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").args(["-R", "-l"]).arg(self.0).status();
    }
}

#[track_caller]
fn mount(words: &[&str]) {
    assert!(Command::new("mount").args(words).status().unwrap().success(), "mount {words:?}");
}

#[test]
fn mounts_cross_the_border_as_asked() {
    let Some(world) = World::start("mounts_cross_the_border_as_asked") else { return };
    let host = world.path("shared");
    let _shared = SharedMount::new(&host);
    let volumes = json!([{ "name": "h", "hostPath": { "path": host, "type": "Directory" } }]);
    for (name, propagation) in [("both", "Bidirectional"), ("in", "HostToContainer"), ("none", "None")] {
        let mounts = json!([{ "name": "h", "mountPath": "/host", "mountPropagation": propagation }]);
        world.apply(&pod(name, volumes.clone(), mounts, json!({ "privileged": true })));
        world.ready(name);
    }
    let later = host.join("later");
    std::fs::create_dir(&later).unwrap();
    mount(&["-t", "tmpfs", "bs", later.to_str().unwrap()]);
    std::fs::write(later.join("file"), "").unwrap();
    for (name, sees) in [("both", "file\n"), ("in", "file\n"), ("none", "")] {
        assert_eq!(world.exec(name, "ls /host/later"), sees, "{name}");
    }
    world.exec("both", "mkdir /host/inner && mount -t tmpfs inner /host/inner && touch /host/inner/file");
    wait_for("the container's mount", || host.join("inner/file").exists().then_some(()));
    world.exec("in", "mkdir /host/kept && mount -t tmpfs kept /host/kept && touch /host/kept/file");
    assert!(host.join("kept").exists() && !host.join("kept/file").exists(), "it stays inside");
    // A pod's end leaves nothing mounted on the host that it was not told to.
    for name in ["both", "in", "none"] {
        world.backstay(&["delete", "pod", name, "--timeout=60s"]).ok();
    }
}
