//! Real containers, as root: through the runtime's port only.

#[path = "../../backstay/tests/support/needs.rs"]
mod needs;
mod support;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use backstay_api::Clock;
use backstay_node::lifecycle::ContainerState;
use backstay_node::lifecycle::observed::Exit;
use backstay_node::process::layout::{self, ShimState};
use backstay_node::process::{KnownProcess, ProcessRuntime, ShimCommand};
use backstay_node::runtime::{
    Capabilities, ContainerKey, Mount, Namespace, Namespaces, PodIdentity, Profile, Propagation, Runtime,
    SandboxRequest, SecurityContext, StartRequest,
};
use backstay_oci::registry::Registry;
use backstay_oci::store::Store;
use backstay_oci::{OciRuntime, StoredImages};
use jiff::Timestamp;
use rustix::event::{PollFd, PollFlags, poll};
use serde_json::json;
use tempfile::TempDir;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

const UID: &str = "u1";

struct Machine {
    dir: TempDir,
    runtime: OciRuntime,
    changed: UnboundedReceiver<String>,
    image_id: String,
}

fn runtime(dir: &std::path::Path) -> (OciRuntime, UnboundedReceiver<String>) {
    let shim = ShimCommand(vec![env!("CARGO_BIN_EXE_oci-shim").into()]);
    let shims = ProcessRuntime::new(dir.join("pods"), shim, Clock::new(Timestamp::now)).unwrap();
    let store = Store::open(&dir.join("images")).unwrap();
    let runtime = OciRuntime::new(shims, StoredImages { store, registry: Arc::new(Registry::new().unwrap()) });
    let (sender, changed) = unbounded_channel();
    runtime.notify(sender);
    (runtime, changed)
}

impl Machine {
    /// `None`, and a word about it, where there cannot be containers.
    async fn new(test: &str) -> Option<Self> {
        Self::with(test, Namespace::Container).await
    }

    /// The same, with the process namespace of the pod or of each container.
    async fn with(test: &str, pid: Namespace) -> Option<Self> {
        if !needs::are_met(test, true, &[("busybox", "busybox-static")]) {
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let busybox = ["/bin/busybox", "/usr/bin/busybox"].iter().find_map(|path| std::fs::read(path).ok()).unwrap();
        let passwd: &[u8] = b"root:x:0:0::/:/bin/sh\napp:x:100:101::/:/bin/sh\n";
        let links: Vec<String> = [
            "sh", "cat", "id", "ls", "mount", "sleep", "touch", "grep", "head", "tail", "test", "kill", "hostname",
            "readlink", "echo", "stat", "mkdir", "setsid", "wc", "unshare",
        ]
        .iter()
        .map(|name| format!("bin/{name} -> busybox"))
        .collect();
        let mut entries: Vec<(&str, &[u8])> = vec![("bin/", b""), ("bin/busybox", &busybox), ("etc/", b"")];
        entries.extend(links.iter().map(|link| (link.as_str(), &b""[..])));
        entries.extend([("etc/passwd", passwd), ("etc/hidden", b"x"), ("tmp/", b"")]);
        let upper: &[(&str, &[u8])] =
            &[("etc/.wh.hidden", b""), ("etc/group", b"web:x:33:app\n"), ("out -> /etc", b"")];
        let layers = vec![support::tar(&entries), support::tar(upper)];
        let words = json!({ "Env": ["FROM=image", "PATH=/bin"], "Cmd": ["sh", "-c", "echo from the image; exit 7"] });
        let config = support::config(&layers, words);
        let archive = support::oci_archive(dir.path(), "localhost/busybox:1", &layers, &config);
        let (runtime, changed) = runtime(dir.path());
        let images = Store::open(&dir.path().join("images")).unwrap().import(&archive).unwrap();
        let machine = Self { dir, runtime, changed, image_id: images[0].id.clone() };
        machine.prepare(pid).await;
        Some(machine)
    }

    async fn prepare(&self, pid: Namespace) {
        let pod = PodIdentity { namespace: "default".into(), name: "p".into(), uid: UID.into() };
        let namespaces = Namespaces { network: Namespace::Host, pid, ipc: Namespace::Pod };
        self.runtime.prepare(&SandboxRequest { pod, namespaces, ..SandboxRequest::default() }).await.unwrap();
    }

    fn pod(&self) -> PathBuf {
        self.dir.path().join("pods").join(UID)
    }

    /// The process that keeps the pod's process namespace.
    fn pause(&self) -> KnownProcess {
        layout::read(&self.pod().join("pause.json")).unwrap()
    }

    async fn start(&self, script: &str, change: impl FnOnce(&mut StartRequest)) -> ContainerKey {
        let attempt = self.runtime.containers(UID).await.unwrap().get("main").map_or(0, |all| all.len() as u32);
        let key = ContainerKey { pod_uid: UID.into(), name: "main".into(), attempt };
        let mut request =
            StartRequest { image: "busybox".into(), image_id: self.image_id.clone(), ..StartRequest::default() };
        if !script.is_empty() {
            request.command = ["sh", "-c", script].map(String::from).to_vec();
        }
        change(&mut request);
        request.log = self.log_path(&key);
        self.runtime.start(&key, request).await.unwrap();
        key
    }

    fn log_path(&self, key: &ContainerKey) -> PathBuf {
        self.dir.path().join(format!("pods/{UID}/logs/{}/{}.log", key.name, key.attempt))
    }

    async fn exit(&mut self, key: &ContainerKey) -> Exit {
        loop {
            let containers = self.runtime.containers(UID).await.unwrap();
            let record = containers["main"].iter().find(|record| record.attempt == key.attempt).unwrap();
            if let ContainerState::Exited(exit) = &record.state {
                return exit.clone();
            }
            let told = tokio::time::timeout(Duration::from_secs(30), self.changed.recv()).await;
            told.expect("nobody told of the end");
        }
    }

    /// What the container has printed, and how it ended.
    async fn run(&mut self, script: &str, change: impl FnOnce(&mut StartRequest)) -> (String, i32) {
        let key = self.start(script, change).await;
        let exit = self.exit(&key).await;
        let log = std::fs::read_to_string(self.log_path(&key)).unwrap_or_default();
        let lines: Vec<&str> = log.lines().filter_map(|line| line.splitn(4, ' ').nth(3)).collect();
        let mut text = lines.join("\n");
        if exit.reason == "StartError" {
            text.push_str(&exit.message);
        }
        (text, exit.exit_code)
    }

    async fn check(&mut self, script: &str, change: impl FnOnce(&mut StartRequest), expected: &str, code: i32) {
        let (text, exit_code) = self.run(script, change).await;
        assert_eq!((text.trim(), exit_code), (expected, code), "{script}");
    }

    async fn end(self) {
        self.runtime.remove(UID).await.unwrap();
        assert!(!self.dir.path().join("pods").join(UID).exists());
    }
}

/// Waits for the end of a process that has been killed: the first of a namespace goes after all others.
async fn gone(process: KnownProcess) {
    let wait = move || process.open().map(|it| poll(&mut [PollFd::new(&it, PollFlags::IN)], None));
    tokio::task::spawn_blocking(move || wait().transpose()).await.unwrap().unwrap();
}

impl Drop for Machine {
    fn drop(&mut self) {
        // What a failed test has left mounted or running must not outlive it.
        let below = |dir: PathBuf| layout::names(&dir).into_iter().map(move |name| dir.join(name));
        for attempt in below(self.pod().join("containers")).flat_map(below) {
            if let Some(state) = layout::read::<ShimState>(&attempt.join("state.json")) {
                let ShimState { boot_id, shim_pid: pid, shim_start: start, .. } = state;
                KnownProcess { boot_id, pid, start }.kill();
            }
        }
        if let Some(pause) = layout::read::<KnownProcess>(&self.pod().join("pause.json")) {
            pause.kill();
        }
        for name in ["ns/ipc", "shm"] {
            let path = self.pod().join(name);
            let _ = rustix::mount::unmount(&path, rustix::mount::UnmountFlags::DETACH);
        }
    }
}

#[tokio::test]
async fn containers_have_what_image_and_pod_say() {
    let Some(mut machine) = Machine::new("containers_have_what_image_and_pod_say").await else { return };
    machine.check("", |_| {}, "from the image", 7).await;
    let env = |request: &mut StartRequest| request.env = vec![("OWN".into(), "pod".into())];
    machine.check("echo $FROM $OWN $$", env, "image pod 1", 0).await;
    machine.check("id -u; id -g; id -G", |it| it.security.user = Some(100), "100\n101\n101 33", 0).await;
    machine.check("ls /etc | head -9; test -e /etc/hidden", |_| {}, "group\npasswd\nresolv.conf", 1).await;
    machine.check("touch /x && ls / | grep x", |_| {}, "x", 0).await;
    machine.check("touch /x", |it| it.security.read_only_root = true, "touch: /x: Read-only file system", 1).await;
    machine.check("readlink /proc/self/cwd", |it| it.working_dir = Some("/made/here".into()), "/made/here", 0).await;
    machine.check("kill -9 $$; kill -TERM 1; sleep 0", |_| {}, "", 0).await;
    let nothing = |it: &mut StartRequest| it.command = vec!["nope".into()];
    machine.check("", nothing, "exec: \"nope\": executable file not found in $PATH", 128).await;
    machine.end().await;
}

#[tokio::test]
async fn rights_are_few() {
    let Some(mut machine) = Machine::new("rights_are_few").await else { return };
    let rights = "grep -E 'CapEff|CapBnd|NoNewPrivs' /proc/self/status";
    let shown =
        |effective: &str, bound: &str, new: u8| format!("CapEff:\t{effective}\nCapBnd:\t{bound}\nNoNewPrivs:\t{new}");
    // As Docker's, without MKNOD.
    let usual = "00000000a00425fb";
    machine.check(rights, |it| it.security.no_new_privileges = true, &shown(usual, usual, 1), 0).await;
    machine.check(rights, |it| it.security.user = Some(5), &shown("0000000000000000", usual, 0), 0).await;
    let drop = |it: &mut StartRequest| {
        it.security.capabilities = Capabilities { add: vec!["NET_ADMIN".into()], drop: vec!["ALL".into()] };
    };
    machine.check(rights, drop, &shown("0000000000001000", "0000000000001000", 0), 0).await;
    machine
        .check(
            "echo 1 > /proc/sys/kernel/panic",
            |_| {},
            "sh: can't create /proc/sys/kernel/panic: Read-only file system",
            1,
        )
        .await;
    machine.check("cat /proc/keys | head -1; ls /sys/firmware", |_| {}, "", 0).await;
    let privileged = |it: &mut StartRequest| it.security.privileged = true;
    let all = "echo $(ls -d /proc/1/ns/pid /dev/ptmx /dev/null); test -L /dev/ptmx && test -w /proc/sys/kernel/printk";
    machine.check(all, privileged, "/dev/null /dev/ptmx /proc/1/ns/pid", 0).await;
    machine
        .check(
            "ls /dev",
            |_| {},
            "fd\nfull\nmqueue\nnull\nptmx\npts\nrandom\nshm\nstderr\nstdin\nstdout\ntty\nurandom\nzero",
            0,
        )
        .await;
    machine.end().await;
}

#[tokio::test]
async fn volumes_are_mounted() {
    let Some(mut machine) = Machine::new("volumes_are_mounted").await else { return };
    let volume = machine.dir.path().join("volume");
    std::fs::create_dir(&volume).unwrap();
    std::fs::write(volume.join("f"), "text").unwrap();
    let mount = |target: &str, read_only: bool, source: PathBuf| Mount {
        source,
        target: target.into(),
        read_only,
        propagation: Propagation::None,
    };
    let both = vec![mount("/data", false, volume.clone()), mount("/etc/one", true, volume.join("f"))];
    let script = "exec 2>&1; cat /data/f /etc/one; echo more > /data/g; echo no > /etc/one";
    machine.check(script, |it| it.mounts = both, "texttextsh: can't create /etc/one: Read-only file system", 1).await;
    assert_eq!(std::fs::read_to_string(volume.join("g")).unwrap(), "more\n");
    // The image's `out` leads to `/etc`: the container's, never the host's.
    let inside = vec![mount("/out/from-outside", false, volume.join("f"))];
    machine.check("cat /etc/from-outside", |it| it.mounts = inside, "text", 0).await;
    assert!(!std::path::Path::new("/etc/from-outside").exists());
    let shared = vec![Mount { propagation: Propagation::Bidirectional, ..mount("/data", false, volume) }];
    let (text, code) = machine.run("true", |it| it.mounts = shared).await;
    assert_eq!(code, 128, "{text}");
    assert!(text.contains("not shared"), "{text}");
    machine.end().await;
}

#[tokio::test]
async fn containers_outlive_the_agent() {
    let Some(mut machine) = Machine::new("containers_outlive_the_agent").await else { return };
    let key = machine.start("echo begun; while :; do sleep 1; done", |_| {}).await;
    let command = ["sh", "-c", "id -u; ls /bin/sh; exit 3"].map(String::from);
    let ran = machine.runtime.exec(&key, &command, Duration::from_secs(20)).await.unwrap();
    assert_eq!((ran.output.as_str(), ran.exit_code), ("0\n/bin/sh\n", Some(3)));
    let late = machine.runtime.exec(&key, &["sleep".into(), "1000".into()], Duration::from_millis(300)).await.unwrap();
    assert_eq!(late.exit_code, None);
    (machine.runtime, machine.changed) = runtime(machine.dir.path());
    assert!(machine.runtime.sandbox(UID).await.unwrap().is_some());
    let records = machine.runtime.containers(UID).await.unwrap();
    assert!(records["main"][0].is_running(), "{records:?}");
    machine.runtime.stop(&key, Duration::from_millis(200)).await.unwrap();
    assert_eq!(machine.exit(&key).await.exit_code, 137);
    machine.end().await;
}

#[tokio::test]
async fn too_much_memory_is_the_end() {
    let Some(mut machine) = Machine::new("too_much_memory_is_the_end").await else { return };
    let limit = |it: &mut StartRequest| it.limits.memory_bytes = Some(16 << 20);
    let key = machine.start("tail /dev/zero", limit).await;
    let exit = machine.exit(&key).await;
    assert_eq!((exit.reason.as_str(), exit.exit_code), ("OOMKilled", 137), "{exit:?}");
    // Not whatever was killed has been killed for that.
    let key = machine.start("kill -9 0; sleep 1000", limit).await;
    machine.runtime.stop(&key, Duration::ZERO).await.unwrap();
    let exit = machine.exit(&key).await;
    assert_eq!((exit.reason.as_str(), exit.exit_code), ("Error", 137), "{exit:?}");
    machine.end().await;
}

#[tokio::test]
async fn containers_may_share_their_processes() {
    let Some(mut machine) = Machine::with("containers_may_share_their_processes", Namespace::Pod).await else { return };
    let first = machine.start("sleep 1000", |_| {}).await;
    machine.check("test $$ -gt 2 && cat /proc/1/cmdline | head -c 5", |_| {}, "pause", 0).await;
    machine.check("grep -l sleep /proc/[0-9]*/comm | wc -l", |_| {}, "1", 0).await;
    // Not even with the right to trace others is there a way to the machine through the first process.
    let tracer = |it: &mut StartRequest| it.security.capabilities.add = vec!["SYS_PTRACE".into()];
    let closed = ".\n..\nsh: can't create /proc/1/exe: Read-only file system";
    machine.check("ls -a /proc/1/root/; exec 2>&1; echo x > /proc/1/exe", tracer, closed, 1).await;
    machine.check("kill -KILL 1; kill -TERM 1; kill -0 1", |_| {}, "", 0).await;
    // What a container leaves behind is ended with it, though it is no descendant of its supervisor any more.
    machine.check("setsid sh -c 'sleep 1000 & echo left' ", |_| {}, "left", 0).await;
    machine.check("grep -l sleep /proc/[0-9]*/comm | wc -l", |_| {}, "1", 0).await;
    // Orphans are reaped.
    machine.check("sh -c '(sleep 0.1 &) '; sleep 0.3; grep -l 'State:.Z' /proc/[0-9]*/status", |_| {}, "", 1).await;
    let pause = machine.pause();
    (machine.runtime, machine.changed) = runtime(machine.dir.path());
    machine.prepare(Namespace::Pod).await;
    assert_eq!(machine.pause(), pause, "a new agent finds it");
    assert!(machine.runtime.sandbox(UID).await.unwrap().is_some());
    let command = ["sh", "-c", "cat /proc/1/cmdline | head -c 5"].map(String::from);
    let ran = machine.runtime.exec(&first, &command, Duration::from_secs(20)).await.unwrap();
    assert_eq!((ran.output.as_str(), ran.exit_code), ("pause", Some(0)));
    // With the first process the namespace ends, and all in it.
    pause.kill();
    assert_eq!(machine.exit(&first).await.exit_code, 137);
    gone(pause.clone()).await;
    assert!(machine.runtime.sandbox(UID).await.unwrap().is_none());
    machine.prepare(Namespace::Pod).await;
    machine.check("cat /proc/1/cmdline | head -c 5", |_| {}, "pause", 0).await;
    let pause = machine.pause();
    machine.end().await;
    assert!(pause.open().is_none());
}

#[tokio::test]
async fn calls_of_the_system_are_filtered() {
    let Some(mut machine) = Machine::new("calls_of_the_system_are_filtered").await else { return };
    let profiles = machine.dir.path().join("seccomp");
    std::fs::create_dir(&profiles).unwrap();
    let no_directories = json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        { "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28 } ] });
    std::fs::write(profiles.join("own.json"), no_directories.to_string()).unwrap();
    let of = |profile: Profile| move |it: &mut StartRequest| it.security.seccomp = profile;
    let own = || Profile::Localhost("own.json".into());
    let state = "grep Seccomp: /proc/self/status | tail -c 2";
    machine.check(state, |_| {}, "0", 0).await;
    machine.check(state, of(Profile::Unconfined), "0", 0).await;
    machine.check(state, of(Profile::RuntimeDefault), "2", 0).await;
    let privileged = |it: &mut StartRequest| (it.security.privileged, it.security.seccomp) = (true, own());
    machine.check(state, privileged, "0", 0).await;
    machine.check("unshare -U echo in", |_| {}, "in", 0).await;
    let refused = "unshare: unshare(0x10000000): Operation not permitted";
    machine.check("unshare -U echo in", of(Profile::RuntimeDefault), refused, 1).await;
    let full = "mkdir: can't create directory '/tmp/x': No space left on device";
    machine.check("mkdir /tmp/x", of(own()), full, 1).await;
    // The filter is loaded at another moment where no rights can be gained later.
    let bound = |it: &mut StartRequest| {
        (it.security.seccomp, it.security.no_new_privileges, it.security.user) = (own(), true, Some(5));
    };
    machine.check("mkdir /tmp/x", bound, full, 1).await;
    // Commands beside it are under the same.
    let key = machine.start("echo begun; sleep 1000", bound).await;
    let command = ["mkdir", "/tmp/x"].map(String::from);
    let ran = machine.runtime.exec(&key, &command, Duration::from_secs(20)).await.unwrap();
    assert_eq!((ran.output.trim(), ran.exit_code), (full, Some(1)));
    machine.runtime.stop(&key, Duration::ZERO).await.unwrap();
    let request = StartRequest {
        image_id: machine.image_id.clone(),
        security: SecurityContext { seccomp: Profile::Localhost("none.json".into()), ..SecurityContext::default() },
        ..StartRequest::default()
    };
    let failure = machine.runtime.start(&ContainerKey { attempt: 99, ..key }, request).await.unwrap_err();
    let expected = format!("{}: No such file or directory", profiles.join("none.json").display());
    assert_eq!(failure.reason, "CreateContainerError");
    assert!(failure.message.contains(&expected), "{}", failure.message);
    machine.end().await;
}
